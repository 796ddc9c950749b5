//! The official SDK's servers as upstreams, over HTTP, over TLS and as children, in both eras.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing,
    reason = "helpers of tests fail as tests do"
)]

mod upstream_support;

use std::sync::Arc;

use futures_util::StreamExt as _;
use hyper_util::rt::{TokioExecutor, TokioIo};
use hyper_util::server::conn::auto;
use hyper_util::service::TowerToHyperService;
use portcullis_data_plane::upstream::{Caller, Event, ExchangeBody, UpstreamConfig};
use portcullis_mcp::Era;
use rmcp::model::{
    CallToolRequestParams, CallToolResponse, CallToolResult, ContentBlock, ErrorData, Implementation,
    ListToolsResult, PaginatedRequestParams, ProgressNotificationParam, ServerCapabilities, ServerConfig,
    Tool,
};
use rmcp::service::{RequestContext, RoleServer};
use rmcp::transport::streamable_http_server::session::local::LocalSessionManager;
use rmcp::transport::streamable_http_server::{StreamableHttpServerConfig, StreamableHttpService};
use rmcp::{ServerHandler, ServiceExt as _};
use serde_json::{Value, json};

use upstream_support::child;
use upstream_support::soon;
use upstream_support::world::{World, call, http, legacy_caller, modern_caller, server};

#[derive(Clone, Default)]
struct Echo;

impl ServerHandler for Echo {
    fn get_info(&self) -> ServerConfig {
        ServerConfig::new(ServerCapabilities::builder().enable_tools().build())
            .with_server_info(Implementation::new("echo", "1"))
    }

    async fn list_tools(
        &self,
        _: Option<PaginatedRequestParams>,
        _: RequestContext<RoleServer>,
    ) -> Result<ListToolsResult, ErrorData> {
        let schema = serde_json::Map::from_iter([("type".to_owned(), json!("object"))]);
        Ok(ListToolsResult::with_all_items(vec![Tool::new("echo", "Says it back.", schema)]))
    }

    async fn call_tool(
        &self,
        request: CallToolRequestParams,
        context: RequestContext<RoleServer>,
    ) -> Result<CallToolResponse, ErrorData> {
        if let Some(token) = context.meta.get_progress_token() {
            let _ = context.peer.notify_progress(ProgressNotificationParam::new(token, 1.0)).await;
        }
        let text = Value::Object(request.arguments.unwrap_or_default()).to_string();
        Ok(CallToolResult::success(vec![ContentBlock::text(text)]).into())
    }
}

fn service() -> StreamableHttpService<Echo, LocalSessionManager> {
    StreamableHttpService::new(|| Ok(Echo), Arc::default(), StreamableHttpServerConfig::default())
}

async fn over_http() -> String {
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
    let url = format!("http://{}/mcp", listener.local_addr().unwrap());
    let service = service();
    tokio::spawn(async move {
        loop {
            let (stream, _) = listener.accept().await.unwrap();
            let service = TowerToHyperService::new(service.clone());
            tokio::spawn(async move {
                let _ = auto::Builder::new(TokioExecutor::new())
                    .serve_connection(TokioIo::new(stream), service)
                    .await;
            });
        }
    });
    url
}

fn observed(era: Era) -> Value {
    let version = if era == Era::Modern { "2026-07-28" } else { "2025-11-25" };
    json!({ "observed": { "modern": era == Era::Modern, "protocolVersion": version, "capabilities": {} } })
}

/// Calls the tool with a progress token, and gives what was heard and what came back.
async fn ask(world: &World, caller: Caller) -> (Era, usize, Value) {
    let params = json!({ "name": "echo", "arguments": { "a": 1 }, "_meta": { "progressToken": "tok" } });
    let exchange = soon("an answer", world.request(call(caller, "tools/call", &params))).await.unwrap();
    let mut notes = 0;
    let response = match exchange.body {
        ExchangeBody::Json(json) => json,
        ExchangeBody::Stream(mut stream) => loop {
            match soon("an event", stream.next()).await.unwrap().unwrap() {
                Event::Notification { json } => {
                    let note: Value = serde_json::from_slice(&json).unwrap();
                    assert_eq!(note["params"]["progressToken"], "tok");
                    notes += 1;
                }
                Event::Response { json } => break json,
                other => panic!("{other:?}"),
            }
        },
    };
    (exchange.era, notes, serde_json::from_slice(&response).unwrap())
}

#[tokio::test]
async fn an_sdk_server_of_both_eras_is_spoken_to_in_the_callers_own() {
    let url = over_http().await;
    for era in [Era::Modern, Era::Legacy] {
        let world = World::new(&http(&url, &observed(era)));
        for caller in [legacy_caller(1), modern_caller()] {
            let expected = if era == Era::Modern { caller.era } else { Era::Legacy };
            let (spoken, notes, response) = ask(&world, caller).await;
            assert_eq!((spoken, notes), (expected, 1));
            assert_eq!(response["result"]["content"][0]["text"], r#"{"a":1}"#);
        }
    }
    let world = World::new(&http(&url, &json!({})));
    assert_eq!(ask(&world, modern_caller()).await.0, Era::Modern, "found out by asking");
}

#[tokio::test]
async fn an_sdk_server_is_spoken_to_over_tls_and_http2() {
    let certificate = rcgen::generate_simple_self_signed(vec!["localhost".to_owned()]).unwrap();
    let key = rustls::pki_types::PrivateKeyDer::try_from(certificate.signing_key.serialize_der()).unwrap();
    let provider = Arc::new(rustls::crypto::ring::default_provider());
    let mut config = rustls::ServerConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()
        .unwrap()
        .with_no_client_auth()
        .with_single_cert(vec![certificate.cert.der().clone()], key)
        .unwrap();
    config.alpn_protocols = vec![b"h2".to_vec(), b"http/1.1".to_vec()];
    let acceptor = tokio_rustls::TlsAcceptor::from(Arc::new(config));
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
    let port = listener.local_addr().unwrap().port();
    let service = service();
    let (versions, mut spoken) = tokio::sync::mpsc::unbounded_channel();
    tokio::spawn(async move {
        loop {
            let (stream, _) = listener.accept().await.unwrap();
            let (acceptor, service, versions) = (acceptor.clone(), service.clone(), versions.clone());
            tokio::spawn(async move {
                let Ok(stream) = acceptor.accept(stream).await else { return };
                let _ = versions.send(stream.get_ref().1.alpn_protocol().map(<[u8]>::to_vec));
                let service = TowerToHyperService::new(service);
                let _ = auto::Builder::new(TokioExecutor::new())
                    .serve_connection(TokioIo::new(stream), service)
                    .await;
            });
        }
    });
    let entry = http(&format!("https://localhost:{port}/mcp"), &json!({}));
    let trusting =
        UpstreamConfig { extra_roots: vec![certificate.cert.der().clone()], ..UpstreamConfig::default() };
    let world = World::with(&entry, trusting);
    let (first, second) = tokio::join!(ask(&world, modern_caller()), ask(&world, modern_caller()));
    assert_eq!((first.1, second.1), (1, 1));
    assert_eq!(spoken.recv().await.unwrap().as_deref(), Some(&b"h2"[..]));

    let world = World::new(&entry);
    let error = world.request(upstream_support::world::echo(modern_caller())).await.unwrap_err();
    assert!(error.message.contains("certificate"), "{error}");
    assert!(!error.reached);
}

#[test]
fn child() {
    if std::env::var_os(child::KIND).is_none() {
        return;
    }
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    runtime.block_on(async {
        let service = Echo.serve(rmcp::transport::stdio()).await.unwrap();
        service.waiting().await.unwrap();
    });
    std::process::exit(0);
}

#[tokio::test]
async fn an_sdk_child_answers_in_the_era_that_it_speaks() {
    let log = tempfile::tempdir().unwrap();
    for more in [json!({}), observed(Era::Legacy), observed(Era::Modern)] {
        let entry = server(&child::transport("sdk", &log.path().join("log"), 1), &more);
        let config = UpstreamConfig { allow_stdio: true, ..UpstreamConfig::from_environment() };
        let world = World::with(&entry, config);
        for caller in [legacy_caller(1), modern_caller()] {
            let (_, notes, response) = ask(&world, caller).await;
            assert_eq!(notes, 1);
            assert_eq!(response["result"]["content"][0]["text"], r#"{"a":1}"#);
        }
        world.upstreams.shutdown().await;
    }
}
