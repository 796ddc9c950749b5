//! Opening sled where a kill, a full disk or a bad sector may have left anything.
//!
//! Directories are `index-1`, `index-2`, …: the highest is the index, a rebuild goes to the next, older ones are removed. A
//! file `index-N.opening` stands beside one from before sled touches it until it is open: where it is found at a start,
//! sled did not survive the last one, and is not asked again.

use std::fs;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use super::super::disk;
use super::{Index, IndexError, guarded};

/// sled's default is a gigabyte; the state is in memory anyway.
const CACHE_BYTES: u64 = 8 << 20;
/// How long threads of an index that was closed in this process may take to let go of it, and how often it is tried.
const UNLOCK: Duration = Duration::from_secs(5);
const RETRY: Duration = Duration::from_millis(20);
const PREFIX: &str = "index-";
const MARK: &str = ".opening";

/// Opens the index that stands in this directory. `Ok(None)` when there is none, `Err` when it cannot be believed.
pub(in super::super) fn open(dir: &Path) -> Result<Option<Index>, IndexError> {
    let io = |error: std::io::Error| IndexError::new(error.to_string());
    let Some(number) = numbers(dir).map_err(io)?.last().copied() else { return Ok(None) };
    if mark(dir, number).exists() {
        return Err(IndexError::new("the last attempt to open it did not come back"));
    }
    open_numbered(dir, number).map(Some)
}

/// Makes an empty index and removes every other.
pub(in super::super) fn open_fresh(dir: &Path) -> Result<Index, IndexError> {
    let io = |error: std::io::Error| IndexError::new(error.to_string());
    let old = numbers(dir).map_err(io)?;
    let number = old.last().map_or(1, |last| last.saturating_add(1));
    let index = open_numbered(dir, number)?;
    for number in old {
        // A leftover is in nobody's way; it is tried again at the next rebuild.
        let _ = fs::remove_dir_all(path(dir, number));
        let _ = fs::remove_file(mark(dir, number));
    }
    Ok(index)
}

fn open_numbered(dir: &Path, number: u64) -> Result<Index, IndexError> {
    let io = |error: std::io::Error| IndexError::new(error.to_string());
    let path = path(dir, number);
    disk::create_private_dir(&path).map_err(io)?;
    remove_unfinished_snapshots(&path).map_err(io)?;
    let mark = mark(dir, number);
    fs::write(&mark, b"").map_err(io)?;
    let config = sled::Config::new()
        .path(&path)
        .cache_capacity(CACHE_BYTES)
        .mode(sled::Mode::LowSpace)
        .flush_every_ms(Some(1000));
    let mut opened = guarded(|| Ok(config.open()?));
    // The store's own lock is ours, so sled's is held by nobody but threads of sled that end after what they served has.
    let since = Instant::now();
    while opened.as_ref().is_err_and(IndexError::is_locked) && since.elapsed() < UNLOCK {
        std::thread::sleep(RETRY);
        opened = guarded(|| Ok(config.open()?));
    }
    // It came back, with whatever answer.
    fs::remove_file(&mark).map_err(io)?;
    Ok(Index { dir: path, db: Some(opened?) })
}

/// sled fails on a snapshot whose writing was cut short.
fn remove_unfinished_snapshots(path: &Path) -> std::io::Result<()> {
    for entry in fs::read_dir(path)? {
        let entry = entry?;
        let name = entry.file_name();
        let name = name.to_string_lossy();
        if name.starts_with("snap.") && name.ends_with(".generating") {
            fs::remove_file(entry.path())?;
        }
    }
    Ok(())
}

fn path(dir: &Path, number: u64) -> PathBuf {
    dir.join(format!("{PREFIX}{number}"))
}

fn mark(dir: &Path, number: u64) -> PathBuf {
    dir.join(format!("{PREFIX}{number}{MARK}"))
}

/// The numbers of all indexes, in order.
fn numbers(dir: &Path) -> std::io::Result<Vec<u64>> {
    let mut numbers = Vec::new();
    for entry in fs::read_dir(dir)? {
        let name = entry?.file_name();
        let number: Option<u64> =
            name.to_str().and_then(|name| name.strip_prefix(PREFIX)).and_then(|digits| digits.parse().ok());
        numbers.extend(number);
    }
    numbers.sort_unstable();
    Ok(numbers)
}
