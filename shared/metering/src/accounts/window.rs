//! What a rolling period has seen: amounts in slots of a 64th of it, each counted until it has certainly left the period.
//!
//! The control plane learns of spending after it happened, so an amount is put where it was *reported*, and a slot leaves one period
//! after its *end*: an amount is counted somewhat too long, never too short.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

use crate::time::Utc;

const SLOTS: u64 = 64;

#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct Window {
    period_ms: u64,
    #[serde(with = "crate::pairs")]
    slots: BTreeMap<u64, i64>,
}

impl Window {
    pub(super) const fn new(period_ms: u64) -> Self {
        Self { period_ms, slots: BTreeMap::new() }
    }

    const fn slot_ms(&self) -> u64 {
        let slot = self.period_ms / SLOTS;
        if slot == 0 { 1 } else { slot }
    }

    /// The first moment at which a slot counts no more.
    const fn leaves(&self, slot: u64) -> Utc {
        Utc((slot + 1).saturating_mul(self.slot_ms())).plus(self.period_ms)
    }

    /// Counts an amount as of a moment. Moments lie between now and a period ahead, so there are at most about 130 slots.
    pub(super) fn add(&mut self, now: Utc, at: Utc, amount: i64) {
        let gone: Vec<u64> =
            self.slots.keys().copied().take_while(|slot| self.leaves(*slot) <= now).collect();
        for slot in gone {
            self.slots.remove(&slot);
        }
        if amount != 0 {
            let slot = self.slots.entry(at.0 / self.slot_ms()).or_default();
            *slot = slot.saturating_add(amount);
        }
    }

    /// Takes back what was counted as of a moment, unless that has left.
    pub(super) fn take_back(&mut self, at: Utc, amount: i64) {
        if let Some(slot) = self.slots.get_mut(&(at.0 / self.slot_ms())) {
            *slot = slot.saturating_sub(amount);
        }
    }

    pub(super) fn clear(&mut self) {
        self.slots.clear();
    }

    /// What counts now.
    pub(super) fn used(&self, now: Utc) -> i128 {
        self.slots
            .iter()
            .filter(|(slot, _)| self.leaves(**slot) > now)
            .map(|(_, amount)| i128::from(*amount))
            .sum()
    }

    /// The next moment at which something leaves; `None` if nothing is in it.
    pub(super) fn next_leaves(&self, now: Utc) -> Option<Utc> {
        self.slots
            .iter()
            .filter(|(_, amount)| **amount > 0)
            .map(|(slot, _)| self.leaves(*slot))
            .find(|leaves| *leaves > now)
    }
}
