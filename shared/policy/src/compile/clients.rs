//! `Client`s: their references followed, and which of them a key belongs to, found once and not with every call.

use std::collections::{BTreeMap, HashMap};
use std::sync::Arc;

use super::model::{Principal, Server, Zone};
use super::notes::Notes;
use crate::pattern::Pattern;
use crate::resource::{ClientReach, Name, Reached, Uid};
use crate::snapshot::ClientEntry;
use crate::standpoint::{ClientRule, List, Programs, Targets};

/// Which `Client`s name a key, by the places of these.
#[derive(Debug, Default)]
pub(super) struct Keyed {
    /// By the key's name, for those that name keys.
    by_name: HashMap<Name, Vec<u32>>,
    /// Those that ask for labels, and whether they name keys too.
    by_labels: Vec<(u32, BTreeMap<String, String>, bool)>,
    none: Arc<[u32]>,
}

impl Keyed {
    /// The places of the `Client`s that mean this key, in their order.
    pub(super) fn of(&self, name: &Name, labels: &BTreeMap<String, String>) -> Arc<[u32]> {
        let named = self.by_name.get(name).map(Vec::as_slice).unwrap_or_default();
        if named.is_empty() && (labels.is_empty() || self.by_labels.is_empty()) {
            return Arc::clone(&self.none);
        }
        // One that asks for labels is found by its labels, and must name the key too where it names keys.
        let asks_labels = |at: &u32| self.by_labels.iter().any(|(of, ..)| of == at);
        let fits = |wanted: &BTreeMap<String, String>| {
            wanted.iter().all(|(label, value)| labels.get(label) == Some(value))
        };
        let labelled = self
            .by_labels
            .iter()
            .filter(|(at, wanted, names_keys)| fits(wanted) && (!names_keys || named.contains(at)))
            .map(|(at, ..)| *at);
        let mut found: Vec<u32> =
            named.iter().copied().filter(|at| !asks_labels(at)).chain(labelled).collect();
        found.sort_unstable();
        found.dedup();
        found.into()
    }

    /// Names of keys that are not there.
    pub(super) fn dangling(
        &self,
        keys: &HashMap<Name, Arc<Principal>>,
        rules: &[ClientRule],
        notes: &mut Notes,
    ) {
        let mut missing: Vec<(&Name, u32)> = self
            .by_name
            .iter()
            .filter(|(name, _)| !keys.contains_key(name.as_str()))
            .flat_map(|(name, places)| places.iter().map(move |at| (name, *at)))
            .collect();
        missing.sort_by_key(|(name, at)| (*at, *name));
        for (name, at) in missing {
            let of = usize::try_from(at).ok().and_then(|at| rules.get(at));
            let from = of.map_or_else(String::new, |rule| format!("Client/{}", rule.name));
            notes.dangling(from, "match.keys", "VirtualKey", name);
        }
    }
}

/// Reads the entries, which are in the order of their names.
pub(super) fn clients(
    entries: Vec<ClientEntry>,
    zones: &HashMap<Name, Arc<Zone>>,
    servers: &HashMap<Name, Arc<Server>>,
    notes: &mut Notes,
) -> (Vec<ClientRule>, Keyed) {
    let mut keyed = Keyed::default();
    let mut rules: Vec<ClientRule> = Vec::with_capacity(entries.len());
    for (at, entry) in (0..).zip(entries) {
        let label = format!("Client/{}", entry.name);
        if let Some(last) = rules.last().filter(|last| last.name == entry.name) {
            notes.duplicate("client names", &last.name, label.clone(), entry.uid.to_string());
        }
        let spec = entry.spec;
        let (list, reach) = match (spec.allow, spec.deny) {
            (Some(reach), None) => (List::Allow, reach),
            (None, Some(reach)) => (List::Deny, reach),
            _ => {
                notes.invalid(label, "it is an allow list or a deny list: one of the two");
                continue;
            }
        };
        let matched = spec.r#match;
        for name in &matched.keys {
            keyed.by_name.entry(name.clone()).or_default().push(at);
        }
        let by_keys = !matched.keys.is_empty();
        let by_labels = !matched.key_labels.is_empty();
        if by_labels {
            keyed.by_labels.push((at, matched.key_labels, by_keys));
        }
        let mut programs = Vec::with_capacity(matched.client_info.len());
        for program in &matched.client_info {
            match (Pattern::parse(&program.name), program.version.as_deref().map(Pattern::parse).transpose())
            {
                (Ok(name), Ok(version)) => programs.push(Programs { name, version }),
                (Err(error), _) | (_, Err(error)) => {
                    notes.invalid(label.clone(), format!("match.clientInfo: {error}"));
                }
            }
        }
        if !by_keys && !by_labels && matched.client_info.is_empty() {
            notes.invalid(label.clone(), "its match means nobody");
        }
        rules.push(ClientRule {
            name: entry.name,
            list,
            keys: if by_keys { Some("spec.match.keys") } else { by_labels.then_some("spec.match.keyLabels") },
            programs: programs.into(),
            targets: targets(&label, &reach, zones, servers, notes),
        });
    }
    (rules, keyed)
}

fn targets(
    label: &str,
    reach: &ClientReach,
    zones: &HashMap<Name, Arc<Zone>>,
    servers: &HashMap<Name, Arc<Server>>,
    notes: &mut Notes,
) -> Targets {
    let mut uids: Vec<Uid> = Vec::with_capacity(reach.zones.len() + reach.servers.len());
    let zone = |name: &Name| zones.get(name).map(|zone| zone.entry.uid);
    let server = |name: &Name| servers.get(name).map(|server| server.uid());
    let mut everything = false;
    let mut follow = |field: &str, kind, reached: &[Reached], find: &dyn Fn(&Name) -> Option<Uid>| {
        for one in reached {
            match one.name().map(|name| (name, find(name))) {
                None => everything = true,
                Some((_, Some(uid))) => uids.push(uid),
                Some((name, None)) => notes.dangling(label.to_owned(), field, kind, name),
            }
        }
    };
    follow("zones", "TrustZone", &reach.zones, &zone);
    follow("servers", "McpServer", &reach.servers, &server);
    uids.sort_unstable();
    Targets { everything, uids: uids.into() }
}
