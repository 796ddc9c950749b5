//! Refusals of somebody known leave a record, as long as there is a place for it; without one they are the same refusals.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing,
    reason = "helpers of tests fail as tests do"
)]

mod common;

use std::sync::atomic::Ordering;

use common::{Fake, Policy, World};
use http::{Method, StatusCode};
use portcullis_data_plane::ledger::{AuditRecord, Decision, Outcome, SpoolConfig};
use portcullis_policy::Reason;
use serde_json::json;

fn policy(fake: &Fake) -> Policy {
    Policy::new()
        .server("crm", &fake.url, true, &Fake::capabilities())
        .tool("crm", "echo")
        .tool("crm", "slow")
        .key("bot", &json!([{"server": "crm", "allow": ["*"], "resources": ["*"]}]))
}

/// Requests that are refused for their form: who sends them how, and the status that answers.
fn misshapen(world: &World) -> Vec<(common::Caller, Method, String, StatusCode)> {
    let bot = world.caller("bot", "/mcp");
    let old = bot.with("mcp-protocol-version", "2025-11-25").with("mcp-session-id", "gone");
    let (_, list) = bot.modern("tools/list", json!({}));
    let crowded =
        (0..8).fold(bot.clone(), |caller, at| caller.with(&format!("x-padding-{at}"), &"x".repeat(9 << 10)));
    vec![
        (bot.clone(), Method::POST, "{".to_owned(), StatusCode::BAD_REQUEST),
        (bot.clone(), Method::PUT, String::new(), StatusCode::METHOD_NOT_ALLOWED),
        (
            bot.with("content-type", "text/plain"),
            Method::POST,
            "{}".to_owned(),
            StatusCode::UNSUPPORTED_MEDIA_TYPE,
        ),
        (bot.with("accept", "text/html"), Method::POST, "{}".to_owned(), StatusCode::NOT_ACCEPTABLE),
        (bot.clone(), Method::POST, "x".repeat(17 << 20), StatusCode::PAYLOAD_TOO_LARGE),
        (bot.with("mcp-method", "tools/call"), Method::POST, list, StatusCode::BAD_REQUEST),
        (
            old.clone(),
            Method::POST,
            r#"{"jsonrpc":"2.0","id":1,"method":"ping"}"#.to_owned(),
            StatusCode::NOT_FOUND,
        ),
        (old.clone(), Method::GET, String::new(), StatusCode::NOT_FOUND),
        (old, Method::DELETE, String::new(), StatusCode::NOT_FOUND),
        (crowded, Method::GET, String::new(), StatusCode::REQUEST_HEADER_FIELDS_TOO_LARGE),
    ]
}

fn of(records: &[AuditRecord], id: &str) -> AuditRecord {
    let found: Vec<_> = records.iter().filter(|record| record.request_id.to_string() == id).collect();
    assert_eq!(found.len(), 1, "{id} is not once among {records:#?}");
    found[0].clone()
}

#[tokio::test]
async fn every_misshapen_request_of_a_known_key_leaves_one_record() {
    let fake = Fake::start(true).await;
    let world = World::new(&policy(&fake)).await;
    for (caller, method, body, status) in misshapen(&world) {
        let got = caller.read(method.clone(), body).await;
        assert_eq!(got.status, status, "{method} {}", got.text);
        let record = of(&world.records(), got.header("x-request-id"));
        let said = (record.decision, record.reason, record.rule.as_deref(), record.outcome);
        let expected =
            (Decision::Deny, Some(Reason::MalformedRequest), Some("Default protocol"), Outcome::Error);
        assert_eq!(said, expected, "{method} {status}");
        assert_eq!(
            (record.key.name.as_str(), &*record.endpoint, record.snapshot_version),
            ("bot", "/mcp", 1)
        );
    }
    assert_eq!(world.records().len(), misshapen(&world).len(), "one each");
    assert!(fake.seen().is_empty());
}

#[tokio::test]
async fn without_a_place_for_its_record_a_refusal_is_the_same_and_is_counted() {
    let fake = Fake::start(true).await;
    let world = World::empty(SpoolConfig { max_places: 1, shards: 1, ..SpoolConfig::default() }).await;
    world.live.swap(policy(&fake).compile(1));
    let bot = world.caller("bot", "/mcp");
    let (caller, body) = bot.modern("tools/call", json!({"name": "crm_slow"}));
    let holding = tokio::spawn(async move { caller.post(body).await });
    fake.saw("tools/call").await;
    let cases = misshapen(&world);
    let count = cases.len();
    for (caller, method, body, status) in cases {
        let got = caller.read(method.clone(), body).await;
        assert_eq!(got.status, status, "{method} {}", got.text);
    }
    assert_eq!(world.records(), []);
    assert_eq!(world.metrics.records_lost.load(Ordering::Relaxed), count as u64);
    fake.open_gate();
    assert_eq!(holding.await.unwrap().status, StatusCode::OK);
    assert_eq!(world.records().len(), 1, "the call that had the place");
}

#[tokio::test]
async fn a_call_for_which_there_is_no_room_leaves_a_record() {
    let fake = Fake::start(true).await;
    let world = World::new(&policy(&fake)).await;
    let bot = world.caller("bot", "/mcp");
    // As many as a plane serves at once.
    world.metrics.in_flight.fetch_add(10_000, Ordering::Relaxed);
    for (method, params) in [("tools/call", json!({"name": "crm_echo"})), ("resources/list", json!({}))] {
        let got = bot.ask_modern(method, params).await;
        assert_eq!(got.status, StatusCode::SERVICE_UNAVAILABLE, "{method}");
        assert!(got.header("retry-after").parse::<u64>().unwrap() > 0);
        let record = of(&world.records(), got.header("x-request-id"));
        assert_eq!((record.decision, record.reason), (Decision::Deny, Some(Reason::Overloaded)));
        assert_eq!((&*record.method, record.rule.as_deref()), (method, Some("Default bounds")));
    }
    world.metrics.in_flight.fetch_sub(10_000, Ordering::Relaxed);
    assert_eq!(bot.ask_modern("tools/call", json!({"name": "crm_echo"})).await.status, StatusCode::OK);
    assert_eq!(fake.seen().iter().filter(|seen| seen.json()["method"] == "tools/call").count(), 1);
}

/// The session's end takes the upstream's session with it, whichever the call hears of first.
#[tokio::test]
async fn a_call_whose_session_is_deleted_is_on_record_as_cancelled_and_not_as_a_failure_of_the_server() {
    let fake = Fake::start(false).await;
    let policy = Policy::new()
        .server("crm", &fake.url, false, &Fake::capabilities())
        .tool("crm", "slow")
        .key("bot", &json!([{"server": "crm", "allow": ["*"]}]));
    let world = World::new(&policy).await;
    for round in 1..=3 {
        let bot = world.caller("bot", "/mcp").initialize(json!({})).await;
        let body = json!({"jsonrpc": "2.0", "id": 7, "method": "tools/call", "params": {"name": "crm_slow"}});
        let caller = bot.clone();
        let waiting = tokio::spawn(async move { caller.post(body.to_string()).await });
        let calls = |seen: &[common::upstream::Seen]| {
            seen.iter().filter(|seen| seen.json()["method"] == "tools/call").count()
        };
        while calls(&fake.seen()) < round {
            tokio::task::yield_now().await;
        }
        assert_eq!(bot.read(Method::DELETE, "").await.status, StatusCode::NO_CONTENT);
        let got = waiting.await.unwrap();
        assert!(!got.text.contains("\"error\"") && !got.text.contains("isError"), "{}", got.text);
        let record = of(&world.records(), got.header("x-request-id"));
        let said = (record.decision, record.reason, record.outcome);
        assert_eq!(said, (Decision::Permit, None, Outcome::Cancelled), "round {round}");
    }
}
