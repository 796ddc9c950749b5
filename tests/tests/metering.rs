//! Budgets and limits as operators and callers meet them, over both planes: what is left, what is told, what outlasts what.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing,
    reason = "steps of tests"
)]

use std::time::Duration;

use portcullis_proto::admin::v1 as api;
use portcullis_tests::Upstream;
use portcullis_tests::admin::{Admin, secret};
use portcullis_tests::client::{Answer, Caller};
use portcullis_tests::patience::eventually;
use portcullis_tests::planes::{ControlOptions, ControlPlane, DataPlane, PlaneOptions, Portcullis};
use serde_json::{Value, json};

const TOOLS: &[&str] = &["work", "priced", "fail", "slow"];

fn server(url: &str, more: &str) -> String {
    format!(
        "apiVersion: portcullis/v1\nkind: McpServer\nmetadata: {{ name: crm }}\n\
         spec:\n  transport: {{ streamableHttp: {{ url: \"{url}\" }} }}\n{more}\n"
    )
}

fn team(spec: &str) -> String {
    format!("---\napiVersion: portcullis/v1\nkind: Team\nmetadata: {{ name: crew }}\nspec: {{ {spec} }}\n")
}

fn key(name: &str, more: &str) -> String {
    format!(
        "---\napiVersion: portcullis/v1\nkind: VirtualKey\nmetadata: {{ name: {name} }}\nspec:\n  \
         principal: {{ kind: agent, subject: {name} }}\n  team: crew\n  grants: [ {{ server: crm, allow: [\"*\"] }} ]\n{more}\n"
    )
}

async fn usage(admin: &Admin, level: &str, name: &str) -> Option<api::BudgetUsage> {
    let budgets = api::BudgetSelector {
        level: level.to_owned(),
        name: name.to_owned(),
        ..api::BudgetSelector::default()
    };
    let request = api::ListUsageRequest { budgets: Some(budgets), with_past: false };
    let mut found = admin.usage().list_usage(request).await.ok()?.into_inner().budgets;
    (found.len() == 1).then(|| found.remove(0))
}

/// How much of a budget is spent, once it is so much.
async fn spends(admin: &Admin, level: &str, name: &str, spent: u64) {
    eventually(&format!("{level} {name} has spent {spent}"), async || {
        usage(admin, level, name).await.filter(|budget| budget.spent == spent)
    })
    .await;
}

fn decision(answer: &Answer) -> Value {
    answer.response()["result"]["_meta"]["portcullis/decision"].clone()
}

/// Calls until the answer has this reason; how many succeeded before.
async fn until(caller: &Caller, reason: &str, arguments: impl Fn(u32) -> Value) -> (u32, Answer) {
    for number in 0..500 {
        let answer = caller.call("crm_work", arguments(number)).await;
        if answer.succeeded() {
            continue;
        }
        assert_eq!(answer.reason(), reason, "{}", answer.text);
        return (number, answer);
    }
    panic!("{reason} never came");
}

/// Waits until the tools are there.
async fn ready(caller: &Caller) {
    eventually("the tools are listed", async || {
        caller.tools().await.contains(&"crm_work".to_owned()).then_some(())
    })
    .await;
}

fn any(number: u32) -> Value {
    json!({"n": number})
}

#[tokio::test(flavor = "multi_thread")]
async fn a_budget_says_when_it_is_used_up_and_outlasts_rotation_and_nothing_else() {
    let upstream = Upstream::modern(TOOLS).await;
    let portcullis = Portcullis::start().await;
    let documents = server(&upstream.url, "  tools: { newTools: approve }")
        + &team("")
        + &key("bot", "  budgets: [ { calls: 5, period: 1d } ]");
    let applied = portcullis.apply(&documents).await;
    let caller = portcullis.plane.modern("/mcp", &secret(&applied, "bot"));
    ready(&caller).await;
    let (passed, denied) = until(&caller, "budget_exhausted", any).await;
    assert_eq!(passed, 5);
    let told = decision(&denied);
    let wait = told["retryAfterMs"].as_u64().unwrap();
    assert!((1..=86_400_000).contains(&wait), "{told}");
    assert!(denied.content().contains("budget"), "{}", denied.content());
    let record = portcullis.plane.record(denied.request_id()).await;
    assert_eq!(record.rule.as_deref(), Some("VirtualKey/bot spec.budgets[0]"));
    assert_eq!(upstream.calls(), 5, "what is denied goes nowhere");
    spends(&portcullis.admin, "key", "bot", 5).await;

    // A new secret is the same key.
    let request = api::RotateKeyRequest { name: "bot".to_owned(), grace_seconds: 0 };
    let rotated = portcullis.admin.keys().rotate_key(request).await.unwrap().into_inner().key.unwrap();
    portcullis.settle().await;
    let caller = portcullis.plane.modern("/mcp", &rotated.secret);
    assert_eq!(caller.call("crm_work", json!({})).await.reason(), "budget_exhausted");

    // A larger amount keeps what was used.
    portcullis.apply(&key("bot", "  budgets: [ { calls: 8, period: 1d } ]")).await;
    let more = eventually("three more", async || {
        let answer = caller.call("crm_work", json!({})).await;
        answer.succeeded().then_some(())
    });
    more.await;
    assert_eq!(until(&caller, "budget_exhausted", any).await.0, 2);

    // People correct it, and say why.
    let budget = || {
        Some(api::BudgetSelector {
            level: "key".to_owned(),
            name: "bot".to_owned(),
            ..api::BudgetSelector::default()
        })
    };
    let adjust =
        |reason: &str| api::AdjustUsageRequest { budget: budget(), credit: 2, reason: reason.to_owned() };
    let refused = portcullis.admin.usage().adjust_usage(adjust("")).await.unwrap_err();
    assert_eq!(refused.code(), tonic::Code::InvalidArgument, "{refused:?}");
    portcullis.admin.usage().adjust_usage(adjust("the vendor was down")).await.unwrap();
    eventually("two more", async || caller.call("crm_work", json!({})).await.succeeded().then_some(())).await;
    assert_eq!(until(&caller, "budget_exhausted", any).await.0, 1);
    spends(&portcullis.admin, "key", "bot", 10).await;
    let reset = api::ResetUsageRequest { budget: budget(), reason: "a new day".to_owned() };
    portcullis.admin.usage().reset_usage(reset).await.unwrap();
    eventually("all again", async || caller.call("crm_work", json!({})).await.succeeded().then_some(()))
        .await;

    // Another thing of the same name begins anew.
    let gone = api::DeleteRequest {
        kind: "VirtualKey".to_owned(),
        name: "bot".to_owned(),
        ..api::DeleteRequest::default()
    };
    portcullis.admin.resources().delete(gone).await.unwrap();
    let applied = portcullis.apply(&key("bot", "  budgets: [ { calls: 3, period: 1d } ]")).await;
    let caller = portcullis.plane.modern("/mcp", &secret(&applied, "bot"));
    eventually("the first of three", async || {
        caller.call("crm_work", json!({})).await.succeeded().then_some(())
    })
    .await;
    assert_eq!(until(&caller, "budget_exhausted", any).await.0, 2);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_call_costs_what_it_says_and_every_level_pays() {
    let upstream = Upstream::legacy(TOOLS).await;
    let portcullis = Portcullis::start().await;
    let costs = "  budgets: [ { amountMicroUsd: 1000000, period: 1d } ]\n  tools:\n    newTools: approve\n    costMicroUsd: 100\n    \
                 overrides:\n      - { name: priced, maxCostMicroUsd: 500, costFrom: example.com/cost }\n      \
                 - { name: fail, costOnError: free, budgets: [ { calls: 10, period: 1h } ] }";
    let documents = server(&upstream.url, costs)
        + &team("budgets: [ { amountMicroUsd: 10000, period: 1mo }, { calls: 100, period: 1mo } ]")
        + &key("bot", "");
    let applied = portcullis.apply(&documents).await;
    let caller = portcullis.plane.legacy("/mcp", &secret(&applied, "bot")).open().await;
    ready(&caller).await;
    let call = async |tool: &str, arguments: Value| {
        let answer = caller.call(tool, arguments).await;
        portcullis.plane.record(answer.request_id()).await.cost_micro_usd
    };
    assert_eq!(call("crm_work", json!({})).await, Some(100));
    assert_eq!(call("crm_priced", json!({"cost": 7})).await, Some(7));
    assert_eq!(call("crm_priced", json!({"cost": 9000})).await, Some(500), "never more than its maximum");
    assert_eq!(call("crm_priced", json!({"cost": "much"})).await, Some(500), "unreadable: the maximum");
    assert_eq!(call("crm_fail", json!({})).await.unwrap_or(0), 0, "an error of this tool is free");
    let admin = &portcullis.admin;
    spends(admin, "server", "crm", 1_107).await;
    let request = api::ListUsageRequest {
        budgets: Some(api::BudgetSelector { level: "team".to_owned(), ..api::BudgetSelector::default() }),
        with_past: false,
    };
    eventually("the team pays both", async || {
        let budgets = admin.usage().list_usage(request.clone()).await.unwrap().into_inner().budgets;
        let spent = |unit: &str| budgets.iter().find(|budget| budget.unit == unit).unwrap().spent;
        ((spent("micro-usd"), spent("calls")) == (1_107, 4)).then_some(())
    })
    .await;
    assert_eq!(usage(admin, "tool", "crm/fail").await.unwrap().spent, 0);
    // A call that reaches nothing costs nothing.
    upstream.go_down();
    let unreachable = caller.call("crm_work", json!({})).await;
    assert_eq!(unreachable.reason(), "upstream_unavailable");
    tokio::time::sleep(Duration::from_millis(1500)).await;
    assert_eq!(usage(admin, "server", "crm").await.unwrap().spent, 1_107);
}

#[tokio::test(flavor = "multi_thread")]
async fn rates_calls_at_once_and_loops_are_told_with_their_rule() {
    let upstream = Upstream::modern(TOOLS).await;
    let portcullis = Portcullis::start().await;
    let documents = server(&upstream.url, "  tools: { newTools: approve }")
        + &team("loopBreaker: { calls: 3, within: 1m }")
        + &key("fast", "  rateLimits: [ { requests: 5, per: 1m } ]")
        + &key("few", "  concurrency: 1")
        + &key("looping", "");
    let applied = portcullis.apply(&documents).await;
    let plane = &portcullis.plane;
    let rule = async |answer: &Answer| plane.record(answer.request_id()).await.rule.unwrap();

    let caller = plane.modern("/mcp", &secret(&applied, "fast"));
    ready(&caller).await;
    // The first call brings the share.
    assert!(caller.call("crm_work", json!({"n": "first"})).await.succeeded());
    let mut passed = 1;
    let mut limited = None;
    for number in 0..40 {
        let answer = caller.call("crm_work", any(number)).await;
        if answer.succeeded() {
            passed += 1;
        } else {
            assert_eq!(answer.reason(), "rate_limited", "{}", answer.text);
            limited = Some(answer);
        }
        tokio::time::sleep(Duration::from_millis(25)).await;
    }
    assert!((2..=6).contains(&passed), "{passed} of five a minute");
    let limited = limited.unwrap();
    assert!(decision(&limited)["retryAfterMs"].as_u64().unwrap() > 0);
    assert_eq!(rule(&limited).await, "VirtualKey/fast spec.rateLimits[0]");

    let caller = plane.modern("/mcp", &secret(&applied, "looping"));
    for _ in 0..3 {
        assert!(caller.call("crm_work", json!({"same": true})).await.succeeded());
    }
    let looping = caller.call("crm_work", json!({"same": true})).await;
    assert_eq!(looping.reason(), "rate_limited");
    assert!(looping.content().contains("same call"), "{}", looping.content());
    assert_eq!(rule(&looping).await, "Team/crew spec.loopBreaker");
    assert!(caller.call("crm_work", json!({"same": false})).await.succeeded(), "another call is no loop");

    let caller = plane.modern("/mcp", &secret(&applied, "few"));
    let before = upstream.calls();
    let slow = tokio::spawn({
        let caller = caller.clone();
        async move { caller.call("crm_slow", json!({})).await }
    });
    eventually("one is under way", async || (upstream.calls() > before).then_some(())).await;
    let crowded = caller.call("crm_work", json!({})).await;
    assert_eq!(crowded.reason(), "concurrency_exceeded", "{}", crowded.text);
    assert_eq!(rule(&crowded).await, "VirtualKey/few spec.concurrency[0]");
    upstream.open_gate(1);
    assert!(slow.await.unwrap().succeeded());
    assert!(caller.call("crm_work", json!({})).await.succeeded());
}

#[tokio::test(flavor = "multi_thread")]
async fn without_a_control_plane_each_budget_does_what_it_says_and_debt_is_told_later() {
    let upstream = Upstream::modern(TOOLS).await;
    let mut control = ControlPlane::start(ControlOptions::default()).await;
    let (_, token) = control.admin.plane_token().await;
    let documents = server(&upstream.url, "  tools: { newTools: approve }")
        + &team("")
        + &key("strict", "  budgets: [ { calls: 100000, period: 1d } ]")
        + &key("trusted", "  budgets: [ { calls: 100000, period: 1d, onOutage: allow } ]");
    let plane = DataPlane::start(PlaneOptions::new("plane-a", &control.url, &token)).await;
    let applied = control.admin.apply(&documents).await;
    plane.enforces(control.admin.snapshot().await.version).await;
    let strict = plane.modern("/mcp", &secret(&applied, "strict"));
    ready(&strict).await;
    let trusted = plane.modern("/mcp", &secret(&applied, "trusted"));
    for caller in [&strict, &trusted] {
        assert!(caller.call("crm_work", json!({})).await.succeeded());
    }
    let (dir, addr) = (control.dir.clone(), control.addr);
    control.stop().await;
    // What is held is spent; then one denies, and the other owes.
    let (held, denied) = until(&strict, "budget_exhausted", any).await;
    assert!(held < 500, "{held} were held");
    assert!(decision(&denied)["retryAfterMs"].as_u64().is_some());
    // Until the outage is known, an empty lease denies here too.
    let enough = u64::from(held) + 40;
    let mut owed = 0;
    eventually("what is trusted goes on", async || {
        let answer = trusted.call("crm_work", json!({"n": owed})).await;
        assert!(answer.succeeded() || answer.reason() == "budget_exhausted", "{}", answer.text);
        owed += u64::from(answer.succeeded());
        (owed == enough).then_some(())
    })
    .await;
    let again = ControlPlane::start(ControlOptions { dir, listen: addr, ..ControlOptions::default() }).await;
    eventually("the strict one works again", async || {
        strict.call("crm_work", json!({})).await.succeeded().then_some(())
    })
    .await;
    assert!(trusted.call("crm_work", json!({})).await.succeeded());
    // Everything is on the books: what was paid for, and what passed without.
    eventually("debt is told", async || {
        let budget = usage(&again.admin, "key", "trusted").await?;
        (budget.debt > 0 && budget.spent + budget.debt == owed + 2).then_some(())
    })
    .await;
    assert_eq!(usage(&again.admin, "key", "strict").await.unwrap().debt, 0);
}
