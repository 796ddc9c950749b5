//! One file of the spool: its disk space reserved when it is made, filled without a lock.
//!
//! Two counters hold it together. `promised` is what is written plus a whole place for each place that is out; it never
//! passes the size. `tail` is where the next frame goes. A place turns into a frame by taking its length from `tail` and
//! giving the rest of the place back, so whoever holds a place finds room, whatever the others do.

use std::fs::{File, OpenOptions};
use std::io;
use std::os::unix::fs::{FileExt as _, OpenOptionsExt as _};
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU64, Ordering};

use rustix::fs::FallocateFlags;

use super::frame::PLACE;

/// Bytes before the first frame.
pub(super) const HEADER: u64 = 64;
/// The end of a segment's file name.
pub(super) const SUFFIX: &str = ".audit";
const MAGIC: &[u8; 8] = b"PCSPOOL1";
/// `promised` of a segment that takes no more places: so far from 0 and from the end that nothing reaches either.
const SEALED: u64 = u64::MAX / 2;

/// Which segment: the number grows over the whole directory, the shard is the writer's.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct SegmentId {
    pub(super) number: u64,
    pub(super) shard: u32,
}

impl SegmentId {
    pub(super) fn file_name(self) -> String {
        format!("{:016}-{:02}{SUFFIX}", self.number, self.shard)
    }

    pub(super) fn parse(file_name: &str) -> Option<Self> {
        let (number, shard) = file_name.strip_suffix(SUFFIX)?.split_once('-')?;
        Some(Self { number: number.parse().ok()?, shard: shard.parse().ok()? })
    }
}

#[derive(Debug)]
pub(super) struct Segment {
    pub(super) id: SegmentId,
    pub(super) path: PathBuf,
    file: File,
    size: u64,
    promised: AtomicU64,
    tail: AtomicU64,
    synced: AtomicU64,
}

impl Segment {
    /// Makes the file with all its disk space. What was begun is removed when that fails.
    pub(super) fn create(dir: &Path, id: SegmentId, size: u64, unix_ms: u64) -> io::Result<Self> {
        let path = dir.join(id.file_name());
        let file = OpenOptions::new().read(true).write(true).create_new(true).mode(0o600).open(&path)?;
        let prepare = || {
            allocate(&file, size)?;
            let mut header = [0; HEADER as usize];
            let fields = MAGIC.iter().copied().chain(unix_ms.to_le_bytes());
            for (to, from) in header.iter_mut().zip(fields) {
                *to = from;
            }
            file.write_all_at(&header, 0)
        };
        if let Err(error) = prepare() {
            // Nothing but the error is worth telling; a file that stays is empty and harmless.
            let _ = std::fs::remove_file(&path);
            return Err(error);
        }
        let at = |value| AtomicU64::new(value);
        Ok(Self { id, path, file, size, promised: at(HEADER), tail: at(HEADER), synced: at(0) })
    }

    /// Promises one place, if there is room for it.
    pub(super) fn try_reserve(&self) -> bool {
        let promise = |promised: u64| promised.checked_add(PLACE).filter(|promised| *promised <= self.size);
        self.promised.fetch_update(Ordering::AcqRel, Ordering::Acquire, promise).is_ok()
    }

    /// Gives a place back.
    pub(super) fn give_back(&self) {
        self.promised.fetch_sub(PLACE, Ordering::AcqRel);
    }

    /// Turns a place into a frame. To be called once for a promised place, with a frame no longer than one.
    pub(super) fn write(&self, frame: &[u8]) -> io::Result<()> {
        let length = (frame.len() as u64).min(PLACE);
        let at = self.tail.fetch_add(length, Ordering::AcqRel);
        let written = self.file.write_all_at(frame, at);
        self.promised.fetch_sub(PLACE - length, Ordering::AcqRel);
        written
    }

    /// Closes the segment for good when no place of it is out: cut to its length, on disk. False when one still is.
    pub(super) fn seal(&self) -> io::Result<bool> {
        let tail = self.tail.load(Ordering::Acquire);
        if self.promised.compare_exchange(tail, SEALED, Ordering::AcqRel, Ordering::Acquire).is_err() {
            return Ok(false);
        }
        self.file.set_len(tail)?;
        self.sync()?;
        Ok(true)
    }

    /// Brings what was written to the disk; the first time also the file's name.
    pub(super) fn sync(&self) -> io::Result<()> {
        let tail = self.tail.load(Ordering::Acquire);
        let synced = self.synced.load(Ordering::Acquire);
        if synced == tail {
            return Ok(());
        }
        self.file.sync_data()?;
        if synced == 0
            && let Some(dir) = self.path.parent()
        {
            File::open(dir)?.sync_all()?;
        }
        self.synced.store(tail, Ordering::Release);
        Ok(())
    }

    /// Whether no frame was ever written to it.
    pub(super) fn is_empty(&self) -> bool {
        self.tail.load(Ordering::Acquire) == HEADER
    }

    pub(super) const fn size(&self) -> u64 {
        self.size
    }

    pub(super) fn len(&self) -> u64 {
        self.tail.load(Ordering::Acquire)
    }
}

/// Reserves disk space. Where the file system knows no such call, zeros are written: the same promise, for more time.
fn allocate(file: &File, size: u64) -> io::Result<()> {
    match rustix::fs::fallocate(file, FallocateFlags::empty(), 0, size) {
        Ok(()) => Ok(()),
        Err(rustix::io::Errno::OPNOTSUPP | rustix::io::Errno::NOSYS) => {
            let zeros = vec![0; 1024 * 1024];
            let mut at = 0;
            while at < size {
                let step = (size - at).min(zeros.len() as u64);
                let piece = usize::try_from(step).ok().and_then(|step| zeros.get(..step)).unwrap_or(&zeros);
                file.write_all_at(piece, at)?;
                at += step;
            }
            Ok(())
        }
        Err(error) => Err(error.into()),
    }
}
