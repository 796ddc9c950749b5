//! The two kinds of time, as types, so that they cannot be mixed up. Nothing here reads a clock: moments are handed in.

use std::time::Duration;

use serde::{Deserialize, Serialize};

/// A moment of the control plane's calendar: milliseconds since 1970-01-01T00:00:00Z. Data planes never make one.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Default, Hash, Serialize, Deserialize)]
#[serde(transparent)]
pub struct Utc(pub u64);

impl Utc {
    /// The end of time: what never ends, ends here.
    pub const NEVER: Self = Self(u64::MAX);

    /// This moment and so many milliseconds.
    #[must_use]
    pub const fn plus(self, milliseconds: u64) -> Self {
        Self(self.0.saturating_add(milliseconds))
    }

    /// Milliseconds from `earlier` until this moment; 0 if that lies after it.
    #[must_use]
    pub const fn since(self, earlier: Self) -> u64 {
        self.0.saturating_sub(earlier.0)
    }
}

/// A moment of a monotonic clock: nanoseconds since some fixed point of this process. It says nothing to another process.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Default, Hash)]
pub struct Mono(pub u64);

impl Mono {
    /// A moment that does not come.
    pub const NEVER: Self = Self(u64::MAX);

    /// So many milliseconds after the fixed point.
    #[must_use]
    pub const fn from_millis(milliseconds: u64) -> Self {
        Self(milliseconds.saturating_mul(1_000_000))
    }

    /// This moment and so much.
    #[must_use]
    pub fn plus(self, span: Duration) -> Self {
        Self(self.0.saturating_add(nanos(span)))
    }

    /// The span from `earlier` until this moment; zero if that lies after it.
    #[must_use]
    pub const fn since(self, earlier: Self) -> Duration {
        Duration::from_nanos(self.0.saturating_sub(earlier.0))
    }
}

/// A span in whole nanoseconds, as far as they fit.
pub(crate) fn nanos(span: Duration) -> u64 {
    u64::try_from(span.as_nanos()).unwrap_or(u64::MAX)
}
