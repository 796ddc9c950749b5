//! Keys that are judged alike, so that they are judged once.

use std::collections::HashMap;
use std::sync::Arc;

use crate::access::Access;
use crate::compile::Snapshot;
use crate::compile::model::Principal;

/// Keys with one access.
pub(super) struct Group<'a> {
    pub(super) access: &'a Arc<Access>,
    pub(super) keys: Vec<&'a Arc<Principal>>,
}

/// Every key of a snapshot, by what is granted to it; in no order.
pub(super) fn of(snapshot: &Snapshot) -> Vec<Group<'_>> {
    let mut groups: HashMap<*const Access, Group<'_>> = HashMap::new();
    for principal in snapshot.keys() {
        let group = groups
            .entry(Arc::as_ptr(&principal.access))
            .or_insert_with(|| Group { access: &principal.access, keys: Vec::new() });
        group.keys.push(principal);
    }
    groups.into_values().collect()
}
