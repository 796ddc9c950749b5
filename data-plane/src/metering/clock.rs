//! The clock of metering: monotonic, and one that goes on while the machine sleeps. A plane that slept through the end of a period
//! must not spend what ended with it.

use std::fmt;
use std::sync::Arc;

use portcullis_metering::Mono;
use rustix::time::{ClockId, clock_gettime};

/// A monotonic clock. Clones are the same clock.
#[derive(Clone)]
pub struct MonoClock(Source);

#[derive(Clone)]
enum Source {
    Machine,
    Given(Arc<dyn Fn() -> Mono + Send + Sync>),
}

impl MonoClock {
    /// The machine's, counted from its start.
    #[must_use]
    pub const fn machine() -> Self {
        Self(Source::Machine)
    }

    /// One that a test owns.
    pub fn new(now: impl Fn() -> Mono + Send + Sync + 'static) -> Self {
        Self(Source::Given(Arc::new(now)))
    }

    pub(super) fn now(&self) -> Mono {
        match &self.0 {
            Source::Machine => {
                let since = clock_gettime(ClockId::Boottime);
                let seconds = u64::try_from(since.tv_sec).unwrap_or(0);
                let nanos = u64::try_from(since.tv_nsec).unwrap_or(0);
                Mono(seconds.saturating_mul(1_000_000_000).saturating_add(nanos))
            }
            Source::Given(now) => now(),
        }
    }
}

impl fmt::Debug for MonoClock {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("MonoClock")
    }
}
