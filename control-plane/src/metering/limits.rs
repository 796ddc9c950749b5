//! Shares of limits, lent to planes from memory: nothing of them is written down. See `portcullis_metering::Shares`.

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use portcullis_metering::{Assignment, Mono, ShareAsk, Shares};
use portcullis_policy::Snapshot;
use portcullis_policy::metering::Amount;
use uuid::Uuid;

/// For how long a share is lent.
const TERM: Duration = Duration::from_secs(3);
/// How much later than a plane this side takes a term for over.
const SLACK: Duration = Duration::from_millis(500);
/// Buckets whose shares are kept in memory.
const MAX_BUCKETS: usize = 262_144;
/// Limits of which it is remembered that they were there in this process. With more of them none counts as new.
const MAX_SEEN: usize = 262_144;
/// A bucket's place in the order is brought up to date at most so often.
const ORDERED_EVERY: Duration = Duration::from_secs(1);

/// A limit, and whose bucket of it.
type Bucket = (Uuid, Option<Uuid>);

/// What is in force of one limit.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Known {
    /// In the units of `Shares`.
    units: u64,
    burst: u64,
    /// Whether each subject has a bucket of its own.
    apart: bool,
    /// Nobody can hold a part of it that is not known here, and its bursts are full.
    new: bool,
}

#[derive(Debug)]
struct Lent {
    shares: Shares,
    units: u64,
    burst: u64,
    asked: Mono,
    ordered: Mono,
}

#[derive(Debug, Default)]
struct Inner {
    limits: BTreeMap<Uuid, Known>,
    seen: BTreeSet<Uuid>,
    begun: bool,
    lent: HashMap<Bucket, Lent>,
    /// The buckets by when they were asked for, about.
    order: BTreeSet<(Mono, Bucket)>,
}

/// The shares of all limits.
#[derive(Debug)]
pub(crate) struct Limits {
    started: Instant,
    /// No data plane was ever known when this process began, so that none can hold a share of anything.
    nobody_before: bool,
    max_buckets: usize,
    inner: Mutex<Inner>,
}

impl Default for Limits {
    fn default() -> Self {
        Self::with_room(MAX_BUCKETS)
    }
}

impl Limits {
    fn with_room(max_buckets: usize) -> Self {
        Self { started: Instant::now(), nobody_before: false, max_buckets, inner: Mutex::default() }
    }

    /// Of a control plane that no data plane ever spoke with, if that is so.
    pub(crate) fn after(nobody: bool) -> Self {
        Self { nobody_before: nobody, ..Self::default() }
    }

    fn inner(&self) -> MutexGuard<'_, Inner> {
        self.inner.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// The present moment on this process's own clock.
    fn now(&self) -> Mono {
        Mono(0).plus(self.started.elapsed())
    }

    /// How many buckets are kept.
    pub(crate) fn buckets(&self) -> usize {
        self.inner().lent.len()
    }

    /// Puts the limits of a snapshot in force. Planes learn of them as they ask.
    pub(crate) fn set(&self, snapshot: &Snapshot) {
        let limits = snapshot.limits().map(|(_, limit)| {
            let (units, burst) = match limit.amount {
                Amount::Rate(rate) => (rate.units(), rate.burst),
                Amount::Calls(calls) => (calls, 0),
            };
            (limit.id.0, units, burst, limit.each.is_some())
        });
        self.set_all(limits);
    }

    fn set_all(&self, limits: impl Iterator<Item = (Uuid, u64, u64, bool)>) {
        let mut inner = self.inner();
        let mut next = BTreeMap::new();
        for (id, units, burst, apart) in limits {
            let new = match inner.limits.get(&id) {
                Some(known) => known.new,
                None => {
                    let late = inner.begun || self.nobody_before;
                    late && inner.seen.len() < MAX_SEEN && !inner.seen.contains(&id)
                }
            };
            if inner.seen.len() < MAX_SEEN {
                inner.seen.insert(id);
            }
            next.insert(id, Known { units, burst, apart, new });
        }
        inner.limits = next;
        inner.begun = true;
    }

    /// Answers an ask for a share. Of a limit that does not exist, or not for such a subject, there is none.
    pub(crate) fn ask(&self, plane: Uuid, bucket: Bucket, ask: &ShareAsk) -> Assignment {
        self.ask_at(self.now(), plane, bucket, ask)
    }

    fn ask_at(&self, now: Mono, plane: Uuid, bucket: Bucket, ask: &ShareAsk) -> Assignment {
        let nothing = |term_ms| {
            let serial = ask.serial.saturating_add(1);
            Assignment { seq: ask.seq, serial, share: 0, gift: 0, term_ms }
        };
        let term_ms = u64::try_from(TERM.as_millis()).unwrap_or(u64::MAX);
        let mut inner = self.inner();
        let known = inner.limits.get(&bucket.0).copied();
        let Some(known) = known.filter(|known| known.apart == bucket.1.is_some()) else { return nothing(0) };
        if !inner.lent.contains_key(&bucket) {
            if inner.lent.len() >= self.max_buckets && !inner.make_room(now) {
                return nothing(term_ms);
            }
            // Until a term after the start others may hold shares that an earlier process lent; afterwards all that are held are
            // known here, and a bucket that was let go was held by nobody.
            let settled = self.nobody_before || now >= Mono(0).plus(TERM + SLACK);
            let (fresh, since) = if known.new && settled { (true, now) } else { (false, Mono(0)) };
            let shares = Shares::new(known.units, known.burst, TERM, since, fresh);
            inner.lent.insert(
                bucket,
                Lent { shares, units: known.units, burst: known.burst, asked: now, ordered: now },
            );
            inner.order.insert((now, bucket));
        }
        let Inner { lent, order, .. } = &mut *inner;
        let Some(lent) = lent.get_mut(&bucket) else { return nothing(term_ms) };
        lent.asked = now;
        if now.since(lent.ordered) >= ORDERED_EVERY {
            order.remove(&(lent.ordered, bucket));
            order.insert((now, bucket));
            lent.ordered = now;
        }
        if (lent.units, lent.burst) != (known.units, known.burst) {
            lent.shares.set_limit(known.units, known.burst);
            (lent.units, lent.burst) = (known.units, known.burst);
        }
        lent.shares.ask(now, plane, ask).unwrap_or_else(|| nothing(term_ms))
    }
}

impl Inner {
    /// Lets go of the bucket that was asked for least lately, if nobody can hold a part of it any more. Its burst may have been used:
    /// the limit gives out none any more.
    fn make_room(&mut self, now: Mono) -> bool {
        while let Some(&(ordered, bucket)) = self.order.first() {
            if ordered.plus(TERM + SLACK) > now {
                return false;
            }
            self.order.pop_first();
            let Some(lent) = self.lent.get_mut(&bucket) else { continue };
            if lent.asked.plus(TERM + SLACK) > now {
                lent.ordered = lent.asked;
                self.order.insert((lent.asked, bucket));
                continue;
            }
            self.lent.remove(&bucket);
            if let Some(known) = self.limits.get_mut(&bucket.0) {
                known.new = false;
            }
            return true;
        }
        false
    }
}

#[cfg(test)]
mod tests;
