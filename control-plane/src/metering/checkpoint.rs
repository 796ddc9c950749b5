//! A checkpoint: all that the bank knows at one moment, in one file, so that the log before it may go.
//!
//! ```text
//! "PORTMC01" · length u64 · payload CRC-32 u32 · CRC-32 of these 20 bytes u32 · payload      (little endian; the payload is JSON)
//! ```

use std::fs::{self, File, OpenOptions};
use std::io::{self, BufWriter, Read as _, Write as _};
use std::os::unix::fs::OpenOptionsExt as _;
use std::path::{Path, PathBuf};

use super::books::Books;
use crate::store::disk::sync_dir;

const MAGIC: &[u8; 8] = b"PORTMC01";
const HEADER_BYTES: usize = 8 + 8 + 4 + 4;

/// Why there is no checkpoint to begin with.
#[derive(Debug, thiserror::Error)]
pub(super) enum Unread {
    #[error("there is none")]
    Missing,
    #[error("{0}")]
    Damaged(String),
}

/// The file of a generation.
pub(super) fn path(generation: &Path) -> PathBuf {
    generation.join("checkpoint")
}

/// Writes the checkpoint of a generation, beside its name first: whatever is there in its place gives way to the whole of it. Tells its
/// length in bytes. Ends early when it is not to go on; of what was begun nothing stays.
pub(super) fn write(generation: &Path, books: &Books, go_on: &dyn Fn() -> bool) -> io::Result<u64> {
    let (path, new) = (path(generation), generation.join("checkpoint.new"));
    let written = remove(&new).and_then(|()| fill(&new, books, go_on)).and_then(|length| {
        fs::rename(&new, &path)?;
        sync_dir(generation)?;
        Ok(length)
    });
    if written.is_err() {
        // It takes room that the log needs; that it cannot be removed changes nothing.
        let _ = remove(&new);
    }
    written
}

fn remove(path: &Path) -> io::Result<()> {
    match fs::remove_file(path) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => Err(error),
        _ => Ok(()),
    }
}

fn fill(path: &Path, books: &Books, go_on: &dyn Fn() -> bool) -> io::Result<u64> {
    let wanted = || if go_on() { Ok(()) } else { Err(io::Error::from(io::ErrorKind::Interrupted)) };
    wanted()?;
    let payload = serde_json::to_vec(books)?;
    wanted()?;
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
    wanted()?;
    file.sync_all()?;
    Ok((header.len() + payload.len()) as u64)
}

/// Reads the checkpoint of a generation, with its length in bytes.
pub(super) fn read(generation: &Path) -> Result<(Books, u64), Unread> {
    let damaged = |why: &dyn std::fmt::Display| Unread::Damaged(why.to_string());
    let mut bytes = Vec::new();
    match File::open(path(generation)) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Err(Unread::Missing),
        opened => {
            opened.and_then(|mut file| file.read_to_end(&mut bytes)).map_err(|error| damaged(&error))?
        }
    };
    let payload =
        payload(&bytes).ok_or_else(|| damaged(&"its length or checksum is not that of what was written"))?;
    let books = serde_json::from_slice(payload).map_err(|error| damaged(&error))?;
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
