//! Waits between attempts: they double up to a bound, and are random so that planes do not come back all at once.

use std::time::Duration;

/// Doubling waits from `first` to `longest`, each drawn from the upper half.
#[derive(Debug, Clone)]
pub(crate) struct Backoff {
    first: Duration,
    longest: Duration,
    failures: u32,
}

impl Backoff {
    pub(crate) const fn new(first: Duration, longest: Duration) -> Self {
        Self { first, longest, failures: 0 }
    }

    /// It worked: the next wait is the first again.
    pub(crate) const fn reset(&mut self) {
        self.failures = 0;
    }

    /// It failed: the wait before the next attempt.
    pub(crate) fn next(&mut self) -> Duration {
        let factor = 1_u32.checked_shl(self.failures.min(20)).unwrap_or(u32::MAX);
        self.failures = self.failures.saturating_add(1);
        spread(self.first.saturating_mul(factor).min(self.longest))
    }
}

/// A random time between half of this one and the whole.
pub(crate) fn spread(whole: Duration) -> Duration {
    // Without randomness from the machine the whole time is as good an answer.
    let random = portcullis_seal::random::<2>().map_or(u16::MAX, u16::from_le_bytes);
    whole.mul_f64(0.5 + f64::from(random) / f64::from(u16::MAX) / 2.0)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn waits_double_up_to_the_bound_and_start_anew_after_success() {
        let mut backoff = Backoff::new(Duration::from_millis(100), Duration::from_secs(1));
        for whole in [100, 200, 400, 800, 1000, 1000] {
            let wait = backoff.next();
            let whole = Duration::from_millis(whole);
            assert!(wait <= whole && wait >= whole / 2, "{wait:?} of {whole:?}");
        }
        backoff.reset();
        assert!(backoff.next() <= Duration::from_millis(100));
    }

    #[test]
    fn a_long_row_of_failures_does_not_overflow() {
        let mut backoff = Backoff::new(Duration::from_millis(100), Duration::from_secs(30));
        for _ in 0..200 {
            assert!(backoff.next() <= Duration::from_secs(30));
        }
    }
}
