//! The vault's file: a line with a checksum, then JSON; replaced whole, readable by its owner alone.

use std::fs::{self, File, OpenOptions};
use std::io::{self, Read as _, Write as _};
use std::os::unix::fs::{OpenOptionsExt as _, PermissionsExt as _};
use std::path::{Path, PathBuf};

use portcullis_seal::{Fingerprint, sha256};

use zeroize::Zeroizing;

use super::super::disk;
use super::VaultError;
use super::contents::Contents;

const HEADING: &str = "portcullis-vault 1 ";
/// Bound on what is read: the largest vault, in base64, with room for names.
const MAX_FILE_BYTES: u64 = 64 << 20;

/// Reads the vault; `None` when there is none.
pub(super) fn read(path: &Path) -> Result<Option<Contents>, VaultError> {
    let io = |source| VaultError::Io { path: path.to_owned(), source };
    let file = match File::open(path) {
        Ok(file) => file,
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
        Err(error) => return Err(io(error)),
    };
    let metadata = file.metadata().map_err(io)?;
    let mode = metadata.permissions().mode() & 0o777;
    if mode & 0o077 != 0 {
        return Err(VaultError::Exposed { path: path.to_owned(), mode });
    }
    let damaged = |detail: &str| VaultError::Damaged { path: path.to_owned(), detail: detail.to_owned() };
    if !metadata.is_file() || metadata.len() > MAX_FILE_BYTES {
        return Err(damaged("it is no file of a vault's size"));
    }
    let mut bytes = Zeroizing::new(Vec::with_capacity(usize::try_from(metadata.len()).unwrap_or_default()));
    file.take(MAX_FILE_BYTES).read_to_end(&mut bytes).map_err(io)?;
    let mut parts = bytes.splitn(2, |byte| *byte == b'\n');
    let heading = parts.next().and_then(|line| std::str::from_utf8(line).ok()).unwrap_or_default();
    let json = parts.next().ok_or_else(|| damaged("it has no contents"))?;
    let sum = heading.strip_prefix(HEADING).ok_or_else(|| damaged("its first line is another's"))?;
    if sum != checksum(json) {
        return Err(damaged("its checksum does not match"));
    }
    Contents::from_json(json).map(Some).map_err(damaged)
}

/// Removes what a crash left of a vault that was being written: it may hold secrets that were deleted since. Where it cannot be
/// removed, the next write says so.
pub(super) fn sweep(path: &Path) {
    let beside = beside(path);
    match fs::remove_file(&beside) {
        Ok(()) => tracing::info!(file = %beside.display(), "removed what a crash left"),
        Err(error) if error.kind() == io::ErrorKind::NotFound => {}
        Err(error) => {
            tracing::warn!(file = %beside.display(), %error, "what a crash left cannot be removed");
        }
    }
}

/// Replaces the vault: when this returns, the new one is on disk; when it fails, the old one still is.
pub(super) fn write(path: &Path, contents: &Contents) -> Result<(), VaultError> {
    let io = |source| VaultError::Io { path: path.to_owned(), source };
    let json = contents.to_json().map_err(|error| io(error.into()))?;
    let beside = beside(path);
    // Left over from a crash; its mode may be anything.
    match fs::remove_file(&beside) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(io(error)),
        _ => {}
    }
    let written = (|| {
        let mut file = OpenOptions::new().write(true).create_new(true).mode(0o600).open(&beside)?;
        file.set_permissions(fs::Permissions::from_mode(0o600))?;
        file.write_all(HEADING.as_bytes())?;
        file.write_all(checksum(&json).as_bytes())?;
        file.write_all(b"\n")?;
        file.write_all(&json)?;
        file.sync_all()?;
        fs::rename(&beside, path)?;
        disk::sync_parent(path)
    })();
    if written.is_err() {
        // What failed is the write; a leftover is removed by the next one.
        let _ = fs::remove_file(&beside);
    }
    written.map_err(io)
}

fn beside(path: &Path) -> PathBuf {
    let mut name = path.file_name().unwrap_or_default().to_owned();
    name.push(".new");
    path.with_file_name(name)
}

fn checksum(json: &[u8]) -> String {
    Fingerprint::from_bytes(sha256(json)).to_hex()
}
