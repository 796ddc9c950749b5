//! Which servers can be reached otherwise in one snapshot than in another, by keys whose grants are equal in both.

use std::collections::{HashMap, HashSet};
use std::sync::Arc;

use crate::compile::Snapshot;
use crate::compile::model::{Candidate, Offer};
use crate::reach::DefinitionStanding;
use crate::resource::{Name, Uid};

/// The servers that differ.
pub(super) struct Scope {
    /// Their uids in the old snapshot.
    pub(super) old: HashSet<Uid>,
    /// Their uids in the new one.
    pub(super) new: HashSet<Uid>,
    /// The servers that differ in themselves, both sides; in the order of their names.
    pub(super) changed: Vec<BothSides>,
    /// Whether the rules for clients and the policies are the same in both.
    pub(super) same_rules: bool,
}

/// What a server offers before and after; none where it is not there.
pub(super) type BothSides = (Option<Arc<Offer>>, Option<Arc<Offer>>);

impl Scope {
    pub(super) fn between(old: &Snapshot, new: &Snapshot) -> Self {
        let same_rules = old.standpoints.clients == new.standpoints.clients
            && old.standpoints.conditions.same(&new.standpoints.conditions);
        let mut scope = Self { old: HashSet::new(), new: HashSet::new(), changed: Vec::new(), same_rules };
        let by_name = |snapshot: &Snapshot, name: &Name| {
            snapshot.server(name.as_str()).and_then(|s| snapshot.offer(s.uid())).cloned()
        };
        let names: HashSet<Name> = old.servers().chain(new.servers()).map(|s| s.name().clone()).collect();
        let mut names: Vec<Name> = names.into_iter().collect();
        names.sort();
        for name in names {
            let sides = (by_name(old, &name), by_name(new, &name));
            if let (Some(before), Some(after)) = &sides
                && same(before, after)
            {
                continue;
            }
            scope.old.extend(sides.0.as_ref().map(|offer| offer.server.uid()));
            scope.new.extend(sides.1.as_ref().map(|offer| offer.server.uid()));
            scope.changed.push(sides);
        }
        scope.bundles(old, new);
        scope
    }

    /// Members of bundles that changed: grants of the bundle reach other tools of these servers.
    fn bundles(&mut self, old: &Snapshot, new: &Snapshot) {
        let of = |snapshot: &Snapshot| -> HashMap<Name, Vec<Name>> {
            let named = |uid: &Uid| snapshot.server_by_uid(uid).map(|server| server.name().clone());
            let members = |bundle: &crate::bundle::Bundle| {
                bundle.servers().filter_map(|(uid, _)| named(&uid)).collect()
            };
            snapshot.bundles().map(|bundle| (bundle.entry.name.clone(), members(bundle))).collect()
        };
        let (before, after) = (of(old), of(new));
        let entry =
            |snapshot: &Snapshot, name: &Name| snapshot.bundle(name).map(|bundle| bundle.entry.clone());
        for name in before.keys().chain(after.keys()) {
            if entry(old, name) == entry(new, name) {
                continue;
            }
            let members = before.get(name).into_iter().chain(after.get(name)).flatten();
            for server in members {
                self.old.extend(old.server(server.as_str()).map(|server| server.uid()));
                self.new.extend(new.server(server.as_str()).map(|server| server.uid()));
            }
        }
    }

    /// Whether no server differs.
    pub(super) fn is_empty(&self) -> bool {
        self.old.is_empty() && self.new.is_empty()
    }
}

/// Whether two servers are judged alike whoever asks. What cannot be compared differs.
fn same(a: &Offer, b: &Offer) -> bool {
    let text = |offer: &Offer| {
        Some((
            serde_json::to_string(&offer.server.entry).ok()?,
            serde_json::to_string(&offer.server.zone.entry).ok()?,
        ))
    };
    let all = |a: &[Arc<Candidate>], b: &[Arc<Candidate>]| {
        a.len() == b.len() && a.iter().zip(b).all(|(a, b)| same_definition(a, b))
    };
    all(&a.tools, &b.tools)
        && all(&a.prompts, &b.prompts)
        && a.server.refused_class == b.server.refused_class
        && text(a).is_some_and(|a| text(b) == Some(a))
}

fn same_definition(a: &Candidate, b: &Candidate) -> bool {
    a.name == b.name
        && a.exposed == b.exposed
        && a.refused_class == b.refused_class
        && a.data_classes == b.data_classes
        && a.zone.entry == b.zone.entry
        && DefinitionStanding::of(&a.state) == DefinitionStanding::of(&b.state)
}
