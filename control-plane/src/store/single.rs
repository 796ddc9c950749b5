//! The store of one machine: one writer thread, one journal, one index, all of the state in memory.
//!
//! ```text
//! DIR/lock                       held as long as the store is open
//! DIR/journal/N.journal          the truth; N is the first version in it
//! DIR/index-N/                   sled; may be removed at any time while the store is closed
//! ```
//!
//! Readers take the state from memory. Commits go to the writer thread one by one: each names the version that it was made
//! from, so that of several that wait together only the first could succeed, and there is nothing to write in groups.

use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::thread::JoinHandle;

use arc_swap::{ArcSwap, ArcSwapOption};
use futures_util::future::BoxFuture;
use tokio::sync::{Mutex, Semaphore, mpsc, oneshot, watch};

use super::disk;
use super::error::StoreError;
use super::history;
use super::index::Index;
use super::journal::SEGMENT_BYTES;
use super::lock::DirLock;
use super::port::{Change, CommitError, HistoryError, HistoryFilter, HistoryRecord, Store, WriteTurn};
use super::recover::{IndexFound, Opened, Recovered, recover};
use super::state::State;
use super::writer::{Commit, Writer};

/// So many commits may wait; those after them wait to wait.
const WAITING_COMMITS: usize = 64;
/// So many answers of history are put together at once.
const HISTORY_READERS: usize = 4;

/// The store of one machine. Dropping it waits until the change that is being written is on disk.
#[derive(Debug)]
pub struct JournalStore {
    shared: Arc<Shared>,
    opened: Opened,
    commits: Option<mpsc::Sender<Commit>>,
    writer: Option<JoinHandle<()>>,
    turns: Arc<Mutex<()>>,
    history_readers: Semaphore,
}

/// What the writer tells the readers.
#[derive(Debug)]
pub(super) struct Shared {
    pub(super) state: ArcSwap<State>,
    pub(super) version: watch::Sender<u64>,
    /// `None` when it failed.
    pub(super) index: ArcSwapOption<Index>,
    pub(super) journal_dir: PathBuf,
    /// `None` while changes can be made.
    pub(super) trouble: ArcSwapOption<Trouble>,
}

/// Why changes cannot be made.
#[derive(Debug)]
pub(super) struct Trouble {
    pub(super) why: Arc<str>,
    /// Whether only a new start can end it.
    pub(super) lasting: bool,
}

impl Shared {
    /// What the directory tells, unless more is known already.
    fn checked(&self, found: std::io::Result<()>) {
        if self.trouble.load().as_ref().is_some_and(|known| known.lasting) {
            return;
        }
        let trouble = found.err().map(|error| {
            let why: Arc<str> = error.to_string().into();
            Arc::new(Trouble { why, lasting: false })
        });
        if let Some(trouble) = &trouble
            && self.trouble.load().is_none()
        {
            tracing::error!(why = %trouble.why, "the store takes no changes");
        }
        self.trouble.store(trouble);
    }
}

impl JournalStore {
    /// Opens the store in this directory and makes it when there is none. Blocks: it reads the whole journal.
    ///
    /// # Errors
    /// When another process has it, when the journal is damaged, or when the machine refuses; see [`StoreError`].
    pub fn open(dir: &Path) -> Result<Self, StoreError> {
        Self::open_with_segments(dir, SEGMENT_BYTES)
    }

    /// [`JournalStore::open`] with another size, in bytes, from which on a journal file is followed by a new one.
    ///
    /// # Errors
    /// As there.
    pub fn open_with_segments(dir: &Path, segment_bytes: u64) -> Result<Self, StoreError> {
        disk::create_private_dir(dir).map_err(|source| StoreError::io(dir, source))?;
        let lock = DirLock::acquire(dir)?;
        let Recovered { journal, state, index, opened } = recover(dir, segment_bytes)?;
        report(dir, &opened);
        let (index, head) = match index {
            Some((index, head)) => (Some(Arc::new(index)), Some(head)),
            None => (None, None),
        };
        let shared = Arc::new(Shared {
            version: watch::Sender::new(state.version),
            state: ArcSwap::from_pointee(state),
            index: ArcSwapOption::new(index),
            journal_dir: journal.dir().to_owned(),
            trouble: ArcSwapOption::empty(),
        });
        let (commits, waiting) = mpsc::channel(WAITING_COMMITS);
        let writer = Writer::new(Arc::clone(&shared), journal, head, lock);
        let writer = std::thread::Builder::new()
            .name("store-writer".to_owned())
            .spawn(move || writer.run(waiting))
            .map_err(|source| StoreError::io(dir, source))?;
        Ok(Self {
            shared,
            opened,
            commits: Some(commits),
            writer: Some(writer),
            turns: Arc::default(),
            history_readers: Semaphore::new(HISTORY_READERS),
        })
    }

    /// What opening it found.
    #[must_use]
    pub const fn opened(&self) -> &Opened {
        &self.opened
    }
}

fn report(dir: &Path, opened: &Opened) {
    if let Some(cut) = &opened.cut {
        let file = cut.file.display();
        tracing::warn!(%file, offset = cut.offset, bytes = cut.bytes, "an unfinished change at the journal's end was cut; it was never acknowledged");
    }
    match &opened.index {
        IndexFound::Current { .. } => {}
        IndexFound::Rebuilt { .. } if opened.version == 0 => {}
        IndexFound::Rebuilt { why } => tracing::warn!(why, "the index was made anew from the journal"),
        IndexFound::Missing { why } => tracing::error!(why, "there is no index; history is slow"),
    }
    tracing::info!(dir = %dir.display(), version = opened.version, "the store is open");
}

impl Drop for JournalStore {
    fn drop(&mut self) {
        self.commits = None;
        if let Some(writer) = self.writer.take() {
            // A writer that panicked has said so; its lock is gone with it.
            let _ = writer.join();
        }
    }
}

impl Store for JournalStore {
    fn state(&self) -> Arc<State> {
        self.shared.state.load_full()
    }

    fn commit(&self, expected: u64, change: Change) -> BoxFuture<'_, Result<Arc<State>, CommitError>> {
        Box::pin(async move {
            let stopped = || CommitError::Unavailable("its writer has stopped".to_owned());
            let (reply, answer) = oneshot::channel();
            let commits = self.commits.as_ref().ok_or_else(stopped)?;
            commits.send(Commit { expected, change, reply }).await.map_err(|_| stopped())?;
            answer.await.map_err(|_| stopped())?
        })
    }

    fn history(&self, filter: HistoryFilter) -> BoxFuture<'_, Result<Vec<HistoryRecord>, HistoryError>> {
        Box::pin(async move {
            let failed = |error: &dyn std::fmt::Display| HistoryError(error.to_string());
            let _place = self.history_readers.acquire().await.map_err(|error| failed(&error))?;
            let shared = Arc::clone(&self.shared);
            // Whoever starts a thread for this gives it its own place in the order of threads; work in the background, which stands
            // below the others, must not: that thread does other things afterwards.
            let read =
                async move { tokio::task::spawn_blocking(move || history::read(&shared, &filter)).await };
            tokio::spawn(read).await.and_then(|read| read).map_err(|error| failed(&error))?
        })
    }

    fn watch(&self) -> watch::Receiver<u64> {
        self.shared.version.subscribe()
    }

    fn trouble(&self) -> Option<Arc<str>> {
        self.shared.trouble.load().as_ref().map(|trouble| Arc::clone(&trouble.why))
    }

    fn check(&self) -> BoxFuture<'_, ()> {
        let shared = Arc::clone(&self.shared);
        Box::pin(async move {
            let check = move || shared.checked(disk::check_room(&shared.journal_dir));
            if let Err(error) = tokio::task::spawn_blocking(check).await {
                tracing::error!(%error, "the store could not be checked");
            }
        })
    }

    fn write_turn(&self) -> BoxFuture<'_, WriteTurn> {
        Box::pin(async { WriteTurn::holding(Arc::clone(&self.turns).lock_owned().await) })
    }
}
