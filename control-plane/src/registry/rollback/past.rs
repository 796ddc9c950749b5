//! What differs between a version of the store and the present, read back through history.

use std::collections::BTreeMap;
use std::sync::Arc;

use portcullis_policy::resource::{Kind, Name, Uid};
use serde::Deserialize as _;
use serde_json::Value;

use crate::catalog::DEFINITION;
use crate::objects::{KEY_MATERIAL, SERVER_STATE, ServerState};
use crate::registry::RegistryError;
use crate::store::{HistoryChange, HistoryFilter, HistoryRecord, Store};

/// How many records are read at a time.
const PAGE: usize = 64;

/// One object as it was.
#[derive(Debug, Clone, PartialEq)]
pub(super) struct Then {
    pub(super) uid: Uid,
    pub(super) body: Value,
}

/// Everything that changed since a version, as it was then; none where it was not there.
#[derive(Debug)]
pub(super) struct Past {
    /// The version that is looked back at.
    pub(super) version: u64,
    /// The version of the store that this was read from.
    pub(super) seen_at: u64,
    resources: BTreeMap<(Kind, Arc<str>), Option<Then>>,
    definitions: BTreeMap<Arc<str>, Option<Then>>,
    states: BTreeMap<Uid, Option<ServerState>>,
}

impl Past {
    /// Reads back to a version.
    pub(super) async fn of(store: &dyn Store, version: u64) -> Result<Self, RegistryError> {
        let newest = store.state().version;
        if version == 0 || version > newest {
            return Err(RegistryError::NotFound(format!(
                "version {version} (there are 1 to {newest}; `portcullis history` lists them)"
            )));
        }
        let mut past = Self {
            version,
            seen_at: newest,
            resources: BTreeMap::new(),
            definitions: BTreeMap::new(),
            states: BTreeMap::new(),
        };
        let mut before = newest.saturating_add(1);
        loop {
            let filter = HistoryFilter { limit: PAGE, before: Some(before), ..HistoryFilter::default() };
            let page =
                store.history(filter).await.map_err(|error| RegistryError::Unavailable(error.to_string()))?;
            // The store has every version from 1 on: an end before the wanted one is damage.
            if page.is_empty() {
                return Err(RegistryError::Internal(format!("history ends before version {version}")));
            }
            for record in page {
                if record.version <= version {
                    return Ok(past);
                }
                before = record.version;
                past.undo(record);
            }
        }
    }

    fn undo(&mut self, record: HistoryRecord) {
        let replaced: Vec<(Arc<str>, Uid)> = record.changes.iter().filter_map(ended_key).collect();
        for change in record.changes {
            if let Some(kind) = Kind::parse(&change.kind).filter(|kind| kind.as_str() == &*change.kind) {
                // Where one key took the place of another, the record has the uid of the new one; the old one's is that of
                // the material that ended with it.
                let old = replaced.iter().find(|(name, _)| {
                    kind == Kind::VirtualKey && change.after.is_some() && *name == change.name
                });
                let uid = old.map_or(change.uid, |(_, uid)| *uid);
                let then = change.before.map(|body| Then { uid, body });
                self.resources.insert((kind, change.name), then);
            } else if &*change.kind == DEFINITION {
                let then = change.before.map(|body| Then { uid: change.uid, body });
                self.definitions.insert(change.name, then);
            } else if &*change.kind == SERVER_STATE {
                let then = change.before.and_then(|body| ServerState::deserialize(body).ok());
                self.states.insert(change.uid, then);
            }
        }
    }

    /// Resources that changed since, referenced kinds first.
    pub(super) fn resources(&self) -> impl Iterator<Item = (Kind, &Arc<str>, Option<&Then>)> {
        self.resources.iter().map(|((kind, name), then)| (*kind, name, then.as_ref()))
    }

    /// How far a server had come, if that changed since: the one of this uid, or else another one that had its name then.
    pub(super) fn server_state(&self, uid: &Uid, name: &Name) -> Option<ServerState> {
        match self.states.get(uid)? {
            Some(then) => Some(then.clone()),
            None => self.states.values().flatten().find(|then| then.server == *name).cloned(),
        }
    }

    /// Definitions that changed since, by the names of their objects.
    pub(super) fn definitions(&self) -> impl Iterator<Item = (&Arc<str>, Option<&Then>)> {
        self.definitions.iter().map(|(name, then)| (name, then.as_ref()))
    }
}

/// The name and the uid of a key whose material ended in this change.
fn ended_key(change: &HistoryChange) -> Option<(Arc<str>, Uid)> {
    if &*change.kind != KEY_MATERIAL || change.after.is_some() {
        return None;
    }
    let name = change.before.as_ref()?.get("key")?.as_str()?;
    Some((name.into(), Uid(change.name.parse().ok()?)))
}
