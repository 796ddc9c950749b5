//! A small organisation for the tests of this crate, written as the JSON of entries.

use std::sync::Arc;

use portcullis_seal::{Fingerprint, sha256};
use serde_json::{Value, json};

use crate::compile::{CompileError, Principal, Snapshot};
use crate::resource::Uid;
use crate::snapshot::{Entry, SnapshotHeader, SnapshotVersion};
use crate::view::{EndpointRef, View};

/// 2026-11-21T00:00:00Z
pub(crate) const NOW: u64 = 1_795_219_200_000;

/// A uid that is always the same for a label.
pub(crate) fn uid(label: &str) -> Uid {
    let [a, b, c, d, e, f, g, h, i, j, k, l, m, n, o, p, ..] = sha256(label.as_bytes());
    Uid(uuid::Uuid::from_bytes([a, b, c, d, e, f, g, h, i, j, k, l, m, n, o, p]))
}

/// The hash of the secret of a label.
pub(crate) fn hash(label: &str) -> Fingerprint {
    Fingerprint::from_bytes(sha256(label.as_bytes()))
}

pub(crate) fn entry(kind: &str, body: &Value) -> Entry {
    Entry::decode(kind, body.to_string().as_bytes()).unwrap()
}

pub(crate) fn zone(name: &str, from: &[&str], classes: &[&str]) -> Entry {
    zone_as(name, from, classes, &json!({}))
}

/// A zone with more members.
pub(crate) fn zone_as(name: &str, from: &[&str], classes: &[&str], more: &Value) -> Entry {
    let mut body = json!({ "uid": uid(&format!("zone {name}")), "name": name, "reachableFrom": from,
        "allowedDataClasses": classes, "audit": "required" });
    body.as_object_mut().unwrap().extend(more.as_object().unwrap().clone());
    entry("zone", &body)
}

/// A rule for clients.
pub(crate) fn client(name: &str, spec: &Value) -> Entry {
    entry("client", &json!({ "uid": uid(&format!("client {name}")), "name": name, "spec": spec }))
}

pub(crate) fn server(name: &str, zone: &str, classes: &[&str]) -> Entry {
    let body = json!({ "uid": uid(name), "name": name, "zone": zone,
        "transport": { "streamableHttp": { "url": format!("http://{name}:8080/mcp") } },
        "hosting": "self", "environment": "prod", "tier": "bronze", "dataClasses": classes,
        "auth": { "none": {} },
        "limits": { "timeout": "30s", "maxRequestBytes": "1MiB", "maxResponseBytes": "4MiB", "concurrency": 64 } });
    entry("server", &body)
}

pub(crate) fn approved(definition: &Value) -> Value {
    let text = portcullis_seal::to_canonical_json(definition).unwrap();
    // As it is stored: members in canonical order.
    let definition: Value = serde_json::from_str(&text).unwrap();
    json!({ "approved": { "pin": Fingerprint::from_bytes(sha256(text.as_bytes())), "definition": definition } })
}

/// An approved tool with a schema of its own.
pub(crate) fn tool(server: &str, name: &str) -> Entry {
    let definition =
        json!({ "name": name, "description": format!("does {name}"), "inputSchema": { "type": "object" } });
    tool_as(server, name, &approved(&definition), &json!({}))
}

/// A tool in a state, with more members.
pub(crate) fn tool_as(server: &str, name: &str, state: &Value, more: &Value) -> Entry {
    definition("tool", server, name, state, more)
}

pub(crate) fn definition(kind: &str, server: &str, name: &str, state: &Value, more: &Value) -> Entry {
    let mut body = json!({ "server": uid(server), "name": name, "state": state });
    let members = body.as_object_mut().unwrap();
    members.extend(more.as_object().unwrap().clone());
    entry(kind, &body)
}

pub(crate) fn prompt(server: &str, name: &str) -> Entry {
    definition("prompt", server, name, &approved(&json!({ "name": name })), &json!({}))
}

pub(crate) fn bundle(name: &str, tools: &Value) -> Entry {
    entry("bundle", &json!({ "uid": uid(&format!("bundle {name}")), "name": name, "tools": tools }))
}

/// A key whose secret hashes to `hash(name)`.
pub(crate) fn key(name: &str, zone: &str, grants: &Value) -> Entry {
    key_as(name, zone, grants, &json!({}))
}

pub(crate) fn key_as(name: &str, zone: &str, grants: &Value, more: &Value) -> Entry {
    let mut body = json!({ "uid": uid(&format!("key {name}")), "name": name, "zone": zone, "grants": grants,
        "secrets": [{ "hash": hash(name) }], "principal": { "kind": "agent", "subject": name } });
    body.as_object_mut().unwrap().extend(more.as_object().unwrap().clone());
    entry("key", &body)
}

pub(crate) fn header(version: u64) -> SnapshotHeader {
    SnapshotHeader {
        version: SnapshotVersion(version),
        digest: Fingerprint::from_bytes([0; 32]),
        built_unix_ms: NOW,
        entries: 0,
    }
}

pub(crate) fn compile(entries: Vec<Entry>) -> Result<Snapshot, Vec<CompileError>> {
    Snapshot::compile(header(7), entries)
}

/// Zones `internal` and `vendor` (which `internal` reaches, and which allows the class `public` alone) and `island`; servers
/// `crm` (internal), `github` (vendor), `vault` (island); a bundle `support`.
pub(crate) fn organisation() -> Vec<Entry> {
    vec![
        zone("internal", &[], &["*"]),
        zone("vendor", &["internal"], &["public"]),
        zone("island", &[], &["*"]),
        entry("customer", &json!({ "uid": uid("customer"), "name": "acme" })),
        entry("team", &json!({ "uid": uid("team"), "name": "support-team", "customer": "acme" })),
        server("crm", "internal", &[]),
        server("github", "vendor", &["public"]),
        server("vault", "island", &[]),
        tool("crm", "find"),
        tool("crm", "refund"),
        tool("crm", "delete_customer"),
        tool_as("crm", "waiting", &json!("pending"), &json!({})),
        tool_as("crm", "drifted", &json!("quarantined"), &json!({})),
        tool("github", "search"),
        tool_as(
            "github",
            "secret_source",
            &approved(&json!({ "name": "secret_source" })),
            &json!({ "dataClasses": ["source-code"] }),
        ),
        tool_as(
            "github",
            "create_issue",
            &approved(&json!({ "name": "create_issue" })),
            &json!({ "alias": "new-issue" }),
        ),
        tool("github", "odd name/with slash"),
        tool("vault", "open"),
        prompt("crm", "greet"),
        definition("prompt", "crm", "draft", &json!("pending"), &json!({})),
        bundle(
            "support",
            &json!([
                { "server": "github", "allow": ["search", "create_issue"] },
                { "server": "crm", "allow": ["*"], "except": ["delete_*"] },
            ]),
        ),
        bundle("empty", &json!([])),
    ]
}

/// The organisation with keys beside it.
pub(crate) fn with_keys(keys: Vec<Entry>) -> Snapshot {
    compile(organisation().into_iter().chain(keys).collect()).unwrap()
}

/// The organisation with one key `k` in `internal`.
pub(crate) fn with_grants(grants: &Value) -> Snapshot {
    with_keys(vec![key("k", "internal", grants)])
}

/// The principal and the view of the key `k`.
pub(crate) fn enter(snapshot: &Snapshot, endpoint: EndpointRef<'_>) -> (Arc<Principal>, Arc<View>) {
    let principal = snapshot.authenticate(&hash("k"), NOW).unwrap();
    let view = snapshot.endpoint(&principal, endpoint).unwrap();
    (principal, view)
}
