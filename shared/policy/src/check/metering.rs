//! Budgets, limits and costs: that they can hold, and that no two of them are the same one.

use std::collections::BTreeMap;
use std::time::Duration;

use super::FindingsOf;
use crate::check::ResourceSet;
use crate::pattern::Pattern;
use crate::resource::{
    Budget, Each, HumanDuration, Kind, LimitScope, McpServerSpec, Metering, OnOutage, RateLimit, ToolCost,
};

/// Budgets of one resource: five levels of them stay below what one call may debit.
const MAX_BUDGETS: usize = 4;
/// Rate limits, and limits of calls at once, of one resource.
const MAX_LIMITS: usize = 16;
/// The largest amount: in micro-USD a billion dollars.
const MAX_AMOUNT: u64 = 1_000_000_000_000_000;
/// Requests in a rate, and calls at once.
const MAX_REQUESTS: u64 = 1_000_000_000;
const MAX_WAIT: Duration = Duration::from_secs(10);

/// Whose budgets and limits they are: what they may speak of.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Of {
    Customer,
    Team,
    Key,
    Server,
    Tool,
}

impl Of {
    /// By what its limits may tell callers and tools apart: by what there are several of below it.
    const fn each(self) -> &'static [Each] {
        match self {
            Self::Customer => &[Each::Team, Each::Key, Each::Principal, Each::Server, Each::Tool],
            Self::Team => &[Each::Key, Each::Principal, Each::Server, Each::Tool],
            Self::Key => &[Each::Server, Each::Tool],
            Self::Server => &[Each::Customer, Each::Team, Each::Key, Each::Principal, Each::Tool],
            Self::Tool => &[Each::Customer, Each::Team, Each::Key, Each::Principal],
        }
    }
}

/// All that one owner says. `at` is where it says it: `spec.` or `spec.tools.overrides[0].`.
pub(super) fn check(at: &str, whose: Of, said: &Metering, set: &ResourceSet, of: &mut FindingsOf<'_>) {
    budgets(&format!("{at}budgets"), &said.budgets, of);
    let field = format!("{at}rateLimits");
    number(&field, said.rate_limits.len(), MAX_LIMITS, "rate limits", of);
    let mut seen = BTreeMap::new();
    for (place, limit) in said.rate_limits.iter().enumerate().take(MAX_LIMITS) {
        let field = format!("{field}[{place}]");
        rate(&field, limit, of);
        let said = limit.scope();
        scope(&field, whose, said, set, of);
        once(&field, &mut seen, (limit.per, said.server, said.tool, said.each), of);
    }
    let field = format!("{at}concurrency");
    number(&field, said.concurrency.0.len(), MAX_LIMITS, "limits of calls at once", of);
    let mut seen = BTreeMap::new();
    for (place, limit) in said.concurrency.0.iter().enumerate().take(MAX_LIMITS) {
        let field = format!("{field}[{place}]");
        if !(1..=MAX_REQUESTS).contains(&limit.calls) {
            of.add(&field, format!("calls at once are 1 to {MAX_REQUESTS}"));
        }
        let said = limit.scope();
        scope(&field, whose, said, set, of);
        once(&field, &mut seen, (said.server, said.tool, said.each), of);
    }
    if let Some(breaker) = said.loop_breaker {
        let field = format!("{at}loopBreaker");
        if !(2..=10_000).contains(&breaker.calls) {
            of.add(&format!("{field}.calls"), "the same call may be made 2 to 10000 times");
        }
        between(&format!("{field}.within"), breaker.within, (1, "1s"), (3_600, "1h"), of);
    }
}

/// What calls of a server's tools cost.
pub(super) fn costs(spec: &McpServerSpec, of: &mut FindingsOf<'_>) {
    let server = spec.tools.cost();
    cost("spec.tools.", &server, of);
    for (at, tool) in spec.tools.overrides.iter().enumerate() {
        let own = tool.cost();
        if !own.is_empty() {
            cost(&format!("spec.tools.overrides[{at}]."), &own.or(&server), of);
        }
    }
}

fn cost(at: &str, said: &ToolCost, of: &mut FindingsOf<'_>) {
    let (fixed, max) = (said.cost_micro_usd, said.max_cost_micro_usd);
    for (field, amount) in [("costMicroUsd", fixed), ("maxCostMicroUsd", max)] {
        if amount.is_some_and(|amount| amount > MAX_AMOUNT) {
            of.add(&format!("{at}{field}"), format!("a call costs at most {MAX_AMOUNT} micro-USD"));
        }
    }
    if let (Some(fixed), Some(max)) = (fixed, max)
        && fixed > max
    {
        of.add(&format!("{at}maxCostMicroUsd"), format!("{max} is less than costMicroUsd, which is {fixed}"));
    }
    let Some(from) = &said.cost_from else { return };
    if from.is_empty() || from.len() > 256 || !from.chars().all(|c| c.is_ascii_graphic()) {
        of.add(
            &format!("{at}costFrom"),
            "the name of a member of _meta has 1 to 256 visible ASCII characters, such as example.com/cost",
        );
    }
    if max.is_none() {
        of.add(
            &format!("{at}maxCostMicroUsd"),
            "a cost that the server tells needs a maximum: it is reserved before the call",
        );
    }
}

fn budgets(field: &str, said: &[Budget], of: &mut FindingsOf<'_>) {
    number(field, said.len(), MAX_BUDGETS, "budgets", of);
    let mut seen = BTreeMap::new();
    for (at, budget) in said.iter().enumerate().take(MAX_BUDGETS) {
        let field = format!("{field}[{at}]");
        match (budget.calls, budget.amount_micro_usd) {
            (Some(amount), None) | (None, Some(amount)) => amount_fits(&field, amount, of),
            _ => {
                of.add(&field, "a budget is one of calls or one of amountMicroUsd: give exactly one of them")
            }
        }
        let money = budget.calls.is_none();
        if let Some(first) = seen.insert((money, budget.period, budget.rolling), at) {
            of.add(
                &field,
                format!(
                    "a resource has one budget of a unit, a period and a kind of period; the other one is at place {first}"
                ),
            );
        }
        if budget.fiscal_year_start.is_some_and(|month| !(1..=12).contains(&month)) {
            of.add(&format!("{field}.fiscalYearStart"), "a fiscal year begins in a month from 1 to 12");
        }
        if budget.fiscal_year_start.is_some() && budget.rolling {
            of.add(&format!("{field}.fiscalYearStart"), "a rolling period has no place in the calendar");
        }
        if budget.warn_at.is_some_and(|share| share.0 < 10) {
            of.add(&format!("{field}.warnAt"), "a warning comes at 0.1% or more");
        }
        if let Some(other) = &budget.by_override {
            let field = format!("{field}.override");
            match (money, other.calls, other.amount_micro_usd) {
                (false, Some(amount), None) | (true, None, Some(amount)) => amount_fits(&field, amount, of),
                _ => of.add(
                    &field,
                    "an override has the unit of its budget: give calls or amountMicroUsd as it does",
                ),
            }
        }
        outage(&field, budget.on_outage, of);
    }
}

fn amount_fits(field: &str, amount: u64, of: &mut FindingsOf<'_>) {
    if !(1..=MAX_AMOUNT).contains(&amount) {
        of.add(
            field,
            format!(
                "a budget is 1 to {MAX_AMOUNT}; to let nothing pass, revoke the key or suspend the server"
            ),
        );
    }
}

fn rate(field: &str, limit: &RateLimit, of: &mut FindingsOf<'_>) {
    if !(1..=MAX_REQUESTS).contains(&limit.requests) {
        of.add(&format!("{field}.requests"), format!("a rate is of 1 to {MAX_REQUESTS} requests"));
    }
    if limit.burst.is_some_and(|burst| !(1..=MAX_REQUESTS).contains(&burst)) {
        of.add(&format!("{field}.burst"), format!("a burst is 1 to {MAX_REQUESTS} requests"));
    }
    between(&format!("{field}.per"), limit.per, (1, "1s"), (86_400, "1d"), of);
}

fn scope(field: &str, whose: Of, said: LimitScope<'_>, set: &ResourceSet, of: &mut FindingsOf<'_>) {
    if let Some(server) = said.server {
        if matches!(whose, Of::Server | Of::Tool) {
            of.add(&format!("{field}.server"), "a server's own limits are about this server");
        } else {
            of.reference(&format!("{field}.server"), Kind::McpServer, server, set);
        }
    }
    if let Some(tool) = said.tool {
        if whose == Of::Tool {
            of.add(&format!("{field}.tool"), "a tool's own limits are about this tool");
        } else if let Err(error) = Pattern::parse(tool) {
            of.add(&format!("{field}.tool"), error.to_string());
        }
    }
    if let Some(each) = said.each.filter(|each| !whose.each().contains(each)) {
        let known: Vec<&str> = whose.each().iter().map(|each| each.as_str()).collect();
        of.add(
            &format!("{field}.each"),
            format!("here a limit can be for each of {}, not for each {}", known.join(", "), each.as_str()),
        );
    }
    if said.wait.is_some_and(|wait| wait.0 > MAX_WAIT) {
        of.add(&format!("{field}.wait"), "a call waits for its turn for 10s at most");
    }
    outage(field, said.on_outage, of);
}

fn outage(field: &str, said: Option<OnOutage>, of: &mut FindingsOf<'_>) {
    if let Some(OnOutage::Share(share)) = said
        && share.0 < 10
    {
        of.add(&format!("{field}.onOutage"), "a share is 0.1% or more: say deny to let nothing pass");
    }
}

/// What tells a limit from its owner's others: its name is made of this, so that two of them would share one bucket.
fn once<T: Ord>(field: &str, seen: &mut BTreeMap<T, String>, what: T, of: &mut FindingsOf<'_>) {
    if let Some(first) = seen.insert(what, field.to_owned()) {
        of.add(field, format!("it limits the same as {first}: keep the tighter of them"));
    }
}

fn number(field: &str, count: usize, most: usize, what: &str, of: &mut FindingsOf<'_>) {
    if count > most {
        of.add(field, format!("a resource has at most {most} {what}"));
    }
}

fn between(field: &str, said: HumanDuration, least: (u64, &str), most: (u64, &str), of: &mut FindingsOf<'_>) {
    let span = Duration::from_secs(least.0)..=Duration::from_secs(most.0);
    if !span.contains(&said.0) {
        of.add(field, format!("{said} is not between {} and {}", least.1, most.1));
    }
}

#[cfg(test)]
mod tests;
