//! The rate limits and limits of calls at once that calls meet here, under names that outlast snapshots: a policy that changes finds the
//! buckets as they are.
//!
//! What calls touch are the limits themselves, which each `Meter` holds; the table is for finding them, and for the beat.

use std::collections::HashMap;
use std::sync::atomic::{
    AtomicBool, AtomicU64, AtomicUsize, Ordering::AcqRel, Ordering::Acquire, Ordering::Relaxed,
    Ordering::Release,
};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use portcullis_metering::{Assignment, Crowded, Gate, Limited, Limiter, Mono, Pass, ShareAsk};
use portcullis_policy::metering::{Amount, LimitId, LimitTerms};
use portcullis_policy::snapshot::SnapshotVersion;
use tokio::sync::Notify;
use uuid::Uuid;

/// Which limit, and whose bucket of it: nil where all share one.
pub(super) type Key = (LimitId, Uuid);

/// Limits that are kept.
const MAX_LIMITS: usize = 65_536;
/// A limit that was not used for so long may be forgotten when there are too many.
const IDLE: Duration = Duration::from_secs(30);
/// One that was not used for so long is forgotten.
const FORGOTTEN: Duration = Duration::from_hours(1);
/// How often it is looked for idle ones.
const SWEEP: Duration = Duration::from_secs(1);
/// One that was not used for so long is asked for at every fourth beat only.
const QUIET: Duration = Duration::from_secs(5);

/// As many limits are in use as this plane keeps. The call is to be denied.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct TooMany;

/// One limit.
#[derive(Debug)]
pub(super) struct Limit {
    key: Key,
    kind: Kind,
    /// The newest snapshot whose terms were taken.
    version: AtomicU64,
    used: AtomicU64,
    /// Forgotten: whoever holds it must look for it anew.
    gone: AtomicBool,
    /// Calls that wait for their turn.
    pub(super) waiting: AtomicUsize,
    /// Told when a call at once ended while others waited.
    pub(super) freed: Notify,
}

#[derive(Debug)]
enum Kind {
    Rate(Limiter),
    Gate(Arc<Gate>),
}

impl Limit {
    /// Whether it was forgotten.
    pub(super) fn is_gone(&self) -> bool {
        self.gone.load(Acquire)
    }

    fn touch(&self, now: Mono) {
        // Coarse, so that calls at the same time do not write it over and over.
        let second = now.0 >> 28;
        if self.used.load(Relaxed) != second {
            self.used.store(second, Relaxed);
        }
    }

    fn idle_for(&self, now: Mono) -> Duration {
        now.since(Mono(self.used.load(Relaxed) << 28))
    }

    fn is_busy(&self) -> bool {
        self.waiting.load(Relaxed) > 0 || matches!(&self.kind, Kind::Gate(gate) if gate.under_way() > 0)
    }

    /// Takes a token of a rate. A limit of calls at once has none to take.
    pub(super) fn take(&self, now: Mono) -> Result<(), Limited> {
        self.touch(now);
        match &self.kind {
            Kind::Rate(limiter) => limiter.take(now),
            Kind::Gate(_) => Ok(()),
        }
    }

    pub(super) fn give_back(&self) {
        if let Kind::Rate(limiter) = &self.kind {
            limiter.give_back();
        }
    }

    /// Lets a call in. A rate lets all of them in.
    pub(super) fn enter(self: &Arc<Self>, now: Mono) -> Result<Inside, Crowded> {
        self.touch(now);
        let pass = match &self.kind {
            Kind::Gate(gate) => Some(gate.enter(now)?),
            Kind::Rate(_) => None,
        };
        Ok(Inside { pass, limit: Arc::clone(self) })
    }

    fn beat(&self, now: Mono) -> ShareAsk {
        match &self.kind {
            Kind::Rate(limiter) => limiter.beat(now),
            Kind::Gate(gate) => gate.beat(now),
        }
    }

    fn set_terms(&self, terms: &LimitTerms, version: SnapshotVersion, now: Mono) {
        // Calls of the snapshot before may still come; what they know is out of date.
        if self.version.fetch_max(version.0, AcqRel) > version.0 {
            return;
        }
        match (&self.kind, terms.amount) {
            (Kind::Rate(limiter), Amount::Rate(rate)) => limiter.set_rate(rate, terms.on_outage, now),
            (Kind::Gate(gate), Amount::Calls(calls)) => gate.set_limit(calls, terms.on_outage),
            // Their names differ.
            (Kind::Rate(_), Amount::Calls(_)) | (Kind::Gate(_), Amount::Rate(_)) => {}
        }
    }
}

/// A call that is under way.
#[derive(Debug)]
pub(super) struct Inside {
    pass: Option<Pass>,
    limit: Arc<Limit>,
}

impl Drop for Inside {
    fn drop(&mut self) {
        self.pass = None;
        if self.limit.waiting.load(Acquire) > 0 {
            self.limit.freed.notify_one();
        }
    }
}

/// All limits.
#[derive(Debug)]
pub(super) struct Limits {
    table: Mutex<Table>,
    bound: usize,
}

#[derive(Debug, Default)]
struct Table {
    limits: HashMap<Key, Arc<Limit>>,
    /// Those of which nobody was told yet.
    fresh: Vec<Arc<Limit>>,
    swept: Mono,
    beats: u64,
}

impl Default for Limits {
    fn default() -> Self {
        Self::new(MAX_LIMITS)
    }
}

impl Limits {
    pub(super) fn new(bound: usize) -> Self {
        Self { table: Mutex::default(), bound }
    }

    /// The limit of these terms, under the terms of the newest snapshot that asked.
    pub(super) fn find(
        &self,
        terms: &LimitTerms,
        subject: Uuid,
        version: SnapshotVersion,
        now: Mono,
    ) -> Result<Arc<Limit>, TooMany> {
        let key = (terms.id, subject);
        let mut table = self.table();
        if let Some(limit) = table.limits.get(&key) {
            let limit = Arc::clone(limit);
            drop(table);
            limit.touch(now);
            limit.set_terms(terms, version, now);
            return Ok(limit);
        }
        if table.limits.len() >= self.bound {
            table.sweep(now, IDLE);
        }
        if table.limits.len() >= self.bound {
            return Err(TooMany);
        }
        let kind = match terms.amount {
            Amount::Rate(rate) => Kind::Rate(Limiter::new(rate, terms.on_outage, now)),
            Amount::Calls(calls) => Kind::Gate(Gate::new(calls, terms.on_outage, now)),
        };
        let limit = Arc::new(Limit {
            key,
            kind,
            version: AtomicU64::new(version.0),
            used: AtomicU64::new(now.0 >> 28),
            gone: AtomicBool::new(false),
            waiting: AtomicUsize::new(0),
            freed: Notify::new(),
        });
        table.limits.insert(key, Arc::clone(&limit));
        if table.fresh.len() < self.bound {
            table.fresh.push(Arc::clone(&limit));
        }
        Ok(limit)
    }

    /// What to ask for limits that nobody was told of yet.
    pub(super) fn fresh(&self, now: Mono) -> Vec<(Key, ShareAsk)> {
        let fresh = std::mem::take(&mut self.table().fresh);
        fresh.iter().map(|limit| (limit.key, limit.beat(now))).collect()
    }

    /// What to ask for all limits, at the beat.
    pub(super) fn beat(&self, now: Mono) -> Vec<(Key, ShareAsk)> {
        let mut table = self.table();
        table.fresh.clear();
        table.beats += 1;
        let all = table.beats.is_multiple_of(4);
        table.sweep(now, FORGOTTEN);
        let limits: Vec<Arc<Limit>> = table.limits.values().cloned().collect();
        drop(table);
        let due = limits.iter().filter(|limit| all || limit.is_busy() || limit.idle_for(now) < QUIET);
        due.map(|limit| (limit.key, limit.beat(now))).collect()
    }

    /// A share was assigned.
    pub(super) fn adopt(&self, key: Key, assignment: &Assignment, now: Mono) {
        let limit = self.table().limits.get(&key).cloned();
        match limit.as_deref().map(|limit| &limit.kind) {
            Some(Kind::Rate(limiter)) => limiter.adopt(now, assignment),
            Some(Kind::Gate(gate)) => gate.adopt(assignment),
            None => {}
        }
        // A larger share may let somebody in.
        if let Some(limit) = limit.filter(|limit| limit.waiting.load(Acquire) > 0) {
            limit.freed.notify_waiters();
        }
    }

    /// Rate limits and limits of calls at once that are kept.
    pub(super) fn counts(&self) -> (u64, u64) {
        let table = self.table();
        let all = table.limits.len() as u64;
        let gates = table.limits.values().filter(|limit| matches!(limit.kind, Kind::Gate(_))).count() as u64;
        (all - gates, gates)
    }

    fn table(&self) -> MutexGuard<'_, Table> {
        self.table.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Table {
    /// Forgets limits that were idle for so long; those that were used least recently are the first to be so.
    fn sweep(&mut self, now: Mono, idle: Duration) {
        if now.since(self.swept) < SWEEP && self.swept.0 > 0 {
            return;
        }
        self.swept = now;
        self.limits.retain(|_, limit| {
            let kept = limit.is_busy() || limit.idle_for(now) < idle;
            limit.gone.store(!kept, Release);
            kept
        });
    }
}

#[cfg(test)]
mod tests;
