//! A modern server as its specification has it: it refuses requests whose headers and body do not say the same.

use std::future::Future;
use std::sync::Arc;

use http::{Method, Response};
use serde_json::{Value, json};

use super::fake::{Body, Fake, Seen, empty, error, json_answer, result};

/// A modern server; `script` answers what is no discovery.
pub async fn start<F, R>(script: F) -> Fake
where
    F: Fn(Seen) -> R + Send + Sync + 'static,
    R: Future<Output = Option<Response<Body>>> + Send + 'static,
{
    let script = Arc::new(script);
    Fake::start(move |seen| {
        let script = Arc::clone(&script);
        async move { answer(seen, &*script).await }
    })
    .await
}

/// What the specification wants to be checked.
fn fault(seen: &Seen) -> Option<String> {
    let meta = &seen.body["params"]["_meta"];
    let version = meta["io.modelcontextprotocol/protocolVersion"].as_str()?;
    if seen.header("mcp-protocol-version") != Some(version) {
        return Some("version".to_owned());
    }
    if seen.header("mcp-method") != Some(seen.rpc()) {
        return Some("method".to_owned());
    }
    let name = match seen.rpc() {
        "tools/call" | "prompts/get" => seen.body["params"]["name"].as_str(),
        "resources/read" => seen.body["params"]["uri"].as_str(),
        _ => None,
    };
    if seen.header("mcp-name") != name {
        return Some("name".to_owned());
    }
    None
}

pub async fn answer<F, R>(seen: Seen, script: &F) -> Response<Body>
where
    F: Fn(Seen) -> R,
    R: Future<Output = Option<Response<Body>>>,
{
    if seen.method != Method::POST {
        return empty(405);
    }
    let meta = seen.body["params"]["_meta"].clone();
    let complete = meta["io.modelcontextprotocol/protocolVersion"].is_string()
        && meta["io.modelcontextprotocol/clientCapabilities"].is_object();
    if !complete {
        return json_answer(400, &error(&seen, -32602, "missing _meta"));
    }
    if let Some(what) = fault(&seen) {
        return json_answer(400, &error(&seen, -32020, &format!("Header mismatch: {what}")));
    }
    if let Some(response) = script(seen.clone()).await {
        return response;
    }
    match seen.rpc() {
        "server/discover" => json_answer(200, &result(&seen, &discovered())),
        "tools/call" => json_answer(
            200,
            &result(
                &seen,
                &json!({ "resultType": "complete", "content": [], "structuredContent": seen.body["params"] }),
            ),
        ),
        "tools/list" => json_answer(
            200,
            &result(
                &seen,
                &json!({ "resultType": "complete", "ttlMs": 0, "cacheScope": "private",
                "tools": [{ "name": "echo", "inputSchema": { "type": "object" } }] }),
            ),
        ),
        "prompts/list" => json_answer(
            200,
            &result(
                &seen,
                &json!({ "resultType": "complete", "ttlMs": 0, "cacheScope": "private", "prompts": [] }),
            ),
        ),
        _ => json_answer(404, &error(&seen, -32601, "Method not found")),
    }
}

/// The result of `server/discover`.
pub fn discovered() -> Value {
    json!({
        "resultType": "complete", "supportedVersions": ["2026-07-28"],
        "capabilities": { "tools": { "listChanged": true }, "prompts": {} },
        "instructions": "be modern", "ttlMs": 0, "cacheScope": "private",
        "_meta": { "io.modelcontextprotocol/serverInfo": { "name": "modern", "version": "2" } },
    })
}

/// A script that answers nothing of its own.
pub async fn plain(_: Seen) -> Option<Response<Body>> {
    None
}
