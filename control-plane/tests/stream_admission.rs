//! Who may attach: holders of a valid plane token, as the plane that it is for, for as long as it is valid.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing,
    reason = "a test fails by panicking"
)]

mod catalog_support;
mod stream_support;

use std::collections::BTreeMap;
use std::time::Duration;

use portcullis_control_plane::stream::{Timings, TokenError, TokenScope};
use portcullis_proto::config::v1 as proto;
use portcullis_proto::config::v1::attach_request::Message as Said;
use portcullis_seal::PlaneToken;
use portcullis_seal::token::Token;
use stream_support::{Control, hello, timings};
use tonic::Code;

async fn scoped(control: &Control, plane_name: Option<&str>, labels: &[(&str, &str)]) -> PlaneToken {
    let scope = TokenScope {
        plane_name: plane_name.map(|name| name.parse().unwrap()),
        labels: labels.iter().map(|(key, value)| ((*key).to_owned(), (*value).to_owned())).collect(),
    };
    control.tokens.create("admin", scope).await.unwrap().text.parse().unwrap()
}

#[tokio::test]
async fn without_a_valid_token_no_stream_opens() {
    let control = Control::start().await;
    let foreign = Token::generate("pcp_").unwrap();
    let key = Token::generate("pcl_").unwrap();
    let good = control.token().await.secret_text;
    let cut = &good[..good.len() - 1];
    for secret in
        [None, Some(""), Some("pcp_"), Some(foreign.text.as_str()), Some(key.text.as_str()), Some(cut)]
    {
        let refused = control.open(secret).await.map(|_| ()).unwrap_err();
        assert_eq!(
            (refused.code(), refused.message()),
            (Code::Unauthenticated, "a valid plane token is required")
        );
    }
    assert_eq!(control.planes.connected(), 0);
}

#[tokio::test]
async fn the_token_carries_the_key_that_signs() {
    let control = Control::start().await;
    assert_eq!(control.token().await.public_key, control.vault.signing_key().public_key());
}

#[tokio::test]
async fn a_revoked_token_closes_its_streams_at_once_and_no_others() {
    let control = Control::start().await;
    control.publish(1, &[10]);
    let new = control.tokens.create("admin", TokenScope::default()).await.unwrap();
    let token: PlaneToken = new.text.parse().unwrap();
    let mut first = control.attach(&token.secret_text, hello("a")).await.unwrap();
    let mut second = control.attach(&token.secret_text, hello("b")).await.unwrap();
    let mut other = control.plane("c").await;
    first.snapshot(&control).await;
    second.snapshot(&control).await;
    other.snapshot(&control).await;
    control.tokens.revoke("admin", &new.id).await.unwrap();
    for plane in [&mut first, &mut second] {
        let end = plane.end().await;
        assert_eq!((end.code(), end.message()), (Code::Unauthenticated, "the plane token was revoked"));
    }
    assert_eq!(
        control.open(Some(&token.secret_text)).await.map(|_| ()).unwrap_err().code(),
        Code::Unauthenticated
    );
    control.until("a", |plane| !plane.connected).await;
    control.publish(2, &[10]);
    assert_eq!(other.snapshot(&control).await.version, 2);
    // Twice is once; what never was is told.
    control.tokens.revoke("admin", &new.id).await.unwrap();
    assert_eq!(control.tokens.revoke("admin", "pt-0").await, Err(TokenError::NotFound("pt-0".to_owned())));
    let listed = control.tokens.list();
    assert!(listed.iter().any(|token| token.id == new.id && token.revoked));
}

#[tokio::test]
async fn a_stream_that_reads_nothing_is_closed_by_revocation_too() {
    let control = Control::start().await;
    let new = control.tokens.create("admin", TokenScope::default()).await.unwrap();
    let token: PlaneToken = new.text.parse().unwrap();
    control.publish(1, &[900_000; 40]);
    let _deaf = control.attach(&token.secret_text, hello("deaf")).await.unwrap();
    control.until("deaf", |plane| plane.connected).await;
    control.tokens.revoke("admin", &new.id).await.unwrap();
    control.until("deaf", |plane| !plane.connected).await;
}

#[tokio::test]
async fn a_token_is_for_the_plane_and_the_labels_that_it_names() {
    let control = Control::start().await;
    let only_eu = scoped(&control, Some("eu-1"), &[("region", "eu")]).await;
    let refusal = |secret: String, hello: proto::Hello| {
        let control = &control;
        async move { control.attach(&secret, hello).await.unwrap().end().await }
    };
    let with = |label: &str| proto::Hello {
        labels: [("region".to_owned(), label.to_owned()), ("rack".to_owned(), "7".to_owned())].into(),
        ..hello("eu-1")
    };
    assert_eq!(refusal(only_eu.secret_text.clone(), hello("us-1")).await.code(), Code::PermissionDenied);
    assert_eq!(refusal(only_eu.secret_text.clone(), with("us")).await.code(), Code::PermissionDenied);
    let _plane = control.attach(&only_eu.secret_text, with("eu")).await.unwrap().welcomed().await;
    let expected: BTreeMap<String, String> =
        [("rack".to_owned(), "7".to_owned()), ("region".to_owned(), "eu".to_owned())].into();
    assert_eq!(control.info("eu-1").labels, expected);
    let _again = control.attach(&only_eu.secret_text, hello("eu-1")).await.unwrap().welcomed().await;
    assert_eq!(control.info("eu-1").labels.len(), 1, "the token's labels are the plane's, said or not");
}

#[tokio::test]
async fn what_is_no_hello_is_refused() {
    let control = Control::start_with(Timings { hello: Duration::from_millis(100), ..timings() }).await;
    let token = control.token().await;
    let mut silent = control.open(Some(&token.secret_text)).await.unwrap();
    assert_eq!(silent.end().await.code(), Code::DeadlineExceeded);
    let mut rude = control.open(Some(&token.secret_text)).await.unwrap();
    rude.say(Said::Ack(proto::Ack::default())).await;
    assert_eq!(rude.end().await.code(), Code::InvalidArgument);
    for name in ["", "EU", "a_b", "-a"] {
        let mut plane = control.attach(&token.secret_text, hello(name)).await.unwrap();
        assert_eq!(plane.end().await.code(), Code::InvalidArgument, "{name:?}");
    }
    let labels = (0..65).map(|at| (format!("l{at}"), String::new())).collect();
    let mut plane = control.attach(&token.secret_text, proto::Hello { labels, ..hello("a") }).await.unwrap();
    assert_eq!(plane.end().await.code(), Code::InvalidArgument);
    assert_eq!(control.planes.connected(), 0);
}

#[tokio::test]
async fn a_second_plane_of_a_name_takes_the_place_of_the_first_only_with_a_valid_token() {
    let control = Control::start().await;
    control.publish(1, &[10]);
    let mut first = control.plane("eu-1").await;
    first.snapshot(&control).await;
    let elsewhere = scoped(&control, Some("us-1"), &[]).await;
    let mut thief = control.attach(&elsewhere.secret_text, hello("eu-1")).await.unwrap();
    assert_eq!(thief.end().await.code(), Code::PermissionDenied);
    control.publish(2, &[10]);
    assert_eq!(first.snapshot(&control).await.version, 2, "the first one was not disturbed");
    let mut second = control.plane("eu-1").await;
    let end = first.end().await;
    assert_eq!(
        (end.code(), end.message()),
        (Code::Aborted, "a plane of the same name connected after this one")
    );
    assert_eq!(second.snapshot(&control).await.version, 2);
    let info = control.info("eu-1");
    assert!(info.connected, "what is left of the first one's end does not touch the second");
    assert_eq!(control.planes.connected(), 1);
}

#[tokio::test]
async fn a_plane_that_falls_silent_is_taken_for_lost() {
    let control = Control::start_with(Timings { silence: Duration::from_millis(200), ..timings() }).await;
    let _plane = control.plane("eu-1").await;
    control.until("eu-1", |plane| !plane.connected).await;
}

#[tokio::test]
async fn streams_end_when_the_control_plane_stops() {
    let control = Control::start().await;
    let mut plane = control.plane("eu-1").await;
    control.stop.cancel();
    assert_eq!(plane.end().await.code(), Code::Unavailable);
}

#[tokio::test]
async fn labels_of_tokens_are_bounded() {
    let control = Control::start().await;
    for labels in [
        (0..65).map(|at| (format!("l{at}"), String::new())).collect::<BTreeMap<_, _>>(),
        [(String::new(), "x".to_owned())].into(),
        [("x".to_owned(), "y".repeat(257))].into(),
        [("x\n".to_owned(), "y".to_owned())].into(),
    ] {
        let refused = control.tokens.create("admin", TokenScope { plane_name: None, labels }).await;
        assert_eq!(refused, Err(TokenError::Labels));
    }
}

#[tokio::test]
async fn refused_tokens_are_counted_by_their_cause() {
    let control = Control::start().await;
    let foreign = Token::generate("pcp_").unwrap();
    let revoked = control.tokens.create("admin", TokenScope::default()).await.unwrap();
    control.tokens.revoke("admin", &revoked.id).await.unwrap();
    let only = scoped(&control, Some("eu-1"), &[("region", "eu")]).await;
    let labelled = proto::Hello { labels: [("region".to_owned(), "us".to_owned())].into(), ..hello("eu-1") };
    assert!(control.open(None).await.is_err());
    for _ in 0..2 {
        assert!(control.open(Some(foreign.text.as_str())).await.is_err());
    }
    assert!(control.open(Some(&revoked.text)).await.is_err());
    control.attach(&only.secret_text, hello("us-1")).await.unwrap().end().await;
    control.attach(&only.secret_text, labelled).await.unwrap().end().await;
    let counts: Vec<_> = control
        .planes
        .refusals()
        .counts()
        .filter(|(credential, _, _)| *credential == "plane")
        .map(|(_, cause, count)| (cause, count))
        .collect();
    assert_eq!(
        counts,
        [("missing", 1), ("unknown", 2), ("revoked", 1), ("wrong_plane", 1), ("wrong_labels", 1)]
    );
}
