//! The form of a record on disk: a frame that can be found again after damage.
//!
//! `magic (4) | length (4) | CRC-32 of length and payload (4) | payload | zeros up to a multiple of 8`, numbers little-endian.
//! Frames begin at multiples of 8, so that a reader finds the next one after whatever went wrong with the one before.

/// Bytes of a place: no frame is longer.
pub(super) const PLACE: u64 = 16 * 1024;
/// The longest payload.
pub(super) const MAX_PAYLOAD: usize = PLACE as usize - HEADER;
/// Bytes before the payload.
pub(crate) const HEADER: usize = 12;
/// Where frames begin.
pub(crate) const ALIGN: usize = 8;

const MAGIC: [u8; 4] = *b"PAR1";

/// Begins a frame: the payload is appended to the buffer, then [`finish`] is called.
pub(crate) fn begin(buffer: &mut Vec<u8>) {
    buffer.clear();
    buffer.extend_from_slice(&[0; HEADER]);
}

/// Completes the frame in the buffer. None when the payload is too long.
pub(crate) fn finish(buffer: &mut Vec<u8>) -> Option<()> {
    let (header, payload) = buffer.split_first_chunk_mut::<HEADER>()?;
    if payload.len() > MAX_PAYLOAD {
        return None;
    }
    let length = u32::try_from(payload.len()).ok()?.to_le_bytes();
    let crc = checksum(length, payload).to_le_bytes();
    let bytes = MAGIC.into_iter().chain(length).chain(crc);
    for (to, from) in header.iter_mut().zip(bytes) {
        *to = from;
    }
    buffer.resize(buffer.len().next_multiple_of(ALIGN), 0);
    Some(())
}

/// The payload of the frame at the beginning of the bytes, and the frame's whole length; none when no whole, undamaged
/// frame begins there.
pub(crate) fn parse(bytes: &[u8]) -> Option<(&[u8], usize)> {
    let (&[m0, m1, m2, m3, l0, l1, l2, l3, c0, c1, c2, c3], rest) = bytes.split_first_chunk::<HEADER>()?;
    let (magic, length, crc) = ([m0, m1, m2, m3], [l0, l1, l2, l3], [c0, c1, c2, c3]);
    let size = usize::try_from(u32::from_le_bytes(length)).ok()?;
    if magic != MAGIC || size > MAX_PAYLOAD {
        return None;
    }
    let payload = rest.get(..size)?;
    (checksum(length, payload) == u32::from_le_bytes(crc))
        .then(|| (payload, (HEADER + size).next_multiple_of(ALIGN)))
}

fn checksum(length: [u8; 4], payload: &[u8]) -> u32 {
    let mut hasher = crc32fast::Hasher::new();
    hasher.update(&length);
    hasher.update(payload);
    hasher.finalize()
}
