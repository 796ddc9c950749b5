//! How the synchronisation goes, for the operations port, and what the plane tells about itself.

use std::collections::{HashMap, HashSet};
use std::io;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};

use portcullis_policy::resource::Uid;
use portcullis_policy::snapshot::SnapshotVersion;
use portcullis_proto::config::v1 as proto;

use super::outbox::Outbox;

/// What the plane tells about itself, for `planes list`.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct PlaneFigures {
    /// Calls answered since the plane started.
    pub calls_total: u64,
    /// Streams and legacy sessions open now.
    pub open_streams: u32,
    /// Whether the plane takes no new calls.
    pub draining: bool,
    /// When each server was called last, milliseconds since the Unix epoch.
    pub last_use: Vec<(Uid, u64)>,
}

/// How many servers' last use one status tells at most.
const MAX_USES: usize = 1_000;

impl PlaneFigures {
    /// What is told of it on a stream where `told` was told before: uses that are news, as many as one status takes.
    pub(super) fn to_proto(&self, told: &mut HashMap<Uid, u64>) -> proto::PlaneStatus {
        // Servers that are gone are forgotten here too.
        if told.len() > self.last_use.len() {
            let there: HashSet<Uid> = self.last_use.iter().map(|(uid, _)| *uid).collect();
            told.retain(|uid, _| there.contains(uid));
        }
        let news = self.last_use.iter().filter(|(uid, unix_ms)| told.get(uid) != Some(unix_ms));
        let news: Vec<(Uid, u64)> = news.take(MAX_USES).copied().collect();
        told.extend(news.iter().copied());
        let use_of = |(uid, last_call_unix_ms): (Uid, u64)| proto::ServerUse {
            server_uid: uid.to_string(),
            last_call_unix_ms,
        };
        proto::PlaneStatus {
            calls_total: self.calls_total,
            open_streams: self.open_streams,
            draining: self.draining,
            servers: news.into_iter().map(use_of).collect(),
        }
    }
}

/// How the synchronisation goes. Clones share it.
#[derive(Debug, Clone)]
pub struct SyncStatus(Arc<SyncCounts>, Outbox);

#[derive(Debug, Default)]
struct SyncCounts {
    connected: AtomicBool,
    connections: AtomicU64,
    applied: AtomicU64,
    refused: AtomicU64,
    last_refusal: Mutex<Option<LastRefusal>>,
    unsaved: Mutex<Option<String>>,
}

/// The last version that was refused, while nothing newer was taken.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct LastRefusal {
    /// The version.
    pub version: SnapshotVersion,
    /// Why.
    pub reason: String,
}

impl SyncStatus {
    pub(super) fn new(outbox: Outbox) -> Self {
        Self(Arc::default(), outbox)
    }

    /// Whether a control plane has welcomed this plane and the conversation stands.
    #[must_use]
    pub fn is_connected(&self) -> bool {
        self.0.connected.load(Ordering::Relaxed)
    }

    /// Conversations begun.
    #[must_use]
    pub fn connections(&self) -> u64 {
        self.0.connections.load(Ordering::Relaxed)
    }

    /// Signals and findings that were dropped since too many waited for a control plane.
    #[must_use]
    pub fn dropped(&self) -> u64 {
        self.1.dropped()
    }

    /// Snapshots put in force.
    #[must_use]
    pub fn applied(&self) -> u64 {
        self.0.applied.load(Ordering::Relaxed)
    }

    /// Snapshots refused.
    #[must_use]
    pub fn refused(&self) -> u64 {
        self.0.refused.load(Ordering::Relaxed)
    }

    /// The refusal that stands.
    #[must_use]
    pub fn last_refusal(&self) -> Option<LastRefusal> {
        self.0.last_refusal.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    /// Why what is in force is not on disk; none while it is.
    #[must_use]
    pub fn unsaved(&self) -> Option<String> {
        self.0.unsaved.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    pub(super) fn kept(&self) {
        *self.0.unsaved.lock().unwrap_or_else(PoisonError::into_inner) = None;
    }

    pub(super) fn not_kept(&self, error: &io::Error) {
        *self.0.unsaved.lock().unwrap_or_else(PoisonError::into_inner) = Some(error.to_string());
    }

    pub(super) fn connected(&self, connected: bool) {
        let before = self.0.connected.swap(connected, Ordering::Relaxed);
        if connected && !before {
            self.0.connections.fetch_add(1, Ordering::Relaxed);
        }
    }

    pub(super) fn snapshot_applied(&self) {
        self.0.applied.fetch_add(1, Ordering::Relaxed);
        *self.0.last_refusal.lock().unwrap_or_else(PoisonError::into_inner) = None;
    }

    pub(super) fn snapshot_refused(&self, refusal: LastRefusal) {
        self.0.refused.fetch_add(1, Ordering::Relaxed);
        *self.0.last_refusal.lock().unwrap_or_else(PoisonError::into_inner) = Some(refusal);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn uses_are_told_once_on_a_stream_and_in_bounded_parts() {
        let uid = |number: usize| Uid(uuid::Uuid::from_u128(number as u128 + 1));
        let mut figures = PlaneFigures {
            last_use: (0..MAX_USES + 5).map(|number| (uid(number), 7)).collect(),
            ..PlaneFigures::default()
        };
        let mut told = HashMap::new();
        let counts =
            |figures: &PlaneFigures, told: &mut HashMap<Uid, u64>| figures.to_proto(told).servers.len();
        assert_eq!([counts(&figures, &mut told), counts(&figures, &mut told)], [MAX_USES, 5]);
        assert_eq!(counts(&figures, &mut told), 0);
        figures.last_use = vec![(uid(3), 9)];
        assert_eq!(figures.to_proto(&mut told).servers[0].last_call_unix_ms, 9);
        assert_eq!(told.len(), 1, "what is gone is forgotten");
        // A new stream is told all of it.
        assert_eq!(counts(&figures, &mut HashMap::new()), 1);
    }
}
