//! The digest of a snapshot and the text that is signed.
//!
//! Digest: SHA-256 over, for each entry ordered by (kind, id), kinds in the order of [`super::Entry::KINDS`], the lines
//! `kind NUL id NUL` and the 32 bytes of the SHA-256 of the entry's body. It can be brought up to date from a delta
//! without the bodies that did not change.

use portcullis_seal::{Fingerprint, sha256};

use super::SnapshotVersion;

/// The purpose under which snapshots are signed.
pub const SIGNATURE_PURPOSE: &str = "portcullis snapshot v1";

/// Takes entries in the order of (kind, id), as [`super::encode_all`] sorts them, and yields the digest.
#[derive(Debug, Default)]
pub struct SnapshotDigest {
    text: Vec<u8>,
}

impl SnapshotDigest {
    /// Adds the next entry.
    pub fn add(&mut self, kind: &str, id: &str, body: &[u8]) {
        self.add_hashed(kind, id, &sha256(body));
    }

    /// Adds the next entry by the SHA-256 of its body, for who has kept it.
    pub fn add_hashed(&mut self, kind: &str, id: &str, body: &[u8; 32]) {
        self.text.extend_from_slice(kind.as_bytes());
        self.text.push(0);
        self.text.extend_from_slice(id.as_bytes());
        self.text.push(0);
        self.text.extend_from_slice(body);
    }

    /// The digest over all entries added.
    #[must_use]
    pub fn finish(self) -> Fingerprint {
        Fingerprint::from_bytes(sha256(&self.text))
    }
}

/// The text that a control plane signs for a snapshot: version, build time, number of entries, digest.
#[must_use]
pub fn signed_text(
    version: SnapshotVersion,
    built_unix_ms: u64,
    entries: u32,
    digest: Fingerprint,
) -> Vec<u8> {
    format!("version {version}\nbuilt {built_unix_ms}\nentries {entries}\ndigest {digest}\n").into_bytes()
}
