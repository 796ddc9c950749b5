//! What a data plane is handed, over a real connection: all of it on connect, then the latest of what changes.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing,
    reason = "a test fails by panicking"
)]

mod catalog_support;
mod stream_support;

use portcullis_proto::config::v1 as proto;
use portcullis_proto::config::v1::attach_request::Message as Said;
use portcullis_proto::config::v1::attach_response::Message;
use stream_support::{Control, hello};

#[tokio::test]
async fn a_plane_is_told_everything_when_it_connects_secrets_before_the_snapshot() {
    let control = Control::start().await;
    control.vault.set_secret(&"crm-token".parse().unwrap(), b"hunter2", 1).await.unwrap();
    let digest = control.publish(7, &[10, 20, 30]);
    let token = control.token().await;
    let mut plane = control.attach(&token.secret_text, hello("eu-1")).await.unwrap();
    let Message::Welcome(welcome) = plane.next().await.unwrap() else { panic!("Welcome comes first") };
    assert_eq!(welcome.control_plane_id, control.vault.control_plane_id().to_string());
    assert_eq!(welcome.status_interval_ms, 60_000);
    let Message::Secrets(secrets) = plane.next().await.unwrap() else { panic!("secrets come second") };
    assert!(secrets.values.is_empty(), "nothing of the snapshot needs it");
    assert_eq!(secrets.sealing_keys.len(), control.vault.secret_part().sealing_keys.len());
    assert_eq!(secrets.sealing_keys[0].key.len(), 32);
    let received = plane.snapshot(&control).await;
    assert_eq!((received.version, received.digest, received.chunks), (7, digest, 1));
    let info = control.info("eu-1");
    assert_eq!((info.connected, info.snapshot_version), (true, 0), "received is not enforced");
    plane.ack(&received).await;
    let info = control.until("eu-1", |plane| plane.snapshot_version == 7).await;
    assert_eq!(info.snapshot_digest, digest.as_bytes());
    // The whole token is as good as its secret: who pastes it meant the same.
    let mut other = control.attach(&token.to_text(), hello("eu-2")).await.unwrap();
    assert_eq!(other.snapshot(&control).await.digest, digest, "two planes, one digest");
}

#[tokio::test]
async fn a_large_snapshot_comes_in_chunks_of_at_most_a_mebibyte_or_one_entry() {
    let control = Control::start().await;
    let mut sizes = vec![300_000; 12];
    sizes.extend([1, 1_500_000, 1]);
    let digest = control.publish(1, &sizes);
    let mut plane = control.plane("eu-1").await;
    let received = plane.snapshot(&control).await;
    assert_eq!(received.digest, digest);
    assert!(received.chunks >= 5, "{}", received.chunks);
    assert!(received.largest_chunk < 1_500_200, "{}", received.largest_chunk);
    // Nothing at all is a snapshot too.
    let empty = control.publish(2, &[]);
    let received = plane.snapshot(&control).await;
    assert_eq!((received.version, received.digest, received.chunks), (2, empty, 1));
}

#[tokio::test]
async fn a_plane_that_reads_slowly_gets_the_latest_and_no_queue_of_versions() {
    let control = Control::start().await;
    control.publish(1, &[10]);
    let mut plane = control.plane("slow").await;
    assert_eq!(plane.snapshot(&control).await.version, 1);
    // Far more than connection and channel can hold; the plane reads nothing meanwhile.
    for version in 2..=60 {
        control.publish(version, &[900_000, 900_000]);
        tokio::task::yield_now().await;
    }
    let mut seen = Vec::new();
    while seen.last() != Some(&60) {
        seen.push(plane.snapshot(&control).await.version);
    }
    assert!(seen.windows(2).all(|pair| pair[0] < pair[1]), "only newer ones: {seen:?}");
    assert!(seen.len() < 10, "the latest, not all: {seen:?}");
}

#[tokio::test]
async fn what_did_not_change_is_not_sent_again() {
    let control = Control::start().await;
    control.publish(1, &[10]);
    let mut plane = control.plane("eu-1").await;
    plane.secrets().await;
    plane.snapshot(&control).await;
    control.vault.set_secret(&"one".parse().unwrap(), b"1", 1).await.unwrap();
    let Message::Secrets(part) = plane.next().await.unwrap() else { panic!("only the secrets changed") };
    assert!(part.values.is_empty(), "another generation, of which this plane needs nothing");
    // The same version told again is nothing new; the next message is the next version.
    control.publish.send_modify(|_| {});
    control.publish(2, &[10]);
    let Message::Snapshot(chunk) = plane.next().await.unwrap() else { panic!("only the snapshot changed") };
    assert_eq!(chunk.version, 2);
}

#[tokio::test]
async fn a_refusal_is_kept_until_the_plane_enforces_again_and_does_not_end_the_stream() {
    let control = Control::start().await;
    control.publish(3, &[10]);
    let mut plane = control.plane("eu-1").await;
    let received = plane.snapshot(&control).await;
    plane.ack(&received).await;
    control.until("eu-1", |plane| plane.snapshot_version == 3).await;
    control.publish(4, &[11]);
    plane.snapshot(&control).await;
    let reason = format!("the signature does not match{}", "!".repeat(5_000));
    plane.say(Said::Nack(proto::Nack { version: 4, reason })).await;
    let info = control.until("eu-1", |plane| !plane.last_nack.is_empty()).await;
    assert!(info.last_nack.starts_with("version 4: the signature does not match!"), "{}", info.last_nack);
    assert!(info.last_nack.len() < 1_100, "bounded");
    assert_eq!(info.snapshot_version, 3, "the old one serves on");
    control.publish(5, &[12]);
    let received = plane.snapshot(&control).await;
    plane.ack(&received).await;
    let info = control.until("eu-1", |plane| plane.snapshot_version == 5).await;
    assert_eq!(info.last_nack, "");
}

#[tokio::test]
async fn a_sign_of_life_is_listed() {
    let control = Control::start().await;
    let token = control.token().await;
    let plane = control
        .attach(&token.secret_text, proto::Hello { mcp_url: "https://mcp.eu".to_owned(), ..hello("eu-1") })
        .await
        .unwrap();
    plane.say(Said::Status(proto::PlaneStatus { calls_total: 42, ..proto::PlaneStatus::default() })).await;
    let info = control.until("eu-1", |plane| plane.calls_total == 42).await;
    assert_eq!((info.software_version.as_str(), info.mcp_url.as_str()), ("0.1.0", "https://mcp.eu"));
    drop(plane);
    let info = control.until("eu-1", |plane| !plane.connected).await;
    assert_eq!(info.calls_total, 42, "lately connected planes stay listed");
    control.world.pass(25 * 60 * 60 * 1000);
    assert!(control.planes.list(&control.world.store.state()).is_empty(), "for a day");
}

#[tokio::test]
async fn no_secret_shows_in_debug_output() {
    let control = Control::start().await;
    control.vault.set_secret(&"crm-token".parse().unwrap(), b"hunter2", 1).await.unwrap();
    let new = control.tokens.create("admin", Default::default()).await.unwrap();
    let token: portcullis_seal::PlaneToken = new.text.parse().unwrap();
    let mut plane = control.attach(&token.secret_text, hello("eu-1")).await.unwrap();
    let secrets = plane.secrets().await;
    let key = format!("{:?}", secrets.sealing_keys[0].key);
    let wrapped = proto::AttachResponse { message: Some(Message::Secrets(secrets)) };
    let secret = token.secret_text.strip_prefix("pcp_").unwrap();
    for printed in [
        format!("{wrapped:?}"),
        format!("{new:?}"),
        format!("{token:?}"),
        format!("{:?}", control.tokens),
        format!("{:?}", control.tokens.list()),
        format!("{:?}", control.planes.list(&control.world.store.state())),
        format!("{:?}", control.vault),
    ] {
        assert!(
            !printed.contains("hunter2") && !printed.contains(secret) && !printed.contains(&key),
            "{printed}"
        );
    }
    // Nor is the secret anywhere in what is stored.
    let stored = format!("{:?}", control.world.store.state());
    assert!(!stored.contains(secret) && !stored.contains("hunter2"));
}
