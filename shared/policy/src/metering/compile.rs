//! From what people wrote to terms. What could not have been applied (the check refuses it) and travels all the same limits to nothing
//! rather than not at all.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use portcullis_metering::{
    AccountId, FiscalMonth, Level, OnOutage, Override, PerMille, Rate, Terms, Unit, Utc,
};
use portcullis_seal::sha256;

use super::owner::{Owner, first_16};
use super::terms::{Amount, BudgetTerms, Cost, LimitId, LimitTerms, Loops};
use crate::pattern::Pattern;
use crate::resource::{
    Budget, ConcurrencyLimit, Each, LimitScope, Metering, Name, OnOutage as Written, RateLimit, Share,
    ToolCost, Uid,
};
use crate::snapshot::ServerEntry;

/// What a limit does in an outage where nothing is said: each data plane lets a tenth pass. A limit protects a server from too much
/// at once, which nothing at all need not be.
const LIMIT_IN_OUTAGE: Share = Share(1_000);

/// What one owner says of how much may be used.
#[derive(Debug)]
pub(crate) struct Metered {
    pub(crate) owner: Owner,
    pub(crate) budgets: Box<[BudgetTerms]>,
    pub(crate) rates: Box<[LimitTerms]>,
    pub(crate) gates: Box<[LimitTerms]>,
    pub(crate) loops: Option<Loops>,
}

/// Of a customer, a team or a key; none where it says nothing.
pub(crate) fn of_owner(level: Level, uid: Uid, name: &Name, said: &Metering) -> Option<Arc<Metered>> {
    (!said.is_empty()).then(|| Arc::new(metered(Owner::resource(level, uid, name.clone()), said)))
}

/// Of a server as a whole.
pub(crate) fn of_server(server: &ServerEntry) -> Option<Arc<Metered>> {
    of_owner(Level::Server, server.uid, &server.name, &server.metering.own)
}

/// Of each tool of which a server says something.
pub(crate) fn of_tools(server: &ServerEntry) -> BTreeMap<String, Arc<Metered>> {
    let said = server.metering.tools.iter().filter(|(_, tool)| !tool.own.is_empty());
    said.map(|(name, tool)| {
        let owner = Owner::tool(server.uid, server.name.clone(), name.as_str().into());
        (name.clone(), Arc::new(metered(owner, &tool.own)))
    })
    .collect()
}

/// What a call of a tool costs.
pub(crate) fn cost_of(server: &ServerEntry, tool: &str) -> Cost {
    let own = server.metering.tools.get(tool).map(|tool| tool.cost.or(&server.metering.cost));
    cost(&own.unwrap_or_else(|| server.metering.cost.clone()))
}

fn cost(said: &ToolCost) -> Cost {
    let from: Option<Arc<str>> = said.cost_from.as_deref().map(Into::into);
    let max = said.max_cost_micro_usd.or(said.cost_micro_usd).unwrap_or(0);
    // What a server does not tell costs the most that it could have told.
    let untold = if from.is_some() { max } else { 0 };
    let fixed = said.cost_micro_usd.unwrap_or(untold);
    Cost { fixed, max: max.max(fixed), from, on_error: said.cost_on_error.unwrap_or_default() }
}

fn metered(owner: Owner, said: &Metering) -> Metered {
    let budgets = (0..).zip(&said.budgets).map(|(at, said)| budget(&owner, said, at)).collect();
    let rates = (0..).zip(&said.rate_limits).map(|(at, said)| rate(&owner, said, at)).collect();
    let gates = (0..).zip(&said.concurrency.0).map(|(at, said)| gate(&owner, said, at)).collect();
    let loops = said.loop_breaker.map(|said| Loops { calls: said.calls, within: said.within.0 });
    Metered { owner, budgets, rates, gates, loops }
}

fn budget(owner: &Owner, said: &Budget, at: u32) -> BudgetTerms {
    let (unit, limit) = match (said.calls, said.amount_micro_usd) {
        (Some(calls), _) => (Unit::Calls, calls),
        (None, amount) => (Unit::MicroUsd, amount.unwrap_or(0)),
    };
    let account = AccountId {
        level: owner.level,
        owner: owner.uid,
        unit,
        length: said.period.0,
        rolling: said.rolling,
    };
    let month = said.fiscal_year_start.and_then(|month| FiscalMonth::try_from(month).ok());
    let by_override = said.by_override.as_ref().map(|other| Override {
        limit: other.calls.or(other.amount_micro_usd).unwrap_or(0),
        until: Utc(u64::try_from(other.until.timestamp_millis()).unwrap_or(0)),
    });
    let terms = Terms {
        limit,
        warn_at: said.warn_at.map(per_mille),
        fiscal_month: month.unwrap_or(FiscalMonth::JANUARY),
    };
    let on_outage = said.on_outage.map_or(OnOutage::Deny, on_outage);
    BudgetTerms { account, terms, by_override, on_outage, at }
}

fn rate(owner: &Owner, said: &RateLimit, at: u32) -> LimitTerms {
    let per_ms = millis(said.per.0);
    let rate = Rate {
        requests: said.requests,
        per_ms: per_ms.max(1),
        burst: said.burst.unwrap_or(said.requests).max(1),
    };
    limit(owner, &format!("rate per {per_ms}"), Amount::Rate(rate), said.scope(), at)
}

fn gate(owner: &Owner, said: &ConcurrencyLimit, at: u32) -> LimitTerms {
    limit(owner, "calls at once", Amount::Calls(said.calls), said.scope(), at)
}

fn limit(owner: &Owner, what: &str, amount: Amount, scope: LimitScope<'_>, at: u32) -> LimitTerms {
    let LimitScope { server, tool, each, wait, on_outage: outage } = scope;
    let server_text = server.map_or("", Name::as_str);
    let tool_text = tool.unwrap_or("");
    let each_text = each.map_or("", Each::as_str);
    // A NUL stands in no name, pattern or word.
    let text = format!("{what}\0{}\0{}\0{server_text}\0{tool_text}\0{each_text}", owner.level, owner.uid);
    LimitTerms {
        id: LimitId(first_16(&sha256(text.as_bytes()))),
        amount,
        server: server.cloned(),
        // A pattern that cannot be read would limit nothing: then the limit is of everything.
        tool: tool.and_then(|tool| Pattern::parse(tool).ok()),
        each,
        wait: wait.map_or(Duration::ZERO, |wait| wait.0),
        on_outage: on_outage(outage.unwrap_or(Written::Share(LIMIT_IN_OUTAGE))),
        at,
    }
}

fn on_outage(said: Written) -> OnOutage {
    match said {
        Written::Deny => OnOutage::Deny,
        Written::Allow => OnOutage::Allow,
        Written::Share(share) => OnOutage::Share(per_mille(share)),
    }
}

fn per_mille(share: Share) -> PerMille {
    PerMille::try_from(share.0 / 10).unwrap_or(PerMille::ALL)
}

fn millis(duration: Duration) -> u64 {
    u64::try_from(duration.as_millis()).unwrap_or(u64::MAX)
}
