//! What stands in the index, byte for byte. Kinds and names carry their length, so that no key is part of another's range.

use std::sync::Arc;

use portcullis_policy::resource::Uid;

use super::super::frame::Tip;
use super::super::journal::Position;
use super::super::segment::JournalId;
use super::super::state::Object;

/// The form of everything here; another number means that the index is made anew.
const FORM: u8 = 1;

/// Where the index stands.
pub(super) const HEAD: &[u8] = b"m";
/// Before every object's key.
pub(super) const OBJECTS: &[u8] = b"o";

/// What the index knows of itself.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Head {
    pub(super) journal: JournalId,
    pub(super) tip: Tip,
    pub(super) objects: u64,
    /// The sum over all objects.
    pub(super) sum: u128,
}

impl Head {
    pub(super) fn encode(&self) -> Vec<u8> {
        let mut bytes = vec![FORM];
        bytes.extend_from_slice(&self.journal);
        bytes.extend_from_slice(&self.tip.version.to_be_bytes());
        bytes.extend_from_slice(&self.tip.link.to_be_bytes());
        bytes.extend_from_slice(&self.objects.to_be_bytes());
        bytes.extend_from_slice(&self.sum.to_be_bytes());
        bytes.extend_from_slice(&crc32fast::hash(&bytes).to_be_bytes());
        bytes
    }

    pub(super) fn decode(bytes: &[u8]) -> Option<Self> {
        let (covered, sum) = bytes.split_last_chunk::<4>()?;
        if crc32fast::hash(covered) != u32::from_be_bytes(*sum) {
            return None;
        }
        let (form, rest) = covered.split_first()?;
        let (journal, rest) = rest.split_first_chunk::<16>()?;
        let (version, rest) = rest.split_first_chunk::<8>()?;
        let (link, rest) = rest.split_first_chunk::<4>()?;
        let (objects, rest) = rest.split_first_chunk::<8>()?;
        let sum: &[u8; 16] = rest.try_into().ok()?;
        (*form == FORM).then_some(Self {
            journal: *journal,
            tip: Tip { version: u64::from_be_bytes(*version), link: u32::from_be_bytes(*link) },
            objects: u64::from_be_bytes(*objects),
            sum: u128::from_be_bytes(*sum),
        })
    }
}

fn key(mark: u8, kind: &str, name: Option<&str>) -> Vec<u8> {
    let mut key = vec![mark];
    key.extend_from_slice(&(kind.len() as u64).to_be_bytes());
    key.extend_from_slice(kind.as_bytes());
    if let Some(name) = name {
        key.extend_from_slice(&(name.len() as u64).to_be_bytes());
        key.extend_from_slice(name.as_bytes());
    }
    key
}

pub(super) fn object(kind: &str, name: &str) -> Vec<u8> {
    key(b'o', kind, Some(name))
}

pub(super) fn version(version: u64) -> Vec<u8> {
    let mut key = vec![b'v'];
    key.extend_from_slice(&version.to_be_bytes());
    key
}

pub(super) fn kind_version(kind: &str, version: u64) -> Vec<u8> {
    let mut key = key(b'k', kind, None);
    key.extend_from_slice(&version.to_be_bytes());
    key
}

pub(super) fn object_version(kind: &str, name: &str, version: u64) -> Vec<u8> {
    let mut key = key(b'h', kind, Some(name));
    key.extend_from_slice(&version.to_be_bytes());
    key
}

/// The version that a key of [`kind_version`] or [`object_version`] ends with.
pub(super) fn trailing_version(key: &[u8]) -> Option<u64> {
    key.last_chunk::<8>().map(|version| u64::from_be_bytes(*version))
}

pub(super) fn encode_position(position: Position) -> Vec<u8> {
    [position.segment.to_be_bytes(), position.offset.to_be_bytes()].concat()
}

pub(super) fn decode_position(bytes: &[u8]) -> Option<Position> {
    let (segment, offset) = bytes.split_first_chunk::<8>()?;
    Some(Position {
        segment: u64::from_be_bytes(*segment),
        offset: u64::from_be_bytes(offset.try_into().ok()?),
    })
}

/// CRC-32 of the rest, uid, version, version of creation, body as JSON.
pub(super) fn encode_object(object: &Object) -> Result<Vec<u8>, String> {
    let mut rest = Vec::new();
    rest.extend_from_slice(object.uid.0.as_bytes());
    rest.extend_from_slice(&object.version.to_be_bytes());
    rest.extend_from_slice(&object.created_version.to_be_bytes());
    serde_json::to_writer(&mut rest, &object.body).map_err(|error| error.to_string())?;
    let mut bytes = crc32fast::hash(&rest).to_be_bytes().to_vec();
    bytes.append(&mut rest);
    Ok(bytes)
}

pub(super) fn decode_object(key: &[u8], value: &[u8]) -> Option<Object> {
    let (kind, rest) = take_text(key.strip_prefix(OBJECTS)?)?;
    let (name, []) = take_text(rest)? else { return None };
    let (sum, rest) = value.split_first_chunk::<4>()?;
    if crc32fast::hash(rest) != u32::from_be_bytes(*sum) {
        return None;
    }
    let (uid, rest) = rest.split_first_chunk::<16>()?;
    let (version, rest) = rest.split_first_chunk::<8>()?;
    let (created_version, body) = rest.split_first_chunk::<8>()?;
    Some(Object {
        kind,
        name,
        uid: Uid(uuid::Uuid::from_bytes(*uid)),
        version: u64::from_be_bytes(*version),
        created_version: u64::from_be_bytes(*created_version),
        body: serde_json::from_slice(body).ok()?,
    })
}

fn take_text(bytes: &[u8]) -> Option<(Arc<str>, &[u8])> {
    let (length, rest) = bytes.split_first_chunk::<8>()?;
    let (text, rest) = rest.split_at_checked(usize::try_from(u64::from_be_bytes(*length)).ok()?)?;
    Some((std::str::from_utf8(text).ok()?.into(), rest))
}
