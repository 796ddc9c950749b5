//! From the objects of the store to the entries of a snapshot.
//!
//! What an entry is made of is a few objects, and objects never change: as long as they are the very same ones (by address),
//! the entry and its encoded form are used again. So a change costs what it changed.

use std::collections::HashMap;
use std::sync::Arc;

use bytes::Bytes;
use portcullis_policy::resource::{
    Kind, McpServerSpec, Metadata, Resource, Spec, ToolOverride, ToolRules, Uid,
};
use portcullis_policy::snapshot::{
    BundleEntry, ClientEntry, CustomerEntry, DefinitionEntry, DefinitionState, Entry, KeyEntry, Opening,
    PolicyEntry, ServerEntry, ServerMetering, SharedGrants, TeamEntry, ToolMetering, ZoneEntry,
    default_zone_name, kind_order,
};
use portcullis_seal::sha256;
use serde::Deserialize as _;
use serde_json::value::RawValue;

use super::candidate::Candidate;
use super::prepare::PrepareError;
use super::published::EncodedEntry;
use crate::catalog::{self, DefinitionKind, Standing, StoredDefinition};
use crate::objects::{KEY_MATERIAL, KeyMaterial, SERVER_STATE, ServerState, Settings};
use crate::store::Object;

/// The zone that is there without being defined: it reaches itself and allows every data class.
#[must_use]
pub fn default_zone() -> ZoneEntry {
    ZoneEntry::built_in()
}

/// An entry with its encoded form.
#[derive(Debug)]
pub(super) struct Built {
    pub(super) entry: Entry,
    /// The place of its kind on the wire.
    place: Option<usize>,
    pub(super) encoded: EncodedEntry,
    /// Of the encoded body, for the digest: hashed once and not with each change of another entry.
    pub(super) body_sha256: [u8; 32],
}

impl Built {
    fn new(entry: Entry) -> Arc<Self> {
        let encoded =
            EncodedEntry { kind: entry.kind(), id: entry.id().into(), body: Bytes::from(entry.encode()) };
        let body_sha256 = sha256(&encoded.body);
        Arc::new(Self { place: kind_order(encoded.kind), entry, encoded, body_sha256 })
    }
}

/// The most objects that one entry is made of.
const PARTS: usize = 6;

/// What one object, with those that belong to it, became.
#[derive(Debug)]
struct Line {
    made_of: [Option<Arc<Object>>; PARTS],
    built: Option<Arc<Built>>,
    used_in: u64,
}

impl Line {
    fn is_of(&self, parts: [Option<&Arc<Object>>; PARTS]) -> bool {
        self.made_of.iter().zip(parts).all(|(known, part)| match (known, part) {
            (Some(known), Some(part)) => Arc::ptr_eq(known, part),
            (None, None) => true,
            _ => false,
        })
    }
}

/// Which line.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
enum LineKey {
    Resource(Kind, Arc<str>),
    /// A tool or a prompt, by the name of its object.
    Definition(Arc<str>),
}

/// The entries of the last state that was built.
#[derive(Debug, Default)]
pub(super) struct Entries {
    lines: HashMap<LineKey, Line>,
    grants: SharedGrants,
    round: u64,
}

impl Entries {
    /// All entries of a state, ordered by kind (as the variants of [`Entry`]) and id.
    pub(super) fn build(&mut self, state: &Candidate<'_>) -> Result<Vec<Arc<Built>>, PrepareError> {
        self.round += 1;
        let mut all = Vec::with_capacity(self.lines.len());
        if state.get(Kind::TrustZone.as_str(), default_zone_name().as_str()).is_none() {
            all.push(Built::new(Entry::Zone(default_zone())));
        }
        // Looked up one by one among so many, this would be most of the work where nothing of them changed.
        let material: HashMap<Uid, &Arc<Object>> =
            state.list(KEY_MATERIAL, "").map(|object| (object.uid, object)).collect();
        for kind in Kind::ALL {
            for object in state.list(kind.as_str(), "") {
                self.resource(state, *kind, object, &material, &mut all)?;
                if *kind == Kind::McpServer {
                    self.definitions(state, object, &mut all)?;
                }
            }
        }
        // Lines of what is gone, and of candidates that were never committed.
        let round = self.round;
        self.lines.retain(|_, line| line.used_in == round);
        self.grants.tidy();
        all.sort_unstable_by(|a, b| a.place.cmp(&b.place).then_with(|| a.encoded.id.cmp(&b.encoded.id)));
        Ok(all)
    }

    fn resource(
        &mut self,
        state: &Candidate<'_>,
        kind: Kind,
        object: &Arc<Object>,
        material: &HashMap<Uid, &Arc<Object>>,
        all: &mut Vec<Arc<Built>>,
    ) -> Result<(), PrepareError> {
        let mut parts: [Option<&Arc<Object>>; PARTS] = [Some(object), None, None, None, None, None];
        match kind {
            Kind::VirtualKey => parts[1] = material.get(&object.uid).copied(),
            Kind::McpServer => {
                parts[1] = state.get(catalog::OBSERVATION, &object.uid.to_string());
                parts[2] = state.get(catalog::DEFINITION, &identity_object(&object.uid));
                parts[3] = state.get(SERVER_STATE, &object.uid.to_string());
                let settings = Settings::find(object, |kind, name| state.get(kind, name));
                parts[4] = settings.tier;
                parts[5] = settings.policy;
            }
            _ => {}
        }
        let key = LineKey::Resource(kind, Arc::clone(&object.name));
        self.line(key, parts, all, || resource_entry(state, object))
    }

    /// Tools and prompts of a server. What they are depends on its rules too.
    fn definitions(
        &mut self,
        state: &Candidate<'_>,
        server: &Arc<Object>,
        all: &mut Vec<Arc<Built>>,
    ) -> Result<(), PrepareError> {
        let prefix = format!("{}/", server.uid);
        let settings = Settings::find(server, |kind, name| state.get(kind, name));
        let mut rules = None;
        for object in state.list(catalog::DEFINITION, &prefix) {
            let key = LineKey::Definition(Arc::clone(&object.name));
            let parts = [Some(server), Some(object), settings.tier, None, None, None];
            self.line(key, parts, all, || {
                let rules = match &mut rules {
                    Some(rules) => rules,
                    empty => empty.insert(settings.rules(server).unwrap_or_default()),
                };
                definition_entry(object, rules)
            })?;
        }
        Ok(())
    }

    fn line(
        &mut self,
        key: LineKey,
        parts: [Option<&Arc<Object>>; PARTS],
        all: &mut Vec<Arc<Built>>,
        make: impl FnOnce() -> Result<Option<Entry>, PrepareError>,
    ) -> Result<(), PrepareError> {
        if let Some(line) = self.lines.get_mut(&key).filter(|line| line.is_of(parts)) {
            line.used_in = self.round;
            all.extend(line.built.clone());
            return Ok(());
        }
        let mut made = make()?;
        if let Some(entry) = &mut made {
            self.grants.share(entry);
        }
        let built = made.map(Built::new);
        all.extend(built.clone());
        let made_of = parts.map(|part| part.cloned());
        self.lines.insert(key, Line { made_of, built, used_in: self.round });
        Ok(())
    }
}

fn identity_object(server: &Uid) -> String {
    catalog::object_name(server, catalog::DefinitionKind::Identity, catalog::IDENTITY_NAME)
}

/// The entry of a tool or a prompt; none for what data planes are told nothing of.
fn definition_entry(object: &Object, rules: &ToolRules) -> Result<Option<Entry>, PrepareError> {
    let damaged = |error: serde_json::Error| PrepareError::object(object, error.to_string());
    let stored = StoredDefinition::deserialize(&object.body).map_err(damaged)?;
    let state = match stored.standing(rules) {
        Standing::Absent => return Ok(None),
        Standing::Pending => DefinitionState::Pending,
        Standing::Quarantined => DefinitionState::Quarantined,
        Standing::Served => {
            let Some(approved) = stored.approved else { return Ok(None) };
            let definition = RawValue::from_string(approved.definition).map_err(damaged)?;
            DefinitionState::Approved { pin: approved.pin, definition: Arc::from(definition) }
        }
    };
    let (special, approval) = match stored.kind {
        DefinitionKind::Identity => return Ok(None),
        DefinitionKind::Prompt => (None, None),
        DefinitionKind::Tool => {
            let special = rules.overrides.iter().find(|of_one| of_one.name == stored.name);
            (special, rules.held_by(special))
        }
    };
    let entry = Arc::new(DefinitionEntry {
        server: stored.server,
        name: stored.name,
        alias: special.and_then(|of_one| of_one.alias.clone()),
        data_classes: special.map(|of_one| of_one.data_classes.clone()).unwrap_or_default(),
        zone: special.and_then(|of_one| of_one.zone.clone()),
        approval,
        state,
    });
    Ok(Some(match stored.kind {
        DefinitionKind::Tool => Entry::Tool(entry),
        _ => Entry::Prompt(entry),
    }))
}

/// The entry of one resource; none for a kind of which data planes are told nothing.
fn resource_entry(state: &Candidate<'_>, object: &Object) -> Result<Option<Entry>, PrepareError> {
    let resource =
        Resource::from_json(&object.body).map_err(|detail| PrepareError::object(object, detail))?;
    let (uid, Metadata { name, labels }) = (object.uid, resource.metadata);
    Ok(Some(match resource.spec {
        // Who administers is nothing that data planes know.
        Spec::Role(_) | Spec::RoleBinding(_) | Spec::ApprovalRule(_) => return Ok(None),
        // What they say is in the entries of the servers that they are about.
        Spec::RolloutPolicy(_) | Spec::TierDefaults(_) => return Ok(None),
        Spec::TrustZone(zone) => Entry::Zone(ZoneEntry {
            uid,
            name,
            reachable_from: zone.reachable_from,
            allowed_data_classes: zone.allowed_data_classes,
            caller_networks: zone.caller_networks,
            allowed_eras: zone.allowed_eras,
            allowed_hosting: zone.allowed_hosting,
            served_by: zone.served_by,
            audit: zone.audit,
        }),
        Spec::Customer(customer) => {
            Entry::Customer(CustomerEntry { uid, name, metering: customer.metering() })
        }
        Spec::Team(team) => {
            let metering = team.metering();
            Entry::Team(TeamEntry { uid, name, customer: team.customer, metering })
        }
        Spec::McpServer(server) => {
            // No candidate changes these facts: see `since` for what looks back at changes of them.
            let (identity, observed) = catalog::server_facts(state.base(), &uid);
            let settings = Settings::find(object, |kind, name| state.get(kind, name));
            let unreadable = || PrepareError::object(object, "what its tier says cannot be read".to_owned());
            let limits = settings.effective(&server).ok_or_else(unreadable)?.limits();
            let opening = opening(state, &uid, &settings)?;
            let metering = server_metering(&server);
            Entry::Server(Arc::new(ServerEntry {
                uid,
                name,
                zone: server.zone,
                transport: server.transport,
                hosting: server.hosting,
                environment: server.environment,
                tier: server.tier,
                data_classes: server.data_classes,
                auth: server.auth,
                limits,
                identity,
                observed,
                opening,
                sandbox: server.sandbox,
                metering,
            }))
        }
        Spec::ToolBundle(bundle) => {
            Entry::Bundle(BundleEntry { uid, name, tools: bundle.tools, members: bundle.members })
        }
        Spec::VirtualKey(key) => {
            let material = match state.get(KEY_MATERIAL, &uid.to_string()) {
                Some(object) => KeyMaterial::from_object(object)
                    .map_err(|error| PrepareError::object(object, error.to_string()))?,
                None => return Err(PrepareError::object(object, "it has no key material".to_owned())),
            };
            let metering = key.metering();
            Entry::Key(Arc::new(KeyEntry {
                uid,
                name,
                labels,
                secrets: material.secrets,
                revoked: material.revoked,
                principal: key.principal,
                team: key.team,
                zone: key.zone,
                grants: key.grants.into(),
                expires_at: key.expires_at,
                sandbox: key.sandbox,
                metering,
            }))
        }
        Spec::Client(spec) => Entry::Client(Box::new(ClientEntry { uid, name, spec: *spec })),
        Spec::AccessPolicy(spec) => Entry::Policy(PolicyEntry { uid, name, spec }),
    }))
}

/// How much of a server and of its tools may be used, and what calls cost.
fn server_metering(server: &McpServerSpec) -> ServerMetering {
    let of_one = |of_one: &ToolOverride| {
        let metering = ToolMetering { own: of_one.metering(), cost: of_one.cost() };
        (metering != ToolMetering::default()).then(|| (of_one.name.clone(), metering))
    };
    let tools = server.tools.overrides.iter().filter_map(of_one).collect();
    ServerMetering { own: server.metering(), cost: server.tools.cost(), tools }
}

/// For whom a server is open. What cannot be read opens nothing.
fn opening(state: &Candidate<'_>, uid: &Uid, settings: &Settings<'_>) -> Result<Opening, PrepareError> {
    let policy =
        match settings.policy {
            None => None,
            Some(object) => Some(settings.rollout().ok_or_else(|| {
                PrepareError::object(object, "this rollout policy cannot be read".to_owned())
            })?),
        };
    let Some(object) = state.get(SERVER_STATE, &uid.to_string()) else {
        // Registered before states were kept: as far as its policy begins.
        let unnamed = ServerState::new(default_zone_name(), 0);
        return Ok(unnamed.opening(policy.as_ref()));
    };
    let reached =
        ServerState::from_object(object).map_err(|error| PrepareError::object(object, error.to_string()))?;
    Ok(reached.opening(policy.as_ref()))
}
