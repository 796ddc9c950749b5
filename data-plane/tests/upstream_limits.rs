//! Limits, credentials, addresses, and everything that goes wrong on the way to an HTTP server.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing,
    reason = "helpers of tests fail as tests do"
)]

mod upstream_support;

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use futures_util::StreamExt as _;
use portcullis_data_plane::upstream::{ExchangeBody, UpstreamConfig, UpstreamError};
use portcullis_policy::Reason;
use serde_json::{Value, json};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};

use upstream_support::fake::{Fake, Seen, empty, error, json_answer, result, stream, text_answer};
use upstream_support::modern;
use upstream_support::soon;
use upstream_support::world::{World, call, echo, http, modern_caller};

fn limits(timeout: &str, request: &str, response: &str, concurrency: u32) -> Value {
    json!({ "limits": { "timeout": timeout, "maxRequestBytes": request, "maxResponseBytes": response, "concurrency": concurrency },
        "observed": { "modern": true, "protocolVersion": "2026-07-28", "capabilities": {} } })
}

fn known() -> Value {
    json!({ "observed": { "modern": true, "protocolVersion": "2026-07-28", "capabilities": {} } })
}

async fn failure(world: &World) -> UpstreamError {
    soon("a failure", world.request(echo(modern_caller()))).await.unwrap_err()
}

#[tokio::test]
async fn an_answer_that_takes_too_long_is_a_timeout() {
    let fake = modern::start(|seen: Seen| async move {
        if seen.rpc() == "tools/call" { std::future::pending().await } else { None }
    })
    .await;
    let world = World::new(&http(&fake.url, &limits("200ms", "1MiB", "1MiB", 9)));
    let error = failure(&world).await;
    assert_eq!((error.reason, error.reached), (Reason::UpstreamTimeout, true));
}

#[tokio::test]
async fn a_long_stream_lives_while_messages_come_and_ends_when_none_does() {
    let fake = modern::start(|seen: Seen| async move {
        (seen.rpc() == "tools/call").then(|| {
            let (response, feeder) = stream();
            tokio::spawn(async move {
                for step in 0..6 {
                    tokio::time::sleep(Duration::from_millis(150)).await;
                    let note = json!({ "jsonrpc": "2.0", "method": "notifications/progress", "params": { "progressToken": 1, "progress": step } });
                    feeder.event(None, &note).await;
                }
                // Signs of life are no messages.
                loop {
                    feeder.text(": alive\n\n").await;
                    tokio::time::sleep(Duration::from_millis(50)).await;
                }
            });
            response
        })
    })
    .await;
    let world = World::new(&http(&fake.url, &limits("400ms", "1MiB", "1MiB", 9)));
    let ExchangeBody::Stream(mut stream) = world.request(echo(modern_caller())).await.unwrap().body else {
        panic!("no stream")
    };
    for _ in 0..6 {
        soon("progress", stream.next()).await.unwrap().unwrap();
    }
    let error = soon("the timeout", stream.next()).await.unwrap().unwrap_err();
    assert_eq!((error.reason, error.reached), (Reason::UpstreamTimeout, true));
}

#[tokio::test]
async fn an_answer_larger_than_allowed_is_refused_while_it_comes() {
    let fake = modern::start(|seen: Seen| async move {
        let large = json!({ "text": "x".repeat(40_000) });
        match (seen.rpc(), seen.body["params"]["arguments"]["how"].as_str()) {
            ("tools/call", Some("json")) => Some(json_answer(200, &result(&seen, &large))),
            ("tools/call", Some("small")) => Some(json_answer(200, &result(&seen, &json!({ "text": "x".repeat(15_000) })))),
            ("tools/call", _) => {
                let (response, feeder) = stream();
                tokio::spawn(async move {
                    loop {
                        let note = json!({ "jsonrpc": "2.0", "method": "notifications/message", "params": { "data": "x".repeat(1000) } });
                        feeder.event(None, &note).await;
                        if feeder.0.is_closed() {
                            return;
                        }
                    }
                });
                Some(response)
            }
            _ => None,
        }
    })
    .await;
    let world = World::new(&http(&fake.url, &limits("5s", "1MiB", "20KiB", 9)));
    let ask = |how: &str| {
        call(modern_caller(), "tools/call", &json!({ "name": "echo", "arguments": { "how": how } }))
    };
    assert!(world.request(ask("small")).await.is_ok());
    let error = world.request(ask("json")).await.unwrap_err();
    assert_eq!((error.reason, error.reached), (Reason::ResponseTooLarge, true));
    let ExchangeBody::Stream(mut stream) = world.request(ask("stream")).await.unwrap().body else {
        panic!("no stream")
    };
    let error = soon("the refusal", async {
        loop {
            if let Err(error) = stream.next().await.unwrap() {
                return error;
            }
        }
    })
    .await;
    assert_eq!(error.reason, Reason::ResponseTooLarge);
}

#[tokio::test]
async fn an_answer_of_four_megabytes_passes_where_it_is_allowed() {
    let fake = modern::start(|seen: Seen| async move {
        (seen.rpc() == "tools/call")
            .then(|| json_answer(200, &result(&seen, &json!({ "text": "x".repeat(4 << 20) }))))
    })
    .await;
    let world = World::new(&http(&fake.url, &limits("5s", "1MiB", "5MiB", 9)));
    let ExchangeBody::Json(body) = world.request(echo(modern_caller())).await.unwrap().body else {
        panic!("no JSON")
    };
    assert!(body.len() > 4 << 20);
}

#[tokio::test]
async fn a_request_larger_than_allowed_is_not_sent() {
    let fake = modern::start(modern::plain).await;
    let world = World::new(&http(&fake.url, &limits("5s", "1KiB", "1MiB", 9)));
    let large = json!({ "name": "echo", "arguments": { "text": "x".repeat(2000) } });
    let error = world.request(call(modern_caller(), "tools/call", &large)).await.unwrap_err();
    assert_eq!((error.reason, error.reached), (Reason::ArgumentsInvalid, false));
    assert!(fake.seen().is_empty());
}

#[tokio::test]
async fn no_more_calls_run_at_once_than_allowed_and_swaps_do_not_reset_the_count() {
    let fake = modern::start(|seen: Seen| async move {
        (seen.rpc() == "tools/call").then(|| {
            let (response, feeder) = stream();
            tokio::spawn(async move { feeder.0.closed().await });
            response
        })
    })
    .await;
    let mut world = World::new(&http(&fake.url, &limits("5s", "1MiB", "1MiB", 2)));
    let first = world.request(echo(modern_caller())).await.unwrap();
    let second = world.request(echo(modern_caller())).await.unwrap();
    assert_eq!(failure(&world).await.reason, Reason::ConcurrencyExceeded);
    world.swap(2, Some(&http(&fake.url, &limits("6s", "1MiB", "1MiB", 2))));
    assert_eq!(failure(&world).await.reason, Reason::ConcurrencyExceeded);
    drop(first);
    let third = world.request(echo(modern_caller())).await.unwrap();
    assert_eq!(failure(&world).await.reason, Reason::ConcurrencyExceeded);
    world.swap(3, Some(&http(&fake.url, &limits("6s", "1MiB", "1MiB", 3))));
    let fourth = world.request(echo(modern_caller())).await.unwrap();
    drop((second, third, fourth));
}

#[tokio::test]
async fn statuses_become_reasons() {
    for (status, reason, reached) in [
        (301, Reason::UpstreamError, false),
        (302, Reason::UpstreamError, false),
        (307, Reason::UpstreamError, false),
        (401, Reason::UpstreamError, false),
        (403, Reason::UpstreamError, false),
        (413, Reason::UpstreamError, false),
        (429, Reason::UpstreamUnavailable, false),
        (500, Reason::UpstreamError, true),
        (502, Reason::UpstreamUnavailable, true),
        (503, Reason::UpstreamUnavailable, true),
        (504, Reason::UpstreamTimeout, true),
    ] {
        let fake = Fake::start(move |seen: Seen| async move {
            if seen.path != "/mcp" {
                return json_answer(200, &result(&seen, &json!({})));
            }
            let mut response = empty(status);
            response.headers_mut().insert("location", "/elsewhere".parse().unwrap());
            response
        })
        .await;
        let world = World::new(&http(&fake.url, &known()));
        let error = failure(&world).await;
        assert_eq!(
            (error.reason, error.reached, error.http_status),
            (reason, reached, Some(status)),
            "{error}"
        );
        assert_eq!(fake.seen().len(), 1, "{status} is not followed and not repeated");
        if (300..400).contains(&status) {
            assert!(error.message.contains("redirect"), "{error}");
        }
    }
}

#[tokio::test]
async fn a_credential_error_is_not_the_callers_even_with_a_json_rpc_body() {
    let fake =
        Fake::start(
            |seen: Seen| async move { json_answer(401, &error(&seen, -32001, "token sk-123 expired")) },
        )
        .await;
    let world = World::new(&http(&fake.url, &known()));
    let error = failure(&world).await;
    assert_eq!((error.reason, error.http_status), (Reason::UpstreamError, Some(401)));
    assert!(!error.message.contains("sk-123"));
}

#[tokio::test]
async fn answers_that_are_no_mcp_are_errors() {
    for (content_type, body) in [("text/html", "<html>"), ("text/plain", "ok"), ("application/xml", "<a/>")] {
        let fake = Fake::start(move |_| async move { text_answer(200, content_type, body) }).await;
        let world = World::new(&http(&fake.url, &known()));
        assert_eq!(failure(&world).await.reason, Reason::UpstreamError);
    }
    let fake = Fake::start(|_| async { empty(202) }).await;
    let world = World::new(&http(&fake.url, &known()));
    assert_eq!(failure(&world).await.reason, Reason::UpstreamError);
}

#[tokio::test]
async fn the_servers_credential_is_taken_at_each_request_and_a_missing_one_is_not_asked_around() {
    let fake = modern::start(modern::plain).await;
    let auth =
        json!({ "auth": { "header": { "name": "Authorization", "valueFrom": { "secret": "crm-token" } } } });
    let world = World::new(&http(&fake.url, &auth));
    let error = failure(&world).await;
    assert_eq!((error.reason, error.reached), (Reason::UpstreamUnavailable, false));
    assert!(fake.seen().is_empty());
    for value in ["Bearer one", "Bearer two"] {
        world.set_secret("crm-token", value);
        world.request(echo(modern_caller())).await.unwrap();
        let seen = fake.rpc("tools/call").pop().unwrap();
        assert_eq!(seen.header("authorization"), Some(value));
    }
    world.set_secret("crm-token", "two\nlines");
    let error = failure(&world).await;
    assert_eq!(error.reason, Reason::UpstreamUnavailable);
    assert!(!error.message.contains("two"));
}

#[tokio::test]
async fn a_request_carries_only_headers_of_this_gateway() {
    let fake = modern::start(modern::plain).await;
    let world = World::new(&http(&fake.url, &json!({})));
    world.request(echo(modern_caller())).await.unwrap();
    let seen = fake.rpc("tools/call").remove(0);
    let mut names: Vec<_> = seen.headers.keys().map(|name| name.as_str().to_owned()).collect();
    names.sort();
    assert_eq!(
        names,
        [
            "accept",
            "content-length",
            "content-type",
            "host",
            "mcp-method",
            "mcp-name",
            "mcp-protocol-version",
            "user-agent"
        ]
    );
    assert_eq!(seen.header("host"), Some(&*fake.address()));
    assert_eq!(seen.header("accept"), Some("application/json, text/event-stream"));
}

#[tokio::test]
async fn a_server_that_is_not_there_was_not_reached() {
    let fake = modern::start(modern::plain).await;
    let url = fake.url.clone();
    drop(fake);
    for more in [json!({}), known()] {
        let world = World::new(&http(&url, &more));
        let error = failure(&world).await;
        assert_eq!((error.reason, error.reached), (Reason::UpstreamUnavailable, false));
        assert!(!error.message.contains("127.0.0.1"), "{error}");
    }
}

#[tokio::test]
async fn a_name_that_does_not_resolve_was_not_reached() {
    let world = World::new(&http("http://nowhere.invalid/mcp", &known()));
    let error = failure(&world).await;
    assert_eq!((error.reason, error.reached), (Reason::UpstreamUnavailable, false));
}

#[tokio::test]
async fn connections_are_kept_and_reused() {
    let fake = modern::start(modern::plain).await;
    let world = World::new(&http(&fake.url, &known()));
    for _ in 0..10 {
        world.request(echo(modern_caller())).await.unwrap();
    }
    assert_eq!(fake.connections.load(Ordering::SeqCst), 1);
}

/// Answers one request on each connection and closes it when the next one arrives, without an answer.
async fn closing_server() -> (String, Arc<AtomicUsize>) {
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
    let url = format!("http://{}/mcp", listener.local_addr().unwrap());
    let requests = Arc::new(AtomicUsize::new(0));
    let counter = Arc::clone(&requests);
    tokio::spawn(async move {
        loop {
            let (mut stream, _) = listener.accept().await.unwrap();
            let counter = Arc::clone(&counter);
            tokio::spawn(async move {
                let mut buffer = vec![0; 65536];
                let mut first = true;
                while let Ok(length @ 1..) = stream.read(&mut buffer).await {
                    if !buffer[..length].starts_with(b"POST") {
                        continue;
                    }
                    counter.fetch_add(1, Ordering::SeqCst);
                    if !std::mem::take(&mut first) {
                        return;
                    }
                    let body = r#"{"jsonrpc":"2.0","id":1,"result":{"resultType":"complete"}}"#;
                    let head = format!(
                        "HTTP/1.1 200 OK\r\ncontent-type: application/json\r\ncontent-length: {}\r\n\r\n",
                        body.len()
                    );
                    stream.write_all(head.as_bytes()).await.unwrap();
                    stream.write_all(body.as_bytes()).await.unwrap();
                }
            });
        }
    });
    (url, requests)
}

#[tokio::test]
async fn a_read_on_a_stale_connection_is_repeated_on_a_fresh_one_and_a_call_is_not() {
    let (url, requests) = closing_server().await;
    let world = World::new(&http(&url, &known()));
    let read = || call(modern_caller(), "resources/list", &json!({}));
    world.request(read()).await.unwrap();
    world.request(read()).await.unwrap();
    assert_eq!(requests.load(Ordering::SeqCst), 3, "the second one was sent twice");
    assert_eq!(world.upstreams.stats().retries_total.load(Ordering::Relaxed), 1);

    let (url, requests) = closing_server().await;
    let world = World::new(&http(&url, &known()));
    world.request(read()).await.unwrap();
    let error = failure(&world).await;
    assert_eq!((error.reason, error.reached), (Reason::UpstreamUnavailable, true));
    assert_eq!(requests.load(Ordering::SeqCst), 2);
}

#[tokio::test]
async fn an_answer_that_breaks_off_is_an_error() {
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
    let url = format!("http://{}/mcp", listener.local_addr().unwrap());
    tokio::spawn(async move {
        let (mut stream, _) = listener.accept().await.unwrap();
        let mut buffer = vec![0; 65536];
        let _ = stream.read(&mut buffer).await;
        let _ = stream
            .write_all(b"HTTP/1.1 200 OK\r\ncontent-type: application/json\r\ncontent-length: 100\r\n\r\n{\"jsonrpc\"")
            .await;
    });
    let world = World::new(&http(&url, &known()));
    let error = failure(&world).await;
    assert_eq!((error.reason, error.reached), (Reason::UpstreamError, true));
}

#[tokio::test]
async fn a_vendors_server_is_not_dialled_at_an_inside_address_whatever_leads_there() {
    let fake = modern::start(modern::plain).await;
    let port = fake.address().rsplit(':').next().unwrap().to_owned();
    for host in [
        "127.0.0.1",
        "[::1]",
        "localhost",
        "[::ffff:127.0.0.1]",
        "2130706433",
        "0x7f.1",
        "0177.0.0.1",
        "[64:ff9b::7f00:1]",
    ] {
        let entry = http(&format!("https://{host}:{port}/mcp"), &json!({ "hosting": "vendor" }));
        let world = World::new(&entry);
        let error = failure(&world).await;
        assert_eq!((error.reason, error.reached), (Reason::UpstreamUnavailable, false), "{host}");
        assert!(
            error.message.contains("not one that may be reached") || error.message.contains("cannot be"),
            "{host}: {error}"
        );
    }
    assert_eq!(fake.connections.load(Ordering::SeqCst), 0, "nothing was dialled");
}

#[tokio::test]
async fn plain_http_is_not_spoken_to_a_vendor() {
    let fake = modern::start(modern::plain).await;
    let world = World::new(&http(&fake.url, &json!({ "hosting": "vendor" })));
    assert_eq!(failure(&world).await.reason, Reason::UpstreamUnavailable);
    assert_eq!(fake.connections.load(Ordering::SeqCst), 0);
}

#[tokio::test]
async fn link_local_addresses_are_dialled_for_nobody() {
    for host in ["169.254.169.254", "[fe80::1]", "[::ffff:169.254.169.254]"] {
        let config = UpstreamConfig { connect_timeout: Duration::from_secs(2), ..UpstreamConfig::default() };
        let world = World::with(&http(&format!("http://{host}/mcp"), &json!({})), config);
        let error = failure(&world).await;
        assert!(error.message.contains("not one that may be reached"), "{host}: {error}");
        assert_eq!(world.upstreams.stats().addresses_refused_total.load(Ordering::Relaxed), 1);
    }
}

#[tokio::test]
async fn connecting_has_a_time_of_its_own() {
    // A listener whose backlog is full accepts no more connections.
    let socket = tokio::net::TcpSocket::new_v4().unwrap();
    socket.bind("127.0.0.1:0".parse().unwrap()).unwrap();
    let listener = socket.listen(1).unwrap();
    let address = listener.local_addr().unwrap();
    let mut filling = Vec::new();
    for _ in 0..8 {
        let connecting = tokio::net::TcpStream::connect(address);
        filling.push(tokio::time::timeout(Duration::from_millis(100), connecting).await);
    }
    let config = UpstreamConfig { connect_timeout: Duration::from_millis(200), ..UpstreamConfig::default() };
    let world = World::with(&http(&format!("http://{address}/mcp"), &known()), config);
    let started = std::time::Instant::now();
    let error = failure(&world).await;
    assert_eq!((error.reason, error.reached), (Reason::UpstreamUnavailable, false));
    assert!(started.elapsed() < Duration::from_secs(3), "{:?}", started.elapsed());
}

#[test]
fn proxies_of_the_environment_are_not_used() {
    // The test runs itself with a proxy set, which must see nothing.
    if std::env::var_os("PORTCULLIS_TEST_PROXIED").is_some() {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
        runtime.block_on(async {
            let fake = modern::start(modern::plain).await;
            let world = World::new(&http(&fake.url, &json!({})));
            world.request(echo(modern_caller())).await.unwrap();
        });
        return;
    }
    let proxy = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let url = format!("http://{}", proxy.local_addr().unwrap());
    let mut command = std::process::Command::new(std::env::current_exe().unwrap());
    command.args(["--exact", "proxies_of_the_environment_are_not_used"]).env("PORTCULLIS_TEST_PROXIED", "1");
    for name in ["http_proxy", "HTTP_PROXY", "https_proxy", "HTTPS_PROXY", "all_proxy", "ALL_PROXY"] {
        command.env(name, &url);
    }
    assert!(command.output().unwrap().status.success());
    proxy.set_nonblocking(true).unwrap();
    assert!(proxy.accept().is_err(), "the proxy was asked");
}
