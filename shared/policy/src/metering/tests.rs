use std::time::Duration;

use portcullis_metering::purse::Price;
use portcullis_metering::{Length, Level, OnOutage, Unit};
use serde_json::{Value, json};

use super::*;
use crate::Reason;
use crate::circumstances::Circumstances;
use crate::compile::Snapshot;
use crate::decide::{Permit, Step};
use crate::explain::{Question, explain};
use crate::fixture::{NOW, compile, entry, hash, key_as, server, tool, uid, zone};
use crate::snapshot::Entry;
use crate::view::EndpointRef;

fn with(entry: Entry, metering: &Value) -> Entry {
    let mut body: Value = serde_json::from_slice(&entry.encode()).unwrap();
    body.as_object_mut().unwrap().insert("metering".into(), metering.clone());
    Entry::decode(entry.kind(), body.to_string().as_bytes()).unwrap()
}

fn tenants(customer: &Value, team: &Value) -> Vec<Entry> {
    vec![
        entry("customer", &json!({ "uid": uid("acme"), "name": "acme", "metering": customer })),
        entry("team", &json!({ "uid": uid("sales"), "name": "sales", "customer": "acme", "metering": team })),
    ]
}

/// A customer, a team, a key and a server with two tools; each says what it is told to.
fn organisation(said: &Value) -> Snapshot {
    let none = json!({});
    let of = |owner: &str| said.get(owner).unwrap_or(&none);
    let mut entries = tenants(of("customer"), of("team"));
    let grants = json!([{ "server": "crm", "allow": ["*"], "resources": ["crm://*"] }]);
    entries.extend([
        zone("internal", &[], &["*"]),
        with(server("crm", "internal", &[]), of("server")),
        tool("crm", "read"),
        tool("crm", "refund"),
        key_as("bot", "internal", &grants, &json!({ "team": "sales", "metering": of("key") })),
        key_as("other", "internal", &grants, &json!({})),
    ]);
    compile(entries).unwrap()
}

fn permit(snapshot: &Snapshot, key: &str, tool: &str) -> Permit {
    let principal = snapshot.authenticate(&hash(key), NOW).unwrap();
    let view = snapshot.endpoint(&principal, EndpointRef::All).unwrap();
    snapshot.decide_tool(&principal, &view, tool, &Circumstances::at(NOW)).unwrap()
}

#[test]
fn a_call_debits_every_level_that_says_something_in_their_order() {
    let snapshot = organisation(&json!({
        "customer": { "budgets": [{ "amountMicroUsd": 50_000_000, "period": "1mo", "warnAt": "80%" }] },
        "team": { "budgets": [{ "calls": 100, "period": "1d", "rolling": true, "onOutage": { "share": "2.5%" } }] },
        "key": { "budgets": [{ "calls": 10, "period": "1h", "onOutage": "allow" }, { "calls": 90, "period": "1d" }] },
        "server": { "own": { "budgets": [{ "calls": 7, "period": "1m" }] },
            "tools": { "refund": { "own": { "budgets": [{ "calls": 1, "period": "1y", "fiscalYearStart": 4 }] } } } },
    }));
    let metering = permit(&snapshot, "bot", "crm_refund").metering().unwrap();
    let charges = metering.charges();
    let found: Vec<_> = charges
        .iter()
        .map(|charge| {
            let rule = metering.budget_rule(charge.account).unwrap().to_string();
            (charge.account.level, charge.account.unit, charge.account.length, charge.limit, rule)
        })
        .collect();
    let rule = |text: &str| text.to_owned();
    assert_eq!(
        found,
        [
            (
                Level::Customer,
                Unit::MicroUsd,
                Length::Month,
                50_000_000,
                rule("Customer/acme spec.budgets[0]")
            ),
            (Level::Team, Unit::Calls, Length::Day, 100, rule("Team/sales spec.budgets[0]")),
            (Level::Key, Unit::Calls, Length::Hour, 10, rule("VirtualKey/bot spec.budgets[0]")),
            (Level::Key, Unit::Calls, Length::Day, 90, rule("VirtualKey/bot spec.budgets[1]")),
            (Level::Server, Unit::Calls, Length::Minute, 7, rule("McpServer/crm spec.budgets[0]")),
            (
                Level::Tool,
                Unit::Calls,
                Length::Year,
                1,
                rule("McpServer/crm spec.tools.overrides[refund].budgets[0]")
            ),
        ]
    );
    assert_eq!(charges[0].on_outage, OnOutage::Deny);
    assert_eq!(charges[1].on_outage, OnOutage::Share(25.try_into().unwrap()));
    assert_eq!(charges[2].on_outage, OnOutage::Allow);
    // The other tool and the other key debit what is theirs.
    let levels = |key, tool| -> Vec<Level> {
        let metering = permit(&snapshot, key, tool).metering().unwrap();
        metering.charges().iter().map(|charge| charge.account.level).collect()
    };
    assert_eq!(
        levels("bot", "crm_read"),
        [Level::Customer, Level::Team, Level::Key, Level::Key, Level::Server]
    );
    assert_eq!(levels("other", "crm_refund"), [Level::Server, Level::Tool]);
    // The control plane knows the same accounts.
    let accounts: Vec<_> = snapshot.budgets().map(|(_, budget)| budget.account).collect();
    assert_eq!(accounts, charges.iter().map(|charge| charge.account).collect::<Vec<_>>());
}

#[test]
fn what_says_nothing_meters_nothing() {
    let snapshot = organisation(&json!({}));
    assert!(permit(&snapshot, "bot", "crm_refund").metering().is_none());
    assert_eq!(permit(&snapshot, "bot", "crm_refund").cost(), Some(&Cost::default()));
    let principal = snapshot.authenticate(&hash("bot"), NOW).unwrap();
    let view = snapshot.endpoint(&principal, EndpointRef::All).unwrap();
    let snapshot = organisation(&json!({ "key": { "budgets": [{ "calls": 1, "period": "1d" }] } }));
    let at = Circumstances::at(NOW);
    let to_speak = snapshot.decide_server(&principal, &view, "crm", &at);
    assert!(to_speak.is_err() || to_speak.unwrap().metering().is_none());
}

#[test]
fn a_resource_is_metered_as_a_call_without_a_tool() {
    let snapshot = organisation(&json!({ "key": {
        "budgets": [{ "calls": 1, "period": "1d" }],
        "rateLimits": [{ "requests": 1, "per": "1s" }, { "requests": 1, "per": "1m", "tool": "*" }],
    } }));
    let principal = snapshot.authenticate(&hash("bot"), NOW).unwrap();
    let view = snapshot.endpoint(&principal, EndpointRef::All).unwrap();
    let permit =
        snapshot.decide_resource(&principal, &view, "crm", "crm://a", &Circumstances::at(NOW)).unwrap();
    let metering = permit.metering().unwrap();
    assert_eq!((metering.charges().len(), metering.rates().count()), (1, 1));
    assert_eq!(metering.cost(), Cost::default());
}

#[test]
fn limits_are_about_what_their_globs_say_and_told_apart_by_each() {
    let snapshot = organisation(&json!({
        "team": { "rateLimits": [{ "requests": 5, "per": "1s", "each": "principal" }] },
        "key": { "rateLimits": [{ "requests": 50, "per": "1s", "burst": 100, "wait": "20ms" },
            { "requests": 5, "per": "1s", "tool": "crm_re*", "each": "tool" },
            { "requests": 5, "per": "1s", "tool": "web_*" }, { "requests": 5, "per": "1s", "server": "crm" },
            { "requests": 5, "per": "1s", "server": "web" }], "concurrency": 8 },
        "server": { "own": { "rateLimits": [{ "requests": 9, "per": "1s", "tool": "refund", "each": "customer" }],
            "concurrency": [{ "calls": 3, "each": "key", "onOutage": "deny" }] } },
    }));
    let rules = |key, tool| -> Vec<String> {
        let metering = permit(&snapshot, key, tool).metering().unwrap();
        metering.measures().iter().map(|measure| measure.rule.to_string()).collect()
    };
    assert_eq!(
        rules("bot", "crm_refund"),
        [
            "Team/sales spec.rateLimits[0]",
            "VirtualKey/bot spec.rateLimits[0]",
            "VirtualKey/bot spec.rateLimits[1]",
            "VirtualKey/bot spec.rateLimits[3]",
            "McpServer/crm spec.rateLimits[0]",
            "VirtualKey/bot spec.concurrency[0]",
            "McpServer/crm spec.concurrency[0]",
        ]
    );
    // Without a customer there is none to be told apart by.
    assert_eq!(rules("other", "crm_refund"), ["McpServer/crm spec.concurrency[0]"]);
    let subjects = |key, tool| {
        let metering = permit(&snapshot, key, tool).metering().unwrap();
        metering.rates().map(|met| (met.terms.id, met.subject)).collect::<Vec<_>>()
    };
    let (refund, read) = (subjects("bot", "crm_refund"), subjects("bot", "crm_read"));
    assert_eq!(refund[0], read[0], "one principal");
    assert_eq!(refund[1], read[1], "one bucket");
    assert_eq!(refund[2].0, read[2].0, "one limit");
    assert_ne!(refund[2].1, read[2].1, "two tools");
    let metering = permit(&snapshot, "bot", "crm_refund").metering().unwrap();
    let own = metering.rates().nth(1).unwrap().terms;
    assert_eq!(own.wait, Duration::from_millis(20));
    let Amount::Rate(rate) = own.amount else { panic!("a rate") };
    assert_eq!((rate.requests, rate.per_ms, rate.burst), (50, 1_000, 100));
    assert_eq!(own.on_outage, OnOutage::Share(100.try_into().unwrap()), "a tenth unless it is said");
}

#[test]
fn names_of_limits_and_accounts_outlast_another_amount_and_nothing_else() {
    let limits = |requests: u64, per: &str, tool: &str| {
        let snapshot = organisation(&json!({ "key": {
            "budgets": [{ "calls": requests, "period": "1d" }],
            "rateLimits": [{ "requests": requests, "per": per, "tool": tool }] } }));
        let id = snapshot.limits().next().unwrap().1.id;
        (id, snapshot.budgets().next().unwrap().1.account)
    };
    assert_eq!(limits(1, "1s", "*"), limits(2, "1s", "*"));
    assert_ne!(limits(1, "1s", "*").0, limits(1, "2s", "*").0);
    assert_ne!(limits(1, "1s", "*").0, limits(1, "1s", "a").0);
}

#[test]
fn the_nearest_loop_breaker_holds() {
    let loops = |said: Value| {
        let metering = permit(&organisation(&said), "bot", "crm_read").metering().unwrap();
        metering.loops().map(|(loops, rule)| (loops.calls, rule.to_string()))
    };
    let of = |calls: u32| json!({ "loopBreaker": { "calls": calls, "within": "1m" } });
    assert_eq!(loops(json!({ "customer": of(3) })).unwrap(), (3, "Customer/acme spec.loopBreaker".into()));
    assert_eq!(loops(json!({ "customer": of(3), "key": of(9) })).unwrap().0, 9);
    assert_eq!(loops(json!({ "customer": of(3), "team": of(5) })).unwrap().0, 5);
}

#[test]
fn costs_are_the_tools_own_or_the_servers_and_bounded() {
    let cost = |server: Value, tool: Value| {
        let said = json!({ "server": { "cost": server, "tools": { "refund": { "cost": tool } } } });
        permit(&organisation(&said), "bot", "crm_refund").cost().unwrap().clone()
    };
    let money = |micro_usd: u64| Price { calls: 1, micro_usd };
    // Fixed.
    let fixed = cost(json!({ "costMicroUsd": 5 }), json!({}));
    assert_eq!((fixed.reserved(), fixed.of(Some(99), true)), (money(5), money(5)));
    assert_eq!(cost(json!({ "costMicroUsd": 5 }), json!({ "costMicroUsd": 250 })).reserved(), money(250));
    // Told by the server.
    let told = json!({ "maxCostMicroUsd": 900, "costFrom": "vendor.example/cost" });
    let asked = cost(told.clone(), json!({}));
    assert_eq!(asked.reserved(), money(900));
    let of = |told| asked.of(told, false).micro_usd;
    assert_eq!((of(Some(12)), of(Some(901)), of(None)), (12, 900, 900), "what is not told costs the most");
    let own = cost(json!({ "costMicroUsd": 5 }), json!({ "costFrom": "c", "maxCostMicroUsd": 90 }));
    assert_eq!(own.of(None, false), money(90), "not what other tools of the server cost");
    let asked = cost(told, json!({ "costMicroUsd": 40, "costOnError": "free" }));
    assert_eq!((asked.of(None, false), asked.of(Some(3), false)), (money(40), money(3)));
    assert_eq!(asked.of(Some(3), true), Price::default());
}

#[test]
fn a_tool_owns_under_an_id_that_its_definition_does_not_change() {
    let said = json!({ "server": { "tools": { "gone": { "own": { "budgets": [{ "calls": 1, "period": "1d" }] } } } } });
    let snapshot = organisation(&said);
    let (owner, budget) = snapshot.budgets().next().unwrap();
    assert_eq!((owner.label().as_str(), owner.uid), ("crm/gone", budget.account.owner));
    assert_eq!(snapshot.budgets().count(), 1, "known although nobody approved it yet");
}

#[test]
fn what_a_data_plane_keeps_of_a_principal_is_made_once_and_of_one_type() {
    let snapshot = organisation(&json!({}));
    let principal = snapshot.authenticate(&hash("bot"), NOW).unwrap();
    assert_eq!(principal.beside(|| 1_u32), Some(&1));
    assert_eq!(principal.beside(|| 2_u32), Some(&1));
    assert_eq!(principal.beside(|| "other"), None);
}

#[test]
fn explain_names_every_measure_and_ends_at_one_that_is_taken_to_be_used_up() {
    let snapshot = organisation(&json!({
        "customer": { "loopBreaker": { "calls": 3, "within": "1m" }, "budgets": [{ "calls": 9, "period": "1d" }] },
        "key": { "rateLimits": [{ "requests": 5, "per": "1s", "each": "tool" }], "concurrency": 2 },
    }));
    let explained = |assume: &[Reason]| {
        let question = Question { assume, ..Question::tool("bot", EndpointRef::All, "crm_read", NOW) };
        let explanation = explain(&snapshot, &question);
        let of_limits = explanation.steps.iter().filter(|step| step.step == Step::Limits);
        let texts: Vec<_> = of_limits.map(|step| format!("{}: {}", step.rule, step.detail)).collect();
        (explanation.reason, explanation.rule.to_string(), texts)
    };
    let (reason, rule, texts) = explained(&[]);
    assert_eq!((reason, rule.as_str()), (None, "VirtualKey/bot spec.grants[0]"));
    assert_eq!(
        texts,
        [
            "Customer/acme spec.loopBreaker: the same call at most 3 times in 1m",
            "VirtualKey/bot spec.rateLimits[0]: at most 5 requests in 1s, 5 at once, for each tool",
            "VirtualKey/bot spec.concurrency[0]: at most 2 calls under way",
            "Customer/acme spec.budgets[0]: at most 9 calls in 1d",
        ]
    );
    for (reason, rule) in [
        (Reason::RateLimited, "Customer/acme spec.loopBreaker"),
        (Reason::ConcurrencyExceeded, "VirtualKey/bot spec.concurrency[0]"),
        (Reason::BudgetExhausted, "Customer/acme spec.budgets[0]"),
    ] {
        let (found, by, texts) = explained(&[reason]);
        assert_eq!((found, by.as_str()), (Some(reason), rule));
        assert!(texts.last().unwrap().ends_with("taken to be used up"));
    }
    // Where nothing meters, nothing can be used up.
    let question = Question {
        assume: &[Reason::BudgetExhausted],
        ..Question::tool("other", EndpointRef::All, "crm_read", NOW)
    };
    assert_eq!(explain(&snapshot, &question).reason, None);
}
