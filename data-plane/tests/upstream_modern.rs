//! Modern HTTP servers, and finding out which era a server speaks.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing,
    reason = "helpers of tests fail as tests do"
)]

mod upstream_support;

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::time::Duration;

use futures_util::StreamExt as _;
use http::Method;
use portcullis_data_plane::upstream::{Event, ExchangeBody};
use portcullis_mcp::Era;
use portcullis_policy::Reason;
use serde_json::{Value, json};

use upstream_support::exchange::json_body;
use upstream_support::fake::{Fake, Seen, empty, error, events, json_answer, result, stream, text_answer};
use upstream_support::modern::{self, plain};
use upstream_support::world::{World, call, echo, http, legacy_caller, listen, modern_caller};
use upstream_support::{legacy, soon};

#[tokio::test]
async fn a_request_says_in_headers_and_meta_who_calls() {
    let fake = modern::start(plain).await;
    let world = World::new(&http(&fake.url, &json!({})));
    let mut caller = modern_caller();
    caller.log_level = Some("info".to_owned());
    caller.traceparent = Some("00-0af7651916cd43dd8448eb211c80319c-00f067aa0ba902b7-01".to_owned());
    let params = json!({ "name": "echo", "arguments": { "n": 12345678901234567890_u64 }, "_meta": { "progressToken": "tok", "mine": true } });
    let exchange = world.request(call(caller, "tools/call", &params)).await.unwrap();
    assert_eq!(
        (exchange.era, &*exchange.protocol_version, exchange.session),
        (Era::Modern, "2026-07-28", None)
    );
    let seen = fake.rpc("tools/call").remove(0);
    let meta = &seen.body["params"]["_meta"];
    assert_eq!(meta["io.modelcontextprotocol/protocolVersion"], "2026-07-28");
    assert_eq!(meta["io.modelcontextprotocol/clientInfo"]["name"], "client");
    assert_eq!(meta["io.modelcontextprotocol/clientCapabilities"]["elicitation"], json!({}));
    assert_eq!(meta["io.modelcontextprotocol/logLevel"], "info");
    assert_eq!((&meta["progressToken"], &meta["mine"]), (&json!("tok"), &json!(true)));
    assert_eq!(meta["traceparent"], "00-0af7651916cd43dd8448eb211c80319c-00f067aa0ba902b7-01");
    assert_eq!(seen.header("traceparent"), meta["traceparent"].as_str());
    assert_eq!((seen.header("mcp-method"), seen.header("mcp-name")), (Some("tools/call"), Some("echo")));
    assert!(seen.text.contains(r#""n":12345678901234567890"#));
    assert_eq!(seen.session(), None);
    assert!(fake.rpc("initialize").is_empty());
}

#[tokio::test]
async fn arguments_are_mirrored_into_headers_as_the_tool_wants() {
    let fake = modern::start(plain).await;
    let world = World::new(&http(&fake.url, &json!({})));
    for region in ["us-west1", "zürich"] {
        let params = json!({ "name": "region", "arguments": { "region": region } });
        world.request(call(modern_caller(), "tools/call", &params)).await.unwrap();
    }
    let calls = fake.rpc("tools/call");
    assert_eq!(calls[0].header("mcp-param-region"), Some("us-west1"));
    assert_eq!(calls[1].header("mcp-param-region"), Some("=?base64?esO8cmljaA==?="));
}

#[tokio::test]
async fn a_legacy_caller_offers_a_modern_server_nothing_to_ask_for() {
    let fake = modern::start(|seen: Seen| async move {
        let answer = json!({ "resultType": "input_required", "inputRequests": {}, "requestState": "s" });
        (seen.rpc() == "tools/call").then(|| json_answer(200, &result(&seen, &answer)))
    })
    .await;
    let world = World::new(&http(&fake.url, &json!({})));
    let exchange = world.request(echo(legacy_caller(1))).await.unwrap();
    assert_eq!(json_body(&exchange.body)["result"]["resultType"], "input_required", "passed up as it is");
    let offered =
        fake.rpc("tools/call")[0].body["params"]["_meta"]["io.modelcontextprotocol/clientCapabilities"]
            .clone();
    for name in ["elicitation", "sampling", "roots"] {
        assert!(offered.get(name).is_none(), "{offered}");
    }
}

#[tokio::test]
async fn a_server_that_takes_no_handshake_is_asked_for_one_once_and_serves_legacy_callers_all_the_same() {
    let fake = modern::start(plain).await;
    let world = World::new(&http(&fake.url, &json!({})));
    for session in 1..=3 {
        let exchange = world.request(echo(legacy_caller(session))).await.unwrap();
        assert_eq!(exchange.era, Era::Modern);
    }
    assert_eq!(fake.rpc("initialize").len(), 1);
    assert_eq!(fake.rpc("server/discover").len(), 1);
    assert_eq!(fake.rpc("tools/call").len(), 3);
}

#[tokio::test]
async fn a_stream_gives_events_and_letting_go_of_it_closes_it_and_nothing_else() {
    let (feeders, mut receiver) = tokio::sync::mpsc::channel(4);
    let fake = modern::start(move |seen: Seen| {
        let feeders = feeders.clone();
        async move {
            if seen.rpc() != "tools/call" {
                return None;
            }
            let (response, feeder) = stream();
            feeders.send((seen, feeder)).await.unwrap();
            Some(response)
        }
    })
    .await;
    let world = World::new(&http(&fake.url, &json!({})));
    let exchange = world.request(echo(modern_caller())).await.unwrap();
    let ExchangeBody::Stream(mut events) = exchange.body else { panic!("no stream") };
    let (_, feeder) = receiver.recv().await.unwrap();
    feeder.text(": alive\r\n\r\n").await;
    feeder.event(None, &json!({ "jsonrpc": "2.0", "method": "notifications/progress", "params": { "progressToken": "a", "progress": 1 } })).await;
    assert!(matches!(soon("progress", events.next()).await.unwrap().unwrap(), Event::Notification { .. }));
    drop(events);
    feeder.closed().await;
    assert!(fake.rpc("notifications/cancelled").is_empty(), "closing is the cancellation");

    let exchange = world.request(echo(modern_caller())).await.unwrap();
    let ExchangeBody::Stream(mut events) = exchange.body else { panic!("no stream") };
    let (seen, feeder) = receiver.recv().await.unwrap();
    feeder.event(None, &result(&seen, &json!({ "resultType": "complete" }))).await;
    assert!(matches!(soon("the response", events.next()).await.unwrap().unwrap(), Event::Response { .. }));
    assert!(soon("the end", events.next()).await.is_none());
}

#[tokio::test]
async fn a_modern_stream_that_breaks_is_not_taken_up() {
    let fake = modern::start(|seen: Seen| async move {
        (seen.rpc() == "tools/call").then(|| {
            events(&[(
                Some("1"),
                json!({ "jsonrpc": "2.0", "method": "notifications/message", "params": {} }),
            )])
        })
    })
    .await;
    let world = World::new(&http(&fake.url, &json!({})));
    let ExchangeBody::Stream(mut stream) = world.request(echo(modern_caller())).await.unwrap().body else {
        panic!("no stream")
    };
    stream.next().await.unwrap().unwrap();
    let error = soon("the error", stream.next()).await.unwrap().unwrap_err();
    assert_eq!((error.reason, error.reached), (Reason::UpstreamError, true));
    assert!(fake.http(&Method::GET).is_empty());
}

#[tokio::test]
async fn a_server_is_asked_for_its_era_once_for_all_and_again_only_after_a_failure() {
    let fake = modern::start(plain).await;
    let address = fake.address();
    let world = World::new(&http(&fake.url, &json!({})));
    let calls = futures_util::future::join_all((0..6).map(|_| world.request(echo(modern_caller())))).await;
    assert!(calls.iter().all(Result::is_ok));
    assert_eq!(fake.rpc("server/discover").len(), 1);
    drop(fake);
    let error = world.request(echo(modern_caller())).await.unwrap_err();
    assert_eq!(error.reason, Reason::UpstreamUnavailable);

    // Another server comes up at the same place, and it is a legacy one.
    let fake = Fake::start_at(&address, |seen: Seen| async move {
        match seen.rpc() {
            "initialize" => json_answer(
                200,
                &result(
                    &seen,
                    &json!({ "protocolVersion": "2025-11-25", "capabilities": {}, "serverInfo": {} }),
                ),
            ),
            "tools/call" => json_answer(200, &result(&seen, &json!({}))),
            "notifications/initialized" => empty(202),
            _ => empty(400),
        }
    })
    .await;
    let exchange = world.request(echo(modern_caller())).await.unwrap();
    assert_eq!(exchange.era, Era::Legacy);
    assert_eq!(fake.rpc("server/discover").len(), 1);
}

#[tokio::test]
async fn every_way_in_which_a_legacy_server_does_not_know_discover_leads_to_the_handshake() {
    for kind in 0..6_usize {
        let fake = Fake::start(move |seen: Seen| async move {
            match (seen.rpc(), kind) {
                ("initialize", _) => json_answer(
                    200,
                    &result(
                        &seen,
                        &json!({ "protocolVersion": "2025-11-25", "capabilities": {}, "serverInfo": {} }),
                    ),
                ),
                ("tools/call", _) => json_answer(200, &result(&seen, &json!({}))),
                ("notifications/initialized", _) => empty(202),
                (_, 0) => empty(400),
                (_, 1) => empty(404),
                (_, 2) => json_answer(200, &error(&seen, -32601, "Method not found")),
                (_, 3) => json_answer(400, &error(&seen, -32000, "Server not initialized")),
                (_, 4) => text_answer(500, "text/html", "<h1>oops</h1>"),
                _ => events(&[(None, error(&seen, -32602, "Invalid request parameters"))]),
            }
        })
        .await;
        let world = World::new(&http(&fake.url, &json!({})));
        let exchange = world.request(echo(modern_caller())).await.unwrap();
        assert_eq!(exchange.era, Era::Legacy, "kind {kind}");
    }
}

#[tokio::test]
async fn an_observation_saves_the_question_and_is_put_right_when_it_is_wrong() {
    let observed = |modern: bool| {
        let version = if modern { "2026-07-28" } else { "2025-11-25" };
        json!({ "observed": { "modern": modern, "protocolVersion": version, "capabilities": {} } })
    };
    let fake = modern::start(plain).await;
    let world = World::new(&http(&fake.url, &observed(true)));
    assert_eq!(world.request(echo(modern_caller())).await.unwrap().era, Era::Modern);
    assert!(fake.rpc("server/discover").is_empty());

    let (fake, _) = legacy::start(legacy::plain).await;
    let world = World::new(&http(&fake.url, &observed(true)));
    assert_eq!(world.request(echo(modern_caller())).await.unwrap().era, Era::Legacy);
    assert_eq!(fake.rpc("server/discover").len(), 1);

    let fake = modern::start(|seen: Seen| async move {
        (seen.rpc() == "tools/call").then(|| json_answer(400, &error(&seen, -32000, "no")))
    })
    .await;
    let world = World::new(&http(&fake.url, &observed(true)));
    let exchange = world.request(echo(modern_caller())).await.unwrap();
    assert_eq!(json_body(&exchange.body)["error"]["code"], -32000, "asked again, it is its own error");
    assert_eq!((fake.rpc("server/discover").len(), fake.rpc("tools/call").len()), (1, 2));
}

#[tokio::test]
async fn a_version_that_the_server_does_not_know_is_chosen_anew_once() {
    // It lost the modern revision since it was asked.
    let lost = Arc::new(AtomicBool::new(false));
    let flag = Arc::clone(&lost);
    let (fake, _) = (
        Fake::start(move |seen: Seen| {
            let lost = flag.load(Ordering::SeqCst);
            async move {
                let modern = seen.header("mcp-protocol-version") == Some("2026-07-28");
                match seen.rpc() {
                    "initialize" => json_answer(200, &result(&seen, &json!({ "protocolVersion": "2025-11-25", "capabilities": {}, "serverInfo": {} }))),
                    "notifications/initialized" => empty(202),
                    _ if modern && lost => {
                        let data = json!({ "supported": ["2025-11-25"], "requested": "2026-07-28" });
                        json_answer(400, &json!({ "jsonrpc": "2.0", "id": seen.body["id"], "error": { "code": -32022, "message": "Unsupported protocol version", "data": data } }))
                    }
                    "server/discover" => json_answer(200, &result(&seen, &modern::discovered())),
                    _ => json_answer(200, &result(&seen, &json!({}))),
                }
            }
        })
        .await,
        (),
    );
    let world = World::new(&http(&fake.url, &json!({})));
    assert_eq!(world.request(echo(modern_caller())).await.unwrap().era, Era::Modern);
    lost.store(true, Ordering::SeqCst);
    assert_eq!(world.request(echo(modern_caller())).await.unwrap().era, Era::Legacy);
    assert_eq!(fake.rpc("server/discover").len(), 1);
    assert_eq!(fake.rpc("tools/call").len(), 3);
}

#[tokio::test]
async fn a_server_with_no_common_revision_is_an_error_and_is_not_asked_to_shake_hands() {
    let fake = Fake::start(|seen: Seen| async move {
        let data = json!({ "supported": ["2031-01-01"], "requested": "2026-07-28" });
        json_answer(400, &json!({ "jsonrpc": "2.0", "id": seen.body["id"], "error": { "code": -32022, "message": "no", "data": data } }))
    })
    .await;
    let world = World::new(&http(&fake.url, &json!({})));
    let error = world.request(echo(modern_caller())).await.unwrap_err();
    assert_eq!((error.reason, error.reached), (Reason::UpstreamError, false));
    assert!(fake.rpc("initialize").is_empty());
}

#[tokio::test]
async fn a_servers_own_errors_pass_with_their_status() {
    let fake = modern::start(|seen: Seen| async move {
        (seen.rpc() == "tools/call").then(|| json_answer(404, &error(&seen, -32601, "Method not found")))
    })
    .await;
    let world = World::new(&http(&fake.url, &json!({})));
    let exchange = world.request(echo(modern_caller())).await.unwrap();
    assert_eq!(exchange.http_status, Some(404));
    assert_eq!(json_body(&exchange.body)["error"]["code"], -32601);
}

#[tokio::test]
async fn listening_is_a_subscription_that_is_opened_again_when_it_breaks() {
    let opened = Arc::new(AtomicUsize::new(0));
    let counter = Arc::clone(&opened);
    let fake = modern::start(move |seen: Seen| {
        let counter = Arc::clone(&counter);
        async move {
            if seen.rpc() != "subscriptions/listen" {
                return None;
            }
            let id = seen.body["id"].clone();
            let meta = json!({ "io.modelcontextprotocol/subscriptionId": id });
            let note =
                |method: &str| json!({ "jsonrpc": "2.0", "method": method, "params": { "_meta": meta } });
            let acknowledged = (None, note("notifications/subscriptions/acknowledged"));
            Some(match counter.fetch_add(1, Ordering::SeqCst) {
                0 => events(&[acknowledged]),
                _ => events(&[
                    acknowledged,
                    (None, result(&seen, &json!({ "resultType": "complete", "_meta": meta }))),
                ]),
            })
        }
    })
    .await;
    let world = World::new(&http(&fake.url, &json!({})));
    let mut wanted = listen(modern_caller());
    wanted.prompts_list_changed = false;
    wanted.resource_subscriptions = vec!["file:///\"x\"".to_owned()];
    let mut stream = world.listen(wanted).await.unwrap();
    assert!(stream.offered());
    let mut methods = Vec::new();
    while let Some(event) = soon("an event", stream.next()).await {
        match event.unwrap() {
            Event::Notification { json } => {
                let value: Value = serde_json::from_slice(&json).unwrap();
                methods.push(value["method"].as_str().unwrap().replace("notifications/", ""));
            }
            Event::Response { .. } => methods.push("end".to_owned()),
            other => panic!("{other:?}"),
        }
    }
    assert_eq!(
        methods,
        [
            "subscriptions/acknowledged",
            "tools/list_changed",
            "resources/list_changed",
            "subscriptions/acknowledged",
            "end"
        ]
    );
    let filter = &fake.rpc("subscriptions/listen")[0].body["params"]["notifications"];
    assert_eq!(
        *filter,
        json!({ "toolsListChanged": true, "resourcesListChanged": true, "resourceSubscriptions": ["file:///\"x\""] })
    );
}

#[tokio::test]
async fn a_server_without_subscriptions_leaves_its_listeners_in_silence() {
    let fake = modern::start(plain).await;
    let world = World::new(&http(&fake.url, &json!({})));
    let mut stream = world.listen(listen(modern_caller())).await.unwrap();
    assert!(!stream.offered());
    assert!(tokio::time::timeout(Duration::from_millis(100), stream.next()).await.is_err());
    assert_eq!(fake.rpc("subscriptions/listen").len(), 1);
}
