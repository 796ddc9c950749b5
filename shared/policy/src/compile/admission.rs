//! The servers that are open for a chosen few, and who these are: read once for a snapshot, asked for every key.
//!
//! Keys are many and these servers are few. What a bundle holds of them is found once, not for each key that is granted it.

use std::collections::{HashMap, HashSet};
use std::sync::Arc;

use super::model::{Principal, Server};
use super::notes::Notes;
use crate::access::Membership;
use crate::bundle::Bundle;
use crate::opening::{Admitted, hundredth};
use crate::resource::{Grant, Name, Uid};
use crate::snapshot::{KeyEntry, Opening};

/// Whom one server at the stage `limited` lets in.
struct Few<'a> {
    server: Uid,
    teams: HashSet<&'a Name>,
    keys: HashSet<&'a Name>,
    percent: u8,
}

impl<'a> Few<'a> {
    /// None of a server at another stage.
    fn of(server: &'a Server) -> Option<Self> {
        let Opening::Limited { teams, keys, percent } = &server.entry.opening else { return None };
        Some(Self {
            server: server.uid(),
            teams: teams.iter().collect(),
            keys: keys.iter().collect(),
            percent: percent.unwrap_or(0),
        })
    }

    fn has(&self, key: &KeyEntry) -> bool {
        self.keys.contains(&key.name)
            || key.team.as_ref().is_some_and(|team| self.teams.contains(team))
            || (self.percent > 0 && hundredth(key.uid, self.server) < self.percent)
    }
}

/// All servers at the stage `limited`, and the bundles that hold something of them.
pub(super) struct Admission<'a> {
    servers: HashMap<&'a Name, Few<'a>>,
    bundles: HashMap<&'a Name, Vec<&'a Name>>,
    of_teams: &'a HashMap<Name, Arc<[Membership]>>,
}

impl<'a> Admission<'a> {
    pub(super) fn new(
        servers: &'a HashMap<Name, Arc<Server>>,
        bundles: &'a HashMap<Name, Arc<Bundle>>,
        of_teams: &'a HashMap<Name, Arc<[Membership]>>,
    ) -> Self {
        let few = servers.iter().filter_map(|(name, server)| Some((name, Few::of(server)?)));
        let mut admission = Self { servers: few.collect(), bundles: HashMap::new(), of_teams };
        if admission.servers.is_empty() {
            return admission;
        }
        for (name, bundle) in bundles {
            let members = bundle.entry.tools.iter().map(|member| &member.server);
            let held: HashSet<&Name> =
                members.filter(|server| admission.servers.contains_key(*server)).collect();
            if !held.is_empty() {
                admission.bundles.insert(name, held.into_iter().collect());
            }
        }
        admission
    }

    /// What a key is let in to, of the servers that its grants and its team's bundles reach.
    pub(super) fn admitted(&self, key: &KeyEntry) -> Admitted {
        if key.sandbox || self.servers.is_empty() {
            return Admitted::new(key.sandbox, Vec::new());
        }
        let mut servers = Vec::new();
        let mut add = |name: &Name| {
            servers.extend(self.servers.get(name).filter(|few| few.has(key)).map(|few| few.server));
        };
        let held = |bundle: &Name| self.bundles.get(bundle).into_iter().flatten();
        for grant in key.grants.iter() {
            match grant {
                Grant::Server(grant) => add(&grant.server),
                Grant::Bundle(grant) => held(&grant.bundle).for_each(|name| add(name)),
            }
        }
        let memberships = key.team.as_ref().and_then(|team| self.of_teams.get(team));
        for membership in memberships.into_iter().flat_map(|memberships| memberships.iter()) {
            held(&membership.bundle).for_each(|name| add(name));
        }
        Admitted::new(false, servers)
    }
}

/// Teams and keys that are let in to a server are there.
pub(super) fn dangling(
    servers: &HashMap<Name, Arc<Server>>,
    teams: &HashMap<Name, Option<Name>>,
    keys: &HashMap<Name, Arc<Principal>>,
    notes: &mut Notes,
) {
    for server in servers.values() {
        let Opening::Limited { teams: named, keys: chosen, .. } = &server.entry.opening else { continue };
        let label = || format!("McpServer/{}", server.name());
        for team in named.iter().filter(|team| !teams.contains_key(*team)) {
            notes.dangling(label(), "opening.limited.teams", "Team", team);
        }
        for key in chosen.iter().filter(|key| !keys.contains_key(*key)) {
            notes.dangling(label(), "opening.limited.keys", "VirtualKey", key);
        }
    }
}
