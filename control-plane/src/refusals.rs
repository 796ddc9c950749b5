//! Credentials that were refused: counted by cause, and told in the log now and then. Whoever presented one learns no cause.

use std::net::SocketAddr;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};

use crate::clock::Clock;

/// The log has at most one line about each cause in this time; the counters have all.
const LOG_INTERVAL_MS: u64 = 10_000;

/// Why a token was refused.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum RefusedToken {
    /// There was none, or more than one.
    Missing,
    /// It is not one of this control plane.
    Unknown,
    /// It was one, and was revoked or ended.
    Revoked,
    /// It is for a plane of another name.
    WrongPlane,
    /// It is for planes with another value of a label.
    WrongLabels,
}

impl RefusedToken {
    const ALL: [Self; 5] = [Self::Missing, Self::Unknown, Self::Revoked, Self::WrongPlane, Self::WrongLabels];

    /// As the metric spells it.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Missing => "missing",
            Self::Unknown => "unknown",
            Self::Revoked => "revoked",
            Self::WrongPlane => "wrong_plane",
            Self::WrongLabels => "wrong_labels",
        }
    }
}

#[derive(Debug)]
struct Counter {
    credential: &'static str,
    cause: RefusedToken,
    count: AtomicU64,
    /// When it was told last and the count then.
    told: Mutex<Option<(u64, u64)>>,
}

/// The counters. Cheap to clone.
#[derive(Debug, Clone)]
pub struct Refusals {
    counters: Arc<[Counter]>,
    clock: Clock,
}

impl Refusals {
    /// Counters at zero.
    #[must_use]
    pub fn new(clock: Clock) -> Self {
        let admin = [RefusedToken::Missing, RefusedToken::Unknown, RefusedToken::Revoked]
            .map(|cause| ("admin", cause));
        let plane = RefusedToken::ALL.map(|cause| ("plane", cause));
        let counter = |(credential, cause)| Counter {
            credential,
            cause,
            count: AtomicU64::new(0),
            told: Mutex::default(),
        };
        Self { counters: admin.into_iter().chain(plane).map(counter).collect(), clock }
    }

    /// An administrator's token was refused.
    pub fn admin(&self, cause: RefusedToken, peer: Option<&SocketAddr>) {
        self.count("admin", cause, peer);
    }

    /// A plane token was refused.
    pub fn plane(&self, cause: RefusedToken, peer: Option<&SocketAddr>) {
        self.count("plane", cause, peer);
    }

    fn count(&self, credential: &str, cause: RefusedToken, peer: Option<&SocketAddr>) {
        let found = self.counters.iter().find(|known| known.credential == credential && known.cause == cause);
        let Some(counter) = found else { return };
        let count = counter.count.fetch_add(1, Ordering::Relaxed).saturating_add(1);
        let now = self.clock.now_unix_ms();
        let mut told = counter.told.lock().unwrap_or_else(PoisonError::into_inner);
        let (last, before) = match *told {
            Some((last, _)) if now.saturating_sub(last) < LOG_INTERVAL_MS => return,
            Some((_, before)) => (now, before),
            None => (now, 0),
        };
        *told = Some((last, count));
        drop(told);
        let peer = peer.map(ToString::to_string).unwrap_or_default();
        tracing::info!(
            credential,
            cause = cause.as_str(),
            peer,
            since_last = count.saturating_sub(before),
            "a token was refused"
        );
    }

    /// Each kind of credential, each cause, and how often.
    pub fn counts(&self) -> impl Iterator<Item = (&'static str, &'static str, u64)> + '_ {
        self.counters.iter().map(|counter| {
            (counter.credential, counter.cause.as_str(), counter.count.load(Ordering::Relaxed))
        })
    }
}
