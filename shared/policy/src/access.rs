//! What a set of grants in a zone reaches: grants with their references followed and their patterns read.
//!
//! Shared between keys with equal grants and zone, and made when the first of them calls: with 100,000 keys most of this is
//! never needed between two snapshots.

use std::collections::{HashMap, HashSet};
use std::sync::{Arc, OnceLock};

use crate::compile::Snapshot;
use crate::compile::model::{Offer, Server};
use crate::opening::Admitted;
use crate::pattern::{Pattern, PatternSet};
use crate::resource::{BundleMember, Grant, Name, Uid};
use crate::snapshot::BundleEntry;
use crate::standpoint::Standpoints;
use crate::view::View;

/// Chosen tools of one server.
#[derive(Debug)]
pub(crate) struct Selection {
    allow: PatternSet,
    except: PatternSet,
    /// An exception that cannot be read leaves out everything: a broken deny must never become an allow.
    broken: bool,
}

impl Selection {
    pub(crate) fn new(allow: &[String], except: &[String]) -> Self {
        let (allow, _) = PatternSet::new(allow);
        let (except, whole) = PatternSet::new(except);
        Self { allow, except, broken: !whole }
    }

    pub(crate) fn matches(&self, name: &str) -> bool {
        !self.broken && self.allow.matches(name) && !self.except.matches(name)
    }

    /// Whether it can match anything.
    pub(crate) fn is_empty(&self) -> bool {
        self.broken || self.allow.is_empty()
    }
}

/// A bundle with its members read.
#[derive(Debug)]
pub(crate) struct Bundle {
    pub(crate) entry: BundleEntry,
    /// Per server: the members that speak of it, by their place in the bundle.
    pub(crate) members: HashMap<Uid, Vec<(u32, Arc<Selection>)>>,
}

impl Bundle {
    /// The place of the first member that offers a tool.
    pub(crate) fn member(&self, server: Uid, tool: &str) -> Option<u32> {
        let members = self.members.get(&server)?;
        members.iter().find(|(_, selection)| selection.matches(tool)).map(|(at, _)| *at)
    }
}

/// Reads the members of a bundle, following their servers by name.
pub(crate) fn read_members(
    members: &[BundleMember],
    uid_of: impl Fn(&Name) -> Option<Uid>,
) -> HashMap<Uid, Vec<(u32, Arc<Selection>)>> {
    let mut by_server: HashMap<Uid, Vec<(u32, Arc<Selection>)>> = HashMap::new();
    for (at, member) in (0..).zip(members) {
        if let Some(uid) = uid_of(&member.server) {
            let selection = Selection::new(&member.allow, &member.except);
            by_server.entry(uid).or_default().push((at, Arc::new(selection)));
        }
    }
    by_server
}

/// What grants say of one server.
#[derive(Debug)]
pub(crate) struct ServerRules {
    pub(crate) offer: Arc<Offer>,
    /// Tools, each with the place of the grant that names them.
    pub(crate) tools: Vec<(u32, Arc<Selection>)>,
    /// Prompts, likewise.
    pub(crate) prompts: Vec<(u32, PatternSet)>,
    /// Patterns of resource URIs.
    pub(crate) resources: Vec<Pattern>,
    /// The places of the grants that named them, in the same order.
    pub(crate) resource_grants: Vec<u32>,
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
}

impl Rules {
    pub(crate) fn server(&self, uid: Uid) -> Option<&ServerRules> {
        self.by_uid.get(&uid).and_then(|at| self.servers.get(*at))
    }

    /// The way to a server: its sandbox, for those who ask for it, where there is one.
    pub(crate) fn way<'a>(&self, server: &'a Arc<Server>) -> &'a Arc<Server> {
        server.twin.as_ref().filter(|_| self.admitted.sandbox).unwrap_or(server)
    }

    /// Follows grants. With `only`, what they say of other servers than these is left out: who asks about one server for
    /// every key does not read all that all keys are granted.
    pub(crate) fn new(access: &Access, snapshot: &Snapshot, only: Option<&HashSet<Uid>>) -> Self {
        let (zone, grants) = (&access.zone, &access.grants);
        let asked = |uid: &Uid| only.is_none_or(|only| only.contains(uid));
        let mut found: HashMap<Uid, ServerRules> = HashMap::new();
        let mut bundles = HashMap::new();
        for (at, grant) in (0..).zip(grants) {
            match grant {
                Grant::Bundle(grant) => {
                    let Some(bundle) = snapshot.bundle(&grant.bundle) else { continue };
                    let mut take = |uid: Uid, members: &[(u32, Arc<Selection>)]| {
                        let selections = members.iter().filter(|(_, selection)| !selection.is_empty());
                        for (_, selection) in selections {
                            let Some(rules) = rules_of(&mut found, snapshot, uid, at) else { continue };
                            rules.tools.push((at, Arc::clone(selection)));
                        }
                    };
                    match only.filter(|only| only.len() < bundle.members.len()) {
                        Some(only) => only
                            .iter()
                            .filter_map(|uid| Some((uid, bundle.members.get(uid)?)))
                            .for_each(|(uid, members)| take(*uid, members)),
                        None => bundle
                            .members
                            .iter()
                            .filter(|(uid, _)| asked(uid))
                            .for_each(|(uid, members)| take(*uid, members)),
                    }
                    bundles.entry(grant.bundle.clone()).or_insert_with(|| (at, Arc::clone(bundle)));
                }
                Grant::Server(grant) => {
                    let found_server = snapshot.server(grant.server.as_str());
                    let Some(server) = found_server.filter(|server| asked(&server.uid())) else { continue };
                    let tools = Selection::new(&grant.allow, &grant.except);
                    let (prompts, _) = PatternSet::new(&grant.prompts);
                    let resources: Vec<Pattern> =
                        grant.resources.iter().filter_map(|text| Pattern::parse(text).ok()).collect();
                    if tools.is_empty() && prompts.is_empty() && resources.is_empty() {
                        continue;
                    }
                    let Some(rules) = rules_of(&mut found, snapshot, server.uid(), at) else { continue };
                    if !tools.is_empty() {
                        rules.tools.push((at, Arc::new(tools)));
                    }
                    if !prompts.is_empty() {
                        rules.prompts.push((at, prompts));
                    }
                    rules.resource_grants.extend(resources.iter().map(|_| at));
                    rules.resources.extend(resources);
                }
            }
        }
        let mut servers: Vec<ServerRules> = found.into_values().collect();
        servers.sort_by(|a, b| a.offer.server.name().cmp(b.offer.server.name()));
        let by_uid = servers.iter().enumerate().map(|(at, rules)| (rules.offer.server.uid(), at)).collect();
        let (standpoints, admitted) = (Arc::clone(&snapshot.standpoints), access.admitted.clone());
        Self { zone: zone.clone(), standpoints, admitted, servers, by_uid, bundles }
    }
}

fn rules_of<'a>(
    found: &'a mut HashMap<Uid, ServerRules>,
    snapshot: &Snapshot,
    uid: Uid,
    at: u32,
) -> Option<&'a mut ServerRules> {
    let offer = snapshot.offer(uid)?;
    Some(found.entry(uid).or_insert_with(|| ServerRules {
        offer: Arc::clone(offer),
        tools: Vec::new(),
        prompts: Vec::new(),
        resources: Vec::new(),
        resource_grants: Vec::new(),
        first: at,
    }))
}

/// Grants and zone of one or several keys, with what was made of them so far.
#[derive(Debug)]
pub(crate) struct Access {
    pub(crate) zone: Name,
    pub(crate) grants: Vec<Grant>,
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
    pub(crate) const fn new(zone: Name, grants: Vec<Grant>, admitted: Admitted) -> Self {
        Self { zone, grants, admitted, made: OnceLock::new() }
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
