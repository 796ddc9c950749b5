//! The few things about directories that every durable file needs.

use std::fs::{self, DirBuilder, File, OpenOptions};
use std::io::{self, Write as _};
use std::os::unix::fs::{DirBuilderExt as _, OpenOptionsExt as _};
use std::path::Path;

/// Makes the names in a directory durable: files that were created, renamed or removed in it.
pub(crate) fn sync_dir(dir: &Path) -> io::Result<()> {
    File::open(dir)?.sync_all()
}

/// What [`check_room`] writes, in bytes: more than most changes have.
const ROOM: usize = 64 << 10;

/// Whether something can be written in a directory and brought to the disk: a file is made and removed again.
pub(crate) fn check_room(dir: &Path) -> io::Result<()> {
    let path = dir.join("room.check");
    let written = (|| {
        let mut file = OpenOptions::new().write(true).create(true).truncate(true).mode(0o600).open(&path)?;
        file.write_all(&vec![0x5a; ROOM])?;
        file.sync_data()
    })();
    // When it cannot be removed, the next check writes over it.
    let _ = fs::remove_file(&path);
    written
}

/// Makes the name of this file durable.
pub(crate) fn sync_parent(path: &Path) -> io::Result<()> {
    match path.parent() {
        Some(parent) if !parent.as_os_str().is_empty() => sync_dir(parent),
        _ => sync_dir(Path::new(".")),
    }
}

/// Makes a directory, and those above it, for its owner alone; one that is there stays as it is.
pub(crate) fn create_private_dir(dir: &Path) -> io::Result<()> {
    if dir.is_dir() {
        return Ok(());
    }
    DirBuilder::new().recursive(true).mode(0o700).create(dir)?;
    sync_parent(&fs::canonicalize(dir)?)
}
