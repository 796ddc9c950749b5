//! How the synchronisation goes, for the operations port, and what the plane tells about itself.

use std::collections::{HashMap, HashSet};
use std::io;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use bytes::Bytes;

use portcullis_policy::resource::Uid;
use portcullis_policy::snapshot::SnapshotVersion;
use portcullis_proto::config::v1 as proto;

use super::outbox::Outbox;

/// What the plane tells about itself, for `planes list`.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct PlaneFigures {
    /// Calls answered since the plane started.
    pub calls_total: u64,
    /// Streams and legacy sessions open now.
    pub open_streams: u32,
    /// Whether the plane takes no new calls.
    pub draining: bool,
    /// When each server was called last, milliseconds since the Unix epoch.
    pub last_use: Vec<(Uid, u64)>,
    /// Which process counts.
    pub run: [u8; 16],
    /// For how long it has counted.
    pub counting_for: Duration,
    /// What it counted of servers since it began.
    pub calls: Vec<proto::ServerCalls>,
    /// Whether something was not counted.
    pub uncounted: bool,
}

/// How many servers' last use one status tells at most.
const MAX_USES: usize = 1_000;

/// What was told of servers on one stream: only news are told again.
#[derive(Debug, Default)]
pub(super) struct Told {
    uses: HashMap<Uid, u64>,
    calls: HashMap<(String, bool), proto::ServerCalls>,
}

impl Told {
    /// Uses that are news, as many as one status takes.
    fn uses(&mut self, last_use: &[(Uid, u64)]) -> Vec<proto::ServerUse> {
        // Servers that are gone are forgotten here too.
        if self.uses.len() > last_use.len() {
            let there: HashSet<Uid> = last_use.iter().map(|(uid, _)| *uid).collect();
            self.uses.retain(|uid, _| there.contains(uid));
        }
        let news = last_use.iter().filter(|(uid, unix_ms)| self.uses.get(uid) != Some(unix_ms));
        let news: Vec<(Uid, u64)> = news.take(MAX_USES).copied().collect();
        self.uses.extend(news.iter().copied());
        let use_of = |(uid, last_call_unix_ms): (Uid, u64)| proto::ServerUse {
            server_uid: uid.to_string(),
            last_call_unix_ms,
        };
        news.into_iter().map(use_of).collect()
    }

    /// Counts that changed. There are no more of them than a plane counts.
    fn calls(&mut self, counted: &[proto::ServerCalls]) -> Vec<proto::ServerCalls> {
        let mut news = Vec::new();
        for calls in counted {
            let key = (calls.server_uid.clone(), calls.sandbox);
            if self.calls.get(&key) != Some(calls) {
                self.calls.insert(key, calls.clone());
                news.push(calls.clone());
            }
        }
        news
    }
}

impl PlaneFigures {
    /// What is told of it on a stream where `told` was told before.
    pub(super) fn to_proto(&self, told: &mut Told) -> proto::PlaneStatus {
        proto::PlaneStatus {
            calls_total: self.calls_total,
            open_streams: self.open_streams,
            draining: self.draining,
            servers: told.uses(&self.last_use),
            run: Bytes::copy_from_slice(&self.run),
            counting_for_ms: u64::try_from(self.counting_for.as_millis()).unwrap_or(u64::MAX),
            calls: told.calls(&self.calls),
            uncounted: self.uncounted,
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
        let mut told = Told::default();
        let counts = |figures: &PlaneFigures, told: &mut Told| figures.to_proto(told).servers.len();
        assert_eq!([counts(&figures, &mut told), counts(&figures, &mut told)], [MAX_USES, 5]);
        assert_eq!(counts(&figures, &mut told), 0);
        figures.last_use = vec![(uid(3), 9)];
        assert_eq!(figures.to_proto(&mut told).servers[0].last_call_unix_ms, 9);
        assert_eq!(told.uses.len(), 1, "what is gone is forgotten");
        // A new stream is told all of it.
        assert_eq!(counts(&figures, &mut Told::default()), 1);
    }

    #[test]
    fn counts_are_told_whole_on_a_new_stream_and_then_those_that_changed() {
        let calls = |server: &str, calls| proto::ServerCalls {
            server_uid: server.to_owned(),
            calls,
            ..proto::ServerCalls::default()
        };
        let mut figures =
            PlaneFigures { calls: vec![calls("a", 3), calls("b", 1)], ..PlaneFigures::default() };
        let mut told = Told::default();
        assert_eq!(figures.to_proto(&mut told).calls, figures.calls);
        assert_eq!(figures.to_proto(&mut told).calls, []);
        figures.calls[1].calls = 2;
        assert_eq!(figures.to_proto(&mut told).calls, [calls("b", 2)]);
        assert_eq!(figures.to_proto(&mut Told::default()).calls, figures.calls);
    }
}
