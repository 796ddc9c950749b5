//! How one record stands in a journal's file: a header of 24 bytes, then the payload.
//!
//! ```text
//! length u32 · version u64 · link u32 · payload CRC-32 u32 · header CRC-32 u32      (little endian)
//! ```
//!
//! The header has a checksum of its own, so that a length can be trusted before the payload is there: a file that ends
//! inside a frame with a sound header was cut, anything else was damaged. `link` is the header checksum of the record
//! before, which makes the records a chain: none can be missing, doubled or taken from another journal.

use super::port::MAX_RECORD_BYTES;

/// Bytes of a header.
pub(super) const HEADER_BYTES: usize = 24;
/// Storage writes sectors whole or not at all.
const SECTOR_BYTES: usize = 512;
/// Of a frame header that was cut off by a sector's end, this many zero bytes tell that it was never written: a written
/// one begins with a length that is not zero.
const LENGTH_BYTES: usize = 4;

/// What ties a record to the one before it.
pub(crate) type Link = u32;

/// Where a chain of records has come to.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Tip {
    /// The version of the last record.
    pub(crate) version: u64,
    /// Its link.
    pub(crate) link: Link,
}

/// A header whose checksum is right.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct FrameHeader {
    pub(super) length: u32,
    pub(super) version: u64,
    pub(super) link: Link,
    pub(super) payload_sum: u32,
    /// The link for the next record.
    pub(super) own: Link,
}

impl FrameHeader {
    /// Reads a header; `None` when its checksum is wrong.
    pub(super) fn parse(bytes: &[u8; HEADER_BYTES]) -> Option<Self> {
        let (length, rest) = bytes.split_first_chunk::<4>()?;
        let (version, rest) = rest.split_first_chunk::<8>()?;
        let (link, rest) = rest.split_first_chunk::<4>()?;
        let (payload_sum, rest) = rest.split_first_chunk::<4>()?;
        let own = u32::from_le_bytes(rest.try_into().ok()?);
        let (covered, _) = bytes.split_last_chunk::<4>()?;
        (crc32fast::hash(covered) == own).then_some(Self {
            length: u32::from_le_bytes(*length),
            version: u64::from_le_bytes(*version),
            link: u32::from_le_bytes(*link),
            payload_sum: u32::from_le_bytes(*payload_sum),
            own,
        })
    }

    /// Whether this is the payload that belongs to it.
    pub(super) fn matches(&self, payload: &[u8]) -> bool {
        payload.len() == self.length as usize && crc32fast::hash(payload) == self.payload_sum
    }
}

/// The frame of the record that follows `tip`, and the tip after it. `None` when the payload is too large.
pub(super) fn encode(tip: Tip, payload: &[u8]) -> Option<(Vec<u8>, Tip)> {
    if payload.len() > MAX_RECORD_BYTES {
        return None;
    }
    let version = tip.version.checked_add(1)?;
    let mut frame = Vec::with_capacity(HEADER_BYTES + payload.len());
    frame.extend_from_slice(&u32::try_from(payload.len()).ok()?.to_le_bytes());
    frame.extend_from_slice(&version.to_le_bytes());
    frame.extend_from_slice(&tip.link.to_le_bytes());
    frame.extend_from_slice(&crc32fast::hash(payload).to_le_bytes());
    let link = crc32fast::hash(&frame);
    frame.extend_from_slice(&link.to_le_bytes());
    frame.extend_from_slice(payload);
    Some((frame, Tip { version, link }))
}

/// Whether a whole record of a version above `version` stands anywhere in these bytes.
pub(super) fn holds_record_after(bytes: &[u8], version: u64) -> bool {
    bytes.windows(HEADER_BYTES).enumerate().any(|(at, window)| {
        let Ok(header) = window.try_into() else { return false };
        let Some(header) = FrameHeader::parse(header) else { return false };
        let payload = at.checked_add(HEADER_BYTES).and_then(|from| bytes.get(from..));
        header.version > version
            && payload
                .and_then(|payload| payload.get(..header.length as usize))
                .is_some_and(|payload| header.matches(payload))
    })
}

/// Whether a broken frame, whose first byte stands at `offset` of its file, has sectors that were never written: a write
/// that power cut short leaves them as zeros. Payloads are JSON text and hold no zero byte.
pub(super) fn has_unwritten_sector(frame: &[u8], offset: u64, header_is_sound: bool) -> bool {
    let payload_from = if header_is_sound { HEADER_BYTES.min(frame.len()) } else { 0 };
    let into_sector = usize::try_from(offset % SECTOR_BYTES as u64).unwrap_or(0);
    let (head, rest) = frame.split_at(SECTOR_BYTES.saturating_sub(into_sector).min(frame.len()));
    let zeros = |bytes: &[u8]| !bytes.is_empty() && bytes.iter().all(|byte| *byte == 0);
    let head = head.get(payload_from.min(head.len())..).unwrap_or_default();
    (zeros(head) && (header_is_sound || head.len() >= LENGTH_BYTES)) || rest.chunks(SECTOR_BYTES).any(zeros)
}

#[cfg(test)]
mod tests;
