//! Upstream servers of both eras over real HTTP, which do what a test tells them and remember what they were sent.

use std::sync::{Arc, Mutex};
use std::time::Duration;

use bytes::Bytes;
use futures_util::{Stream, StreamExt as _, stream};
use http::{HeaderMap, Method, Request, Response, StatusCode};
use http_body::Frame;
use http_body_util::combinators::UnsyncBoxBody;
use http_body_util::{BodyExt as _, Full, StreamBody};
use hyper::body::Incoming;
use hyper::service::service_fn;
use hyper_util::rt::{TokioExecutor, TokioIo};
use hyper_util::server::conn::auto;
use serde_json::{Value, json};
use tokio::net::TcpListener;
use tokio::sync::{Notify, broadcast};

type Body = UnsyncBoxBody<Bytes, std::convert::Infallible>;

/// One request as it arrived.
#[derive(Debug, Clone)]
pub struct Seen {
    pub http: Method,
    pub headers: HeaderMap,
    pub text: String,
}

impl Seen {
    pub fn json(&self) -> Value {
        serde_json::from_str(&self.text).unwrap_or(Value::Null)
    }
}

/// One upstream server.
#[derive(Clone)]
pub struct Fake {
    pub url: String,
    inner: Arc<Inner>,
}

struct Inner {
    modern: bool,
    seen: Mutex<Vec<Seen>>,
    changed: Notify,
    /// Lets `slow` go on.
    pub gate: Notify,
    /// Counts `slow` calls that were dropped by the other side before they were done.
    pub abandoned: Notify,
    push: broadcast::Sender<String>,
}

impl Fake {
    pub async fn start(modern: bool) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let url = format!("http://{}/mcp", listener.local_addr().unwrap());
        let inner = Arc::new(Inner {
            modern,
            seen: Mutex::default(),
            changed: Notify::new(),
            gate: Notify::new(),
            abandoned: Notify::new(),
            push: broadcast::Sender::new(64),
        });
        let fake = Self { url, inner };
        let serving = fake.clone();
        tokio::spawn(async move {
            while let Ok((stream, _)) = listener.accept().await {
                let fake = serving.clone();
                tokio::spawn(async move {
                    let service = service_fn(move |request| {
                        let fake = fake.clone();
                        async move { Ok::<_, std::convert::Infallible>(fake.answer(request).await) }
                    });
                    let _ = auto::Builder::new(TokioExecutor::new())
                        .serve_connection(TokioIo::new(stream), service)
                        .await;
                });
            }
        });
        fake
    }

    pub fn capabilities() -> Value {
        json!({"tools": {}, "prompts": {}, "resources": {"subscribe": true, "listChanged": true}, "completions": {}, "logging": {}})
    }

    /// Lets one `slow` call go on.
    pub fn open_gate(&self) {
        self.inner.gate.notify_one();
    }

    /// Sends a message on every open notification stream.
    pub fn push(&self, message: &Value) {
        let _ = self.inner.push.send(message.to_string());
    }

    /// How many notification streams are open.
    pub async fn listened_to(&self) {
        while self.inner.push.receiver_count() == 0 {
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
    }

    /// Waits until a `slow` call was given up by the gateway.
    pub async fn abandoned(&self) {
        tokio::time::timeout(Duration::from_secs(10), self.inner.abandoned.notified())
            .await
            .expect("abandoned");
    }

    pub fn seen(&self) -> Vec<Seen> {
        self.inner.seen.lock().unwrap().clone()
    }

    /// Waits for a request of this JSON-RPC method.
    pub async fn saw(&self, method: &str) -> Seen {
        self.saw_that(|seen| seen.json()["method"] == method).await
    }

    pub async fn saw_that(&self, fits: impl Fn(&Seen) -> bool) -> Seen {
        let look = async {
            loop {
                let changed = self.inner.changed.notified();
                if let Some(found) = self.seen().into_iter().find(|seen| fits(seen)) {
                    return found;
                }
                changed.await;
            }
        };
        match tokio::time::timeout(Duration::from_secs(10), look).await {
            Ok(found) => found,
            Err(_) => {
                panic!("not seen among {:#?}", self.seen().iter().map(|seen| &seen.text).collect::<Vec<_>>())
            }
        }
    }

    async fn answer(&self, request: Request<Incoming>) -> Response<Body> {
        let (head, body) = request.into_parts();
        let text = String::from_utf8(body.collect().await.unwrap().to_bytes().to_vec()).unwrap();
        let seen = Seen { http: head.method.clone(), headers: head.headers.clone(), text };
        let message = seen.json();
        self.inner.seen.lock().unwrap().push(seen);
        self.inner.changed.notify_waiters();
        match head.method {
            Method::POST if message["method"].is_null() => status(StatusCode::ACCEPTED),
            Method::POST if message["id"].is_null() => status(StatusCode::ACCEPTED),
            Method::POST => self.request(&message).await,
            Method::GET if !self.inner.modern => events(self.pushed()),
            Method::DELETE => status(StatusCode::OK),
            _ => status(StatusCode::METHOD_NOT_ALLOWED),
        }
    }

    fn pushed(&self) -> impl Stream<Item = String> + Send + 'static {
        stream::unfold(self.inner.push.subscribe(), |mut push| async move {
            Some((push.recv().await.ok()?, push))
        })
    }

    async fn request(&self, message: &Value) -> Response<Body> {
        let (id, params) = (&message["id"], &message["params"]);
        match (message["method"].as_str().unwrap(), self.inner.modern) {
            ("initialize", false) => {
                let result = json!({"protocolVersion": "2025-11-25", "capabilities": Self::capabilities(),
                                    "serverInfo": {"name": "fake", "version": "0"}});
                let mut response = self.result(id, result);
                response.headers_mut().insert("mcp-session-id", "upstream-session".parse().unwrap());
                response
            }
            ("server/discover", true) => self.result(
                id,
                json!({"supportedVersions": ["2026-07-28"], "capabilities": Self::capabilities()}),
            ),
            ("ping" | "logging/setLevel" | "resources/subscribe" | "resources/unsubscribe", false) => {
                self.result(id, json!({}))
            }
            ("tools/call", _) => self.call(id, params).await,
            ("prompts/get", _) => {
                let text = format!("prompt {}", params["name"].as_str().unwrap());
                self.result(id, json!({"messages": [{"role": "user", "content": {"type": "text", "text": text}}]}))
            }
            ("resources/list", _) => match params["cursor"].as_str() {
                None => self.result(id, json!({"resources": [
                    {"uri": "file:///a", "name": "a", "x-kept": 1}, {"uri": "secret:///b", "name": "b"}],
                    "nextCursor": "page-2"})),
                Some("page-2") => self.result(id, json!({"resources": [{"uri": "file:///c", "name": "c"}]})),
                Some(_) => self.error(id, -32602, "Invalid cursor"),
            },
            ("resources/templates/list", _) => self.result(id, json!({"resourceTemplates": [
                {"uriTemplate": "file:///{path}", "name": "t"}, {"uriTemplate": "secret:///{path}", "name": "s"}]})),
            ("resources/read", _) if params["uri"] == "file:///missing" => {
                self.error(id, if self.inner.modern { -32602 } else { -32002 }, "Resource not found")
            }
            ("resources/read", _) => {
                self.result(id, json!({"contents": [{"uri": params["uri"], "text": "content"}]}))
            }
            ("completion/complete", _) => {
                let of = params["ref"]["name"].as_str().or(params["ref"]["uri"].as_str()).unwrap();
                self.result(id, json!({"completion": {"values": [of]}}))
            }
            ("subscriptions/listen", true) => {
                let (listen_id, filter) = (id.clone(), params["notifications"].clone());
                let acknowledged = json!({"jsonrpc": "2.0", "method": "notifications/subscriptions/acknowledged",
                    "params": {"notifications": filter, "_meta": {"io.modelcontextprotocol/subscriptionId": listen_id}}});
                events(stream::once(async move { acknowledged.to_string() }).chain(self.pushed()))
            }
            _ => {
                let mut response = self.error(id, -32601, "Method not found");
                if self.inner.modern {
                    *response.status_mut() = StatusCode::NOT_FOUND;
                }
                response
            }
        }
    }

    async fn call(&self, id: &Value, params: &Value) -> Response<Body> {
        let text = |text: &str| json!([{"type": "text", "text": text}]);
        match params["name"].as_str().unwrap() {
            "echo" => self.result(id, json!({"content": text("done"), "got": params, "x-unknown": {"a": [1, 2]}})),
            "fail" => self.result(id, json!({"content": text("no"), "isError": true})),
            "big" => self.result(id, json!({"content": text(&"x".repeat(3 << 20))})),
            "huge" => self.result(id, json!({"content": text(&"x".repeat(5 << 20))})),
            "priced" => {
                let of = &params["arguments"];
                self.result(id, json!({"content": text("priced"), "_meta": of["meta"], "isError": of["fail"] == true}))
            }
            "rpc_error" => self.error(id, -31999, "own error"),
            "broken" => {
                let mut response = Response::new(Full::new(Bytes::from("oops")).boxed_unsync());
                *response.status_mut() = StatusCode::INTERNAL_SERVER_ERROR;
                response
            }
            "slow" => {
                let abandoned = Abandoned(Some(Arc::clone(&self.inner)));
                self.inner.gate.notified().await;
                abandoned.done();
                self.result(id, json!({"content": text("at last")}))
            }
            "quiet_sse" => {
                let (inner, result) = (Arc::clone(&self.inner), self.result_text(id, json!({"content": text("quiet")})));
                events(stream::once(async move {
                    inner.gate.notified().await;
                    result
                }))
            }
            "progress" => self.progress(id, params),
            "late_sse" => events(stream::iter([self.result_text(id, json!({"content": text("one event")}))])),
            "ask" if self.inner.modern => match params.get("inputResponses") {
                None => self.result(id, json!({"resultType": "input_required", "requestState": "inner state",
                    "inputRequests": {"q": {"method": "elicitation/create", "params":
                        {"mode": "form", "message": "?", "requestedSchema": {"type": "object", "properties": {}}}}}})),
                Some(_) => self.result(id, json!({"content": text("thanks"), "got": params})),
            },
            "ask" => self.ask(id),
            other => self.error(id, -32602, &format!("Unknown tool: {other}")),
        }
    }

    /// Progress, then the result once the gate opens.
    fn progress(&self, id: &Value, params: &Value) -> Response<Body> {
        let token = params["_meta"]["progressToken"].clone();
        let note = |value: u32| {
            json!({"jsonrpc": "2.0", "method": "notifications/progress",
                   "params": {"progressToken": token, "progress": value, "x-kept": true}})
            .to_string()
        };
        let log = json!({"jsonrpc": "2.0", "method": "notifications/message",
                         "params": {"level": "info", "data": "working"}})
        .to_string();
        let first = stream::iter([note(1), log, note(2)]);
        let result = self.result_text(id, json!({"content": [{"type": "text", "text": "progressed"}]}));
        let inner = Arc::clone(&self.inner);
        let abandoned = Abandoned(Some(Arc::clone(&self.inner)));
        events(first.chain(stream::once(async move {
            inner.gate.notified().await;
            abandoned.done();
            result
        })))
    }

    /// A legacy server's request to its client on the response stream; the result tells the answer.
    fn ask(&self, id: &Value) -> Response<Body> {
        let asked = json!({"jsonrpc": "2.0", "id": "question-1", "method": "elicitation/create",
                           "params": {"message": "?", "requestedSchema": {"type": "object", "properties": {}}}});
        let (fake, id) = (self.clone(), id.clone());
        events(stream::iter([asked.to_string()]).chain(stream::once(async move {
            let answer = fake.saw_that(|seen| seen.json()["id"] == "question-1").await.json();
            fake.result_text(&id, json!({"content": [{"type": "text", "text": "asked"}], "answer": answer}))
        })))
    }

    fn result_text(&self, id: &Value, mut result: Value) -> String {
        if self.inner.modern && result.get("resultType").is_none() {
            result["resultType"] = json!("complete");
        }
        json!({"jsonrpc": "2.0", "id": id, "result": result}).to_string()
    }

    fn result(&self, id: &Value, result: Value) -> Response<Body> {
        json_answer(self.result_text(id, result))
    }

    fn error(&self, id: &Value, code: i64, message: &str) -> Response<Body> {
        let error = json!({"code": code, "message": message, "data": {"x-kept": [1]}});
        json_answer(json!({"jsonrpc": "2.0", "id": id, "error": error}).to_string())
    }
}

/// Tells when a call was dropped before it was done.
struct Abandoned(Option<Arc<Inner>>);

impl Abandoned {
    fn done(mut self) {
        self.0 = None;
    }
}

impl Drop for Abandoned {
    fn drop(&mut self) {
        if let Some(inner) = self.0.take() {
            inner.abandoned.notify_one();
        }
    }
}

fn json_answer(text: String) -> Response<Body> {
    let mut response = Response::new(Full::new(Bytes::from(text)).boxed_unsync());
    response.headers_mut().insert("content-type", "application/json".parse().unwrap());
    response
}

fn status(status: StatusCode) -> Response<Body> {
    let mut response = Response::new(Full::new(Bytes::new()).boxed_unsync());
    *response.status_mut() = status;
    response
}

fn events(messages: impl Stream<Item = String> + Send + 'static) -> Response<Body> {
    let frames = messages.map(|text| Ok(Frame::data(Bytes::from(format!("data: {text}\n\n")))));
    let mut response = Response::new(StreamBody::new(frames).boxed_unsync());
    response.headers_mut().insert("content-type", "text/event-stream".parse().unwrap());
    response
}
