//! The truth: every change ever made, in files that only grow.
//!
//! A record is acknowledged only when it is on disk (`fdatasync`; the directory too when a file was made). A record that
//! could not be written whole is taken back; when even that fails, the journal takes no more.

use std::collections::BTreeMap;
use std::fs::{self, File, OpenOptions};
use std::io::{self, Write as _};
use std::os::unix::fs::{FileExt as _, OpenOptionsExt as _};
use std::path::{Path, PathBuf};

use portcullis_seal::random;

use super::disk;
use super::error::StoreError;
use super::frame::{self, FrameHeader, HEADER_BYTES, Tip};
use super::segment::{End, Found, JournalId, SEGMENT_HEADER_BYTES, Segment, SegmentHeader};

/// A file is followed by a new one when it is this large.
pub(crate) const SEGMENT_BYTES: u64 = 64 << 20;

/// Where a record stands.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Position {
    /// The version that the segment's first record makes; the segment's name.
    pub(crate) segment: u64,
    /// Where its frame begins in that file, in bytes.
    pub(crate) offset: u64,
}

/// A record on the way through the journal.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Stored<'a> {
    pub(crate) tip: Tip,
    pub(crate) position: Position,
    pub(crate) payload: &'a [u8],
}

/// What is done with each record of a journal.
pub(crate) type Visit<'a> = dyn FnMut(Stored<'_>) -> Result<(), StoreError> + 'a;

/// A tail that a crash left unfinished, and that was cut when the journal was opened. No change in it had been
/// acknowledged.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct CutTail {
    /// The file.
    pub file: PathBuf,
    /// Its length now, in bytes.
    pub offset: u64,
    /// How many bytes went.
    pub bytes: u64,
}

/// What the writer needs of a file; a seam where tests put a disk that fails.
pub(super) trait Medium: Send {
    fn append(&mut self, bytes: &[u8]) -> io::Result<()>;
    fn sync(&mut self) -> io::Result<()>;
    fn truncate(&mut self, bytes: u64) -> io::Result<()>;
}

impl Medium for File {
    fn append(&mut self, bytes: &[u8]) -> io::Result<()> {
        self.write_all(bytes)
    }

    fn sync(&mut self) -> io::Result<()> {
        self.sync_data()
    }

    fn truncate(&mut self, bytes: u64) -> io::Result<()> {
        self.set_len(bytes)?;
        self.sync_data()
    }
}

/// The journal, open for appending.
pub(crate) struct Journal {
    dir: PathBuf,
    id: JournalId,
    tip: Tip,
    segment: u64,
    segment_len: u64,
    segment_limit: u64,
    medium: Box<dyn Medium>,
    /// Why it takes no more.
    closed: Option<String>,
}

impl Journal {
    /// Opens the journal in this directory, reads it from end to end and shows each record; makes one when there is none.
    /// An unfinished tail is cut.
    pub(crate) fn open(
        dir: &Path,
        segment_limit: u64,
        visit: &mut Visit<'_>,
    ) -> Result<(Self, Option<CutTail>), StoreError> {
        disk::create_private_dir(dir).map_err(|source| StoreError::io(dir, source))?;
        let mut cut = None;
        let mut last: Option<(JournalId, u64, End)> = None;
        let mut segments = list(dir)?.into_iter().peekable();
        while let Some((first, path)) = segments.next() {
            let is_last = segments.peek().is_none();
            let Some(mut segment) = Segment::open(&path)? else {
                if !is_last {
                    return Err(StoreError::damaged(&path, 0, Some(first), "the file has no header"));
                }
                let bytes = fs::metadata(&path).map_err(|source| StoreError::io(&path, source))?.len();
                remove(&path)?;
                cut = Some(CutTail { file: path, offset: 0, bytes });
                break;
            };
            check_place(dir, &path, first, &segment.header, last.as_ref())?;
            let end = scan(&mut segment, first, visit)?;
            if end.torn_bytes > 0 {
                if !is_last {
                    return Err(segment.damaged(
                        end.bytes,
                        end.tip,
                        "it is cut short, and another file follows",
                    ));
                }
                shorten(&path, end.bytes)?;
                cut = Some(CutTail { file: path.clone(), offset: end.bytes, bytes: end.torn_bytes });
            }
            last = Some((segment.header.journal, first, end));
        }
        let journal = match last {
            Some((id, segment, end)) => {
                let path = segment_path(dir, segment);
                let file = OpenOptions::new()
                    .append(true)
                    .open(&path)
                    .map_err(|source| StoreError::io(&path, source))?;
                Self {
                    dir: dir.to_owned(),
                    id,
                    tip: end.tip,
                    segment,
                    segment_len: end.bytes,
                    segment_limit,
                    medium: Box::new(file),
                    closed: None,
                }
            }
            None => Self::create(dir, segment_limit)?,
        };
        Ok((journal, cut))
    }

    fn create(dir: &Path, segment_limit: u64) -> Result<Self, StoreError> {
        let io = |source| StoreError::io(dir, source);
        let id: JournalId = random().map_err(|error| io(io::Error::other(error)))?;
        let tip = Tip { version: 0, link: crc32fast::hash(&id) };
        let file = create_segment(dir, 1, &SegmentHeader { journal: id, before: tip }).map_err(io)?;
        Ok(Self {
            dir: dir.to_owned(),
            id,
            tip,
            segment: 1,
            segment_len: SEGMENT_HEADER_BYTES as u64,
            segment_limit,
            medium: Box::new(file),
            closed: None,
        })
    }

    pub(super) const fn id(&self) -> JournalId {
        self.id
    }

    pub(crate) const fn tip(&self) -> Tip {
        self.tip
    }

    /// Whether it takes no more changes until it is opened again.
    pub(super) const fn is_closed(&self) -> bool {
        self.closed.is_some()
    }

    pub(crate) fn dir(&self) -> &Path {
        &self.dir
    }

    /// Appends the next record: when this returns, it is on disk. When it fails, the record is in no future of this
    /// journal, as far as the disk obeys; the error says why in words for a person.
    pub(crate) fn append(&mut self, payload: &[u8]) -> Result<(Tip, Position), String> {
        if let Some(why) = &self.closed {
            return Err(format!(
                "the journal takes no changes until the control plane is started again: {why}"
            ));
        }
        let (frame, tip) =
            frame::encode(self.tip, payload).ok_or_else(|| "the record is too large".to_owned())?;
        if self.segment_len >= self.segment_limit {
            self.rotate().map_err(|error| format!("no new journal file could be made: {error}"))?;
        }
        let position = Position { segment: self.segment, offset: self.segment_len };
        if let Err(error) = self.medium.append(&frame) {
            return Err(self.take_back(&error, false));
        }
        if let Err(error) = self.medium.sync() {
            return Err(self.take_back(&error, !is_full(&error)));
        }
        self.tip = tip;
        self.segment_len = self.segment_len.saturating_add(frame.len() as u64);
        Ok((tip, position))
    }

    /// Takes back what was written of a record. A sync that failed for another reason than a full disk leaves open what
    /// the disk holds, so that nothing may be written behind it.
    fn take_back(&mut self, error: &io::Error, close: bool) -> String {
        let why = match self.medium.truncate(self.segment_len) {
            Ok(()) if !close => return error.to_string(),
            Ok(()) => error.to_string(),
            Err(second) => format!("{error}, and what was written of it could not be taken back: {second}"),
        };
        tracing::error!(error = why, "the journal is closed to changes");
        self.closed = Some(why.clone());
        why
    }

    fn rotate(&mut self) -> io::Result<()> {
        let first = self.tip.version.saturating_add(1);
        let file = create_segment(&self.dir, first, &SegmentHeader { journal: self.id, before: self.tip })?;
        self.segment = first;
        self.segment_len = SEGMENT_HEADER_BYTES as u64;
        self.medium = Box::new(file);
        Ok(())
    }
}

/// Goes through all records of a journal that was opened before.
pub(crate) fn read_all(dir: &Path, visit: &mut Visit<'_>) -> Result<(), StoreError> {
    for (first, path) in list(dir)? {
        if let Some(mut segment) = Segment::open(&path)? {
            scan(&mut segment, first, visit)?;
        }
    }
    Ok(())
}

/// Reads single records of a journal, keeping the file of the last one open.
#[derive(Debug)]
pub(super) struct Reader {
    dir: PathBuf,
    open: Option<(u64, File)>,
}

impl Reader {
    pub(super) fn new(dir: &Path) -> Self {
        Self { dir: dir.to_owned(), open: None }
    }

    /// The payload of the record of this version, which stands at this place.
    pub(super) fn read(&mut self, version: u64, position: Position) -> Result<Vec<u8>, StoreError> {
        let path = segment_path(&self.dir, position.segment);
        let io = |source| StoreError::io(&path, source);
        let file = match self.open.take() {
            Some((segment, file)) if segment == position.segment => file,
            _ => File::open(&path).map_err(io)?,
        };
        let mut header = [0; HEADER_BYTES];
        file.read_exact_at(&mut header, position.offset).map_err(io)?;
        let damaged = |detail| StoreError::damaged(&path, position.offset, Some(version), detail);
        let header = FrameHeader::parse(&header)
            .filter(|header| header.version == version)
            .ok_or_else(|| damaged("no record of this number begins there"))?;
        let mut payload = vec![0; header.length as usize];
        file.read_exact_at(&mut payload, position.offset.saturating_add(HEADER_BYTES as u64)).map_err(io)?;
        if !header.matches(&payload) {
            return Err(damaged("its checksum does not match"));
        }
        self.open = Some((position.segment, file));
        Ok(payload)
    }
}

fn scan(segment: &mut Segment, first: u64, visit: &mut Visit<'_>) -> Result<End, StoreError> {
    segment.scan(&mut |Found { tip, offset, payload }| {
        visit(Stored { tip, position: Position { segment: first, offset }, payload })
    })
}

/// Checks that a segment continues where the one before ended.
fn check_place(
    dir: &Path,
    path: &Path,
    first: u64,
    header: &SegmentHeader,
    last: Option<&(JournalId, u64, End)>,
) -> Result<(), StoreError> {
    let incomplete = |detail| StoreError::Incomplete { dir: dir.to_owned(), detail };
    if header.before.version.checked_add(1) != Some(first) {
        return Err(incomplete(format!("{} does not begin with the change of its name", path.display())));
    }
    let (expected, follows) = match last {
        None => (1, true),
        Some((id, _, end)) => {
            (end.tip.version.saturating_add(1), *id == header.journal && end.tip.link == header.before.link)
        }
    };
    if first != expected {
        return Err(incomplete(format!("change {expected} is due where {} begins", path.display())));
    }
    if !follows {
        return Err(incomplete(format!("{} belongs to another journal", path.display())));
    }
    Ok(())
}

pub(crate) fn segment_path(dir: &Path, first: u64) -> PathBuf {
    dir.join(format!("{first:020}.journal"))
}

/// The segments by the version that their first record makes. Other files are none of ours.
fn list(dir: &Path) -> Result<BTreeMap<u64, PathBuf>, StoreError> {
    let io = |source| StoreError::io(dir, source);
    let mut segments = BTreeMap::new();
    for entry in fs::read_dir(dir).map_err(io)? {
        let path = entry.map_err(io)?.path();
        let first =
            path.file_name().and_then(|name| name.to_str()).and_then(|name| name.strip_suffix(".journal"));
        if let Some(first) = first.and_then(|digits| digits.parse().ok()) {
            segments.insert(first, path);
        }
    }
    Ok(segments)
}

/// Makes a segment; it and its name are on disk when this returns. A file of that name can only be one that was never
/// finished, since its first record would be the next one.
fn create_segment(dir: &Path, first: u64, header: &SegmentHeader) -> io::Result<File> {
    let path = segment_path(dir, first);
    let mut file = OpenOptions::new().write(true).create(true).truncate(true).mode(0o600).open(&path)?;
    file.write_all(&header.encode())?;
    file.sync_all()?;
    disk::sync_dir(dir)?;
    OpenOptions::new().append(true).open(&path)
}

fn shorten(path: &Path, bytes: u64) -> Result<(), StoreError> {
    let shortened = || OpenOptions::new().write(true).open(path)?.truncate(bytes);
    shortened().map_err(|source| StoreError::io(path, source))
}

fn remove(path: &Path) -> Result<(), StoreError> {
    fs::remove_file(path)
        .and_then(|()| disk::sync_parent(path))
        .map_err(|source| StoreError::io(path, source))
}

/// No room on the disk, or in the quota: known before anything could be lost.
fn is_full(error: &io::Error) -> bool {
    matches!(error.kind(), io::ErrorKind::StorageFull | io::ErrorKind::QuotaExceeded)
}

#[cfg(test)]
mod tests;
