//! What a set of grants in a zone reaches: grants, and the bundles of the keys' team, with their references followed and their
//! patterns read.
//!
//! Shared between keys with equal grants, zone and bundles of the team, and made when the first of them calls: with 100,000 keys
//! most of this is never needed between two snapshots.

use std::collections::{HashMap, HashSet};
use std::sync::{Arc, OnceLock};

use crate::bundle::Bundle;
use crate::chosen::Chosen;
use crate::compile::Snapshot;
use crate::compile::model::{Offer, Server};
use crate::decide::judge::Ground;
use crate::opening::Admitted;
use crate::resource::{Grant, Name, ServerGrant, Uid};
use crate::standpoint::Standpoints;
use crate::view::View;

/// A bundle that a key has because of its team, without a grant that names it.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub(crate) struct Membership {
    pub(crate) bundle: Name,
    /// The place of the team in the bundle's `spec.members.teams`.
    pub(crate) at: u32,
}

/// What grants say of one server. Places are those of [`Rules::ground`].
#[derive(Debug)]
pub(crate) struct ServerRules {
    pub(crate) offer: Arc<Offer>,
    pub(crate) chosen: Chosen,
    /// The first grant that names anything of it.
    pub(crate) first: u32,
}

/// What a set of grants in a zone reaches.
#[derive(Debug)]
pub(crate) struct Rules {
    pub(crate) zone: Name,
    /// The rules of the snapshot that look at a caller's circumstances.
    pub(crate) standpoints: Arc<Standpoints>,
    /// For whom servers are open that are not open to all.
    pub(crate) admitted: Admitted,
    /// In the order of the servers' names. Only servers of which something can be granted.
    pub(crate) servers: Vec<ServerRules>,
    by_uid: HashMap<Uid, usize>,
    pub(crate) bundles: HashMap<Name, (u32, Arc<Bundle>)>,
    /// How many grants there are: places beyond are those of memberships.
    grants: u32,
    memberships: Arc<[Membership]>,
}

impl Rules {
    pub(crate) fn server(&self, uid: Uid) -> Option<&ServerRules> {
        self.by_uid.get(&uid).and_then(|at| self.servers.get(*at))
    }

    /// The way to a server: its sandbox, for those who ask for it, where there is one.
    pub(crate) fn way<'a>(&self, server: &'a Arc<Server>) -> &'a Arc<Server> {
        server.twin.as_ref().filter(|_| self.admitted.sandbox).unwrap_or(server)
    }

    /// What a place stands for: a grant of the key, or the team that a bundle names.
    pub(crate) fn ground(&self, place: u32) -> Ground<'_> {
        let membership = place.checked_sub(self.grants).and_then(|at| self.memberships.get(at as usize));
        match membership {
            Some(membership) => Ground::Team(&membership.bundle, membership.at),
            None => Ground::Grant(place),
        }
    }

    /// Follows grants and memberships. With `only`, what they say of other servers than these is left out: who asks about one
    /// server for every key does not read all that all keys are granted.
    fn new(access: &Access, snapshot: &Snapshot, only: Option<&HashSet<Uid>>) -> Self {
        let Access { zone, grants, memberships, admitted, .. } = access;
        let mut reach = Reach { snapshot, only, servers: HashMap::new(), bundles: HashMap::new() };
        for (at, grant) in (0..).zip(grants.iter()) {
            match grant {
                Grant::Bundle(grant) => reach.bundle(at, &grant.bundle),
                Grant::Server(ServerGrant { server, allow, except, prompts, resources }) => {
                    let found = snapshot.server(server.as_str());
                    let Some(server) = found.filter(|server| reach.asked(&server.uid())) else { continue };
                    let chosen = Chosen::new(at, allow, except, prompts, resources);
                    reach.server(at, server.uid(), chosen);
                }
            }
        }
        let count = u32::try_from(grants.len()).unwrap_or(u32::MAX);
        for (at, membership) in (count..).zip(memberships.iter()) {
            reach.bundle(at, &membership.bundle);
        }
        let Reach { servers: found, bundles, .. } = reach;
        let mut servers: Vec<ServerRules> = found.into_values().collect();
        servers.sort_by(|a, b| a.offer.server.name().cmp(b.offer.server.name()));
        let by_uid = servers.iter().enumerate().map(|(at, rules)| (rules.offer.server.uid(), at)).collect();
        Self {
            zone: zone.clone(),
            standpoints: Arc::clone(&snapshot.standpoints),
            admitted: admitted.clone(),
            servers,
            by_uid,
            bundles,
            grants: count,
            memberships: Arc::clone(memberships),
        }
    }
}

/// What is reached so far. What comes first is found first.
struct Reach<'a> {
    snapshot: &'a Snapshot,
    only: Option<&'a HashSet<Uid>>,
    servers: HashMap<Uid, ServerRules>,
    bundles: HashMap<Name, (u32, Arc<Bundle>)>,
}

impl Reach<'_> {
    fn asked(&self, server: &Uid) -> bool {
        self.only.is_none_or(|only| only.contains(server))
    }

    fn bundle(&mut self, at: u32, name: &Name) {
        let Some(bundle) = self.snapshot.bundle(name) else { return };
        match self.only.filter(|only| only.len() < bundle.size()) {
            Some(only) => {
                for uid in only {
                    if let Some(held) = bundle.of(*uid) {
                        self.server(at, *uid, held.chosen.at(at));
                    }
                }
            }
            None => {
                for (uid, chosen) in bundle.servers() {
                    if self.asked(&uid) {
                        self.server(at, uid, chosen.at(at));
                    }
                }
            }
        }
        self.bundles.entry(name.clone()).or_insert_with(|| (at, Arc::clone(bundle)));
    }

    fn server(&mut self, at: u32, uid: Uid, chosen: Chosen) {
        let Some(offer) = self.snapshot.offer(uid).filter(|_| !chosen.is_empty()) else { return };
        let rules = self.servers.entry(uid).or_insert_with(|| ServerRules {
            offer: Arc::clone(offer),
            chosen: Chosen::default(),
            first: at,
        });
        rules.chosen.append(chosen);
    }
}

/// Grants and zone of one or several keys, with what was made of them so far.
#[derive(Debug)]
pub(crate) struct Access {
    pub(crate) zone: Name,
    pub(crate) grants: Arc<[Grant]>,
    /// Bundles that the keys have because of their team.
    pub(crate) memberships: Arc<[Membership]>,
    pub(crate) admitted: Admitted,
    made: OnceLock<Made>,
}

/// The views hold the rules, and nothing here holds a view that the rules hold: no cycle keeps an old snapshot alive.
#[derive(Debug)]
struct Made {
    rules: Arc<Rules>,
    all: OnceLock<Arc<View>>,
    bundles: HashMap<Name, OnceLock<Arc<View>>>,
    servers: HashMap<Name, OnceLock<Arc<View>>>,
}

impl Access {
    pub(crate) const fn new(
        zone: Name,
        grants: Arc<[Grant]>,
        memberships: Arc<[Membership]>,
        admitted: Admitted,
    ) -> Self {
        Self { zone, grants, memberships, admitted, made: OnceLock::new() }
    }

    /// Whether both say the same, of whatever snapshots they are.
    pub(crate) fn reads_like(&self, other: &Self) -> bool {
        self.zone == other.zone
            && self.grants == other.grants
            && self.memberships == other.memberships
            && self.admitted == other.admitted
    }

    fn made(&self, snapshot: &Snapshot) -> &Made {
        self.made.get_or_init(|| {
            let rules = Rules::new(self, snapshot, None);
            let bundles = rules.bundles.keys().map(|name| (name.clone(), OnceLock::new())).collect();
            let servers =
                rules.servers.iter().map(|s| (s.offer.server.name().clone(), OnceLock::new())).collect();
            Made { rules: Arc::new(rules), all: OnceLock::new(), bundles, servers }
        })
    }

    /// The rules, made from the snapshot that this access belongs to.
    pub(crate) fn rules(&self, snapshot: &Snapshot) -> &Arc<Rules> {
        &self.made(snapshot).rules
    }

    /// What of the rules speaks of these servers, made for one question and not kept: asked for every key, what all of them
    /// are granted would stay in memory.
    pub(crate) fn rules_about(&self, snapshot: &Snapshot, only: Option<&HashSet<Uid>>) -> Arc<Rules> {
        match self.made.get() {
            Some(made) => Arc::clone(&made.rules),
            None => Arc::new(Rules::new(self, snapshot, only)),
        }
    }

    pub(crate) fn all(&self, snapshot: &Snapshot) -> Arc<View> {
        let made = self.made(snapshot);
        Arc::clone(made.all.get_or_init(|| Arc::new(View::all(&made.rules))))
    }

    /// The view of a bundle; `None` when no grant names it.
    pub(crate) fn bundle(&self, snapshot: &Snapshot, name: &str) -> Option<Arc<View>> {
        let made = self.made(snapshot);
        let (_, bundle) = made.rules.bundles.get(name)?;
        let view = made.bundles.get(name)?;
        Some(Arc::clone(view.get_or_init(|| Arc::new(View::bundle(&made.rules, bundle)))))
    }

    /// The view of a server; `None` when no grant names anything of it.
    pub(crate) fn server(&self, snapshot: &Snapshot, name: &str) -> Option<Arc<View>> {
        let made = self.made(snapshot);
        let view = made.servers.get(name)?;
        let offer = snapshot.server(name).and_then(|server| snapshot.offer(server.uid()))?;
        Some(Arc::clone(view.get_or_init(|| Arc::new(View::server(&made.rules, offer)))))
    }
}
