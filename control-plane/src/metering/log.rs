//! The bank's disk: generations, each a checkpoint and the log of what came after it.
//!
//! `DATA_DIR/control/metering/NNNN…/checkpoint` is what was known when the generation began; the files `*.journal` beside it are those of
//! the store's journal: checked frames in a chain, of which only an unfinished tail is cut. One frame is one round of the bank: all of
//! it counts or nothing. When a log has become long the next generation begins, with nothing but a log; its checkpoint is made beside
//! the bank, from the generation before it, which says the same. That one stays until the next but one, so that a checkpoint that a
//! crash prevented, or that is damaged, can be made again.

use std::collections::BTreeMap;
use std::fs;
use std::io;
use std::path::{Path, PathBuf};

use serde::{Deserialize, Serialize};

use super::books::{Books, Fact};
use super::checkpoint;
use super::making::Making;
use crate::store::StoreError;
use crate::store::disk::{create_private_dir, sync_dir};
use crate::store::journal::{Journal, SEGMENT_BYTES, Stored, segment_path};
use crate::store::lock::DirLock;

/// A log that is shorter is never replaced, in bytes.
const LOG_BYTES: u64 = 16 << 20;
/// A log is replaced when it is this many times as long as its checkpoint: what a start reads stays within bounds, and so does what is
/// written for nothing.
const LOG_TO_CHECKPOINT: u64 = 4;
/// Facts in one frame. A round of more of them goes into several, of which all but the last say that more follows.
const FACTS_IN_FRAME: usize = 65_536;

/// One frame.
#[derive(Debug, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
struct Frame<F> {
    /// The rest of the round is in the frames after it.
    #[serde(default, skip_serializing_if = "is_false")]
    more: bool,
    /// What stands before it and said that more follows never came to an end: it does not count.
    #[serde(default, skip_serializing_if = "is_false")]
    void: bool,
    facts: F,
}

#[allow(clippy::trivially_copy_pass_by_ref, reason = "serde hands a reference")]
const fn is_false(flag: &bool) -> bool {
    !*flag
}

/// The present generation, open for appending.
pub(super) struct Log {
    dir: PathBuf,
    generation: u64,
    journal: Journal,
    segment_bytes: u64,
    /// Bytes of frames in this generation.
    length: u64,
    /// From which length on the next generation is due, or another attempt at this one's checkpoint.
    due_at: u64,
    least: u64,
    /// How long this generation's checkpoint is, in bytes; `None` while it has none.
    checkpoint: Option<u64>,
    making: Option<Making>,
    _lock: DirLock,
}

impl std::fmt::Debug for Log {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Log")
            .field("dir", &self.dir)
            .field("generation", &self.generation)
            .finish_non_exhaustive()
    }
}

impl Log {
    /// Opens what is in the directory, and makes it when there is nothing. Blocks: it reads all of it.
    pub(super) fn open(dir: &Path) -> Result<(Self, Books), StoreError> {
        Self::open_with(dir, SEGMENT_BYTES, LOG_BYTES)
    }

    /// The same with other bounds, in bytes: of a file of the log, and of a log that is never replaced.
    pub(super) fn open_with(dir: &Path, segment_bytes: u64, least: u64) -> Result<(Self, Books), StoreError> {
        create_private_dir(dir).map_err(|source| StoreError::io(dir, source))?;
        let lock = DirLock::acquire(dir)?;
        let generations = list(dir)?;
        let Some((&generation, newest)) = generations.last_key_value() else {
            let books = Books::default();
            let io = |source| StoreError::io(dir, source);
            let checkpoint = begin(dir, 1, |new| checkpoint::write(new, &books)).map_err(io)?;
            let path = generation_dir(dir, 1);
            let (journal, _) = Journal::open(&path, segment_bytes, &mut |_| Ok(()))?;
            let log = Self {
                dir: dir.to_owned(),
                generation: 1,
                journal,
                segment_bytes,
                length: 0,
                due_at: due_at(least, checkpoint),
                least,
                checkpoint: Some(checkpoint),
                making: None,
                _lock: lock,
            };
            return Ok((log, books));
        };
        let (mut books, checkpoint) = match checkpoint::read(newest) {
            Ok((books, length)) => (books, Some(length)),
            Err(why) => made_again(&generations, (generation, newest), segment_bytes, &why)?,
        };
        let (journal, length) = replay(newest, segment_bytes, &mut books, &mut || true)?;
        let mut log = Self {
            dir: dir.to_owned(),
            generation,
            journal,
            segment_bytes,
            length,
            due_at: checkpoint.map_or(length, |checkpoint| due_at(least, checkpoint)),
            least,
            checkpoint,
            making: None,
            _lock: lock,
        };
        log.tidy();
        Ok((log, books))
    }

    /// Puts one round on the disk: when this returns, it is there whole. After an error the log is not to be used any more.
    pub(super) fn append(&mut self, facts: &[Fact]) -> Result<(), String> {
        let last = facts.len().div_ceil(FACTS_IN_FRAME).saturating_sub(1);
        for (at, part) in facts.chunks(FACTS_IN_FRAME).enumerate() {
            self.append_frame(&Frame { more: at < last, void: false, facts: part })?;
        }
        Ok(())
    }

    fn append_frame<F: Serialize>(&mut self, frame: &Frame<F>) -> Result<(), String> {
        let payload = serde_json::to_vec(frame).map_err(|error| error.to_string())?;
        self.journal.append(&payload)?;
        self.length = self.length.saturating_add(payload.len() as u64);
        Ok(())
    }

    /// Begins the next generation, if one is due, and sees to its checkpoint. Never long: the checkpoint is made on a thread of its own,
    /// and the bank goes on beside it. When something cannot be made, the present log goes on, and it is tried again when that has
    /// grown by as much again.
    pub(super) fn turn(&mut self) {
        if let Some(making) = self.making.take_if(|making| making.is_done()) {
            match making.made() {
                Ok(length) => {
                    self.checkpoint = Some(length);
                    self.due_at = due_at(self.least, length);
                    self.tidy();
                }
                Err(error) => self.put_off(&error),
            }
        }
        if self.making.is_some() || self.length < self.due_at {
            return;
        }
        if self.checkpoint.is_some()
            && let Err(error) = self.begin_next()
        {
            return self.put_off(&error);
        }
        match Making::begin(&self.dir, self.generation, self.segment_bytes) {
            Ok(making) => self.making = Some(making),
            Err(error) => self.put_off(&error.to_string()),
        }
    }

    /// From here on rounds stand in the log of another generation.
    fn begin_next(&mut self) -> Result<(), String> {
        let next = self.generation.saturating_add(1);
        begin(&self.dir, next, |_| Ok(())).map_err(|error| error.to_string())?;
        let opened = Journal::open(&generation_dir(&self.dir, next), self.segment_bytes, &mut |_| Ok(()));
        (self.journal, _) = opened.map_err(|error| error.to_string())?;
        (self.generation, self.length, self.checkpoint) = (next, 0, None);
        Ok(())
    }

    fn put_off(&mut self, error: &str) {
        tracing::error!(%error, "no checkpoint of metering could be made; its log goes on growing");
        self.due_at = self.length.saturating_add(self.due_at.max(self.least));
    }

    /// Removes generations that nothing needs any more. What cannot be removed is tried again at the next start.
    fn tidy(&mut self) {
        let Ok(generations) = list(&self.dir) else { return };
        // A generation without a checkpoint needs the one before it, and that one's needs nothing.
        for (_, path) in generations.range(..self.generation.saturating_sub(1)) {
            if let Err(error) = fs::remove_dir_all(path) {
                tracing::warn!(path = %path.display(), %error, "an old generation of metering could not be removed");
            }
        }
    }
}

fn due_at(least: u64, checkpoint: u64) -> u64 {
    least.max(checkpoint.saturating_mul(LOG_TO_CHECKPOINT))
}

/// The state at the beginning of the newest generation, from the one before it; and the length of its checkpoint, which is written
/// now, if that can be done.
fn made_again(
    generations: &BTreeMap<u64, PathBuf>,
    (number, newest): (u64, &Path),
    segment_bytes: u64,
    why: &checkpoint::Unread,
) -> Result<(Books, Option<u64>), StoreError> {
    let before = number.checked_sub(1).and_then(|before| generations.get(&before));
    let before = before.ok_or_else(|| unreadable(newest, why))?;
    let books = after(before, segment_bytes, &mut || true)?;
    match why {
        checkpoint::Unread::Missing => {
            tracing::info!("a checkpoint of metering that a stop prevented is made")
        }
        checkpoint::Unread::Damaged(why) => tracing::warn!(
            checkpoint = %checkpoint::path(newest).display(), why,
            "a checkpoint of metering is damaged; it was made again from the one before it and its log"
        ),
    }
    let written = checkpoint::write(newest, &books);
    if let Err(error) = &written {
        tracing::error!(%error, "a checkpoint of metering cannot be written; it is tried again");
    }
    Ok((books, written.ok()))
}

fn unreadable(generation: &Path, why: &checkpoint::Unread) -> StoreError {
    let detail = format!("this checkpoint of metering cannot be read: {why}");
    StoreError::damaged(&checkpoint::path(generation), 0, None, detail)
}

/// What was known when a generation ended, read from it; nothing is appended to it any more. Ends with an error when it is not to go on.
pub(super) fn after(
    generation: &Path,
    segment_bytes: u64,
    go_on: &mut dyn FnMut() -> bool,
) -> Result<Books, StoreError> {
    let (mut books, _) = checkpoint::read(generation).map_err(|why| unreadable(generation, &why))?;
    replay(generation, segment_bytes, &mut books, go_on)?;
    Ok(books)
}

/// Folds the log of a generation into the books, and opens it.
fn replay(
    path: &Path,
    segment_bytes: u64,
    books: &mut Books,
    go_on: &mut dyn FnMut() -> bool,
) -> Result<(Journal, u64), StoreError> {
    if !holds_log(path).map_err(|source| StoreError::io(path, source))? {
        let detail = "there is a checkpoint of metering, and no log beside it".to_owned();
        return Err(StoreError::Incomplete { dir: path.to_owned(), detail });
    }
    let mut length = 0_u64;
    let mut pending: Vec<Fact> = Vec::new();
    let (mut journal, cut) = Journal::open(path, segment_bytes, &mut |stored: Stored<'_>| {
        let damaged = |detail: String| {
            let file = segment_path(path, stored.position.segment);
            StoreError::damaged(&file, stored.position.offset, Some(stored.tip.version), detail)
        };
        if !go_on() {
            return Err(StoreError::io(path, io::ErrorKind::Interrupted.into()));
        }
        length = length.saturating_add(stored.payload.len() as u64);
        let frame: Frame<Vec<Fact>> =
            serde_json::from_slice(stored.payload).map_err(|error| damaged(error.to_string()))?;
        if frame.void {
            pending.clear();
        }
        pending.extend(frame.facts);
        if !frame.more {
            for fact in pending.drain(..) {
                books.apply(&fact).map_err(|corrupt| damaged(corrupt.to_string()))?;
            }
        }
        Ok(())
    })?;
    if let Some(cut) = cut {
        tracing::warn!(file = %cut.file.display(), offset = cut.offset, bytes = cut.bytes, "an unfinished round at the end of metering's log was cut; nothing of it was answered");
    }
    if !pending.is_empty() {
        let frame = Frame { more: false, void: true, facts: [(); 0] };
        let payload = serde_json::to_vec(&frame).map_err(|error| StoreError::io(path, error.into()))?;
        journal.append(&payload).map_err(|why| StoreError::io(path, io::Error::other(why)))?;
    }
    Ok((journal, length))
}

fn holds_log(path: &Path) -> io::Result<bool> {
    for entry in fs::read_dir(path)? {
        if entry?.path().extension().is_some_and(|extension| extension == "journal") {
            return Ok(true);
        }
    }
    Ok(false)
}

/// Makes a generation under another name, and gives it its own when all of it is on the disk. Tells what filling it told.
fn begin<T>(dir: &Path, generation: u64, fill: impl FnOnce(&Path) -> io::Result<T>) -> io::Result<T> {
    let new = dir.join("new");
    match fs::remove_dir_all(&new) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(error),
        _ => {}
    }
    create_private_dir(&new)?;
    let told = fill(&new)?;
    drop(Journal::open(&new, SEGMENT_BYTES, &mut |_| Ok(())).map_err(io::Error::other)?);
    sync_dir(&new)?;
    fs::rename(&new, generation_dir(dir, generation))?;
    sync_dir(dir)?;
    Ok(told)
}

pub(super) fn generation_dir(dir: &Path, generation: u64) -> PathBuf {
    dir.join(format!("{generation:020}"))
}

/// The generations in a directory. Other names are none of ours.
fn list(dir: &Path) -> Result<BTreeMap<u64, PathBuf>, StoreError> {
    let io = |source| StoreError::io(dir, source);
    let mut generations = BTreeMap::new();
    for entry in fs::read_dir(dir).map_err(io)? {
        let path = entry.map_err(io)?.path();
        let name = path.file_name().and_then(|name| name.to_str()).filter(|name| name.len() == 20);
        if let Some(number) = name.and_then(|digits| digits.parse().ok()) {
            generations.insert(number, path);
        }
    }
    Ok(generations)
}

#[cfg(test)]
mod tests;
