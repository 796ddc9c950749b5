//! What the rooms above read of the catalog: the entries of a snapshot, the facts of a server, and what goes with a server
//! that is deleted.

use std::collections::BTreeMap;
use std::sync::Arc;

use portcullis_policy::resource::{Kind, ToolOverride, Uid};
use portcullis_policy::snapshot::{
    ApprovedIdentity, DefinitionEntry, DefinitionState, Entry, ObservedProtocol,
};
use serde::Deserialize as _;
use serde_json::value::RawValue;

use super::definition::{
    Approved, DEFINITION, DefinitionKind, IDENTITY_NAME, Standing, StoredDefinition, object_name,
};
use super::observation::{OBSERVATION, Observation};
use super::{reconcile, server};
use crate::objects::SERVER_STATE;
use crate::store::{Object, Op, State};

/// The tools and prompts of a snapshot: first all tools, then all prompts, each by server uid and name.
#[must_use]
pub fn entries(state: &State) -> Vec<Entry> {
    let mut tools = Vec::new();
    let mut prompts = Vec::new();
    let servers: BTreeMap<String, &Arc<Object>> =
        state.list(Kind::McpServer.as_str()).map(|object| (object.uid.to_string(), object)).collect();
    for (uid, object) in servers {
        // A server that cannot be read offers nothing.
        let Some(rules) = server::rules(state, object) else { continue };
        let overrides: BTreeMap<&str, &ToolOverride> =
            rules.overrides.iter().map(|of_one| (of_one.name.as_str(), of_one)).collect();
        let prefix = format!("{uid}/");
        for object in state.list_prefix(DEFINITION, &prefix) {
            let Ok(stored) = StoredDefinition::deserialize(&object.body) else { continue };
            let standing = stored.standing(&rules);
            let is_tool = stored.kind == DefinitionKind::Tool;
            let of_one = overrides.get(stored.name.as_str()).copied().filter(|_| is_tool);
            let Some(state) = definition_state(standing, stored.approved) else { continue };
            let entry = Arc::new(DefinitionEntry {
                server: stored.server,
                name: stored.name,
                alias: of_one.and_then(|of_one| of_one.alias.clone()),
                data_classes: of_one.map(|of_one| of_one.data_classes.clone()).unwrap_or_default(),
                zone: of_one.and_then(|of_one| of_one.zone.clone()),
                approval: rules.held_by(of_one).filter(|_| is_tool),
                state,
            });
            match stored.kind {
                DefinitionKind::Tool => tools.push(Entry::Tool(entry)),
                DefinitionKind::Prompt => prompts.push(Entry::Prompt(entry)),
                DefinitionKind::Identity => {}
            }
        }
    }
    tools.append(&mut prompts);
    tools
}

fn definition_state(standing: Standing, approved: Option<Approved>) -> Option<DefinitionState> {
    match standing {
        Standing::Absent => None,
        Standing::Pending => Some(DefinitionState::Pending),
        Standing::Quarantined => Some(DefinitionState::Quarantined),
        Standing::Served => {
            let Approved { pin, definition, .. } = approved?;
            let definition = Arc::from(RawValue::from_string(definition).ok()?);
            Some(DefinitionState::Approved { pin, definition })
        }
    }
}

/// What a snapshot says of a server beside its document: the identity that was approved, and what the last good probe found
/// of its protocol.
#[must_use]
pub fn server_facts(state: &State, uid: &Uid) -> (Option<ApprovedIdentity>, Option<ObservedProtocol>) {
    let observed = state
        .get(OBSERVATION, &uid.to_string())
        .and_then(|object| Observation::deserialize(&object.body).ok())
        .and_then(|observation| observation.to_protocol());
    let identity = state
        .get(DEFINITION, &object_name(uid, DefinitionKind::Identity, IDENTITY_NAME))
        .and_then(|object| StoredDefinition::deserialize(&object.body).ok())
        .and_then(|stored| stored.approved)
        .and_then(|approved| identity(state, uid, &approved));
    (identity, observed)
}

#[derive(serde::Deserialize)]
#[serde(rename_all = "camelCase")]
struct Identity {
    instructions: Option<String>,
    server_info: Option<Box<RawValue>>,
}

fn identity(state: &State, uid: &Uid, approved: &Approved) -> Option<ApprovedIdentity> {
    let identity: Identity = serde_json::from_str(&approved.definition).ok()?;
    let server_info = match identity.server_info {
        Some(info) => info,
        // It gave none, and the protocol wants one: what the registry calls it.
        None => {
            let name = &server::by_uid(state, uid)?.name;
            serde_json::value::to_raw_value(&serde_json::json!({ "name": name, "version": "" })).ok()?
        }
    };
    Some(ApprovedIdentity {
        pin: approved.pin,
        server_info: Arc::from(server_info),
        instructions: identity.instructions,
    })
}

/// The tools that a server offers now, by the upstream's names, whether approved or not; `None` until it answered once.
#[must_use]
pub fn known_tools(state: &State, uid: &Uid) -> Option<Vec<String>> {
    state.get(OBSERVATION, &uid.to_string())?;
    let tools = reconcile::stored(state, uid)
        .into_iter()
        .filter(|(_, stored)| stored.kind == DefinitionKind::Tool && stored.offered.is_some())
        .map(|(_, stored)| stored.name);
    Some(tools.collect())
}

/// What goes in the transaction that deletes a server.
#[must_use]
pub fn ops_for_deleted_server(state: &State, uid: &Uid) -> Vec<Op> {
    let prefix = format!("{uid}/");
    let uid = uid.to_string();
    let definitions = state.list_prefix(DEFINITION, &prefix);
    let observation = state.get(OBSERVATION, &uid);
    let reached = state.get(SERVER_STATE, &uid);
    definitions
        .chain(observation)
        .chain(reached)
        .map(|object| Op::Delete { kind: object.kind.clone(), name: object.name.clone() })
        .collect()
}
