//! From chunks to a whole candidate, within bounds. Nothing here is believed yet but the header, whose signature is checked
//! before the first entry is kept.

use portcullis_policy::snapshot::{SIGNATURE_PURPOSE, SnapshotHeader, SnapshotVersion};
use portcullis_proto::config::v1 as proto;
use portcullis_seal::{Fingerprint, KeyId, PublicKey};

use super::refusal::Refusal;

/// The most entries of a snapshot.
pub(super) const MAX_ENTRIES: usize = 2_000_000;
/// The most bytes of a snapshot's entries.
pub(super) const MAX_BYTES: usize = 512 * 1024 * 1024;

/// A whole snapshot as it was received: its header is signed by the pinned key, its entries are not yet compared with it.
#[derive(Debug)]
pub(super) struct Candidate {
    pub(super) header: SnapshotHeader,
    /// The header as it came, to be kept with the entries.
    pub(super) signed: proto::SnapshotHeader,
    pub(super) entries: Vec<proto::Entry>,
}

/// What a chunk led to.
#[derive(Debug)]
pub(super) enum Step {
    /// More chunks are needed, or the chunk belongs to a version that was refused already.
    More,
    /// The snapshot is whole.
    Whole(Box<Candidate>),
    /// The version is refused; its further chunks are skipped.
    Refused(SnapshotVersion, Refusal),
}

/// Puts chunks together: one snapshot at a time.
#[derive(Debug)]
pub(super) struct Assembler {
    key: PublicKey,
    max_entries: usize,
    max_bytes: usize,
    partial: Option<Partial>,
    skipping: Option<u64>,
}

#[derive(Debug)]
struct Partial {
    candidate: Box<Candidate>,
    bytes: usize,
}

impl Assembler {
    pub(super) const fn new(key: PublicKey) -> Self {
        Self { key, max_entries: MAX_ENTRIES, max_bytes: MAX_BYTES, partial: None, skipping: None }
    }

    #[cfg(test)]
    pub(super) const fn with_bounds(mut self, max_entries: usize, max_bytes: usize) -> Self {
        (self.max_entries, self.max_bytes) = (max_entries, max_bytes);
        self
    }

    pub(super) fn push(&mut self, chunk: proto::SnapshotChunk) -> Step {
        let (version, last) = (chunk.version, chunk.last);
        if chunk.header.is_none() && self.skipping == Some(version) {
            return Step::More;
        }
        match self.take(chunk) {
            Ok(step) => step,
            Err(refusal) => {
                self.partial = None;
                self.skipping = (!last).then_some(version);
                Step::Refused(SnapshotVersion(version), refusal)
            }
        }
    }

    fn take(&mut self, chunk: proto::SnapshotChunk) -> Result<Step, Refusal> {
        self.skipping = None;
        let mut partial = match (self.partial.take(), chunk.header) {
            // A header begins anew; what was begun before is superseded.
            (_, Some(signed)) => self.begin(chunk.version, signed)?,
            (Some(partial), None) if partial.candidate.header.version.0 == chunk.version => partial,
            (_, None) => return Err(Refusal::NoHeader),
        };
        let candidate = &mut partial.candidate;
        let size = |entry: &proto::Entry| entry.kind.len() + entry.id.len() + entry.body.len();
        partial.bytes = partial.bytes.saturating_add(chunk.entries.iter().map(size).sum());
        let count = candidate.entries.len() + chunk.entries.len();
        let announced = usize::try_from(candidate.header.entries).unwrap_or(usize::MAX);
        if partial.bytes > self.max_bytes {
            return Err(Refusal::TooLarge { limit: self.max_bytes });
        }
        if count > announced || (chunk.last && count != announced) {
            return Err(Refusal::Count { announced, received: count });
        }
        candidate.entries.extend(chunk.entries);
        if chunk.last {
            return Ok(Step::Whole(partial.candidate));
        }
        self.partial = Some(partial);
        Ok(Step::More)
    }

    fn begin(&self, version: u64, signed: proto::SnapshotHeader) -> Result<Partial, Refusal> {
        let header = verified(&self.key, &signed)?;
        if header.version.0 != version {
            return Err(Refusal::VersionDiffers { header: header.version });
        }
        if header.entries as usize > self.max_entries {
            return Err(Refusal::TooMany { limit: self.max_entries });
        }
        Ok(Partial { candidate: Box::new(Candidate { header, signed, entries: Vec::new() }), bytes: 0 })
    }
}

/// The header, if the pinned key signed it.
pub(super) fn verified(key: &PublicKey, signed: &proto::SnapshotHeader) -> Result<SnapshotHeader, Refusal> {
    let digest: [u8; 32] = signed.digest.as_ref().try_into().map_err(|_| Refusal::Header("digest"))?;
    let key_id: [u8; 8] = signed.key_id.as_ref().try_into().map_err(|_| Refusal::Header("key id"))?;
    let header = SnapshotHeader {
        version: SnapshotVersion(signed.version),
        digest: Fingerprint::from_bytes(digest),
        built_unix_ms: signed.built_unix_ms,
        entries: signed.entries,
    };
    if KeyId(key_id) != key.id() {
        return Err(Refusal::WrongKey { signed_by: KeyId(key_id), pinned: key.id() });
    }
    key.verify(SIGNATURE_PURPOSE, &header.signed_text(), &signed.signature)
        .map_err(|_| Refusal::Signature)?;
    Ok(header)
}

#[cfg(test)]
mod tests;
