//! How the synchronisation goes, for the operations port, and what the plane tells about itself.

use std::collections::HashMap;
use std::io;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use bytes::Bytes;

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
    /// Which process counts.
    pub run: [u8; 16],
    /// For how long it has counted.
    pub counting_for: Duration,
    /// What it counted of servers since it began.
    pub servers: Vec<proto::ServerCalls>,
    /// Whether something was not counted.
    pub uncounted: bool,
}

/// What was told of each server in this conversation: only what changed is told again.
#[derive(Debug, Default)]
pub(super) struct Told(HashMap<(String, bool), proto::ServerCalls>);

impl PlaneFigures {
    pub(super) fn to_proto(&self, told: &mut Told) -> proto::PlaneStatus {
        let mut servers = Vec::new();
        for calls in &self.servers {
            let key = (calls.server_uid.clone(), calls.sandbox);
            if told.0.get(&key) != Some(calls) {
                told.0.insert(key, calls.clone());
                servers.push(calls.clone());
            }
        }
        proto::PlaneStatus {
            calls_total: self.calls_total,
            open_streams: self.open_streams,
            draining: self.draining,
            run: Bytes::copy_from_slice(&self.run),
            counting_for_ms: u64::try_from(self.counting_for.as_millis()).unwrap_or(u64::MAX),
            servers,
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
