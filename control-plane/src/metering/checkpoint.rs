//! A checkpoint: all that the bank knows at one moment, in one file, so that the log before it may go.
//!
//! ```text
//! "PORTMC01" · length u64 · payload CRC-32 u32 · CRC-32 of these 20 bytes u32 · payload      (little endian; the payload is JSON)
//! ```

use std::fs::{File, OpenOptions};
use std::io::{self, BufWriter, Read as _, Write as _};
use std::os::unix::fs::OpenOptionsExt as _;
use std::path::Path;

use super::books::Books;

const MAGIC: &[u8; 8] = b"PORTMC01";
const HEADER_BYTES: usize = 8 + 8 + 4 + 4;

/// Writes a checkpoint to a new file and brings it to the disk; the caller makes its name durable. Tells its length in bytes.
pub(super) fn write(path: &Path, books: &Books) -> io::Result<u64> {
    let payload = serde_json::to_vec(books)?;
    let mut header = Vec::with_capacity(HEADER_BYTES);
    header.extend_from_slice(MAGIC);
    header.extend_from_slice(&(payload.len() as u64).to_le_bytes());
    header.extend_from_slice(&crc32fast::hash(&payload).to_le_bytes());
    header.extend_from_slice(&crc32fast::hash(&header).to_le_bytes());
    let file = OpenOptions::new().write(true).create_new(true).mode(0o600).open(path)?;
    let mut out = BufWriter::new(&file);
    out.write_all(&header)?;
    out.write_all(&payload)?;
    out.flush()?;
    drop(out);
    file.sync_all()?;
    Ok((header.len() + payload.len()) as u64)
}

/// Reads a checkpoint, with its length in bytes; else what is wrong with it.
pub(super) fn read(path: &Path) -> Result<(Books, u64), String> {
    let mut bytes = Vec::new();
    let read = File::open(path).and_then(|mut file| file.read_to_end(&mut bytes));
    read.map_err(|error| error.to_string())?;
    let payload = payload(&bytes).ok_or("its length or checksum is not that of what was written")?;
    let books = serde_json::from_slice(payload).map_err(|error| error.to_string())?;
    Ok((books, bytes.len() as u64))
}

fn payload(bytes: &[u8]) -> Option<&[u8]> {
    let (header, payload) = bytes.split_first_chunk::<HEADER_BYTES>()?;
    let (covered, own) = header.split_last_chunk::<4>()?;
    let (magic, rest) = covered.split_first_chunk::<8>()?;
    let (length, sum) = rest.split_first_chunk::<8>()?;
    let sound = magic == MAGIC
        && crc32fast::hash(covered) == u32::from_le_bytes(*own)
        && payload.len() as u64 == u64::from_le_bytes(*length)
        && crc32fast::hash(payload) == u32::from_le_bytes(sum.try_into().ok()?);
    sound.then_some(payload)
}
