//! From what is on disk to a state: the journal is read from end to end, and the index saves decoding what it knows.

use std::path::Path;

use super::error::StoreError;
use super::index::{self, Index, IndexHead, Indexed};
use super::journal::{self, CutTail, Journal, Stored};
use super::record::Record;
use super::state::State;

/// So many records are indexed at once.
const BATCH_RECORDS: usize = 512;
/// So many bytes of them at most.
const BATCH_BYTES: usize = 4 << 20;

/// What opening a store found. For logs, and for tests.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Opened {
    /// The version it is at.
    pub version: u64,
    /// A tail that a crash left unfinished and that is gone.
    pub cut: Option<CutTail>,
    /// What became of the index.
    pub index: IndexFound,
}

/// What became of the index at opening.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum IndexFound {
    /// It was right, but for this many changes at the end that it had not seen.
    Current {
        /// How many it had to catch up with.
        behind: u64,
    },
    /// It was made anew.
    Rebuilt {
        /// Why.
        why: String,
    },
    /// It could not be made. History is read from the journal, which is slow.
    Missing {
        /// Why.
        why: String,
    },
}

/// Everything that a writer starts from.
pub(super) struct Recovered {
    pub(super) journal: Journal,
    pub(super) state: State,
    pub(super) index: Option<(Index, IndexHead)>,
    pub(super) opened: Opened,
}

/// Opens what is in the directory. The caller holds its lock.
pub(super) fn recover(dir: &Path, segment_limit: u64) -> Result<Recovered, StoreError> {
    let journal_dir = dir.join("journal");
    let (mut replay, mut doubt) = match load(dir) {
        Ok((index, head, state)) => (Replay::from_index(index, head, state), None),
        Err(why) => (Replay::nothing(), Some(why)),
    };
    let known = replay.known();
    let (journal, cut) = Journal::open(&journal_dir, segment_limit, &mut |stored| {
        // Without an index every record is decoded in the second pass; this one is for the checksums.
        if doubt.is_none() { replay.visit(&journal_dir, stored) } else { Ok(()) }
    })?;
    if let Some(known) = known {
        if journal.tip().version == 0 {
            return Err(StoreError::JournalLost {
                journal: journal_dir,
                index: known.dir,
                version: known.head.tip().version,
            });
        }
        if known.head.journal() != journal.id() || replay.stale {
            doubt = Some("it belongs to another journal".to_owned());
        } else if known.head.tip().version > journal.tip().version {
            let (index, tip) = (known.head.tip().version, journal.tip().version);
            tracing::warn!(
                index,
                journal = tip,
                "the index knows of changes that the journal does not hold: was an older journal restored?"
            );
            doubt = Some("it was ahead of the journal".to_owned());
        }
    }
    let index = match doubt {
        None => IndexFound::Current { behind: replay.decoded },
        Some(why) => {
            drop(replay);
            replay = Replay::afresh(dir, journal.id());
            journal::read_all(&journal_dir, &mut |stored| replay.visit(&journal_dir, stored))?;
            IndexFound::Rebuilt { why }
        }
    };
    replay.flush();
    let index = match &replay.failed {
        Some(why) => IndexFound::Missing { why: why.clone() },
        None => index,
    };
    let opened = Opened { version: journal.tip().version, cut, index };
    Ok(Recovered { journal, state: replay.state, index: replay.index, opened })
}

/// The index and the state that it holds, if both can be believed; else why not.
fn load(dir: &Path) -> Result<(Index, IndexHead, State), String> {
    let index = index::open(dir).map_err(|error| error.to_string())?.ok_or("there was none")?;
    let (head, state) = index.load().map_err(|error| error.to_string())?.ok_or("it was empty")?;
    Ok((index, head, state))
}

/// What the index said before the journal was read.
struct Known {
    head: IndexHead,
    dir: std::path::PathBuf,
}

/// A state on its way from what the index knows to the journal's end.
struct Replay {
    state: State,
    index: Option<(Index, IndexHead)>,
    /// Why there is no index any more.
    failed: Option<String>,
    /// The index stands at no link of the journal's chain.
    stale: bool,
    decoded: u64,
    waiting: Vec<Indexed>,
    waiting_bytes: usize,
}

impl Replay {
    fn nothing() -> Self {
        Self {
            state: State::default(),
            index: None,
            failed: None,
            stale: false,
            decoded: 0,
            waiting: Vec::new(),
            waiting_bytes: 0,
        }
    }

    fn from_index(index: Index, head: IndexHead, state: State) -> Self {
        Self { state, index: Some((index, head)), ..Self::nothing() }
    }

    fn afresh(dir: &Path, journal: super::segment::JournalId) -> Self {
        match index::open_fresh(dir) {
            Ok(index) => Self { index: Some((index, IndexHead::empty(journal))), ..Self::nothing() },
            Err(error) => Self { failed: Some(error.to_string()), ..Self::nothing() },
        }
    }

    fn known(&self) -> Option<Known> {
        let (index, head) = self.index.as_ref()?;
        Some(Known { head: head.clone(), dir: index.dir().to_owned() })
    }

    fn visit(&mut self, dir: &Path, stored: Stored<'_>) -> Result<(), StoreError> {
        let version = stored.tip.version;
        if self.stale || version < self.state.version {
            return Ok(());
        }
        if version == self.state.version {
            // Only an index can have been here before.
            self.stale = self.index.as_ref().is_some_and(|(_, head)| head.tip() != stored.tip);
            return Ok(());
        }
        let unreadable = |detail: String| {
            let file = journal::segment_path(dir, stored.position.segment);
            StoreError::damaged(&file, stored.position.offset, Some(version), detail)
        };
        let record = Record::decode(stored.payload).map_err(|error| unreadable(error.to_string()))?;
        let steps = self.state.apply(version, &record.changes).map_err(unreadable)?;
        self.decoded += 1;
        if self.index.is_some() {
            self.waiting_bytes = self.waiting_bytes.saturating_add(stored.payload.len());
            self.waiting.push(Indexed { tip: stored.tip, position: stored.position, steps });
            if self.waiting.len() >= BATCH_RECORDS || self.waiting_bytes >= BATCH_BYTES {
                self.flush();
            }
        }
        Ok(())
    }

    fn flush(&mut self) {
        let waiting = std::mem::take(&mut self.waiting);
        self.waiting_bytes = 0;
        if waiting.is_empty() {
            return;
        }
        let Some((index, head)) = &mut self.index else { return };
        match index.add(head, &waiting) {
            Ok(next) => *head = next,
            Err(error) => {
                self.failed = Some(error.to_string());
                self.index = None;
            }
        }
    }
}
