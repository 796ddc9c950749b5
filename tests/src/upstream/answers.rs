//! What the fake upstream answers. A tool's name says what calling it does; any name that is not known here says it back.

use std::collections::HashMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use futures_util::{Stream, StreamExt as _, stream};
use http::{Response, StatusCode};
use serde_json::{Value, json};

use super::{Upstream, wire};

const SUBSCRIPTION: &str = "io.modelcontextprotocol/subscriptionId";
/// Of results that may be cached.
const CACHEABLE: &[&str] = &[
    "server/discover",
    "tools/list",
    "prompts/list",
    "resources/list",
    "resources/templates/list",
    "resources/read",
];

type Reply = Response<wire::Body>;

fn text(text: &str) -> Value {
    json!({"content": [{"type": "text", "text": text}]})
}

/// Counted for as long as it lives.
struct Running(Arc<AtomicUsize>);

impl Running {
    fn new(count: &Arc<AtomicUsize>) -> Self {
        count.fetch_add(1, Ordering::SeqCst);
        Self(Arc::clone(count))
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        self.0.fetch_sub(1, Ordering::SeqCst);
    }
}

impl Upstream {
    fn capabilities() -> Value {
        json!({
            "tools": {"listChanged": true}, "prompts": {"listChanged": true},
            "resources": {"subscribe": true, "listChanged": true}, "completions": {}, "logging": {},
        })
    }

    pub(super) async fn request(&self, message: &Value) -> Reply {
        let (id, params) = (&message["id"], &message["params"]);
        let method = message["method"].as_str().unwrap_or_default();
        match (method, self.is_modern()) {
            ("initialize", false) => {
                // Closing the connection drops this future.
                self.inner.holding.subscribe().wait_for(|holding| !holding).await.unwrap();
                self.initialize(id)
            }
            ("server/discover", true) => {
                let info = json!({"name": "fake", "version": "1"});
                self.result(method, id, json!({
                    "supportedVersions": [self.inner.revision], "capabilities": Self::capabilities(),
                    "instructions": self.instructions(), "_meta": {"io.modelcontextprotocol/serverInfo": info},
                }))
            }
            ("ping" | "logging/setLevel" | "resources/subscribe" | "resources/unsubscribe", false) => {
                self.result(method, id, json!({}))
            }
            ("tools/list", _) => {
                let tools = self.inner.lists.lock().unwrap().tools.clone();
                self.page(method, id, params, "tools", &tools)
            }
            ("prompts/list", _) => {
                let prompts = self.inner.lists.lock().unwrap().prompts.clone();
                self.page(method, id, params, "prompts", &prompts)
            }
            ("resources/list", _) => {
                let all = ["a", "b", "c"].map(|name| json!({"uri": format!("note:///{name}"), "name": name}));
                self.page(method, id, params, "resources", &all)
            }
            ("resources/templates/list", _) => {
                let all = [json!({"uriTemplate": "note:///{name}", "name": "note"})];
                self.page(method, id, params, "resourceTemplates", &all)
            }
            ("resources/read", _) if params["uri"] == "note:///missing" => {
                self.error(id, if self.is_modern() { -32602 } else { -32002 }, "Resource not found")
            }
            ("resources/read", _) => {
                self.result(method, id, json!({"contents": [{"uri": params["uri"], "text": "content"}]}))
            }
            ("prompts/get", _) => {
                let content = json!({"type": "text", "text": "Greet them."});
                self.result(method, id, json!({"messages": [{"role": "user", "content": content}]}))
            }
            ("completion/complete", _) => {
                self.result(method, id, json!({"completion": {"values": ["one", "two"]}}))
            }
            ("subscriptions/listen", true) => {
                let params = json!({"notifications": params["notifications"], "_meta": {SUBSCRIPTION: id}});
                let first = json!({"jsonrpc": "2.0", "method": "notifications/subscriptions/acknowledged",
                                   "params": params});
                wire::events(stream::iter([first]).chain(self.pushed(Some(id.clone()))))
            }
            ("tools/call", _) => self.call(id, params).await,
            _ => {
                let mut response = self.error(id, -32601, "Method not found");
                if self.is_modern() {
                    *response.status_mut() = StatusCode::NOT_FOUND;
                }
                response
            }
        }
    }

    fn instructions(&self) -> String {
        self.inner.lists.lock().unwrap().instructions.clone()
    }

    fn initialize(&self, id: &Value) -> Reply {
        let session = format!("session-{}", self.number());
        self.inner.sessions.lock().unwrap().insert(session.clone());
        let mut response = self.result(
            "initialize",
            id,
            json!({
                "protocolVersion": self.inner.revision, "capabilities": Self::capabilities(),
                "serverInfo": {"name": "fake", "version": "1"}, "instructions": self.instructions(),
            }),
        );
        response.headers_mut().insert("mcp-session-id", session.parse().unwrap());
        response
    }

    /// What is pushed, as it looks on a stream that answers this request.
    pub(super) fn pushed(&self, subscription: Option<Value>) -> impl Stream<Item = Value> + Send + 'static {
        let pushed = self.inner.push.subscribe();
        stream::unfold((pushed, subscription), |(mut pushed, subscription)| async move {
            let mut message = pushed.recv().await.ok()?;
            if let Some(id) = &subscription {
                message["params"]["_meta"][SUBSCRIPTION] = id.clone();
            }
            Some((message, (pushed, subscription)))
        })
    }

    async fn call(&self, id: &Value, params: &Value) -> Reply {
        let name = params["name"].as_str().unwrap_or_default();
        match name {
            "fail" => {
                let mut result = text("it cannot be done");
                result["isError"] = json!(true);
                self.tool(id, result)
            }
            "big" => self.tool(id, text(&"x".repeat(2 << 20))),
            "priced" => {
                let mut result = text("it was not free");
                result["_meta"] = json!({"example.com/cost": params["arguments"]["cost"]});
                self.tool(id, result)
            }
            "own_error" => self.error(id, -31999, "an error of its own"),
            "broken" => wire::status(StatusCode::INTERNAL_SERVER_ERROR),
            "slow" => {
                // Closing the connection drops this future.
                self.inner.gate.acquire().await.unwrap().forget();
                self.tool(id, text("at last"))
            }
            "progress" => self.progress(id, params, false),
            "slow_progress" => self.progress(id, params, true),
            "ask" if self.is_modern() => self.ask_modern(id, params),
            "ask" => self.ask(
                id,
                "elicitation/create",
                json!({
                "message": "Who?", "requestedSchema": {"type": "object", "properties": {}}}),
            ),
            "ask_sampling" => self.ask(
                id,
                "sampling/createMessage",
                json!({
                "messages": [{"role": "user", "content": {"type": "text", "text": "?"}}], "maxTokens": 5}),
            ),
            "ask_roots" => self.ask(id, "roots/list", Value::Null),
            "ask_ping" => self.ask(id, "ping", Value::Null),
            _ => {
                let mut result = text(&format!("{name} did it"));
                result["structuredContent"] = json!({"arguments": params["arguments"]});
                self.tool(id, result)
            }
        }
    }

    fn progress(&self, id: &Value, params: &Value, gated: bool) -> Reply {
        let token = params["_meta"]["progressToken"].clone();
        let note = |value: u32| {
            json!({"jsonrpc": "2.0", "method": "notifications/progress",
            "params": {"progressToken": token, "progress": value, "total": 2}})
        };
        let log = json!({"jsonrpc": "2.0", "method": "notifications/message",
                         "params": {"level": "warning", "data": "working"}});
        let first: Vec<Value> = if token.is_null() { vec![log] } else { vec![note(1), log, note(2)] };
        let last = self.response("tools/call", id, text("done step by step"));
        let upstream = self.clone();
        let running = Running::new(&self.inner.running);
        wire::events(stream::iter(first).chain(stream::once(async move {
            let _running = running;
            if gated {
                upstream.inner.gate.acquire().await.unwrap().forget();
            }
            last
        })))
    }

    fn ask_modern(&self, id: &Value, params: &Value) -> Reply {
        match params.get("inputResponses") {
            None => self.tool(id, json!({
                "resultType": "input_required", "requestState": "state of the upstream",
                "inputRequests": {"who": {"method": "elicitation/create", "params": {
                    "mode": "form", "message": "Who?", "requestedSchema": {"type": "object", "properties": {}}}}},
            })),
            Some(responses) => {
                let state = params["requestState"].as_str().unwrap_or_default();
                self.tool(id, text(&format!("{state}: {responses}")))
            }
        }
    }

    /// Asks its client on the stream of the response, and tells the answer in the result.
    fn ask(&self, id: &Value, method: &str, params: Value) -> Reply {
        let question = format!("question-{}", self.number());
        let asked = json!(question).to_string();
        self.inner.asked.lock().unwrap().insert(asked, method.to_owned());
        let mut request = json!({"jsonrpc": "2.0", "id": question, "method": method});
        if !params.is_null() {
            request["params"] = params;
        }
        let (upstream, id) = (self.clone(), id.clone());
        wire::events(stream::iter([request]).chain(stream::once(async move {
            let reply = upstream
                .saw_that("an answer of the client", |seen| {
                    seen.message["id"] == question.as_str() && seen.message.get("method").is_none()
                })
                .await
                .message;
            let told = reply.get("result").or(reply.get("error")).cloned().unwrap_or_default();
            upstream.response("tools/call", &id, text(&format!("heard {told}")))
        })))
    }

    fn page(&self, method: &str, id: &Value, params: &Value, member: &str, all: &[Value]) -> Reply {
        const PAGE: usize = 50;
        let from = match params["cursor"].as_str() {
            None => 0,
            Some(cursor) => match cursor.parse::<usize>() {
                Ok(from) if from < all.len() => from,
                _ => return self.error(id, -32602, "Invalid cursor"),
            },
        };
        let page: Vec<&Value> = all.iter().skip(from).take(PAGE).collect();
        let mut result: HashMap<&str, Value> = [(member, json!(page))].into();
        if from + PAGE < all.len() {
            result.insert("nextCursor", json!((from + PAGE).to_string()));
        }
        self.result(method, id, json!(result))
    }

    fn response(&self, method: &str, id: &Value, mut result: Value) -> Value {
        if self.is_modern() {
            if result.get("resultType").is_none() {
                result["resultType"] = json!("complete");
            }
            if CACHEABLE.contains(&method) {
                result["ttlMs"] = json!(1000);
                result["cacheScope"] = json!("public");
            }
        }
        json!({"jsonrpc": "2.0", "id": id, "result": result})
    }

    fn result(&self, method: &str, id: &Value, result: Value) -> Reply {
        wire::json(&self.response(method, id, result))
    }

    /// The result of a call, in the form that was asked for.
    fn tool(&self, id: &Value, result: Value) -> Reply {
        let response = self.response("tools/call", id, result);
        if self.inner.streaming.load(Ordering::Relaxed) {
            wire::events(stream::iter([response]))
        } else {
            wire::json(&response)
        }
    }

    fn error(&self, id: &Value, code: i64, message: &str) -> Reply {
        wire::json(&json!({"jsonrpc": "2.0", "id": id, "error": {"code": code, "message": message}}))
    }
}
