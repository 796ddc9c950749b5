//! What happened, as an administrator may read it: resources field by field, and never a hash or a secret.
//!
//! The store keeps more than resources. Of key material history shows that a key was rotated or revoked, of definitions
//! what was approved or denied, of tokens that they came and went. What a prober observed is no administrative act and is
//! left out.

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::sync::Arc;

use portcullis_policy::resource::Kind;
use serde_json::Value;

use super::diff::{self, FieldChange};
use super::rewrites::BUNDLE_REWRITES;
use super::{ChangeKind, RegistryError, ResourceChange};
use crate::catalog::{DEFINITION, OBSERVATION};
use crate::governance::AUTHORSHIP;
use crate::objects::{KEY_MATERIAL, SERVER_STATE};
use crate::store::{HistoryChange, HistoryFilter, HistoryRecord, State, Store};

/// The most entries in one answer.
const MAX_ENTRIES: usize = 1000;
/// How many entries there are when nothing is said.
const DEFAULT_ENTRIES: usize = 100;
/// How many pages of the store one answer reads at most; a filter that matches nothing must not read for ever.
const MAX_PAGES: usize = 1000;
/// Longer values, such as whole definitions, are left out of an answer.
const MAX_VALUE_BYTES: usize = 4096;
/// Members that never leave the store, whatever object holds them.
const NEVER_SHOWN: &[&str] = &["hash", "secrets", "token"];

/// Which part of history.
#[derive(Debug, Clone, Default)]
pub struct HistoryQuery {
    /// Only of this kind.
    pub kind: Option<Kind>,
    /// Only of this name.
    pub name: Option<String>,
    /// At most so many entries; 0 means [`DEFAULT_ENTRIES`], and there are never more than [`MAX_ENTRIES`].
    pub limit: usize,
    /// Only versions before this one.
    pub before: Option<u64>,
}

/// One transaction.
#[derive(Debug, Clone)]
pub struct HistoryEntry {
    /// The version that it made.
    pub version: u64,
    /// When, milliseconds since the Unix epoch.
    pub unix_ms: u64,
    /// Who.
    pub author: String,
    /// Why.
    pub message: String,
    /// What changed.
    pub changes: Vec<ResourceChange>,
}

/// Reads history, the newest first.
pub(super) async fn read(store: &dyn Store, query: HistoryQuery) -> Result<Vec<HistoryEntry>, RegistryError> {
    let names = ServerNames::of(&store.state());
    let limit = if query.limit == 0 { DEFAULT_ENTRIES } else { query.limit.min(MAX_ENTRIES) };
    let mut found: BTreeMap<u64, HistoryEntry> = BTreeMap::new();
    let mut uids = BTreeSet::new();
    let own = HistoryFilter {
        kind: query.kind.map(|kind| kind.as_str().to_owned()),
        name: query.name.clone(),
        limit: 0,
        before: query.before,
    };
    collect(store, own, limit, &names, &mut found, &mut |change| {
        uids.insert(change.uid);
    })
    .await?;
    // Rotations and revocations are kept beside the key, under its uid; and so is how far a server has come.
    let beside = match query.kind {
        Some(Kind::VirtualKey) => Some((Kind::VirtualKey, KEY_MATERIAL)),
        Some(Kind::McpServer) => Some((Kind::McpServer, SERVER_STATE)),
        _ => None,
    };
    if let Some((resource, beside)) = beside {
        let materials: Vec<Option<String>> = match &query.name {
            None => vec![None],
            Some(name) => {
                let present = store.state().get(resource.as_str(), name).map(|object| object.uid);
                uids.extend(present);
                uids.iter().map(|uid| Some(uid.to_string())).collect()
            }
        };
        for name in materials {
            let kind = Some(beside.to_owned());
            let filter = HistoryFilter { kind, name, limit: 0, before: query.before };
            collect(store, filter, limit, &names, &mut found, &mut |_| {}).await?;
        }
    }
    Ok(found.into_values().rev().take(limit).collect())
}

/// Reads pages until there are enough entries that show something.
async fn collect(
    store: &dyn Store,
    mut filter: HistoryFilter,
    limit: usize,
    names: &ServerNames,
    into: &mut BTreeMap<u64, HistoryEntry>,
    seen: &mut (dyn FnMut(&HistoryChange) + Send),
) -> Result<(), RegistryError> {
    let mut shown = 0;
    filter.limit = limit;
    for _ in 0..MAX_PAGES {
        let page = store
            .history(filter.clone())
            .await
            .map_err(|error| RegistryError::Unavailable(error.to_string()))?;
        let Some(last) = page.last() else { return Ok(()) };
        filter.before = Some(last.version);
        for record in page {
            record.changes.iter().for_each(&mut *seen);
            let changes = changes(&record, names);
            if changes.is_empty() {
                continue;
            }
            shown += 1;
            match into.entry(record.version) {
                std::collections::btree_map::Entry::Occupied(mut entry) => merge(entry.get_mut(), changes),
                std::collections::btree_map::Entry::Vacant(place) => {
                    place.insert(HistoryEntry {
                        version: record.version,
                        unix_ms: record.unix_ms,
                        author: record.author,
                        message: record.message,
                        changes,
                    });
                }
            }
        }
        if shown >= limit {
            return Ok(());
        }
    }
    Ok(())
}

/// A key that comes or goes takes its material along: that is one change, not two.
fn merge(entry: &mut HistoryEntry, changes: Vec<ResourceChange>) {
    for change in changes {
        if !entry.changes.iter().any(|known| known.kind == change.kind && known.name == change.name) {
            entry.changes.push(change);
        }
    }
}

/// Names of the servers that there are, by uid: definitions are kept under the uid.
struct ServerNames(HashMap<String, Arc<str>>);

impl ServerNames {
    fn of(state: &State) -> Self {
        let servers = state.list(Kind::McpServer.as_str());
        Self(servers.map(|object| (object.uid.to_string(), Arc::clone(&object.name))).collect())
    }

    /// `crm/tool/lookup` for a definition of a server that is still there; else as it is kept.
    fn definition(&self, object: &str) -> String {
        let named = object.split_once('/').and_then(|(uid, rest)| Some((self.0.get(uid)?, rest)));
        named.map_or_else(|| object.to_owned(), |(server, rest)| format!("{server}/{rest}"))
    }
}

fn changes(record: &HistoryRecord, names: &ServerNames) -> Vec<ResourceChange> {
    let gone: Vec<String> = record
        .changes
        .iter()
        .filter(|change| &*change.kind == Kind::McpServer.as_str() && change.after.is_none())
        .map(|change| format!("{}/", change.uid))
        .collect();
    let mut shown: Vec<ResourceChange> = Vec::new();
    for change in &record.changes {
        // What goes with a deleted server needs no telling.
        if &*change.kind == DEFINITION && gone.iter().any(|prefix| change.name.starts_with(prefix)) {
            continue;
        }
        let Some(change) = shown_change(change, names) else { continue };
        match shown.iter_mut().find(|known| known.kind == change.kind && known.name == change.name) {
            Some(known) if known.change == ChangeKind::Changed => known.fields.extend(change.fields),
            Some(_) => {}
            None => shown.push(change),
        }
    }
    shown
}

fn shown_change(change: &HistoryChange, names: &ServerNames) -> Option<ResourceChange> {
    let what = match (&change.before, &change.after) {
        // A state that begins to be kept is no server that comes into being.
        (None, Some(_)) if &*change.kind == SERVER_STATE => ChangeKind::Changed,
        (None, _) => ChangeKind::Created,
        (Some(_), None) => ChangeKind::Deleted,
        (Some(_), Some(_)) => ChangeKind::Changed,
    };
    let (before, after) = (change.before.as_ref(), change.after.as_ref());
    let (kind, name, fields) = match &*change.kind {
        // Who wrote a server, and what a bundle's rewrites were written for, follow from the resource.
        OBSERVATION | AUTHORSHIP | BUNDLE_REWRITES => return None,
        // A key comes with its material, and goes with it: what `VirtualKey` shows of the same record.
        KEY_MATERIAL => {
            let name = after.or(before)?.get("key")?.as_str()?.to_owned();
            (Kind::VirtualKey.as_str().to_owned(), name, material_fields(before, after))
        }
        // A server comes with its state, and goes with it, likewise.
        SERVER_STATE => {
            let name = after.or(before)?.get("server")?.as_str()?.to_owned();
            (Kind::McpServer.as_str().to_owned(), name, state_fields(before, after))
        }
        DEFINITION => (DEFINITION.to_owned(), names.definition(&change.name), cut(before, after)),
        kind if Kind::parse(kind).is_some() => {
            (kind.to_owned(), change.name.to_string(), diff::documents(before, after))
        }
        kind => (kind.to_owned(), change.name.to_string(), cut(before, after)),
    };
    Some(ResourceChange { change: what, kind, name, uid: Some(change.uid), fields })
}

/// How far a server has come, in the fields that `get` shows it in.
pub(super) fn state_fields(before: Option<&Value>, after: Option<&Value>) -> Vec<FieldChange> {
    let shown = |body: Option<&Value>, pointer: &str| {
        body.and_then(|body| body.pointer(pointer)).map(Value::to_string)
    };
    [("status.lifecycle", "/lifecycle"), ("status.stage", "/stage/stage"), ("status.forced", "/stage/forced")]
        .into_iter()
        .filter_map(|(path, pointer)| {
            let (before, after) = (shown(before, pointer), shown(after, pointer));
            (before != after).then(|| FieldChange { path: path.to_owned(), before, after })
        })
        .collect()
}

/// What may be told of key material: how many secrets open the key, when they end, whether it is revoked.
fn material_fields(before: Option<&Value>, after: Option<&Value>) -> Vec<FieldChange> {
    let shown = |body: Option<&Value>| {
        let body = body?;
        let ends = body.get("secrets")?.as_array()?.iter();
        let ends: Vec<Value> =
            ends.map(|secret| secret.get("until").cloned().unwrap_or(Value::Null)).collect();
        let revoked = body.get("revoked").cloned().unwrap_or(Value::Bool(false));
        Some((Value::Array(ends), revoked))
    };
    let (before, after) = (shown(before), shown(after));
    let ends = |shown: &Option<(Value, Value)>| shown.as_ref().map(|(ends, _)| ends.to_string());
    let revoked = |shown: &Option<(Value, Value)>| shown.as_ref().map(|(_, revoked)| revoked.to_string());
    let mut fields = Vec::new();
    for (path, before, after) in [
        ("status.secretsUntil", ends(&before), ends(&after)),
        ("status.revoked", revoked(&before), revoked(&after)),
    ] {
        if before != after {
            fields.push(FieldChange { path: path.to_owned(), before, after });
        }
    }
    fields
}

/// The fields of any other object, without what is never shown and without what is too long to read.
fn cut(before: Option<&Value>, after: Option<&Value>) -> Vec<FieldChange> {
    let shown = |body: Option<&Value>| {
        let mut body = body?.clone();
        hide(&mut body);
        Some(body)
    };
    let empty = || Value::Object(serde_json::Map::new());
    let before = shown(before).unwrap_or_else(empty);
    let after = shown(after).unwrap_or_else(empty);
    let mut fields = diff::values("", Some(&before), Some(&after));
    for field in &mut fields {
        for value in [&mut field.before, &mut field.after].into_iter().flatten() {
            if value.len() > MAX_VALUE_BYTES {
                *value = format!("\"({} bytes)\"", value.len());
            }
        }
    }
    fields
}

fn hide(value: &mut Value) {
    match value {
        Value::Object(members) => {
            members.retain(|name, _| !NEVER_SHOWN.contains(&name.as_str()));
            members.values_mut().for_each(hide);
        }
        Value::Array(items) => items.iter_mut().for_each(hide),
        _ => {}
    }
}
