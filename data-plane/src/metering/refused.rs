//! Why metering does not let a call pass, in words that a model can act on. They name the level and the rule's kind, and no amounts: how
//! much others may use is nobody's business.

use std::time::Duration;

use portcullis_metering::purse::{Denied, Why};
use portcullis_metering::{AccountId, Crowded, Length, Level, Limited, Looping, Unit};
use portcullis_policy::resource::Kind;
use portcullis_policy::{Reason, Rule, RulePath};

use super::meter::NoMeter;

/// When to try again if a bound of this plane was met.
const FULL_RETRY_MS: u64 = 1_000;

/// A call that does not go.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Refused {
    /// The code.
    pub reason: Reason,
    /// The budget, limit or loop breaker.
    pub rule: Rule,
    /// For the caller.
    pub sentence: String,
    /// When it may be worth another try.
    pub retry_after_ms: u64,
}

impl Refused {
    pub(super) fn looping(rule: &Rule, looping: Looping) -> Self {
        let Looping { times, retry_after } = looping;
        let sentence = format!(
            "You made this same call {times} times with the same arguments, so it is not made again. Change the arguments or stop; the \
             same call is possible again {}.",
            within(retry_after)
        );
        Self {
            reason: Reason::RateLimited,
            rule: rule.clone(),
            sentence,
            retry_after_ms: millis(retry_after),
        }
    }

    pub(super) fn rate(rule: &Rule, limited: Limited) -> Self {
        let retry = within(limited.retry_after);
        let whose = whose(rule);
        let sentence = if limited.outage {
            format!("How fast {whose} may call cannot be agreed on at the moment. Try again {retry}.")
        } else {
            format!(
                "The rate limit of {whose} is reached. Wait before you call this again; try again {retry}."
            )
        };
        let retry_after_ms = millis(limited.retry_after);
        Self { reason: Reason::RateLimited, rule: rule.clone(), sentence, retry_after_ms }
    }

    pub(super) fn crowded(rule: &Rule, crowded: Crowded, retry_after: Duration) -> Self {
        let whose = whose(rule);
        let sentence = if crowded.outage {
            format!(
                "How many calls at once {whose} may make cannot be agreed on at the moment. Try again soon."
            )
        } else {
            format!(
                "As many calls of {whose} are under way as may be at once. Wait for one of them to end, then try again."
            )
        };
        let retry_after_ms = millis(retry_after);
        Self { reason: Reason::ConcurrencyExceeded, rule: rule.clone(), sentence, retry_after_ms }
    }

    pub(super) fn budget(rule: Option<&Rule>, denied: Denied) -> Self {
        let Denied { account, why, retry_after } = denied;
        let budget = format!("The {} of {}", budget(account), whose_budget(account.level, rule));
        let retry = within(retry_after);
        let sentence = match (why, account.unit) {
            (Why::Exhausted, Unit::Calls) => format!("{budget} is used up; it refills {retry}."),
            (Why::Exhausted, Unit::MicroUsd) => {
                format!("{budget} has not enough left for this call; it refills {retry}.")
            }
            (Why::Empty, _) => format!("{budget} could not be drawn on in time. Try again {retry}."),
            (Why::Outage, _) => {
                format!("{budget} cannot be drawn on at the moment. Try again {retry}.")
            }
        };
        let rule = rule.cloned().unwrap_or_else(Rule::closed);
        Self { reason: Reason::BudgetExhausted, rule, sentence, retry_after_ms: millis(retry_after) }
    }

    pub(super) fn no_meter(full: NoMeter) -> Self {
        let (reason, what) = match full {
            NoMeter::Accounts => (Reason::BudgetExhausted, "budgets"),
            NoMeter::Limits => (Reason::RateLimited, "limits"),
        };
        let sentence = format!("More {what} are in use here than can be counted at once. Try again soon.");
        Self { reason, rule: Rule::own(RulePath::Bounds), sentence, retry_after_ms: FULL_RETRY_MS }
    }
}

/// Whose limit a rule is.
fn whose(rule: &Rule) -> String {
    match (rule.kind, &rule.path, &rule.name) {
        (Some(Kind::Customer), ..) => "your customer".to_owned(),
        (Some(Kind::Team), ..) => "your team".to_owned(),
        (Some(Kind::VirtualKey), ..) => "your key".to_owned(),
        (Some(Kind::McpServer), RulePath::ToolLimit(..), _) => "this tool".to_owned(),
        (Some(Kind::McpServer), _, Some(name)) => format!("the server {name}"),
        _ => "this gateway".to_owned(),
    }
}

fn whose_budget(level: Level, rule: Option<&Rule>) -> String {
    rule.map(whose).unwrap_or_else(|| match level {
        Level::Server => "the server".to_owned(),
        Level::Tool => "this tool".to_owned(),
        Level::Customer | Level::Team | Level::Key => format!("your {level}"),
    })
}

/// `daily budget of calls`.
fn budget(account: AccountId) -> String {
    let often = match (account.length, account.rolling) {
        (Length::Minute, false) => "budget per minute",
        (Length::Hour, false) => "hourly budget",
        (Length::Day, false) => "daily budget",
        (Length::Week, false) => "weekly budget",
        (Length::Month, false) => "monthly budget",
        (Length::Quarter, false) => "quarterly budget",
        (Length::Year, false) => "yearly budget",
        (Length::Minute, true) => "budget for any minute",
        (Length::Hour, true) => "budget for any hour",
        (Length::Day, true) => "budget for any 24 hours",
        (Length::Week, true) => "budget for any 7 days",
        (Length::Month, true) => "budget for any 30 days",
        (Length::Quarter, true) => "budget for any 91 days",
        (Length::Year, true) => "budget for any 365 days",
    };
    let unit = match account.unit {
        Unit::Calls => "calls",
        Unit::MicroUsd => "cost",
    };
    format!("{often} of {unit}")
}

/// `in 3 h`, rounded up.
fn within(span: Duration) -> String {
    let seconds = millis(span).div_ceil(1_000);
    match seconds {
        0..=1 => "in a second".to_owned(),
        2..=119 => format!("in {seconds} s"),
        120..=7_199 => format!("in {} min", seconds.div_ceil(60)),
        7_200..=172_799 => format!("in {} h", seconds.div_ceil(3_600)),
        _ => format!("in {} days", seconds.div_ceil(86_400)),
    }
}

fn millis(span: Duration) -> u64 {
    u64::try_from(span.as_nanos().div_ceil(1_000_000)).unwrap_or(u64::MAX).max(1)
}

#[cfg(test)]
mod tests;
