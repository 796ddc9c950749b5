//! Why a snapshot is refused: what a Nack says.

use std::io;

use portcullis_policy::compile::CompileError;
use portcullis_policy::snapshot::{EntryError, SnapshotVersion};
use portcullis_seal::{Fingerprint, KeyId};

/// How many errors of a compilation are told.
const TOLD: usize = 5;

/// Why a snapshot is refused. The one in force stays.
#[derive(Debug, thiserror::Error)]
pub enum Refusal {
    /// A chunk came without its first one.
    #[error("a chunk without the header of its version: the first chunk is missing")]
    NoHeader,
    /// The header's version is not that of its chunk.
    #[error("the chunk and its header differ in the version: the header has {header}")]
    VersionDiffers {
        /// The header's.
        header: SnapshotVersion,
    },
    /// A field of the header has another length than it must have.
    #[error("the header's {0} has the wrong length")]
    Header(&'static str),
    /// Another key signed.
    #[error("signed by key {signed_by}, but this plane's token pins key {pinned}")]
    WrongKey {
        /// The key that signed.
        signed_by: KeyId,
        /// The pinned key.
        pinned: KeyId,
    },
    /// The signature is not of the pinned key over this header.
    #[error("the signature does not match the header")]
    Signature,
    /// Too many entries.
    #[error("more than {limit} entries")]
    TooMany {
        /// The bound.
        limit: usize,
    },
    /// Too many bytes.
    #[error("more than {limit} bytes of entries")]
    TooLarge {
        /// The bound.
        limit: usize,
    },
    /// Entries are missing or too many.
    #[error("the header announces {announced} entries, {received} were received")]
    Count {
        /// By the header.
        announced: usize,
        /// In the chunks.
        received: usize,
    },
    /// A newer one is in force.
    #[error("version {in_force} is in force, and only a newer one replaces it")]
    Older {
        /// The one in force.
        in_force: SnapshotVersion,
    },
    /// Another content under the version in force.
    #[error("this version is in force with another content ({in_force})")]
    SameVersion {
        /// Its digest.
        in_force: Fingerprint,
    },
    /// Entries are not in the order of kind and id, or one stands twice.
    #[error("entry {kind} {id:?} is not in the order of kinds and ids")]
    Order {
        /// Its kind.
        kind: String,
        /// Its id.
        id: String,
    },
    /// The entries are not those that were signed.
    #[error("the entries have the digest {made}, the header says {signed}")]
    Digest {
        /// Over the entries.
        made: Fingerprint,
        /// In the header.
        signed: Fingerprint,
    },
    /// An entry cannot be read.
    #[error("entry {id:?}: {source}")]
    Entry {
        /// Its id.
        id: String,
        /// Why.
        source: EntryError,
    },
    /// An entry's id is not that of its body.
    #[error("entry {kind} {id:?} has the body of another entry")]
    Id {
        /// Its kind.
        kind: String,
        /// Its id.
        id: String,
    },
    /// It does not compile.
    #[error("it does not compile: {}", told(.0))]
    Compile(Vec<CompileError>),
    /// The file on disk cannot be read, or is damaged.
    #[error("it cannot be read from disk: {0}")]
    Unreadable(#[from] io::Error),
    /// The work itself failed.
    #[error("applying it failed inside this plane")]
    Failed,
}

impl Refusal {
    /// Whether the same snapshot may be taken later.
    pub(super) const fn is_transient(&self) -> bool {
        matches!(self, Self::Failed)
    }
}

fn told(errors: &[CompileError]) -> String {
    let mut text: Vec<String> = errors.iter().take(TOLD).map(ToString::to_string).collect();
    if errors.len() > TOLD {
        text.push(format!("and {} more", errors.len() - TOLD));
    }
    text.join("; ")
}
