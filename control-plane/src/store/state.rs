//! The objects as they are at one version: immutable, and cheap to share.

use std::collections::BTreeMap;
use std::sync::Arc;

use portcullis_policy::resource::Uid;
use serde_json::Value;

use super::ordered::Ordered;
use super::record::RecordChange;

/// One object.
#[derive(Debug, Clone, PartialEq)]
pub struct Object {
    /// Its kind.
    pub kind: Arc<str>,
    /// Its name, unique within the kind.
    pub name: Arc<str>,
    /// Its immutable id.
    pub uid: Uid,
    /// The version of the state that changed it last.
    pub version: u64,
    /// The version of the state that it came into being with.
    pub created_version: u64,
    /// What it says.
    pub body: Value,
}

/// Every object at one version. Clones share all objects, and what a change does not touch.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct State {
    /// Counts the changes ever made; 0 is the empty state.
    pub version: u64,
    objects: usize,
    kinds: BTreeMap<Arc<str>, Ordered>,
}

impl State {
    /// The state of these objects. Of two with one kind and name the later one counts.
    #[must_use]
    pub fn new(version: u64, objects: impl IntoIterator<Item = Object>) -> Self {
        let mut state = Self { version, ..Self::default() };
        for object in objects {
            state.insert(Arc::new(object));
        }
        state
    }

    /// The object of this kind and name.
    #[must_use]
    pub fn get(&self, kind: &str, name: &str) -> Option<&Arc<Object>> {
        self.kinds.get(kind)?.get(name)
    }

    /// The objects of a kind, in the order of their names.
    pub fn list<'a>(&'a self, kind: &str) -> impl Iterator<Item = &'a Arc<Object>> + use<'a> {
        self.kinds.get(kind).into_iter().flat_map(Ordered::iter)
    }

    /// The objects of a kind whose names begin with this, in the order of their names.
    pub fn list_prefix<'a>(
        &'a self,
        kind: &str,
        prefix: &'a str,
    ) -> impl Iterator<Item = &'a Arc<Object>> + use<'a> {
        let from = self.kinds.get(kind).into_iter().flat_map(move |objects| objects.iter_from(prefix));
        from.take_while(move |object| object.name.starts_with(prefix))
    }

    /// The kinds that have objects.
    pub fn kinds(&self) -> impl Iterator<Item = &Arc<str>> {
        self.kinds.keys()
    }

    /// How many objects of a kind there are.
    #[must_use]
    pub fn count(&self, kind: &str) -> usize {
        self.kinds.get(kind).map_or(0, Ordered::len)
    }

    /// How many objects there are.
    #[must_use]
    pub const fn len(&self) -> usize {
        self.objects
    }

    /// Whether there is no object.
    #[must_use]
    pub const fn is_empty(&self) -> bool {
        self.objects == 0
    }

    /// Puts an object in its place as it is.
    pub(crate) fn insert(&mut self, object: Arc<Object>) {
        if self.kinds.entry(Arc::clone(&object.kind)).or_default().insert(object) {
            self.objects += 1;
        }
    }

    fn remove(&mut self, kind: &str, name: &str) {
        let Some(objects) = self.kinds.get_mut(kind) else { return };
        if objects.remove(name) {
            self.objects = self.objects.saturating_sub(1);
        }
        if objects.len() == 0 {
            self.kinds.remove(kind);
        }
    }

    /// Makes the recorded changes, which lead to this version; gives each object as it was and as it is. The error says
    /// which change does not fit the state: the record is not the next one of this state's history.
    pub(super) fn apply(&mut self, version: u64, changes: &[RecordChange]) -> Result<Vec<Step>, String> {
        let mut steps = Vec::with_capacity(changes.len());
        for change in changes {
            let old = self.get(&change.kind, &change.name).cloned();
            if old.is_some() != change.before.is_some() {
                return Err(format!("{}/{} is not what the change found", change.kind, change.name));
            }
            let new = change.after.as_ref().map(|body| {
                let kept = old.as_ref().filter(|old| old.uid == change.uid);
                Arc::new(Object {
                    kind: Arc::clone(&change.kind),
                    name: Arc::clone(&change.name),
                    uid: change.uid,
                    version,
                    created_version: kept.map_or(version, |old| old.created_version),
                    body: body.clone(),
                })
            });
            match &new {
                Some(object) => self.insert(Arc::clone(object)),
                None => self.remove(&change.kind, &change.name),
            }
            steps.push(Step { old, new });
        }
        self.version = version;
        Ok(steps)
    }
}

/// One object before and after a change.
#[derive(Debug, Clone)]
pub(super) struct Step {
    pub(super) old: Option<Arc<Object>>,
    pub(super) new: Option<Arc<Object>>,
}
