//! The index: sled, which may lose, garble or refuse anything at any time, and costs only a rebuild.
//!
//! It holds the current objects, where each version's record stands, and which versions touched which object. Everything
//! in it comes from the journal. It is believed only when its own sums are right and it stands at a link of the journal's
//! chain; else it is made anew in a fresh directory. sled's panics are caught, and an opening that never came back (the
//! process was killed, or sled took it down) is noticed by a mark beside it.

mod keys;
mod open;

use std::panic::{AssertUnwindSafe, catch_unwind};
use std::path::{Path, PathBuf};
use std::sync::Arc;

use portcullis_seal::sha256;

pub(super) use open::{open, open_fresh};

use super::frame::Tip;
use super::journal::Position;
use super::segment::JournalId;
use super::state::{Object, State, Step};
use keys::Head;

/// The index failed. Only its words matter: whatever it is, the answer is to do without it or to make it anew.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{0}")]
pub(super) struct IndexError(String);

impl From<sled::Error> for IndexError {
    fn from(error: sled::Error) -> Self {
        Self(match error {
            sled::Error::Io(error) => error.to_string(),
            sled::Error::Corruption { .. } => "it is damaged".to_owned(),
            // What these say is about the library and helps nobody here.
            sled::Error::CollectionNotFound(_)
            | sled::Error::Unsupported(_)
            | sled::Error::ReportableBug(_) => "it does not work".to_owned(),
        })
    }
}

impl IndexError {
    pub(super) fn new(text: impl Into<String>) -> Self {
        Self(text.into())
    }

    /// Whether another holder has it. sled has no kind of error for that, only these words.
    fn is_locked(&self) -> bool {
        self.0.contains("could not acquire lock")
    }
}

/// Runs something of sled's; a panic becomes an error.
fn guarded<T>(run: impl FnOnce() -> Result<T, IndexError>) -> Result<T, IndexError> {
    catch_unwind(AssertUnwindSafe(run)).unwrap_or_else(|_| Err(IndexError::new("the index panicked")))
}

/// An index. Made for one writer; reading is for everybody.
pub(super) struct Index {
    dir: PathBuf,
    /// `None` only while it is being dropped.
    db: Option<sled::Db>,
}

/// What the writer knows of an index that it alone changes.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct IndexHead(Head);

impl IndexHead {
    /// The head of an index that holds nothing, for this journal.
    pub(super) const fn empty(journal: JournalId) -> Self {
        Self(Head { journal, tip: Tip { version: 0, link: 0 }, objects: 0, sum: 0 })
    }

    pub(super) const fn journal(&self) -> JournalId {
        self.0.journal
    }

    pub(super) const fn tip(&self) -> Tip {
        self.0.tip
    }
}

/// A record to be indexed.
#[derive(Debug)]
pub(super) struct Indexed {
    pub(super) tip: Tip,
    pub(super) position: Position,
    pub(super) steps: Vec<Step>,
}

impl std::fmt::Debug for Index {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Index").field("dir", &self.dir).finish_non_exhaustive()
    }
}

impl Drop for Index {
    fn drop(&mut self) {
        let db = self.db.take();
        // What sled fails to write on its way out is found missing at the next start.
        let _ = guarded(|| {
            drop(db);
            Ok(())
        });
    }
}

impl Index {
    fn db(&self) -> Result<&sled::Db, IndexError> {
        self.db.as_ref().ok_or_else(|| IndexError::new("the index is closed"))
    }

    pub(super) fn dir(&self) -> &Path {
        &self.dir
    }

    /// Adds records, all or none, and gives the head after them.
    pub(super) fn add(&self, head: &IndexHead, records: &[Indexed]) -> Result<IndexHead, IndexError> {
        guarded(|| {
            let mut batch = sled::Batch::default();
            let mut next = head.0;
            for Indexed { tip, position, steps } in records {
                next.tip = *tip;
                batch.insert(keys::version(tip.version), keys::encode_position(*position));
                for Step { old, new } in steps {
                    let Some(object) = new.as_ref().or(old.as_ref()) else { continue };
                    batch.insert(keys::kind_version(&object.kind, tip.version), &[]);
                    batch.insert(keys::object_version(&object.kind, &object.name, tip.version), &[]);
                    if let Some(old) = old {
                        next.objects = next.objects.wrapping_sub(1);
                        next.sum = next.sum.wrapping_sub(object_sum(old));
                    }
                    let key = keys::object(&object.kind, &object.name);
                    match new {
                        Some(new) => {
                            next.objects = next.objects.wrapping_add(1);
                            next.sum = next.sum.wrapping_add(object_sum(new));
                            batch.insert(key, keys::encode_object(new).map_err(IndexError::new)?);
                        }
                        None => batch.remove(key),
                    }
                }
            }
            batch.insert(keys::HEAD, next.encode());
            self.db()?.apply_batch(batch)?;
            Ok(IndexHead(next))
        })
    }

    /// The head and the state at it, when every sum is right. `Ok(None)` when the index holds nothing.
    pub(super) fn load(&self) -> Result<Option<(IndexHead, State)>, IndexError> {
        guarded(|| {
            let Some(head) = self.db()?.get(keys::HEAD)? else { return Ok(None) };
            let head = Head::decode(&head).ok_or_else(|| IndexError::new("its head is damaged"))?;
            let mut state = State::new(head.tip.version, []);
            let mut sum = 0_u128;
            for entry in self.db()?.scan_prefix(keys::OBJECTS) {
                let (key, value) = entry?;
                let object = keys::decode_object(&key, &value)
                    .ok_or_else(|| IndexError::new("an object is damaged"))?;
                sum = sum.wrapping_add(object_sum(&object));
                state.insert(Arc::new(object));
            }
            if sum != head.sum || state.len() as u64 != head.objects {
                return Err(IndexError::new("objects are missing or old"));
            }
            Ok(Some((IndexHead(head), state)))
        })
    }

    /// Where the record of this version stands.
    pub(super) fn position(&self, version: u64) -> Result<Position, IndexError> {
        guarded(|| {
            let value = self.db()?.get(keys::version(version))?;
            value
                .as_deref()
                .and_then(keys::decode_position)
                .ok_or_else(|| IndexError::new(format!("version {version} is missing")))
        })
    }

    /// The versions below `before` that touched this kind, or this object of it; newest first, `limit` at most.
    pub(super) fn versions(
        &self,
        kind: &str,
        name: Option<&str>,
        before: u64,
        limit: usize,
    ) -> Result<Vec<u64>, IndexError> {
        guarded(|| {
            let key = |version| match name {
                Some(name) => keys::object_version(kind, name, version),
                None => keys::kind_version(kind, version),
            };
            let mut versions = Vec::new();
            for entry in self.db()?.range(key(0)..key(before)).rev().take(limit) {
                let (key, _) = entry?;
                versions.push(
                    keys::trailing_version(&key).ok_or_else(|| IndexError::new("a version is damaged"))?,
                );
            }
            Ok(versions)
        })
    }
}

/// What an object adds to the head's sum. Bodies have a checksum beside them; a version of an object has one body only.
fn object_sum(object: &Object) -> u128 {
    let mut bytes = keys::object(&object.kind, &object.name);
    bytes.extend_from_slice(object.uid.0.as_bytes());
    bytes.extend_from_slice(&object.version.to_be_bytes());
    bytes.extend_from_slice(&object.created_version.to_be_bytes());
    let digest = sha256(&bytes);
    digest.first_chunk::<16>().map_or(0, |first| u128::from_be_bytes(*first))
}

#[cfg(test)]
mod tests;
