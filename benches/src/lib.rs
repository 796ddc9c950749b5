//! What the whole-process benchmarks share: the load generator, the CPU clock of another process, the bare hop.
//!
//! Figures are ratios within one run: machines differ, and the same machine differs from minute to minute.
#![forbid(unsafe_code)]

pub mod cpu;
pub mod gateway;
pub mod load;
pub mod proxy;
pub mod upstream;

use bytes::Bytes;
use serde_json::{Value, json};

/// A modern `tools/call`, as headers and body.
#[derive(Debug, Clone)]
pub struct Call {
    /// The headers of MCP 2026-07-28, and the key.
    pub headers: Vec<(String, String)>,
    /// The JSON-RPC request.
    pub body: Bytes,
}

/// Makes a modern `tools/call`.
///
/// # Errors
/// When the arguments are no JSON.
pub fn call(tool: &str, key: &str, arguments: &str) -> Result<Call, serde_json::Error> {
    let arguments: Value = serde_json::from_str(arguments)?;
    let body = json!({
        "jsonrpc": "2.0",
        "id": 1,
        "method": "tools/call",
        "params": {
            "name": tool,
            "arguments": arguments,
            "_meta": {
                "io.modelcontextprotocol/protocolVersion": "2026-07-28",
                "io.modelcontextprotocol/clientInfo": { "name": "bench", "version": "1" },
                "io.modelcontextprotocol/clientCapabilities": {},
            },
        },
    });
    let header = |name: &str, value: &str| (name.to_owned(), value.to_owned());
    let mut headers = vec![
        header("content-type", "application/json"),
        header("accept", "application/json, text/event-stream"),
        header("mcp-protocol-version", "2026-07-28"),
        header("mcp-method", "tools/call"),
        header("mcp-name", tool),
    ];
    if !key.is_empty() {
        headers.push(("authorization".to_owned(), format!("Bearer {key}")));
    }
    Ok(Call { headers, body: Bytes::from(body.to_string()) })
}
