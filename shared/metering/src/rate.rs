//! A rate limit at a data plane: a token bucket of the share that this plane was assigned.
//!
//! The bucket is one number: the moment at which it would be full again (the theoretical arrival time of GCRA, ITU-T I.371). A request
//! that passes moves it on by one interval; it passes if the moment then lies no further ahead than the bucket is deep. All integers, in
//! 64ths of a nanosecond, and intervals are rounded up: never faster than the rate.
//!
//! When a share changes, the tokens in the bucket stay (as many as fit) and what it grows by starts empty. So over any time the planes
//! together let pass at most the burst and what the limit brings in that time; how far off that can be is in `docs/metering.md`.

use std::sync::atomic::{
    AtomicU64, Ordering::AcqRel, Ordering::Acquire, Ordering::Relaxed, Ordering::Release,
};
use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use serde::{Deserialize, Serialize};

use crate::shares::{Assignment, ShareAsk};
use crate::terms::OnOutage;
use crate::time::{Mono, nanos};

const TICKS: u64 = 64;
/// No request passes.
const SHUT: u64 = u64::MAX;
/// For so long a plane that never heard of its share lets one request pass.
const PATIENCE: Duration = Duration::from_secs(1);

/// So many requests in a span, and so many at once.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Rate {
    /// Requests.
    pub requests: u64,
    /// In so many milliseconds.
    pub per_ms: u64,
    /// The most that pass at once after a pause.
    pub burst: u64,
}

impl Rate {
    /// The limit in the units of [`Shares`](crate::Shares): thousandths of requests in each `per`.
    #[must_use]
    pub const fn units(self) -> u64 {
        self.requests.saturating_mul(1_000)
    }
}

/// Why a request did not pass.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Limited {
    /// When it may be worth another try.
    pub retry_after: Duration,
    /// No control plane renewed the share, and `onOutage` does not let it pass.
    pub outage: bool,
}

/// One rate limit at one plane. It lives beside the snapshot: another share, or another rate, does not empty or fill it.
#[derive(Debug)]
pub struct Limiter {
    /// When the bucket would be full again, in ticks.
    full_at: AtomicU64,
    /// Ticks that one request costs.
    interval: AtomicU64,
    /// Ticks that the bucket holds.
    depth: AtomicU64,
    /// When the share lapses.
    until: AtomicU64,
    /// Requests that came since the last beat.
    came: AtomicU64,
    /// Requests that passed without a share.
    owed: AtomicU64,
    slow: Mutex<Slow>,
}

#[derive(Debug)]
struct Slow {
    rate: Rate,
    on_outage: OnOutage,
    serial: u64,
    share: u64,
    asked: Option<(u64, Mono)>,
    seq: u64,
    last_beat: Mono,
    demand: u64,
    /// The bucket of an outage.
    outage_full_at: u64,
}

impl Limiter {
    /// A limiter that has not heard of its share: it lets one request pass, and then waits for an assignment.
    #[must_use]
    pub fn new(rate: Rate, on_outage: OnOutage, now: Mono) -> Self {
        let second = nanos(PATIENCE).saturating_mul(TICKS);
        let slow = Slow {
            rate,
            on_outage,
            serial: 0,
            share: 0,
            asked: None,
            seq: 0,
            last_beat: now,
            demand: 0,
            outage_full_at: 0,
        };
        Self {
            full_at: AtomicU64::new(0),
            interval: AtomicU64::new(second),
            depth: AtomicU64::new(second),
            until: AtomicU64::new(now.plus(PATIENCE).0),
            came: AtomicU64::new(0),
            owed: AtomicU64::new(0),
            slow: Mutex::new(slow),
        }
    }

    /// Lets a request pass, or not.
    ///
    /// # Errors
    /// [`Limited`], with the time after which the bucket has a token again if nobody takes it before.
    pub fn take(&self, now: Mono) -> Result<(), Limited> {
        self.came.fetch_add(1, Relaxed);
        if now.0 >= self.until.load(Acquire) {
            return self.without_share(now);
        }
        let mut full_at = self.full_at.load(Acquire);
        loop {
            let (interval, depth) = (self.interval.load(Acquire), self.depth.load(Acquire));
            match pass(full_at, interval, depth, now) {
                Ok(next) => match self.full_at.compare_exchange_weak(full_at, next, AcqRel, Acquire) {
                    Ok(_) => return Ok(()),
                    Err(other) => full_at = other,
                },
                Err(retry_after) => return Err(Limited { retry_after, outage: false }),
            }
        }
    }

    /// A request that had passed here was stopped by another limit: it did not happen.
    pub fn give_back(&self) {
        let interval = self.interval.load(Acquire);
        if interval != SHUT {
            let back = |full_at: u64| Some(full_at.saturating_sub(interval));
            let _ = self.full_at.fetch_update(AcqRel, Acquire, back);
        }
    }

    #[cold]
    fn without_share(&self, now: Mono) -> Result<(), Limited> {
        let mut slow = self.slow.lock().unwrap_or_else(PoisonError::into_inner);
        let limited = |retry_after| Err(Limited { retry_after, outage: true });
        match slow.on_outage {
            OnOutage::Deny => return limited(PATIENCE),
            OnOutage::Share(part) => {
                let interval = interval(slow.rate, part.of(slow.rate.units()));
                let depth = interval.saturating_mul(part.of(slow.rate.burst).max(1));
                match pass(slow.outage_full_at, interval, depth, now) {
                    Ok(next) => slow.outage_full_at = next,
                    Err(retry_after) => return limited(retry_after),
                }
            }
            OnOutage::Allow => {}
        }
        self.owed.fetch_add(1, Relaxed);
        Ok(())
    }

    /// What to ask the control plane; at every beat (four times a second), and at once when a limiter is new.
    pub fn beat(&self, now: Mono) -> ShareAsk {
        let mut slow = self.slow.lock().unwrap_or_else(PoisonError::into_inner);
        let since = nanos(now.since(slow.last_beat)).max(1_000_000);
        let came = u128::from(self.came.swap(0, Relaxed)) * 1_000;
        let per = u128::from(slow.rate.per_ms) * 1_000_000;
        let demand = u64::try_from(came * per / u128::from(since)).unwrap_or(u64::MAX);
        slow.demand = demand.max(slow.demand / 2);
        slow.last_beat = now;
        slow.seq += 1;
        slow.asked = Some((slow.seq, now));
        ShareAsk { seq: slow.seq, serial: slow.serial, holding: slow.share, demand: slow.demand }
    }

    /// The control plane assigned a share. Only the answer to the last ask counts.
    pub fn adopt(&self, now: Mono, assignment: &Assignment) {
        let mut slow = self.slow.lock().unwrap_or_else(PoisonError::into_inner);
        let Some((_, asked_at)) = slow.asked.filter(|(seq, _)| *seq == assignment.seq) else { return };
        if assignment.serial < slow.serial {
            return;
        }
        let fresh = assignment.serial > slow.serial;
        slow.asked = None;
        slow.serial = assignment.serial;
        slow.share = assignment.share;
        if fresh {
            self.reshape(&slow, now, assignment.gift);
        }
        self.until.store(asked_at.plus(Duration::from_millis(assignment.term_ms)).0, Release);
    }

    /// Another rate holds, or other terms of an outage. The share is the same until the next assignment.
    pub fn set_rate(&self, rate: Rate, on_outage: OnOutage, now: Mono) {
        let mut slow = self.slow.lock().unwrap_or_else(PoisonError::into_inner);
        slow.on_outage = on_outage;
        if slow.rate != rate {
            slow.rate = rate;
            if slow.serial > 0 {
                slow.share = slow.share.min(rate.units());
                self.reshape(&slow, now, 0);
            }
        }
    }

    /// Requests that passed without a share since it was last asked: the debt of an outage.
    pub fn take_owed(&self) -> u64 {
        self.owed.swap(0, Relaxed)
    }

    /// Gives the bucket the size and pace of the share, and leaves the tokens in it.
    fn reshape(&self, slow: &Slow, now: Mono, gift: u64) {
        let now_ticks = ticks(now);
        // Shut while it changes: whoever tries to take from the old bucket now finds it changed, and looks again.
        let full_at = self.full_at.swap(SHUT, AcqRel);
        let (old_interval, old_depth) = (self.interval.load(Acquire), self.depth.load(Acquire));
        let room = old_depth.saturating_sub(full_at.saturating_sub(now_ticks));
        let tokens = if old_interval == SHUT { 0 } else { milli(room, old_interval) };
        let interval = interval(slow.rate, slow.share);
        let burst = u128::from(slow.rate.burst) * u128::from(slow.share) * 1_000
            / u128::from(slow.rate.units().max(1));
        let burst = u64::try_from(burst).unwrap_or(u64::MAX).max(1_000);
        let tokens = tokens.saturating_add(gift).min(burst);
        let span =
            |milli: u64| u64::try_from(u128::from(interval) * u128::from(milli) / 1_000).unwrap_or(SHUT / 4);
        self.interval.store(interval, Release);
        self.depth.store(if interval == SHUT { 0 } else { span(burst) }, Release);
        let empty_for = if interval == SHUT { 0 } else { span(burst - tokens) };
        self.full_at.store(now_ticks.saturating_add(empty_for), Release);
    }
}

/// Whether a request passes: where the bucket's moment moves to, or how long to wait.
fn pass(full_at: u64, interval: u64, depth: u64, now: Mono) -> Result<u64, Duration> {
    let now_ticks = ticks(now);
    let next = full_at.max(now_ticks).saturating_add(interval);
    if interval == SHUT || full_at == SHUT {
        return Err(PATIENCE);
    }
    let ahead = next.saturating_sub(now_ticks);
    if ahead > depth { Err(Duration::from_nanos((ahead - depth).div_ceil(TICKS))) } else { Ok(next) }
}

fn ticks(now: Mono) -> u64 {
    now.0.saturating_mul(TICKS)
}

/// Ticks between requests at so many thousandths of requests in each `per`, rounded up.
fn interval(rate: Rate, units: u64) -> u64 {
    let per = u128::from(rate.per_ms) * 1_000_000 * u128::from(TICKS) * 1_000;
    match u128::from(units) {
        0 => SHUT,
        units => u64::try_from(per.div_ceil(units)).unwrap_or(SHUT),
    }
}

/// Thousandths of requests that a span of ticks makes.
fn milli(span: u64, interval: u64) -> u64 {
    u64::try_from(u128::from(span) * 1_000 / u128::from(interval.max(1))).unwrap_or(u64::MAX)
}

#[cfg(test)]
mod tests;
