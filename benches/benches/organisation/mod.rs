//! A large organisation as the entries of a snapshot: what the benches of policy measure against.

use portcullis_policy::secret::KeyHash;
use portcullis_policy::snapshot::SharedGrants;
use portcullis_policy::{Entry, Snapshot, SnapshotHeader, SnapshotVersion};
use serde_json::{Value, json};

/// How large it is.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Size {
    pub(crate) servers: usize,
    pub(crate) tools_per_server: usize,
    pub(crate) keys: usize,
}

/// The time at which everything is asked: 2026-11-21T00:00:00Z.
pub(crate) const NOW: u64 = 1_795_219_200_000;

fn uid(kind: u8, number: usize) -> String {
    format!("00000000-0000-4000-80{kind:02x}-{number:012x}")
}

/// The hash under which a key is found.
pub(crate) fn key_hash(number: usize) -> KeyHash {
    let text = format!("sha256:{:064x}", (number as u128 + 1) * 0x9E37_79B9_7F4A_7C15_F39C_C060_5CED_C835);
    text.parse().unwrap_or_else(|error| panic!("{text}: {error}"))
}

fn entry(kind: &str, body: &Value) -> Entry {
    Entry::decode(kind, body.to_string().as_bytes()).unwrap_or_else(|error| panic!("{body}: {error}"))
}

fn tool_name(number: usize) -> String {
    format!("tool_number_{number}")
}

/// 200 tools by name: 20 of each of ten servers, others for each hundredth key.
fn grants(key: usize, size: Size) -> Vec<Value> {
    (0..10)
        .map(|at| {
            let server = (key * 7 + at * 3) % size.servers;
            let tools: Vec<String> =
                (0..20).map(|tool| tool_name((key + tool) % size.tools_per_server)).collect();
            json!({ "server": format!("server-{server}"), "allow": tools })
        })
        .collect()
}

/// The exposed name of a tool that a key is granted, and of one that it is not.
pub(crate) fn names(key: usize, size: Size) -> (String, String) {
    let server = (key * 7) % size.servers;
    let other = (key * 7 + 1) % size.servers;
    let granted = format!("server-{server}_{}", tool_name((key + 10) % size.tools_per_server));
    (granted, format!("server-{other}_{}", tool_name(0)))
}

/// All entries. Keys share their grants in groups of `keys_per_grants`.
pub(crate) fn entries(size: Size, keys_per_grants: usize) -> Vec<Entry> {
    let zone = json!({ "uid": uid(0, 0), "name": "vendor", "reachableFrom": ["default"],
        "allowedDataClasses": ["public"], "audit": "required" });
    let mut entries = vec![entry("zone", &zone)];
    for number in 0..size.servers {
        let server = uid(1, number);
        entries.push(entry(
            "server",
            &json!({ "uid": server, "name": format!("server-{number}"), "zone": "vendor",
                "transport": { "streamableHttp": { "url": "https://mcp.example.com/mcp" } }, "hosting": "vendor",
                "environment": "prod", "tier": "bronze", "dataClasses": ["public"], "auth": { "none": {} },
                "limits": { "timeout": "30s", "maxRequestBytes": "1MiB", "maxResponseBytes": "4MiB", "concurrency": 64 } }),
        ));
        for tool in 0..size.tools_per_server {
            let name = tool_name(tool);
            let definition = json!({ "description": "Finds what somebody looks for, page by page, and says where it was found.",
                "inputSchema": { "properties": { "page": { "type": "integer" }, "query": { "type": "string" } },
                    "required": ["query"], "type": "object" }, "name": name });
            let pin = format!("sha256:{tool:064x}");
            entries.push(entry(
                "tool",
                &json!({ "server": server, "name": name, "state": { "approved": { "pin": pin, "definition": definition } } }),
            ));
        }
    }
    // As a data plane reads them.
    let mut shared = SharedGrants::default();
    for number in 0..size.keys {
        let grants = grants(number / keys_per_grants, size);
        let mut key = entry(
            "key",
            &json!({ "uid": uid(2, number), "name": format!("key-{number}"), "secrets": [{ "hash": key_hash(number) }],
                "principal": { "kind": "agent", "subject": format!("agent-{number}") }, "zone": "default",
                "grants": grants }),
        );
        shared.share(&mut key);
        entries.push(key);
    }
    entries
}

/// Compiles entries.
pub(crate) fn compile(entries: Vec<Entry>) -> Snapshot {
    let count = u32::try_from(entries.len()).unwrap_or(u32::MAX);
    let header = SnapshotHeader {
        version: SnapshotVersion(1),
        digest: key_hash(0),
        built_unix_ms: NOW,
        entries: count,
    };
    Snapshot::compile(header, entries).unwrap_or_else(|errors| panic!("{errors:?}"))
}
