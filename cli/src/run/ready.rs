//! The ready file: one JSON object, written when a process serves, readable by its owner alone.

use std::io::Write as _;
use std::os::unix::fs::{MetadataExt as _, OpenOptionsExt as _};
use std::path::{Path, PathBuf};

use serde_json::Value;

use crate::failure::Failure;

/// A ready file that was written. It is removed when this is dropped, unless another process has written its own since.
#[derive(Debug)]
#[must_use = "the file is removed when this is dropped"]
pub(crate) struct ReadyFile {
    path: PathBuf,
    inode: u64,
}

impl Drop for ReadyFile {
    fn drop(&mut self) {
        if std::fs::metadata(&self.path).is_ok_and(|found| found.ino() == self.inode) {
            // Nobody is left to do something about a file that cannot be removed.
            let _ = std::fs::remove_file(&self.path);
        }
    }
}

/// Writes it whole: a reader sees nothing or everything.
pub(crate) fn write(file: &Path, content: &Value) -> Result<ReadyFile, Failure> {
    let fail = |error: std::io::Error| Failure::of(format!("--ready-file {}", file.display()), error);
    let mut name = file.file_name().unwrap_or_default().to_owned();
    name.push(format!(".{}.tmp", std::process::id()));
    let temporary = file.with_file_name(name);
    // A left-over of a process with the same id must not keep its mode.
    match std::fs::remove_file(&temporary) {
        Err(error) if error.kind() != std::io::ErrorKind::NotFound => return Err(fail(error)),
        _ => {}
    }
    let mut out = std::fs::OpenOptions::new()
        .write(true)
        .create_new(true)
        .mode(0o600)
        .open(&temporary)
        .map_err(fail)?;
    writeln!(out, "{content}").map_err(fail)?;
    let inode = out.metadata().map_err(fail)?.ino();
    std::fs::rename(&temporary, file).map_err(fail)?;
    Ok(ReadyFile { path: file.to_owned(), inode })
}
