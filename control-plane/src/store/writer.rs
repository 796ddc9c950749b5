//! The one thread that changes anything: plan, journal, index, state, answer, in this order.

use std::sync::Arc;

use tokio::sync::{mpsc, oneshot};

use super::index::{IndexHead, Indexed};
use super::journal::Journal;
use super::lock::DirLock;
use super::plan::{Planned, plan};
use super::port::{Change, CommitError};
use super::single::{Shared, Trouble};
use super::state::State;

/// A commit on its way to the writer.
#[derive(Debug)]
pub(super) struct Commit {
    pub(super) expected: u64,
    pub(super) change: Change,
    pub(super) reply: oneshot::Sender<Result<Arc<State>, CommitError>>,
}

pub(super) struct Writer {
    shared: Arc<Shared>,
    journal: Journal,
    head: Option<IndexHead>,
    _lock: DirLock,
}

impl Writer {
    pub(super) const fn new(
        shared: Arc<Shared>,
        journal: Journal,
        head: Option<IndexHead>,
        lock: DirLock,
    ) -> Self {
        Self { shared, journal, head, _lock: lock }
    }

    /// Works until nobody can send any more.
    pub(super) fn run(mut self, mut waiting: mpsc::Receiver<Commit>) {
        while let Some(Commit { expected, change, reply }) = waiting.blocking_recv() {
            let outcome = self.commit(expected, change);
            // Whoever asked may have gone; what was made stays made.
            let _ = reply.send(outcome);
        }
    }

    fn commit(&mut self, expected: u64, change: Change) -> Result<Arc<State>, CommitError> {
        let current = self.shared.state.load_full();
        if current.version != expected {
            return Err(CommitError::Conflict);
        }
        let Some(Planned { record, payload }) = plan(&current, change).map_err(CommitError::Invalid)? else {
            return Ok(current);
        };
        let version = current.version.saturating_add(1);
        let mut next = State::clone(&current);
        // Before anything is written: what cannot be replayed must not stand in the journal.
        let steps = next.apply(version, &record.changes).map_err(CommitError::Invalid)?;
        let (tip, position) = self.journal.append(&payload).map_err(|why| {
            let trouble = Trouble { why: why.as_str().into(), lasting: self.journal.is_closed() };
            self.shared.trouble.store(Some(Arc::new(trouble)));
            CommitError::Unavailable(why)
        })?;
        self.shared.trouble.store(None);
        self.index(Indexed { tip, position, steps });
        let next = Arc::new(next);
        self.shared.state.store(Arc::clone(&next));
        self.shared.version.send_replace(version);
        Ok(next)
    }

    /// Adds a record to the index. When that fails, history goes on without one.
    fn index(&mut self, record: Indexed) {
        let index = self.shared.index.load_full();
        let (Some(index), Some(head)) = (index, self.head.as_ref()) else { return };
        match index.add(head, &[record]) {
            Ok(next) => self.head = Some(next),
            Err(error) => {
                tracing::error!(%error, "the index failed; until the next start history is read from the journal, which is slow");
                self.head = None;
                self.shared.index.store(None);
            }
        }
    }
}
