//! What `up --demo` applies: a zone, the demo server, a bundle of three of its four tools, and a key.

use std::path::Path;

use portcullis_proto::admin::v1::SourceFile;
use serde_json::json;

/// The name of the demo's zone, server, bundle and key.
pub(crate) const NAME: &str = "demo";

/// The documents. The server is this very binary, started by the data plane.
pub(crate) fn documents(program: &Path) -> SourceFile {
    let metadata = json!({ "name": NAME });
    let document = |kind: &str, spec| json!({ "apiVersion": "portcullis/v1", "kind": kind, "metadata": metadata, "spec": spec });
    let documents = [
        document("TrustZone", json!({})),
        document(
            "McpServer",
            json!({
                "transport": { "stdio": { "command": program, "args": ["demo-server"] } },
                "zone": NAME,
                "environment": "dev",
                "tools": { "newTools": "approve", "changedTools": "approve" },
            }),
        ),
        document("ToolBundle", json!({ "tools": [{ "server": NAME, "allow": ["*"], "except": ["wipe"] }] })),
        document(
            "VirtualKey",
            json!({
                "principal": { "kind": "agent", "subject": "demo" },
                "zone": NAME,
                "grants": [{ "bundle": NAME }, { "server": NAME, "prompts": ["*"], "resources": ["demo://*"] }],
            }),
        ),
    ];
    let text = documents.iter().map(ToString::to_string).collect::<Vec<_>>().join("\n---\n");
    SourceFile { name: "(demo)".to_owned(), text }
}
