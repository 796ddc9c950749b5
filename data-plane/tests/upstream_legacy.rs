//! Legacy HTTP servers: the handshake, sessions and their end, streams and their resumption, requests of the server.
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
use http::Method;
use portcullis_data_plane::upstream::{Event, EventStream, Exchange, ExchangeBody, Reply, UpstreamConfig};
use portcullis_mcp::Era;
use portcullis_policy::Reason;
use serde_json::{Value, json};

use upstream_support::fake::{Feeder, Seen, empty, events, json_answer, result, stream};
use upstream_support::legacy::{self, plain};
use upstream_support::world::{World, call, echo, http, legacy_caller, listen, modern_caller, uid};
use upstream_support::{soon, until};

fn body(exchange: Exchange) -> Value {
    match exchange.body {
        ExchangeBody::Json(json) => serde_json::from_slice(&json).unwrap(),
        ExchangeBody::Stream(_) => panic!("a stream where JSON was expected"),
    }
}

fn streamed(exchange: Exchange) -> EventStream {
    match exchange.body {
        ExchangeBody::Stream(stream) => stream,
        ExchangeBody::Json(_) => panic!("JSON where a stream was expected"),
    }
}

async fn next(stream: &mut EventStream) -> Event {
    soon("an event", stream.next()).await.unwrap().unwrap()
}

fn value(event: &Event) -> Value {
    let (Event::Notification { json }
    | Event::Request { json }
    | Event::Refused { json }
    | Event::Response { json }) = event;
    serde_json::from_slice(json).unwrap()
}

fn progress(token: &Value, progress: f64) -> Value {
    json!({ "jsonrpc": "2.0", "method": "notifications/progress", "params": { "progressToken": token, "progress": progress } })
}

#[tokio::test]
async fn a_session_is_opened_once_as_the_caller_and_then_reused() {
    let (fake, _) = legacy::start(plain).await;
    let world = World::new(&http(&fake.url, &json!({})));
    let calls = (0..8).map(|_| world.request(echo(legacy_caller(1))));
    for exchange in futures_util::future::join_all(calls).await {
        let exchange = exchange.unwrap();
        assert_eq!((exchange.era, exchange.http_status), (Era::Legacy, Some(200)));
        assert_eq!(exchange.session.as_ref().unwrap().session_id.as_deref(), Some("s-0"));
        assert_eq!(body(exchange)["result"]["structuredContent"]["arguments"], json!({ "text": "hi" }));
    }
    let opened = fake.rpc("initialize");
    assert_eq!(opened.len(), 1, "eight calls at once open one session");
    let params = &opened[0].body["params"];
    assert_eq!(params["clientInfo"]["name"], "client");
    assert_eq!(params["capabilities"], json!({ "elicitation": {}, "roots": { "listChanged": true } }));
    assert_eq!(params["protocolVersion"], "2025-11-25");
    assert_eq!(fake.rpc("notifications/initialized").len(), 1);
    let calls = fake.rpc("tools/call");
    assert_eq!(calls.len(), 8);
    let mut ids: Vec<_> = calls.iter().map(|seen| seen.body["id"].as_u64().unwrap()).collect();
    ids.sort_unstable();
    ids.dedup();
    assert_eq!(ids.len(), 8, "ids are unique in a session");
    assert!(calls.iter().all(|seen| seen.session() == Some("s-0")));
    assert!(calls.iter().all(|seen| seen.header("mcp-protocol-version") == Some("2025-11-25")));
    assert!(
        calls.iter().all(|seen| seen.header("mcp-method").is_none()),
        "modern headers are not for legacy servers"
    );
}

#[tokio::test]
async fn sessions_are_kept_apart_by_principal_and_by_client_session() {
    let (fake, _) = legacy::start(plain).await;
    let world = World::new(&http(&fake.url, &json!({})));
    let other = portcullis_data_plane::upstream::Caller { principal: uid("other"), ..legacy_caller(1) };
    for caller in
        [legacy_caller(1), legacy_caller(2), other, legacy_caller(1), modern_caller(), modern_caller()]
    {
        world.request(echo(caller)).await.unwrap();
    }
    let sessions: Vec<_> =
        fake.rpc("tools/call").iter().map(|seen| seen.session().unwrap().to_owned()).collect();
    assert_eq!(sessions, ["s-0", "s-1", "s-2", "s-0", "s-3", "s-3"]);
}

#[tokio::test]
async fn the_callers_own_revision_is_asked_for_and_what_is_agreed_on_is_spoken() {
    let (fake, _) = legacy::start(plain).await;
    let world = World::new(&http(&fake.url, &json!({})));
    let mut caller = legacy_caller(1);
    caller.protocol_version = "2025-06-18".to_owned();
    let exchange = world.request(echo(caller)).await.unwrap();
    assert_eq!(exchange.protocol_version, "2025-06-18");
    assert_eq!(fake.rpc("tools/call")[0].header("mcp-protocol-version"), Some("2025-06-18"));
}

#[tokio::test]
async fn a_modern_caller_offers_a_legacy_server_nothing_to_ask_for() {
    let (fake, _) = legacy::start(plain).await;
    let world = World::new(&http(&fake.url, &json!({})));
    let params = json!({ "name": "echo", "arguments": {}, "_meta": {
        "io.modelcontextprotocol/protocolVersion": "2026-07-28",
        "io.modelcontextprotocol/clientCapabilities": { "elicitation": {} }, "mine": 1 } });
    world.request(call(modern_caller(), "tools/call", &params)).await.unwrap();
    let offered = fake.rpc("initialize")[0].body["params"]["capabilities"].clone();
    for name in ["elicitation", "sampling", "roots"] {
        assert!(offered.get(name).is_none(), "{offered}");
    }
    assert_eq!(fake.rpc("tools/call")[0].body["params"]["_meta"], json!({ "mine": 1 }));
}

#[tokio::test]
async fn a_forgotten_session_is_opened_again_once_and_the_call_is_repeated() {
    let (fake, sessions) = legacy::start(plain).await;
    let world = World::new(&http(&fake.url, &json!({})));
    world.request(echo(legacy_caller(1))).await.unwrap();
    sessions.forget();
    let exchange = world.request(echo(legacy_caller(1))).await.unwrap();
    assert_eq!(exchange.session.unwrap().session_id.as_deref(), Some("s-1"));
    assert_eq!(fake.rpc("initialize").len(), 2);
    let stats = world.upstreams.stats();
    assert_eq!(stats.sessions_expired_total.load(Ordering::Relaxed), 1);
    assert_eq!(stats.sessions_open.load(Ordering::Relaxed), 1);
}

#[tokio::test]
async fn a_server_that_forgets_at_once_is_not_asked_without_end() {
    let (fake, _) =
        legacy::start(|seen: Seen| async move { (seen.rpc() == "tools/call").then(|| empty(404)) }).await;
    let world = World::new(&http(&fake.url, &json!({})));
    let error = world.request(echo(legacy_caller(1))).await.unwrap_err();
    assert_eq!((error.reason, error.reached), (Reason::UpstreamError, false));
    assert_eq!((fake.rpc("initialize").len(), fake.rpc("tools/call").len()), (2, 2));
}

#[tokio::test]
async fn a_400_about_the_session_counts_as_forgotten_and_a_400_about_the_request_does_not() {
    let about = Arc::new(AtomicUsize::new(0));
    let counter = Arc::clone(&about);
    let (fake, _) = legacy::start(move |seen: Seen| {
        let first = seen.rpc() == "tools/call" && counter.fetch_add(1, Ordering::SeqCst) == 0;
        async move {
            first.then(|| {
                json_answer(400, &json!({ "jsonrpc": "2.0", "id": null, "error": { "code": -32000, "message": "Bad Request: No valid session ID provided" } }))
            })
        }
    })
    .await;
    let world = World::new(&http(&fake.url, &json!({})));
    world.request(echo(legacy_caller(1))).await.unwrap();
    assert_eq!(fake.rpc("initialize").len(), 2);

    let (fake, _) = legacy::start(|seen: Seen| async move {
        let answer = json!({ "jsonrpc": "2.0", "id": seen.body["id"], "error": { "code": -32602, "message": "unknown session type" } });
        (seen.rpc() == "tools/call").then(|| json_answer(400, &answer))
    })
    .await;
    let world = World::new(&http(&fake.url, &json!({})));
    let exchange = world.request(echo(legacy_caller(1))).await.unwrap();
    assert_eq!(exchange.http_status, Some(400));
    assert_eq!(body(exchange)["error"]["code"], -32602);
    assert_eq!(fake.rpc("initialize").len(), 1);
}

#[tokio::test]
async fn a_failed_handshake_is_an_error_and_the_next_call_tries_again() {
    let attempts = Arc::new(AtomicUsize::new(0));
    let counter = Arc::clone(&attempts);
    let fake = upstream_support::fake::Fake::start(move |seen: Seen| {
        let attempt = if seen.rpc() == "initialize" { counter.fetch_add(1, Ordering::SeqCst) } else { 9 };
        async move {
            match (seen.rpc(), attempt) {
                ("initialize", 0) => empty(500),
                ("initialize", _) => json_answer(
                    200,
                    &result(
                        &seen,
                        &json!({ "protocolVersion": "2025-03-26", "capabilities": {}, "serverInfo": {} }),
                    ),
                ),
                ("tools/call", _) => json_answer(200, &result(&seen, &json!({}))),
                ("notifications/initialized", _) => empty(202),
                _ => empty(400),
            }
        }
    })
    .await;
    let world = World::new(&http(&fake.url, &json!({})));
    let error = world.request(echo(legacy_caller(1))).await.unwrap_err();
    assert_eq!((error.reason, error.reached), (Reason::UpstreamError, false));
    let exchange = world.request(echo(legacy_caller(1))).await.unwrap();
    assert_eq!(exchange.protocol_version, "2025-03-26");
    assert_eq!(exchange.session.unwrap().session_id, None, "a server without sessions is fine");
}

#[tokio::test]
async fn the_end_of_a_clients_session_is_told_to_the_server() {
    let (fake, sessions) = legacy::start(plain).await;
    let world = World::new(&http(&fake.url, &json!({})));
    for session in [1, 2] {
        world.request(echo(legacy_caller(session))).await.unwrap();
    }
    world.upstreams.end_session(uid("k"), [1; 16]).await;
    assert_eq!(fake.http(&Method::DELETE)[0].session(), Some("s-0"));
    assert_eq!(sessions.open().into_iter().collect::<Vec<_>>(), ["s-1"]);
    assert_eq!(world.upstreams.stats().sessions_open.load(Ordering::Relaxed), 1);
}

#[tokio::test]
async fn a_session_that_ended_on_another_plane_ends_by_its_id_alone() {
    let (fake, sessions) = legacy::start(plain).await;
    let world = World::new(&http(&fake.url, &json!({})));
    for session in [1, 2] {
        world.request(echo(legacy_caller(session))).await.unwrap();
    }
    world.upstreams.end_client_session([2; 16]).await;
    assert_eq!(fake.http(&Method::DELETE)[0].session(), Some("s-1"));
    assert_eq!(sessions.open().into_iter().collect::<Vec<_>>(), ["s-0"]);
}

#[tokio::test]
async fn an_idle_session_ends_by_itself_and_one_in_use_does_not() {
    let (response, feeder) = stream();
    let response = std::sync::Mutex::new(Some(response));
    let (fake, _) = legacy::start(move |seen: Seen| {
        let streams = seen.rpc() == "tools/call" && seen.session() == Some("s-1");
        let answer = if streams { response.lock().unwrap().take() } else { None };
        async move { answer }
    })
    .await;
    let config = UpstreamConfig { session_idle: Duration::from_millis(100), ..UpstreamConfig::default() };
    let world = World::with(&http(&fake.url, &json!({})), config);
    world.request(echo(legacy_caller(1))).await.unwrap();
    let busy = world.request(echo(legacy_caller(2))).await.unwrap();
    let ended = fake.wait_http(&Method::DELETE, 1).await;
    assert_eq!(ended[0].session(), Some("s-0"));
    assert_eq!(world.upstreams.stats().sessions_idled_total.load(Ordering::Relaxed), 1);
    assert_eq!(fake.http(&Method::DELETE).len(), 1);
    drop((busy, feeder));
    let ended = fake.wait_http(&Method::DELETE, 2).await;
    assert_eq!(ended[1].session(), Some("s-1"));
}

#[tokio::test]
async fn at_the_bound_the_session_unused_longest_goes() {
    let (fake, sessions) = legacy::start(plain).await;
    let config = UpstreamConfig { max_sessions: 2, ..UpstreamConfig::default() };
    let world = World::with(&http(&fake.url, &json!({})), config);
    for session in [1, 2, 1, 3] {
        world.request(echo(legacy_caller(session))).await.unwrap();
        tokio::time::sleep(Duration::from_millis(3)).await;
    }
    let ended = fake.wait_http(&Method::DELETE, 1).await;
    assert_eq!(ended[0].session(), Some("s-1"));
    assert_eq!(sessions.open().len(), 2);
    assert_eq!(world.upstreams.stats().sessions_evicted_total.load(Ordering::Relaxed), 1);
}

#[tokio::test]
async fn a_stream_gives_notifications_with_the_callers_token_and_then_the_response() {
    let (fake, _) = legacy::start(|seen: Seen| async move {
        let token = seen.body["params"]["_meta"]["progressToken"].clone();
        (seen.rpc() == "tools/call").then(|| {
            events(&[
                (None, progress(&token, 0.5)),
                (None, json!({ "jsonrpc": "2.0", "method": "notifications/message", "params": { "level": "info", "data": 1 } })),
                (None, result(&seen, &json!({ "content": [] }))),
            ])
        })
    })
    .await;
    let world = World::new(&http(&fake.url, &json!({})));
    let params = json!({ "name": "echo", "_meta": { "progressToken": "tok" } });
    let mut stream = streamed(world.request(call(legacy_caller(1), "tools/call", &params)).await.unwrap());
    let first = next(&mut stream).await;
    assert!(matches!(first, Event::Notification { .. }));
    assert_eq!(value(&first)["params"]["progressToken"], "tok");
    assert_eq!(value(&next(&mut stream).await)["method"], "notifications/message");
    assert!(matches!(next(&mut stream).await, Event::Response { .. }));
    assert!(soon("the end", stream.next()).await.is_none());
    assert!(
        fake.rpc("tools/call")[0].body["params"]["_meta"]["progressToken"].is_u64(),
        "tokens are made unique"
    );
    assert!(fake.rpc("notifications/cancelled").is_empty());
}

#[tokio::test]
async fn a_modern_caller_that_asked_for_no_log_messages_hears_none() {
    let (fake, _) = legacy::start(|seen: Seen| async move {
        (seen.rpc() == "tools/call").then(|| {
            events(&[
                (None, json!({ "jsonrpc": "2.0", "method": "notifications/message", "params": { "level": "info", "data": 1 } })),
                (None, result(&seen, &json!({}))),
            ])
        })
    })
    .await;
    let world = World::new(&http(&fake.url, &json!({})));
    let mut stream = streamed(world.request(echo(modern_caller())).await.unwrap());
    assert!(matches!(next(&mut stream).await, Event::Response { .. }));
}

#[tokio::test]
async fn a_broken_stream_is_taken_up_after_the_servers_wait_and_nothing_is_asked_twice() {
    let call_seen: Arc<std::sync::Mutex<Option<Seen>>> = Arc::default();
    let known = Arc::clone(&call_seen);
    let (fake, _) = legacy::start(move |seen: Seen| {
        let known = Arc::clone(&known);
        async move {
            if seen.rpc() == "tools/call" {
                *known.lock().unwrap() = Some(seen);
                let (response, feeder) = stream();
                feeder.text("id: e-1\nretry: 30\ndata:\n\n").await;
                feeder.event(Some("e-2"), &progress(&json!(0), 0.1)).await;
                return Some(response);
            }
            let call = known.lock().unwrap().clone()?;
            match seen.header("last-event-id") {
                Some("e-2") => {
                    let (response, feeder) = stream();
                    feeder
                        .event(
                            Some("e-3"),
                            &json!({ "jsonrpc": "2.0", "method": "notifications/message", "params": {} }),
                        )
                        .await;
                    // Not at once, so that the event is on its way.
                    tokio::spawn(async move {
                        tokio::time::sleep(Duration::from_millis(50)).await;
                        feeder.break_off().await;
                    });
                    Some(response)
                }
                Some("e-3") => Some(events(&[(Some("e-4"), result(&call, &json!({ "content": [] })))])),
                _ => None,
            }
        }
    })
    .await;
    let world = World::new(&http(&fake.url, &json!({})));
    let started = tokio::time::Instant::now();
    let mut stream = streamed(world.request(echo(legacy_caller(1))).await.unwrap());
    assert!(matches!(next(&mut stream).await, Event::Notification { .. }));
    assert!(matches!(next(&mut stream).await, Event::Notification { .. }));
    assert!(matches!(next(&mut stream).await, Event::Response { .. }));
    assert!(started.elapsed() >= Duration::from_millis(60), "the server's wait holds before each attempt");
    let gets = fake.http(&Method::GET);
    assert_eq!(
        gets.iter().map(|seen| seen.header("last-event-id").unwrap()).collect::<Vec<_>>(),
        ["e-2", "e-3"]
    );
    assert!(gets.iter().all(|seen| seen.session() == Some("s-0")));
    assert_eq!(fake.rpc("tools/call").len(), 1);
    assert_eq!(world.upstreams.stats().streams_resumed_total.load(Ordering::Relaxed), 2);
}

#[tokio::test]
async fn a_stream_that_ends_without_answer_and_id_is_an_error_and_the_call_is_cancelled() {
    let (fake, _) = legacy::start(|seen: Seen| async move {
        (seen.rpc() == "tools/call").then(|| events(&[(None, progress(&json!(0), 0.1))]))
    })
    .await;
    let world = World::new(&http(&fake.url, &json!({})));
    let mut stream = streamed(world.request(echo(legacy_caller(1))).await.unwrap());
    next(&mut stream).await;
    let error = soon("the error", stream.next()).await.unwrap().unwrap_err();
    assert_eq!((error.reason, error.reached), (Reason::UpstreamError, true));
    assert!(soon("the end", stream.next()).await.is_none());
    let cancelled = fake.wait_rpc("notifications/cancelled", 1).await;
    assert_eq!(cancelled[0].body["params"]["requestId"], fake.rpc("tools/call")[0].body["id"]);
    assert!(fake.http(&Method::GET).is_empty());
}

#[tokio::test]
async fn a_stream_that_cannot_be_taken_up_is_not_tried_for_ever() {
    let (fake, _) = legacy::start(|seen: Seen| async move {
        (seen.rpc() == "tools/call").then(|| {
            upstream_support::fake::text_answer(200, "text/event-stream", "id: a\nretry: 1\ndata:\n\n")
        })
    })
    .await;
    let world = World::new(&http(&fake.url, &json!({})));
    let mut stream = streamed(world.request(echo(legacy_caller(1))).await.unwrap());
    let error = soon("the error", stream.next()).await.unwrap().unwrap_err();
    assert_eq!(error.reason, Reason::UpstreamError);
    assert_eq!(fake.http(&Method::GET).len(), 1, "405 is an answer");
}

async fn streaming() -> (upstream_support::fake::Fake, tokio::sync::mpsc::Receiver<Feeder>) {
    let (feeders, receiver) = tokio::sync::mpsc::channel(8);
    let (fake, _) = legacy::start(move |seen: Seen| {
        let feeders = feeders.clone();
        async move {
            if seen.rpc() != "tools/call" && seen.method != Method::GET {
                return None;
            }
            let (response, feeder) = stream();
            feeders.send(feeder).await.unwrap();
            Some(response)
        }
    })
    .await;
    (fake, receiver)
}

#[tokio::test]
async fn letting_go_of_a_stream_cancels_the_call() {
    let (fake, mut feeders) = streaming().await;
    let world = World::new(&http(&fake.url, &json!({})));
    let exchange = world.request(echo(legacy_caller(1))).await.unwrap();
    let feeder = feeders.recv().await.unwrap();
    drop(exchange);
    let cancelled = fake.wait_rpc("notifications/cancelled", 1).await;
    assert_eq!(cancelled[0].body["params"]["requestId"], fake.rpc("tools/call")[0].body["id"]);
    assert_eq!(cancelled[0].session(), Some("s-0"));
    feeder.closed().await;
}

#[tokio::test]
async fn letting_go_of_a_call_before_its_answer_cancels_it() {
    let (fake, _) = legacy::start(|seen: Seen| async move {
        if seen.rpc() == "tools/call" { std::future::pending().await } else { None }
    })
    .await;
    let world = World::new(&http(&fake.url, &json!({})));
    {
        let calling = world.request(echo(legacy_caller(1)));
        tokio::pin!(calling);
        let arrived = fake.wait_rpc("tools/call", 1);
        tokio::select! { _ = &mut calling => panic!("answered"), _ = arrived => {} }
    }
    let cancelled = fake.wait_rpc("notifications/cancelled", 1).await;
    assert_eq!(cancelled[0].body["params"]["requestId"], fake.rpc("tools/call")[0].body["id"]);
}

#[tokio::test]
async fn a_servers_request_reaches_a_legacy_client_and_its_answer_goes_back_from_any_plane() {
    let (fake, mut feeders) = streaming().await;
    let entry = http(&fake.url, &json!({}));
    let world = World::new(&entry);
    let exchange = world.request(echo(legacy_caller(1))).await.unwrap();
    let session = exchange.session.clone().unwrap();
    let mut stream = streamed(exchange);
    let feeder = feeders.recv().await.unwrap();
    let request = json!({ "jsonrpc": "2.0", "id": "srv-1", "method": "elicitation/create", "params": { "message": "?" } });
    feeder.event(None, &request).await;
    let event = next(&mut stream).await;
    assert!(matches!(event, Event::Request { .. }));
    assert_eq!(value(&event), request);
    let sibling = World::new(&entry);
    let answer = r#"{"jsonrpc":"2.0","id":"srv-1","result":{"action":"accept","content":{"a":1.0}}}"#;
    let session: portcullis_data_plane::upstream::UpstreamSessionRef =
        serde_json::from_str(&serde_json::to_string(&session).unwrap()).unwrap();
    sibling.reply(Reply { session, message: answer.into() }).await.unwrap();
    let answered = fake.seen().into_iter().find(|seen| seen.body["id"] == "srv-1").unwrap();
    assert_eq!(answered.text, answer, "byte for byte");
    assert_eq!(
        (answered.session(), answered.header("mcp-protocol-version")),
        (Some("s-0"), Some("2025-11-25"))
    );
}

#[tokio::test]
async fn a_servers_request_is_refused_for_a_modern_caller_who_is_told() {
    let (fake, mut feeders) = streaming().await;
    let world = World::new(&http(&fake.url, &json!({})));
    let mut stream = streamed(world.request(echo(modern_caller())).await.unwrap());
    let feeder = feeders.recv().await.unwrap();
    feeder
        .event(None, &json!({ "jsonrpc": "2.0", "id": 5, "method": "sampling/createMessage", "params": {} }))
        .await;
    assert!(matches!(next(&mut stream).await, Event::Refused { .. }));
    let answered = fake.seen().into_iter().find(|seen| seen.body["error"]["code"] == -32601).unwrap();
    assert_eq!(answered.body["id"], 5);
}

#[tokio::test]
async fn a_servers_ping_is_answered_here() {
    let (fake, mut feeders) = streaming().await;
    let world = World::new(&http(&fake.url, &json!({})));
    let mut stream = streamed(world.request(echo(legacy_caller(1))).await.unwrap());
    let feeder = feeders.recv().await.unwrap();
    feeder.event(None, &json!({ "jsonrpc": "2.0", "id": 77, "method": "ping" })).await;
    feeder.event(None, &json!({ "jsonrpc": "2.0", "id": 1, "result": {} })).await;
    assert!(matches!(next(&mut stream).await, Event::Response { .. }));
    assert!(fake.seen().iter().any(|seen| seen.body["id"] == 77 && seen.body["result"] == json!({})));
}

#[tokio::test]
async fn the_log_level_is_set_before_a_call_and_only_when_it_changes() {
    let (fake, _) = legacy::start(plain).await;
    let world = World::new(&http(&fake.url, &json!({})));
    let mut caller = modern_caller();
    for level in ["info", "info", "debug"] {
        caller.log_level = Some(level.to_owned());
        world.request(echo(caller.clone())).await.unwrap();
    }
    let order: Vec<_> = fake
        .seen()
        .iter()
        .filter(|seen| matches!(seen.rpc(), "logging/setLevel" | "tools/call"))
        .map(|seen| seen.body["params"]["level"].as_str().unwrap_or("call").to_owned())
        .collect();
    assert_eq!(order, ["info", "call", "call", "debug", "call"]);
}

#[tokio::test]
async fn a_notification_goes_into_the_session_and_opens_none() {
    let (fake, _) = legacy::start(plain).await;
    let world = World::new(&http(&fake.url, &json!({})));
    let note = || call(legacy_caller(1), "notifications/roots/list_changed", &Value::Null);
    world.notify(note()).await.unwrap();
    assert!(fake.seen().is_empty());
    world.request(echo(legacy_caller(1))).await.unwrap();
    world.notify(note()).await.unwrap();
    let told = fake.rpc("notifications/roots/list_changed");
    assert_eq!((told.len(), told[0].session()), (1, Some("s-0")));
    assert!(told[0].body.get("id").is_none());
}

#[tokio::test]
async fn a_server_without_a_get_stream_is_asked_once() {
    let (fake, _) = legacy::start(plain).await;
    let world = World::new(&http(&fake.url, &json!({})));
    for session in [1, 1, 2] {
        let mut stream = world.listen(listen(legacy_caller(session))).await.unwrap();
        assert!(!stream.offered());
        let silence = tokio::time::timeout(Duration::from_millis(100), stream.next()).await;
        assert!(silence.is_err(), "it stays open and silent");
    }
    assert_eq!(fake.http(&Method::GET).len(), 1);
}

#[tokio::test]
async fn a_get_stream_is_opened_again_where_it_broke() {
    let (fake, mut feeders) = streaming().await;
    let world = World::new(&http(&fake.url, &json!({})));
    let mut stream = world.listen(listen(legacy_caller(1))).await.unwrap();
    assert_eq!(stream.session().unwrap().session_id.as_deref(), Some("s-0"));
    let changed = json!({ "jsonrpc": "2.0", "method": "notifications/resources/list_changed" });
    let feeder = feeders.recv().await.unwrap();
    feeder.event(Some("g-1"), &changed).await;
    assert_eq!(value(&next(&mut stream).await), changed);
    drop(feeder);
    let (feeder, event) = tokio::join!(async { feeders.recv().await.unwrap() }, async {
        tokio::time::timeout(Duration::from_millis(1500), stream.next()).await
    });
    assert!(event.is_err(), "nothing came yet");
    assert_eq!(fake.http(&Method::GET)[1].header("last-event-id"), Some("g-1"));
    let request = json!({ "jsonrpc": "2.0", "id": 3, "method": "roots/list" });
    feeder.event(Some("g-2"), &request).await;
    assert!(matches!(next(&mut stream).await, Event::Request { .. }));
}

#[tokio::test]
async fn after_a_gap_without_ids_a_listener_is_told_that_the_lists_changed() {
    let (fake, mut feeders) = streaming().await;
    let world = World::new(&http(&fake.url, &json!({})));
    let mut stream = world.listen(listen(legacy_caller(1))).await.unwrap();
    drop(feeders.recv().await.unwrap());
    let told: Vec<_> = [next(&mut stream).await, next(&mut stream).await, next(&mut stream).await]
        .iter()
        .map(|event| value(event)["method"].as_str().unwrap().to_owned())
        .collect();
    assert_eq!(
        told,
        [
            "notifications/tools/list_changed",
            "notifications/prompts/list_changed",
            "notifications/resources/list_changed"
        ]
    );
    drop(feeders);
}

#[tokio::test]
async fn a_listening_modern_caller_has_a_session_of_its_own_that_ends_with_it() {
    let (fake, mut feeders) = streaming().await;
    let world = World::new(&http(&fake.url, &json!({})));
    let mut wanted = listen(modern_caller());
    wanted.resource_subscriptions = vec!["file:///a".to_owned(), "file:///b".to_owned()];
    let mut first = world.listen(wanted).await.unwrap();
    let second = world.listen(listen(modern_caller())).await.unwrap();
    let subscribed = fake.rpc("resources/subscribe");
    assert_eq!(
        subscribed.iter().map(|seen| seen.body["params"]["uri"].clone()).collect::<Vec<_>>(),
        ["file:///a", "file:///b"]
    );
    let updated = json!({ "jsonrpc": "2.0", "method": "notifications/resources/updated", "params": { "uri": "file:///a" } });
    feeders.recv().await.unwrap().event(None, &updated).await;
    // The first feeder was moved; the body ends after the event.
    assert_eq!(value(&next(&mut first).await), updated);
    let sessions: Vec<_> =
        fake.http(&Method::GET).iter().map(|seen| seen.session().unwrap().to_owned()).collect();
    assert_eq!(sessions, ["s-0", "s-1"]);
    drop((first, second));
    let mut ended: Vec<_> = fake
        .wait_http(&Method::DELETE, 2)
        .await
        .iter()
        .map(|seen| seen.session().unwrap().to_owned())
        .collect();
    ended.sort();
    assert_eq!(ended, ["s-0", "s-1"]);
}

#[tokio::test]
async fn what_a_removed_server_had_open_ends_and_what_is_reached_otherwise_starts_anew() {
    let (fake, _) = legacy::start(plain).await;
    let (moved, _) = legacy::start(plain).await;
    let mut world = World::new(&http(&fake.url, &json!({})));
    world.request(echo(legacy_caller(1))).await.unwrap();
    world.swap(2, Some(&http(&fake.url, &json!({ "tier": "gold" }))));
    world.request(echo(legacy_caller(1))).await.unwrap();
    assert_eq!(fake.rpc("initialize").len(), 1, "a change that does not matter here keeps the session");
    world.swap(3, Some(&http(&moved.url, &json!({}))));
    fake.wait_http(&Method::DELETE, 1).await;
    world.request(echo(legacy_caller(1))).await.unwrap();
    assert_eq!(moved.rpc("tools/call").len(), 1);
    let permit = world.permit();
    world.swap(4, None);
    moved.wait_http(&Method::DELETE, 1).await;
    let late = call(legacy_caller(1), "resources/list", &Value::Null);
    let error = world.upstreams.request(permit.with(late)).await.unwrap_err();
    assert_eq!((error.reason, error.reached), (Reason::UpstreamUnavailable, false));
    assert_eq!(moved.rpc("initialize").len(), 1);
    let stats = world.upstreams.stats();
    until("every session is closed", || stats.sessions_open.load(Ordering::Relaxed) == 0).await;
}

#[tokio::test]
async fn shutdown_ends_every_session() {
    let (fake, sessions) = legacy::start(plain).await;
    let world = World::new(&http(&fake.url, &json!({})));
    for session in 0..5 {
        world.request(echo(legacy_caller(session))).await.unwrap();
    }
    world.upstreams.shutdown().await;
    assert!(sessions.open().is_empty());
    assert_eq!(fake.http(&Method::DELETE).len(), 5);
}

#[tokio::test]
async fn a_call_waits_for_the_stream_of_a_listener_that_came_before_it() {
    // The server asks its client on the GET stream; before that one is open there is nobody to ask.
    let (open, opened) = tokio::sync::watch::channel(false);
    let (fake, _sessions) = legacy::start(move |seen: Seen| {
        let mut opened = opened.clone();
        async move {
            if seen.method != Method::GET {
                return None;
            }
            opened.wait_for(|open| *open).await.unwrap();
            Some(stream().0)
        }
    })
    .await;
    let world = Arc::new(World::new(&http(&fake.url, &json!({}))));
    let listener = tokio::spawn({
        let world = Arc::clone(&world);
        async move { world.listen(listen(legacy_caller(1))).await }
    });
    fake.wait_http(&Method::GET, 1).await;
    let call = tokio::spawn({
        let world = Arc::clone(&world);
        async move { world.request(echo(legacy_caller(1))).await }
    });
    let other = world.request(echo(legacy_caller(2))).await;
    assert!(other.is_ok(), "another session has nothing to wait for");
    assert_eq!(fake.rpc("tools/call").len(), 1, "the call of the listener's session waits");
    open.send(true).unwrap();
    assert!(soon("the call", call).await.unwrap().is_ok());
    assert!(listener.await.unwrap().is_ok());
}
