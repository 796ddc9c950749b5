//! Places and where they lead.

use std::io;
use std::path::{Path, PathBuf};

use super::record::AuditRecord;

/// Bounds of a spool.
#[derive(Debug, Clone)]
pub struct SpoolConfig {
    /// Bytes of one segment.
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
            segment_bytes: 16 * 1024 * 1024,
            max_total_bytes: 1024 * 1024 * 1024,
            keep_oldest: false,
            max_places: 20_000,
            shards: 0,
        }
    }
}

/// There is no place for a record now.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum SpoolFull {
    /// As many places are reserved as may be.
    #[error("too many records are outstanding")]
    TooManyPlaces,
    /// The disk has no room, or fails.
    #[error("the disk has no room for another segment")]
    Disk,
    /// All segments together have their full size, and the oldest are kept.
    #[error("the spool has reached its full size")]
    Retention,
}

/// The spool failed.
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
    #[error("audit spool {0} is in use by another process")]
    InUse(PathBuf),
    /// The record does not serialise.
    #[error("the record does not serialise: {0}")]
    Encode(#[from] serde_json::Error),
}

/// The spool of one data plane. Clones share it.
#[derive(Debug, Clone)]
pub struct Spool {}

/// A reserved place for one record. Dropped unwritten, it is given back.
#[derive(Debug)]
pub struct Place {}

impl Spool {
    /// Opens the directory, makes it when it is missing, and locks it.
    ///
    /// # Errors
    /// When the directory cannot be used, or another process uses it. A full disk is no error here: places are then refused.
    pub fn open(_dir: &Path, _config: SpoolConfig) -> Result<Self, SpoolError> {
        Ok(Self {})
    }

    /// Reserves a place; cheap, takes no lock that other requests hold.
    ///
    /// # Errors
    /// When there is none.
    pub fn reserve(&self) -> Result<Place, SpoolFull> {
        Ok(Place {})
    }
}

impl Place {
    /// Writes the record into its place.
    ///
    /// # Errors
    /// When the disk fails.
    pub fn write(self, _record: &AuditRecord) -> Result<(), SpoolError> {
        Ok(())
    }
}
