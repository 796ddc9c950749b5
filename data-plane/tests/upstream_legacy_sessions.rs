//! Sessions of legacy HTTP servers: the handshake, who has one, how one ends, and what is said in it.
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

use http::Method;
use portcullis_data_plane::upstream::UpstreamConfig;
use portcullis_mcp::Era;
use portcullis_policy::Reason;
use serde_json::{Value, json};

use upstream_support::exchange::json_body;
use upstream_support::fake::{Fake, Seen, empty, json_answer, result, stream};
use upstream_support::legacy::{self, plain};
use upstream_support::until;
use upstream_support::world::{World, call, echo, http, legacy_caller, modern_caller, uid};

#[tokio::test]
async fn a_session_is_opened_once_as_the_caller_and_then_reused() {
    let (fake, _) = legacy::start(plain).await;
    let world = World::new(&http(&fake.url, &json!({})));
    let calls = (0..8).map(|_| world.request(echo(legacy_caller(1))));
    for exchange in futures_util::future::join_all(calls).await {
        let exchange = exchange.unwrap();
        assert_eq!((exchange.era, exchange.http_status), (Era::Legacy, Some(200)));
        assert_eq!(exchange.session.as_ref().unwrap().session_id.as_deref(), Some("s-0"));
        assert_eq!(
            json_body(&exchange.body)["result"]["structuredContent"]["arguments"],
            json!({ "text": "hi" })
        );
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
    assert_eq!(json_body(&exchange.body)["error"]["code"], -32602);
    assert_eq!(fake.rpc("initialize").len(), 1);
}

#[tokio::test]
async fn a_failed_handshake_is_an_error_and_the_next_call_tries_again() {
    let attempts = Arc::new(AtomicUsize::new(0));
    let counter = Arc::clone(&attempts);
    let fake = Fake::start(move |seen: Seen| {
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
