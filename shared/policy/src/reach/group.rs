//! Keys that are judged alike, so that they are judged once.

use std::collections::HashMap;
use std::sync::Arc;

use crate::access::Access;
use crate::compile::Snapshot;
use crate::compile::model::Principal;

/// Keys with one access that the same `Client`s name.
pub(super) struct Group<'a> {
    pub(super) access: &'a Arc<Access>,
    pub(super) keyed: &'a [u32],
    pub(super) keys: Vec<&'a Arc<Principal>>,
}

/// Every key of a snapshot, by what is granted to it and which `Client`s name it; in no order.
pub(super) fn of(snapshot: &Snapshot) -> Vec<Group<'_>> {
    let mut groups: HashMap<(*const Access, &[u32]), Group<'_>> = HashMap::new();
    for principal in snapshot.keys() {
        let group =
            groups.entry((Arc::as_ptr(&principal.access), &principal.client_rules)).or_insert_with(|| {
                Group { access: &principal.access, keyed: &principal.client_rules, keys: Vec::new() }
            });
        group.keys.push(principal);
    }
    groups.into_values().collect()
}
