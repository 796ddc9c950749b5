//! A real HTTP server whose answers a test writes, and which remembers every request.

use std::convert::Infallible;
use std::future::Future;
use std::pin::Pin;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};

use bytes::Bytes;
use futures_util::StreamExt as _;
use http::{HeaderMap, Method, Response, StatusCode};
use http_body_util::combinators::UnsyncBoxBody;
use http_body_util::{BodyExt as _, Full, StreamBody};
use hyper::body::{Frame, Incoming};
use hyper::service::service_fn;
use hyper_util::rt::{TokioExecutor, TokioIo};
use hyper_util::server::conn::auto;
use serde_json::{Value, json};
use tokio::sync::mpsc;
use tokio::task::JoinSet;

pub type Body = UnsyncBoxBody<Bytes, std::io::Error>;
pub type Answer = Pin<Box<dyn Future<Output = Response<Body>> + Send>>;

/// One request that arrived.
#[derive(Debug, Clone)]
pub struct Seen {
    pub method: Method,
    pub path: String,
    pub headers: HeaderMap,
    /// Null when it had no JSON body.
    pub body: Value,
    pub text: String,
    /// Which connection it came over.
    pub connection: usize,
}

impl Seen {
    /// The JSON-RPC method.
    pub fn rpc(&self) -> &str {
        self.body["method"].as_str().unwrap_or_default()
    }

    pub fn header(&self, name: &str) -> Option<&str> {
        self.headers.get(name).map(|value| value.to_str().unwrap())
    }

    pub fn session(&self) -> Option<&str> {
        self.header("mcp-session-id")
    }
}

/// A running fake. It stops when it is dropped.
pub struct Fake {
    pub url: String,
    seen: Arc<Mutex<Vec<Seen>>>,
    pub connections: Arc<AtomicUsize>,
    task: tokio::task::JoinHandle<()>,
}

impl Drop for Fake {
    fn drop(&mut self) {
        self.task.abort();
    }
}

impl Fake {
    pub async fn start<F, R>(handler: F) -> Self
    where
        F: Fn(Seen) -> R + Send + Sync + 'static,
        R: Future<Output = Response<Body>> + Send + 'static,
    {
        Self::start_at("127.0.0.1:0", handler).await
    }

    /// At an address that a fake had before.
    pub async fn start_at<F, R>(address: &str, handler: F) -> Self
    where
        F: Fn(Seen) -> R + Send + Sync + 'static,
        R: Future<Output = Response<Body>> + Send + 'static,
    {
        let socket = tokio::net::TcpSocket::new_v4().unwrap();
        socket.set_reuseaddr(true).unwrap();
        socket.bind(address.parse().unwrap()).unwrap();
        let listener = socket.listen(128).unwrap();
        let url = format!("http://{}/mcp", listener.local_addr().unwrap());
        let seen = Arc::new(Mutex::new(Vec::new()));
        let connections = Arc::new(AtomicUsize::new(0));
        let task =
            tokio::spawn(serve(listener, Arc::clone(&seen), Arc::clone(&connections), Arc::new(handler)));
        Self { url, seen, connections, task }
    }

    /// Its address, for [`Self::start_at`].
    pub fn address(&self) -> String {
        self.url.trim_start_matches("http://").trim_end_matches("/mcp").to_owned()
    }

    pub fn seen(&self) -> Vec<Seen> {
        self.seen.lock().unwrap().clone()
    }

    /// The requests with this JSON-RPC method.
    pub fn rpc(&self, method: &str) -> Vec<Seen> {
        self.seen().into_iter().filter(|seen| seen.rpc() == method).collect()
    }

    /// The requests with this HTTP method.
    pub fn http(&self, method: &Method) -> Vec<Seen> {
        self.seen().into_iter().filter(|seen| seen.method == method).collect()
    }

    /// Waits for the n-th request with this JSON-RPC method.
    pub async fn wait_rpc(&self, method: &str, count: usize) -> Vec<Seen> {
        super::until(method, || self.rpc(method).len() >= count).await;
        self.rpc(method)
    }

    pub async fn wait_http(&self, method: &Method, count: usize) -> Vec<Seen> {
        super::until(method.as_str(), || self.http(method).len() >= count).await;
        self.http(method)
    }
}

async fn serve<F, R>(
    listener: tokio::net::TcpListener,
    log: Arc<Mutex<Vec<Seen>>>,
    connections: Arc<AtomicUsize>,
    handler: Arc<F>,
) where
    F: Fn(Seen) -> R + Send + Sync + 'static,
    R: Future<Output = Response<Body>> + Send + 'static,
{
    // Dropped with this task, so that a stopped fake closes its connections.
    let mut open = JoinSet::new();
    loop {
        let (stream, _) = listener.accept().await.unwrap();
        let connection = connections.fetch_add(1, Ordering::SeqCst);
        let (log, handler) = (Arc::clone(&log), Arc::clone(&handler));
        open.spawn(async move {
            let service = service_fn(move |request: http::Request<Incoming>| {
                let (log, handler) = (Arc::clone(&log), Arc::clone(&handler));
                async move {
                    let (head, body) = request.into_parts();
                    let bytes =
                        body.collect().await.map(http_body_util::Collected::to_bytes).unwrap_or_default();
                    let seen = Seen {
                        method: head.method,
                        path: head.uri.path().to_owned(),
                        headers: head.headers,
                        body: serde_json::from_slice(&bytes).unwrap_or(Value::Null),
                        text: String::from_utf8_lossy(&bytes).into_owned(),
                        connection,
                    };
                    log.lock().unwrap().push(seen.clone());
                    Ok::<_, Infallible>(handler(seen).await)
                }
            });
            let _ = auto::Builder::new(TokioExecutor::new())
                .serve_connection(TokioIo::new(stream), service)
                .await;
        });
    }
}

fn full(bytes: impl Into<Bytes>) -> Body {
    Full::new(bytes.into()).map_err(|never| match never {}).boxed_unsync()
}

/// A JSON answer.
pub fn json_answer(status: u16, body: &Value) -> Response<Body> {
    text_answer(status, "application/json", body.to_string())
}

/// Any answer.
pub fn text_answer(status: u16, content_type: &str, body: impl Into<Bytes>) -> Response<Body> {
    Response::builder().status(status).header("content-type", content_type).body(full(body)).unwrap()
}

/// An answer without a body.
pub fn empty(status: u16) -> Response<Body> {
    Response::builder().status(StatusCode::from_u16(status).unwrap()).body(full("")).unwrap()
}

/// A JSON-RPC result for the request.
pub fn result(seen: &Seen, result: &Value) -> Value {
    json!({ "jsonrpc": "2.0", "id": seen.body["id"], "result": result })
}

/// A JSON-RPC error for the request.
pub fn error(seen: &Seen, code: i64, message: &str) -> Value {
    json!({ "jsonrpc": "2.0", "id": seen.body["id"], "error": { "code": code, "message": message } })
}

/// A stream that the test feeds. Dropping the feeder ends the body; an error breaks it.
#[derive(Clone)]
pub struct Feeder(pub mpsc::Sender<Result<Frame<Bytes>, std::io::Error>>);

impl Feeder {
    pub async fn text(&self, text: impl Into<String>) {
        let _ = self.0.send(Ok(Frame::data(Bytes::from(text.into())))).await;
    }

    /// One event.
    pub async fn event(&self, id: Option<&str>, data: &Value) {
        let id = id.map(|id| format!("id: {id}\n")).unwrap_or_default();
        self.text(format!("{id}data: {data}\n\n")).await;
    }

    /// Breaks the connection in the middle of the body.
    pub async fn break_off(self) {
        let _ = self.0.send(Err(std::io::Error::other("broken by the test"))).await;
    }

    /// Waits until the other side no longer listens.
    pub async fn closed(&self) {
        super::soon("the stream is closed by the other side", self.0.closed()).await;
    }
}

/// An event stream and the feeder of it.
pub fn stream() -> (Response<Body>, Feeder) {
    let (sender, receiver) = mpsc::channel(64);
    let body = StreamBody::new(tokio_stream::wrappers::ReceiverStream::new(receiver).map(|frame| frame));
    let response = Response::builder()
        .header("content-type", "text/event-stream")
        .body(UnsyncBoxBody::new(body))
        .unwrap();
    (response, Feeder(sender))
}

/// A stream with these events, which then ends.
pub fn events(events: &[(Option<&str>, Value)]) -> Response<Body> {
    let text: String = events
        .iter()
        .map(|(id, data)| {
            let id = id.map(|id| format!("id: {id}\n")).unwrap_or_default();
            format!("{id}data: {data}\n\n")
        })
        .collect();
    text_answer(200, "text/event-stream", text)
}
