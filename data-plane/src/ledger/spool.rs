//! Places for records: reserved before a call goes out, turned into the record when it ends.

use std::cell::RefCell;
use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use super::files::Files;
use super::fit::{self, TooLong};
use super::keeper::Keeper;
use super::record::AuditRecord;
use super::segment::Segment;

/// Bounds of a spool.
#[derive(Debug, Clone)]
pub struct SpoolConfig {
    /// Bytes of one segment, at least 64 KiB. Made smaller when three segments of each shard would pass `max_total_bytes`.
    pub segment_bytes: u64,
    /// Bytes of all segments together.
    pub max_total_bytes: u64,
    /// Whether the oldest segments are kept at that bound (then no more records are taken) rather than deleted.
    pub keep_oldest: bool,
    /// Places that may be reserved at once.
    pub max_places: usize,
    /// Files that are written side by side; 0 for one for each processor, at most 8.
    pub shards: usize,
}

impl Default for SpoolConfig {
    fn default() -> Self {
        Self {
            segment_bytes: 8 * 1024 * 1024,
            max_total_bytes: 4 * 1024 * 1024 * 1024,
            keep_oldest: false,
            max_places: 20_000,
            shards: 0,
        }
    }
}

/// There is no place for a record now. The call may be tried again.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum SpoolFull {
    /// As many places are reserved as may be.
    #[error("too many records are outstanding")]
    TooManyPlaces,
    /// The disk has no room, or fails.
    #[error("the disk has no room for another segment of the audit spool: {bytes} bytes in {}", dir.display())]
    Disk {
        /// The directory.
        dir: Arc<Path>,
        /// What a segment takes.
        bytes: u64,
    },
    /// All segments together have their full size, and none may be deleted.
    #[error("the audit spool has reached its full size")]
    Retention,
}

/// The spool failed: a fault of the machine.
#[derive(Debug, thiserror::Error)]
pub enum SpoolError {
    /// A file operation failed.
    #[error("audit spool {path}: {source}")]
    Io {
        /// The file or directory.
        path: PathBuf,
        /// Why.
        source: io::Error,
    },
    /// Another process writes there.
    #[error("the audit spool {0} is in use by another process")]
    InUse(PathBuf),
    /// The record is longer than a place.
    #[error(transparent)]
    TooLong(#[from] TooLong),
}

/// Figures of a spool since it was opened.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct SpoolStats {
    /// Records written.
    pub written: u64,
    /// Records whose writing failed.
    pub failed: u64,
    /// Places refused.
    pub refused: u64,
    /// Places out now.
    pub places: u64,
    /// Bytes of all segments, with the space reserved for what is to come.
    pub bytes: u64,
    /// Segments deleted to stay within the bound.
    pub deleted_segments: u64,
}

/// The spool of one data plane. Clones share it; when the last clone and the last place are gone, its files are closed.
#[derive(Debug, Clone)]
pub struct Spool {
    files: Arc<Files>,
    _keeper: Arc<Keeper>,
}

/// A reserved place for one record. Dropped unwritten, it is given back.
#[derive(Debug)]
#[must_use = "a place that is dropped is given back without a record"]
pub struct Place {
    files: Arc<Files>,
    segment: Arc<Segment>,
    used: bool,
}

impl Spool {
    /// Opens the directory, makes it when it is missing, and locks it.
    ///
    /// # Errors
    /// When the directory cannot be used, or another process uses it. A full disk is no error here: places are then refused.
    pub fn open(dir: &Path, config: SpoolConfig) -> Result<Self, SpoolError> {
        let files = Arc::new(Files::open(dir, config)?);
        let keeper =
            Keeper::start(&files).map_err(|source| SpoolError::Io { path: dir.to_owned(), source })?;
        Ok(Self { files, _keeper: Arc::new(keeper) })
    }

    /// Reserves a place: a few hundred nanoseconds, no lock that other requests hold, except when a segment is full.
    ///
    /// # Errors
    /// When there is none.
    pub fn reserve(&self) -> Result<Place, SpoolFull> {
        let segment = self.files.reserve()?;
        Ok(Place { files: Arc::clone(&self.files), segment, used: false })
    }

    /// Whether a place could be reserved now.
    ///
    /// # Errors
    /// Why not.
    pub fn check(&self) -> Result<(), SpoolFull> {
        self.files.check()
    }

    /// Figures since it was opened.
    #[must_use]
    pub fn stats(&self) -> SpoolStats {
        self.files.stats()
    }

    /// The directory.
    #[must_use]
    pub fn dir(&self) -> &Path {
        self.files.dir()
    }
}

impl Place {
    /// Writes the record into its place, with one write. It is then with the operating system: it survives the end of this
    /// process at once, and a loss of power from the next sync on, at most a second later.
    ///
    /// # Errors
    /// When the disk fails.
    pub fn write(mut self, record: &AuditRecord) -> Result<(), SpoolError> {
        thread_local! {
            static BUFFER: RefCell<Vec<u8>> = RefCell::new(Vec::with_capacity(2048));
        }
        let written = BUFFER.with_borrow_mut(|buffer| -> Result<(), SpoolError> {
            fit::encode(record, buffer)?;
            self.used = true;
            self.segment
                .write(buffer)
                .map_err(|source| SpoolError::Io { path: self.segment.path.clone(), source })
        });
        self.files.count(written.is_ok());
        written
    }
}

impl Drop for Place {
    fn drop(&mut self) {
        if !self.used {
            self.segment.give_back();
        }
        self.files.place_gone();
    }
}
