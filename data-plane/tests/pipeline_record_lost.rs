//! A disk that fails after a place was reserved. In a file, and so in a process, of its own: the limit that stands for the
//! disk's end is the process's.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing,
    reason = "helpers of tests fail as tests do"
)]

mod common;

use std::sync::atomic::Ordering;

use common::client::Got;
use common::{Fake, Policy, World};
use http::StatusCode;
use portcullis_data_plane::ledger::{Filter, ReadError, read};
use rustix::process::{Resource, Rlimit, Signal, getrlimit, setrlimit};
use serde_json::json;
use tokio::signal::unix::{SignalKind, signal};

/// While it lives, no file of this process grows beyond the header of a segment: every write of a record fails.
struct NoRoom(Rlimit);

impl NoRoom {
    fn begin() -> Self {
        let before = getrlimit(Resource::Fsize);
        setrlimit(Resource::Fsize, Rlimit { current: Some(64), maximum: before.maximum }).unwrap();
        Self(before)
    }
}

impl Drop for NoRoom {
    fn drop(&mut self) {
        setrlimit(Resource::Fsize, self.0).unwrap();
    }
}

fn withheld(got: &Got) {
    assert_eq!((got.status, got.code()), (StatusCode::OK, -32603), "{}", got.text);
    assert_eq!(
        got.json()["error"]["data"],
        json!({"reason": "audit_unavailable"}),
        "nothing invites a retry"
    );
    assert_eq!(got.header("retry-after"), "");
    assert!(!got.text.contains("at last") && !got.text.contains("done"), "{}", got.text);
}

#[tokio::test]
async fn a_record_that_fails_after_the_upstream_acted_withholds_the_result_and_invites_no_retry() {
    // Without somebody who hears it, the signal that comes with the failed write ends the process.
    let _heard = signal(SignalKind::from_raw(Signal::XFSZ.as_raw())).unwrap();
    let fake = Fake::start(true).await;
    let nobody = std::net::TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap();
    let policy = Policy::new()
        .zone("records", &["default"], "required")
        .zone("tries", &["default"], "best-effort")
        .server_in("records", "crm", &fake.url, true, &Fake::capabilities())
        .server_in("tries", "wiki", &fake.url, true, &Fake::capabilities())
        .server_in("records", "dead", &format!("http://{nobody}/mcp"), true, &Fake::capabilities())
        .tool("crm", "slow")
        .tool("crm", "echo")
        .tool("wiki", "echo")
        .tool("dead", "echo")
        .key(
            "bot",
            &json!([{"server": "crm", "allow": ["*"], "resources": ["*"]}, {"server": "wiki", "allow": ["*"]},
                    {"server": "dead", "allow": ["*"]}]),
        );
    let world = World::new(&policy).await;
    let bot = world.caller("bot", "/mcp");
    assert_eq!(bot.ask_modern("tools/call", json!({"name": "crm_echo"})).await.status, StatusCode::OK);

    // The disk ends between the call's way out and its answer.
    let (caller, body) = bot.modern("tools/call", json!({"name": "crm_slow"}));
    let holding = tokio::spawn(async move { caller.post(body).await });
    fake.saw_that(|seen| seen.json()["params"]["name"] == "slow").await;
    let no_room = NoRoom::begin();
    fake.open_gate();
    withheld(&holding.await.unwrap());
    withheld(&bot.ask_modern("tools/call", json!({"name": "crm_echo"})).await);
    withheld(&bot.ask_modern("resources/read", json!({"uri": "file:///a"})).await);
    // Where the zone asks for no record, the answer is the upstream's.
    let tried = bot.ask_modern("tools/call", json!({"name": "wiki_echo"})).await;
    assert_eq!(tried.result()["content"][0]["text"], "done");
    // What was not done needs no warning: a refusal and a failure to reach the server stand as they are.
    let unknown = bot.ask_modern("tools/call", json!({"name": "crm_nothing"})).await;
    assert_eq!((unknown.status, unknown.code()), (StatusCode::OK, -32602));
    let down = bot.ask_modern("tools/call", json!({"name": "dead_echo"})).await;
    assert_eq!(down.result()["_meta"]["portcullis/decision"]["reason"], "upstream_unavailable");
    assert_eq!(bot.post("{").await.status, StatusCode::BAD_REQUEST);
    drop(no_room);

    // The disk is back, and so are answers and records; the reader says that there is a gap.
    assert_eq!(world.metrics.records_lost.load(Ordering::Relaxed), 7);
    let last = bot.ask_modern("tools/call", json!({"name": "crm_echo"})).await;
    assert_eq!(last.result()["content"][0]["text"], "done");
    let items: Vec<_> = read(world.spool_dir(), Filter::default()).unwrap().collect();
    let ids: Vec<String> = items
        .iter()
        .filter_map(|item| item.as_ref().ok())
        .map(|record| record.request_id.to_string())
        .collect();
    assert_eq!(ids.len(), 2, "{items:?}");
    assert_eq!(ids.last().unwrap(), last.header("x-request-id"));
    assert!(items.iter().any(|item| matches!(item, Err(ReadError::Unwritten { .. }))), "{items:?}");
}
