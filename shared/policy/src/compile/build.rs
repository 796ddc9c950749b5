//! The compiler: follows every reference, indexes every name, and collects all that is wrong.

use std::collections::HashMap;
use std::sync::Arc;

use super::header_params::header_params;
use super::model::{Candidate, CandidateState, Definition, Offer, Principal, Server, SnapshotMark, Zone};
use super::{CompileError, Snapshot};
use crate::access::{Access, Bundle, read_members};
use crate::exposed::exposed_name;
use crate::render::members;
use crate::resource::{AuditMode, Grant, Name, Transport, Uid};
use crate::rule::DefinitionKind;
use crate::snapshot::{
    BundleEntry, CustomerEntry, DefinitionEntry, DefinitionState, Entry, KeyEntry, ServerEntry,
    SnapshotHeader, TeamEntry, ZoneEntry, default_zone_name,
};

/// More errors than these help nobody.
const MAX_ERRORS: usize = 100;
/// Reports beyond these are counted only.
const MAX_REPORTS: usize = 1_000;

/// Entries by kind.
#[derive(Default)]
struct Sorted {
    zones: Vec<ZoneEntry>,
    customers: Vec<CustomerEntry>,
    teams: Vec<TeamEntry>,
    servers: Vec<ServerEntry>,
    definitions: Vec<(DefinitionKind, DefinitionEntry)>,
    bundles: Vec<BundleEntry>,
    keys: Vec<KeyEntry>,
}

impl Sorted {
    fn new(entries: Vec<Entry>) -> Self {
        let mut sorted = Self::default();
        for entry in entries {
            match entry {
                Entry::Zone(entry) => sorted.zones.push(entry),
                Entry::Customer(entry) => sorted.customers.push(entry),
                Entry::Team(entry) => sorted.teams.push(entry),
                Entry::Server(entry) => sorted.servers.push(*entry),
                Entry::Tool(entry) => sorted.definitions.push((DefinitionKind::Tool, *entry)),
                Entry::Prompt(entry) => sorted.definitions.push((DefinitionKind::Prompt, *entry)),
                Entry::Bundle(entry) => sorted.bundles.push(entry),
                Entry::Key(entry) => sorted.keys.push(*entry),
            }
        }
        // The order of what comes out, errors and reports too, must not depend on the order of what came in.
        sorted.servers.sort_by(|a, b| (&a.name, a.uid).cmp(&(&b.name, b.uid)));
        sorted.definitions.sort_by(|(a_kind, a), (b_kind, b)| {
            (a.server, *a_kind, &a.name).cmp(&(b.server, *b_kind, &b.name))
        });
        sorted.keys.sort_by(|a, b| (&a.name, a.uid).cmp(&(&b.name, b.uid)));
        sorted
    }
}

/// What is wrong, and what is worth a report.
#[derive(Default)]
struct Notes {
    errors: Vec<CompileError>,
    reports: Vec<String>,
    reports_left_out: usize,
}

impl Notes {
    fn dangling(&mut self, from: String, field: impl Into<String>, kind: &'static str, to: impl ToString) {
        self.errors.push(CompileError::Dangling { from, field: field.into(), kind, to: to.to_string() });
    }

    fn invalid(&mut self, entry: String, message: impl Into<String>) {
        self.errors.push(CompileError::Invalid { entry, message: message.into() });
    }

    fn duplicate(&mut self, what: &'static str, value: impl ToString, first: String, second: String) {
        self.errors.push(CompileError::Duplicate { what, value: value.to_string(), first, second });
    }

    fn report(&mut self, sentence: String) {
        if self.reports.len() < MAX_REPORTS {
            self.reports.push(sentence);
        } else {
            self.reports_left_out += 1;
        }
    }

    fn into_errors(mut self) -> Vec<CompileError> {
        if self.errors.len() > MAX_ERRORS {
            let more = self.errors.len() - MAX_ERRORS;
            self.errors.truncate(MAX_ERRORS);
            self.errors.push(CompileError::More(more));
        }
        self.errors
    }
}

pub(super) fn build(header: SnapshotHeader, entries: Vec<Entry>) -> Result<Snapshot, Vec<CompileError>> {
    let sorted = Sorted::new(entries);
    let mut notes = Notes::default();
    uids(&sorted, &mut notes);
    let zones = zones(sorted.zones, &mut notes);
    let teams = teams(sorted.customers, sorted.teams, &mut notes);
    let servers = servers(sorted.servers, &zones, &mut notes);
    let (offers, tools, prompts) = definitions(sorted.definitions, &servers, &mut notes);
    let bundles = bundles(sorted.bundles, &servers, &mut notes);
    let mark = Arc::new(SnapshotMark { _unique: 0 });
    let known = Known { zones: &zones, teams: &teams, servers: &servers, bundles: &bundles, mark: &mark };
    let (by_hash, by_key_name) = keys(sorted.keys, &known, &mut notes);
    if !notes.errors.is_empty() {
        return Err(notes.into_errors());
    }
    if notes.reports_left_out > 0 {
        notes.reports.push(format!("and {} more reports", notes.reports_left_out));
    }
    let mut order: Vec<(&Name, Uid)> = servers.iter().map(|(name, server)| (name, server.uid())).collect();
    order.sort();
    let order = order.into_iter().map(|(_, uid)| uid).collect();
    Ok(Snapshot {
        header,
        reports: notes.reports,
        mark,
        servers,
        order,
        offers,
        bundles,
        tools,
        prompts,
        by_hash,
        by_key_name,
    })
}

/// No uid stands twice, whatever the kind.
fn uids(sorted: &Sorted, notes: &mut Notes) {
    let mut seen: HashMap<Uid, String> = HashMap::new();
    let all = sorted
        .zones
        .iter()
        .map(|entry| (entry.uid, "TrustZone", &entry.name))
        .chain(sorted.customers.iter().map(|entry| (entry.uid, "Customer", &entry.name)))
        .chain(sorted.teams.iter().map(|entry| (entry.uid, "Team", &entry.name)))
        .chain(sorted.servers.iter().map(|entry| (entry.uid, "McpServer", &entry.name)))
        .chain(sorted.bundles.iter().map(|entry| (entry.uid, "ToolBundle", &entry.name)));
    for (uid, kind, name) in all {
        let label = format!("{kind}/{name}");
        if let Some(first) = seen.insert(uid, label.clone()) {
            notes.duplicate("uids", uid, first, label);
        }
    }
    // Keys are many: no text is made for them unless something is wrong.
    let mut keys: HashMap<Uid, &Name> = HashMap::with_capacity(sorted.keys.len());
    for entry in &sorted.keys {
        let first = seen
            .get(&entry.uid)
            .cloned()
            .or_else(|| keys.insert(entry.uid, &entry.name).map(|name| format!("VirtualKey/{name}")));
        if let Some(first) = first {
            notes.duplicate("uids", entry.uid, first, format!("VirtualKey/{}", entry.name));
        }
    }
}

/// Zones by name, the built-in one among them unless it is defined.
fn zones(entries: Vec<ZoneEntry>, notes: &mut Notes) -> HashMap<Name, Arc<Zone>> {
    let mut zones: HashMap<Name, Arc<Zone>> = HashMap::new();
    for entry in entries {
        let zone = Arc::new(zone(entry));
        let name = zone.entry.name.clone();
        if let Some(other) = zones.insert(name.clone(), zone) {
            let other = other.entry.uid.to_string();
            notes.duplicate("zone names", name, other, "another zone".to_owned());
        }
    }
    let built_in = default_zone_name();
    zones.entry(built_in.clone()).or_insert_with(|| {
        Arc::new(zone(ZoneEntry {
            uid: Uid(uuid::Uuid::nil()),
            name: built_in,
            reachable_from: Vec::new(),
            allowed_data_classes: vec!["*".to_owned()],
            audit: AuditMode::default(),
        }))
    });
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

fn zone(entry: ZoneEntry) -> Zone {
    Zone {
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
    entries: Vec<ServerEntry>,
    zones: &HashMap<Name, Arc<Zone>>,
    notes: &mut Notes,
) -> HashMap<Name, Arc<Server>> {
    let mut servers: HashMap<Name, Arc<Server>> = HashMap::with_capacity(entries.len());
    for entry in entries {
        let Some(zone) = zones.get(&entry.zone) else {
            notes.dangling(format!("McpServer/{}", entry.name), "zone", "TrustZone", &entry.zone);
            continue;
        };
        let server = Server {
            zone_audit: zone.entry.audit,
            zone: Arc::clone(zone),
            refused_class: zone.refused_class(entry.data_classes.iter()).cloned(),
            entry,
        };
        let uid = server.uid().to_string();
        if let Some(other) = servers.insert(server.entry.name.clone(), Arc::new(server)) {
            notes.duplicate("server names", other.name(), other.uid().to_string(), uid);
        }
    }
    servers
}

type Names = HashMap<Arc<str>, Arc<Candidate>>;

fn definitions(
    entries: Vec<(DefinitionKind, DefinitionEntry)>,
    servers: &HashMap<Name, Arc<Server>>,
    notes: &mut Notes,
) -> (HashMap<Uid, Arc<Offer>>, Names, Names) {
    let mut offers: HashMap<Uid, Offer> = servers
        .values()
        .map(|server| {
            let offer = Offer { server: Arc::clone(server), tools: Vec::new(), prompts: Vec::new() };
            (server.uid(), offer)
        })
        .collect();
    let mut tools = Names::with_capacity(entries.len());
    let mut prompts = Names::new();
    for (kind, entry) in entries {
        let Some(offer) = offers.get_mut(&entry.server) else {
            let from = format!("{} {}", kind.as_str(), entry.name);
            notes.dangling(from, "server", "McpServer", entry.server);
            continue;
        };
        let candidate = Arc::new(candidate(kind, entry, &offer.server, notes));
        let (list, names, what) = match kind {
            DefinitionKind::Tool => (&mut offer.tools, &mut tools, "exposed tool names"),
            DefinitionKind::Prompt => (&mut offer.prompts, &mut prompts, "exposed prompt names"),
        };
        if let Some(last) = list.last().filter(|last: &&Arc<Candidate>| last.name == candidate.name) {
            notes.duplicate("names at one server", &candidate.name, last.label(), candidate.label());
        }
        if let Some(name) = &candidate.exposed
            && let Some(other) = names.insert(Arc::clone(name), Arc::clone(&candidate))
        {
            notes.duplicate(what, name, other.label(), candidate.label());
        }
        list.push(candidate);
    }
    (offers.into_iter().map(|(uid, offer)| (uid, Arc::new(offer))).collect(), tools, prompts)
}

fn candidate(
    kind: DefinitionKind,
    entry: DefinitionEntry,
    server: &Arc<Server>,
    notes: &mut Notes,
) -> Candidate {
    let label = format!("{} {} of {}", kind.as_str(), entry.name, server.name());
    let exposed = exposed_name(server.name(), &entry.name, entry.alias.as_deref());
    if exposed.is_none() {
        match &entry.alias {
            Some(alias) => {
                notes.invalid(label.clone(), format!("its alias {alias:?} is no valid exposed name"))
            }
            None => notes.report(format!(
                "{label} has no valid exposed name ({}_{} is longer than 64 or holds other characters than \
                 a-z, A-Z, 0-9, _ and -): it is served at /servers/{}/mcp only; give it an alias",
                server.name(),
                entry.name,
                server.name()
            )),
        }
    }
    let name: Arc<str> = entry.name.as_str().into();
    let exposed: Option<Arc<str>> = exposed.map(Into::into);
    let own = server.zone.refused_class(entry.data_classes.iter()).cloned();
    let state = match entry.state {
        DefinitionState::Pending => CandidateState::Pending,
        DefinitionState::Quarantined => CandidateState::Quarantined,
        DefinitionState::Approved { pin, definition } => {
            if let Err(message) = names_itself(definition.get(), &name) {
                notes.invalid(label.clone(), message);
            }
            match params(kind, definition.get(), server) {
                Ok(header_params) => CandidateState::Usable(Arc::new(Definition {
                    server: Arc::clone(server),
                    name: Arc::clone(&name),
                    exposed: exposed.clone(),
                    pin,
                    definition,
                    header_params,
                })),
                Err(message) => {
                    notes.report(format!("{label} is left out: {message}"));
                    CandidateState::Invalid(format!("it breaks the rules of the protocol: {message}").into())
                }
            }
        }
    };
    Candidate {
        kind,
        server: Arc::clone(server),
        name,
        exposed,
        state,
        refused_class: server.refused_class.clone().or(own),
    }
}

/// A tool with annotations that break the rules must not be offered over Streamable HTTP; a child process knows no headers.
fn params(
    kind: DefinitionKind,
    definition: &str,
    server: &Server,
) -> Result<Vec<super::HeaderParam>, String> {
    match (kind, &server.entry.transport) {
        (DefinitionKind::Prompt, _) => Ok(Vec::new()),
        (DefinitionKind::Tool, Transport::StreamableHttp(_)) => header_params(definition),
        (DefinitionKind::Tool, Transport::Stdio(_)) => Ok(header_params(definition).unwrap_or_default()),
    }
}

/// A definition is an object whose `name` is the entry's: the list could not be rendered otherwise.
fn names_itself(definition: &str, name: &str) -> Result<(), String> {
    let members =
        members(definition).map_err(|error| format!("its definition is no JSON object: {error}"))?;
    let mut names = members.iter().filter(|(member, _)| member == "name").map(|(_, value)| value.get());
    let (Some(found), None) = (names.next(), names.next()) else {
        return Err("its definition needs exactly one member \"name\"".to_owned());
    };
    match serde_json::from_str::<String>(found) {
        Ok(found) if found == name => Ok(()),
        _ => Err(format!("its definition names itself {found}")),
    }
}

fn bundles(
    entries: Vec<BundleEntry>,
    servers: &HashMap<Name, Arc<Server>>,
    notes: &mut Notes,
) -> HashMap<Name, Arc<Bundle>> {
    let mut bundles: HashMap<Name, Arc<Bundle>> = HashMap::with_capacity(entries.len());
    for entry in entries {
        for (at, member) in entry.tools.iter().enumerate() {
            if !servers.contains_key(&member.server) {
                let from = format!("ToolBundle/{}", entry.name);
                notes.dangling(from, format!("tools[{at}].server"), "McpServer", &member.server);
            }
        }
        let uid_of = |name: &Name| servers.get(name).map(|server| server.uid());
        let members = read_members(&entry.tools, uid_of);
        let uid = entry.uid.to_string();
        if let Some(other) = bundles.insert(entry.name.clone(), Arc::new(Bundle { entry, members })) {
            notes.duplicate("bundle names", &other.entry.name, other.entry.uid.to_string(), uid);
        }
    }
    bundles
}

/// What keys refer to.
struct Known<'a> {
    zones: &'a HashMap<Name, Arc<Zone>>,
    teams: &'a HashMap<Name, Option<Name>>,
    servers: &'a HashMap<Name, Arc<Server>>,
    bundles: &'a HashMap<Name, Arc<Bundle>>,
    mark: &'a Arc<SnapshotMark>,
}

type ByHash = HashMap<portcullis_seal::Fingerprint, Arc<Principal>>;
type ByKeyName = HashMap<Name, Arc<Principal>>;

fn keys(entries: Vec<KeyEntry>, known: &Known<'_>, notes: &mut Notes) -> (ByHash, ByKeyName) {
    let mut by_hash = ByHash::with_capacity(entries.len());
    let mut by_name = ByKeyName::with_capacity(entries.len());
    let mut shared: HashMap<(Name, Vec<Grant>), Arc<Access>> = HashMap::new();
    for entry in entries {
        check_key(&entry, known, notes);
        let customer = entry.team.as_ref().and_then(|team| known.teams.get(team).cloned().flatten());
        let access = shared
            .entry((entry.zone, entry.grants))
            .or_insert_with_key(|(zone, grants)| Arc::new(Access::new(zone.clone(), grants.clone())));
        let expires = entry.expires_at.as_ref().map(unix_ms);
        let subject: Arc<str> = entry.principal.subject.as_str().into();
        let principal = |until: Option<u64>, secret| {
            Arc::new(Principal {
                key_uid: entry.uid,
                key_name: entry.name.clone(),
                kind: entry.principal.kind,
                subject: Arc::clone(&subject),
                team: entry.team.clone(),
                customer: customer.clone(),
                zone: access.zone.clone(),
                expires_unix_ms: expires.into_iter().chain(until).min(),
                revoked: entry.revoked,
                secret,
                access: Arc::clone(access),
                snapshot: Arc::clone(known.mark),
            })
        };
        for secret in &entry.secrets {
            let until = secret.until.as_ref().map(unix_ms);
            let opened = principal(until, Some(secret.hash));
            if let Some(other) = by_hash.insert(secret.hash, opened) {
                let label = |name: &Name| format!("VirtualKey/{name}");
                notes.duplicate("key hashes", secret.hash, label(&other.key_name), label(&entry.name));
            }
        }
        if let Some(other) = by_name.insert(entry.name.clone(), principal(None, None)) {
            let (first, second) = (other.key_uid.to_string(), entry.uid.to_string());
            notes.duplicate("key names", &entry.name, first, second);
        }
    }
    (by_hash, by_name)
}

fn check_key(entry: &KeyEntry, known: &Known<'_>, notes: &mut Notes) {
    let label = || format!("VirtualKey/{}", entry.name);
    if !known.zones.contains_key(&entry.zone) {
        notes.dangling(label(), "zone", "TrustZone", &entry.zone);
    }
    if let Some(team) = entry.team.as_ref().filter(|team| !known.teams.contains_key(team.as_str())) {
        notes.dangling(label(), "team", "Team", team);
    }
    for (at, grant) in entry.grants.iter().enumerate() {
        match grant {
            Grant::Bundle(grant) if !known.bundles.contains_key(&grant.bundle) => {
                notes.dangling(label(), format!("grants[{at}].bundle"), "ToolBundle", &grant.bundle);
            }
            Grant::Server(grant) if !known.servers.contains_key(&grant.server) => {
                notes.dangling(label(), format!("grants[{at}].server"), "McpServer", &grant.server);
            }
            Grant::Bundle(_) | Grant::Server(_) => {}
        }
    }
}

/// Times before 1970 are long over, whatever they are.
fn unix_ms(time: &chrono::DateTime<chrono::Utc>) -> u64 {
    u64::try_from(time.timestamp_millis()).unwrap_or(0)
}
