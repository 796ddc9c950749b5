//! No call without its record where one is required, and no lost record where the upstream has acted.

mod common;

use common::{Fake, Policy, World};
use http::StatusCode;
use portcullis_data_plane::ledger::{Decision, Outcome, SpoolConfig};
use portcullis_policy::Reason;
use serde_json::json;

fn policy(fake: &Fake, audit: &str) -> Policy {
    Policy::new()
        .zone("records", &["default"], audit)
        .server_in("records", "crm", &fake.url, true, &Fake::capabilities())
        .tool("crm", "echo")
        .tool("crm", "slow")
        .key("bot", &json!([{"server": "crm", "allow": ["*"], "resources": ["*"]}]))
}

/// Room for exactly one outstanding record.
fn one_place() -> SpoolConfig {
    SpoolConfig { max_places: 1, shards: 1, ..SpoolConfig::default() }
}

#[tokio::test]
async fn without_a_place_for_its_record_a_call_does_not_happen() {
    let fake = Fake::start(true).await;
    let world = World::empty(one_place()).await;
    world.live.swap(policy(&fake, "required").compile(1));
    let bot = world.caller("bot", "/mcp");
    let (caller, body) = bot.modern("tools/call", json!({"name": "crm_slow"}));
    let holding = tokio::spawn(async move { caller.post(body).await });
    fake.saw("tools/call").await;
    let before = fake.seen().len();
    for (method, params) in [
        ("tools/call", json!({"name": "crm_echo"})),
        ("tools/call", json!({"name": "crm_unknown"})),
        ("resources/list", json!({})),
        ("resources/read", json!({"uri": "file:///a"})),
    ] {
        let got = bot.ask_modern(method, params).await;
        assert_eq!(got.status, StatusCode::SERVICE_UNAVAILABLE, "{method}");
        assert!(got.header("retry-after").parse::<u64>().unwrap() > 0);
    }
    assert_eq!(fake.seen().len(), before, "nothing was sent");
    fake.open_gate();
    assert_eq!(holding.await.unwrap().status, StatusCode::OK);
    assert_eq!(bot.ask_modern("tools/call", json!({"name": "crm_echo"})).await.status, StatusCode::OK);
    assert_eq!(world.records().len(), 2);
}

#[tokio::test]
async fn where_audit_is_best_effort_calls_go_on_without_a_place() {
    let fake = Fake::start(true).await;
    let world = World::empty(one_place()).await;
    world.live.swap(policy(&fake, "best-effort").compile(1));
    let bot = world.caller("bot", "/mcp");
    let (caller, body) = bot.modern("tools/call", json!({"name": "crm_slow"}));
    let holding = tokio::spawn(async move { caller.post(body).await });
    fake.saw("tools/call").await;
    let got = bot.ask_modern("tools/call", json!({"name": "crm_echo"})).await;
    assert_eq!(got.result()["content"][0]["text"], "done");
    assert!(world.metrics.records_lost.load(std::sync::atomic::Ordering::Relaxed) > 0, "and it is counted");
    fake.open_gate();
    holding.await.unwrap();
}

#[tokio::test]
async fn the_record_is_there_before_the_answer_is() {
    let fake = Fake::start(true).await;
    let world = World::new(&policy(&fake, "required")).await;
    let bot = world.caller("bot", "/mcp");
    for count in 1..=20 {
        let got = bot.ask_modern("tools/call", json!({"name": "crm_echo"})).await;
        let records = world.records();
        assert_eq!(records.len(), count);
        assert_eq!(records.last().unwrap().request_id.to_string(), got.header("x-request-id"));
    }
}

#[tokio::test]
async fn figures_carry_configured_names_and_never_what_a_client_invents() {
    let fake = Fake::start(true).await;
    let world = World::new(&policy(&fake, "required")).await;
    let bot = world.caller("bot", "/mcp");
    bot.ask_modern("tools/call", json!({"name": "crm_echo"})).await;
    bot.ask_modern("tools/call", json!({"name": "invented-by-a-client"})).await;
    bot.ask_modern("invented/method", json!({})).await;
    bot.with("authorization", "Bearer nonsense").ask_modern("tools/list", json!({})).await;
    let mut registry = prometheus_client::registry::Registry::default();
    registry.register_collector(Box::new(world.metrics.clone()));
    let mut text = String::new();
    prometheus_client::encoding::text::encode(&mut text, &registry).unwrap();
    assert!(!text.contains("invented"), "{text}");
    for line in [
        r#"portcullis_calls_total{server="crm",method="tools/call",name="crm_echo",outcome="ok"} 1"#,
        r#"portcullis_calls_total{server="",method="tools/call",name="",outcome="error"} 1"#,
        r#"portcullis_calls_refused_total{reason="tool_unknown"} 1"#,
        r#"portcullis_requests_turned_away_total{reason="unauthenticated"} 1"#,
        "portcullis_in_flight 0",
    ] {
        assert!(text.contains(line), "{line} is missing from\n{text}");
    }
    assert!(text.contains("portcullis_call_seconds_bucket{le=\"+Inf\"} 2"), "{text}");
    assert_eq!(world.metrics.calls_total(), 2);
}

#[tokio::test]
async fn a_server_whose_calls_are_all_in_use_denies_by_its_own_limit_and_says_when_to_try_again() {
    let fake = Fake::start(true).await;
    let policy = Policy::new()
        .server("crm", &fake.url, true, &Fake::capabilities())
        .concurrency(1)
        .tool("crm", "echo")
        .tool("crm", "slow")
        .key("bot", &json!([{"server": "crm", "allow": ["*"]}]));
    let world = World::new(&policy).await;
    let bot = world.caller("bot", "/mcp");
    let (caller, body) = bot.modern("tools/call", json!({"name": "crm_slow"}));
    let holding = tokio::spawn(async move { caller.post(body).await });
    fake.saw("tools/call").await;
    let got = bot.ask_modern("tools/call", json!({"name": "crm_echo"})).await;
    let decision = got.result()["_meta"]["portcullis/decision"].clone();
    assert_eq!(decision["reason"], "concurrency_exceeded");
    assert_eq!(decision["retryAfterMs"], 1000);
    let record = world.records().pop().unwrap();
    assert_eq!((record.decision, record.reason), (Decision::Deny, Some(Reason::ConcurrencyExceeded)));
    assert_eq!(record.rule.as_deref(), Some("McpServer/crm spec.limits.concurrency"));
    assert_eq!(record.tool.as_deref(), Some("echo"));
    fake.open_gate();
    assert_eq!(holding.await.unwrap().status, StatusCode::OK);
}

#[tokio::test]
async fn an_abort_leaves_a_cancelled_record_of_every_open_call_of_both_eras() {
    let fake = Fake::start(true).await;
    let world = World::new(&policy(&fake, "required")).await;
    let bot = world.caller("bot", "/mcp");
    let (caller, body) = bot.modern("tools/call", json!({"name": "crm_slow"}));
    let modern = tokio::spawn(async move { caller.post(body).await });
    let legacy = tokio::spawn(async move { bot.ask_legacy("tools/call", json!({"name": "crm_slow"})).await });
    while world.metrics.in_flight.load(std::sync::atomic::Ordering::Relaxed) < 2 {
        tokio::task::yield_now().await;
    }
    world.gateway.abort();
    for call in [modern, legacy] {
        assert_ne!(call.await.unwrap().status, StatusCode::INTERNAL_SERVER_ERROR);
    }
    for era in ["modern", "legacy"] {
        let record = world.record(|record| record.era == era).await;
        assert_eq!((record.outcome, record.tool.as_deref()), (Outcome::Cancelled, Some("slow")));
    }
}
