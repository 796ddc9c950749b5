//! A resource as `get` shows it: the document, and beside it what the control plane knows.

use std::collections::BTreeMap;
use std::sync::Arc;

use chrono::DateTime;
use portcullis_policy::resource::{Kind, Name, Resource, Uid};
use serde_json::{Map, Value, json};

use super::references;
use crate::catalog::Catalog;
use crate::keys::KeyMaterial;
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

    fn status(&self, kind: Kind, object: &Object) -> Map<String, Value> {
        let mut status = Map::new();
        status.insert("createdVersion".to_owned(), object.created_version.into());
        match kind {
            Kind::McpServer => {
                if let Value::Object(server) = self.catalog.describe(self.state, &object.uid) {
                    status.extend(server);
                }
            }
            Kind::VirtualKey => status.extend(self.key(object)),
            _ => {}
        }
        status
    }

    fn key(&self, object: &Object) -> Map<String, Value> {
        let mut status = Map::new();
        let expires = object.body.pointer("/spec/expiresAt").and_then(Value::as_str);
        let expired = expires
            .and_then(|text| DateTime::parse_from_rfc3339(text).ok())
            .is_some_and(|end| u64::try_from(end.timestamp_millis()).unwrap_or(0) <= self.now_unix_ms);
        status.insert("expired".to_owned(), expired.into());
        // A key without material opens nothing: as good as revoked.
        let material = KeyMaterial::of(self.state, &object.uid);
        status.insert("revoked".to_owned(), material.as_ref().is_none_or(|material| material.revoked).into());
        let secrets = material.map(|material| material.secrets).unwrap_or_default();
        let secrets = secrets.iter().map(|secret| json!({ "until": secret.until })).collect();
        status.insert("secrets".to_owned(), Value::Array(secrets));
        status
    }

    /// Who refers to a resource, as `Kind/name`, and nothing that does not refer to it.
    pub(super) fn referred_by(&self, kind: Kind, name: &str) -> Vec<String> {
        referrers(self.state, kind, name)
    }
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
        if let Some(secret) = references::secret(&resource) {
            users.entry(secret.clone()).or_default().push(resource.metadata.name.as_str().to_owned());
        }
    }
    users
}
