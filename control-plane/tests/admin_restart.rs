//! What a restart keeps: everything, down to the signature of the snapshot.

mod admin_support;

use admin_support::{ControlPlane, TEN};
use portcullis_control_plane::store::VaultError;
use portcullis_control_plane::{StartError, start};
use portcullis_policy::snapshot::SIGNATURE_PURPOSE;
use portcullis_proto::admin::v1 as proto;
use portcullis_proto::config::v1 as config;
use portcullis_proto::config::v1::distribution_client::DistributionClient;
use tokio_util::sync::CancellationToken;
use tonic::Code;

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_restart_keeps_everything_and_signs_the_same_snapshot() {
    let plane = ControlPlane::start().await;
    plane.apply(TEN).await;
    let request = proto::RotateKeyRequest { name: "ci".to_owned(), grace_seconds: 60 };
    plane.keys().rotate_key(request).await.unwrap();
    let changed = plane.snapshot().await;
    // What follows changes the store and not the snapshot.
    let request = proto::CreatePlaneTokenRequest::default();
    let mut planes =
        proto::planes_client::PlanesClient::with_interceptor(plane.channel.clone(), plane.bearer());
    planes.create_plane_token(request).await.unwrap();
    plane.apply(&TEN.replace("region: eu", "region: us")).await;

    let token = plane.token();
    let snapshot = plane.snapshot().await;
    assert_eq!(snapshot, changed, "tokens and labels are no policy");
    let published = plane.running().publisher().current().unwrap();
    let (header, signature) = (published.header.clone(), published.signature);
    let key = plane.running().publisher().public_key();
    key.verify(SIGNATURE_PURPOSE, &header.signed_text(), &signature).unwrap();
    drop(published);
    let listed = plane.list("keys").await;
    let history = plane.history("", "").await;
    assert!(listed.version > snapshot.version);

    let plane = plane.restart().await;
    assert_eq!(plane.token(), token);
    assert_eq!(plane.list("keys").await, listed);
    assert_eq!(plane.history("", "").await, history);
    assert_eq!(plane.snapshot().await, snapshot);
    let published = plane.running().publisher().current().unwrap();
    assert_eq!(published.header, header);
    assert_eq!(published.signature, signature);
    assert_eq!(plane.running().publisher().public_key(), key);

    let applied = plane.apply(&TEN.replace("allow: [lookup]", "allow: [other]")).await;
    assert_eq!(plane.snapshot().await.version, applied.version, "and versions go on from there");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_lost_token_file_is_not_made_anew() {
    let plane = ControlPlane::start().await;
    let bearer = plane.bearer();
    std::fs::remove_file(plane.admin_token_file()).unwrap();
    let plane = plane.restart().await;
    assert!(!plane.admin_token_file().exists());
    let mut client =
        proto::resources_client::ResourcesClient::with_interceptor(plane.channel.clone(), bearer);
    client.list(proto::ListRequest { kind: "zones".to_owned() }).await.unwrap();
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_lost_vault_is_not_replaced_unless_that_is_asked_for() {
    let mut plane = ControlPlane::start().await;
    plane.apply(TEN).await;
    let old_key = plane.running().publisher().public_key();
    plane.stop().await;
    let vault = plane.dir.path().join("control/vault");
    let bytes = std::fs::read(&vault).unwrap();
    std::fs::remove_file(&vault).unwrap();

    let start = |new_vault: bool| {
        let mut config = admin_support::config(plane.dir.path());
        config.new_vault = new_vault;
        let shutdown = CancellationToken::new();
        async move { (start(config, shutdown.clone()).await, shutdown) }
    };
    for _ in 0..2 {
        let error = start(false).await.0.unwrap_err();
        assert!(matches!(error, StartError::Vault(VaultError::Lost { version: 1.., .. })), "{error}");
        let sentence = error.to_string();
        assert!(sentence.contains("backup") && sentence.contains("--new-vault"), "{sentence}");
        assert!(!vault.exists(), "nothing was made in its place");
    }

    let (running, shutdown) = start(true).await;
    let running = running.unwrap();
    assert_ne!(running.publisher().public_key(), old_key);
    shutdown.cancel();
    running.wait().await.unwrap();
    let error = start(true).await.0.unwrap_err();
    assert!(matches!(error, StartError::Vault(VaultError::Present { .. })), "{error}");

    std::fs::write(&vault, bytes).unwrap();
    let plane = plane.restart().await;
    assert_eq!(plane.running().publisher().public_key(), old_key, "a backup brings the old key back");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_second_control_plane_on_the_same_directory_does_not_start() {
    let plane = ControlPlane::start().await;
    let second = portcullis_control_plane::start(
        admin_support::config(plane.dir.path()),
        tokio_util::sync::CancellationToken::new(),
    );
    assert!(second.await.is_err());
    plane.apply(TEN).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_plane_token_for_the_same_process_is_kept_in_memory_alone() {
    let plane = ControlPlane::start().await;
    let name = "local".parse().unwrap();
    let (before, history) = (plane.list("zones").await.version, plane.history("", "").await);
    let first = plane.running().plane_token(&name).await.unwrap();
    assert_eq!(plane.list("zones").await.version, before, "it makes no version");
    assert_eq!(plane.history("", "").await, history, "and no history");
    let secret = |token: &str| token.split('.').next().unwrap().to_owned();
    assert!(admin_support::files_with(plane.dir.path(), &secret(&first)).is_empty());

    let mut stream = attach(&plane, &first, "local").await.unwrap();
    assert!(stream.message().await.unwrap().is_some(), "it admits the plane that it is for");
    let mut other = attach(&plane, &first, "other").await.unwrap();
    assert_eq!(other.message().await.unwrap_err().code(), Code::PermissionDenied);

    let second = plane.running().plane_token(&name).await.unwrap();
    assert_ne!(first, second);
    let end = loop {
        match stream.message().await {
            Ok(message) => assert!(message.is_some()),
            Err(status) => break status,
        }
    };
    assert_eq!(end.code(), Code::Unauthenticated, "the one before ends with its stream");
    assert_eq!(attach(&plane, &first, "local").await.unwrap_err().code(), Code::Unauthenticated);

    let plane = plane.restart().await;
    assert_eq!(attach(&plane, &second, "local").await.unwrap_err().code(), Code::Unauthenticated);
}

/// Attaches as a plane of this name.
#[allow(clippy::unwrap_used, reason = "a step that fails fails the test")]
async fn attach(
    plane: &ControlPlane,
    token: &str,
    name: &str,
) -> Result<tonic::Streaming<config::AttachResponse>, tonic::Status> {
    let hello = config::Hello { name: name.to_owned(), ..config::Hello::default() };
    let said = config::AttachRequest { message: Some(config::attach_request::Message::Hello(hello)) };
    let mut request = tonic::Request::new(futures_util::StreamExt::chain(
        futures_util::stream::iter([said]),
        futures_util::stream::pending(),
    ));
    request.metadata_mut().insert("authorization", format!("Bearer {token}").parse().unwrap());
    let mut client = DistributionClient::new(plane.channel.clone());
    Ok(client.attach(request).await?.into_inner())
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn stopping_ends_watches_and_frees_the_directory() {
    let mut plane = ControlPlane::start().await;
    let request = proto::WatchRequest { kind: "zones".to_owned(), name: String::new() };
    let mut watch = plane.resources().watch(request).await.unwrap().into_inner();
    assert!(watch.message().await.unwrap().is_some());
    plane.stop().await;
    assert!(matches!(watch.message().await, Ok(None) | Err(_)));
    drop(watch);
    let plane = plane.restart().await;
    assert_eq!(plane.names("zones").await, ["default"]);
}
