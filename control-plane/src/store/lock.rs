//! One process a directory.

use std::fs::{File, OpenOptions};
use std::io::{self, Read as _, Seek as _, Write as _};
use std::os::unix::fs::OpenOptionsExt as _;
use std::path::Path;

use rustix::fs::{FlockOperation, flock};

use super::error::StoreError;

/// The lock on a directory, held until it is dropped or the process ends, however it ends.
#[derive(Debug)]
pub(crate) struct DirLock {
    _file: File,
}

impl DirLock {
    pub(crate) fn acquire(dir: &Path) -> Result<Self, StoreError> {
        let path = dir.join("lock");
        let io = |source| StoreError::io(&path, source);
        let mut file = OpenOptions::new()
            .read(true)
            .write(true)
            .create(true)
            .truncate(false)
            .mode(0o600)
            .open(&path)
            .map_err(io)?;
        match flock(&file, FlockOperation::NonBlockingLockExclusive) {
            Ok(()) => {}
            Err(rustix::io::Errno::WOULDBLOCK) => {
                let mut holder = String::new();
                // Who holds it is a help for the reader of the message, and no more.
                let _ = file.take(20).read_to_string(&mut holder);
                let holder = holder.trim().to_owned();
                let holder = (!holder.is_empty() && holder.bytes().all(|byte| byte.is_ascii_digit()))
                    .then_some(holder);
                return Err(StoreError::InUse { dir: dir.to_owned(), holder });
            }
            Err(error) => return Err(io(error.into())),
        }
        let write_holder = |file: &mut File| -> io::Result<()> {
            file.set_len(0)?;
            file.rewind()?;
            writeln!(file, "{}", std::process::id())
        };
        // A full disk must not keep the store from opening: it may be opened to delete something.
        let _ = write_holder(&mut file);
        Ok(Self { _file: file })
    }
}
