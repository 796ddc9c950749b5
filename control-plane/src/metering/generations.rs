//! The generations of the bank's disk, as directories: their names, how one begins, and what each says of where the one before ended.

use std::collections::BTreeMap;
use std::fs::{self, OpenOptions};
use std::io::{self, Write as _};
use std::os::unix::fs::OpenOptionsExt as _;
use std::path::{Path, PathBuf};

use serde::{Deserialize, Serialize};

use super::books::{Books, Fact};
use super::log::{Frame, Unfolded};
use crate::store::StoreError;
use crate::store::disk::{create_private_dir, sync_dir};
use crate::store::journal::{Journal, SEGMENT_BYTES, Stored, read_all, segment_path};

/// Where a log ended when the next generation began: all of it was on the disk then, so that anything else is damage.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct End {
    /// The number of its last frame.
    pub(super) version: u64,
    /// What the frame after it would have been chained to.
    pub(super) link: u32,
}

pub(super) fn dir_of(dir: &Path, generation: u64) -> PathBuf {
    dir.join(format!("{generation:020}"))
}

fn follows(generation: &Path) -> PathBuf {
    generation.join("follows")
}

/// The generations in a directory. Other names are none of ours.
pub(super) fn list(dir: &Path) -> Result<BTreeMap<u64, PathBuf>, StoreError> {
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

/// Makes a generation under another name, and gives it its own when all of it is on the disk. Tells what filling it told.
pub(super) fn begin<T>(
    dir: &Path,
    generation: u64,
    fill: impl FnOnce(&Path) -> io::Result<T>,
) -> io::Result<T> {
    let (new, own) = (dir.join("new"), dir_of(dir, generation));
    // One of this name is what an attempt left that failed at its end: nothing was ever written into it.
    for left in [&new, &own] {
        match fs::remove_dir_all(left) {
            Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(error),
            _ => {}
        }
    }
    create_private_dir(&new)?;
    let told = fill(&new)?;
    drop(Journal::open(&new, SEGMENT_BYTES, &mut |_| Ok(())).map_err(io::Error::other)?);
    sync_dir(&new)?;
    fs::rename(&new, own)?;
    sync_dir(dir)?;
    Ok(told)
}

/// Notes in a new generation where the log of the one before ended.
pub(super) fn note_end(generation: &Path, end: End) -> io::Result<()> {
    let mut file = OpenOptions::new().write(true).create_new(true).mode(0o600).open(follows(generation))?;
    file.write_all(&serde_json::to_vec(&end)?)?;
    file.sync_all()
}

/// Whether the log of a generation has no frame yet.
pub(super) fn is_empty(generation: &Path) -> Result<bool, StoreError> {
    let mut empty = true;
    read_all(generation, &mut |_| {
        empty = false;
        Ok(())
    })?;
    Ok(empty)
}

/// Folds the log of a generation that is over into the books. It has to be whole: what it lost was answered.
pub(super) fn fold_ended(generation: &Path, next: &Path, books: &mut Books) -> Result<(), StoreError> {
    let path = follows(next);
    let noted: End = fs::read(&path)
        .and_then(|bytes| serde_json::from_slice(&bytes).map_err(io::Error::from))
        .map_err(|source| StoreError::io(&path, source))?;
    let (mut unfolded, mut end) = (Unfolded::default(), End { version: 0, link: 0 });
    let mut whole = true;
    read_all(generation, &mut |stored: Stored<'_>| {
        // The first follows whatever the log began with.
        whole &= stored.tip.version == end.version + 1;
        end = End { version: stored.tip.version, link: stored.tip.link };
        unfolded.fold(generation, &stored, books)
    })?;
    let same = end == noted || (end.version, noted.version) == (0, 0);
    if !whole || !same || unfolded.is_amid() {
        let detail = format!(
            "this log of metering ended with frame {} when the next one began, and what is there ends with frame {}",
            noted.version, end.version
        );
        return Err(StoreError::Incomplete { dir: generation.to_owned(), detail });
    }
    Ok(())
}

impl Unfolded {
    /// Takes in one frame. A round that goes over several counts with its last.
    pub(super) fn fold(
        &mut self,
        generation: &Path,
        stored: &Stored<'_>,
        books: &mut Books,
    ) -> Result<(), StoreError> {
        let damaged = |detail: String| {
            let file = segment_path(generation, stored.position.segment);
            StoreError::damaged(&file, stored.position.offset, Some(stored.tip.version), detail)
        };
        let frame: Frame<Vec<Fact>> =
            serde_json::from_slice(stored.payload).map_err(|error| damaged(error.to_string()))?;
        for fact in self.rounds(frame) {
            books.apply(&fact).map_err(|corrupt| damaged(corrupt.to_string()))?;
        }
        Ok(())
    }
}
