//! The bank's disk: generations, each a checkpoint and the log of what came after it.
//!
//! `DATA_DIR/control/metering/NNNN…/checkpoint` is what was known when the generation began; the files `*.journal` beside it are those of
//! the store's journal: checked frames in a chain, of which only an unfinished tail is cut. One frame is one round of the bank: all of
//! it counts or nothing. When a log has become long the next generation begins, with nothing but a log; its checkpoint is made beside
//! the bank, of what was known at that moment. The generation before it stays until the next but one, so that a checkpoint that a crash
//! prevented, or that is damaged, can be made again: from the newest that can be read, and the logs that came after it.

use std::collections::BTreeMap;
use std::fs;
use std::io;
use std::path::{Path, PathBuf};

use serde::{Deserialize, Serialize};

use super::books::{Books, Fact};
use super::checkpoint::{self, Unread};
use super::generations::{End, begin, dir_of, fold_ended, is_empty, list, note_end};
use super::making::Making;
use crate::store::StoreError;
use crate::store::disk::{create_private_dir, sync_dir};
use crate::store::journal::{Journal, SEGMENT_BYTES, Stored};
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
pub(super) struct Frame<F> {
    /// The rest of the round is in the frames after it.
    #[serde(default, skip_serializing_if = "is_false")]
    more: bool,
    /// What stands before it and said that more follows never came to an end: it does not count.
    #[serde(default, skip_serializing_if = "is_false")]
    void: bool,
    facts: F,
}

/// Facts of a round whose end is still to be read.
#[derive(Debug, Default)]
pub(super) struct Unfolded(Vec<Fact>);

impl Unfolded {
    /// The facts that count with this frame.
    pub(super) fn rounds(&mut self, frame: Frame<Vec<Fact>>) -> Vec<Fact> {
        if frame.void {
            self.0.clear();
        }
        self.0.extend(frame.facts);
        if frame.more { Vec::new() } else { std::mem::take(&mut self.0) }
    }

    /// Whether a round has begun and not ended.
    pub(super) fn is_amid(&self) -> bool {
        !self.0.is_empty()
    }
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
    /// From which length on the next generation is due.
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
        let io = |source| StoreError::io(dir, source);
        let mut generations = list(dir)?;
        let (generation, newest, mut books, checkpoint) = match generations.pop_last() {
            None => {
                let books = Books::default();
                let first = |new: &Path| checkpoint::write(new, &books, &|| true);
                let checkpoint = begin(dir, 1, first).map_err(io)?;
                (1, dir_of(dir, 1), books, Some(checkpoint))
            }
            Some((mut generation, mut newest)) => {
                let begun = !checkpoint::path(&newest).exists() && holds_log(&newest).map_err(io)?;
                if begun && is_empty(&newest)? && !generations.is_empty() {
                    // And no more: the one before it goes on.
                    fs::remove_dir_all(&newest).map_err(io)?;
                    sync_dir(dir).map_err(io)?;
                    (generation, newest) = generations.pop_last().unwrap_or((generation, newest));
                }
                let (books, checkpoint) = beginning(&generations, (generation, &newest))?;
                (generation, newest, books, checkpoint)
            }
        };
        let (journal, length) = replay(&newest, segment_bytes, &mut books)?;
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

    /// Begins the next generation with what is known now, if one is due, and sees to its checkpoint. Never long: that is made on a
    /// thread of its own, and the bank goes on beside it. When something cannot be made, the present log goes on, and it is tried again
    /// when that has grown by as much again.
    pub(super) fn turn(&mut self, books: &Books) {
        if let Some(making) = self.making.take_if(|making| making.is_done()) {
            match making.made() {
                Ok(length) => {
                    self.checkpoint = Some(length);
                    self.due_at = due_at(self.least, length);
                    self.tidy();
                }
                Err(error) => self.put_off(&error.to_string()),
            }
        }
        if self.making.is_some() || self.length < self.due_at {
            return;
        }
        let begun = self.begin_next().and_then(|()| {
            let making = Making::begin(dir_of(&self.dir, self.generation), books.clone());
            making.map_err(|error| error.to_string())
        });
        match begun {
            Ok(making) => self.making = Some(making),
            Err(error) => self.put_off(&error),
        }
    }

    /// From here on rounds stand in the log of another generation.
    fn begin_next(&mut self) -> Result<(), String> {
        let next = self.generation.saturating_add(1);
        let tip = self.journal.tip();
        let end = End { version: tip.version, link: tip.link };
        begin(&self.dir, next, |new| note_end(new, end)).map_err(|error| error.to_string())?;
        let opened = Journal::open(&dir_of(&self.dir, next), self.segment_bytes, &mut |_| Ok(()));
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
        // One without a checkpoint needs those before it, back to one that has; and one that has may be damaged.
        let has = |(_, path): &(&u64, &PathBuf)| checkpoint::path(path).exists();
        let kept = generations.range(..self.generation).rev().find(has).map(|(number, _)| *number);
        let (Some(kept), Some(_)) = (kept, self.checkpoint) else { return };
        for (_, path) in generations.range(..kept) {
            if let Err(error) = fs::remove_dir_all(path) {
                tracing::warn!(path = %path.display(), %error, "an old generation of metering could not be removed");
            }
        }
    }
}

fn due_at(least: u64, checkpoint: u64) -> u64 {
    least.max(checkpoint.saturating_mul(LOG_TO_CHECKPOINT))
}

/// What was known when the newest generation began, from the newest checkpoint that can be read and the logs between; and the length of
/// its own checkpoint, which is written now where it has none.
fn beginning(
    before: &BTreeMap<u64, PathBuf>,
    (number, newest): (u64, &Path),
) -> Result<(Books, Option<u64>), StoreError> {
    let first = match checkpoint::read(newest) {
        Ok((books, length)) => return Ok((books, Some(length))),
        Err(why) => why,
    };
    match &first {
        Unread::Missing => tracing::info!("a checkpoint of metering that a stop prevented is made"),
        Unread::Damaged(why) => tracing::warn!(
            checkpoint = %checkpoint::path(newest).display(), why,
            "a checkpoint of metering is damaged; it is made again from the one before it and its log"
        ),
    }
    let (mut at, mut here, mut why) = (number, newest, first);
    let mut ended: Vec<(&Path, &Path)> = Vec::new();
    let mut books = loop {
        at = at.saturating_sub(1);
        let Some(earlier) = before.get(&at) else { return Err(unreadable(here, &why)) };
        ended.push((earlier, here));
        here = earlier;
        match checkpoint::read(here) {
            Ok((books, _)) => break books,
            Err(error) => why = error,
        }
    };
    for (generation, next) in ended.into_iter().rev() {
        fold_ended(generation, next, &mut books)?;
    }
    let written = checkpoint::write(newest, &books, &|| true);
    if let Err(error) = &written {
        tracing::error!(%error, "a checkpoint of metering cannot be written; it is tried again");
    }
    Ok((books, written.ok()))
}

fn unreadable(generation: &Path, why: &Unread) -> StoreError {
    let detail = format!("this checkpoint of metering cannot be read: {why}");
    StoreError::damaged(&checkpoint::path(generation), 0, None, detail)
}

/// Folds the log of a generation into the books, and opens it.
fn replay(path: &Path, segment_bytes: u64, books: &mut Books) -> Result<(Journal, u64), StoreError> {
    if !holds_log(path).map_err(|source| StoreError::io(path, source))? {
        let detail = "this generation of metering has no log".to_owned();
        return Err(StoreError::Incomplete { dir: path.to_owned(), detail });
    }
    let (mut length, mut unfolded) = (0_u64, Unfolded::default());
    let (mut journal, cut) = Journal::open(path, segment_bytes, &mut |stored: Stored<'_>| {
        length = length.saturating_add(stored.payload.len() as u64);
        unfolded.fold(path, &stored, books)
    })?;
    if let Some(cut) = cut {
        tracing::warn!(file = %cut.file.display(), offset = cut.offset, bytes = cut.bytes, "an unfinished round at the end of metering's log was cut; nothing of it was answered");
    }
    if unfolded.is_amid() {
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

#[cfg(test)]
mod tests;
