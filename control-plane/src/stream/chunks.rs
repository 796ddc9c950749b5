//! From what is published and what is secret to the messages that carry it.

use std::collections::BTreeSet;

use bytes::Bytes;
use portcullis_policy::resource::Name;
use portcullis_proto::config::v1 as proto;
use portcullis_proto::config::v1::attach_response::Message;

use crate::publish::Published;
use crate::store::SecretPart;

/// How large a chunk may grow before the next one begins, in bytes. A single entry is never larger.
const MAX_CHUNK: usize = 1 << 20;

/// The number of entries, from `from`, that go into one chunk: at least one.
fn fitting(published: &Published, from: usize) -> usize {
    let mut size = 0;
    published
        .entries
        .iter()
        .skip(from)
        .enumerate()
        .take_while(|(at, entry)| {
            size += entry.kind.len() + entry.id.len() + entry.body.len() + 32;
            *at == 0 || size <= MAX_CHUNK
        })
        .count()
}

/// The chunks of a snapshot in their order, each made when it is asked for: a slow plane holds one, not all.
pub(super) fn chunks(published: &Published) -> impl Iterator<Item = Message> {
    let mut next = Some(0);
    std::iter::from_fn(move || {
        let from = next?;
        let count = fitting(published, from);
        let last = from + count >= published.entries.len();
        next = (!last).then_some(from + count);
        let entries = published.entries.iter().skip(from).take(count).map(|entry| proto::Entry {
            kind: entry.kind.to_owned(),
            id: entry.id.as_ref().to_owned(),
            body: entry.body.clone(),
        });
        Some(Message::Snapshot(proto::SnapshotChunk {
            version: published.header.version.0,
            header: (from == 0).then(|| header(published)),
            entries: entries.collect(),
            last,
        }))
    })
}

fn header(published: &Published) -> proto::SnapshotHeader {
    proto::SnapshotHeader {
        version: published.header.version.0,
        digest: Bytes::copy_from_slice(published.header.digest.as_bytes()),
        built_unix_ms: published.header.built_unix_ms,
        entries: published.header.entries,
        signature: Bytes::copy_from_slice(&published.signature),
        key_id: Bytes::copy_from_slice(&published.key_id.0),
    }
}

/// The secret part as it travels to a plane that needs the values of these names.
pub(super) fn secrets(part: &SecretPart, needed: &BTreeSet<Name>) -> Message {
    let sealing_keys = part.sealing_keys.iter().map(|key| proto::SealingKey {
        id: Bytes::copy_from_slice(&key.id),
        key: Bytes::copy_from_slice(key.expose()),
    });
    let values = part
        .values
        .iter()
        .filter(|(name, _)| needed.contains(*name))
        .map(|(name, value)| (name.as_str().to_owned(), Bytes::copy_from_slice(value.expose())));
    Message::Secrets(proto::SecretPart {
        generation: part.generation,
        sealing_keys: sealing_keys.collect(),
        values: values.collect(),
    })
}
