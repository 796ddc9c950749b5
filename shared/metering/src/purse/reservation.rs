//! A call's money: taken before the call on every level at once, settled after it.

use std::sync::Arc;

use super::pocket::{Pocket, Tag};
use crate::id::{AccountId, Epoch, Unit};

/// The most accounts that one call debits.
pub(super) const MAX_ACCOUNTS: usize = 24;

/// What a call costs.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Price {
    /// Calls: 1, or 0 for what does not count.
    pub calls: u64,
    /// Millionths of a US dollar.
    pub micro_usd: u64,
}

impl Price {
    pub(super) const fn of(self, unit: Unit) -> u64 {
        match unit {
            Unit::Calls => self.calls,
            Unit::MicroUsd => self.micro_usd,
        }
    }
}

/// The accounts that calls of one kind debit (one key and tool, say), found once and kept beside the snapshot.
#[derive(Debug)]
pub struct Tab {
    pub(super) pockets: Vec<Arc<Pocket>>,
}

impl Tab {
    /// The accounts, in the order in which they are tried.
    pub fn accounts(&self) -> impl Iterator<Item = AccountId> + '_ {
        self.pockets.iter().map(|pocket| pocket.id)
    }
}

/// What one account paid for a call, and all that it paid before.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Spent {
    /// Its place in the tab.
    pub place: usize,
    /// The account.
    pub account: AccountId,
    /// The epoch that paid.
    pub epoch: Epoch,
    /// All that this life has certainly spent of that epoch.
    pub spent: u64,
}

/// What a call may spend at most, taken out of the purse. Settle it; dropped without, it is spent whole, because nobody knows whether
/// the call reached its upstream.
#[derive(Debug)]
#[must_use = "a reservation that is dropped is spent whole"]
pub struct Reservation {
    pub(super) tab: Arc<Tab>,
    pub(super) price: Price,
    pub(super) tags: [Tag; MAX_ACCOUNTS],
    pub(super) low: bool,
}

impl Reservation {
    /// The call cost so much; what was reserved beyond that is free again. A cost above the reserved maximum is not paid.
    pub fn settle(self, cost: Price) {
        self.settle_with(cost, |_| {});
    }

    /// The same, and tells of every account that paid something from a lease how much this life has spent of it by now. Written
    /// down where it lasts, it is what [`Recovery::witness`](super::Recovery::witness) takes.
    pub fn settle_with(mut self, cost: Price, told: impl FnMut(Spent)) {
        self.close(cost, told);
    }

    /// The call never reached its upstream, and costs nothing.
    pub fn release(self) {
        self.settle(Price::default());
    }

    /// What was reserved.
    #[must_use]
    pub const fn price(&self) -> Price {
        self.price
    }

    /// Whether an account runs low, so that it is time for [`Purse::urgent`](super::Purse::urgent).
    #[must_use]
    pub const fn runs_low(&self) -> bool {
        self.low
    }

    pub(super) fn close(&mut self, cost: Price, mut told: impl FnMut(Spent)) {
        for (place, (pocket, tag)) in self.tab.pockets.iter().zip(&mut self.tags).enumerate() {
            let tag = std::mem::take(tag);
            if tag != 0 {
                let cost = cost.of(pocket.id.unit);
                let settled = pocket.settle(tag, self.price.of(pocket.id.unit), cost);
                if let Some((epoch, spent)) = settled.filter(|_| cost > 0) {
                    told(Spent { place, account: pocket.id, epoch, spent });
                }
            }
        }
    }
}

impl Drop for Reservation {
    fn drop(&mut self) {
        self.close(self.price, |_| {});
    }
}
