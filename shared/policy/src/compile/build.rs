//! The compiler: follows every reference, indexes every name, and collects all that is wrong.

use std::collections::{BTreeMap, HashMap, HashSet};
use std::sync::Arc;

use portcullis_metering::Level;

use super::admission::{self, Admission};
use super::bundles::{Offered, bundles, memberships};
use super::clients::clients;
use super::conditions::conditions;
use super::definitions::{definitions, hosted_where_it_may_be};
use super::keys::{Known, keys};
use super::model::{Principal, Server, SnapshotMark, Zone};
use super::notes::Notes;
use super::{CompileError, Snapshot};
use crate::metering::{Metered, of_owner, of_server, of_tools};
use crate::resource::{Kind, Name, PlaneLabels, Uid, serves};
use crate::rule::DefinitionKind;
use crate::snapshot::{
    BundleEntry, ClientEntry, CustomerEntry, DefinitionEntry, Entry, KeyEntry, PolicyEntry, ServerEntry,
    SnapshotHeader, TeamEntry, ZoneEntry, default_zone_name,
};
use crate::standpoint::{Met, Standpoints};

/// Entries by kind.
#[derive(Default)]
struct Sorted {
    zones: Vec<ZoneEntry>,
    customers: Vec<CustomerEntry>,
    teams: Vec<TeamEntry>,
    servers: Vec<Arc<ServerEntry>>,
    definitions: Vec<(DefinitionKind, Arc<DefinitionEntry>)>,
    bundles: Vec<BundleEntry>,
    keys: Vec<Arc<KeyEntry>>,
    clients: Vec<ClientEntry>,
    policies: Vec<PolicyEntry>,
}

impl Sorted {
    fn new(entries: Vec<Entry>) -> Self {
        let mut sorted = Self::default();
        for entry in entries {
            match entry {
                Entry::Zone(entry) => sorted.zones.push(entry),
                Entry::Customer(entry) => sorted.customers.push(entry),
                Entry::Team(entry) => sorted.teams.push(entry),
                Entry::Server(entry) => sorted.servers.push(entry),
                Entry::Tool(entry) => sorted.definitions.push((DefinitionKind::Tool, entry)),
                Entry::Prompt(entry) => sorted.definitions.push((DefinitionKind::Prompt, entry)),
                Entry::Bundle(entry) => sorted.bundles.push(entry),
                Entry::Key(entry) => sorted.keys.push(entry),
                Entry::Client(entry) => sorted.clients.push(*entry),
                Entry::Policy(entry) => sorted.policies.push(entry),
            }
        }
        // The order of what comes out, errors and reports too, must not depend on the order of what came in.
        sorted.servers.sort_by(|a, b| (&a.name, a.uid).cmp(&(&b.name, b.uid)));
        sorted.definitions.sort_by(|(a_kind, a), (b_kind, b)| {
            (a.server, *a_kind, &a.name).cmp(&(b.server, *b_kind, &b.name))
        });
        // Keys are many, and come in this order.
        sorted.keys.sort_by(|a, b| (a.uid, &a.name).cmp(&(b.uid, &b.name)));
        sorted.clients.sort_by(|a, b| (&a.name, a.uid).cmp(&(&b.name, b.uid)));
        sorted.policies.sort_by(|a, b| (&a.name, a.uid).cmp(&(&b.name, b.uid)));
        sorted
    }
}

pub(super) fn build(
    header: SnapshotHeader,
    entries: Vec<Entry>,
    plane: Option<PlaneLabels>,
) -> Result<Snapshot, Vec<CompileError>> {
    let sorted = Sorted::new(entries);
    let mut notes = Notes::default();
    uids(&sorted, &mut notes);
    let zones = zones(sorted.zones, plane.as_ref(), &mut notes);
    let customers: HashSet<Name> = sorted.customers.iter().map(|entry| entry.name.clone()).collect();
    let metered = tenants(&sorted.customers, &sorted.teams);
    let teams = teams(sorted.customers, sorted.teams, &mut notes);
    let servers = servers(sorted.servers, &zones, &mut notes);
    let sandboxes = servers.values().filter_map(|server| server.twin.clone()).map(|twin| (twin.uid(), twin));
    let sandboxes = sandboxes.collect();
    let metered_tools: MeteredTools =
        servers.values().map(|server| (server.uid(), of_tools(&server.entry))).collect();
    let (offers, tools, prompts) =
        definitions(sorted.definitions, &servers, &zones, &metered_tools, &mut notes);
    let offered = Offered { offers: &offers, tools: &tools };
    let bundles = bundles(sorted.bundles, &teams, &servers, &offered, &mut notes);
    let of_teams = memberships(&bundles);
    let mark = Arc::new(SnapshotMark { _unique: 0 });
    let (clients, keyed) = clients(sorted.clients, &zones, &servers, &mut notes);
    let admission = Admission::new(&servers, &bundles, &of_teams);
    let known = Known {
        zones: &zones,
        teams: &teams,
        servers: &servers,
        bundles: &bundles,
        keyed: &keyed,
        of_teams: &of_teams,
        mark: &mark,
        admission: &admission,
        metered: &metered,
    };
    let (by_hash, by_key_name) = keys(sorted.keys, &known, &mut notes);
    let metered = all_metered(metered, &by_key_name, &servers, metered_tools);
    keyed.dangling(&by_key_name, &clients, &mut notes);
    admission::dangling(&servers, &teams, &by_key_name, &mut notes);
    let there = |kind: Kind, name: &str| match kind {
        Kind::TrustZone => zones.contains_key(name),
        Kind::Customer => customers.contains(name),
        Kind::Team => teams.contains_key(name),
        Kind::McpServer => servers.contains_key(name),
        Kind::ToolBundle => bundles.contains_key(name),
        Kind::VirtualKey => by_key_name.contains_key(name),
        Kind::Client => clients.iter().any(|rule| rule.name.as_str() == name),
        // Nothing of a policy speaks of these.
        Kind::AccessPolicy
        | Kind::RolloutPolicy
        | Kind::TierDefaults
        | Kind::Role
        | Kind::RoleBinding
        | Kind::ApprovalRule => false,
    };
    let conditions = conditions(&sorted.policies, there, &mut notes);
    let standpoints = Arc::new(Standpoints::new(&zones, clients, conditions));
    if !notes.errors.is_empty() {
        return Err(notes.into_errors());
    }
    let mut order: Vec<(&Name, Uid)> = servers.iter().map(|(name, server)| (name, server.uid())).collect();
    order.sort();
    let order = order.into_iter().map(|(_, uid)| uid).collect();
    Ok(Snapshot {
        header,
        plane,
        reports: notes.into_reports(),
        mark,
        zones,
        servers,
        sandboxes,
        order,
        offers,
        bundles,
        standpoints,
        tools,
        prompts,
        by_hash,
        by_key_name,
        metered,
    })
}

/// No uid stands twice, whatever the kind.
fn uids(sorted: &Sorted, notes: &mut Notes) {
    let mut seen: BTreeMap<Uid, String> = BTreeMap::new();
    let all = sorted
        .zones
        .iter()
        .map(|entry| (entry.uid, "TrustZone", &entry.name))
        .chain(sorted.customers.iter().map(|entry| (entry.uid, "Customer", &entry.name)))
        .chain(sorted.teams.iter().map(|entry| (entry.uid, "Team", &entry.name)))
        .chain(sorted.servers.iter().map(|entry| (entry.uid, "McpServer", &entry.name)))
        .chain(sorted.bundles.iter().map(|entry| (entry.uid, "ToolBundle", &entry.name)))
        .chain(sorted.policies.iter().map(|entry| (entry.uid, "AccessPolicy", &entry.name)))
        .chain(sorted.clients.iter().map(|entry| (entry.uid, "Client", &entry.name)));
    for (uid, kind, name) in all {
        let label = format!("{kind}/{name}");
        if let Some(first) = seen.insert(uid, label.clone()) {
            notes.duplicate("uids", uid, first, label);
        }
    }
    // Keys are many, and in the order of their uids: no table and no text is made for them unless something is wrong.
    let label = |entry: &KeyEntry| format!("VirtualKey/{}", entry.name);
    for [first, second] in sorted.keys.array_windows() {
        if first.uid == second.uid {
            notes.duplicate("uids", first.uid, label(first), label(second));
        }
    }
    for (uid, other) in seen {
        if let Ok(at) = sorted.keys.binary_search_by_key(&uid, |entry| entry.uid)
            && let Some(entry) = sorted.keys.get(at)
        {
            notes.duplicate("uids", uid, other, label(entry));
        }
    }
}

/// Zones by name, the built-in one among them unless it is defined.
fn zones(
    entries: Vec<ZoneEntry>,
    plane: Option<&PlaneLabels>,
    notes: &mut Notes,
) -> HashMap<Name, Arc<Zone>> {
    let mut zones: HashMap<Name, Arc<Zone>> = HashMap::new();
    for entry in entries {
        let zone = Arc::new(zone(entry, plane));
        let name = zone.entry.name.clone();
        if let Some(other) = zones.insert(name.clone(), zone) {
            let other = other.entry.uid.to_string();
            notes.duplicate("zone names", name, other, "another zone".to_owned());
        }
    }
    let built_in = default_zone_name();
    zones.entry(built_in).or_insert_with(|| Arc::new(zone(ZoneEntry::built_in(), plane)));
    for zone in zones.values() {
        for (at, other) in zone.entry.reachable_from.iter().enumerate() {
            if !zones.contains_key(other.as_str()) {
                let from = format!("TrustZone/{}", zone.entry.name);
                notes.dangling(from, format!("reachableFrom[{at}]"), "TrustZone", other);
            }
        }
    }
    zones
}

fn zone(entry: ZoneEntry, plane: Option<&PlaneLabels>) -> Zone {
    Zone {
        served: match plane {
            Some(plane) => Met::of(serves(&entry.served_by, plane)),
            None if entry.served_by.is_empty() => Met::Yes,
            None => Met::Unknown,
        },
        reachable_from: entry.reachable_from.iter().cloned().collect(),
        data_classes: entry.allowed_data_classes.iter().cloned().collect(),
        all_data_classes: entry.allowed_data_classes.iter().any(|class| class == "*"),
        entry,
    }
}

/// Teams by name, each with its customer.
fn teams(
    customers: Vec<CustomerEntry>,
    teams: Vec<TeamEntry>,
    notes: &mut Notes,
) -> HashMap<Name, Option<Name>> {
    let mut known: HashMap<Name, Uid> = HashMap::new();
    for entry in customers {
        if let Some(other) = known.insert(entry.name.clone(), entry.uid) {
            notes.duplicate("customer names", &entry.name, other.to_string(), entry.uid.to_string());
        }
    }
    let mut by_name = HashMap::new();
    for entry in teams {
        if let Some(customer) = entry.customer.as_ref().filter(|name| !known.contains_key(name.as_str())) {
            notes.dangling(format!("Team/{}", entry.name), "customer", "Customer", customer);
        }
        if by_name.insert(entry.name.clone(), entry.customer).is_some() {
            notes.duplicate("team names", &entry.name, "one".to_owned(), entry.uid.to_string());
        }
    }
    by_name
}

fn servers(
    entries: Vec<Arc<ServerEntry>>,
    zones: &HashMap<Name, Arc<Zone>>,
    notes: &mut Notes,
) -> HashMap<Name, Arc<Server>> {
    let mut servers: HashMap<Name, Arc<Server>> = HashMap::with_capacity(entries.len());
    for entry in entries {
        let Some(zone) = zones.get(&entry.zone) else {
            notes.dangling(format!("McpServer/{}", entry.name), "zone", "TrustZone", &entry.zone);
            continue;
        };
        let metered = of_server(&entry);
        let made = |entry: Arc<ServerEntry>, twin, twin_of| Server {
            metered: metered.clone(),
            zone_audit: zone.entry.audit,
            zone: Arc::clone(zone),
            refused_class: zone.refused_class(entry.data_classes.iter()).cloned(),
            entry,
            twin,
            twin_of,
        };
        let twin = sandbox(&entry).map(|twin| Arc::new(made(Arc::new(twin), None, Some(entry.uid))));
        let server = made(entry, twin, None);
        hosted_where_it_may_be(&format!("McpServer/{}", server.name()), zone, &server, notes);
        let uid = server.uid().to_string();
        if let Some(other) = servers.insert(server.entry.name.clone(), Arc::new(server)) {
            notes.duplicate("server names", other.name(), other.uid().to_string(), uid);
        }
    }
    servers
}

/// What customers and teams say of how much may be used.
#[derive(Default)]
pub(super) struct Tenants {
    customers: BTreeMap<Name, Arc<Metered>>,
    teams: BTreeMap<Name, Arc<Metered>>,
}

impl Tenants {
    /// What a key of a team, which is a customer's, has to keep to.
    pub(super) fn of(
        &self,
        customer: Option<&Name>,
        team: Option<&Name>,
    ) -> impl Iterator<Item = Arc<Metered>> {
        let customer = customer.and_then(|name| self.customers.get(name));
        let team = team.and_then(|name| self.teams.get(name));
        customer.into_iter().chain(team).cloned()
    }
}

fn tenants(customers: &[CustomerEntry], teams: &[TeamEntry]) -> Tenants {
    let customer = |entry: &CustomerEntry| {
        Some((entry.name.clone(), of_owner(Level::Customer, entry.uid, &entry.name, &entry.metering)?))
    };
    let team = |entry: &TeamEntry| {
        Some((entry.name.clone(), of_owner(Level::Team, entry.uid, &entry.name, &entry.metering)?))
    };
    Tenants {
        customers: customers.iter().filter_map(customer).collect(),
        teams: teams.iter().filter_map(team).collect(),
    }
}

/// What servers say of their tools, by the server's uid and the upstream's name.
pub(super) type MeteredTools = HashMap<Uid, BTreeMap<String, Arc<Metered>>>;

/// Whatever says how much may be used, in the order of levels, then of names.
fn all_metered(
    tenants: Tenants,
    keys: &HashMap<Name, Arc<Principal>>,
    servers: &HashMap<Name, Arc<Server>>,
    mut tools: MeteredTools,
) -> Vec<Arc<Metered>> {
    let keys: BTreeMap<&Name, &Arc<Metered>> = keys
        .iter()
        .filter_map(|(name, key)| Some((name, key.metered.iter().find(|of| of.owner.level == Level::Key)?)))
        .collect();
    let servers: BTreeMap<&Name, &Arc<Server>> = servers.iter().collect();
    let mut all: Vec<Arc<Metered>> =
        tenants.customers.into_values().chain(tenants.teams.into_values()).collect();
    all.extend(keys.into_values().cloned());
    all.extend(servers.values().filter_map(|server| server.metered.clone()));
    all.extend(
        servers.values().filter_map(|server| tools.remove(&server.uid())).flat_map(BTreeMap::into_values),
    );
    all
}

/// The entry of a server's sandbox.
fn sandbox(server: &ServerEntry) -> Option<ServerEntry> {
    let sandbox = server.sandbox.as_ref()?;
    let uid = server.uid.of_sandbox();
    let (transport, auth) = (sandbox.transport.clone(), sandbox.auth.clone());
    Some(ServerEntry { uid, transport, auth, sandbox: None, ..server.clone() })
}
