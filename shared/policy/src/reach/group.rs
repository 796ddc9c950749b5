//! Keys that are judged alike, so that they are judged once.

use std::collections::HashMap;
use std::sync::Arc;

use crate::access::Access;
use crate::compile::Snapshot;
use crate::compile::model::Principal;
use crate::standpoint::Holder;

/// Keys with one access that the same `Client`s name and the same policies can apply to.
pub(super) struct Group<'a> {
    pub(super) access: &'a Arc<Access>,
    pub(super) holder: Holder<'a>,
    pub(super) keys: Vec<&'a Arc<Principal>>,
}

/// Every key of a snapshot, by what is granted to it and what rules know of it; in no order.
pub(super) fn of(snapshot: &Snapshot) -> Vec<Group<'_>> {
    let mut groups: HashMap<_, Group<'_>> = HashMap::new();
    for principal in snapshot.keys() {
        let holder = Holder::new(&snapshot.standpoints, principal);
        let group = groups.entry((Arc::as_ptr(&principal.access), holder.alike())).or_insert_with(|| Group {
            access: &principal.access,
            holder,
            keys: Vec::new(),
        });
        group.keys.push(principal);
    }
    groups.into_values().collect()
}
