//! Streams that legacy HTTP servers answer with: events, resumption, cancellation, and what a server asks on them.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing,
    reason = "helpers of tests fail as tests do"
)]

mod upstream_support;

use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;

use futures_util::StreamExt as _;
use http::Method;
use portcullis_data_plane::upstream::{Event, Reply};
use portcullis_policy::Reason;
use serde_json::{Value, json};

use upstream_support::exchange::{next, streamed, value};
use upstream_support::fake::{Seen, events, result, stream, text_answer};
use upstream_support::legacy::{self, streaming};
use upstream_support::soon;
use upstream_support::world::{World, call, echo, http, legacy_caller, modern_caller};

fn progress(token: &Value, progress: f64) -> Value {
    json!({ "jsonrpc": "2.0", "method": "notifications/progress", "params": { "progressToken": token, "progress": progress } })
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
        (seen.rpc() == "tools/call")
            .then(|| text_answer(200, "text/event-stream", "id: a\nretry: 1\ndata:\n\n"))
    })
    .await;
    let world = World::new(&http(&fake.url, &json!({})));
    let mut stream = streamed(world.request(echo(legacy_caller(1))).await.unwrap());
    let error = soon("the error", stream.next()).await.unwrap().unwrap_err();
    assert_eq!(error.reason, Reason::UpstreamError);
    assert_eq!(fake.http(&Method::GET).len(), 1, "405 is an answer");
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
