//! Who gets in, what is served beside the admin API, and what a start refuses.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    reason = "a step that fails fails the test"
)]

mod admin_support;

use std::os::unix::fs::PermissionsExt as _;

use admin_support::{ControlPlane, config};
use http_body_util::{BodyExt as _, Empty};
use portcullis_control_plane::{StartError, start};
use portcullis_proto::admin::v1 as proto;
use proto::resources_client::ResourcesClient;
use tokio_util::sync::CancellationToken;
use tonic::{Code, Request};

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn only_the_administrators_token_opens_the_api_and_no_refusal_says_why() {
    let plane = ControlPlane::start().await;
    let token = plane.token();
    assert!(token.starts_with("pca_"));
    let mut wrong = token.clone();
    wrong.pop();
    wrong.push(if token.ends_with('A') { 'B' } else { 'A' });
    let other = portcullis_seal::token::Token::generate("pca_").unwrap().text.to_string();
    let key = portcullis_seal::token::Token::generate("pcl_").unwrap().text.to_string();
    let mut client = ResourcesClient::new(plane.channel.clone());
    let mut messages = Vec::new();
    let list = || proto::ListRequest { kind: "zones".to_owned() };
    for header in ["".to_owned(), format!("Basic {token}"), token.clone()]
        .into_iter()
        .chain([wrong, other, key, String::new()].map(|text| format!("Bearer {text}")))
    {
        let mut request = Request::new(list());
        request.metadata_mut().insert("authorization", header.parse().unwrap());
        let status = client.list(request).await.unwrap_err();
        assert_eq!(status.code(), Code::Unauthenticated, "{header}");
        messages.push(status.message().to_owned());
    }
    messages.push(client.list(Request::new(list())).await.unwrap_err().message().to_owned());
    let mut twice = Request::new(list());
    for _ in 0..2 {
        twice.metadata_mut().append("authorization", format!("Bearer {token}").parse().unwrap());
    }
    messages.push(client.list(twice).await.unwrap_err().message().to_owned());
    messages.dedup();
    assert_eq!(messages.len(), 1, "{messages:?}");
    assert!(plane.resources().list(list()).await.is_ok());
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn every_admin_service_asks_for_the_token() {
    let plane = ControlPlane::start().await;
    let channel = || plane.channel.clone();
    let codes = [
        proto::keys_client::KeysClient::new(channel())
            .revoke_key(proto::RevokeKeyRequest::default())
            .await
            .map(drop),
        proto::approvals_client::ApprovalsClient::new(channel())
            .list_approvals(proto::ListApprovalsRequest::default())
            .await
            .map(drop),
        proto::policy_client::PolicyClient::new(channel())
            .get_snapshot(proto::GetSnapshotRequest {})
            .await
            .map(drop),
        proto::planes_client::PlanesClient::new(channel())
            .list_planes(proto::ListPlanesRequest {})
            .await
            .map(drop),
        proto::secrets_client::SecretsClient::new(channel())
            .list_secrets(proto::ListSecretsRequest {})
            .await
            .map(drop),
        proto::resources_client::ResourcesClient::new(channel())
            .watch(proto::WatchRequest { kind: "keys".to_owned(), name: String::new() })
            .await
            .map(drop),
    ];
    for result in codes {
        assert_eq!(result.unwrap_err().code(), Code::Unauthenticated);
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn health_and_reflection_are_served_to_everybody() {
    use tonic_health::pb::HealthCheckRequest;
    use tonic_health::pb::health_check_response::ServingStatus;
    use tonic_health::pb::health_client::HealthClient;
    use tonic_reflection::pb::v1::server_reflection_client::ServerReflectionClient;
    use tonic_reflection::pb::v1::server_reflection_request::MessageRequest;
    use tonic_reflection::pb::v1::server_reflection_response::MessageResponse;

    let plane = ControlPlane::start().await;
    let mut health = HealthClient::new(plane.channel.clone());
    for service in ["", "portcullis.admin.v1.Resources", "portcullis.config.v1.Distribution"] {
        let request = HealthCheckRequest { service: service.to_owned() };
        let answer = health.check(request).await.unwrap().into_inner();
        assert_eq!(answer.status(), ServingStatus::Serving, "{service}");
    }
    let request = tonic_reflection::pb::v1::ServerReflectionRequest {
        host: String::new(),
        message_request: Some(MessageRequest::ListServices(String::new())),
    };
    let mut reflection = ServerReflectionClient::new(plane.channel.clone());
    let stream = tokio_stream::iter([request]);
    let mut answers = reflection.server_reflection_info(stream).await.unwrap().into_inner();
    let answer = answers.message().await.unwrap().unwrap().message_response.unwrap();
    let MessageResponse::ListServicesResponse(services) = answer else { panic!("{answer:?}") };
    let names: Vec<String> = services.service.into_iter().map(|service| service.name).collect();
    for wanted in ["portcullis.admin.v1.Keys", "portcullis.config.v1.Distribution", "grpc.health.v1.Health"] {
        assert!(names.iter().any(|name| name == wanted), "{names:?}");
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_http_port_tells_health_readiness_and_metrics_and_nothing_else() {
    let plane = ControlPlane::start().await;
    plane.apply(admin_support::ZONES).await;
    let addr = plane.running().http_addr;
    for (method, path, status, word) in [
        ("GET", "/healthz", 200, "ok"),
        ("GET", "/readyz", 200, "ready"),
        ("GET", "/metrics", 200, "portcullis_snapshot_entries 3"),
        ("HEAD", "/healthz", 200, ""),
        ("POST", "/healthz", 405, ""),
        ("GET", "/", 404, ""),
        ("GET", "/metrics/", 404, ""),
        ("GET", "/..%2fvault", 404, ""),
    ] {
        let (got, body) = http(addr, method, path).await;
        assert_eq!(got, status, "{method} {path}");
        assert!(body.contains(word), "{method} {path}: {body}");
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn refused_tokens_are_counted_and_never_told() {
    let plane = ControlPlane::start().await;
    let mut bare = proto::resources_client::ResourcesClient::new(plane.channel.clone());
    for value in [None, Some("Bearer pca_nonsense"), Some("Bearer pca_nonsense")] {
        let mut request = tonic::Request::new(proto::ListRequest { kind: "zones".to_owned() });
        if let Some(value) = value {
            request.metadata_mut().insert("authorization", value.parse().unwrap());
        }
        assert_eq!(bare.list(request).await.unwrap_err().code(), Code::Unauthenticated);
    }
    let (_, metrics) = http(plane.running().http_addr, "GET", "/metrics").await;
    for line in [
        "portcullis_refused_tokens_total{credential=\"admin\",cause=\"missing\"} 1",
        "portcullis_refused_tokens_total{credential=\"admin\",cause=\"unknown\"} 2",
        "portcullis_refused_tokens_total{credential=\"plane\",cause=\"revoked\"} 0",
    ] {
        assert!(metrics.contains(line), "{line}\n{metrics}");
    }
    assert!(!metrics.contains("nonsense"));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_store_that_takes_no_changes_is_not_ready_and_says_why() {
    let dir = tempfile::tempdir().unwrap();
    let mut config = config(dir.path());
    config.store_check_interval = std::time::Duration::from_millis(5);
    let shutdown = CancellationToken::new();
    let running = start(config, shutdown.clone()).await.unwrap();
    let readyz = async |wanted: u16| loop {
        let (status, body) = http(running.http_addr, "GET", "/readyz").await;
        if status == wanted {
            return body;
        }
    };
    assert_eq!(readyz(200).await, "ready\n");
    let (here, away) = (dir.path().join("control/journal"), dir.path().join("away"));
    std::fs::rename(&here, &away).unwrap();
    let body = readyz(503).await;
    assert!(body.starts_with("the store takes no changes: No such file"), "{body}");
    assert_eq!(
        http(running.http_addr, "GET", "/healthz").await.0,
        200,
        "it need not be started again for that"
    );
    std::fs::rename(&away, &here).unwrap();
    assert_eq!(readyz(200).await, "ready\n");
    shutdown.cancel();
    running.wait().await.unwrap();
    assert!(!here.join("room.check").exists());
}

async fn http(addr: std::net::SocketAddr, method: &str, path: &str) -> (u16, String) {
    let stream = tokio::net::TcpStream::connect(addr).await.unwrap();
    let io = hyper_util::rt::TokioIo::new(stream);
    let (mut sender, connection) = hyper::client::conn::http1::handshake(io).await.unwrap();
    tokio::spawn(connection);
    let request = http::Request::builder()
        .method(method)
        .uri(path)
        .header("host", addr.to_string())
        .body(Empty::<bytes::Bytes>::new())
        .unwrap();
    let response = sender.send_request(request).await.unwrap();
    let status = response.status().as_u16();
    let body = response.into_body().collect().await.unwrap().to_bytes();
    (status, String::from_utf8(body.to_vec()).unwrap())
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn plain_text_on_another_address_than_loopback_is_refused_before_anything_is_written() {
    for port in ["gRPC", "HTTP"] {
        let dir = tempfile::tempdir().unwrap();
        let mut config = config(dir.path());
        let listen = if port == "gRPC" { &mut config.grpc_listen } else { &mut config.http_listen };
        *listen = "0.0.0.0:0".parse().unwrap();
        let error = start(config, CancellationToken::new()).await.unwrap_err();
        assert!(matches!(error, StartError::PlainText { .. }), "{error}");
        let sentence = error.to_string();
        assert!(sentence.starts_with(port), "{sentence}");
        assert!(sentence.contains("--tls-cert") && sentence.contains("--tls-key"), "{sentence}");
        assert_eq!(std::fs::read_dir(dir.path()).unwrap().count(), 0);
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn with_a_certificate_the_api_speaks_tls_alone() {
    let made = rcgen::generate_simple_self_signed(vec!["localhost".to_owned()]).unwrap();
    let dir = tempfile::tempdir().unwrap();
    let (cert, key) = (dir.path().join("cert.pem"), dir.path().join("key.pem"));
    std::fs::write(&cert, made.cert.pem()).unwrap();
    std::fs::write(&key, made.signing_key.serialize_pem()).unwrap();
    let mut config = config(&dir.path().join("data"));
    config.grpc_listen = "0.0.0.0:0".parse().unwrap();
    config.tls = Some(portcullis_control_plane::TlsFiles { cert, key });
    let stop = CancellationToken::new();
    let running = start(config, stop.clone()).await.unwrap();

    let tls = tonic::transport::ClientTlsConfig::new()
        .ca_certificate(tonic::transport::Certificate::from_pem(made.cert.pem()))
        .domain_name("localhost");
    let port = running.grpc_addr.port();
    let url = format!("https://127.0.0.1:{port}");
    let endpoint = tonic::transport::Endpoint::from_shared(url).unwrap().tls_config(tls).unwrap();
    let mut client = ResourcesClient::new(endpoint.connect().await.unwrap());
    let token = std::fs::read_to_string(&running.admin_token_file).unwrap();
    let mut request = Request::new(proto::ListRequest { kind: "zones".to_owned() });
    request.metadata_mut().insert("authorization", format!("Bearer {}", token.trim()).parse().unwrap());
    assert_eq!(client.list(request).await.unwrap().into_inner().resources.len(), 1);

    let plain = tonic::transport::Endpoint::from_shared(format!("http://127.0.0.1:{port}")).unwrap();
    let refused = match plain.connect().await {
        Ok(channel) => ResourcesClient::new(channel).list(proto::ListRequest::default()).await.is_err(),
        Err(_) => true,
    };
    assert!(refused);
    stop.cancel();
    drop(client);
    running.wait().await.unwrap();
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_token_file_is_its_owners_alone_and_what_was_put_there_before_is_taken() {
    let plane = ControlPlane::start().await;
    let mode = std::fs::metadata(plane.admin_token_file()).unwrap().permissions().mode();
    assert_eq!(mode & 0o777, 0o600);
    let mode = std::fs::metadata(plane.dir.path().join("control")).unwrap().permissions().mode();
    assert_eq!(mode & 0o777, 0o700);

    let dir = std::sync::Arc::new(tempfile::tempdir().unwrap());
    let made = portcullis_seal::token::Token::generate("pca_").unwrap().text.to_string();
    let file = dir.path().join("admin.token");
    std::fs::write(&file, &made).unwrap();
    std::fs::set_permissions(&file, std::fs::Permissions::from_mode(0o600)).unwrap();
    let plane = ControlPlane::start_in(dir, admin_support::START).await;
    assert_eq!(plane.token(), made);
    assert_eq!(plane.names("zones").await, ["default"]);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn unknown_kinds_and_names_and_endpoints_are_refused_with_what_would_be_right() {
    let plane = ControlPlane::start().await;
    let status = plane.try_get("gadgets", "x").await.unwrap_err();
    assert_eq!(status.code(), Code::InvalidArgument);
    assert!(status.message().contains("servers"), "{}", status.message());
    assert_eq!(plane.try_get("servers", "x").await.unwrap_err().code(), Code::NotFound);
    let request =
        proto::ExplainRequest { endpoint: "/nowhere".to_owned(), ..proto::ExplainRequest::default() };
    assert_eq!(plane.policy().explain(request).await.unwrap_err().code(), Code::InvalidArgument);
    let request = proto::HistoryRequest { name: "x".to_owned(), ..proto::HistoryRequest::default() };
    assert_eq!(plane.resources().history(request).await.unwrap_err().code(), Code::InvalidArgument);
    let mut request = admin_support::apply_request(admin_support::ZONES);
    request.message = "x".repeat(5000);
    assert_eq!(plane.resources().apply(request).await.unwrap_err().code(), Code::InvalidArgument);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_message_that_is_too_large_is_refused_unread() {
    let plane = ControlPlane::start().await;
    let file = proto::SourceFile { name: "k.yaml".to_owned(), text: "#".repeat(300 << 10) };
    let request = proto::CreateKeyRequest { name: "k".to_owned(), file: Some(file) };
    assert_eq!(plane.keys().create_key(request).await.unwrap_err().code(), Code::OutOfRange);
    let request = proto::SetSecretRequest { name: "s".to_owned(), value: vec![0; 300 << 10].into() };
    assert_eq!(plane.secrets().set_secret(request).await.unwrap_err().code(), Code::OutOfRange);
    let mut request = admin_support::apply_request(admin_support::ZONES);
    request.files[0].text.push_str(&"#".repeat(33 << 20));
    assert_eq!(plane.resources().apply(request).await.unwrap_err().code(), Code::OutOfRange);
    assert_eq!(plane.names("zones").await, ["default"]);
}
