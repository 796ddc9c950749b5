//! What is enforced now: one atomic load for each request.

use std::sync::Arc;

use arc_swap::ArcSwapOption;
use portcullis_policy::Snapshot;
use portcullis_policy::snapshot::SnapshotVersion;
use tokio::sync::watch;

/// The snapshot in force. Clones share it.
#[derive(Clone)]
pub struct Live(Arc<Inner>);

struct Inner {
    snapshot: ArcSwapOption<Snapshot>,
    version: watch::Sender<SnapshotVersion>,
}

impl std::fmt::Debug for Live {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_tuple("Live").field(&*self.0.version.borrow()).finish()
    }
}

impl Default for Live {
    fn default() -> Self {
        Self::new()
    }
}

impl Live {
    /// With nothing in force yet: everything is denied until there is.
    #[must_use]
    pub fn new() -> Self {
        Self(Arc::new(Inner {
            snapshot: ArcSwapOption::empty(),
            version: watch::Sender::new(SnapshotVersion::default()),
        }))
    }

    /// The snapshot in force; none until the first one arrived. Load once for each request.
    #[must_use]
    pub fn load(&self) -> Option<Arc<Snapshot>> {
        self.0.snapshot.load_full()
    }

    /// Tells each new version; version 0 means none.
    #[must_use]
    pub fn subscribe(&self) -> watch::Receiver<SnapshotVersion> {
        self.0.version.subscribe()
    }

    /// Puts a snapshot in force, and gives the one that was. Whoever calls this has verified it.
    pub fn swap(&self, snapshot: impl Into<Arc<Snapshot>>) -> Option<Arc<Snapshot>> {
        let snapshot = snapshot.into();
        let version = snapshot.version();
        let old = self.0.snapshot.swap(Some(snapshot));
        self.0.version.send_replace(version);
        old
    }
}
