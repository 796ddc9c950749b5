//! What meters the calls of one principal of one thing. Data planes make it once for each snapshot and keep what they found by it.

use std::sync::Arc;
use std::time::Duration;

use portcullis_metering::purse::Charge;
use portcullis_metering::{AccountId, Level, Rate, Unit};
use portcullis_seal::sha256;
use uuid::Uuid;

use super::compile::Metered;
use super::owner::{first_16, tool_uid};
use super::terms::{Amount, BudgetTerms, Cost, LimitTerms, Loops};
use crate::Reason;
use crate::compile::model::{Principal, Tool};
use crate::compile::{Server, Snapshot};
use crate::decide::{Permit, Target};
use crate::metering::Owner;
use crate::resource::{Each, HumanDuration};
use crate::rule::{LimitList, Rule};

/// What meters a call.
#[derive(Debug)]
pub struct CallMetering {
    owners: Vec<Arc<Metered>>,
    server: Arc<Server>,
    tool: Option<Arc<Tool>>,
    principal: Arc<Principal>,
}

impl CallMetering {
    /// The accounts that it debits, in the order in which they are tried.
    #[must_use]
    pub fn charges(&self) -> Vec<Charge> {
        self.owners.iter().flat_map(|owner| &owner.budgets).map(BudgetTerms::charge).collect()
    }

    /// The rate limits that it meets.
    pub fn rates(&self) -> impl Iterator<Item = MetLimit<'_>> {
        self.limits(LimitList::RateLimits, |owner| &owner.rates)
    }

    /// The limits of calls at once that it meets.
    pub fn gates(&self) -> impl Iterator<Item = MetLimit<'_>> {
        self.limits(LimitList::Concurrency, |owner| &owner.gates)
    }

    fn limits<'a>(
        &'a self,
        list: LimitList,
        of: impl Fn(&'a Metered) -> &'a [LimitTerms] + 'a,
    ) -> impl Iterator<Item = MetLimit<'a>> + 'a {
        let all = self
            .owners
            .iter()
            .flat_map(move |owner| of(owner).iter().map(move |terms| (&owner.owner, terms)));
        all.filter(|(owner, terms)| self.meets(owner, terms)).filter_map(move |(owner, terms)| {
            let subject = self.subject(terms.each)?;
            Some(MetLimit { terms, subject, rule: owner.rule(list, terms.at) })
        })
    }

    /// Whether a limit is about this call.
    fn meets(&self, owner: &Owner, limit: &LimitTerms) -> bool {
        let server = limit.server.as_ref().is_none_or(|server| server == self.server.name());
        let tool = limit.tool.as_ref().is_none_or(|pattern| {
            self.tool.as_ref().is_some_and(|tool| match (&owner.level, &tool.exposed) {
                (Level::Server | Level::Tool, _) => pattern.matches(&tool.name),
                (_, Some(exposed)) => pattern.matches(exposed),
                (_, None) => pattern.matches(&format!("{}_{}", self.server.name(), tool.name)),
            })
        });
        server && tool
    }

    /// Who of those that a limit tells apart this call is of; `None` where it has none of that kind, so that the limit is not about it.
    fn subject(&self, each: Option<Each>) -> Option<Uuid> {
        let named = |kind: &str, name: &str| first_16(&sha256(format!("{kind}\0{name}").as_bytes()));
        Some(match each {
            None => Uuid::nil(),
            Some(Each::Customer) => named("customer", self.principal.customer.as_ref()?.as_str()),
            Some(Each::Team) => named("team", self.principal.team.as_ref()?.as_str()),
            Some(Each::Key) => self.principal.key_uid.0,
            Some(Each::Principal) => self.principal_id(),
            Some(Each::Server) => self.server.registered_uid().0,
            Some(Each::Tool) => tool_uid(self.server.registered_uid(), &self.tool.as_ref()?.name),
        })
    }

    /// Who calls, whatever the key: the loop breaker counts by it, and limits for each principal.
    #[must_use]
    pub fn principal_id(&self) -> Uuid {
        let text = format!("principal\0{}\0{}", self.principal.kind.as_str(), self.principal.subject);
        first_16(&sha256(text.as_bytes()))
    }

    /// The loop breaker: the key's own, or its team's, or its customer's.
    #[must_use]
    pub fn loops(&self) -> Option<(Loops, Rule)> {
        self.owners.iter().rev().find_map(|owner| {
            let loops = owner.loops?;
            Some((loops, owner.owner.rule(LimitList::LoopBreaker, 0)))
        })
    }

    /// What it costs.
    #[must_use]
    pub fn cost(&self) -> Cost {
        self.tool.as_ref().map(|tool| Cost::clone(&tool.cost)).unwrap_or_default()
    }

    /// The budget that an account is.
    #[must_use]
    pub fn budget_rule(&self, account: AccountId) -> Option<Rule> {
        self.owners.iter().find_map(|owner| {
            let budget = owner.budgets.iter().find(|budget| budget.account == account)?;
            Some(owner.owner.rule(LimitList::Budgets, budget.at))
        })
    }
}

/// A limit that a call meets.
#[derive(Debug)]
pub struct MetLimit<'a> {
    /// The limit.
    pub terms: &'a LimitTerms,
    /// Whose bucket of it: nil where all share one.
    pub subject: Uuid,
    /// The rule that it is.
    pub rule: Rule,
}

/// One thing by which a call is metered, for `explain`: in the order in which a data plane asks.
#[derive(Debug)]
pub(crate) struct Measure {
    /// What the call meets where it is used up.
    pub(crate) reason: Reason,
    pub(crate) rule: Rule,
    /// For a person.
    pub(crate) text: String,
}

impl CallMetering {
    pub(crate) fn measures(&self) -> Vec<Measure> {
        let loops = self.loops().map(|(Loops { calls, within }, rule)| {
            let text = format!("the same call at most {calls} times in {}", HumanDuration(within));
            Measure { reason: Reason::RateLimited, rule, text }
        });
        let limit = |MetLimit { terms, rule, .. }: MetLimit<'_>| {
            let each = terms.each.map(|each| format!(", for each {}", each.as_str())).unwrap_or_default();
            let (reason, text) = match terms.amount {
                Amount::Rate(Rate { requests, per_ms, burst }) => {
                    let per = HumanDuration(Duration::from_millis(per_ms));
                    (
                        Reason::RateLimited,
                        format!("at most {requests} requests in {per}, {burst} at once{each}"),
                    )
                }
                Amount::Calls(calls) => {
                    (Reason::ConcurrencyExceeded, format!("at most {calls} calls under way{each}"))
                }
            };
            Measure { reason, rule, text }
        };
        let budget = |(owner, budget): (&Owner, &BudgetTerms)| {
            let unit = match budget.account.unit {
                Unit::Calls => "calls",
                Unit::MicroUsd => "micro-USD",
            };
            let text = format!("at most {} {unit} in {}", budget.terms.limit, budget.account.length);
            Measure { reason: Reason::BudgetExhausted, rule: owner.rule(LimitList::Budgets, budget.at), text }
        };
        let budgets = self.owners.iter().flat_map(|of| of.budgets.iter().map(|budget| (&of.owner, budget)));
        let limits = self.rates().chain(self.gates()).map(limit);
        loops.into_iter().chain(limits).chain(budgets.map(budget)).collect()
    }

    /// What meters calls of a principal of a thing of a server; `None` where nothing does.
    pub(crate) fn of(
        principal: &Arc<Principal>,
        server: &Arc<Server>,
        tool: Option<&Arc<Tool>>,
    ) -> Option<Self> {
        let own = tool.and_then(|tool| tool.metered.as_ref());
        let owners: Vec<Arc<Metered>> =
            principal.metered.iter().chain(&server.metered).chain(own).cloned().collect();
        (!owners.is_empty()).then(|| Self {
            owners,
            server: Arc::clone(server),
            tool: tool.cloned(),
            principal: Arc::clone(principal),
        })
    }
}

impl Permit {
    /// Whether [`Self::metering`] would find anything. Cheap: it is asked for every call.
    #[must_use]
    pub fn is_metered(&self) -> bool {
        let own = match self.target() {
            Target::Server => return false,
            Target::Tool(tool) => tool.metered.is_some(),
            Target::Prompt(_) | Target::Resource { .. } => false,
        };
        own || !self.principal().metered.is_empty() || self.server().metered.is_some()
    }

    /// What meters the call that this permits; `None` where nothing does. To speak to a server without calling anything of it is
    /// not metered.
    #[must_use]
    pub fn metering(&self) -> Option<CallMetering> {
        let tool = match self.target() {
            Target::Server => return None,
            Target::Tool(tool) => Some(tool),
            Target::Prompt(_) | Target::Resource { .. } => None,
        };
        CallMetering::of(self.principal(), self.server(), tool)
    }

    /// What the call costs, metered or not: for the record.
    #[must_use]
    pub fn cost(&self) -> Option<&Cost> {
        match self.target() {
            Target::Tool(tool) => Some(&tool.cost),
            _ => None,
        }
    }
}

impl Snapshot {
    /// Every budget with its owner, in the order of levels, then of names.
    pub fn budgets(&self) -> impl Iterator<Item = (&Owner, &BudgetTerms)> {
        self.metered.iter().flat_map(|of| of.budgets.iter().map(move |budget| (&of.owner, budget)))
    }

    /// Every rate limit and limit of calls at once with its owner, likewise.
    pub fn limits(&self) -> impl Iterator<Item = (&Owner, &LimitTerms)> {
        self.metered
            .iter()
            .flat_map(|of| of.rates.iter().chain(&of.gates).map(move |limit| (&of.owner, limit)))
    }
}
