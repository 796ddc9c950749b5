//! When to try again: exponential with full jitter, so that planes that lost one control plane do not return as one.

use std::time::Duration;

const FIRST: Duration = Duration::from_millis(100);
const LONGEST: Duration = Duration::from_secs(10);

/// Pauses between attempts: each a random part of a bound that doubles from 100 ms to 10 s.
#[derive(Debug, Default)]
pub(crate) struct Backoff {
    failures: u32,
}

impl Backoff {
    /// The pause before the next attempt. `random` is any number, evenly distributed.
    pub(crate) fn next(&mut self, random: u64) -> Duration {
        let bound = FIRST.saturating_mul(1 << self.failures.min(16)).min(LONGEST);
        self.failures = self.failures.saturating_add(1);
        let micros = u64::try_from(bound.as_micros()).unwrap_or(u64::MAX);
        Duration::from_micros(random % micros.saturating_add(1))
    }

    /// The connection stood long enough to be called good.
    pub(crate) const fn reset(&mut self) {
        self.failures = 0;
    }
}

#[cfg(test)]
mod tests {
    use super::{Backoff, Duration, FIRST, LONGEST};

    /// The pause for the largest draw within the bound of the next attempt.
    fn longest(backoff: &mut Backoff, millis: u64) -> Duration {
        backoff.next(millis * 1000)
    }

    #[test]
    fn the_bound_doubles_up_to_ten_seconds_and_begins_anew_after_success() {
        let mut backoff = Backoff::default();
        for millis in [100, 200, 400, 800, 1600, 3200, 6400, 10_000, 10_000] {
            let (mut at, mut above) =
                (Backoff { failures: backoff.failures }, Backoff { failures: backoff.failures });
            assert_eq!(longest(&mut at, millis), Duration::from_millis(millis));
            // One more than the bound begins from zero: the bound is not larger.
            assert_eq!(above.next(millis * 1000 + 1), Duration::ZERO);
            backoff.next(0);
        }
        backoff.reset();
        assert_eq!(longest(&mut backoff, 100), FIRST);
        assert!(longest(&mut Backoff { failures: u32::MAX }, 20_000) <= LONGEST);
    }

    #[test]
    fn every_part_of_the_bound_is_reached() {
        let mut seen = [false; 4];
        for random in 0..400_000_u64 {
            let pause = Backoff::default().next(random * 7919);
            seen[usize::try_from(pause.as_millis() / 26).unwrap()] = true;
        }
        assert_eq!(seen, [true; 4]);
    }
}
