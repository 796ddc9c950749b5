//! Which secrets one plane was handed: those of servers that it serves, as the snapshot says that it is handed, and no others.

use std::collections::BTreeSet;

use portcullis_policy::resource::{Name, PlaneLabels};
use portcullis_proto::config::v1::attach_response::Message;

use super::chunks::secrets;
use crate::publish::Published;
use crate::store::SecretPart;

/// What one stream needs and was told.
#[derive(Debug, Default)]
pub(super) struct Handed {
    /// The secrets that the last snapshot needs at this plane.
    needed: BTreeSet<Name>,
    /// The generation that was told, and the names that were in it.
    told: Option<(u64, BTreeSet<Name>)>,
}

impl Handed {
    /// Before another snapshot is handed out: what the one before needs and what this one needs, as both may be in force for a
    /// moment. The message, where it says something new.
    pub(super) fn before(
        &mut self,
        next: &Published,
        labels: &PlaneLabels,
        part: &SecretPart,
    ) -> Option<Message> {
        let next = next.snapshot.secrets_for(labels);
        let both: BTreeSet<Name> = self.needed.union(&next).cloned().collect();
        self.needed = next;
        self.tell(part, both)
    }

    /// With nothing but the last snapshot to be in force. The message, where it says something new.
    pub(super) fn now(&mut self, part: &SecretPart) -> Option<Message> {
        self.tell(part, self.needed.clone())
    }

    fn tell(&mut self, part: &SecretPart, mut names: BTreeSet<Name>) -> Option<Message> {
        names.retain(|name| part.values.contains_key(name));
        let told = (part.generation, names);
        if self.told.as_ref() == Some(&told) {
            return None;
        }
        let message = secrets(part, &told.1);
        self.told = Some(told);
        Some(message)
    }
}
