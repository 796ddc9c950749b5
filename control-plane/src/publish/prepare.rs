//! One state, made into one signed snapshot, or not at all.

use std::sync::Arc;

use portcullis_policy::Snapshot;
use portcullis_policy::compile::CompileError;
use portcullis_policy::snapshot::{SIGNATURE_PURPOSE, SnapshotDigest, SnapshotHeader, SnapshotVersion};
use portcullis_seal::{Fingerprint, SigningKey};

use super::candidate::Candidate;
use super::entries::{Built, Entries};
use super::published::Published;
use super::since::At;
use crate::objects::{DamagedObject, Parsed};
use crate::store::{HistoryError, Object};

/// Why a state cannot be published.
#[derive(Debug, thiserror::Error)]
pub enum PrepareError {
    /// An object is not what this version writes.
    #[error(transparent)]
    Object(#[from] DamagedObject),
    /// It does not compile.
    #[error("{}", joined(.0))]
    Compile(Vec<CompileError>),
    /// History, from which the version and the time follow, cannot be read.
    #[error(transparent)]
    History(#[from] HistoryError),
    /// A fault of Portcullis itself.
    #[error("internal error: {0}")]
    Internal(String),
}

fn joined(errors: &[CompileError]) -> String {
    let texts: Vec<String> = errors.iter().take(10).map(ToString::to_string).collect();
    format!("{} ({} in all)", texts.join("; "), errors.len())
}

impl PrepareError {
    pub(super) fn object(object: &Object, detail: String) -> Self {
        Self::Object(DamagedObject::new(object, detail))
    }
}

/// What is kept from one snapshot to the next, so that a change costs what it changed.
#[derive(Debug, Default)]
pub(super) struct Workbench {
    pub(super) parsed: Parsed,
    entries: Entries,
}

impl Workbench {
    /// The digest that a state's snapshot has.
    pub(super) fn digest(&mut self, state: &Candidate<'_>) -> Result<Fingerprint, PrepareError> {
        Ok(digest(&self.entries.build(state)?))
    }

    /// Builds, compiles and signs. `None` when the digest is that of `current`: then there is nothing to publish.
    pub(super) fn prepare(
        &mut self,
        state: &Candidate<'_>,
        at: At,
        key: &SigningKey,
        current: Option<&Published>,
    ) -> Result<Option<Published>, PrepareError> {
        let built = self.entries.build(state)?;
        let digest = digest(&built);
        if current.is_some_and(|current| current.header.digest == digest) {
            return Ok(None);
        }
        let entries =
            u32::try_from(built.len()).map_err(|_| PrepareError::Internal("too many entries".to_owned()))?;
        let header = SnapshotHeader {
            version: SnapshotVersion(at.version),
            digest,
            built_unix_ms: at.unix_ms,
            entries,
        };
        let parts = built.iter().map(|built| built.entry.clone()).collect();
        let snapshot = Snapshot::compile(header.clone(), parts).map_err(PrepareError::Compile)?;
        Ok(Some(Published {
            signature: key.sign(SIGNATURE_PURPOSE, &header.signed_text()),
            key_id: key.public_key().id(),
            entries: Arc::new(built.iter().map(|built| built.encoded.clone()).collect()),
            reports: snapshot.reports().to_vec(),
            snapshot: Arc::new(snapshot),
            header,
        }))
    }
}

fn digest(built: &[Arc<Built>]) -> Fingerprint {
    let mut digest = SnapshotDigest::default();
    for built in built {
        digest.add_hashed(built.encoded.kind, &built.encoded.id, &built.body_sha256);
    }
    digest.finish()
}
