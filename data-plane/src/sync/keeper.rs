//! What is in force is also on disk, sooner or later: what could not be written waits here and is tried again.
//!
//! At most one snapshot and one secret part wait, the newest of each.

use std::io;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use portcullis_proto::config::v1 as proto;
use tokio::sync::Notify;
use tokio_util::sync::CancellationToken;

use super::backoff::Backoff;
use super::disk::Disk;
use super::random;
use super::status::SyncStatus;

/// Keeps snapshots and secrets on disk. Clones share what waits.
#[derive(Debug, Clone)]
pub(super) struct Keeper(Arc<Inner>);

#[derive(Debug)]
struct Inner {
    disk: Disk,
    status: SyncStatus,
    /// Held while something is written, so that nothing older is ever written over something newer.
    waiting: Mutex<Waiting>,
    more: Notify,
}

#[derive(Default)]
struct Waiting {
    snapshot: Option<(proto::SnapshotHeader, Vec<proto::Entry>)>,
    secrets: Option<proto::SecretPart>,
}

impl std::fmt::Debug for Waiting {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Waiting")
            .field("snapshot", &self.snapshot.is_some())
            .field("secrets", &self.secrets.is_some())
            .finish()
    }
}

impl Keeper {
    pub(super) fn new(disk: Disk, status: SyncStatus) -> Self {
        let waiting = Mutex::new(Waiting::default());
        Self(Arc::new(Inner { disk, status, waiting, more: Notify::new() }))
    }

    /// Where it is kept.
    pub(super) fn disk(&self) -> &Disk {
        &self.0.disk
    }

    /// Writes a snapshot, or lets it wait when that fails.
    pub(super) fn snapshot(&self, header: proto::SnapshotHeader, entries: Vec<proto::Entry>) {
        let mut waiting = self.waiting();
        let version = header.version;
        let kept = self.0.disk.keep_snapshot(&header, &entries);
        waiting.snapshot = kept.is_err().then_some((header, entries));
        if let Err(error) = &kept {
            tracing::warn!(
                version,
                %error,
                "the snapshot is enforced but not on disk: a restart would serve the one before until the control plane answers"
            );
        }
        self.note(&waiting, kept.err());
    }

    /// Writes the secret part, or lets it wait when that fails.
    pub(super) fn secrets(&self, secrets: proto::SecretPart) {
        let mut waiting = self.waiting();
        let kept = self.0.disk.keep_secrets(&secrets);
        waiting.secrets = kept.is_err().then_some(secrets);
        if let Err(error) = &kept {
            tracing::warn!(%error, "secrets are in force but not on disk");
        }
        self.note(&waiting, kept.err());
    }

    /// Tries again what waits, with growing pauses, until the token is cancelled; and once more then.
    pub(super) async fn run(self, stop: CancellationToken) {
        let mut backoff = Backoff::default();
        loop {
            let stopped = if self.waits() {
                tokio::time::timeout(backoff.next(random()), stop.cancelled()).await.is_ok()
            } else {
                backoff.reset();
                tokio::select! {
                    () = stop.cancelled() => true,
                    () = self.0.more.notified() => false,
                }
            };
            if self.waits() {
                let keeper = self.clone();
                if tokio::task::spawn_blocking(move || keeper.again()).await.is_err() {
                    tracing::error!("writing what is in force failed inside this plane");
                }
            }
            if stopped {
                return;
            }
        }
    }

    fn again(&self) {
        let mut waiting = self.waiting();
        let mut failed = None;
        if let Some((header, entries)) = &waiting.snapshot {
            match self.0.disk.keep_snapshot(header, entries) {
                Ok(()) => {
                    tracing::info!(version = header.version, "the snapshot in force is on disk now");
                    waiting.snapshot = None;
                }
                Err(error) => failed = Some(error),
            }
        }
        if let Some(secrets) = &waiting.secrets {
            match self.0.disk.keep_secrets(secrets) {
                Ok(()) => waiting.secrets = None,
                Err(error) => failed = Some(error),
            }
        }
        self.note(&waiting, failed);
    }

    fn note(&self, waiting: &Waiting, failed: Option<io::Error>) {
        let nothing = waiting.snapshot.is_none() && waiting.secrets.is_none();
        if nothing {
            self.0.status.kept();
        } else if let Some(error) = failed {
            self.0.status.not_kept(&error);
            self.0.more.notify_one();
        }
    }

    /// Whether anything waits. Asked of the status, so that it never waits for a write.
    fn waits(&self) -> bool {
        self.0.status.unsaved().is_some()
    }

    fn waiting(&self) -> MutexGuard<'_, Waiting> {
        self.0.waiting.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
