//! A state as it would be after some steps, without making it: what is judged before it is committed, and what is looked
//! back at.

use std::collections::HashMap;
use std::sync::Arc;

use crate::store::{Object, Op, State};

/// A state with changes laid over it.
#[derive(Debug)]
pub(crate) struct Candidate<'a> {
    base: &'a State,
    /// By kind.
    over: HashMap<Arc<str>, Changed>,
}

/// Objects by name; none where one is deleted.
type Changed = HashMap<Arc<str>, Option<Arc<Object>>>;

impl<'a> Candidate<'a> {
    /// The state as it is.
    pub(crate) fn unchanged(base: &'a State) -> Self {
        Self { base, over: HashMap::new() }
    }

    /// The state after these operations.
    pub(crate) fn after<'o>(base: &'a State, ops: impl IntoIterator<Item = &'o Op>) -> Self {
        let mut candidate = Self::unchanged(base);
        ops.into_iter().for_each(|op| candidate.take(op.clone()));
        candidate
    }

    /// Lays one more operation over it.
    pub(crate) fn take(&mut self, op: Op) {
        match op {
            Op::Put { kind, name, uid, body } => {
                // The same body under the same uid changes nothing: what was made of it can be used again.
                if self.get(&kind, &name).is_some_and(|known| known.uid == uid && known.body == body) {
                    return;
                }
                let version = self.base.version.saturating_add(1);
                let object = Object {
                    kind: Arc::clone(&kind),
                    name: Arc::clone(&name),
                    uid,
                    version,
                    created_version: version,
                    body,
                };
                self.over.entry(kind).or_default().insert(name, Some(Arc::new(object)));
            }
            Op::Delete { kind, name } => {
                self.over.entry(kind).or_default().insert(name, None);
            }
        }
    }

    pub(crate) fn get(&self, kind: &str, name: &str) -> Option<&Arc<Object>> {
        match self.over.get(kind).and_then(|names| names.get(name)) {
            Some(changed) => changed.as_ref(),
            None => self.base.get(kind, name),
        }
    }

    /// The objects of a kind whose names begin with `prefix`, in no order.
    pub(crate) fn list<'b>(
        &'b self,
        kind: &str,
        prefix: &'b str,
    ) -> impl Iterator<Item = &'b Arc<Object>> + use<'a, 'b> {
        let over = self.over.get(kind);
        let kept = self
            .base
            .list_prefix(kind, prefix)
            .filter(move |object| over.is_none_or(|names| !names.contains_key(&object.name)));
        let new = over
            .into_iter()
            .flatten()
            .filter(move |(name, _)| name.starts_with(prefix))
            .filter_map(|(_, object)| object.as_ref());
        kept.chain(new)
    }

    /// The state below.
    pub(crate) const fn base(&self) -> &'a State {
        self.base
    }
}
