//! What travelled, read: and what is as it was the last time is not read again, so that a change costs what it changed.

use std::sync::Arc;

use portcullis_policy::snapshot::{Entry, SharedGrants, SnapshotDigest, kind_order};
use portcullis_proto::config::v1 as proto;
use portcullis_seal::sha256;

use super::refusal::Refusal;

/// The entries of the last snapshot that was kept, in the order in which they travelled.
#[derive(Debug, Default)]
pub(super) struct Entries {
    known: Vec<Read>,
    grants: SharedGrants,
}

/// One entry that was read.
#[derive(Debug)]
pub(super) struct Read {
    /// The place of its kind on the wire.
    kind: Option<usize>,
    id: Arc<str>,
    /// Of the body, the very bytes: two entries are the same if this is.
    sha256: [u8; 32],
    entry: Entry,
}

impl Entries {
    /// Reads entries, which are in the order of kinds and ids, and digests them as they are read.
    ///
    /// # Errors
    /// What is wrong with the first that is no entry, or stands in the wrong place.
    pub(super) fn read(
        &mut self,
        received: &[proto::Entry],
        digest: &mut SnapshotDigest,
    ) -> Result<Vec<Read>, Refusal> {
        let mut read: Vec<Read> = Vec::with_capacity(received.len());
        let mut known = self.known.iter().peekable();
        for one in received {
            let kind = kind_order(&one.kind);
            let place = (kind, one.id.as_str());
            if read.last().is_some_and(|before| before.place() >= place) {
                return Err(Refusal::Order { kind: short(&one.kind), id: short(&one.id) });
            }
            let sha256 = sha256(&one.body);
            digest.add_hashed(&one.kind, &one.id, &sha256);
            while known.next_if(|known| known.place() < place).is_some() {}
            let same = known.next_if(|known| known.place() == place && known.sha256 == sha256);
            let (id, entry) = match same {
                Some(known) => (Arc::clone(&known.id), known.entry.clone()),
                None => (one.id.as_str().into(), decoded(one, &mut self.grants)?),
            };
            read.push(Read { kind, id, sha256, entry });
        }
        Ok(read)
    }

    /// Keeps what was read, for the next time.
    pub(super) fn keep(&mut self, read: Vec<Read>) {
        self.known = read;
        self.tidy();
    }

    /// Forgets what was read and not kept.
    pub(super) fn tidy(&mut self) {
        self.grants.tidy();
    }
}

impl Read {
    pub(super) const fn entry(&self) -> &Entry {
        &self.entry
    }

    fn place(&self) -> (Option<usize>, &str) {
        (self.kind, &self.id)
    }
}

fn decoded(entry: &proto::Entry, grants: &mut SharedGrants) -> Result<Entry, Refusal> {
    let decoded = grants
        .decode(&entry.kind, &entry.body)
        .map_err(|source| Refusal::Entry { id: short(&entry.id), source })?;
    if decoded.id() != entry.id {
        return Err(Refusal::Id { kind: short(&entry.kind), id: short(&entry.id) });
    }
    Ok(decoded)
}

fn short(text: &str) -> String {
    text.chars().take(120).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn team(number: u8, name: &str) -> proto::Entry {
        let id = format!("00000000-0000-4000-8000-0000000000{number:02}");
        let body = format!(r#"{{"name":"{name}","uid":"{id}"}}"#);
        proto::Entry { kind: "team".to_owned(), id, body: body.into() }
    }

    fn key(number: u8, subject: &str) -> proto::Entry {
        let id = format!("00000000-0000-4000-8000-0000000000{number:02}");
        let body = serde_json::json!({
            "uid": id, "name": format!("key-{number}"), "secrets": [], "revoked": false, "zone": "default",
            "principal": { "kind": "agent", "subject": subject }, "grants": [{ "server": "crm", "allow": ["*"] }],
        });
        proto::Entry { kind: "key".to_owned(), id, body: body.to_string().into() }
    }

    fn read(entries: &mut Entries, received: &[proto::Entry]) -> Vec<Entry> {
        let mut digest = SnapshotDigest::default();
        let read = entries.read(received, &mut digest).unwrap();
        let mut whole = SnapshotDigest::default();
        received.iter().for_each(|one| whole.add(&one.kind, &one.id, &one.body));
        assert_eq!(digest.finish(), whole.finish());
        let made = read.iter().map(|read| read.entry().clone()).collect();
        entries.keep(read);
        made
    }

    fn shared(one: &Entry, other: &Entry) -> bool {
        matches!((one, other), (Entry::Key(one), Entry::Key(other)) if Arc::ptr_eq(one, other))
    }

    #[test]
    fn only_what_differs_is_read_again() {
        let mut entries = Entries::default();
        let before = read(&mut entries, &[team(1, "crew"), key(10, "a"), key(12, "c"), key(13, "d")]);
        let after = read(&mut entries, &[team(1, "guild"), key(10, "a"), key(11, "b"), key(12, "other")]);
        assert!(matches!(&after[0], Entry::Team(team) if team.name.as_str() == "guild"));
        assert!(shared(&before[1], &after[1]), "as it was");
        assert!(matches!(&after[2], Entry::Key(key) if key.principal.subject == "b"), "new");
        assert!(matches!(&after[3], Entry::Key(key) if key.principal.subject == "other"), "changed");
        // What is gone and comes back is read like anything new.
        let again = read(&mut entries, &[key(10, "a"), key(13, "d")]);
        assert!(shared(&before[1], &again[0]) && !shared(&before[3], &again[1]));
        let (Entry::Key(one), Entry::Key(other)) = (&again[0], &again[1]) else { panic!("keys") };
        assert!(Arc::ptr_eq(&one.grants, &other.grants), "equal grants stay one list");
    }

    #[test]
    fn what_is_known_excuses_nothing() {
        let mut entries = Entries::default();
        read(&mut entries, &[key(10, "a"), key(11, "b")]);
        let refused = |entries: &mut Entries, received: &[proto::Entry]| {
            entries.read(received, &mut SnapshotDigest::default()).unwrap_err().to_string()
        };
        let twice = refused(&mut entries, &[key(10, "a"), key(10, "a")]);
        assert!(twice.contains("order"), "{twice}");
        let swapped = refused(&mut entries, &[key(11, "b"), key(10, "a")]);
        assert!(swapped.contains("order"), "{swapped}");
        // The body of a known entry under another one's id.
        let stolen = proto::Entry { body: key(10, "a").body, ..key(11, "b") };
        let stolen = refused(&mut entries, &[key(10, "a"), stolen]);
        assert!(stolen.contains("the body of another entry"), "{stolen}");
        let other_kind = proto::Entry { kind: "team".to_owned(), ..key(10, "a") };
        assert!(refused(&mut entries, &[other_kind]).contains("team"));
    }
}
