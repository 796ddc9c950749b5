//! Shares of a limit, assigned to data planes: of a rate, or of a number of calls at once.
//!
//! A share is not money: nothing is owed when it is not used. So it is lent for a *term*, held in memory only, and given to another when
//! its holder lets go of it or its term is over. The sum of what planes may be using never exceeds the limit, because a share is given to
//! another only after its holder said that it uses less by now, or after its term ended by this side's clock, which ends later than by
//! the holder's.
//!
//! After a restart nothing is known of what planes hold: for one term they get at most what they say that they hold.

use std::collections::BTreeMap;
use std::time::Duration;

use serde::{Deserialize, Serialize};
use uuid::Uuid;

use crate::time::{Mono, nanos};

/// Assignments that a plane may not have taken note of yet; with so many, the last one is repeated.
const MAX_UNNOTED: usize = 8;
/// Planes that share one limit.
const MAX_PLANES: usize = 4_096;
/// An idle plane keeps this part of an equal share, so that its first call need not wait.
const IDLE_PART: u64 = 64;

/// Data plane → control plane: how much of a limit I would use.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct ShareAsk {
    /// Comes back in the assignment, so that the plane knows when it had asked.
    pub seq: u64,
    /// The last assignment that the plane keeps to; 0 for none.
    pub serial: u64,
    /// The share that it keeps to.
    pub holding: u64,
    /// What it would use, in the units of the limit, refused calls included.
    pub demand: u64,
}

/// Control plane → data plane: your share.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Assignment {
    /// The ask that this answers.
    pub seq: u64,
    /// Counts up; an assignment with a lower number than the last one is out of date.
    pub serial: u64,
    /// The share, in the units of the limit.
    pub share: u64,
    /// Of a burst that nobody had yet: thousandths of requests that may pass at once, counted once for each serial.
    pub gift: u64,
    /// For how long, from when the plane asked.
    pub term_ms: u64,
}

/// One limit and who has which part of it. It lives in the memory of the control plane.
#[derive(Debug)]
pub struct Shares {
    limit: u64,
    /// Thousandths of requests of the burst that nobody had yet.
    unissued: u64,
    burst: u64,
    term: Duration,
    /// Until then, others may hold shares that are not known here.
    settled_at: Mono,
    planes: BTreeMap<Uuid, Held>,
}

#[derive(Debug)]
struct Held {
    demand: u64,
    /// Assignments that the plane may be keeping to, oldest first.
    assigned: Vec<(u64, u64)>,
    noted: u64,
    until: Mono,
}

impl Held {
    /// The most that the plane may be using.
    fn bound(&self) -> u64 {
        self.assigned.iter().map(|(_, share)| *share).max().unwrap_or(0)
    }
}

impl Shares {
    /// Shares of a limit of so many units: thousandths of requests in each `per` of a rate, or calls at once.
    ///
    /// `burst` is that of the rate, in whole requests (0 for calls at once). `fresh` says that the limit is new: nobody can hold a part of
    /// it, and its burst is full; otherwise this control plane may have restarted.
    #[must_use]
    pub fn new(limit: u64, burst: u64, term: Duration, now: Mono, fresh: bool) -> Self {
        let burst = burst.saturating_mul(1_000);
        Self {
            limit,
            unissued: if fresh { burst } else { 0 },
            burst,
            term,
            settled_at: if fresh { now } else { now.plus(slack(term)) },
            planes: BTreeMap::new(),
        }
    }

    /// Another limit holds. Planes learn of it as they ask, within a term.
    pub const fn set_limit(&mut self, limit: u64, burst: u64) {
        self.limit = limit;
        self.burst = burst.saturating_mul(1_000);
    }

    /// The most that all planes together may be using. Never more than the limit, but for a term after it was lowered.
    #[must_use]
    pub fn in_hands(&self) -> u64 {
        self.planes.values().map(Held::bound).sum()
    }

    /// Answers a plane. `None` if more planes ask than share one limit.
    pub fn ask(&mut self, now: Mono, plane: Uuid, ask: &ShareAsk) -> Option<Assignment> {
        self.planes.retain(|_, held| held.until > now);
        if !self.planes.contains_key(&plane) && self.planes.len() >= MAX_PLANES {
            return None;
        }
        let settled = now >= self.settled_at;
        let held = self.planes.entry(plane).or_insert_with(|| Held {
            demand: 0,
            assigned: Vec::new(),
            noted: 0,
            until: now,
        });
        if ask.serial >= held.noted {
            held.noted = ask.serial;
            held.demand = ask.demand;
            held.assigned.retain(|(serial, _)| *serial >= ask.serial);
            if ask.holding > 0 && !held.assigned.iter().any(|(serial, _)| *serial == ask.serial) {
                // Assigned before this control plane started, or before its term ended here.
                held.assigned.insert(0, (ask.serial, ask.holding));
            }
        }
        let before = held.bound();
        held.until = now.plus(slack(self.term));
        let others: u64 =
            self.planes.iter().filter(|(other, _)| **other != plane).map(|(_, held)| held.bound()).sum();
        let mut share = self.aim(plane).min(self.limit.saturating_sub(others));
        if !settled {
            share = share.min(ask.holding);
        }
        let limit = self.limit.max(1);
        let term_ms = nanos(self.term) / 1_000_000;
        let held = self.planes.get_mut(&plane)?;
        let last = held.assigned.last().copied();
        if let Some((serial, kept)) =
            last.filter(|(_, kept)| *kept == share || held.assigned.len() >= MAX_UNNOTED)
        {
            return Some(Assignment { seq: ask.seq, serial, share: kept, gift: 0, term_ms });
        }
        let serial = last.map_or(0, |(serial, _)| serial).max(ask.serial).saturating_add(1);
        held.assigned.push((serial, share));
        let part = u128::from(self.burst) * u128::from(share.saturating_sub(before)) / u128::from(limit);
        let gift = self.unissued.min(u64::try_from(part).unwrap_or(u64::MAX));
        self.unissued -= gift;
        Some(Assignment { seq: ask.seq, serial, share, gift, term_ms })
    }

    /// What a plane should have: by demand where there is enough, equally where there is not, and what nobody asks for equally again.
    fn aim(&self, plane: Uuid) -> u64 {
        let count = self.planes.len().max(1) as u64;
        let idle = self.limit / count / IDLE_PART;
        let mut wants: Vec<(u64, Uuid)> = self
            .planes
            .iter()
            .map(|(id, held)| (held.demand.saturating_add(held.demand / 4).max(idle), *id))
            .collect();
        wants.sort_unstable();
        let mut rest = self.limit;
        let mut open = count;
        let mut mine = 0;
        for (want, id) in &wants {
            let given = (*want).min(rest / open.max(1));
            rest -= given;
            open -= 1;
            if *id == plane {
                mine = given;
            }
        }
        // The busiest get what does not divide.
        let rank = wants.iter().rev().position(|(_, id)| *id == plane).unwrap_or(0) as u64;
        mine.saturating_add(rest / count).saturating_add(u64::from(rank < rest % count))
    }
}

/// How long this side waits for a term to be over: somewhat longer, should the clocks not run quite alike.
fn slack(term: Duration) -> Duration {
    term.saturating_add(term / 64)
}

#[cfg(test)]
mod tests;
