//! The port: what the rooms above ask of a store, whichever store it is.

use std::sync::Arc;

use futures_util::future::BoxFuture;
use portcullis_policy::resource::Uid;
use serde_json::Value;
use tokio::sync::{OwnedMutexGuard, watch};

use super::state::State;

/// The longest kind, in bytes.
pub const MAX_KIND_BYTES: usize = 64;
/// The longest name, in bytes.
pub const MAX_NAME_BYTES: usize = 2048;
/// The largest body, in bytes of its JSON text.
pub const MAX_BODY_BYTES: usize = 1 << 20;
/// The largest change with all its bodies before and after, in bytes of its JSON text.
pub const MAX_RECORD_BYTES: usize = 64 << 20;
/// The most operations in one change.
pub const MAX_OPS: usize = 100_000;
/// The most objects in a store.
pub const MAX_OBJECTS: usize = 1_000_000;
/// The longest author, in bytes.
pub const MAX_AUTHOR_BYTES: usize = 1024;
/// The longest message, in bytes.
pub const MAX_MESSAGE_BYTES: usize = 16 << 10;
/// The most records in one answer of [`Store::history`].
pub const MAX_HISTORY_RECORDS: usize = 1000;

/// One step of a change.
#[derive(Debug, Clone, PartialEq)]
pub enum Op {
    /// Makes the object be this. Nothing changes when it already is.
    ///
    /// An object that stands there under another uid is replaced: the new one is another thing, created now.
    Put {
        /// The kind: 1 to [`MAX_KIND_BYTES`] bytes.
        kind: Arc<str>,
        /// Unique within the kind: 1 to [`MAX_NAME_BYTES`] bytes.
        name: Arc<str>,
        /// The object's immutable id.
        uid: Uid,
        /// The whole new body: at most [`MAX_BODY_BYTES`] as JSON text.
        body: Value,
    },
    /// Removes the object. Nothing changes when there is none.
    Delete {
        /// The kind.
        kind: Arc<str>,
        /// The name.
        name: Arc<str>,
    },
}

impl Op {
    /// The kind and the name that it is about.
    #[must_use]
    pub const fn key(&self) -> (&Arc<str>, &Arc<str>) {
        match self {
            Self::Put { kind, name, .. } | Self::Delete { kind, name } => (kind, name),
        }
    }
}

/// One transaction: all of its operations happen, or none.
///
/// Operations are taken in order, and history keeps one entry for each object: what it was before all of them and what it
/// is after.
#[derive(Debug, Clone, PartialEq)]
pub struct Change {
    /// Who asked for it: at most [`MAX_AUTHOR_BYTES`].
    pub author: String,
    /// Why, in the author's words: at most [`MAX_MESSAGE_BYTES`].
    pub message: String,
    /// When, in milliseconds since the Unix epoch.
    pub unix_ms: u64,
    /// What: at most [`MAX_OPS`].
    pub ops: Vec<Op>,
}

/// Why a change was not made.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum CommitError {
    /// Somebody else committed since the expected version. Read the state again and decide again.
    #[error("the state changed meanwhile")]
    Conflict,
    /// The change itself is against the store's bounds; trying it again will not help.
    #[error("{0}")]
    Invalid(String),
    /// The store could not write. The change is not part of the state; a retry may find the store well again.
    #[error("the store cannot write: {0}")]
    Unavailable(String),
}

/// History could not be read. The store's fault; a retry is safe.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("history cannot be read: {0}")]
pub struct HistoryError(pub String);

/// Which part of history.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct HistoryFilter {
    /// Changes of objects of this kind only. The records then hold only those changes.
    pub kind: Option<String>,
    /// Changes of the object of this name only; needs `kind`.
    pub name: Option<String>,
    /// At most this many records; 0 and anything above mean [`MAX_HISTORY_RECORDS`]. Large records make an answer shorter
    /// than asked, though never empty when there is more.
    pub limit: usize,
    /// Records of versions below this one only.
    pub before: Option<u64>,
}

/// One change as history tells it.
#[derive(Debug, Clone, PartialEq)]
pub struct HistoryRecord {
    /// The version that it made.
    pub version: u64,
    /// When, in milliseconds since the Unix epoch.
    pub unix_ms: u64,
    /// Who asked for it.
    pub author: String,
    /// Why.
    pub message: String,
    /// What it did, one entry for each object, in the order in which the change first named them.
    pub changes: Vec<HistoryChange>,
}

/// What one change did to one object.
#[derive(Debug, Clone, PartialEq)]
pub struct HistoryChange {
    /// The kind.
    pub kind: Arc<str>,
    /// The name.
    pub name: Arc<str>,
    /// The uid: of the object after the change, or of the one that was deleted.
    pub uid: Uid,
    /// The body before; `None` when the object came into being.
    pub before: Option<Value>,
    /// The body after; `None` when the object was deleted.
    pub after: Option<Value>,
}

/// A place in the queue of those who read the state in order to change it. Dropping it lets the next one in.
#[derive(Debug, Default)]
#[must_use]
pub struct WriteTurn {
    _held: Option<OwnedMutexGuard<()>>,
}

impl WriteTurn {
    /// The turn that this lock stands for.
    pub const fn holding(lock: OwnedMutexGuard<()>) -> Self {
        Self { _held: Some(lock) }
    }
}

/// A store of objects with one version number.
pub trait Store: Send + Sync + 'static {
    /// What is true now: everything in it is on disk.
    fn state(&self) -> Arc<State>;

    /// Makes a change if the state is still of the expected version; answers when it is on disk, with the state that it
    /// made. A change that changes nothing makes no version and answers the state as it is.
    ///
    /// A caller that stops waiting has not undone anything: the change is made or not made, whole.
    fn commit(&self, expected: u64, change: Change) -> BoxFuture<'_, Result<Arc<State>, CommitError>>;

    /// What happened, newest first.
    fn history(&self, filter: HistoryFilter) -> BoxFuture<'_, Result<Vec<HistoryRecord>, HistoryError>>;

    /// The version of the state, told again whenever it changed.
    fn watch(&self) -> watch::Receiver<u64>;

    /// Why the store takes no changes now, as far as is known; none when it does. For readiness: a change may be tried anyway.
    fn trouble(&self) -> Option<Arc<str>> {
        None
    }

    /// Finds out whether the store takes changes, for [`Store::trouble`] to tell. To be called every few seconds.
    fn check(&self) -> BoxFuture<'_, ()> {
        Box::pin(async {})
    }

    /// Waits until nobody else of this process is between reading the state and committing, so that writers queue up
    /// instead of failing one another. Only a help: what keeps changes apart is the expected version of a commit.
    fn write_turn(&self) -> BoxFuture<'_, WriteTurn> {
        Box::pin(async { WriteTurn::default() })
    }
}
