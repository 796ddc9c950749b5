//! The loop breaker: the same principal making the same call over and over.
//!
//! It remembers a bounded number of calls, each for as long as its window, and forgets the one that was quiet longest when it is full:
//! a loop is never quiet. It counts in eighths of a window and lets a call go when its eighth is over, so it judges by between seven
//! eighths of a window and a whole one: it never denies what did not happen more than N times in a window.

use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use crate::time::{Mono, nanos};

const SLICES: usize = 8;
/// Calls whose marks fall into the same set compete for its places.
const WAYS: usize = 8;

/// Which call of whom: a keyed hash of principal, server, tool and arguments, made by the caller with a hash that nobody outside can
/// aim at.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct CallMark(pub u64);

/// The calls of late, with a bound: 40 bytes for each that is remembered.
#[derive(Debug)]
pub struct Repeats {
    sets: Vec<Mutex<[Seen; WAYS]>>,
}

#[derive(Debug, Clone, Copy, Default)]
struct Seen {
    mark: u64,
    /// The number of the slice that the call was last made in, from 1; 0 for a free place.
    slice: u64,
    counts: [u16; SLICES],
    /// When it was last made.
    last: Mono,
}

/// The call was made as often as it may be in the window.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Looping {
    /// How often it was made, this time not counted.
    pub times: u32,
    /// When one of them is forgotten.
    pub retry_after: Duration,
}

impl Repeats {
    /// Remembers about so many calls, rounded up to a power of two and to at least eight.
    #[must_use]
    pub fn new(calls: usize) -> Self {
        let sets = calls.div_ceil(WAYS).clamp(1, 1 << 24).next_power_of_two();
        Self { sets: (0..sets).map(|_| Mutex::default()).collect() }
    }

    /// Counts a call, unless it was made `most` times in the window already. A call that is denied is not counted.
    ///
    /// # Errors
    /// [`Looping`], if it is to be denied.
    pub fn count(&self, mark: CallMark, most: u32, window: Duration, now: Mono) -> Result<(), Looping> {
        let (slice, width) = slice(window, now);
        let Some(mut set) = self.set(mark) else { return Ok(()) };
        let known = set.iter().position(|seen| seen.slice > 0 && seen.mark == mark.0);
        let quietest = set
            .iter()
            .enumerate()
            .min_by_key(|(_, seen)| (seen.slice > 0, seen.last))
            .map_or(0, |(at, _)| at);
        let Some(seen) = set.get_mut(known.unwrap_or(quietest)) else { return Ok(()) };
        if known.is_none() {
            *seen = Seen { mark: mark.0, slice, counts: [0; SLICES], last: now };
        }
        seen.allows(most, (slice, width), now)?;
        if let Some(count) = seen.counts.get_mut(place(slice)) {
            *count = count.saturating_add(1);
        }
        Ok(())
    }

    /// Whether [`Repeats::count`] would deny the call now. Counts nothing: for a call that something else may stop yet.
    ///
    /// # Errors
    /// [`Looping`], if it is to be denied.
    pub fn look(&self, mark: CallMark, most: u32, window: Duration, now: Mono) -> Result<(), Looping> {
        let Some(mut set) = self.set(mark) else { return Ok(()) };
        let known = set.iter_mut().find(|seen| seen.slice > 0 && seen.mark == mark.0);
        known.map_or(Ok(()), |seen| seen.allows(most, slice(window, now), now))
    }

    fn set(&self, mark: CallMark) -> Option<MutexGuard<'_, [Seen; WAYS]>> {
        let at = usize::try_from(mark.0 % (self.sets.len() as u64)).unwrap_or(0);
        Some(self.sets.get(at)?.lock().unwrap_or_else(PoisonError::into_inner))
    }
}

/// The number of the slice that is running, from 1, and how long slices are.
fn slice(window: Duration, now: Mono) -> (u64, u64) {
    let width = (nanos(window) / SLICES as u64).max(1);
    (now.0 / width + 1, width)
}

impl Seen {
    /// Whether it may be made once more.
    fn allows(&mut self, most: u32, (slice, width): (u64, u64), now: Mono) -> Result<(), Looping> {
        self.move_to(slice);
        self.last = now;
        let times = self.counts.iter().map(|count| u32::from(*count)).sum();
        if times >= most { Err(Looping { times, retry_after: self.forgets(now, width) }) } else { Ok(()) }
    }

    /// Forgets the slices that have left the window.
    fn move_to(&mut self, slice: u64) {
        let passed = slice.saturating_sub(self.slice);
        for gone in 0..passed.min(SLICES as u64) {
            if let Some(count) = self.counts.get_mut(place(slice - gone)) {
                *count = 0;
            }
        }
        self.slice = self.slice.max(slice);
    }

    /// How long until the oldest slice in which the call was made is forgotten.
    fn forgets(&self, now: Mono, width: u64) -> Duration {
        let kept = (0..SLICES as u64).rev().find(|age| {
            let slice = self.slice.saturating_sub(*age);
            self.counts.get(place(slice)).is_some_and(|count| *count > 0)
        });
        let slice = self.slice.saturating_sub(kept.unwrap_or(0));
        let leaves = (slice - slice.min(1) + SLICES as u64).saturating_mul(width);
        Duration::from_nanos(leaves.saturating_sub(now.0))
    }
}

const fn place(slice: u64) -> usize {
    (slice % SLICES as u64) as usize
}

#[cfg(test)]
mod tests;
