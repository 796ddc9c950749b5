//! What a journal must never see: the signing key, the sealing keys, and the values of secrets.
//!
//! One file that only its owner can read, always replaced whole. It is no part of history, of backups of the journal, or of
//! any answer of the admin API: what leaves it is a signature, or the secret part of the stream to an attached data plane.

mod contents;
mod file;
mod sealing;

use std::collections::BTreeMap;
use std::fmt;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, PoisonError};

use arc_swap::ArcSwap;
use portcullis_policy::resource::{Name, Uid};
use portcullis_seal::{SealKeyId, SigningKey};
use tokio::sync::watch;
use zeroize::Zeroizing;

use contents::Contents;

/// The largest value of a secret, in bytes.
pub const MAX_SECRET_BYTES: usize = 64 << 10;
/// The most secrets.
pub const MAX_SECRETS: usize = 10_000;
/// The most that all secrets have together, in bytes: they travel to each data plane in one message.
pub const MAX_TOTAL_BYTES: usize = 16 << 20;

/// What can go wrong with the vault. No message holds a secret.
#[derive(Debug, thiserror::Error)]
pub enum VaultError {
    /// The machine refused. Nothing changed; a retry is safe.
    #[error("vault {path}: {source}")]
    Io {
        /// Where.
        path: PathBuf,
        /// What it said.
        source: std::io::Error,
    },
    /// Somebody beside the owner may read or write the file.
    #[error(
        "vault {path} has mode {mode:03o}, so that others can reach it; its secrets may be known. Set it with `chmod 600 {path}`, and set the secrets anew if others had access"
    )]
    Exposed {
        /// Which file.
        path: PathBuf,
        /// Its permission bits.
        mode: u32,
    },
    /// The file is not what was written.
    #[error("vault {path} is damaged ({detail}); restore it from a backup. Nothing was changed")]
    Damaged {
        /// Which file.
        path: PathBuf,
        /// What is wrong.
        detail: String,
    },
    /// There was a vault, and there is none.
    #[error(
        "vault {path} is missing, but the store beside it is at version {version}: the key that signs snapshots, the keys that seal sessions and the values of all secrets are lost with it. Restore the file from a backup. If there is none, start once with --new-vault (`new_vault: true`): then each data plane needs a new plane token, because it refuses the snapshots of another key, all secrets must be set again, and open sessions end"
    )]
    Lost {
        /// Where it should be.
        path: PathBuf,
        /// The version of the store.
        version: u64,
    },
    /// A new vault was asked for, and there is one.
    #[error(
        "vault {path} is there, and --new-vault makes one only where it was lost: start without it. To give this vault up, move it away first"
    )]
    Present {
        /// Which file.
        path: PathBuf,
    },
    /// The value is too large.
    #[error("a secret has at most {MAX_SECRET_BYTES} bytes, this one has {0}")]
    TooLarge(usize),
    /// There are too many.
    #[error("there are {MAX_SECRETS} secrets already, which is the most")]
    TooMany,
    /// They are too large together.
    #[error("all secrets together have at most {MAX_TOTAL_BYTES} bytes")]
    Full,
    /// The operating system gave no randomness.
    #[error("the operating system gave no randomness")]
    NoRandomness,
}

/// One key for sealed tokens. Wiped from memory when it goes.
#[derive(Clone, PartialEq, Eq)]
pub struct SealingKey {
    /// Its random id.
    pub id: SealKeyId,
    /// When it was made, in milliseconds since the Unix epoch.
    pub created_unix_ms: u64,
    secret: Zeroizing<[u8; 32]>,
}

impl SealingKey {
    /// The secret.
    #[must_use]
    pub fn expose(&self) -> &[u8; 32] {
        &self.secret
    }
}

impl fmt::Debug for SealingKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("SealingKey").field("id", &self.id).finish_non_exhaustive()
    }
}

/// The value of a secret, wiped from memory with its last clone. Its `Debug` says nothing of it, not even its length.
#[derive(Clone, PartialEq, Eq)]
pub struct SecretValue(Arc<Zeroizing<Vec<u8>>>);

impl SecretValue {
    fn new(bytes: Vec<u8>) -> Self {
        Self(Arc::new(Zeroizing::new(bytes)))
    }
}

impl SecretValue {
    /// The bytes.
    #[must_use]
    pub fn expose(&self) -> &[u8] {
        &self.0
    }
}

impl fmt::Debug for SecretValue {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("SecretValue(redacted)")
    }
}

/// What may be told of a secret.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SecretInfo {
    /// Its name.
    pub name: Name,
    /// When it was set last, in milliseconds since the Unix epoch.
    pub set_unix_ms: u64,
}

/// What data planes need of the vault; always whole.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SecretPart {
    /// Grows with each change of this part, over restarts too.
    pub generation: u64,
    /// The first one seals, all of them open.
    pub sealing_keys: Vec<SealingKey>,
    /// The values of secrets.
    pub values: BTreeMap<Name, SecretValue>,
}

/// The vault. A clone is the same vault. One process at a time may have it: open it only under the lock that
/// [`super::JournalStore`] holds on the directory.
#[derive(Clone)]
pub struct Vault {
    inner: Arc<Inner>,
}

struct Inner {
    path: PathBuf,
    /// Held while the file is replaced, so that changes come one after the other.
    writing: Mutex<()>,
    contents: ArcSwap<Contents>,
    generation: watch::Sender<u64>,
}

impl fmt::Debug for Vault {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Vault")
            .field("path", &self.inner.path)
            .field("generation", &self.generation())
            .finish_non_exhaustive()
    }
}

impl Vault {
    /// Opens the vault in this file; makes it, with new keys and a new control plane id, when there is none. Blocks.
    ///
    /// # Errors
    /// When the file is damaged, or others than its owner can reach it, and see [`VaultError`].
    pub fn open(path: &Path, now_unix_ms: u64) -> Result<Self, VaultError> {
        let contents = match file::read(path)? {
            Some(contents) => contents,
            None => Self::make(path, now_unix_ms)?,
        };
        Ok(Self::over(path, contents))
    }

    /// Opens the vault that belongs to a store of this version. It is made only with a store that never held anything, or
    /// when `new` says that the old one is given up. Blocks.
    ///
    /// # Errors
    /// [`VaultError::Lost`], [`VaultError::Present`], and as [`Vault::open`].
    pub fn open_beside(
        path: &Path,
        store_version: u64,
        new: bool,
        now_unix_ms: u64,
    ) -> Result<Self, VaultError> {
        let contents = match file::read(path)? {
            Some(_) if new => return Err(VaultError::Present { path: path.to_owned() }),
            Some(contents) => contents,
            None if store_version > 0 && !new => {
                return Err(VaultError::Lost { path: path.to_owned(), version: store_version });
            }
            None => {
                if store_version > 0 {
                    tracing::warn!(vault = %path.display(), "a new vault is made, as asked for: data planes need new plane tokens, and all secrets must be set again");
                }
                Self::make(path, now_unix_ms)?
            }
        };
        Ok(Self::over(path, contents))
    }

    fn make(path: &Path, now_unix_ms: u64) -> Result<Contents, VaultError> {
        let contents = Contents::generate(now_unix_ms)?;
        file::write(path, &contents)?;
        Ok(contents)
    }

    fn over(path: &Path, contents: Contents) -> Self {
        file::sweep(path);
        let generation = watch::Sender::new(contents.part.generation);
        Self {
            inner: Arc::new(Inner {
                path: path.to_owned(),
                writing: Mutex::new(()),
                contents: ArcSwap::from_pointee(contents),
                generation,
            }),
        }
    }

    /// The identity of this control plane: stable over restarts.
    #[must_use]
    pub fn control_plane_id(&self) -> Uid {
        self.inner.contents.load().control_plane_id
    }

    /// The key that signs snapshots.
    #[must_use]
    pub fn signing_key(&self) -> Arc<SigningKey> {
        Arc::clone(&self.inner.contents.load().signing_key)
    }

    /// What data planes need, as it is now.
    #[must_use]
    pub fn secret_part(&self) -> Arc<SecretPart> {
        Arc::clone(&self.inner.contents.load().part)
    }

    /// The generation of [`Vault::secret_part`].
    #[must_use]
    pub fn generation(&self) -> u64 {
        self.inner.contents.load().part.generation
    }

    /// Tells each new generation, once it is on disk.
    #[must_use]
    pub fn watch(&self) -> watch::Receiver<u64> {
        self.inner.generation.subscribe()
    }

    /// The names of all secrets, in order, and when each was set.
    #[must_use]
    pub fn secrets(&self) -> Vec<SecretInfo> {
        let contents = self.inner.contents.load();
        contents
            .set_unix_ms
            .iter()
            .map(|(name, set_unix_ms)| SecretInfo { name: name.clone(), set_unix_ms: *set_unix_ms })
            .collect()
    }

    /// Sets a secret; answers when it is on disk.
    ///
    /// # Errors
    /// When it is too large, when there are too many, or when it cannot be written; the vault is then as before.
    pub async fn set_secret(&self, name: &Name, value: &[u8], now_unix_ms: u64) -> Result<(), VaultError> {
        if value.len() > MAX_SECRET_BYTES {
            return Err(VaultError::TooLarge(value.len()));
        }
        let (name, value) = (name.clone(), SecretValue::new(value.to_vec()));
        self.update(move |contents| {
            let old = contents.part.values.get(&name).map_or(0, |old| old.expose().len());
            let total: usize = contents.part.values.values().map(|value| value.expose().len()).sum();
            if total.saturating_sub(old).saturating_add(value.expose().len()) > MAX_TOTAL_BYTES {
                return Err(VaultError::Full);
            }
            if !contents.part.values.contains_key(&name) && contents.part.values.len() >= MAX_SECRETS {
                return Err(VaultError::TooMany);
            }
            contents.set_unix_ms.insert(name.clone(), now_unix_ms);
            contents.next_part().values.insert(name, value);
            Ok(true)
        })
        .await
        .map(|_| ())
    }

    /// Deletes a secret; answers whether there was one, when it is off the disk.
    ///
    /// # Errors
    /// When the vault cannot be written; it is then as before.
    pub async fn delete_secret(&self, name: &Name) -> Result<bool, VaultError> {
        let name = name.clone();
        self.update(move |contents| {
            if !contents.part.values.contains_key(&name) {
                return Ok(false);
            }
            contents.set_unix_ms.remove(&name);
            contents.next_part().values.remove(&name);
            Ok(true)
        })
        .await
    }

    /// Brings the sealing keys up to date; to be called every minute or so. Answers whether they changed.
    ///
    /// A new key comes each day, seals from ten minutes later on, and is kept for 30 days.
    ///
    /// # Errors
    /// When the vault cannot be written; it is then as before.
    pub async fn rotate_sealing_keys(&self, now_unix_ms: u64) -> Result<bool, VaultError> {
        self.update(move |contents| {
            let Some(keys) = sealing::rotated(&contents.part.sealing_keys, now_unix_ms)? else {
                return Ok(false);
            };
            contents.next_part().sealing_keys = keys;
            Ok(true)
        })
        .await
    }

    /// Makes a change (when the closure says that there is one), on disk first and then in memory. Runs to its end even if
    /// the caller stops waiting, so that memory and disk agree.
    async fn update(
        &self,
        change: impl FnOnce(&mut Contents) -> Result<bool, VaultError> + Send + 'static,
    ) -> Result<bool, VaultError> {
        let inner = Arc::clone(&self.inner);
        let path = self.inner.path.clone();
        tokio::task::spawn_blocking(move || {
            let _turn = inner.writing.lock().unwrap_or_else(PoisonError::into_inner);
            let mut contents = Contents::clone(&inner.contents.load());
            if !change(&mut contents)? {
                return Ok(false);
            }
            file::write(&inner.path, &contents)?;
            let generation = contents.part.generation;
            inner.contents.store(Arc::new(contents));
            inner.generation.send_replace(generation);
            Ok(true)
        })
        .await
        .unwrap_or_else(|error| Err(VaultError::Io { path, source: std::io::Error::other(error) }))
    }
}

#[cfg(test)]
mod tests;
