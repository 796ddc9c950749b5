//! What meters the calls of one principal of one thing, found once for each snapshot: no table that others use lies on a call's way.

use std::collections::HashMap;
use std::sync::Arc;
use std::sync::atomic::AtomicUsize;
use std::sync::atomic::Ordering::{Acquire, Relaxed};
use std::time::Duration;

use arc_swap::ArcSwap;
use portcullis_metering::purse::{Charge, Price, Purse, Tab};
use portcullis_metering::{AccountId, Mono};
use portcullis_policy::compile::{Server, Tool};
use portcullis_policy::metering::{Cost, Loops, MetLimit};
use portcullis_policy::{Permit, Rule, Target};
use uuid::Uuid;

use super::Metering;
use super::limits::{Limit, TooMany};
use super::witness::account_text;

/// Things of which one principal's meters are kept; with more of them it begins anew.
const MAX_METERS: usize = 1_024;
/// Meters that are kept of all principals. Beyond that they are made for each call: slower, and no less exact.
const MAX_ALL: usize = 262_144;

/// What meters one kind of call.
#[derive(Debug)]
pub(crate) struct Meter {
    /// Which of this process' purses the tab is of.
    generation: u64,
    pub(super) purse: Arc<Purse>,
    /// None where no budget applies.
    pub(super) tab: Option<Arc<Tab>>,
    /// In the order of the tab.
    pub(super) budgets: Box<[Budget]>,
    pub(super) rates: Box<[Bound]>,
    pub(super) gates: Box<[Bound]>,
    pub(super) loops: Option<(Loops, Rule)>,
    pub(super) cost: Cost,
    pub(super) price: Price,
    /// Who calls, whatever the key.
    pub(super) principal: Uuid,
    /// As long as these live, their addresses are theirs.
    _of: (Arc<Server>, Option<Arc<Tool>>),
    _counted: Counted,
}

/// One meter more, until it is dropped.
#[derive(Debug)]
struct Counted(Arc<AtomicUsize>);

impl Counted {
    fn one(all: &Arc<AtomicUsize>) -> Self {
        all.fetch_add(1, Relaxed);
        Self(Arc::clone(all))
    }
}

impl Drop for Counted {
    fn drop(&mut self) {
        self.0.fetch_sub(1, Relaxed);
    }
}

/// A budget that it debits.
#[derive(Debug)]
pub(super) struct Budget {
    pub(super) account: AccountId,
    /// The account as records name it.
    pub(super) text: Arc<str>,
    pub(super) rule: Rule,
}

/// A limit that it meets.
#[derive(Debug)]
pub(super) struct Bound {
    pub(super) limit: Arc<Limit>,
    pub(super) wait: Duration,
    pub(super) rule: Rule,
}

/// A bound of this plane is reached: more accounts, or more limits, than it keeps.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum NoMeter {
    Accounts,
    Limits,
}

impl From<portcullis_metering::purse::Full> for NoMeter {
    fn from(_: portcullis_metering::purse::Full) -> Self {
        Self::Accounts
    }
}

impl From<TooMany> for NoMeter {
    fn from(_: TooMany) -> Self {
        Self::Limits
    }
}

/// The addresses of what is called, which a meter keeps alive.
type Place = (usize, usize);

/// The meters of one principal, kept beside it in its snapshot.
#[derive(Debug, Default)]
struct Meters(ArcSwap<HashMap<Place, Arc<Meter>>>);

impl Metering {
    /// What meters a call; `None` where nothing does.
    pub(super) fn meter(&self, permit: &Permit, now: Mono) -> Result<Option<Arc<Meter>>, NoMeter> {
        if !permit.is_metered() {
            return Ok(None);
        }
        let Some(meters) = permit.principal().beside(Meters::default) else {
            return self.make(permit, now);
        };
        let tool = match permit.target() {
            Target::Tool(tool) => Some(tool),
            Target::Prompt(_) | Target::Resource { .. } | Target::Server => None,
        };
        let place: Place =
            (Arc::as_ptr(permit.server()).addr(), tool.map_or(0, |tool| Arc::as_ptr(tool).addr()));
        if let Some(meter) = meters.0.load().get(&place)
            && self.is_good(meter)
        {
            return Ok(Some(Arc::clone(meter)));
        }
        let made = self.make(permit, now)?;
        if let Some(meter) = made.as_ref().filter(|_| self.0.meters.load(Relaxed) <= MAX_ALL) {
            meters.0.rcu(|old| {
                let mut new = if old.len() >= MAX_METERS { HashMap::new() } else { HashMap::clone(old) };
                new.insert(place, Arc::clone(meter));
                new
            });
        }
        Ok(made)
    }

    /// Whether the purse is the one in use, and no limit was forgotten meanwhile.
    fn is_good(&self, meter: &Meter) -> bool {
        meter.generation == self.0.generation.load(Acquire)
            && meter.rates.iter().chain(&meter.gates).all(|bound| !bound.limit.is_gone())
    }

    #[cold]
    fn make(&self, permit: &Permit, now: Mono) -> Result<Option<Arc<Meter>>, NoMeter> {
        let Some(of) = permit.metering() else { return Ok(None) };
        let generation = self.0.generation.load(Acquire);
        let purse = self.purse();
        let charges: Vec<Charge> = of.charges();
        let tab = if charges.is_empty() { None } else { Some(purse.tab(&charges, now)?) };
        let accounts = tab.iter().flat_map(|tab| tab.accounts());
        let budgets = accounts.map(|account| Budget {
            account,
            text: account_text(account).into(),
            rule: of.budget_rule(account).unwrap_or_else(Rule::closed),
        });
        let budgets = budgets.collect();
        let rates = self.bounds(permit, of.rates(), now)?;
        let gates = self.bounds(permit, of.gates(), now)?;
        if rates.iter().chain(&gates).any(|bound| bound.limit.is_gone()) {
            // It was forgotten in this very moment; the next call finds it again.
            return Err(NoMeter::Limits);
        }
        let cost = of.cost();
        let tool = match permit.target() {
            Target::Tool(tool) => Some(Arc::clone(tool)),
            Target::Prompt(_) | Target::Resource { .. } | Target::Server => None,
        };
        self.0.urgent.notify_one();
        Ok(Some(Arc::new(Meter {
            generation,
            purse,
            tab,
            budgets,
            rates,
            gates,
            loops: of.loops(),
            price: cost.reserved(),
            cost,
            principal: of.principal_id(),
            _of: (Arc::clone(permit.server()), tool),
            _counted: Counted::one(&self.0.meters),
        })))
    }

    fn bounds<'a>(
        &self,
        permit: &Permit,
        met: impl Iterator<Item = MetLimit<'a>>,
        now: Mono,
    ) -> Result<Box<[Bound]>, NoMeter> {
        let bound = |MetLimit { terms, subject, rule }: MetLimit<'a>| -> Result<Bound, NoMeter> {
            let limit = self.limits().find(terms, subject, permit.snapshot(), now)?;
            Ok(Bound { limit, wait: terms.wait, rule })
        };
        met.map(bound).collect()
    }
}
