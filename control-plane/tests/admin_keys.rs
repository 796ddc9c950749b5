//! The life of a virtual key's secret: shown once, replaced, ended, and found nowhere on disk.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    reason = "a step that fails fails the test"
)]

mod admin_support;

use std::sync::atomic::Ordering;

use admin_support::{ControlPlane, START, TEN, files_with, json, told};
use portcullis_policy::Reason;
use portcullis_proto::admin::v1 as proto;
use portcullis_seal::token;
use tonic::Code;

/// Whether a secret opens a key in what is published, and which.
fn opens(plane: &ControlPlane, secret: &str) -> Result<String, Reason> {
    let hash = token::hash(token::VIRTUAL_KEY, secret).expect("a secret of ours has a valid checksum");
    let published = plane.running().publisher().current().unwrap();
    let now = plane.now.load(Ordering::SeqCst);
    match published.snapshot.authenticate(&hash, now) {
        Ok(principal) => Ok(principal.key_name.as_str().to_owned()),
        Err(denial) => Err(denial.reason),
    }
}

async fn create(plane: &ControlPlane, name: &str) -> Result<proto::CreateKeyResponse, tonic::Status> {
    let request = proto::CreateKeyRequest { name: name.to_owned(), file: None };
    plane.keys().create_key(request).await.map(tonic::Response::into_inner)
}

async fn rotate(
    plane: &ControlPlane,
    name: &str,
    grace_seconds: u64,
) -> Result<proto::RotateKeyResponse, tonic::Status> {
    let request = proto::RotateKeyRequest { name: name.to_owned(), grace_seconds };
    plane.keys().rotate_key(request).await.map(tonic::Response::into_inner)
}

async fn revoke(plane: &ControlPlane, name: &str) -> Result<u64, tonic::Status> {
    let request = proto::RevokeKeyRequest { name: name.to_owned(), message: "leaked".to_owned() };
    Ok(plane.keys().revoke_key(request).await?.into_inner().version)
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_secret_is_shown_once_and_is_nowhere_else() {
    let plane = ControlPlane::start().await;
    let applied = plane.apply(TEN).await;
    let rotated = rotate(&plane, "ci", 60).await.unwrap().key.unwrap();
    let created = create(&plane, "extra").await.unwrap().key.unwrap();
    let secrets: Vec<String> =
        applied.keys.iter().map(|key| key.secret.clone()).chain([rotated.secret, created.secret]).collect();
    assert_eq!(secrets.len(), 4);
    for secret in &secrets {
        assert!(secret.starts_with("pcl_"));
        assert!(opens(&plane, secret).is_ok());
        let hash = token::hash(token::VIRTUAL_KEY, secret).unwrap();
        let mut shown = String::new();
        for kind in ["keys", "servers", "teams"] {
            shown.push_str(&format!("{:?}", plane.list(kind).await));
        }
        shown.push_str(&format!("{:?}", plane.get("keys", "ci").await));
        shown.push_str(&format!("{:?}", plane.history("", "").await));
        shown.push_str(&format!("{:?}", plane.history("keys", "ci").await));
        shown.push_str(&format!("{:?}", plane.snapshot().await));
        for text in [secret.as_str(), secret.trim_start_matches("pcl_"), &hash.to_hex()] {
            assert!(!shown.contains(text), "no answer of the API holds a secret or its hash");
        }
        assert_eq!(
            files_with(plane.dir.path(), secret.trim_start_matches("pcl_")),
            Vec::<std::path::PathBuf>::new()
        );
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_rotated_secret_ends_after_its_grace_and_the_new_one_stays() {
    let plane = ControlPlane::start().await;
    let first = create(&plane, "bot").await.unwrap().key.unwrap();
    let rotated = rotate(&plane, "bot", 3600).await.unwrap();
    let second = rotated.key.unwrap();
    assert_eq!(first.uid, second.uid);
    assert_ne!(first.secret, second.secret);
    assert_eq!(rotated.old_until_unix_ms, START + 3_600_000);
    assert_eq!(opens(&plane, &first.secret), Ok("bot".to_owned()));
    assert_eq!(opens(&plane, &second.secret), Ok("bot".to_owned()));

    plane.now.store(START + 3_600_001, Ordering::SeqCst);
    assert_eq!(opens(&plane, &first.secret), Err(Reason::KeyExpired));
    assert_eq!(opens(&plane, &second.secret), Ok("bot".to_owned()));

    let status = json(&plane.get("keys", "bot").await.status_json);
    let secrets = &status["details"]["secrets"];
    assert_eq!(secrets.as_array().unwrap().len(), 2);
    assert_eq!(secrets[0]["until"], serde_json::Value::Null);
    assert_eq!((&status["state"], &status["principal"]), (&"active".into(), &"workload/bot".into()));

    let third = rotate(&plane, "bot", 0).await.unwrap().key.unwrap();
    assert_eq!(
        opens(&plane, &second.secret),
        Err(Reason::Unauthenticated),
        "without a grace it ends at once"
    );
    assert_eq!(opens(&plane, &third.secret), Ok("bot".to_owned()));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_revoked_key_stays_revoked_whatever_is_tried() {
    let plane = ControlPlane::start().await;
    let key = plane.apply(TEN).await.keys.into_iter().find(|key| key.name == "ci").unwrap();
    revoke(&plane, "ci").await.unwrap();
    assert_eq!(opens(&plane, &key.secret), Err(Reason::KeyRevoked));
    let version = plane.list("keys").await.version;
    assert_eq!(revoke(&plane, "ci").await.unwrap(), version, "a second time changes nothing");
    assert_eq!(rotate(&plane, "ci", 60).await.unwrap_err().code(), Code::FailedPrecondition);
    plane.apply(&TEN.replace("allow: [lookup]", "allow: [other]")).await;
    assert_eq!(opens(&plane, &key.secret), Err(Reason::KeyRevoked), "applying it again does not revive it");
    assert_eq!(json(&plane.get("keys", "ci").await.status_json)["state"], "revoked");

    let history = plane.history("keys", "ci").await;
    let entry = history.iter().find(|entry| entry.message == "leaked").unwrap();
    assert_eq!(told(&entry.changes), ["VirtualKey/ci: changed"]);
    let field = &entry.changes[0].fields[0];
    assert_eq!(
        (field.path.as_str(), field.before.as_str(), field.after.as_str()),
        ("status.revoked", "false", "true")
    );
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_deleted_key_that_comes_back_is_another_key() {
    let plane = ControlPlane::start().await;
    let document = "{apiVersion: portcullis/v1, kind: VirtualKey, metadata: {name: bot}, spec: {principal: {kind: agent, subject: s}}}";
    let first = plane.apply(document).await.keys.remove(0);
    plane.delete("keys", "bot").await.unwrap();
    assert_eq!(opens(&plane, &first.secret), Err(Reason::Unauthenticated), "its material went with it");
    let second = plane.apply(document).await.keys.remove(0);
    assert_ne!(first.uid, second.uid);
    assert_eq!(opens(&plane, &first.secret), Err(Reason::Unauthenticated));
    assert_eq!(opens(&plane, &second.secret), Ok("bot".to_owned()));
    let told: Vec<_> = plane.history("keys", "bot").await.iter().map(|entry| told(&entry.changes)).collect();
    assert_eq!(told, [["VirtualKey/bot: created"], ["VirtualKey/bot: deleted"], ["VirtualKey/bot: created"]]);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn key_create_makes_one_new_key_and_nothing_else() {
    let plane = ControlPlane::start().await;
    let key = create(&plane, "bot").await.unwrap().key.unwrap();
    assert_eq!(key.name, "bot");
    let document = json(&plane.get("keys", "bot").await.json);
    assert!(document["spec"].get("grants").is_none(), "it is granted nothing: {document}");
    assert_eq!(create(&plane, "bot").await.unwrap_err().code(), Code::AlreadyExists);
    assert_eq!(create(&plane, "No Name").await.unwrap_err().code(), Code::InvalidArgument);

    let file = |text: &str| Some(proto::SourceFile { name: "k.yaml".to_owned(), text: text.to_owned() });
    let version = plane.list("keys").await.version;
    for text in [
        "{apiVersion: portcullis/v1, kind: Customer, metadata: {name: other}, spec: {}}",
        "{apiVersion: portcullis/v1, kind: VirtualKey, metadata: {name: wrong}, spec: {principal: {kind: agent, subject: s}}}",
        "{apiVersion: portcullis/v1, kind: VirtualKey, metadata: {name: other}, spec: {principal: {kind: agent, subject: s}}}\n---\n{apiVersion: portcullis/v1, kind: Customer, metadata: {name: c}, spec: {}}",
    ] {
        let request = proto::CreateKeyRequest { name: "other".to_owned(), file: file(text) };
        let status = plane.keys().create_key(request).await.unwrap_err();
        assert_eq!(status.code(), Code::InvalidArgument, "{text}");
        let problems = admin_support::problems(&status);
        assert!(problems.iter().all(|problem| problem.file == "k.yaml"), "{problems:?}");
    }
    assert_eq!(plane.list("keys").await.version, version);

    let text = "{apiVersion: portcullis/v1, kind: VirtualKey, metadata: {name: other}, spec: {principal: {kind: human, subject: jo}}}";
    let request = proto::CreateKeyRequest { name: "other".to_owned(), file: file(text) };
    let created = plane.keys().create_key(request).await.unwrap().into_inner().key.unwrap();
    assert_eq!(opens(&plane, &created.secret), Ok("other".to_owned()));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn keys_that_are_not_there_and_graces_that_are_too_long_are_refused() {
    let plane = ControlPlane::start().await;
    create(&plane, "bot").await.unwrap();
    assert_eq!(rotate(&plane, "nobody", 0).await.unwrap_err().code(), Code::NotFound);
    assert_eq!(revoke(&plane, "nobody").await.unwrap_err().code(), Code::NotFound);
    let refused = rotate(&plane, "bot", 91 * 86_400).await.unwrap_err();
    assert_eq!(refused.code(), Code::InvalidArgument);
    assert_eq!(refused.message(), "--grace: the old secret may live on for at most 90 days");
}
