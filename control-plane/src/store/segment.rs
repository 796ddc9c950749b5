//! One file of a journal: a header that says where in the chain it begins, then frames.
//!
//! Reading it decides between three things: a sound record, a tail that a crash cut short (which was never acknowledged,
//! and may go), and damage to what had been written (which nobody but a person may decide about).

use std::fs::File;
use std::io::{self, BufReader, Read as _, Seek as _, SeekFrom};
use std::path::{Path, PathBuf};

use super::error::StoreError;
use super::frame::{FrameHeader, HEADER_BYTES, Link, Tip, has_unwritten_sector, holds_record_after};
use super::port::MAX_RECORD_BYTES;

const MAGIC: &[u8; 8] = b"PORTCJ01";
/// Bytes of a segment's header: magic, journal id, version and link of the record before the first one, CRC-32.
pub(super) const SEGMENT_HEADER_BYTES: usize = 8 + 16 + 8 + 4 + 4;

/// Which journal a file belongs to: random, made with the journal.
pub(super) type JournalId = [u8; 16];

/// What stands at the beginning of a segment.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct SegmentHeader {
    pub(super) journal: JournalId,
    /// The end of the chain before this segment.
    pub(super) before: Tip,
}

impl SegmentHeader {
    pub(super) fn encode(&self) -> Vec<u8> {
        let mut bytes = Vec::with_capacity(SEGMENT_HEADER_BYTES);
        bytes.extend_from_slice(MAGIC);
        bytes.extend_from_slice(&self.journal);
        bytes.extend_from_slice(&self.before.version.to_le_bytes());
        bytes.extend_from_slice(&self.before.link.to_le_bytes());
        bytes.extend_from_slice(&crc32fast::hash(&bytes).to_le_bytes());
        bytes
    }

    fn parse(bytes: &[u8; SEGMENT_HEADER_BYTES]) -> Option<Self> {
        let (covered, sum) = bytes.split_last_chunk::<4>()?;
        let (magic, rest) = covered.split_first_chunk::<8>()?;
        let (journal, rest) = rest.split_first_chunk::<16>()?;
        let (version, link) = rest.split_first_chunk::<8>()?;
        let link: Link = u32::from_le_bytes(link.try_into().ok()?);
        (magic == MAGIC && crc32fast::hash(covered) == u32::from_le_bytes(*sum)).then_some(Self {
            journal: *journal,
            before: Tip { version: u64::from_le_bytes(*version), link },
        })
    }
}

/// A segment that was opened for reading.
#[derive(Debug)]
pub(super) struct Segment {
    path: PathBuf,
    file: File,
    bytes: u64,
    pub(super) header: SegmentHeader,
}

/// Where the sound part of a segment ends.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct End {
    pub(super) tip: Tip,
    /// The length of the sound part in bytes.
    pub(super) bytes: u64,
    /// Bytes behind it, which a crash left unfinished.
    pub(super) torn_bytes: u64,
}

/// One record as it is met on the way through a segment.
#[derive(Debug, Clone, Copy)]
pub(super) struct Found<'a> {
    /// The chain with this record.
    pub(super) tip: Tip,
    /// Where its frame begins in the file.
    pub(super) offset: u64,
    pub(super) payload: &'a [u8],
}

impl Segment {
    /// Opens a segment. `Ok(None)` when the file was being made when the machine stopped: it never held a record.
    pub(super) fn open(path: &Path) -> Result<Option<Self>, StoreError> {
        let io = |source| StoreError::io(path, source);
        let mut file = File::open(path).map_err(io)?;
        let bytes = file.metadata().map_err(io)?.len();
        let mut header = [0; SEGMENT_HEADER_BYTES];
        if bytes < SEGMENT_HEADER_BYTES as u64 {
            return Ok(None);
        }
        file.read_exact(&mut header).map_err(io)?;
        if let Some(header) = SegmentHeader::parse(&header) {
            return Ok(Some(Self { path: path.to_owned(), file, bytes, header }));
        }
        if is_zero_to_end(&mut file, 0).map_err(io)? {
            return Ok(None);
        }
        Err(StoreError::damaged(path, 0, None, "the file's own header does not have its checksum"))
    }

    pub(super) fn damaged(&self, offset: u64, tip: Tip, detail: impl Into<String>) -> StoreError {
        StoreError::damaged(&self.path, offset, tip.version.checked_add(1), detail)
    }

    /// Goes through all records in order.
    pub(super) fn scan(
        &mut self,
        visit: &mut dyn FnMut(Found<'_>) -> Result<(), StoreError>,
    ) -> Result<End, StoreError> {
        let io = |source| StoreError::io(&self.path, source);
        let mut tip = self.header.before;
        let mut offset = SEGMENT_HEADER_BYTES as u64;
        self.file.seek(SeekFrom::Start(offset)).map_err(io)?;
        let mut reader = BufReader::with_capacity(1 << 18, &self.file);
        let mut payload = Vec::new();
        loop {
            let left = self.bytes.saturating_sub(offset);
            let torn = End { tip, bytes: offset, torn_bytes: left };
            if left < HEADER_BYTES as u64 {
                return Ok(torn);
            }
            let mut header = [0; HEADER_BYTES];
            reader.read_exact(&mut header).map_err(io)?;
            let Some(header) = FrameHeader::parse(&header) else {
                return self.judge(tip, offset, false).map(|()| torn);
            };
            if tip.version.checked_add(1) != Some(header.version) {
                let detail = format!("it is numbered {} where its place is another", header.version);
                return Err(self.damaged(offset, tip, detail));
            }
            if header.link != tip.link {
                return Err(self.damaged(offset, tip, "it does not follow from the record before it"));
            }
            if header.length as usize > MAX_RECORD_BYTES {
                return Err(self.damaged(offset, tip, "it claims to be larger than any record"));
            }
            let end = offset.saturating_add(HEADER_BYTES as u64).saturating_add(u64::from(header.length));
            if end > self.bytes {
                return Ok(torn);
            }
            payload.resize(header.length as usize, 0);
            reader.read_exact(&mut payload).map_err(io)?;
            if !header.matches(&payload) {
                return self.judge(tip, offset, true).map(|()| torn);
            }
            tip = Tip { version: header.version, link: header.own };
            visit(Found { tip, offset, payload: &payload })?;
            offset = end;
        }
    }

    /// Judges a frame that is not sound though the file goes on: `Ok` when a crash cut it short, else what is damaged.
    fn judge(&self, tip: Tip, offset: u64, header_is_sound: bool) -> Result<(), StoreError> {
        let io = |source| StoreError::io(&self.path, source);
        let mut file = &self.file;
        file.seek(SeekFrom::Start(offset)).map_err(io)?;
        let mut rest = Vec::new();
        file.read_to_end(&mut rest).map_err(io)?;
        if rest.get(1..).is_some_and(|rest| holds_record_after(rest, tip.version)) {
            return Err(self.damaged(offset, tip, "its checksum does not match, and sound records follow"));
        }
        if rest.iter().all(|byte| *byte == 0) || has_unwritten_sector(&rest, offset, header_is_sound) {
            return Ok(());
        }
        Err(self.damaged(offset, tip, "its checksum does not match"))
    }
}

fn is_zero_to_end(file: &mut File, from: u64) -> io::Result<bool> {
    file.seek(SeekFrom::Start(from))?;
    let mut chunk = [0; 4096];
    loop {
        match file.read(&mut chunk)? {
            0 => return Ok(true),
            read if chunk.iter().take(read).any(|byte| *byte != 0) => return Ok(false),
            _ => {}
        }
    }
}
