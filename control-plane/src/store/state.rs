//! The objects as they are at one version: immutable, and cheap to share.

use std::collections::BTreeMap;
use std::ops::Bound;
use std::sync::Arc;

use portcullis_policy::resource::Uid;
use serde_json::Value;

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

type Objects = BTreeMap<Arc<str>, Arc<Object>>;

/// Every object at one version. A clone shares all of them; a change copies only the kinds that it touches.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct State {
    /// Counts the changes ever made; 0 is the empty state.
    pub version: u64,
    kinds: BTreeMap<Arc<str>, Arc<Objects>>,
}

impl State {
    /// The object of this kind and name.
    #[must_use]
    pub fn get(&self, kind: &str, name: &str) -> Option<&Arc<Object>> {
        self.kinds.get(kind)?.get(name)
    }

    /// The objects of a kind, in the order of their names.
    pub fn list<'a>(&'a self, kind: &str) -> impl Iterator<Item = &'a Arc<Object>> + use<'a> {
        self.kinds.get(kind).into_iter().flat_map(|objects| objects.values())
    }

    /// The objects of a kind whose names begin with this, in the order of their names.
    pub fn list_prefix<'a>(
        &'a self,
        kind: &str,
        prefix: &'a str,
    ) -> impl Iterator<Item = &'a Arc<Object>> + use<'a> {
        self.kinds.get(kind).into_iter().flat_map(move |objects| {
            objects
                .range::<str, _>((Bound::Included(prefix), Bound::Unbounded))
                .take_while(move |(name, _)| name.starts_with(prefix))
                .map(|(_, object)| object)
        })
    }

    /// The kinds that have objects.
    pub fn kinds(&self) -> impl Iterator<Item = &Arc<str>> {
        self.kinds.keys()
    }

    /// How many objects of a kind there are.
    #[must_use]
    pub fn count(&self, kind: &str) -> usize {
        self.kinds.get(kind).map_or(0, |objects| objects.len())
    }
}
