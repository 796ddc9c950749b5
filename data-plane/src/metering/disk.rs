//! The ledger's file: appended to, or replaced as a whole. A seam, so that tests can have a disk that fails.

use std::fmt;
use std::fs::{self, File, OpenOptions};
use std::io::{self, Write as _};
use std::os::unix::fs::{DirBuilderExt as _, OpenOptionsExt as _};
use std::path::{Path, PathBuf};

use rustix::fs::FlockOperation;

const LEDGER: &str = "ledger";
/// The largest ledger that is read: far more than a rewrite leaves.
const MAX_READ: u64 = 256 * 1024 * 1024;

/// Where a ledger is kept. After an error nobody knows what is there: only [`Disk::replace`] helps then.
pub(super) trait Disk: fmt::Debug + Send {
    /// Adds bytes at the end. They are there for good when this returns.
    fn append(&mut self, bytes: &[u8]) -> io::Result<()>;
    /// Puts these bytes in the place of all that was there, at once, and for good when this returns.
    fn replace(&mut self, bytes: &[u8]) -> io::Result<()>;
    /// Puts what is there aside, to be looked at by people. Says where.
    fn put_aside(&mut self, why: &str) -> io::Result<String>;
}

/// A directory that this process alone uses.
#[derive(Debug)]
pub(super) struct Directory {
    dir: PathBuf,
    file: Option<File>,
    _lock: File,
}

impl Directory {
    /// Makes the directory when it is missing, locks it, and reads the ledger that is there.
    pub(super) fn open(dir: &Path) -> io::Result<(Self, Vec<u8>)> {
        fs::DirBuilder::new().recursive(true).mode(0o700).create(dir)?;
        let lock = options().create(true).truncate(false).write(true).open(dir.join("lock"))?;
        rustix::fs::flock(&lock, FlockOperation::NonBlockingLockExclusive).map_err(|error| {
            let in_use = error == rustix::io::Errno::WOULDBLOCK;
            if in_use { io::Error::other("it is in use by another process") } else { error.into() }
        })?;
        let path = dir.join(LEDGER);
        let bytes = match fs::metadata(&path) {
            Ok(there) if there.len() > MAX_READ => {
                return Err(io::Error::other(format!(
                    "{} is larger than any that was written",
                    path.display()
                )));
            }
            Ok(_) => fs::read(&path)?,
            Err(error) if error.kind() == io::ErrorKind::NotFound => Vec::new(),
            Err(error) => return Err(error),
        };
        Ok((Self { dir: dir.to_owned(), file: None, _lock: lock }, bytes))
    }

    fn path(&self) -> PathBuf {
        self.dir.join(LEDGER)
    }

    fn sync_dir(&self) -> io::Result<()> {
        File::open(&self.dir)?.sync_all()
    }
}

impl Disk for Directory {
    fn append(&mut self, bytes: &[u8]) -> io::Result<()> {
        let file = match self.file.take() {
            Some(file) => file,
            None => {
                let file = options().create(true).append(true).open(self.path())?;
                self.sync_dir()?;
                file
            }
        };
        let mut at_the_end = &file;
        at_the_end.write_all(bytes)?;
        file.sync_data()?;
        self.file = Some(file);
        Ok(())
    }

    fn replace(&mut self, bytes: &[u8]) -> io::Result<()> {
        let fresh = self.dir.join("ledger.new");
        let written = || -> io::Result<File> {
            let mut file = options().create(true).truncate(true).write(true).open(&fresh)?;
            file.write_all(bytes)?;
            file.sync_all()?;
            options().append(true).open(&fresh)
        };
        let file = written().inspect_err(|_| {
            // What was begun takes room that somebody needs; that it cannot be removed changes nothing.
            let _ = fs::remove_file(&fresh);
        })?;
        self.file = None;
        fs::rename(&fresh, self.path())?;
        self.sync_dir()?;
        self.file = Some(file);
        Ok(())
    }

    fn put_aside(&mut self, why: &str) -> io::Result<String> {
        self.file = None;
        let taken = |number: &u32| self.dir.join(format!("{LEDGER}.{why}-{number}")).exists();
        let number = (1..1_000).find(|number| !taken(number)).unwrap_or(1_000);
        let aside = self.dir.join(format!("{LEDGER}.{why}-{number}"));
        match fs::rename(self.path(), &aside) {
            Ok(()) => {}
            Err(error) if error.kind() == io::ErrorKind::NotFound => {}
            Err(error) => return Err(error),
        }
        self.sync_dir()?;
        Ok(aside.display().to_string())
    }
}

fn options() -> OpenOptions {
    let mut options = OpenOptions::new();
    options.mode(0o600);
    options
}
