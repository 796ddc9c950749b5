//! Going back to an old version: what comes back, what never does, and why it is refused.

#![allow(
    clippy::unwrap_used,
    clippy::panic,
    clippy::indexing_slicing,
    reason = "a step that fails fails the test"
)]

mod admin_support;

use std::collections::BTreeMap;

use admin_support::{ControlPlane, TEN, told};
use portcullis_proto::admin::v1 as proto;
use tonic::{Code, Status};

async fn rollback(plane: &ControlPlane, version: u64) -> Result<proto::ApplyResponse, Status> {
    let request = proto::RollbackRequest { version, ..proto::RollbackRequest::default() };
    Ok(plane.resources().rollback(request).await?.into_inner().applied.unwrap())
}

async fn version(plane: &ControlPlane) -> u64 {
    plane.list("zones").await.version
}

/// Every document by kind and name.
async fn documents(plane: &ControlPlane) -> BTreeMap<String, String> {
    let mut all = BTreeMap::new();
    for kind in ["zones", "customers", "teams", "servers", "bundles", "keys"] {
        for resource in plane.list(kind).await.resources {
            all.insert(format!("{kind}/{}", resource.name), resource.json);
        }
    }
    all
}

fn key(name: &str, grants: &str) -> String {
    format!(
        "apiVersion: portcullis/v1\nkind: VirtualKey\nmetadata: {{ name: {name} }}\nspec: {{ principal: {{ kind: agent, subject: {name} }}, grants: {grants} }}\n"
    )
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_rollback_is_a_new_version_that_equals_the_old_one() {
    let plane = ControlPlane::start().await;
    plane.apply(TEN).await;
    let (old, before) = (version(&plane).await, documents(&plane).await);
    plane
        .apply(&TEN.replace("allow: [search_issues]", "allow: [get_issue]").replace("[lookup]", "[\"*\"]"))
        .await;
    plane.apply(&key("extra", "[ { bundle: code } ]")).await;
    plane.delete("keys", "ci").await.unwrap();
    let changed = documents(&plane).await;

    // What would happen is said, and nothing happens.
    let request = proto::RollbackRequest { version: old, dry_run: true, ..proto::RollbackRequest::default() };
    let plan = plane.resources().rollback(request).await.unwrap().into_inner().applied.unwrap();
    let expected = ["ToolBundle/support: changed", "VirtualKey/ci: created", "VirtualKey/extra: deleted"];
    assert_eq!(told(&plan.changes), expected);
    assert!(plan.keys.is_empty() && !plan.effect_json.is_empty());
    assert_eq!(documents(&plane).await, changed);

    let present = version(&plane).await;
    let done = rollback(&plane, old).await.unwrap();
    assert_eq!((told(&done.changes), done.version), (expected.map(str::to_owned).to_vec(), present + 1));
    assert_eq!(documents(&plane).await, before);
    let entry = plane.history("", "").await.remove(0);
    assert_eq!((entry.version, entry.message), (done.version, format!("roll back to version {old}")));

    // There and back: nothing is left to do, and the version in between can be had again.
    assert!(rollback(&plane, old).await.unwrap().changes.is_empty());
    rollback(&plane, present).await.unwrap();
    assert_eq!(documents(&plane).await, changed);
    for wrong in [0, 1_000] {
        assert_eq!(rollback(&plane, wrong).await.unwrap_err().code(), Code::NotFound, "{wrong}");
    }
    // The truth is the journal: what is read from it after a restart is the same.
    let plane = plane.restart().await;
    assert_eq!(documents(&plane).await, changed);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn hashes_revocations_and_uids_never_come_back() {
    let plane = ControlPlane::start().await;
    let first = plane.apply(&[key("bot", "[]"), key("gone", "[]")].join("---\n")).await;
    let old = version(&plane).await;
    let uid = async |name: &str| plane.get("keys", name).await.uid;
    let (bot, gone) = (uid("bot").await, uid("gone").await);

    plane.apply(&key("bot", "[ ]").replace("subject: bot", "subject: other")).await;
    let request = proto::RevokeKeyRequest { name: "bot".to_owned(), message: String::new() };
    plane.keys().revoke_key(request).await.unwrap();
    plane.delete("keys", "gone").await.unwrap();
    let middle = version(&plane).await;
    // Another key under the same name.
    plane.apply(&key("gone", "[]").replace("subject: gone", "subject: somebody-else")).await;
    let second = uid("gone").await;

    let back = rollback(&plane, old).await.unwrap();
    let status = admin_support::json(&plane.get("keys", "bot").await.status_json);
    assert_eq!((uid("bot").await, status["state"].as_str()), (bot, Some("revoked")));
    // The key that was deleted is a new one with a secret of its own, told once; neither of the others is there.
    let third = uid("gone").await;
    assert!(third != gone && third != second);
    assert_eq!(back.keys.iter().map(|key| key.name.as_str()).collect::<Vec<_>>(), ["gone"]);
    assert!(first.keys.iter().all(|key| key.secret != back.keys[0].secret));

    // Back over the place where one took the other's: again another one.
    rollback(&plane, middle + 1).await.unwrap();
    assert!(![gone, second, third].contains(&uid("gone").await));
    assert_eq!(
        admin_support::json(&plane.get("keys", "gone").await.json)["spec"]["principal"]["subject"],
        "somebody-else"
    );
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_rollback_to_what_refers_to_a_secret_that_is_gone_is_refused_and_says_so() {
    let plane = ControlPlane::start().await;
    let secret = |name: &str| proto::SetSecretRequest { name: name.to_owned(), value: b"v".to_vec().into() };
    plane.secrets().set_secret(secret("crm-token")).await.unwrap();
    let server = "apiVersion: portcullis/v1\nkind: McpServer\nmetadata: { name: crm }\nspec: { transport: { streamableHttp: { url: \"http://127.0.0.1:1/mcp\" } }, auth: { header: { name: authorization, valueFrom: { secret: crm-token } } } }\n";
    plane.apply(server).await;
    let old = version(&plane).await;
    plane.delete("servers", "crm").await.unwrap();
    let forget = proto::DeleteSecretRequest { name: "crm-token".to_owned() };
    plane.secrets().delete_secret(forget).await.unwrap();

    let before = documents(&plane).await;
    let refused = rollback(&plane, old).await.unwrap_err();
    let problem = admin_support::problems(&refused).remove(0);
    assert_eq!(problem.resource, "McpServer/crm");
    assert!(problem.message.contains("secret crm-token, which is gone"), "{problem:?}");
    assert_eq!(documents(&plane).await, before);
    plane.secrets().set_secret(secret("crm-token")).await.unwrap();
    rollback(&plane, old).await.unwrap();
    assert_eq!(plane.names("servers").await, ["crm"]);
}
