//! A scriptable upstream server of either era over real HTTP: does what a test tells it, and remembers what it was sent.
//!
//! Its lists can be changed while it runs, it can go down and come back at the same address, and a tool's name says what
//! calling it does (see `answers`).

mod answers;
mod wire;

use std::collections::{HashMap, HashSet};
use std::net::SocketAddr;
use std::sync::atomic::{AtomicBool, AtomicU64, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};

use http::{HeaderMap, Method, Request, Response, StatusCode};
use http_body_util::BodyExt as _;
use hyper::body::Incoming;
use hyper::service::service_fn;
use hyper_util::rt::{TokioExecutor, TokioIo};
use hyper_util::server::conn::auto;
use serde_json::{Value, json};
use tokio::net::TcpListener;
use tokio::sync::{Notify, Semaphore, broadcast, watch};
use tokio_util::sync::CancellationToken;

use crate::client::{LEGACY, MODERN};
use crate::patience::soon;
use crate::tap::{Emitted, Reader, Tap};

/// One request as it arrived.
#[derive(Debug, Clone)]
pub struct Seen {
    /// HTTP method.
    pub http: Method,
    /// HTTP headers.
    pub headers: HeaderMap,
    /// The body; null when it is no JSON.
    pub message: Value,
}

/// One upstream server. Clones share it.
#[derive(Clone)]
pub struct Upstream {
    /// Its endpoint.
    pub url: String,
    inner: Arc<Inner>,
}

pub(crate) struct Inner {
    revision: String,
    addr: SocketAddr,
    up: Mutex<CancellationToken>,
    lists: Mutex<Lists>,
    streaming: AtomicBool,
    /// Whether handshakes wait until they may go on.
    holding: watch::Sender<bool>,
    running: Arc<AtomicUsize>,
    seen: Mutex<Vec<Seen>>,
    changed: Notify,
    /// A permit for each `slow` call that may go on.
    gate: Semaphore,
    push: broadcast::Sender<Value>,
    sessions: Mutex<HashSet<String>>,
    /// The methods of the requests that it sent, by id.
    asked: Mutex<HashMap<String, String>>,
    numbers: AtomicU64,
    tap: Option<Tap>,
}

/// What it lists.
#[derive(Default)]
struct Lists {
    tools: Vec<Value>,
    prompts: Vec<Value>,
    instructions: String,
}

/// A tool's definition.
#[must_use]
pub fn tool(name: &str) -> Value {
    json!({"name": name, "description": format!("Does {name}."), "inputSchema": {"type": "object"}})
}

impl Upstream {
    /// A server of 2025-11-25 with these tools.
    pub async fn legacy(tools: &[&str]) -> Self {
        Self::start(LEGACY, tools, None).await
    }

    /// A server of 2026-07-28 with these tools.
    pub async fn modern(tools: &[&str]) -> Self {
        Self::start(MODERN, tools, None).await
    }

    /// A server of a revision, telling a tap what it is sent.
    pub async fn start(revision: &str, tools: &[&str], tap: Option<&Tap>) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let addr = listener.local_addr().unwrap();
        let upstream = Self {
            url: format!("http://{addr}/mcp"),
            inner: Arc::new(Inner {
                revision: revision.to_owned(),
                addr,
                up: Mutex::default(),
                lists: Mutex::new(Lists {
                    tools: tools.iter().map(|name| tool(name)).collect(),
                    prompts: vec![json!({"name": "greet", "arguments": [{"name": "who"}]})],
                    instructions: "Use it well.".to_owned(),
                }),
                streaming: AtomicBool::new(false),
                holding: watch::Sender::new(false),
                running: Arc::default(),
                seen: Mutex::default(),
                changed: Notify::new(),
                gate: Semaphore::new(0),
                push: broadcast::Sender::new(64),
                sessions: Mutex::default(),
                asked: Mutex::default(),
                numbers: AtomicU64::new(1),
                tap: tap.cloned(),
            }),
        };
        tokio::spawn(upstream.clone().accept(listener));
        upstream
    }

    async fn accept(self, listener: TcpListener) {
        let up = self.inner.up.lock().unwrap().clone();
        loop {
            let stream = tokio::select! {
                () = up.cancelled() => return,
                accepted = listener.accept() => accepted.unwrap().0,
            };
            let (upstream, up) = (self.clone(), up.clone());
            tokio::spawn(async move {
                let service = service_fn(move |request| {
                    let upstream = upstream.clone();
                    async move { Ok::<_, std::convert::Infallible>(upstream.answer(request).await) }
                });
                let server = auto::Builder::new(TokioExecutor::new());
                tokio::select! {
                    _ = server.serve_connection(TokioIo::new(stream), service) => {}
                    () = up.cancelled() => {}
                }
            });
        }
    }

    /// Closes the port and every connection.
    pub fn go_down(&self) {
        self.inner.up.lock().unwrap().cancel();
    }

    /// Serves again at the same address; sessions are forgotten.
    pub async fn come_back(&self) {
        self.inner.sessions.lock().unwrap().clear();
        *self.inner.up.lock().unwrap() = CancellationToken::new();
        let listener = soon("the port is free again", async {
            loop {
                if let Ok(listener) = TcpListener::bind(self.inner.addr).await {
                    return listener;
                }
                tokio::task::yield_now().await;
            }
        })
        .await;
        tokio::spawn(self.clone().accept(listener));
    }

    /// What it speaks.
    #[must_use]
    pub fn revision(&self) -> &str {
        &self.inner.revision
    }

    /// Forgets every session, as a server does that was started again.
    pub fn forget_sessions(&self) {
        self.inner.sessions.lock().unwrap().clear();
    }

    /// How many `slow_progress` calls go on.
    #[must_use]
    pub fn calls_running(&self) -> usize {
        self.inner.running.load(Ordering::SeqCst)
    }

    /// Whether it speaks a revision without handshake.
    #[must_use]
    pub fn is_modern(&self) -> bool {
        self.inner.revision.as_str() >= MODERN
    }

    /// Replaces its tools.
    pub fn set_tools(&self, tools: Vec<Value>) {
        self.inner.lists.lock().unwrap().tools = tools;
    }

    /// Adds a tool.
    pub fn add_tool(&self, definition: Value) {
        self.inner.lists.lock().unwrap().tools.push(definition);
    }

    /// Replaces its prompts.
    pub fn set_prompts(&self, prompts: Vec<Value>) {
        self.inner.lists.lock().unwrap().prompts = prompts;
    }

    /// Answers calls with event streams from now on, or no longer.
    pub fn answer_with_events(&self, streaming: bool) {
        self.inner.streaming.store(streaming, Ordering::Relaxed);
    }

    /// Answers no `initialize` from now on, or answers all that wait.
    pub fn hold_handshakes(&self, holding: bool) {
        self.inner.holding.send_replace(holding);
    }

    /// Says on every stream for it that a list (`tools`, `prompts`, `resources`) changed.
    pub fn announce(&self, list: &str) {
        self.push(&json!({"jsonrpc": "2.0", "method": format!("notifications/{list}/list_changed")}));
    }

    /// Says something on every stream that is open for it.
    pub fn push(&self, message: &Value) {
        let _ = self.inner.push.send(message.clone());
    }

    /// Waits until so many streams are open for what it says unasked.
    pub async fn listened_to(&self, streams: usize) {
        soon("streams to the upstream", async {
            while self.inner.push.receiver_count() < streams {
                tokio::time::sleep(std::time::Duration::from_millis(5)).await;
            }
        })
        .await;
    }

    /// Lets this many `slow` calls go on.
    pub fn open_gate(&self, calls: usize) {
        self.inner.gate.add_permits(calls);
    }

    /// Everything that arrived so far.
    #[must_use]
    pub fn seen(&self) -> Vec<Seen> {
        self.inner.seen.lock().unwrap().clone()
    }

    /// How many calls of tools arrived.
    #[must_use]
    pub fn calls(&self) -> usize {
        self.seen().iter().filter(|seen| seen.message["method"] == "tools/call").count()
    }

    /// Waits for a message of this method.
    pub async fn saw(&self, method: &str) -> Seen {
        self.saw_that(method, |seen| seen.message["method"] == method).await
    }

    /// Waits for a request that fits.
    pub async fn saw_that(&self, what: &str, fits: impl Fn(&Seen) -> bool) -> Seen {
        let look = async {
            loop {
                let changed = self.inner.changed.notified();
                tokio::pin!(changed);
                changed.as_mut().enable();
                if let Some(found) = self.inner.seen.lock().unwrap().iter().find(|seen| fits(seen)) {
                    return found.clone();
                }
                changed.await;
            }
        };
        soon(&format!("{what} at the upstream"), look).await
    }

    async fn answer(&self, request: Request<Incoming>) -> Response<wire::Body> {
        let (head, body) = request.into_parts();
        let Ok(body) = body.collect().await else { return wire::status(StatusCode::BAD_REQUEST) };
        let message: Value = serde_json::from_slice(&body.to_bytes()).unwrap_or(Value::Null);
        self.tell_tap(&message);
        let known = self.knows_session(&head.headers, &message);
        self.inner.seen.lock().unwrap().push(Seen {
            http: head.method.clone(),
            headers: head.headers.clone(),
            message: message.clone(),
        });
        self.inner.changed.notify_waiters();
        match head.method {
            _ if !known => wire::status(StatusCode::NOT_FOUND),
            Method::POST if message["method"].is_null() || message["id"].is_null() => {
                wire::status(StatusCode::ACCEPTED)
            }
            Method::POST => self.request(&message).await,
            Method::GET if !self.is_modern() => wire::events(self.pushed(None)),
            Method::DELETE if !self.is_modern() => wire::status(StatusCode::OK),
            _ => wire::status(StatusCode::METHOD_NOT_ALLOWED),
        }
    }

    fn knows_session(&self, headers: &HeaderMap, message: &Value) -> bool {
        let outside =
            self.is_modern() || matches!(message["method"].as_str(), Some("initialize" | "server/discover"));
        outside
            || headers.get("mcp-session-id").is_some_and(|session| {
                self.inner.sessions.lock().unwrap().contains(session.to_str().unwrap_or_default())
            })
    }

    fn tell_tap(&self, message: &Value) {
        let Some(tap) = self.inner.tap.as_ref().filter(|_| message.is_object()) else { return };
        let params = &message["params"];
        let named = [&params["_meta"]["io.modelcontextprotocol/protocolVersion"], &params["protocolVersion"]];
        let revision = named.into_iter().find_map(Value::as_str).unwrap_or(&self.inner.revision);
        let answers = match message.get("method") {
            Some(_) => None,
            None => self.inner.asked.lock().unwrap().get(&message["id"].to_string()).cloned(),
        };
        tap.read(Emitted {
            reader: Reader::Upstream,
            revision: revision.to_owned(),
            answers,
            message: message.clone(),
        });
    }

    fn number(&self) -> u64 {
        self.inner.numbers.fetch_add(1, Ordering::Relaxed)
    }
}
