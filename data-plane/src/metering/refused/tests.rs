use std::sync::Arc;

use portcullis_policy::rule::LimitList;
use uuid::Uuid;

use super::*;

fn rule(kind: Kind, path: RulePath) -> Rule {
    Rule::of(kind, "crm".parse().unwrap(), path)
}

fn denied(level: Level, unit: Unit, why: Why, seconds: u64) -> Denied {
    let account =
        AccountId { level, owner: Uuid::nil(), unit, length: Length::Month, rolling: level == Level::Key };
    Denied { account, why, retry_after: Duration::from_secs(seconds) }
}

#[test]
fn a_budget_is_named_with_its_owner_and_when_it_refills() {
    let list = |kind| rule(kind, RulePath::Limit(LimitList::Budgets, 0));
    let tool = rule(Kind::McpServer, RulePath::ToolLimit(Arc::from("refund"), LimitList::Budgets, 0));
    for (of, denied, sentence) in [
        (
            list(Kind::Customer),
            denied(Level::Customer, Unit::MicroUsd, Why::Exhausted, 10 * 86_400),
            "The monthly budget of cost of your customer has not enough left for this call; it refills in 10 days.",
        ),
        (
            list(Kind::Team),
            denied(Level::Team, Unit::Calls, Why::Exhausted, 3 * 3_600 - 1),
            "The monthly budget of calls of your team is used up; it refills in 3 h.",
        ),
        (
            list(Kind::VirtualKey),
            denied(Level::Key, Unit::Calls, Why::Exhausted, 400),
            "The budget for any 30 days of calls of your key is used up; it refills in 7 min.",
        ),
        (
            list(Kind::McpServer),
            denied(Level::Server, Unit::Calls, Why::Empty, 0),
            "The monthly budget of calls of the server crm could not be drawn on in time. Try again in a second.",
        ),
        (
            tool,
            denied(Level::Tool, Unit::Calls, Why::Outage, 3),
            "The monthly budget of calls of this tool cannot be drawn on at the moment. Try again in 3 s.",
        ),
    ] {
        let refused = Refused::budget(Some(&of), denied);
        assert_eq!(refused.sentence, sentence);
        assert_eq!((refused.reason, &refused.rule), (Reason::BudgetExhausted, &of));
        assert!(refused.retry_after_ms >= 1);
    }
}

#[test]
fn limits_and_loops_say_what_to_do() {
    let of = rule(Kind::McpServer, RulePath::Limit(LimitList::RateLimits, 1));
    let limited = |outage| Limited { retry_after: Duration::from_micros(1_500), outage };
    let refused = Refused::rate(&of, limited(false));
    assert_eq!((refused.reason, refused.retry_after_ms), (Reason::RateLimited, 2));
    assert!(
        refused.sentence.starts_with("The rate limit of the server crm is reached."),
        "{}",
        refused.sentence
    );
    assert_ne!(Refused::rate(&of, limited(true)).sentence, refused.sentence);
    let crowded = Refused::crowded(&of, Crowded { outage: false }, Duration::from_secs(1));
    assert_eq!((crowded.reason, crowded.retry_after_ms), (Reason::ConcurrencyExceeded, 1_000));
    let looping = Refused::looping(&of, Looping { times: 20, retry_after: Duration::from_secs(30) });
    assert!(
        looping.sentence.contains("20 times") && looping.sentence.contains("in 30 s"),
        "{}",
        looping.sentence
    );
    for full in [NoMeter::Accounts, NoMeter::Limits] {
        assert_eq!(Refused::no_meter(full).rule.to_string(), "Default bounds");
    }
}
