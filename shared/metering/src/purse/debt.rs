//! What passed without a lease while no control plane could be reached.

use super::pocket::{DEBT, Tag};
use crate::terms::OnOutage;
use crate::time::Mono;

#[derive(Debug, Clone, Copy, Default)]
pub(super) struct Debt {
    /// What this life had let pass before this pocket was made; unknown until the first answer.
    base: Option<u64>,
    total: u64,
    in_use: u64,
    /// Of the share: since when, and how much of it.
    since: Mono,
    of_share: u64,
    recorded: u64,
    acknowledged: u64,
}

impl Debt {
    pub(super) fn new(now: Mono) -> Self {
        Self { since: now, ..Self::default() }
    }

    /// Lets units pass, if the terms of an outage say so.
    pub(super) fn owe(
        &mut self,
        amount: u64,
        now: Mono,
        period_ms: u64,
        terms: OnOutage,
        limit: u64,
    ) -> Option<Tag> {
        match terms {
            OnOutage::Deny => return None,
            OnOutage::Share(part) => {
                if now.since(self.since).as_millis() >= u128::from(period_ms) {
                    self.since = now;
                    self.of_share = self.in_use;
                }
                let share = self.of_share.saturating_add(amount);
                if share > part.of(limit) {
                    return None;
                }
                self.of_share = share;
            }
            OnOutage::Allow => {}
        }
        self.in_use = self.in_use.saturating_add(amount);
        Some(DEBT)
    }

    pub(super) fn settle(&mut self, taken: u64, cost: u64) {
        self.in_use = self.in_use.saturating_sub(taken);
        self.total = self.total.saturating_add(cost);
        self.of_share = self.of_share.saturating_sub(taken.saturating_sub(cost));
    }

    /// What the control plane is told: nothing before it has said what it knows, lest less be told than before.
    pub(super) fn told(&self) -> u64 {
        self.base.map_or(0, |base| base.saturating_add(self.total))
    }

    /// What the ledger is told. There the highest record counts.
    pub(super) fn for_the_ledger(&self) -> u64 {
        self.base.unwrap_or(0).saturating_add(self.total)
    }

    /// The same, if it has not been told.
    pub(super) fn unrecorded(&mut self) -> Option<u64> {
        let debt = self.for_the_ledger();
        (debt != std::mem::replace(&mut self.recorded, debt)).then_some(debt)
    }

    pub(super) fn acknowledge(&mut self, known: u64) {
        let base = *self.base.get_or_insert(known);
        self.acknowledged = known.max(base);
    }

    /// Whether the control plane is still to be told of something.
    pub(super) fn unsaid(&self) -> bool {
        self.in_use > 0 || (self.total > 0 && (self.base.is_none() || self.told() != self.acknowledged))
    }
}
