//! A resource as `get` shows it: the document, and beside it what the control plane knows.

use std::cell::OnceCell;
use std::collections::BTreeMap;
use std::sync::Arc;

use chrono::DateTime;
use portcullis_policy::resource::{
    Effective, Kind, McpServerSpec, Name, Resource, RolloutPolicySpec, Sourced, Stage, Uid,
};
use serde::Deserialize as _;
use serde_json::{Map, Value, json};

use super::{references, rewrites};
use crate::catalog::{self, Catalog};
use crate::clock::rfc3339;
use crate::objects::{KeyMaterial, ServerState, Settings};
use crate::store::{Object, State};

/// One resource.
#[derive(Debug, Clone, PartialEq)]
pub struct View {
    /// Its kind.
    pub kind: Kind,
    /// Its name.
    pub name: Arc<str>,
    /// Its uid.
    pub uid: Uid,
    /// The version that it last changed at; 0 for what is built in.
    pub version: u64,
    /// The document.
    pub document: Value,
    /// What the control plane knows beside it; an object.
    pub status: Value,
}

/// What a status is made from.
pub(super) struct Facts<'a> {
    pub(super) state: &'a State,
    pub(super) catalog: &'a Catalog,
    pub(super) now_unix_ms: u64,
    /// Read when the first key is looked at.
    of_teams: OnceCell<OfTeams>,
}

/// By team: the bundles that name it, and the places where they do.
type OfTeams = BTreeMap<String, Vec<(Arc<str>, usize)>>;

impl<'a> Facts<'a> {
    pub(super) const fn new(state: &'a State, catalog: &'a Catalog, now_unix_ms: u64) -> Self {
        Self { state, catalog, now_unix_ms, of_teams: OnceCell::new() }
    }
}

impl Facts<'_> {
    pub(super) fn view(&self, kind: Kind, object: &Object) -> View {
        View {
            kind,
            name: Arc::clone(&object.name),
            uid: object.uid,
            version: object.version,
            document: object.body.clone(),
            status: Value::Object(self.status(kind, object)),
        }
    }

    /// What people look at first, and the rest under `details`.
    fn status(&self, kind: Kind, object: &Object) -> Map<String, Value> {
        let mut status = match kind {
            Kind::McpServer => self.server(object),
            Kind::VirtualKey => self.key(object),
            Kind::TrustZone => zone(&object.body),
            Kind::ToolBundle => self.bundle(object),
            _ => Map::new(),
        };
        let details = status.entry("details").or_insert_with(|| json!({}));
        if let Some(details) = details.as_object_mut() {
            details.insert("createdVersion".to_owned(), object.created_version.into());
        }
        status
    }

    /// How a server is doing, how far it has come, and what holds of it with where each value comes from.
    fn server(&self, object: &Object) -> Map<String, Value> {
        let mut status = match self.catalog.describe(self.state, &object.uid) {
            Value::Object(server) => server,
            _ => Map::new(),
        };
        let kept = ServerState::of(self.state, &object.uid);
        let settings = Settings::of(self.state, object);
        let policy = settings.rollout();
        let lifecycle = catalog::lifecycle(self.state, &object.uid);
        let stage = kept.as_ref().map_or_else(
            || policy.as_ref().map_or(Stage::General, RolloutPolicySpec::first),
            |kept| kept.stage_under(policy.as_ref()),
        );
        status.insert("lifecycle".to_owned(), lifecycle.as_str().into());
        status.insert("stage".to_owned(), stage.as_str().into());
        status.extend(object.body.pointer("/spec/tier").map(|tier| ("tier".to_owned(), tier.clone())));
        let Some(details) = status.get_mut("details").and_then(Value::as_object_mut) else { return status };
        if let Some(kept) = kept {
            details.insert("lifecycleSince".to_owned(), rfc3339(kept.since_unix_ms).into());
            if let Some(reached) = kept.stage.filter(|_| policy.is_some()) {
                details.insert("stageSince".to_owned(), rfc3339(reached.since_unix_ms).into());
                details.insert("stageForced".to_owned(), reached.forced.into());
            }
        }
        let spec = object.body.get("spec").and_then(|spec| McpServerSpec::deserialize(spec).ok());
        if let Some(effective) = spec.and_then(|spec| settings.effective(&spec)) {
            details.insert("effective".to_owned(), effective_json(&effective));
        }
        status
    }

    fn key(&self, object: &Object) -> Map<String, Value> {
        let spec = |path: &str| object.body.pointer(path).and_then(Value::as_str);
        let expires = spec("/spec/expiresAt");
        let expired = expires
            .and_then(|text| DateTime::parse_from_rfc3339(text).ok())
            .is_some_and(|end| u64::try_from(end.timestamp_millis()).unwrap_or(0) <= self.now_unix_ms);
        // A key without material opens nothing: as good as revoked.
        let material = KeyMaterial::of(self.state, &object.uid);
        let state = match &material {
            Some(material) if !material.revoked => {
                if expired {
                    "expired"
                } else {
                    "active"
                }
            }
            _ => "revoked",
        };
        let kind = spec("/spec/principal/kind").unwrap_or_default();
        let subject = spec("/spec/principal/subject").unwrap_or_default();
        let secrets = material.map(|material| material.secrets).unwrap_or_default();
        let secrets: Vec<Value> = secrets.iter().map(|secret| json!({ "until": secret.until })).collect();
        let mut status = Map::new();
        status.insert("state".to_owned(), state.into());
        status.insert("principal".to_owned(), format!("{kind}/{subject}").into());
        for (name, value) in [("team", spec("/spec/team")), ("expiresAt", expires)] {
            status.extend(value.map(|value| (name.to_owned(), value.into())));
        }
        let of_team = spec("/spec/team").and_then(|team| self.of_teams().get(team));
        if let Some(bundles) = of_team {
            let bundles: Vec<Value> = bundles
                .iter()
                .map(|(bundle, at)| {
                    json!({ "bundle": &**bundle, "rule": format!("ToolBundle/{bundle} spec.members.teams[{at}]") })
                })
                .collect();
            status.insert("bundlesOfTeam".to_owned(), bundles.into());
        }
        status.insert("details".to_owned(), json!({ "secrets": secrets }));
        status
    }

    /// What bundles name which team.
    fn of_teams(&self) -> &OfTeams {
        self.of_teams.get_or_init(|| {
            let mut by_team = OfTeams::new();
            for object in self.state.list(Kind::ToolBundle.as_str()) {
                let teams = object.body.pointer("/spec/members/teams").and_then(Value::as_array);
                for (at, team) in teams.into_iter().flatten().enumerate() {
                    let team = team.as_str().unwrap_or_default().to_owned();
                    by_team.entry(team).or_default().push((Arc::clone(&object.name), at));
                }
            }
            by_team
        })
    }

    /// What its rewrites were written for.
    fn bundle(&self, object: &Object) -> Map<String, Value> {
        let rewrites: Vec<Value> =
            rewrites::of_object(self.state, object).iter().map(rewrites::Rewritten::to_json).collect();
        let shown = (!rewrites.is_empty()).then(|| ("rewrites".to_owned(), rewrites.into()));
        shown.into_iter().collect()
    }

    /// Who refers to a resource, as `Kind/name`, and nothing that does not refer to it.
    pub(super) fn referred_by(&self, kind: Kind, name: &str) -> Vec<String> {
        referrers(self.state, kind, name)
    }
}

/// Each value that a tier may give, with who gives it.
fn effective_json(effective: &Effective) -> Value {
    fn said<T: serde::Serialize>(sourced: &Sourced<T>) -> Value {
        json!({ "value": sourced.value, "from": sourced.from.to_string() })
    }
    json!({
        "tools": {
            "newTools": said(&effective.new_tools),
            "changedTools": said(&effective.changed_tools),
            "approval": said(&effective.approval),
        },
        "limits": {
            "timeout": said(&effective.timeout),
            "maxRequestBytes": said(&effective.max_request_bytes),
            "maxResponseBytes": said(&effective.max_response_bytes),
            "concurrency": said(&effective.concurrency),
        },
        "rollout": said(&effective.rollout),
    })
}

/// The zones that reach this one, beside itself, in one text.
pub(super) fn zone(document: &Value) -> Map<String, Value> {
    let zones = document.pointer("/spec/reachableFrom").and_then(Value::as_array);
    let names: Vec<&str> = zones.into_iter().flatten().filter_map(Value::as_str).collect();
    [("reachableFrom".to_owned(), names.join(", ").into())].into_iter().collect()
}

/// Who refers to a resource.
pub(super) fn referrers(state: &State, kind: Kind, name: &str) -> Vec<String> {
    let mut referrers = Vec::new();
    for other in Kind::ALL {
        for object in state.list(other.as_str()) {
            if *other == kind && &*object.name == name {
                continue;
            }
            // Most mention it nowhere, and reading a whole document takes far longer than seeing that.
            if !mentions(&object.body, name) {
                continue;
            }
            let Ok(resource) = Resource::from_json(&object.body) else { continue };
            let refers = references::of(&resource)
                .iter()
                .any(|reference| reference.kind == kind && reference.name.as_str() == name);
            if refers {
                referrers.push(references::label(*other, &resource.metadata.name));
            }
        }
    }
    referrers
}

fn mentions(value: &Value, name: &str) -> bool {
    match value {
        Value::String(text) => text == name,
        Value::Array(items) => items.iter().any(|item| mentions(item, name)),
        Value::Object(members) => members.values().any(|member| mentions(member, name)),
        _ => false,
    }
}

/// Who refers to which secret: names of servers by the name of the secret.
pub(crate) fn secret_users(state: &State) -> BTreeMap<Name, Vec<String>> {
    let mut users: BTreeMap<Name, Vec<String>> = BTreeMap::new();
    for object in state.list(Kind::McpServer.as_str()) {
        let Ok(resource) = Resource::from_json(&object.body) else { continue };
        for (_, secret) in references::secrets(&resource) {
            let users = users.entry(secret.clone()).or_default();
            if users.last().map(String::as_str) != Some(resource.metadata.name.as_str()) {
                users.push(resource.metadata.name.as_str().to_owned());
            }
        }
    }
    users
}
