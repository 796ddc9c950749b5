//! Reads a spool, also one that is being written or was torn: every record that is whole, and every damage by its place.

use std::cmp::Ordering;
use std::collections::BTreeMap;
use std::fs::{self, File};
use std::io;
use std::os::unix::fs::FileExt as _;
use std::path::{Path, PathBuf};

use super::filter::Filter;
use super::frame::{self, ALIGN, PLACE};
use super::record::AuditRecord;
use super::segment::{HEADER, SegmentId};

/// Bytes read at a time.
const WINDOW: usize = 256 * 1024;

/// Bytes of a segment that are no whole record. Reading goes on behind them.
#[derive(Debug, thiserror::Error)]
pub enum ReadError {
    /// Bytes that are no frame, or a frame whose checksum does not fit.
    #[error("{path}: {bytes} bytes from offset {offset} are damaged")]
    Damaged {
        /// The segment.
        path: PathBuf,
        /// Where the damage begins.
        offset: u64,
        /// How far it goes.
        bytes: u64,
    },
    /// A place in the middle that was taken and never written: the process ended between both, or a loss of power took it.
    #[error("{path}: {bytes} bytes from offset {offset} were never written")]
    Unwritten {
        /// The segment.
        path: PathBuf,
        /// Where the hole begins.
        offset: u64,
        /// How far it goes.
        bytes: u64,
    },
    /// A whole frame that holds no record of a kind that this version knows.
    #[error("{path}: the frame at offset {offset} holds no audit record: {reason}")]
    NoRecord {
        /// The segment.
        path: PathBuf,
        /// Where the frame begins.
        offset: u64,
        /// What is wrong with it.
        reason: serde_json::Error,
    },
    /// The file cannot be read; the rest of it is left out.
    #[error("{path}: {source}")]
    Io {
        /// The segment.
        path: PathBuf,
        /// Why.
        source: io::Error,
    },
}

/// The records of a spool that the filter lets through, by time as far as the order of files allows, with the damage found
/// between them. The spool may be in use.
///
/// # Errors
/// When the directory cannot be read.
pub fn read(dir: &Path, filter: Filter) -> io::Result<Records> {
    let mut shards: BTreeMap<u32, Vec<SegmentId>> = BTreeMap::new();
    for entry in fs::read_dir(dir)? {
        if let Some(id) = entry?.file_name().to_str().and_then(SegmentId::parse) {
            shards.entry(id.shard).or_default().push(id);
        }
    }
    let shards = shards
        .into_values()
        .map(|mut ids| {
            // The last is read first.
            ids.sort_unstable_by(|a, b| b.cmp(a));
            ShardReader { dir: dir.to_owned(), left: ids, open: None, peeked: None }
        })
        .collect();
    Ok(Records { shards, filter })
}

/// The records at the end of a spool: of its newest segments, so many that they have at least this many bytes, if there are.
///
/// # Errors
/// When the directory cannot be read.
pub fn read_tail(dir: &Path, bytes: u64) -> io::Result<Records> {
    let mut segments = Vec::new();
    for entry in fs::read_dir(dir)? {
        let entry = entry?;
        if let Some(id) = entry.file_name().to_str().and_then(SegmentId::parse) {
            segments.push((id, entry.metadata()?.len()));
        }
    }
    segments.sort_unstable_by(|a, b| b.cmp(a));
    let mut taken = 0;
    let newest = segments.into_iter().take_while(|(_, length)| {
        let more = taken < bytes;
        taken = u64::saturating_add(taken, *length);
        more
    });
    let mut shards: BTreeMap<u32, Vec<SegmentId>> = BTreeMap::new();
    newest.for_each(|(id, _)| shards.entry(id.shard).or_default().push(id));
    let shard = |left| ShardReader { dir: dir.to_owned(), left, open: None, peeked: None };
    Ok(Records { shards: shards.into_values().map(shard).collect(), filter: Filter::default() })
}

/// See [`read`].
#[derive(Debug)]
pub struct Records {
    shards: Vec<ShardReader>,
    filter: Filter,
}

impl Iterator for Records {
    type Item = Result<AuditRecord, ReadError>;

    fn next(&mut self) -> Option<Self::Item> {
        for shard in &mut self.shards {
            shard.fill(&self.filter);
        }
        // Damage at once; of the records the earliest.
        let earliest =
            self.shards.iter_mut().filter(|shard| shard.peeked.is_some()).min_by(|a, b| a.order(b))?;
        earliest.peeked.take()
    }
}

#[derive(Debug)]
struct ShardReader {
    dir: PathBuf,
    left: Vec<SegmentId>,
    open: Option<Scanner>,
    peeked: Option<Result<AuditRecord, ReadError>>,
}

impl ShardReader {
    fn order(&self, other: &Self) -> Ordering {
        match (&self.peeked, &other.peeked) {
            (Some(Ok(a)), Some(Ok(b))) => a.time.cmp(&b.time),
            (Some(Err(_)), _) => Ordering::Less,
            _ => Ordering::Greater,
        }
    }

    fn fill(&mut self, filter: &Filter) {
        while self.peeked.is_none() {
            if let Some(scanner) = &mut self.open {
                match scanner.next() {
                    Some(Ok(record)) if !filter.matches(&record) => {}
                    Some(item) => self.peeked = Some(item),
                    None => self.open = None,
                }
                continue;
            }
            let Some(id) = self.left.pop() else { return };
            let path = self.dir.join(id.file_name());
            match File::open(&path) {
                Ok(file) => self.open = Some(Scanner::new(file, path)),
                // Deleted since we looked: the spool is in use and at its bound.
                Err(error) if error.kind() == io::ErrorKind::NotFound => {}
                Err(source) => self.peeked = Some(Err(ReadError::Io { path, source })),
            }
        }
    }
}

/// Goes through one segment.
#[derive(Debug)]
struct Scanner {
    file: File,
    path: PathBuf,
    window: Vec<u8>,
    /// Offset of the window's first byte.
    base: u64,
    /// Offset of the next byte to look at; a multiple of [`ALIGN`].
    at: u64,
    /// The window reaches the end of the file.
    last: bool,
    over: bool,
}

impl Scanner {
    fn new(file: File, path: PathBuf) -> Self {
        Self { file, path, window: Vec::new(), base: HEADER, at: HEADER, last: false, over: false }
    }

    /// The bytes from `at` on: a whole place at least, or all that there are.
    fn rest(&mut self) -> io::Result<&[u8]> {
        let missing = |scanner: &Self| {
            let end = scanner.base + scanner.window.len() as u64;
            !scanner.last && end < scanner.at + PLACE
        };
        if missing(self) {
            let mut window = vec![0; WINDOW];
            let mut filled = 0;
            while let Some(empty) = window.get_mut(filled..).filter(|empty| !empty.is_empty()) {
                match self.file.read_at(empty, self.at + filled as u64) {
                    Ok(0) => break,
                    Ok(read) => filled += read,
                    Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                    Err(error) => return Err(error),
                }
            }
            self.last = filled < WINDOW;
            window.truncate(filled);
            (self.window, self.base) = (window, self.at);
        }
        let from = usize::try_from(self.at - self.base).unwrap_or(usize::MAX);
        Ok(self.window.get(from..).unwrap_or_default())
    }

    /// Goes on behind what is no frame, to the next frame or the end. Gives the offset behind the last byte that is not zero.
    fn skip(&mut self) -> io::Result<u64> {
        let mut behind = self.at;
        loop {
            let at = self.at;
            let rest = self.rest()?;
            if rest.is_empty() || frame::parse(rest).is_some() {
                return Ok(behind);
            }
            // Zeros by the thousand are the space reserved for what is to come.
            let zeros = rest.iter().take_while(|byte| **byte == 0).count();
            let step = if zeros >= ALIGN { zeros - zeros % ALIGN } else { rest.len().min(ALIGN) };
            if zeros < ALIGN
                && let Some(last) = rest.iter().take(ALIGN).rposition(|byte| *byte != 0)
            {
                behind = at + last as u64 + 1;
            }
            self.at += step as u64;
        }
    }

    fn step(&mut self) -> io::Result<Option<Result<AuditRecord, ReadError>>> {
        let offset = self.at;
        let rest = self.rest()?;
        if rest.is_empty() {
            return Ok(None);
        }
        if let Some((payload, length)) = frame::parse(rest) {
            let record = serde_json::from_slice(payload);
            self.at += length as u64;
            return Ok(Some(record.map_err(|reason| ReadError::NoRecord {
                path: self.path.clone(),
                offset,
                reason,
            })));
        }
        let behind = self.skip()?;
        let path = self.path.clone();
        if behind > offset {
            return Ok(Some(Err(ReadError::Damaged { path, offset, bytes: behind - offset })));
        }
        if self.rest()?.is_empty() {
            return Ok(None);
        }
        Ok(Some(Err(ReadError::Unwritten { path, offset, bytes: self.at - offset })))
    }
}

impl Iterator for Scanner {
    type Item = Result<AuditRecord, ReadError>;

    fn next(&mut self) -> Option<Self::Item> {
        if self.over {
            return None;
        }
        match self.step() {
            Ok(item) => {
                self.over = item.is_none();
                item
            }
            Err(source) => {
                self.over = true;
                Some(Err(ReadError::Io { path: self.path.clone(), source }))
            }
        }
    }
}

/// How far a segment was written: up to its last byte that is not zero, and the padding of its frame.
pub(super) fn written_length(file: &File) -> io::Result<u64> {
    let mut end = file.metadata()?.len();
    let mut window = vec![0; WINDOW];
    while end > 0 {
        let start = end.saturating_sub(WINDOW as u64);
        let length = usize::try_from(end - start).unwrap_or(WINDOW).min(WINDOW);
        let Some(piece) = window.get_mut(..length) else { break };
        file.read_exact_at(piece, start)?;
        if let Some(last) = piece.iter().rposition(|byte| *byte != 0) {
            let written = start + last as u64 + 1;
            return Ok(written.next_multiple_of(ALIGN as u64));
        }
        end = start;
    }
    Ok(0)
}
