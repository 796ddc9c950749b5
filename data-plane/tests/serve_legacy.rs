//! Legacy callers: sessions, streams that can be resumed, cancellation, requests of servers.

mod common;

use std::time::Duration;

use common::client::{Events, LEGACY};
use common::{Fake, Policy, World};
use http::{Method, StatusCode};
use portcullis_data_plane::ledger::{Outcome, SpoolConfig};
use portcullis_policy::Reason;
use serde_json::{Value, json};

fn policy(fake: &Fake) -> Policy {
    let grants = json!([{"server": "crm", "allow": ["*"], "prompts": ["*"], "resources": ["file:///*"]}]);
    let mut policy = Policy::new()
        .server("crm", &fake.url, false, &Fake::capabilities())
        .prompt("crm", "hello")
        .key("bot", &grants)
        .key("rival", &grants);
    for tool in ["echo", "slow", "progress", "ask", "fail", "broken", "late_sse", "quiet_sse"] {
        policy = policy.tool("crm", tool);
    }
    policy
}

async fn world() -> (World, Fake) {
    let fake = Fake::start(false).await;
    (World::new(&policy(&fake)).await, fake)
}

fn cancelled(id: &Value) -> String {
    json!({"jsonrpc": "2.0", "method": "notifications/cancelled", "params": {"requestId": id, "reason": "enough"}})
        .to_string()
}

fn call(id: u32, name: &str) -> String {
    json!({"jsonrpc": "2.0", "id": id, "method": "tools/call",
           "params": {"name": name, "arguments": {}, "_meta": {"progressToken": "p"}}})
    .to_string()
}

#[tokio::test]
async fn a_version_that_is_not_offered_gets_a_counter_offer() {
    let (world, _fake) = world().await;
    let bot = world.caller("bot", "/mcp");
    for (asked, answered) in [
        ("2025-11-25", "2025-11-25"),
        ("2025-06-18", "2025-06-18"),
        ("2025-03-26", "2025-03-26"),
        ("2024-11-05", "2025-11-25"),
        ("2026-07-28", "2025-11-25"),
        ("nonsense", "2025-11-25"),
    ] {
        let params = json!({"protocolVersion": asked, "capabilities": {}, "clientInfo": {"name": "a", "version": "1"}});
        let got = bot.ask_legacy("initialize", params.clone()).await;
        assert_eq!(
            (got.status, &got.result()["protocolVersion"]),
            (StatusCode::OK, &json!(answered)),
            "{asked}"
        );
        // A client that knows both eras may say so in the header already.
        let got = bot.with("mcp-protocol-version", "2026-07-28").ask_legacy("initialize", params).await;
        assert_eq!(
            (got.status, &got.result()["protocolVersion"]),
            (StatusCode::OK, &json!(answered)),
            "{asked}"
        );
    }
    let got = world
        .caller("bot", "/servers/crm/mcp")
        .ask_legacy("initialize", json!({"protocolVersion": LEGACY}))
        .await;
    assert_eq!(got.result()["serverInfo"]["name"], "crm-upstream");
    assert_eq!(got.result()["instructions"], "How to use crm.");
}

#[tokio::test]
async fn a_session_is_good_for_its_principal_endpoint_and_time_alone() {
    let (world, fake) = world().await;
    let bot = world.caller("bot", "/mcp");
    let session = bot.initialize(json!({})).await;
    let token = session.headers["mcp-session-id"].to_str().unwrap().to_owned();
    assert_eq!(session.ask_legacy("tools/list", json!({})).await.status, StatusCode::OK);
    let strangers = [
        bot.with("mcp-session-id", "forged"),
        bot.with("mcp-session-id", &format!("{token}A")),
        world.caller("rival", "/mcp").with("mcp-session-id", &token),
        world.caller("bot", "/servers/crm/mcp").with("mcp-session-id", &token),
    ];
    for stranger in strangers {
        assert_eq!(stranger.ask_legacy("tools/list", json!({})).await.status, StatusCode::NOT_FOUND);
        assert_eq!(stranger.read(Method::GET, "").await.status, StatusCode::NOT_FOUND);
        assert_eq!(stranger.read(Method::DELETE, "").await.status, StatusCode::NOT_FOUND);
    }
    assert_eq!(
        bot.with("mcp-session-id", &token)
            .with_also("mcp-session-id", &token)
            .ask_legacy("tools/list", json!({}))
            .await
            .status,
        StatusCode::BAD_REQUEST
    );

    assert_eq!(session.ask_legacy("tools/call", json!({"name": "crm_echo"})).await.status, StatusCode::OK);
    assert_eq!(session.read(Method::DELETE, "").await.status, StatusCode::NO_CONTENT);
    assert_eq!(session.ask_legacy("tools/list", json!({})).await.status, StatusCode::NOT_FOUND);
    assert_eq!(session.read(Method::DELETE, "").await.status, StatusCode::NOT_FOUND);
    fake.saw_that(|seen| seen.http == Method::DELETE).await;

    let other = bot.initialize(json!({})).await;
    world.pass(Duration::from_hours(24 * 31));
    assert_eq!(other.ask_legacy("tools/list", json!({})).await.status, StatusCode::NOT_FOUND);
}

#[tokio::test]
async fn a_session_is_valid_on_a_sibling_and_its_end_is_told_there() {
    let (world, fake) = world().await;
    let sibling = World::sharing(SpoolConfig::default(), world.secrets.clone()).await;
    sibling.live.swap(policy(&fake).compile(1));
    let session = world.caller("bot", "/mcp").initialize(json!({})).await;
    let there = session.at(&format!("{}/mcp", sibling.base));
    let got = there.ask_legacy("tools/call", json!({"name": "crm_echo"})).await;
    assert_eq!(got.result()["content"][0]["text"], "done");
    assert_eq!(fake.saw("tools/call").await.headers["mcp-session-id"], "upstream-session");
    assert_eq!(there.read(Method::DELETE, "").await.status, StatusCode::NO_CONTENT);
    assert_eq!(there.ask_legacy("ping", json!({})).await.status, StatusCode::NOT_FOUND);
}

#[tokio::test]
async fn clients_that_never_return_their_session_id_are_served() {
    let (world, _fake) = world().await;
    let bot = world.caller("bot", "/mcp");
    assert_eq!(bot.ask_legacy("ping", json!({})).await.result(), json!({}));
    let got = bot.ask_legacy("tools/call", json!({"name": "crm_echo", "arguments": {"a": 1}})).await;
    assert_eq!(got.result()["got"]["arguments"], json!({"a": 1}));
    let record = world.records().pop().unwrap();
    assert_eq!((record.era.as_ref(), record.outcome), ("legacy", Outcome::Ok));
}

#[tokio::test]
async fn legacy_rows_of_the_table() {
    let (world, _fake) = world().await;
    let bot = world.caller("bot", "/mcp").initialize(json!({})).await;
    let unknown = bot.ask_legacy("unknown/method", json!({})).await;
    assert_eq!((unknown.status, unknown.code()), (StatusCode::OK, -32601));
    let modern_only = bot.ask_legacy("server/discover", json!({})).await;
    assert_eq!((modern_only.status, modern_only.code()), (StatusCode::OK, -32601));
    let got = bot.ask_legacy("tools/call", json!({"name": "crm_none"})).await;
    assert_eq!((got.status, got.code()), (StatusCode::OK, -32602));
    assert_eq!(got.json()["error"]["message"], "Unknown tool: crm_none");
    for uri in ["secret:///b", "file:///missing"] {
        let got = bot.ask_legacy("resources/read", json!({"uri": uri})).await;
        assert_eq!((got.status, got.code()), (StatusCode::OK, -32002), "{uri}");
    }
    let got = bot.ask_legacy("tools/call", json!({"name": "crm_broken"})).await.result();
    assert_eq!(got["_meta"]["portcullis/decision"]["reason"], "upstream_error");
    assert!(got.get("resultType").is_none());
    assert_eq!(world.records().pop().unwrap().reason, Some(Reason::UpstreamError));
    for version in ["2024-11-05", "1999-01-01"] {
        let got = bot.with("mcp-protocol-version", version).ask_legacy("ping", json!({})).await;
        assert_eq!(
            (got.status, got.code()),
            (StatusCode::BAD_REQUEST, 400),
            "{version}: never −32022 to a legacy caller"
        );
    }
    let got = bot.ask_legacy("tools/list", json!({})).await.result();
    assert!(got.get("ttlMs").is_none() && got.get("resultType").is_none());
    let level = bot.ask_legacy("logging/setLevel", json!({"level": "loud"})).await;
    assert_eq!(level.code(), -32602);
}

#[tokio::test]
async fn a_disconnect_is_no_cancellation_and_the_stream_can_be_resumed() {
    let (world, fake) = world().await;
    let bot = world.caller("bot", "/mcp").initialize(json!({})).await;
    let mut events = Events::new(bot.send(Method::POST, call(7, "crm_progress")).await);
    let primed = events.event().await.unwrap();
    assert!(primed.data.is_empty() && primed.retry_ms.is_some() && primed.id.is_some());
    let first = events.event().await.unwrap();
    assert!(first.data.contains("\"progress\":1"));
    drop(events);

    let again = bot.with("last-event-id", first.id.as_deref().unwrap());
    let rival = world.caller("rival", "/mcp").with("last-event-id", first.id.as_deref().unwrap());
    assert_eq!(rival.read(Method::GET, "").await.status, StatusCode::BAD_REQUEST);
    let mut events = Events::new(again.send(Method::GET, "").await);
    let log = events.message().await.unwrap();
    assert_eq!(log["method"], "notifications/message");
    assert_eq!(events.message().await.unwrap()["params"]["progress"], 2);
    fake.open_gate();
    let last = events.message().await.unwrap();
    assert_eq!((&last["id"], &last["result"]["content"][0]["text"]), (&json!(7), &json!("progressed")));
    assert!(events.event().await.is_none());
    let record = world.record(|record| record.exposed_name.as_deref() == Some("crm_progress")).await;
    assert_eq!(record.outcome, Outcome::Ok);
}

#[tokio::test]
async fn a_call_without_events_outlives_its_connection_too() {
    let (world, fake) = world().await;
    let bot = world.caller("bot", "/mcp").initialize(json!({})).await;
    let waiting = tokio::spawn(async move { bot.post(call(1, "crm_slow")).await });
    fake.saw("tools/call").await;
    waiting.abort();
    let _ = waiting.await;
    // Nothing is cancelled: the upstream is still waited for, and answers.
    tokio::time::sleep(Duration::from_millis(100)).await;
    assert!(world.records().is_empty());
    fake.open_gate();
    let record = world.record(|record| record.exposed_name.as_deref() == Some("crm_slow")).await;
    assert_eq!(record.outcome, Outcome::Ok);
}

#[tokio::test]
async fn a_cancellation_reaches_the_upstream_and_no_response_comes() {
    let (world, fake) = world().await;
    let bot = world.caller("bot", "/mcp").initialize(json!({})).await;
    for (id, tool) in [(5, "crm_slow"), (6, "crm_progress")] {
        let caller = bot.clone();
        let waiting = tokio::spawn(async move { caller.post(call(id, tool)).await });
        let name = tool.trim_start_matches("crm_").to_owned();
        let sent = fake.saw_that(|seen| seen.json()["params"]["name"] == name.as_str()).await;
        // Another session's cancellation of the same id is nobody's business.
        let other = world.caller("rival", "/mcp").initialize(json!({})).await;
        other.post(cancelled(&json!(id))).await;
        assert_eq!(bot.post(cancelled(&json!(id))).await.status, StatusCode::ACCEPTED);
        let got = waiting.await.unwrap();
        assert_eq!(got.status, StatusCode::OK);
        assert!(!got.text.contains("\"result\"") && !got.text.contains("\"error\""), "{}", got.text);
        let upstream_id = sent.json()["id"].clone();
        fake.saw_that(|seen| {
            let message = seen.json();
            message["method"] == "notifications/cancelled" && message["params"]["requestId"] == upstream_id
        })
        .await;
        let record = world.record(|record| record.exposed_name.as_deref() == Some(tool)).await;
        assert_eq!(record.outcome, Outcome::Cancelled);
    }
}

#[tokio::test]
async fn a_request_of_a_server_reaches_its_client_and_the_answer_finds_its_way_from_any_plane() {
    let (world, fake) = world().await;
    let sibling = World::sharing(SpoolConfig::default(), world.secrets.clone()).await;
    sibling.live.swap(policy(&fake).compile(1));
    let bot = world.caller("bot", "/mcp").initialize(json!({"elicitation": {}})).await;
    let mut events = Events::new(bot.send(Method::POST, call(1, "crm_ask")).await);
    let asked = events.message().await.unwrap();
    assert_eq!(asked["method"], "elicitation/create");
    let id = asked["id"].as_str().unwrap().to_owned();
    assert_ne!(id, "question-1");
    let answer =
        |id: &str| json!({"jsonrpc": "2.0", "id": id, "result": {"action": "accept", "x": [1]}}).to_string();
    let rival = world.caller("rival", "/mcp").initialize(json!({"elicitation": {}})).await;
    for (caller, id) in [(&rival, id.as_str()), (&bot, "question-1"), (&bot, "forged")] {
        assert_eq!(caller.post(answer(id)).await.status, StatusCode::BAD_REQUEST);
    }
    let there = bot.at(&format!("{}/mcp", sibling.base));
    assert_eq!(there.post(answer(&id)).await.status, StatusCode::ACCEPTED);
    let last = events.message().await.unwrap();
    assert_eq!(last["result"]["answer"]["id"], "question-1");
    assert_eq!(last["result"]["answer"]["result"], json!({"action": "accept", "x": [1]}));
}

#[tokio::test]
async fn a_client_that_cannot_be_asked_is_not_asked() {
    let (world, fake) = world().await;
    let bot = world.caller("bot", "/mcp").initialize(json!({})).await;
    let got = bot.post(call(1, "crm_ask")).await;
    assert_eq!(got.result()["answer"]["error"]["code"], -32601);
    fake.saw_that(|seen| seen.json()["id"] == "question-1").await;
}

#[tokio::test]
async fn the_standing_stream_tells_what_changed_and_what_servers_say() {
    let (world, fake) = world().await;
    let bot = world.caller("bot", "/servers/crm/mcp").initialize(json!({})).await;
    assert_eq!(bot.ask_legacy("resources/subscribe", json!({"uri": "file:///a"})).await.result(), json!({}));
    assert_eq!(bot.ask_legacy("resources/subscribe", json!({"uri": "secret:///b"})).await.code(), -32002);
    let mut events = Events::new(bot.send(Method::GET, "").await);
    assert!(events.event().await.unwrap().data.is_empty(), "primed");
    fake.listened_to().await;
    let updated = |uri: &str| json!({"jsonrpc": "2.0", "method": "notifications/resources/updated", "params": {"uri": uri}});
    fake.push(&updated("secret:///b"));
    fake.push(&json!({"jsonrpc": "2.0", "method": "notifications/tools/list_changed"}));
    fake.push(&updated("file:///a"));
    let hint = events.message().await.unwrap();
    assert_eq!(
        hint["method"], "notifications/tools/list_changed",
        "nothing of what is not granted before it"
    );
    assert_eq!(events.message().await.unwrap(), updated("file:///a"));
    fake.push(&json!({"jsonrpc": "2.0", "method": "notifications/resources/list_changed"}));
    assert_eq!(events.message().await.unwrap()["method"], "notifications/resources/list_changed");

    world.live.swap(policy(&fake).compile(2));
    world.live.swap(policy(&fake).tool("crm", "another").compile(3));
    assert_eq!(events.message().await.unwrap()["method"], "notifications/tools/list_changed");
    world.live.swap(policy(&fake).tool("crm", "another").prompt("crm", "bye").compile(4));
    assert_eq!(events.message().await.unwrap()["method"], "notifications/prompts/list_changed");

    assert_eq!(bot.read(Method::DELETE, "").await.status, StatusCode::NO_CONTENT);
    assert!(events.message().await.is_none(), "the stream ends with its session");
}

#[tokio::test]
async fn a_second_standing_stream_replaces_the_first() {
    let (world, _fake) = world().await;
    let bot = world.caller("bot", "/mcp").initialize(json!({})).await;
    let mut first = Events::new(bot.send(Method::GET, "").await);
    let id = first.event().await.unwrap().id.unwrap();
    let mut second = Events::new(bot.send(Method::GET, "").await);
    second.event().await.unwrap();
    assert!(first.message().await.is_none());
    // A standing stream that is long gone can be had anew; one of a call cannot.
    let gone = format!("{:032x}-3", 0xabcd_u128 << 8 | 1);
    let mut third = Events::new(bot.with("last-event-id", &gone).send(Method::GET, "").await);
    assert!(third.event().await.is_some());
    let gone = format!("{:032x}-3", 0xabcd_u128 << 8);
    assert_eq!(bot.with("last-event-id", &gone).read(Method::GET, "").await.status, StatusCode::BAD_REQUEST);
    assert!(!id.is_empty());
}

#[tokio::test]
async fn log_level_and_roots_reach_the_servers() {
    let (world, fake) = world().await;
    let bot = world.caller("bot", "/mcp").initialize(json!({"roots": {"listChanged": true}})).await;
    assert_eq!(bot.ask_legacy("logging/setLevel", json!({"level": "warning"})).await.result(), json!({}));
    assert_eq!(fake.saw("logging/setLevel").await.json()["params"]["level"], "warning");
    let note = json!({"jsonrpc": "2.0", "method": "notifications/roots/list_changed"}).to_string();
    assert_eq!(bot.post(note).await.status, StatusCode::ACCEPTED);
    fake.saw("notifications/roots/list_changed").await;
}

#[tokio::test]
async fn a_call_that_stays_quiet_for_long_becomes_a_stream_that_can_be_resumed() {
    let (world, fake) = world().await;
    let bot = world.caller("bot", "/mcp").initialize(json!({})).await;
    let got = bot.post(call(1, "crm_late_sse")).await;
    assert_eq!(
        got.header("content-type"),
        "application/json",
        "an answer that comes at once and alone is no stream"
    );
    let mut events = Events::new(bot.send(Method::POST, call(2, "crm_quiet_sse")).await);
    let primed = events.event().await.unwrap();
    assert!(primed.data.is_empty());
    drop(events);
    fake.open_gate();
    let mut events = Events::new(bot.with("last-event-id", &primed.id.unwrap()).send(Method::GET, "").await);
    assert_eq!(events.message().await.unwrap()["result"]["content"][0]["text"], "quiet");
}
