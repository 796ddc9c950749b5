//! What a data plane is handed: the entries of one version, encoded once for all planes, with their signature.

use std::collections::BTreeMap;
use std::sync::Arc;

use bytes::Bytes;
use portcullis_policy::Snapshot;
use portcullis_policy::snapshot::SnapshotHeader;
use portcullis_seal::KeyId;

/// One entry as it travels.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct EncodedEntry {
    /// `server`, `tool`, ….
    pub kind: &'static str,
    /// Unique within the kind.
    pub id: Arc<str>,
    /// Canonical JSON.
    pub body: Bytes,
}

/// One published snapshot. Immutable; every plane's stream shares it.
#[derive(Debug)]
pub struct Published {
    /// What is signed.
    pub header: SnapshotHeader,
    /// Ed25519 over `portcullis_policy::snapshot::signed_text` of the header.
    pub signature: [u8; 64],
    /// Which key signed.
    pub key_id: KeyId,
    /// Ordered by kind (as the variants of `Entry`) and id.
    pub entries: Arc<Vec<EncodedEntry>>,
    /// The same, compiled: what `explain` asks and what data planes will enforce.
    pub snapshot: Arc<Snapshot>,
    /// What is in it and not served, and why; for a person.
    pub reports: Vec<String>,
}

impl Published {
    /// How many entries of each kind it holds.
    #[must_use]
    pub fn counts(&self) -> BTreeMap<&'static str, u32> {
        let mut counts = BTreeMap::new();
        for entry in self.entries.iter() {
            *counts.entry(entry.kind).or_default() += 1;
        }
        counts
    }
}
