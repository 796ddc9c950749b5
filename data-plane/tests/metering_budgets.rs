//! Budgets on a data plane, from the call to the control plane's books and back.

mod common;
mod leases_fake;

use std::time::Duration;

use http::StatusCode;
use leases_fake::world::{Metered, decision, passed};
use leases_fake::{FakeLeases, soon};
use portcullis_data_plane::ledger::Decision;
use portcullis_metering::Epoch;
use portcullis_policy::Reason;
use serde_json::{Value, json};

const DAY: Duration = Duration::from_hours(24);

fn budget(calls: u64) -> Value {
    json!({"budgets": [{"calls": calls, "period": "1d"}]})
}

#[tokio::test]
async fn a_budget_of_100_calls_is_100_calls_and_the_next_is_told_why_and_when() {
    let metered = Metered::new(|policy| policy.metering("team", "sales", &budget(100))).await;
    for call in 0..100 {
        let got = metered.call("echo", json!({ "call": call })).await;
        assert!(passed(&got), "call {call}: {}", got.text);
    }
    let got = metered.call("echo", json!({})).await;
    let result = got.result();
    assert_eq!((got.status, &result["isError"]), (StatusCode::OK, &json!(true)));
    let told = decision(&got);
    assert_eq!(told["reason"], "budget_exhausted");
    let hours = told["retryAfterMs"].as_u64().unwrap() / 3_600_000;
    assert!((23..=24).contains(&hours), "it is midnight: {told}");
    let sentence = result["content"][0]["text"].as_str().unwrap();
    assert_eq!(sentence, "The daily budget of calls of your team is used up; it refills in 24 h.");
    assert_eq!(metered.fake.seen().iter().filter(|seen| seen.text.contains("tools/call")).count(), 100);
    let record = metered.world.records().pop().unwrap();
    assert_eq!((record.decision, record.reason), (Decision::Deny, Some(Reason::BudgetExhausted)));
    assert_eq!(record.rule.as_deref(), Some("Team/sales spec.budgets[0]"));
    assert_eq!((record.spent, record.tool.as_deref()), (None, Some("echo")));
    // Lists and the like are not calls.
    assert_eq!(metered.bot().ask_modern("tools/list", json!({})).await.status, StatusCode::OK);
    // A new day.
    metered.known.pass(DAY);
    assert!(passed(&metered.call("echo", json!({})).await));
    let account = metered.account();
    soon(|| metered.known.totals(account).spent == 1).await;
}

#[tokio::test]
async fn a_call_debits_every_level_or_none_and_its_record_says_what_was_spent() {
    let metered = Metered::new(|policy| {
        let server = json!({"own": budget(50), "tools": {"echo": {"own": budget(3)}}});
        policy
            .metering("team", "sales", &budget(100))
            .metering(
                "key",
                "bot",
                &json!({"budgets": [{"calls": 90, "period": "1h"}, {"calls": 95, "period": "1d"}]}),
            )
            .metering("server", "crm", &server)
    })
    .await;
    for _ in 0..3 {
        assert!(passed(&metered.call("echo", json!({})).await));
    }
    let record = metered.world.records().pop().unwrap();
    let spent = record.spent.unwrap();
    assert_eq!((spent.plane, spent.life), (metered.plane.metering.holder().plane, 1));
    let lines: Vec<_> = spent
        .accounts
        .iter()
        .map(|line| (line.account.rsplit_once(':').unwrap().0, line.epoch, line.spent))
        .collect();
    assert_eq!(
        lines,
        [
            ("team:calls:day", 1, 3),
            ("key:calls:hour", 1, 3),
            ("key:calls:day", 1, 3),
            ("server:calls:day", 1, 3),
            ("tool:calls:day", 1, 3)
        ]
    );
    assert_eq!(record.cost_micro_usd, None);
    let got = metered.call("echo", json!({})).await;
    assert_eq!(decision(&got)["reason"], "budget_exhausted");
    let text = got.result()["content"][0]["text"].clone();
    assert!(
        text.as_str().unwrap().starts_with("The daily budget of calls of this tool is used up"),
        "{text}"
    );
    let record = metered.world.records().pop().unwrap();
    assert_eq!(record.rule.as_deref(), Some("McpServer/crm spec.tools.overrides[echo].budgets[0]"));
    // Other tools, prompts and resources go on, on the levels that are theirs.
    assert!(passed(&metered.call("fail", json!({})).await));
    metered.bot().ask_modern("prompts/get", json!({"name": "crm_hello"})).await.result();
    metered.bot().ask_modern("resources/read", json!({"uri": "file:///a"})).await.result();
    let accounts = metered.accounts();
    soon(|| {
        let spent: Vec<u64> =
            accounts.iter().map(|(_, account)| metered.known.totals(*account).spent).collect();
        spent == [6, 6, 6, 6, 3]
    })
    .await;
}

#[tokio::test]
async fn a_cost_is_what_the_server_tells_up_to_the_maximum() {
    let metered = Metered::new(|policy| {
        let cost = json!({"maxCostMicroUsd": 100, "costFrom": "vendor.example/cost", "costOnError": "free"});
        let tools = json!({"priced": {"cost": cost}, "rpc_error": {"cost": {"costMicroUsd": 7, "costOnError": "free"}},
            "broken": {"cost": {"costMicroUsd": 7}}, "fail": {"cost": {"costMicroUsd": 7}}});
        policy
            .metering("key", "bot", &json!({"budgets": [{"amountMicroUsd": 1_000_000, "period": "1d"}]}))
            .metering("server", "crm", &json!({ "tools": tools }))
            .metering("server", "down", &json!({ "cost": {"costMicroUsd": 7} }))
    })
    .await;
    let mut total = 0;
    for (tool, arguments, cost) in [
        ("priced", json!({"meta": {"vendor.example/cost": 12}}), 12),
        ("priced", json!({"meta": {"vendor.example/cost": 101}}), 100),
        ("priced", json!({"meta": {"other": 1}}), 100),
        ("priced", json!({"meta": {"vendor.example/cost": "12"}}), 100),
        ("priced", json!({"meta": {"vendor.example/cost": -1}}), 100),
        ("priced", json!({"meta": {"vendor.example/cost": 12}, "fail": true}), 0),
        ("rpc_error", json!({}), 0),
        ("broken", json!({}), 7),
        ("fail", json!({}), 7),
    ] {
        metered.call(tool, arguments.clone()).await;
        total += cost;
        let record = metered.world.records().pop().unwrap();
        assert_eq!(record.cost_micro_usd, Some(cost), "{tool} {arguments}");
        match record.spent {
            Some(spent) => assert_eq!(spent.accounts[0].spent, total, "{tool} {arguments}"),
            None => assert_eq!(cost, 0),
        }
    }
    // What was never reached costs nothing.
    let down = metered.bot().ask_modern("tools/call", json!({"name": "down_echo"})).await;
    assert_eq!(decision(&down)["reason"], "upstream_unavailable");
    assert_eq!(metered.world.records().pop().unwrap().cost_micro_usd, Some(0));
    let account = metered.account();
    soon(|| metered.known.totals(account).spent == total).await;
}

#[tokio::test]
async fn a_call_that_is_given_up_is_spent_whole() {
    let metered = Metered::new(|policy| {
        policy
            .metering("key", "bot", &json!({"budgets": [{"amountMicroUsd": 1_000, "period": "1d"}]}))
            .metering("server", "crm", &json!({"tools": {"slow": {"cost": {"costMicroUsd": 9}}}}))
    })
    .await;
    let bot = metered.bot();
    let call = tokio::spawn(async move { bot.ask_modern("tools/call", json!({"name": "crm_slow"})).await });
    metered.fake.saw("tools/call").await;
    call.abort();
    let record = metered.world.record(|record| record.tool.as_deref() == Some("slow")).await;
    assert_eq!(record.cost_micro_usd, Some(9));
    assert_eq!(record.spent.unwrap().accounts[0].spent, 9);
}

#[tokio::test]
async fn after_a_crash_what_records_prove_is_spent_and_no_more_than_a_chunk_is_written_off() {
    let metered = Metered::new(|policy| policy.metering("key", "bot", &budget(10_000))).await;
    for _ in 0..40 {
        assert!(passed(&metered.call("echo", json!({})).await));
    }
    let account = metered.account();
    let (blind, seeing) = (metered.crashed(), metered.crashed());
    let (granted, nothing) = (metered.known.totals(account).granted, tempfile::tempdir().unwrap());
    let again = metered.restart(seeing.path(), metered.world.spool_dir());
    again.linked().await;
    let over = metered.known.overs().pop().unwrap();
    assert_eq!((over.holder.life, again.metering.holder().life), (1, 2));
    let line = over.lines[0];
    assert_eq!((line.account, line.epoch, line.spent), (account, Epoch(1), 40), "each of them has a record");
    let totals = metered.known.totals(account);
    assert_eq!((totals.spent, totals.held), (40, 0));
    assert!(
        totals.written_off <= granted * 3 / 8 + 1,
        "{totals:?} of {granted}: a chunk, and what was left of the one before"
    );
    // Without the records it is written off what they would have proved; never less than was spent is taken for used.
    drop(again);
    let again = metered.restart(blind.path(), nothing.path());
    again.linked().await;
    let line = metered.known.overs().pop().unwrap().lines[0];
    assert!(line.spent <= 40 && line.ceiling >= 40, "{line:?}");
}

#[tokio::test]
async fn a_plane_that_ends_in_good_order_gives_back_everything() {
    let metered = Metered::new(|policy| policy.metering("key", "bot", &budget(10_000))).await;
    for _ in 0..40 {
        assert!(passed(&metered.call("echo", json!({})).await));
    }
    let Metered { plane, known, dir, world, leases, policy, .. } = metered;
    let leases = leases.unwrap();
    let account = policy.compile(1).budgets().next().unwrap().1.account;
    let metering = plane.metering.clone();
    plane.end().await;
    drop(metering);
    let totals = known.totals(account);
    assert_eq!((totals.spent, totals.held, totals.written_off), (40, 0, 0), "{totals:?}");
    // And its ledger says the same.
    let copy = tempfile::tempdir().unwrap();
    std::fs::copy(dir.path().join("ledger"), copy.path().join("ledger")).unwrap();
    let again = leases_fake::Plane::start(copy.path(), world.spool_dir(), &known, leases.addr);
    again.linked().await;
    let line = known.overs().pop().unwrap().lines[0];
    assert_eq!((line.spent, line.ceiling), (40, 40));
}

#[tokio::test]
async fn a_damaged_ledger_makes_another_plane_and_is_kept() {
    let metered = Metered::new(|policy| policy.metering("key", "bot", &budget(1_000))).await;
    for _ in 0..40 {
        assert!(passed(&metered.call("echo", json!({})).await));
    }
    let account = metered.account();
    let (damaged, torn) = (metered.crashed(), metered.crashed());
    let path = damaged.path().join("ledger");
    let whole = std::fs::read(&path).unwrap();
    let mut bytes = whole.clone();
    bytes[20] ^= 1;
    std::fs::write(&path, &bytes).unwrap();
    let again = metered.restart(damaged.path(), metered.world.spool_dir());
    again.linked().await;
    let (before, now) = (metered.plane.metering.holder(), again.metering.holder());
    assert_ne!(now.plane, before.plane);
    assert_eq!((now.life, metered.known.overs().len()), (1, 0), "nothing is said of what nobody knows");
    assert_eq!(std::fs::read(damaged.path().join("ledger.damaged-1")).unwrap(), bytes);
    // A tail that was torn is cut off: it was never synced.
    std::fs::write(torn.path().join("ledger"), &whole[..whole.len() - 9]).unwrap();
    let again = metered.restart(torn.path(), metered.world.spool_dir());
    again.linked().await;
    assert_eq!(again.metering.holder().plane, before.plane);
    assert_eq!(metered.known.totals(account).held, 0);
}

#[tokio::test]
async fn a_plane_that_the_control_plane_takes_for_another_comes_as_another() {
    let metered = Metered::new(|policy| policy.metering("key", "bot", &budget(1_000))).await;
    assert!(passed(&metered.call("echo", json!({})).await));
    let ledger = metered.crashed();
    metered.known.refuse_next();
    let again = metered.restart(ledger.path(), metered.world.spool_dir());
    again.linked().await;
    let (before, now) = (metered.plane.metering.holder(), again.metering.holder());
    assert_ne!(now.plane, before.plane);
    assert_eq!(metered.known.births().pop(), Some(now));
    assert!(ledger.path().join("ledger.refused-1").exists());
}

#[tokio::test]
async fn without_a_control_plane_budgets_do_what_on_outage_says_and_debt_is_told() {
    for (on_outage, passes) in [(json!("deny"), 0), (json!({"share": "10%"}), 10), (json!("allow"), 30)] {
        let said = json!({"budgets": [{"calls": 100, "period": "1d", "onOutage": on_outage}]});
        let mut metered = Metered::alone(|policy| policy.metering("key", "bot", &said)).await;
        let mut passing = 0;
        for _ in 0..30 {
            let got = metered.call("echo", json!({})).await;
            if passed(&got) {
                passing += 1;
            } else {
                assert_eq!(decision(&got)["reason"], "budget_exhausted");
                assert!(decision(&got)["retryAfterMs"].as_u64().unwrap() > 0);
            }
        }
        assert_eq!(passing, passes, "{on_outage}");
        let account = metered.account();
        let addr = metered.plane_addr();
        metered.leases = Some(FakeLeases::start_at(addr, &metered.known).await);
        soon(|| !metered.plane.metering.is_cut_off()).await;
        assert!(passed(&metered.call("echo", json!({})).await));
        soon(|| metered.known.statement(account).debt == passes).await;
    }
}

#[tokio::test]
async fn another_policy_keeps_what_was_used() {
    let mut metered = Metered::new(|policy| policy.metering("key", "bot", &budget(10))).await;
    for _ in 0..6 {
        assert!(passed(&metered.call("echo", json!({})).await));
    }
    let policy =
        metered.policy.clone().metering("key", "bot", &budget(8)).metering("team", "sales", &budget(50));
    metered.swap(policy);
    for call in 0..4 {
        assert_eq!(passed(&metered.call("echo", json!({})).await), call < 2, "call {call}");
    }
    let accounts = metered.accounts();
    soon(|| {
        let spent: Vec<u64> =
            accounts.iter().map(|(_, account)| metered.known.totals(*account).spent).collect();
        spent == [2, 8]
    })
    .await;
}
