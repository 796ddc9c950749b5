//! What the data planes counted lately, of servers that are on their way through the stages: a bounded rolling window in
//! memory.
//!
//! Planes report totals since they began, so that a report that is lost or told twice changes nothing. What cannot be known is
//! said to be missing, and never taken for good: after a restart, while a plane is away, or at a bound.

use std::collections::{BTreeMap, HashMap, HashSet, VecDeque};
use std::sync::{Mutex, MutexGuard, PoisonError};

use portcullis_policy::resource::{Kind, Stage, Uid};
use portcullis_proto::config::v1::PlaneStatus;

use super::counts::Counts;
use crate::clock::rfc3339;
use crate::objects::ServerState;
use crate::store::State;

/// How many servers' windows are kept, sandboxes as servers of their own.
const MAX_RINGS: usize = 1_000;
/// How many servers' totals are kept of one plane.
const MAX_TOTALS: usize = 16_384;
/// How many planes are remembered.
const MAX_PLANES: usize = 2_000;
/// How long a plane that is gone is remembered: longer than any window.
const GONE_MS: u64 = 25 * 60 * 60 * 1000;
/// The fine buckets: their width, and how many are kept.
const FINE: (u64, usize) = (1_000, 600);
/// The coarse ones.
const COARSE: (u64, usize) = (60_000, 24 * 60);

/// Which server, and whether its sandbox.
type Key = (Uid, bool);

/// What is known of all planes and servers since this process began.
#[derive(Debug)]
pub struct Board {
    began_unix_ms: u64,
    table: Mutex<Table>,
}

#[derive(Debug, Default)]
struct Table {
    planes: BTreeMap<String, Plane>,
    rings: HashMap<Key, Ring>,
    /// When something was last left out at a bound.
    left_out_unix_ms: Option<u64>,
}

#[derive(Debug, Default)]
struct Plane {
    run: Vec<u8>,
    /// Since when all that it served is counted; none until it reported.
    whole_since_unix_ms: Option<u64>,
    /// When it went away; none while it is connected.
    gone_unix_ms: Option<u64>,
    totals: HashMap<Key, Counts>,
}

#[derive(Debug, Default)]
struct Ring {
    fine: VecDeque<(u64, Counts)>,
    coarse: VecDeque<(u64, Counts)>,
}

impl Ring {
    fn add(&mut self, now_unix_ms: u64, counts: &Counts) {
        for (buckets, (width, kept)) in [(&mut self.fine, FINE), (&mut self.coarse, COARSE)] {
            let begin = now_unix_ms - now_unix_ms % width;
            match buckets.back_mut() {
                // A clock that goes back must not put the buckets out of order.
                Some((last, sum)) if *last >= begin => sum.add(counts),
                _ => buckets.push_back((begin, counts.clone())),
            }
            while buckets.len() > kept {
                buckets.pop_front();
            }
        }
    }

    fn sum(&self, now_unix_ms: u64, window_ms: u64) -> Counts {
        let fine = window_ms <= FINE.0 * FINE.1 as u64;
        let (buckets, width) = if fine { (&self.fine, FINE.0) } else { (&self.coarse, COARSE.0) };
        let start = now_unix_ms.saturating_sub(window_ms);
        let mut sum = Counts::default();
        let inside = buckets.iter().rev().take_while(|(begin, _)| begin.saturating_add(width) > start);
        inside.for_each(|(_, counts)| sum.add(counts));
        sum
    }
}

/// What was counted in a window, and why it is not the whole of it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Seen {
    pub(super) counts: Counts,
    /// None where the window is whole.
    pub(super) missing: Option<String>,
}

impl Board {
    /// Nothing is known yet.
    #[must_use]
    pub fn new(now_unix_ms: u64) -> Self {
        Self { began_unix_ms: now_unix_ms, table: Mutex::default() }
    }

    fn table(&self) -> MutexGuard<'_, Table> {
        self.table.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// A plane is admitted: until it reports nobody knows what it served.
    pub(crate) fn connected(&self, plane: &str, now_unix_ms: u64) {
        let mut table = self.table();
        table.forget(now_unix_ms);
        if table.planes.len() >= MAX_PLANES && !table.planes.contains_key(plane) {
            table.left_out_unix_ms = Some(now_unix_ms);
            return;
        }
        table.planes.entry(plane.to_owned()).or_default().gone_unix_ms = None;
    }

    /// A plane is gone: what it serves from now on is told later, or never.
    pub(crate) fn gone(&self, plane: &str, now_unix_ms: u64) {
        if let Some(plane) = self.table().planes.get_mut(plane) {
            plane.gone_unix_ms = Some(now_unix_ms);
        }
    }

    /// Takes in what a plane reports.
    pub(crate) fn report(&self, state: &State, name: &str, status: &PlaneStatus, now_unix_ms: u64) {
        let mut table = self.table();
        let Table { planes, rings, left_out_unix_ms } = &mut *table;
        let Some(plane) = planes.get_mut(name) else { return };
        if status.run.len() != 16 {
            // A version that does not count.
            plane.whole_since_unix_ms = None;
            return;
        }
        let began = now_unix_ms.saturating_sub(status.counting_for_ms);
        let known = plane.run == *status.run;
        let mut counted_from_zero = known;
        if !known {
            let first = plane.run.is_empty();
            plane.run = status.run.to_vec();
            plane.totals.clear();
            counted_from_zero = status.counting_for_ms <= now_unix_ms.saturating_sub(self.began_unix_ms);
            plane.whole_since_unix_ms = Some(match (counted_from_zero, first) {
                // It came into being under the eyes of this process, and is the first of its name.
                (true, true) => 0,
                // What the run before it served last was not told.
                (true, false) => began,
                // What it served before is not known.
                (false, _) => now_unix_ms,
            });
        }
        if status.uncounted {
            plane.whole_since_unix_ms = Some(now_unix_ms);
        }
        if status.calls.is_empty() {
            return;
        }
        // Nothing is kept of servers that there are not.
        let there: HashSet<Uid> = state.list(Kind::McpServer.as_str()).map(|object| object.uid).collect();
        plane.totals.retain(|(server, _), _| there.contains(server));
        for report in &status.calls {
            let uid = report.server_uid.parse::<Uid>();
            let Some(server) = uid.ok().filter(|uid| there.contains(uid)) else { continue };
            let key = (server, report.sandbox);
            let counts = Counts::of(report);
            if plane.totals.len() >= MAX_TOTALS && !plane.totals.contains_key(&key) {
                plane.whole_since_unix_ms = Some(now_unix_ms);
                continue;
            }
            let before = plane.totals.insert(key, counts.clone());
            let new = match before {
                Some(before) => counts.since(&before),
                None if counted_from_zero => counts,
                None => continue,
            };
            if new.is_empty() || !on_its_way(state, &server) {
                continue;
            }
            if rings.len() >= MAX_RINGS && !rings.contains_key(&key) {
                rings.retain(|(server, _), _| on_its_way(state, server));
                if rings.len() >= MAX_RINGS {
                    *left_out_unix_ms = Some(now_unix_ms);
                    continue;
                }
            }
            rings.entry(key).or_default().add(now_unix_ms, &new);
        }
    }

    /// What was counted of a server in the time before now. `since_unix_ms` is when its stage began: nothing before it counts.
    pub(super) fn window(
        &self,
        server: Uid,
        sandbox_too: bool,
        since_unix_ms: u64,
        window_ms: u64,
        now_unix_ms: u64,
    ) -> Seen {
        let table = self.table();
        let mut counts = Counts::default();
        for sandbox in [false, true].into_iter().filter(|sandbox| sandbox_too || !sandbox) {
            if let Some(ring) = table.rings.get(&(server, sandbox)) {
                counts.add(&ring.sum(now_unix_ms, window_ms));
            }
        }
        let inside = |unix_ms: u64| now_unix_ms.saturating_sub(unix_ms) < window_ms;
        Seen { counts, missing: self.missing(&table, since_unix_ms, inside) }
    }

    /// Why a window is not whole, if anything that it needs was not there all the time. `inside` says of a moment whether it is within.
    fn missing(&self, table: &Table, since_unix_ms: u64, inside: impl Fn(u64) -> bool) -> Option<String> {
        if inside(since_unix_ms) {
            return Some(format!("the stage began at {}", rfc3339(since_unix_ms)));
        }
        if inside(self.began_unix_ms) {
            return Some(format!("the control plane counts since {}", rfc3339(self.began_unix_ms)));
        }
        if let Some(at) = table.left_out_unix_ms.filter(|at| inside(*at)) {
            return Some(format!("there was too much to count at {}", rfc3339(at)));
        }
        table.planes.iter().find_map(|(name, plane)| match (plane.gone_unix_ms, plane.whole_since_unix_ms) {
            (Some(gone), _) if inside(gone) => {
                Some(format!("the data plane {name} went away at {}", rfc3339(gone)))
            }
            (Some(_), _) => None,
            (None, None) => Some(format!("the data plane {name} has not told what it counted")),
            (None, Some(since)) if inside(since) => {
                Some(format!("the data plane {name} is counted whole since {}", rfc3339(since)))
            }
            (None, Some(_)) => None,
        })
    }
}

impl Table {
    fn forget(&mut self, now_unix_ms: u64) {
        self.planes.retain(|_, plane| {
            plane.gone_unix_ms.is_none_or(|gone| now_unix_ms.saturating_sub(gone) < GONE_MS)
        });
    }
}

/// Whether a server is at a stage before the last.
fn on_its_way(state: &State, server: &Uid) -> bool {
    let reached = ServerState::of(state, server).and_then(|kept| kept.stage);
    reached.is_some_and(|reached| reached.stage != Stage::General)
}

#[cfg(test)]
mod tests;
