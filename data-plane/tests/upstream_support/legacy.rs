//! A legacy server as its specification has it: sessions, 202, 404, 405; the test scripts what its requests give.

use std::collections::HashSet;
use std::future::Future;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex};

use http::{Method, Response};
use serde_json::json;
use tokio::sync::mpsc;

use super::fake::{Body, Fake, Feeder, Seen, empty, error, json_answer, result, stream};

/// The sessions of a legacy fake.
#[derive(Clone, Default)]
pub struct Sessions {
    open: Arc<Mutex<HashSet<String>>>,
    next: Arc<AtomicU64>,
}

impl Sessions {
    pub fn open(&self) -> HashSet<String> {
        self.open.lock().unwrap().clone()
    }

    /// The server forgets all of them.
    pub fn forget(&self) {
        self.open.lock().unwrap().clear();
    }
}

/// A legacy server; `script` answers what is no lifecycle message, and GET.
pub async fn start<F, R>(script: F) -> (Fake, Sessions)
where
    F: Fn(Seen) -> R + Send + Sync + 'static,
    R: Future<Output = Option<Response<Body>>> + Send + 'static,
{
    let sessions = Sessions::default();
    let known = sessions.clone();
    let script = Arc::new(script);
    let fake = Fake::start(move |seen| {
        let (known, script) = (known.clone(), Arc::clone(&script));
        async move { answer(seen, &known, &*script).await }
    })
    .await;
    (fake, sessions)
}

async fn answer<F, R>(seen: Seen, sessions: &Sessions, script: &F) -> Response<Body>
where
    F: Fn(Seen) -> R,
    R: Future<Output = Option<Response<Body>>>,
{
    if seen.rpc() == "initialize" {
        let id = format!("s-{}", sessions.next.fetch_add(1, Ordering::SeqCst));
        sessions.open.lock().unwrap().insert(id.clone());
        let mut response = json_answer(
            200,
            &result(
                &seen,
                &json!({
                    "protocolVersion": seen.body["params"]["protocolVersion"],
                    "capabilities": { "tools": { "listChanged": true }, "prompts": {}, "logging": {}, "resources": { "subscribe": true } },
                    "serverInfo": { "name": "fake", "version": "1" },
                    "instructions": "be kind",
                }),
            ),
        );
        response.headers_mut().insert("mcp-session-id", id.parse().unwrap());
        return response;
    }
    let Some(session) = seen.session().map(str::to_owned) else {
        return json_answer(400, &error(&seen, -32000, "Bad Request: no session"));
    };
    if !sessions.open.lock().unwrap().contains(&session) {
        return json_answer(
            404,
            &json!({ "jsonrpc": "2.0", "id": null, "error": { "code": -32001, "message": "Session not found" } }),
        );
    }
    if seen.method == Method::DELETE {
        sessions.open.lock().unwrap().remove(&session);
        return empty(200);
    }
    if let Some(response) = script(seen.clone()).await {
        return response;
    }
    if seen.method == Method::GET {
        return empty(405);
    }
    if seen.body.get("id").is_none() || seen.body.get("method").is_none() {
        return empty(202);
    }
    match seen.rpc() {
        "tools/call" => json_answer(
            200,
            &result(&seen, &json!({ "content": [], "structuredContent": seen.body["params"] })),
        ),
        "tools/list" => json_answer(
            200,
            &result(&seen, &json!({ "tools": [{ "name": "echo", "inputSchema": { "type": "object" } }] })),
        ),
        "prompts/list" => json_answer(200, &result(&seen, &json!({ "prompts": [] }))),
        "logging/setLevel" | "resources/subscribe" | "resources/unsubscribe" => {
            json_answer(200, &result(&seen, &json!({})))
        }
        _ => json_answer(200, &error(&seen, -32601, "Method not found")),
    }
}

/// A script that answers nothing of its own.
pub async fn plain(_: Seen) -> Option<Response<Body>> {
    None
}

/// A server that answers calls and GET with streams, which the test feeds.
pub async fn streaming() -> (Fake, mpsc::Receiver<Feeder>) {
    let (feeders, receiver) = mpsc::channel(8);
    let (fake, _) = start(move |seen: Seen| {
        let feeders = feeders.clone();
        async move {
            if seen.rpc() != "tools/call" && seen.method != Method::GET {
                return None;
            }
            let (response, feeder) = stream();
            feeders.send(feeder).await.unwrap();
            Some(response)
        }
    })
    .await;
    (fake, receiver)
}
