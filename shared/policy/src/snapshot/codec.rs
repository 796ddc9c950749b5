//! Entries as they travel: kind, id and canonical JSON.

use std::fmt::Write as _;

use portcullis_seal::{Fingerprint, to_canonical_json};
use serde::Serialize;
use serde::de::DeserializeOwned;

use super::{DefinitionEntry, DefinitionState, Entry, SnapshotDigest, SnapshotVersion};

/// What is signed of a snapshot, beside the signature.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SnapshotHeader {
    /// The version.
    pub version: SnapshotVersion,
    /// The digest over all entries; see [`SnapshotDigest`].
    pub digest: Fingerprint,
    /// When it was built, milliseconds since the Unix epoch.
    pub built_unix_ms: u64,
    /// How many entries it has.
    pub entries: u32,
}

impl SnapshotHeader {
    /// The text that is signed.
    #[must_use]
    pub fn signed_text(&self) -> Vec<u8> {
        super::signed_text(self.version, self.built_unix_ms, self.entries, self.digest)
    }
}

/// The bytes are no entry.
#[derive(Debug, thiserror::Error)]
pub enum EntryError {
    /// No such kind.
    #[error("{0:?} is no kind of entry that this version knows")]
    UnknownKind(String),
    /// The body is no such entry.
    #[error("not the body of a {kind}: {source}")]
    BadBody {
        /// The kind.
        kind: &'static str,
        /// Why.
        source: serde_json::Error,
    },
}

/// An entry as it travels.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct EncodedEntry {
    /// Its kind.
    pub kind: &'static str,
    /// Its id, unique within the kind.
    pub id: String,
    /// Canonical JSON.
    pub body: Vec<u8>,
}

/// The place of a kind on the wire; `None` for unknown ones.
#[must_use]
pub fn kind_order(kind: &str) -> Option<usize> {
    Entry::KINDS.iter().position(|known| *known == kind)
}

/// Encodes entries in the order in which they travel and are digested, and makes their digest.
#[must_use]
pub fn encode_all(entries: &[Entry]) -> (Vec<EncodedEntry>, Fingerprint) {
    let mut encoded: Vec<EncodedEntry> = entries
        .iter()
        .map(|entry| EncodedEntry { kind: entry.kind(), id: entry.id(), body: entry.encode() })
        .collect();
    encoded.sort_by(|a, b| (kind_order(a.kind), &a.id).cmp(&(kind_order(b.kind), &b.id)));
    let mut digest = SnapshotDigest::default();
    for entry in &encoded {
        digest.add(entry.kind, &entry.id, &entry.body);
    }
    (encoded, digest.finish())
}

impl Entry {
    /// Every kind, in the order of the wire.
    pub const KINDS: &[&'static str] =
        &["zone", "customer", "team", "server", "tool", "prompt", "bundle", "key", "client", "policy"];

    /// Its kind.
    #[must_use]
    pub const fn kind(&self) -> &'static str {
        match self {
            Self::Zone(_) => "zone",
            Self::Customer(_) => "customer",
            Self::Team(_) => "team",
            Self::Server(_) => "server",
            Self::Tool(_) => "tool",
            Self::Prompt(_) => "prompt",
            Self::Bundle(_) => "bundle",
            Self::Key(_) => "key",
            Self::Client(_) => "client",
            Self::Policy(_) => "policy",
        }
    }

    /// Its id: the uid, and for tools and prompts the uid of the server, a slash and the upstream's name.
    #[must_use]
    pub fn id(&self) -> String {
        match self {
            Self::Zone(entry) => entry.uid.to_string(),
            Self::Customer(entry) => entry.uid.to_string(),
            Self::Team(entry) => entry.uid.to_string(),
            Self::Server(entry) => entry.uid.to_string(),
            Self::Tool(entry) | Self::Prompt(entry) => format!("{}/{}", entry.server, entry.name),
            Self::Bundle(entry) => entry.uid.to_string(),
            Self::Key(entry) => entry.uid.to_string(),
            Self::Client(entry) => entry.uid.to_string(),
            Self::Policy(entry) => entry.uid.to_string(),
        }
    }

    /// Its body: canonical JSON, the same for equal entries.
    #[must_use]
    pub fn encode(&self) -> Vec<u8> {
        match self {
            Self::Zone(entry) => canonical(entry),
            Self::Customer(entry) => canonical(entry),
            Self::Team(entry) => canonical(entry),
            Self::Server(entry) => canonical(&**entry),
            Self::Tool(entry) | Self::Prompt(entry) => definition(entry),
            Self::Bundle(entry) => canonical(entry),
            Self::Key(entry) => canonical(&**entry),
            Self::Client(entry) => canonical(&**entry),
            Self::Policy(entry) => canonical(entry),
        }
    }

    /// Reads a body.
    ///
    /// # Errors
    /// An unknown kind, or a body that is not of it.
    pub fn decode(kind: &str, body: &[u8]) -> Result<Self, EntryError> {
        match kind {
            "zone" => read("zone", body).map(Self::Zone),
            "customer" => read("customer", body).map(Self::Customer),
            "team" => read("team", body).map(Self::Team),
            "server" => read("server", body).map(Self::Server),
            "tool" => read("tool", body).map(Self::Tool),
            "prompt" => read("prompt", body).map(Self::Prompt),
            "bundle" => read("bundle", body).map(Self::Bundle),
            "key" => read("key", body).map(Self::Key),
            "client" => read("client", body).map(Self::Client),
            "policy" => read("policy", body).map(Self::Policy),
            _ => Err(EntryError::UnknownKind(kind.chars().take(40).collect())),
        }
    }
}

fn read<T: DeserializeOwned>(kind: &'static str, body: &[u8]) -> Result<T, EntryError> {
    serde_json::from_slice(body).map_err(|source| EntryError::BadBody { kind, source })
}

/// The raw parts of an entry may nest as deep as canonical JSON allows, so that within the entry they nest deeper: then the
/// order of the struct's fields stands, which is as certain.
fn canonical<T: Serialize>(entry: &T) -> Vec<u8> {
    to_canonical_json(entry).map_or_else(|_| plain(entry), String::into_bytes)
}

/// Names, texts and raw JSON always serialise.
fn plain<T: Serialize + ?Sized>(value: &T) -> Vec<u8> {
    serde_json::to_vec(value).unwrap_or_default()
}

/// Definitions are most of a snapshot and are canonical already: they are put in as they are, not sorted again.
fn definition(entry: &DefinitionEntry) -> Vec<u8> {
    // Every field by its name: what is left out here would be enforced nowhere.
    let DefinitionEntry { server, name, alias, data_classes, zone, approval, state } = entry;
    let mut out = String::from("{");
    if let Some(alias) = alias {
        let _ = write!(out, "\"alias\":{},", json(alias));
    }
    if let Some(approval) = approval {
        let _ = write!(out, "\"approval\":{},", json(approval));
    }
    if !data_classes.is_empty() {
        let _ = write!(out, "\"dataClasses\":{},", json(data_classes));
    }
    let _ = write!(out, "\"name\":{},\"server\":\"{server}\",\"state\":", json(name));
    match state {
        DefinitionState::Approved { pin, definition } => {
            let _ = write!(out, "{{\"approved\":{{\"definition\":{},\"pin\":\"{pin}\"}}}}", definition.get());
        }
        DefinitionState::Pending => out.push_str("\"pending\""),
        DefinitionState::Quarantined => out.push_str("\"quarantined\""),
    }
    if let Some(zone) = zone {
        let _ = write!(out, ",\"zone\":{}", json(zone.as_str()));
    }
    out.push('}');
    out.into_bytes()
}

/// Strings, lists of strings and words always serialise.
fn json<T: Serialize + ?Sized>(value: &T) -> String {
    serde_json::to_string(value).unwrap_or_default()
}

#[cfg(test)]
mod tests;
