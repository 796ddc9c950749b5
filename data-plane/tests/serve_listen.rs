//! Streams that stay open are decided again at each swap, and tell modern callers what they asked to be told.

mod common;

use std::time::Duration;

use common::client::Events;
use common::{Caller, Fake, Policy, World};
use http::{Method, StatusCode};
use portcullis_data_plane::ledger::{Decision, Outcome};
use portcullis_policy::Reason;
use serde_json::{Value, json};

fn grants() -> Value {
    json!([{"server": "crm", "allow": ["*"], "prompts": ["*"], "resources": ["file:///*"]}])
}

fn without_keys(fake: &Fake, modern: bool) -> Policy {
    Policy::new()
        .server("crm", &fake.url, modern, &Fake::capabilities())
        .tool("crm", "echo")
        .tool("crm", "slow")
        .tool("crm", "progress")
}

fn policy(fake: &Fake, modern: bool) -> Policy {
    without_keys(fake, modern).key("bot", &grants())
}

async fn listen(caller: &Caller, filter: Value) -> Events {
    let (caller, body) = caller.modern("subscriptions/listen", json!({"notifications": filter}));
    Events::new(caller.send(Method::POST, body).await)
}

const ID: &str = "io.modelcontextprotocol/subscriptionId";

#[tokio::test]
async fn a_subscription_is_acknowledged_first_and_tells_only_what_was_asked_for() {
    for modern in [true, false] {
        let fake = Fake::start(modern).await;
        let world = World::new(&policy(&fake, modern)).await;
        let bot = world.caller("bot", "/servers/crm/mcp");
        let filter = json!({"toolsListChanged": true, "resourcesListChanged": true,
                            "resourceSubscriptions": ["file:///a", "secret:///b"]});
        let mut events = listen(&bot, filter).await;
        let acknowledged = events.message().await.unwrap();
        assert_eq!(acknowledged["method"], "notifications/subscriptions/acknowledged");
        assert_eq!(acknowledged["params"]["_meta"][ID], 1);
        assert_eq!(
            acknowledged["params"]["notifications"],
            json!({"toolsListChanged": true, "resourcesListChanged": true, "resourceSubscriptions": ["file:///a"]}),
            "what is not granted is not promised"
        );
        fake.listened_to().await;
        let updated = |uri: &str| json!({"jsonrpc": "2.0", "method": "notifications/resources/updated", "params": {"uri": uri}});
        fake.push(&updated("secret:///b"));
        fake.push(&updated("file:///other"));
        fake.push(&json!({"jsonrpc": "2.0", "method": "notifications/message", "params": {"level": "error", "data": 1}}));
        fake.push(&updated("file:///a"));
        let told = events.message().await.unwrap();
        assert_eq!(
            (&told["params"]["uri"], &told["params"]["_meta"][ID]),
            (&json!("file:///a"), &json!(1)),
            "{modern}"
        );

        world.live.swap(policy(&fake, modern).prompt("crm", "new").compile(2));
        world.live.swap(policy(&fake, modern).prompt("crm", "new").tool("crm", "new").compile(3));
        let told = events.message().await.unwrap();
        assert_eq!(told["method"], "notifications/tools/list_changed", "prompts were not asked for");
        assert_eq!(told["params"]["_meta"][ID], 1);
    }
}

#[tokio::test]
async fn a_subscription_ends_gracefully_when_the_plane_drains() {
    let fake = Fake::start(true).await;
    let world = World::new(&policy(&fake, true)).await;
    let mut events = listen(&world.caller("bot", "/mcp"), json!({"toolsListChanged": true})).await;
    events.message().await.unwrap();
    world.gateway.close_streams();
    let last = events.message().await.unwrap();
    assert_eq!((&last["id"], &last["result"]["resultType"]), (&json!(1), &json!("complete")));
    assert_eq!(last["result"]["_meta"][ID], 1);
    assert!(events.message().await.is_none());
}

#[tokio::test]
async fn open_streams_close_when_a_swap_revokes_their_key() {
    let fake = Fake::start(true).await;
    let world = World::new(&policy(&fake, true)).await;
    let bot = world.caller("bot", "/mcp");
    let mut listening = listen(&bot, json!({"toolsListChanged": true})).await;
    listening.message().await.unwrap();
    let legacy = bot.initialize(json!({})).await;
    let mut standing = Events::new(legacy.send(Method::GET, "").await);
    standing.event().await.unwrap();

    world
        .live
        .swap(without_keys(&fake, true).key_with("bot", &grants(), &json!({"revoked": true})).compile(2));
    let end = async {
        while listening.message().await.is_some() {}
        while standing.message().await.is_some() {}
    };
    tokio::time::timeout(Duration::from_secs(5), end).await.expect("both streams end");
    assert_eq!(bot.ask_modern("tools/list", json!({})).await.status, StatusCode::UNAUTHORIZED);
    assert_eq!(legacy.read(Method::GET, "").await.status, StatusCode::UNAUTHORIZED);
}

#[tokio::test]
async fn a_stream_ends_when_its_endpoint_is_no_longer_granted() {
    let fake = Fake::start(true).await;
    let world = World::new(&policy(&fake, true)).await;
    let bot = world.caller("bot", "/servers/crm/mcp");
    let mut listening = listen(&bot, json!({"toolsListChanged": true})).await;
    listening.message().await.unwrap();
    world.live.swap(without_keys(&fake, true).key("bot", &json!([])).compile(2));
    let end = async { while listening.message().await.is_some() {} };
    tokio::time::timeout(Duration::from_secs(5), end).await.expect("the stream ends");
}

#[tokio::test]
async fn a_long_call_ends_when_its_tool_is_quarantined() {
    let fake = Fake::start(true).await;
    let world = World::new(&policy(&fake, true)).await;
    let (caller, body) = world.caller("bot", "/mcp").modern("tools/call", json!({"name": "crm_slow"}));
    let call = tokio::spawn(async move { caller.post(body).await });
    fake.saw("tools/call").await;
    let quarantined = Policy::new()
        .server("crm", &fake.url, true, &Fake::capabilities())
        .tool_in_state("crm", "slow", "quarantined")
        .key("bot", &grants());
    world.live.swap(quarantined.compile(2));
    let got = tokio::time::timeout(Duration::from_secs(5), call).await.expect("the call ends").unwrap();
    assert_eq!(got.code(), -32602);
    fake.abandoned().await;
    let record = world.records().pop().unwrap();
    assert_eq!((record.decision, record.reason), (Decision::Deny, Some(Reason::ToolQuarantined)));
    assert_eq!(record.snapshot_version, 2);
}

#[tokio::test]
async fn a_stream_of_a_call_ends_when_the_key_expires() {
    let fake = Fake::start(true).await;
    let world = World::new(&policy(&fake, true)).await;
    let (caller, body) = world.caller("bot", "/mcp").modern("tools/call", json!({"name": "crm_progress"}));
    let mut events = Events::new(caller.send(Method::POST, body).await);
    events.message().await.unwrap();
    let expired = json!({"expiresAt": "2027-01-15T08:00:01Z"});
    world.live.swap(without_keys(&fake, true).key_with("bot", &grants(), &expired).compile(2));
    world.pass(Duration::from_secs(2));
    let end = async {
        let mut last = None;
        while let Some(message) = events.message().await {
            last = Some(message);
        }
        last
    };
    let last = tokio::time::timeout(Duration::from_secs(20), end).await.expect("the stream ends").unwrap();
    assert_eq!(last["error"]["code"], 401);
    let record = world.record(|record| record.exposed_name.as_deref() == Some("crm_progress")).await;
    assert_eq!((record.reason, record.outcome), (Some(Reason::KeyExpired), Outcome::Error));
}

#[tokio::test]
async fn a_swap_in_the_middle_of_calls_fails_none_of_them() {
    let fake = Fake::start(true).await;
    let world = World::new(&policy(&fake, true)).await;
    let bot = world.caller("bot", "/mcp");
    let calls: Vec<_> = (0..40)
        .map(|_| {
            let bot = bot.clone();
            tokio::spawn(async move {
                for _ in 0..5 {
                    let got = bot.ask_modern("tools/call", json!({"name": "crm_echo"})).await;
                    assert_eq!(got.result()["content"][0]["text"], "done");
                }
            })
        })
        .collect();
    for version in 2..52 {
        let extra = format!("tool-{version}");
        world.live.swap(policy(&fake, true).tool("crm", &extra).compile(version));
        tokio::task::yield_now().await;
    }
    for call in calls {
        call.await.unwrap();
    }
    assert_eq!(world.records().len(), 200);
}

#[tokio::test]
async fn one_caller_has_a_bounded_number_of_open_streams() {
    let fake = Fake::start(true).await;
    let world = World::new(&policy(&fake, true)).await;
    let bot = world.caller("bot", "/mcp");
    let mut open = Vec::new();
    for _ in 0..64 {
        open.push(listen(&bot, json!({"toolsListChanged": true})).await);
    }
    let (caller, body) = bot.modern("subscriptions/listen", json!({"notifications": {}}));
    let got = caller.post(body).await;
    assert_eq!(got.status, StatusCode::SERVICE_UNAVAILABLE);
    assert!(!got.header("retry-after").is_empty());
    drop(open);
    // What was closed is given back.
    let again = async {
        loop {
            let (caller, body) = bot.modern("subscriptions/listen", json!({"notifications": {}}));
            if caller.send(Method::POST, body).await.status() == StatusCode::OK {
                return;
            }
            tokio::task::yield_now().await;
        }
    };
    tokio::time::timeout(Duration::from_secs(5), again).await.expect("a stream is free again");
}
