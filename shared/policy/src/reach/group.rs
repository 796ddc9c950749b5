//! Keys that are judged alike, so that they are judged once; and those that no grant lets near, so that they are not judged.

use std::collections::{HashMap, HashSet};
use std::sync::Arc;

use crate::access::Access;
use crate::compile::Snapshot;
use crate::compile::model::{Principal, Server};
use crate::resource::{Grant, Name};
use crate::standpoint::Holder;

/// Keys with one access that the same `Client`s name and the same policies can apply to.
pub(super) struct Group<'a> {
    pub(super) access: &'a Arc<Access>,
    pub(super) holder: Holder<'a>,
    pub(super) keys: Vec<&'a Arc<Principal>>,
}

/// The keys of a snapshot whose grants or bundles name anything of one server, by what is granted to them and what rules know of
/// them, in no order; and how many other keys there are.
pub(super) fn about<'a>(snapshot: &'a Snapshot, server: &Server) -> (Vec<Group<'a>>, usize) {
    let naming = Naming::new(snapshot, server);
    // Most keys have nothing to do with the server. Of each access that is found out once, before anything is made for it.
    let mut named: HashMap<*const Access, bool> = HashMap::new();
    let mut groups: HashMap<_, Group<'_>> = HashMap::new();
    let mut others = 0;
    for principal in snapshot.keys() {
        let access = &principal.access;
        if !*named.entry(Arc::as_ptr(access)).or_insert_with(|| naming.is_in(access)) {
            others += 1;
            continue;
        }
        let holder = Holder::new(&snapshot.standpoints, principal);
        let group = groups.entry((Arc::as_ptr(access), holder.alike())).or_insert_with(|| Group {
            access,
            holder,
            keys: Vec::new(),
        });
        group.keys.push(principal);
    }
    (groups.into_values().collect(), others)
}

/// What names anything of one server: grants of it, and of the bundles that hold any of it.
struct Naming<'a> {
    server: &'a Name,
    bundles: HashSet<&'a Name>,
}

impl<'a> Naming<'a> {
    fn new(snapshot: &'a Snapshot, server: &'a Server) -> Self {
        let holding = snapshot.bundles().filter(|bundle| bundle.of(server.uid()).is_some());
        Self { server: server.name(), bundles: holding.map(|bundle| &bundle.entry.name).collect() }
    }

    /// Whether it is in an access. Where it is not, the rules of the access hold nothing of the server.
    fn is_in(&self, access: &Access) -> bool {
        let granted = access.grants.iter().any(|grant| match grant {
            Grant::Server(grant) => grant.server == *self.server,
            Grant::Bundle(grant) => self.bundles.contains(&grant.bundle),
        });
        granted || access.memberships.iter().any(|membership| self.bundles.contains(&membership.bundle))
    }
}
