//! Traces: one span for each call, under the caller's, above the upstream's, and the one that the record names.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing,
    reason = "tests fail so"
)]

mod common;

use std::process::Stdio;
use std::sync::{Arc, Mutex};

use bytes::Bytes;
use common::{Fake, Policy, World};
use http_body_util::{BodyExt as _, Empty};
use hyper::service::service_fn;
use hyper_util::rt::{TokioExecutor, TokioIo};
use portcullis_telemetry::{LogFormat, Options};
use serde_json::json;
use tokio::net::TcpListener;

const TRACE: &str = "0af7651916cd43dd8448eb211c80319c";
const SPAN: &str = "00f067aa0ba902b7";

/// What was exported to it, as it came: names are text within.
async fn collector() -> (String, Arc<Mutex<Vec<u8>>>) {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let url = format!("http://{}", listener.local_addr().unwrap());
    let taken = Arc::new(Mutex::new(Vec::new()));
    let takes = Arc::clone(&taken);
    tokio::spawn(async move {
        while let Ok((stream, _)) = listener.accept().await {
            let takes = Arc::clone(&takes);
            let service = service_fn(move |request: http::Request<hyper::body::Incoming>| {
                let takes = Arc::clone(&takes);
                async move {
                    let body = request.into_body().collect().await.unwrap().to_bytes();
                    takes.lock().unwrap().extend_from_slice(&body);
                    let answer = http::Response::builder()
                        .header("content-type", "application/grpc")
                        .header("grpc-status", "0")
                        .body(Empty::<Bytes>::new());
                    Ok::<_, std::convert::Infallible>(answer.unwrap())
                }
            });
            tokio::spawn(
                hyper::server::conn::http2::Builder::new(TokioExecutor::new())
                    .serve_connection(TokioIo::new(stream), service),
            );
        }
    });
    (url, taken)
}

/// Part of the test below, in a process of its own: a collector is named once for a whole process.
#[tokio::test(flavor = "multi_thread")]
async fn in_a_process_with_a_collector() {
    if std::env::var_os("OTEL_EXPORTER_OTLP_ENDPOINT").is_none() {
        return;
    }
    let options =
        Options { service: "test", version: "0", format: LogFormat::default(), filter: "warn".to_owned() };
    let telemetry = portcullis_telemetry::init(&options).unwrap();
    let fake = Fake::start(true).await;
    let policy = Policy::new()
        .server("crm", &fake.url, true, &Fake::capabilities())
        .tool("crm", "echo")
        .key("bot", &json!([{"server": "crm", "allow": ["*"]}]));
    let world = World::new(&policy).await;
    let bot = world.caller("bot", "/mcp");
    let traced = bot.with("traceparent", &format!("00-{TRACE}-{SPAN}-01"));
    traced.ask_modern("tools/call", json!({"name": "crm_echo"})).await.result();
    let record = world.records().pop().unwrap();
    let own = record.span_id.unwrap();
    assert_eq!(record.trace_id.as_deref(), Some(TRACE));
    assert_ne!(own, SPAN);
    let seen = fake.saw("tools/call").await;
    assert_eq!(seen.headers["traceparent"], format!("00-{TRACE}-{own}-01").as_str());
    traced.ask_modern("tools/call", json!({"name": "invented-by-a-client"})).await;
    // A caller that samples nothing is followed, and its own place is passed on.
    let unsampled = format!("00-{TRACE}-{SPAN}-00");
    bot.with("traceparent", &unsampled).ask_modern("tools/call", json!({"name": "crm_echo"})).await;
    assert_eq!(world.records().pop().unwrap().span_id.as_deref(), Some(SPAN));
    tokio::task::spawn_blocking(move || drop(telemetry)).await.unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn a_call_is_one_span_that_its_record_and_its_upstream_name() {
    let (url, taken) = collector().await;
    let child = std::process::Command::new(std::env::current_exe().unwrap())
        .args(["--exact", "in_a_process_with_a_collector"])
        .env("OTEL_EXPORTER_OTLP_ENDPOINT", url)
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .unwrap();
    let ended = tokio::task::spawn_blocking(move || child.wait_with_output().unwrap()).await.unwrap();
    assert!(
        ended.status.success(),
        "{}{}",
        String::from_utf8_lossy(&ended.stdout),
        String::from_utf8_lossy(&ended.stderr)
    );
    let taken = taken.lock().unwrap().clone();
    let count = |text: &str| taken.windows(text.len()).filter(|part| *part == text.as_bytes()).count();
    assert_eq!(count("mcp.method"), 2, "one span for each sampled call");
    for text in ["tools/call", "crm_echo", "portcullis.request_id", "permit", "deny", "tool_unknown", "ok"] {
        assert!(count(text) > 0, "{text} is missing");
    }
    assert_eq!(count("invented-by-a-client"), 0, "what a client invents is in no span");
}
