//! Secrets: set, listed by name, used by servers, and on disk in the vault alone.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    reason = "a step that fails fails the test"
)]

mod admin_support;

use admin_support::{ControlPlane, files, files_with};
use portcullis_proto::admin::v1 as proto;
use tonic::{Code, Status};

const SERVER: &str = r#"
apiVersion: portcullis/v1
kind: McpServer
metadata: { name: crm }
spec:
  transport: { streamableHttp: { url: "http://127.0.0.1:1/mcp" } }
  auth: { header: { name: X-Api-Key, valueFrom: { secret: crm-key } } }
"#;

async fn set(plane: &ControlPlane, name: &str, value: &str) -> Result<(), Status> {
    let request = proto::SetSecretRequest { name: name.to_owned(), value: value.to_owned().into() };
    plane.secrets().set_secret(request).await.map(drop)
}

async fn list(plane: &ControlPlane) -> Vec<proto::SecretInfo> {
    plane.secrets().list_secrets(proto::ListSecretsRequest {}).await.unwrap().into_inner().secrets
}

async fn delete(plane: &ControlPlane, name: &str) -> Result<(), Status> {
    let request = proto::DeleteSecretRequest { name: name.to_owned() };
    plane.secrets().delete_secret(request).await.map(drop)
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_value_is_in_the_vault_and_in_no_other_file_and_in_no_answer() {
    const VALUE: &str = "s3cr3t-value-that-is-easy-to-find";
    const SECOND: &str = "another-value-after-the-first-one";
    let plane = ControlPlane::start().await;
    plane.apply(SERVER).await;
    set(&plane, "crm-key", VALUE).await.unwrap();
    set(&plane, "crm-key", SECOND).await.unwrap();
    set(&plane, "crm-key", VALUE).await.unwrap();
    plane.apply(&SERVER.replace("name: crm", "name: crm2")).await;
    let answers = format!(
        "{:?}{:?}{:?}{:?}",
        plane.get("servers", "crm").await,
        plane.history("", "").await,
        list(&plane).await,
        plane.snapshot().await
    );
    assert!(!answers.contains(VALUE) && !answers.contains(SECOND));
    let published = plane.running().publisher().current().unwrap();
    for entry in published.entries.iter() {
        assert!(!String::from_utf8_lossy(&entry.body).contains(VALUE), "no snapshot holds it");
    }

    let control = plane.dir.path().join("control");
    assert!(files(&control).len() > 2, "there are files to look into");
    let vault = control.join("vault");
    for value in [VALUE, SECOND] {
        for form in [value.to_owned(), hex(value), base64(value)] {
            let found = files_with(plane.dir.path(), &form);
            assert!(found.iter().all(|path| *path == vault), "{form} is in {found:?}");
        }
    }
}

fn hex(text: &str) -> String {
    text.bytes().map(|byte| format!("{byte:02x}")).collect()
}

fn base64(text: &str) -> String {
    use base64::Engine as _;
    base64::engine::general_purpose::STANDARD_NO_PAD.encode(text)
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_server_may_refer_to_a_secret_that_comes_later_and_is_warned_about() {
    let plane = ControlPlane::start().await;
    let applied = plane.apply(SERVER).await;
    let warning = &applied.warnings[0];
    assert_eq!((warning.resource.as_str(), warning.file.as_str()), ("McpServer/crm", "test.yaml"));
    assert!(warning.message.contains("crm-key"), "{warning:?}");
    set(&plane, "crm-key", "x").await.unwrap();
    assert!(plane.apply(SERVER).await.warnings.is_empty());
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_secret_in_use_is_not_deleted() {
    let plane = ControlPlane::start().await;
    set(&plane, "crm-key", "x").await.unwrap();
    set(&plane, "idle", "y").await.unwrap();
    plane.apply(SERVER).await;
    let listed = list(&plane).await;
    let told: Vec<_> = listed.iter().map(|secret| (secret.name.as_str(), secret.used_by.clone())).collect();
    assert_eq!(told, [("crm-key", vec!["crm".to_owned()]), ("idle", Vec::new())]);
    assert!(listed.iter().all(|secret| secret.set_unix_ms == admin_support::START));

    let status = delete(&plane, "crm-key").await.unwrap_err();
    assert_eq!(status.code(), Code::FailedPrecondition);
    assert!(status.message().contains("crm"), "{}", status.message());
    delete(&plane, "idle").await.unwrap();
    assert_eq!(delete(&plane, "idle").await.unwrap_err().code(), Code::NotFound);
    plane.delete("servers", "crm").await.unwrap();
    delete(&plane, "crm-key").await.unwrap();
    assert!(list(&plane).await.is_empty());
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn bad_names_and_sizes_are_refused() {
    let plane = ControlPlane::start().await;
    for (name, value) in [("No Name", "x"), ("", "x"), ("ok", ""), ("ok", &"x".repeat(65 * 1024))] {
        assert_eq!(set(&plane, name, value).await.unwrap_err().code(), Code::InvalidArgument, "{name}");
    }
    set(&plane, "ok", &"x".repeat(64 * 1024)).await.unwrap();
    let message = set(&plane, "big", &"secretsecret".repeat(30_000)).await.unwrap_err();
    assert!(!message.message().contains("secretsecret"), "no error repeats a value");
}
