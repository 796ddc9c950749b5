//! Snapshots written as JSON, the way entries travel.

use std::sync::Mutex;

use portcullis_policy::snapshot::encode_all;
use portcullis_policy::{Entry, Snapshot, SnapshotHeader, SnapshotVersion, secret as policy_secret};
use portcullis_seal::fingerprint_json;
use serde_json::{Value, json};

/// What will be compiled.
#[derive(Clone, Default)]
pub struct Policy {
    entries: Vec<(&'static str, Value)>,
}

/// The secret of a key, the same within one process.
pub fn secret(key: &str) -> String {
    static SECRETS: Mutex<Vec<(String, String)>> = Mutex::new(Vec::new());
    let mut secrets = SECRETS.lock().unwrap();
    if let Some((_, secret)) = secrets.iter().find(|(name, _)| name == key) {
        return secret.clone();
    }
    let made = policy_secret::generate_key().unwrap();
    secrets.push((key.to_owned(), made.text.to_string()));
    made.text.to_string()
}

/// A uid that is the same for the same text.
pub fn uid(kind: &str, name: &str) -> String {
    let hash = portcullis_seal::sha256(format!("{kind}/{name}").as_bytes());
    let bytes: [u8; 16] = hash[..16].try_into().unwrap();
    uuid::Builder::from_random_bytes(bytes).into_uuid().to_string()
}

impl Policy {
    /// With the built-in zone.
    pub fn new() -> Self {
        Self::default().zone("default", &[], "required")
    }

    pub fn zone(mut self, name: &str, reachable_from: &[&str], audit: &str) -> Self {
        self.entries.push((
            "zone",
            json!({"uid": uid("zone", name), "name": name, "reachableFrom": reachable_from,
                   "allowedDataClasses": ["*"], "audit": audit}),
        ));
        self
    }

    /// A server that was seen to speak an era, with these capabilities.
    pub fn server(self, name: &str, url: &str, modern: bool, capabilities: &Value) -> Self {
        self.server_in("default", name, url, modern, capabilities)
    }

    pub fn server_in(
        mut self,
        zone: &str,
        name: &str,
        url: &str,
        modern: bool,
        capabilities: &Value,
    ) -> Self {
        let version = if modern { "2026-07-28" } else { "2025-11-25" };
        self.entries.push((
            "server",
            json!({
                "uid": uid("server", name), "name": name, "zone": zone,
                "transport": {"streamableHttp": {"url": url}},
                "hosting": "self", "environment": "prod", "tier": "bronze", "dataClasses": [],
                "auth": {"none": {}},
                "limits": {"timeout": "5s", "maxRequestBytes": "64KiB", "maxResponseBytes": "4MiB", "concurrency": 64},
                "identity": {
                    "pin": fingerprint_json(b"{}").unwrap(),
                    "serverInfo": {"name": format!("{name}-upstream"), "version": "1.2.3"},
                    "instructions": format!("How to use {name}.")
                },
                "observed": {"modern": modern, "protocolVersion": version, "capabilities": capabilities}
            }),
        ));
        self
    }

    pub fn team(mut self, name: &str) -> Self {
        self.entries.push(("team", json!({"uid": uid("team", name), "name": name})));
        self
    }

    /// What a team, a key or a server says of how much may be used, as entries hold it.
    pub fn metering(mut self, kind: &str, name: &str, said: &Value) -> Self {
        let entry = self.entries.iter_mut().find(|(of, body)| *of == kind && body["name"] == name);
        entry.unwrap().1["metering"] = said.clone();
        self
    }

    /// How many calls the server that was added last takes at once.
    pub fn concurrency(mut self, calls: u32) -> Self {
        let (_, server) = self.entries.iter_mut().rfind(|(kind, _)| *kind == "server").unwrap();
        server["limits"]["concurrency"] = json!(calls);
        self
    }

    /// An approved tool.
    pub fn tool(self, server: &str, name: &str) -> Self {
        self.tool_as(
            server,
            name,
            &json!({"name": name, "inputSchema": {"type": "object"}, "x-kept": {"b": [1]}}),
        )
    }

    pub fn tool_as(mut self, server: &str, name: &str, definition: &Value) -> Self {
        self.entries.push(("tool", approved(server, name, definition)));
        self
    }

    /// A tool that is not approved: `pending` or `quarantined`.
    pub fn tool_in_state(mut self, server: &str, name: &str, state: &str) -> Self {
        self.entries.push(("tool", json!({"server": uid("server", server), "name": name, "state": state})));
        self
    }

    pub fn prompt(mut self, server: &str, name: &str) -> Self {
        self.entries.push(("prompt", approved(server, name, &json!({"name": name}))));
        self
    }

    pub fn bundle(mut self, name: &str, tools: &Value) -> Self {
        self.entries.push(("bundle", json!({"uid": uid("bundle", name), "name": name, "tools": tools})));
        self
    }

    pub fn key(self, name: &str, grants: &Value) -> Self {
        self.key_with(name, grants, &json!({}))
    }

    /// A key with further fields.
    pub fn key_with(mut self, name: &str, grants: &Value, more: &Value) -> Self {
        let hash = policy_secret::key_hash(&secret(name)).unwrap();
        let mut body = json!({
            "uid": uid("key", name), "name": name, "secrets": [{"hash": hash}], "revoked": false,
            "principal": {"kind": "agent", "subject": format!("{name}-subject")},
            "zone": "default", "grants": grants
        });
        for (field, value) in more.as_object().unwrap() {
            body[field] = value.clone();
        }
        self.entries.push(("key", body));
        self
    }

    pub fn compile(&self, version: u64) -> Snapshot {
        let entries: Vec<Entry> = self
            .entries
            .iter()
            .map(|(kind, body)| Entry::decode(kind, body.to_string().as_bytes()).expect("an entry"))
            .collect();
        let (encoded, digest) = encode_all(&entries);
        let header = SnapshotHeader {
            version: SnapshotVersion(version),
            digest,
            built_unix_ms: 1_800_000_000_000,
            entries: u32::try_from(encoded.len()).unwrap(),
        };
        Snapshot::compile(header, entries).expect("a snapshot")
    }
}

fn approved(server: &str, name: &str, definition: &Value) -> Value {
    let pin = fingerprint_json(definition.to_string().as_bytes()).unwrap();
    json!({"server": uid("server", server), "name": name,
           "state": {"approved": {"pin": pin, "definition": definition}}})
}
