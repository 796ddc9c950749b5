//! Which segments there are and which one is written: made ahead, followed by the next, closed, deleted at the bound.
//!
//! Each thread has a shard, and each shard a segment of its own, so that requests wait for no lock and share no file. The
//! keeper, a thread of its own, makes the next segments ahead of time, closes the full ones and syncs.

use std::cell::Cell;
use std::collections::BTreeMap;
use std::fs::{self, File};
use std::io;
use std::os::unix::fs::{DirBuilderExt as _, OpenOptionsExt as _};
use std::path::Path;
use std::sync::atomic::{AtomicBool, AtomicU64, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant, SystemTime};

use arc_swap::ArcSwapOption;
use rustix::fs::FlockOperation;

use super::frame::PLACE;
use super::keeper;
use super::segment::{HEADER, Segment, SegmentId};
use super::spool::{SpoolConfig, SpoolError, SpoolFull, SpoolStats};

/// How long a failure to make a segment stands before a request tries again.
const RETRY_AFTER: Duration = Duration::from_millis(100);
/// The smallest segment.
const MIN_SEGMENT: u64 = 64 * 1024;
/// The most shards.
const MAX_SHARDS: usize = 8;

#[derive(Debug)]
pub(super) struct Files {
    dir: Arc<Path>,
    config: SpoolConfig,
    segment_bytes: u64,
    shards: Box<[Shard]>,
    places: AtomicUsize,
    next_number: AtomicU64,
    /// Every file of the directory and what it takes; the closed ones may be deleted.
    files: Mutex<BTreeMap<SegmentId, FileFacts>>,
    failure: Mutex<Option<(Instant, SpoolFull)>>,
    counts: Counts,
    pub(super) wake: keeper::Wake,
    _lock: File,
}

#[derive(Debug, Clone, Copy)]
struct FileFacts {
    bytes: u64,
    closed: bool,
}

#[derive(Debug, Default)]
struct Counts {
    written: AtomicU64,
    failed: AtomicU64,
    refused: AtomicU64,
    deleted: AtomicU64,
    failing: AtomicBool,
}

#[derive(Debug, Default)]
struct Shard {
    current: ArcSwapOption<Segment>,
    turn: Mutex<Turn>,
}

/// What is touched only when a segment is full.
#[derive(Debug, Default)]
struct Turn {
    next: Option<Arc<Segment>>,
    full: Vec<Arc<Segment>>,
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

impl Files {
    pub(super) fn open(dir: &Path, config: SpoolConfig) -> Result<Self, SpoolError> {
        let failed = |source| SpoolError::Io { path: dir.to_owned(), source };
        // Records tell who called what: for their owner alone, whatever the umask says.
        fs::DirBuilder::new().recursive(true).mode(0o700).create(dir).map_err(failed)?;
        let lock = File::options()
            .create(true)
            .truncate(false)
            .write(true)
            .mode(0o600)
            .open(dir.join("lock"))
            .map_err(failed)?;
        match rustix::fs::flock(&lock, FlockOperation::NonBlockingLockExclusive) {
            Ok(()) => {}
            Err(rustix::io::Errno::WOULDBLOCK) => return Err(SpoolError::InUse(dir.to_owned())),
            Err(error) => return Err(failed(error.into())),
        }
        let files = close_old(dir).map_err(failed)?;
        let next_number = files.keys().next_back().map_or(1, |last| last.number + 1);
        let (shards, segment_bytes) = size(&config);
        Ok(Self {
            dir: Arc::from(dir),
            config,
            segment_bytes,
            shards: (0..shards).map(|_| Shard::default()).collect(),
            places: AtomicUsize::new(0),
            next_number: AtomicU64::new(next_number),
            files: Mutex::new(files),
            failure: Mutex::new(None),
            counts: Counts::default(),
            wake: keeper::Wake::default(),
            _lock: lock,
        })
    }

    /// One more place is out, and a segment in which it is promised.
    pub(super) fn reserve(&self) -> Result<Arc<Segment>, SpoolFull> {
        if self.places.fetch_add(1, Ordering::AcqRel) >= self.config.max_places {
            return Err(self.refuse(SpoolFull::TooManyPlaces));
        }
        self.place().map_err(|full| self.refuse(full))
    }

    /// Whether [`Files::reserve`] would find a place now.
    pub(super) fn check(&self) -> Result<(), SpoolFull> {
        if self.places.load(Ordering::Acquire) >= self.config.max_places {
            return Err(SpoolFull::TooManyPlaces);
        }
        self.place()?.give_back();
        Ok(())
    }

    /// A place is no longer out, used or not.
    pub(super) fn place_gone(&self) {
        self.places.fetch_sub(1, Ordering::AcqRel);
    }

    pub(super) fn count(&self, written: bool) {
        let counts = &self.counts;
        if written { &counts.written } else { &counts.failed }.fetch_add(1, Ordering::Relaxed);
    }

    pub(super) fn stats(&self) -> SpoolStats {
        let counts = &self.counts;
        SpoolStats {
            written: counts.written.load(Ordering::Relaxed),
            failed: counts.failed.load(Ordering::Relaxed),
            refused: counts.refused.load(Ordering::Relaxed),
            places: self.places.load(Ordering::Relaxed) as u64,
            bytes: lock(&self.files).values().map(|file| file.bytes).sum(),
            deleted_segments: counts.deleted.load(Ordering::Relaxed),
        }
    }

    pub(super) fn dir(&self) -> &Path {
        &self.dir
    }

    fn refuse(&self, full: SpoolFull) -> SpoolFull {
        self.place_gone();
        self.counts.refused.fetch_add(1, Ordering::Relaxed);
        full
    }

    /// A segment in which one place is promised.
    fn place(&self) -> Result<Arc<Segment>, SpoolFull> {
        let own = thread_number() % self.shards.len().max(1);
        let ordered = self.shards.iter().cycle().skip(own).take(self.shards.len());
        let mut refusal = None;
        for (turn, shard) in ordered.enumerate() {
            if let Some(segment) = shard.promised() {
                return Ok(segment);
            }
            // Only the own shard is turned by a request; of the others what is left is taken.
            if turn == 0 {
                match self.turn(own, shard) {
                    Ok(segment) => return Ok(segment),
                    Err(full) => refusal = Some(full),
                }
            }
        }
        Err(refusal.unwrap_or_else(|| self.no_room()))
    }

    /// Puts the next segment of a shard in use.
    fn turn(&self, number: usize, shard: &Shard) -> Result<Arc<Segment>, SpoolFull> {
        let mut turn = lock(&shard.turn);
        // Somebody else may have done it while we waited.
        if let Some(segment) = shard.promised() {
            return Ok(segment);
        }
        let next = match turn.next.take() {
            Some(next) => next,
            None => self.make(number, &mut turn.full)?,
        };
        // Promised before others can see it: this place is ours.
        if !next.try_reserve() {
            return Err(self.no_room());
        }
        turn.full.extend(shard.current.swap(Some(Arc::clone(&next))));
        drop(turn);
        self.wake.wake();
        Ok(next)
    }

    /// Makes a segment, deleting the oldest where the bound asks for it. After a failure, others are refused for a moment
    /// without trying.
    fn make(&self, shard: usize, full_ones: &mut Vec<Arc<Segment>>) -> Result<Arc<Segment>, SpoolFull> {
        let mut failure = lock(&self.failure);
        if let Some((when, full)) = &*failure
            && when.elapsed() < RETRY_AFTER
        {
            return Err(full.clone());
        }
        let mut made = self.make_now(shard);
        if made.as_ref().is_err_and(|full| *full == SpoolFull::Retention) && !full_ones.is_empty() {
            // So fast that the keeper has closed nothing yet: what is full is closed here, so that it may go.
            full_ones.retain(|segment| !self.close(segment));
            made = self.make_now(shard);
        }
        *failure = made.as_ref().err().map(|full| (Instant::now(), full.clone()));
        self.counts.failing.store(made.is_err(), Ordering::Release);
        made
    }

    fn make_now(&self, shard: usize) -> Result<Arc<Segment>, SpoolFull> {
        let mut files = lock(&self.files);
        self.make_room(&mut files)?;
        let id = SegmentId {
            number: self.next_number.fetch_add(1, Ordering::AcqRel),
            shard: u32::try_from(shard).unwrap_or(u32::MAX),
        };
        match Segment::create(&self.dir, id, self.segment_bytes, unix_ms()) {
            Ok(segment) => {
                files.insert(id, FileFacts { bytes: segment.size(), closed: false });
                Ok(Arc::new(segment))
            }
            Err(error) => {
                if !self.counts.failing.load(Ordering::Acquire) {
                    tracing::error!(%error, dir = %self.dir.display(), "no room for audit records");
                }
                Err(self.no_room())
            }
        }
    }

    fn no_room(&self) -> SpoolFull {
        SpoolFull::Disk { dir: Arc::clone(&self.dir), bytes: self.segment_bytes }
    }

    fn make_room(&self, files: &mut BTreeMap<SegmentId, FileFacts>) -> Result<(), SpoolFull> {
        let mut total: u64 = files.values().map(|file| file.bytes).sum();
        while total.saturating_add(self.segment_bytes) > self.config.max_total_bytes {
            let oldest = files.iter().find(|(_, file)| file.closed).map(|(id, file)| (*id, file.bytes));
            let Some((id, bytes)) = oldest.filter(|_| !self.config.keep_oldest) else {
                return Err(SpoolFull::Retention);
            };
            match fs::remove_file(self.dir.join(id.file_name())) {
                Ok(()) => {}
                Err(error) if error.kind() == io::ErrorKind::NotFound => {}
                Err(error) => {
                    tracing::error!(%error, segment = id.file_name(), "an old audit segment cannot be deleted");
                    return Err(SpoolFull::Retention);
                }
            }
            tracing::info!(
                segment = id.file_name(),
                "oldest audit segment deleted: the spool has its full size"
            );
            self.counts.deleted.fetch_add(1, Ordering::Relaxed);
            files.remove(&id);
            total = total.saturating_sub(bytes);
        }
        Ok(())
    }

    /// What the keeper does on each round: next segments made, full ones closed, the rest synced.
    pub(super) fn tend(&self) {
        for (number, shard) in self.shards.iter().enumerate() {
            let mut turn = lock(&shard.turn);
            if shard.current.load().is_some() && turn.next.is_none() {
                // Under the lock: segments come into use in the order of their numbers.
                let Turn { next, full } = &mut *turn;
                *next = self.make(number, full).ok();
            }
            let full = std::mem::take(&mut turn.full);
            drop(turn);
            let open: Vec<_> = full.into_iter().filter(|segment| !self.close(segment)).collect();
            for segment in open.iter().chain(shard.current.load_full().iter()) {
                if let Err(error) = segment.sync() {
                    tracing::error!(%error, segment = %segment.path.display(), "audit records are not synced");
                }
            }
            lock(&shard.turn).full.extend(open);
        }
    }

    /// Closes a segment that takes no more places. False while one of its places is out.
    fn close(&self, segment: &Segment) -> bool {
        match segment.seal() {
            Ok(false) => return false,
            Ok(true) => {}
            Err(error) => {
                tracing::error!(%error, segment = %segment.path.display(), "audit segment not closed")
            }
        }
        let mut files = lock(&self.files);
        if segment.is_empty() && fs::remove_file(&segment.path).is_ok() {
            files.remove(&segment.id);
        } else if let Some(file) = files.get_mut(&segment.id) {
            *file = FileFacts { bytes: segment.len(), closed: true };
        }
        true
    }
}

impl Shard {
    fn promised(&self) -> Option<Arc<Segment>> {
        let current = self.current.load();
        current.as_ref().filter(|segment| segment.try_reserve()).map(Arc::clone)
    }
}

/// No clone and no place is left: everything is closed, and nothing reserved stays behind.
impl Drop for Files {
    fn drop(&mut self) {
        for shard in &self.shards {
            let mut turn = lock(&shard.turn);
            let mut left = std::mem::take(&mut turn.full);
            left.extend(turn.next.take());
            drop(turn);
            left.extend(shard.current.swap(None));
            for segment in left {
                self.close(&segment);
            }
        }
    }
}

/// How many shards, and how large their segments: three segments of each shard fit the bound.
fn size(config: &SpoolConfig) -> (usize, u64) {
    let processors = || std::thread::available_parallelism().map_or(1, usize::from);
    let wanted = if config.shards == 0 { processors() } else { config.shards };
    let mut shards = wanted.clamp(1, MAX_SHARDS);
    let segment = config.segment_bytes.max(MIN_SEGMENT);
    while shards > 1 && segment.saturating_mul(3 * shards as u64) > config.max_total_bytes {
        shards -= 1;
    }
    let fits = (config.max_total_bytes / (3 * shards as u64)).max(MIN_SEGMENT);
    (shards, segment.min(fits).max(HEADER + PLACE))
}

/// The files that are there, those of a process that was killed cut to what was written.
fn close_old(dir: &Path) -> io::Result<BTreeMap<SegmentId, FileFacts>> {
    let mut files = BTreeMap::new();
    for entry in fs::read_dir(dir)? {
        let entry = entry?;
        let Some(id) = entry.file_name().to_str().and_then(SegmentId::parse) else { continue };
        let file = File::options().read(true).write(true).open(entry.path())?;
        let written = super::read::written_length(&file)?;
        if written <= HEADER {
            fs::remove_file(entry.path())?;
            continue;
        }
        if file.metadata()?.len() != written {
            file.set_len(written)?;
            file.sync_data()?;
        }
        files.insert(id, FileFacts { bytes: written, closed: true });
    }
    Ok(files)
}

fn unix_ms() -> u64 {
    let since = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH).unwrap_or_default();
    u64::try_from(since.as_millis()).unwrap_or(u64::MAX)
}

/// Spreads threads over shards.
fn thread_number() -> usize {
    static NEXT: AtomicUsize = AtomicUsize::new(0);
    thread_local! {
        static OWN: Cell<Option<usize>> = const { Cell::new(None) };
    }
    OWN.get().unwrap_or_else(|| {
        let own = NEXT.fetch_add(1, Ordering::Relaxed);
        OWN.set(Some(own));
        own
    })
}
