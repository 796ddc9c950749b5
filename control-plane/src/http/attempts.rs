//! Wrong tokens from one address are bounded: whoever guesses is slowed down long before guessing could matter.

use std::collections::HashMap;
use std::net::IpAddr;
use std::sync::{Arc, Mutex, PoisonError};

use crate::clock::Clock;

/// How many wrong tokens one address may present within [`WINDOW_MS`].
const MAX_WRONG: u32 = 10;
/// How long they count.
const WINDOW_MS: u64 = 60_000;
/// How many addresses are remembered; where they are full of fresh ones, addresses that are not among them wait too.
const MAX_ADDRESSES: usize = 4_096;

/// Wrong tokens by address. Cheap to clone.
#[derive(Debug, Clone)]
pub(crate) struct Attempts {
    clock: Clock,
    wrong: Arc<Mutex<HashMap<IpAddr, (u64, u32)>>>,
}

/// Too many wrong tokens came from there: how long until one more is looked at, in seconds.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct TooMany(pub(super) u64);

impl Attempts {
    pub(crate) fn new(clock: Clock) -> Self {
        Self { clock, wrong: Arc::default() }
    }

    /// Whether a token from there is looked at.
    pub(super) fn may_try(&self, from: IpAddr) -> Result<(), TooMany> {
        let now = self.clock.now_unix_ms();
        let mut wrong = self.wrong.lock().unwrap_or_else(PoisonError::into_inner);
        let left = |since: u64| TooMany((since + WINDOW_MS).saturating_sub(now).div_ceil(1000).max(1));
        match wrong.get(&from) {
            Some((since, _)) if now.saturating_sub(*since) >= WINDOW_MS => {
                wrong.remove(&from);
                Ok(())
            }
            Some((since, count)) if *count >= MAX_WRONG => Err(left(*since)),
            Some(_) => Ok(()),
            None if wrong.len() >= MAX_ADDRESSES => {
                wrong.retain(|_, (since, _)| now.saturating_sub(*since) < WINDOW_MS);
                if wrong.len() >= MAX_ADDRESSES { Err(left(now)) } else { Ok(()) }
            }
            None => Ok(()),
        }
    }

    /// A wrong token came from there.
    pub(super) fn wrong(&self, from: IpAddr) {
        let now = self.clock.now_unix_ms();
        let mut wrong = self.wrong.lock().unwrap_or_else(PoisonError::into_inner);
        if wrong.len() < MAX_ADDRESSES || wrong.contains_key(&from) {
            wrong.entry(from).or_insert((now, 0)).1 += 1;
        }
    }
}

#[cfg(test)]
mod tests {
    use std::sync::atomic::{AtomicU64, Ordering};

    use super::*;

    #[test]
    fn an_address_that_guesses_waits_and_others_do_not() {
        let now = Arc::new(AtomicU64::new(5_000));
        let clock = Arc::clone(&now);
        let attempts = Attempts::new(Clock::new(move || clock.load(Ordering::SeqCst)));
        let (guesser, other) = (IpAddr::from([10, 0, 0, 1]), IpAddr::from([10, 0, 0, 2]));
        for _ in 0..MAX_WRONG {
            assert_eq!(attempts.may_try(guesser), Ok(()));
            attempts.wrong(guesser);
        }
        assert_eq!(attempts.may_try(guesser), Err(TooMany(60)));
        assert_eq!(attempts.may_try(other), Ok(()));
        now.fetch_add(59_001, Ordering::SeqCst);
        assert_eq!(attempts.may_try(guesser), Err(TooMany(1)));
        now.fetch_add(999, Ordering::SeqCst);
        assert_eq!(attempts.may_try(guesser), Ok(()));
    }

    #[test]
    fn more_addresses_than_are_remembered_wait_until_old_ones_are_forgotten() {
        let now = Arc::new(AtomicU64::new(0));
        let clock = Arc::clone(&now);
        let attempts = Attempts::new(Clock::new(move || clock.load(Ordering::SeqCst)));
        for address in 0..u32::try_from(MAX_ADDRESSES).unwrap() {
            attempts.wrong(IpAddr::from(address.to_be_bytes()));
        }
        let fresh = IpAddr::from([200, 0, 0, 1]);
        assert!(attempts.may_try(fresh).is_err());
        now.fetch_add(WINDOW_MS, Ordering::SeqCst);
        assert_eq!(attempts.may_try(fresh), Ok(()));
    }
}
