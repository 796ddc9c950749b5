//! The first start: the administrator's token comes into being and is written for its owner alone.

use std::fs::{self, DirBuilder, File, OpenOptions};
use std::io::{self, Read as _, Write as _};
use std::os::unix::fs::{DirBuilderExt as _, OpenOptionsExt as _, PermissionsExt as _};
use std::path::{Path, PathBuf};

use portcullis_policy::resource::Uid;
use portcullis_seal::{Fingerprint, token};
use serde_json::json;

use crate::clock::Clock;
use crate::governance::ADMIN_TOKEN;
use crate::store::{Op, Store, TransactError, transact};

/// The administrator that the first start makes.
const ADMIN: &str = "admin";
/// No token is longer.
const MAX_TOKEN_FILE: u64 = 4096;

/// Why there is no administrator's token.
#[derive(Debug, thiserror::Error)]
pub enum BootstrapError {
    /// The machine refused.
    #[error("{path}: {source}")]
    Io {
        /// Where.
        path: PathBuf,
        /// What it said.
        source: io::Error,
    },
    /// The file was there and holds something else.
    #[error("{0} holds no administrator's token (pca_…); move it away, and a new one is written")]
    BadFile(PathBuf),
    /// Others can read the file.
    #[error(
        "{path} has mode {mode:03o}, so that others can read the administrator's token; run `chmod 600 {path}`"
    )]
    Exposed {
        /// Which file.
        path: PathBuf,
        /// Its permission bits.
        mode: u32,
    },
    /// The store did not take it.
    #[error("the administrator's token cannot be stored: {0}")]
    Store(String),
    /// The operating system gave no randomness.
    #[error(transparent)]
    Random(#[from] portcullis_seal::RandomError),
}

/// Makes a directory that only its owner can enter, with those above it.
pub(crate) fn private_dir(path: &Path) -> Result<(), BootstrapError> {
    DirBuilder::new()
        .recursive(true)
        .mode(0o700)
        .create(path)
        .map_err(|source| BootstrapError::Io { path: path.to_owned(), source })
}

/// Makes sure that there is an administrator's token.
///
/// The file comes first and the hash second: a start that was cut off in between finds the file and takes it. For the same
/// reason a token that somebody put there before the first start is taken.
pub(crate) async fn admin_token(store: &dyn Store, file: &Path, clock: &Clock) -> Result<(), BootstrapError> {
    let present = read(file)?;
    let state = store.state();
    let known: Vec<Fingerprint> = state
        .list(ADMIN_TOKEN)
        .filter_map(|object| object.body.get("hash")?.as_str()?.parse().ok())
        .collect();
    if !known.is_empty() {
        match present {
            None => tracing::warn!(
                file = %file.display(),
                "the administrator's token file is gone; the token itself is still valid for whoever has it"
            ),
            Some(text) if token::hash(token::ADMIN, &text).is_none_or(|hash| !known.contains(&hash)) => {
                tracing::warn!(file = %file.display(), "the file holds no administrator's token of this store");
            }
            Some(_) => {}
        }
        return Ok(());
    }
    let hash = match present {
        Some(text) => {
            token::hash(token::ADMIN, &text).ok_or_else(|| BootstrapError::BadFile(file.to_owned()))?
        }
        None => {
            let made = token::Token::generate(token::ADMIN)?;
            write_new(file, made.text.as_bytes())
                .map_err(|source| BootstrapError::Io { path: file.to_owned(), source })?;
            tracing::info!(file = %file.display(), "wrote the administrator's token");
            made.hash
        }
    };
    let now = clock.now_unix_ms();
    let uid = Uid(uuid::Uuid::new_v4());
    let body = json!({ "hash": hash, "createdUnixMs": now });
    let op = Op::Put { kind: ADMIN_TOKEN.into(), name: ADMIN.into(), uid, body };
    transact(store, "system", "the first administrator's token", now, |_| {
        Ok::<_, std::convert::Infallible>((vec![op.clone()], ()))
    })
    .await
    .map_err(|error: TransactError<_>| BootstrapError::Store(error.to_string()))?;
    Ok(())
}

/// The text of the file without white space around it; none when there is no file.
fn read(path: &Path) -> Result<Option<String>, BootstrapError> {
    let failed = |source| BootstrapError::Io { path: path.to_owned(), source };
    let file = match File::open(path) {
        Ok(file) => file,
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
        Err(error) => return Err(failed(error)),
    };
    let mode = file.metadata().map_err(failed)?.permissions().mode() & 0o777;
    if mode & 0o077 != 0 {
        return Err(BootstrapError::Exposed { path: path.to_owned(), mode });
    }
    let mut text = String::new();
    file.take(MAX_TOKEN_FILE).read_to_string(&mut text).map_err(failed)?;
    Ok(Some(text.trim().to_owned()))
}

/// Writes a file that only its owner can read: whole or not at all, and never over another one.
fn write_new(path: &Path, text: &[u8]) -> io::Result<()> {
    let dir = path.parent().filter(|dir| !dir.as_os_str().is_empty()).unwrap_or(Path::new("."));
    DirBuilder::new().recursive(true).mode(0o700).create(dir)?;
    let name = path.file_name().ok_or_else(|| io::Error::from(io::ErrorKind::InvalidInput))?;
    let mut temporary = name.to_owned();
    temporary.push(format!(".{}", uuid::Uuid::new_v4()));
    let temporary = dir.join(temporary);
    let written = (|| {
        let mut file = OpenOptions::new().write(true).create_new(true).mode(0o600).open(&temporary)?;
        file.write_all(text)?;
        file.write_all(b"\n")?;
        file.sync_all()?;
        // A link fails where a rename would replace.
        fs::hard_link(&temporary, path)
    })();
    let removed = fs::remove_file(&temporary);
    written?;
    removed?;
    File::open(dir)?.sync_all()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_new_file_is_its_owners_alone_and_never_replaces_another() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("deep/admin.token");
        write_new(&path, b"one").unwrap();
        assert_eq!(fs::read_to_string(&path).unwrap(), "one\n");
        assert_eq!(fs::metadata(&path).unwrap().permissions().mode() & 0o777, 0o600);
        assert_eq!(write_new(&path, b"two").unwrap_err().kind(), io::ErrorKind::AlreadyExists);
        assert_eq!(read(&path).unwrap().as_deref(), Some("one"));
        let entries = fs::read_dir(path.parent().unwrap()).unwrap().count();
        assert_eq!(entries, 1, "no temporary file stays behind");
    }

    #[test]
    fn a_token_that_others_can_read_is_refused() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("admin.token");
        fs::write(&path, "x").unwrap();
        fs::set_permissions(&path, fs::Permissions::from_mode(0o644)).unwrap();
        assert!(matches!(read(&path), Err(BootstrapError::Exposed { mode: 0o644, .. })));
    }
}
