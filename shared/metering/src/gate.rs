//! A limit of calls at once, at a data plane: the share of it that this plane was assigned.
//!
//! A smaller share holds at once for new calls; the control plane hears of it once no more calls than that are under way, and gives the
//! rest to another only then.

use std::sync::atomic::{
    AtomicU64, Ordering::AcqRel, Ordering::Acquire, Ordering::Relaxed, Ordering::Release,
};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use crate::shares::{Assignment, ShareAsk};
use crate::terms::OnOutage;
use crate::time::Mono;

/// One limit of calls at once, at one plane.
#[derive(Debug)]
pub struct Gate {
    under_way: AtomicU64,
    share: AtomicU64,
    until: AtomicU64,
    /// The most calls that were, or wanted to be, under way at once since the last beat.
    peak: AtomicU64,
    owed: AtomicU64,
    slow: Mutex<Slow>,
}

#[derive(Debug)]
struct Slow {
    limit: u64,
    on_outage: OnOutage,
    /// The newest assignment, and the one that is kept to.
    newest: (u64, u64),
    kept: (u64, u64),
    asked: Option<(u64, Mono)>,
    seq: u64,
}

/// A call that is under way; it ends when this is dropped.
#[derive(Debug)]
#[must_use = "the call counts as ended when its pass is dropped"]
pub struct Pass {
    gate: Arc<Gate>,
}

impl Drop for Pass {
    fn drop(&mut self) {
        self.gate.under_way.fetch_sub(1, AcqRel);
    }
}

/// As many calls are under way as may be.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Crowded {
    /// No control plane renewed the share, and `onOutage` does not let more pass.
    pub outage: bool,
}

impl Gate {
    /// A gate that has not heard of its share: it lets one call pass at a time, for a second.
    #[must_use]
    pub fn new(limit: u64, on_outage: OnOutage, now: Mono) -> Arc<Self> {
        let slow = Slow { limit, on_outage, newest: (0, 0), kept: (0, 0), asked: None, seq: 0 };
        Arc::new(Self {
            under_way: AtomicU64::new(0),
            share: AtomicU64::new(limit.min(1)),
            until: AtomicU64::new(now.plus(Duration::from_secs(1)).0),
            peak: AtomicU64::new(0),
            owed: AtomicU64::new(0),
            slow: Mutex::new(slow),
        })
    }

    /// Lets a call in.
    ///
    /// # Errors
    /// [`Crowded`], if as many calls are under way as the share allows.
    pub fn enter(self: &Arc<Self>, now: Mono) -> Result<Pass, Crowded> {
        let outage = now.0 >= self.until.load(Acquire);
        let most = if outage { self.in_outage() } else { self.share.load(Acquire) };
        let more = |under_way: u64| (under_way < most).then_some(under_way + 1);
        match self.under_way.fetch_update(AcqRel, Acquire, more) {
            Ok(before) => {
                self.peak.fetch_max(before + 1, Relaxed);
                if outage {
                    self.owed.fetch_add(1, Relaxed);
                }
                Ok(Pass { gate: self.clone() })
            }
            Err(full) => {
                self.peak.fetch_max(full + 1, Relaxed);
                Err(Crowded { outage })
            }
        }
    }

    #[cold]
    fn in_outage(&self) -> u64 {
        let slow = self.slow.lock().unwrap_or_else(PoisonError::into_inner);
        match slow.on_outage {
            OnOutage::Deny => 0,
            OnOutage::Share(part) => part.of(slow.limit),
            OnOutage::Allow => u64::MAX,
        }
    }

    /// What to ask the control plane; at every beat, and at once when a gate is new.
    pub fn beat(&self, now: Mono) -> ShareAsk {
        let mut slow = self.slow.lock().unwrap_or_else(PoisonError::into_inner);
        let under_way = self.under_way.load(Acquire);
        if under_way <= slow.newest.1 {
            slow.kept = slow.newest;
        }
        let demand = self.peak.swap(under_way, Relaxed).max(under_way);
        slow.seq += 1;
        slow.asked = Some((slow.seq, now));
        ShareAsk { seq: slow.seq, serial: slow.kept.0, holding: slow.kept.1, demand }
    }

    /// The control plane assigned a share. Only the answer to the last ask counts.
    pub fn adopt(&self, assignment: &Assignment) {
        let mut slow = self.slow.lock().unwrap_or_else(PoisonError::into_inner);
        let Some((_, asked_at)) = slow.asked.filter(|(seq, _)| *seq == assignment.seq) else { return };
        if assignment.serial < slow.newest.0 {
            return;
        }
        slow.asked = None;
        slow.newest = (assignment.serial, assignment.share);
        self.share.store(assignment.share, Release);
        self.until.store(asked_at.plus(Duration::from_millis(assignment.term_ms)).0, Release);
    }

    /// Other terms hold; the share changes with the next assignment.
    pub fn set_limit(&self, limit: u64, on_outage: OnOutage) {
        let mut slow = self.slow.lock().unwrap_or_else(PoisonError::into_inner);
        slow.limit = limit;
        slow.on_outage = on_outage;
    }

    /// Calls that are under way.
    #[must_use]
    pub fn under_way(&self) -> u64 {
        self.under_way.load(Acquire)
    }

    /// Calls that were let in without a share since it was last asked: the debt of an outage.
    pub fn take_owed(&self) -> u64 {
        self.owed.swap(0, Relaxed)
    }
}

#[cfg(test)]
mod tests;
