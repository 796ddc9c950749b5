//! One account in the hands of this data plane. What a call touches are atomics; all else is behind a lock that no paying call takes.
//!
//! `word` holds the tag of the current lot in its upper 16 bits and the free units of its open chunk below, so that one compare-and-swap
//! takes units and proves from which lot they came. Only the holder of the lock changes the tag.

use std::sync::atomic::{
    AtomicBool, AtomicU32, AtomicU64, Ordering::AcqRel, Ordering::Acquire, Ordering::Relaxed,
    Ordering::Release,
};
use std::sync::{Mutex, MutexGuard, PoisonError};

use super::slow::Slow;
use crate::id::{AccountId, Epoch};
use crate::time::Mono;

/// Marks a lot; 0 marks none.
pub(super) type Tag = u16;

/// Marks units that were let pass without a lease.
pub(super) const DEBT: Tag = u16::MAX;

const UNITS: u32 = 48;
const FREE: u64 = (1 << UNITS) - 1;
/// The most units that one chunk opens.
pub(super) const MOST: u64 = 1 << (UNITS - 2);

#[derive(Debug)]
pub(super) struct Pocket {
    pub(super) id: AccountId,
    word: AtomicU64,
    /// Units of the current lot may be spent before this moment only.
    usable_until: AtomicU64,
    /// Below this many free units it is time to see to the pocket.
    low: AtomicU64,
    /// It is in the list of pockets to be seen to.
    pub(super) flagged: AtomicBool,
    /// Units that calls could not pay since the pocket was last seen to.
    pub(super) unmet: AtomicU64,
    /// The most that one of them needed.
    pub(super) need: AtomicU64,
    /// What was spent, for each of four lots in turn; never set back.
    counters: [Counter; 4],
    slow: Mutex<Slow>,
}

/// What was spent of one lot after another, each of which uses it alone.
#[derive(Debug, Default)]
struct Counter {
    spent: AtomicU64,
    /// The epoch of the lot that uses it, and what is to be added (modulo 2^64) to make it the total of this life in that epoch.
    epoch: AtomicU32,
    before: AtomicU64,
}

/// Units taken: from which lot, and whether few are left.
#[derive(Debug, Clone, Copy)]
pub(super) struct Taken {
    pub(super) tag: Tag,
    pub(super) low: bool,
}

impl Pocket {
    pub(super) fn new(id: AccountId, slow: Slow) -> Self {
        Self {
            id,
            word: AtomicU64::new(0),
            usable_until: AtomicU64::new(0),
            low: AtomicU64::new(0),
            flagged: AtomicBool::new(false),
            unmet: AtomicU64::new(0),
            need: AtomicU64::new(0),
            counters: <[Counter; 4]>::default(),
            slow: Mutex::new(slow),
        }
    }

    /// A panic elsewhere cannot leave the amounts half changed: they are plain numbers, set last.
    pub(super) fn slow(&self) -> MutexGuard<'_, Slow> {
        self.slow.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Takes units out of the open chunk; `None` if they are not there or their time is over.
    pub(super) fn take(&self, amount: u64, now: Mono) -> Option<Taken> {
        if now.0 >= self.usable_until.load(Acquire) {
            return None;
        }
        let mut word = self.word.load(Relaxed);
        loop {
            let (tag, free) = (tag_of(word), word & FREE);
            if tag == 0 || free < amount {
                return None;
            }
            match self.word.compare_exchange_weak(word, word - amount, AcqRel, Relaxed) {
                Ok(_) => return Some(Taken { tag, low: free - amount < self.low.load(Relaxed) }),
                Err(now) => word = now,
            }
        }
    }

    /// Whether units could be taken, a moment ago.
    pub(super) fn could_pay(&self, amount: u64, now: Mono) -> bool {
        let word = self.word.load(Relaxed);
        now.0 < self.usable_until.load(Acquire) && tag_of(word) != 0 && word & FREE >= amount
    }

    /// Settles what was taken: `cost` is spent, the rest is free again. Tells which epoch paid and all that this life has spent of
    /// it; nothing of debt, and of what counted as spent before.
    pub(super) fn settle(&self, tag: Tag, taken: u64, cost: u64) -> Option<(Epoch, u64)> {
        let (cost, rest) = (cost.min(taken), taken.saturating_sub(cost));
        if tag == DEBT {
            self.slow().debt.settle(taken, cost);
            return None;
        }
        // Spent first: whoever looks between the two sees units in use, never units that were given back too early.
        if tag_of(self.word.load(Acquire)) == tag {
            let spent = self.spend(tag, cost);
            if rest > 0 && !self.put_back(tag, rest) {
                self.slow().put_back_late(tag, rest, self);
            }
            Some(spent)
        } else {
            let mut slow = self.slow();
            slow.knows(tag).then(|| {
                let spent = self.spend(tag, cost);
                slow.put_back_late(tag, rest, self);
                spent
            })
        }
    }

    fn spend(&self, tag: Tag, cost: u64) -> (Epoch, u64) {
        let counter = self.counter(tag);
        let (epoch, before) = (counter.epoch.load(Acquire), counter.before.load(Acquire));
        let spent = counter.spent.fetch_add(cost, AcqRel).wrapping_add(cost);
        (Epoch(epoch), before.wrapping_add(spent))
    }

    /// Adds free units to a lot, if it is the current one.
    pub(super) fn put_back(&self, tag: Tag, amount: u64) -> bool {
        let mut word = self.word.load(Relaxed);
        while tag_of(word) == tag {
            match self.word.compare_exchange_weak(word, word.saturating_add(amount), AcqRel, Relaxed) {
                Ok(_) => return true,
                Err(now) => word = now,
            }
        }
        false
    }

    /// Free units of the open chunk.
    pub(super) fn free(&self) -> u64 {
        self.word.load(Acquire) & FREE
    }

    /// All that was ever spent of the lots with this tag's place.
    pub(super) fn spent(&self, tag: Tag) -> u64 {
        self.counter(tag).spent.load(Acquire)
    }

    fn counter(&self, tag: Tag) -> &Counter {
        let [a, b, c, d] = &self.counters;
        match tag % 4 {
            0 => a,
            1 => b,
            2 => c,
            _ => d,
        }
    }

    // What follows is for the holder of the lock.

    /// A lot of this epoch uses the counter of its tag from now on; `spent` is what this life had spent of the epoch before. Returns
    /// what the counter says.
    pub(super) fn begin(&self, tag: Tag, epoch: Epoch, spent: u64) -> u64 {
        let counter = self.counter(tag);
        let counted = counter.spent.load(Acquire);
        counter.epoch.store(epoch.0, Release);
        counter.before.store(spent.wrapping_sub(counted), Release);
        counted
    }

    /// Opens units of a lot for spending.
    pub(super) fn open(&self, tag: Tag, amount: u64) {
        if !self.put_back(tag, amount) {
            self.word.store((u64::from(tag) << UNITS) | amount, Release);
        }
    }

    /// Takes up to `most` free units out of the open chunk.
    pub(super) fn shut(&self, most: u64) -> u64 {
        let mut word = self.word.load(Relaxed);
        loop {
            let amount = most.min(word & FREE);
            match self.word.compare_exchange_weak(word, word - amount, AcqRel, Relaxed) {
                Ok(_) => return amount,
                Err(now) => word = now,
            }
        }
    }

    /// Ends the current lot: nothing can be taken any more. Returns what was free.
    pub(super) fn retire(&self) -> u64 {
        self.word.swap(0, AcqRel) & FREE
    }

    pub(super) fn usable_until(&self) -> Mono {
        Mono(self.usable_until.load(Acquire))
    }

    pub(super) fn set_usable_until(&self, until: Mono) {
        self.usable_until.store(until.0, Release);
    }

    pub(super) fn set_low(&self, low: u64) {
        self.low.store(low, Relaxed);
    }
}

const fn tag_of(word: u64) -> Tag {
    (word >> UNITS) as Tag
}
