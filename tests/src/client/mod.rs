//! A caller that says exactly what a test wants it to say: raw HTTP, and the habits of both eras on top.

mod reply;

use std::sync::Arc;
use std::sync::atomic::{AtomicI64, Ordering};

use bytes::Bytes;
use http::{HeaderMap, HeaderName, HeaderValue, Method, Request, StatusCode};
use http_body_util::{BodyExt as _, Full};
use hyper_rustls::HttpsConnector;
use hyper_util::client::legacy::Client;
use hyper_util::client::legacy::connect::HttpConnector;
use hyper_util::rt::TokioExecutor;
use serde_json::{Value, json};

pub use reply::{Answer, Reply};

use reply::Listener;

use crate::certificates::Authority;
use crate::tap::Tap;

/// The newest revision of each era.
pub const MODERN: &str = "2026-07-28";
/// The newest revision with a handshake.
pub const LEGACY: &str = "2025-11-25";

const META: &str = "io.modelcontextprotocol";

/// One MCP client with one key at one endpoint. Clones share the connections.
#[derive(Clone)]
pub struct Caller {
    http: Client<HttpsConnector<HttpConnector>, Full<Bytes>>,
    /// The endpoint.
    pub url: String,
    /// Sent with every request.
    pub headers: HeaderMap,
    /// What it speaks.
    pub revision: String,
    /// What it says that it can do.
    pub capabilities: Value,
    /// Which program it says it is: `clientInfo`.
    pub program: Value,
    ids: Arc<AtomicI64>,
    tap: Option<Tap>,
}

impl Caller {
    /// A client of the newest stateless revision.
    #[must_use]
    pub fn modern(url: impl Into<String>, secret: &str) -> Self {
        Self::new(url.into(), secret, MODERN, None)
    }

    /// A client with a handshake that has not shaken hands yet: see [`Caller::open`].
    #[must_use]
    pub fn legacy(url: impl Into<String>, secret: &str) -> Self {
        Self::new(url.into(), secret, LEGACY, None)
    }

    fn new(url: String, secret: &str, revision: &str, trusted: Option<&Authority>) -> Self {
        let mut headers = HeaderMap::new();
        headers.insert("authorization", format!("Bearer {secret}").parse().unwrap());
        headers.insert("content-type", "application/json".parse().unwrap());
        headers.insert("accept", "application/json, text/event-stream".parse().unwrap());
        let connector = hyper_rustls::HttpsConnectorBuilder::new()
            .with_tls_config(crate::certificates::client(trusted))
            .https_or_http()
            .enable_http1()
            .build();
        Self {
            http: Client::builder(TokioExecutor::new()).build(connector),
            url,
            headers,
            revision: revision.to_owned(),
            capabilities: json!({}),
            program: json!({"name": "story-teller", "version": "1"}),
            ids: Arc::default(),
            tap: None,
        }
    }

    /// The same, trusting this authority.
    #[must_use]
    pub fn trusting(self, authority: &Authority) -> Self {
        let fresh = Self::new(String::new(), "", MODERN, Some(authority));
        Self { http: fresh.http, ..self }
    }

    /// The same, telling a tap what it reads.
    #[must_use]
    pub fn tapped(self, tap: &Tap) -> Self {
        Self { tap: Some(tap.clone()), ..self }
    }

    /// The same, of another revision.
    #[must_use]
    pub fn speaking(self, revision: &str) -> Self {
        Self { revision: revision.to_owned(), ..self }
    }

    /// The same, with capabilities.
    #[must_use]
    pub fn able_to(self, capabilities: Value) -> Self {
        Self { capabilities, ..self }
    }

    /// The same, saying that it is another program.
    #[must_use]
    pub fn named(self, name: &str, version: &str) -> Self {
        Self { program: json!({"name": name, "version": version}), ..self }
    }

    /// The same with another header.
    #[must_use]
    pub fn with(&self, name: &str, value: &str) -> Self {
        let mut other = self.clone();
        other.headers.insert(HeaderName::from_bytes(name.as_bytes()).unwrap(), value.parse().unwrap());
        other
    }

    /// The same without a header.
    #[must_use]
    pub fn without(&self, name: &str) -> Self {
        let mut other = self.clone();
        other.headers.remove(name);
        other
    }

    /// The same at another URL.
    #[must_use]
    pub fn at(&self, url: impl Into<String>) -> Self {
        Self { url: url.into(), ..self.clone() }
    }

    /// Whether it speaks a revision without handshake.
    #[must_use]
    pub fn is_modern(&self) -> bool {
        self.revision.as_str() >= MODERN
    }

    /// Sends a request of any form.
    ///
    /// # Errors
    /// When there is no answer.
    pub async fn try_send(
        &self,
        method: Method,
        body: impl Into<Bytes>,
        asked: Option<&str>,
    ) -> Result<Reply, String> {
        let mut request =
            Request::builder().method(method).uri(&self.url).body(Full::new(body.into())).unwrap();
        *request.headers_mut() = self.headers.clone();
        let response = self.http.request(request).await.map_err(|error| format!("{error:?}"))?;
        let listener = Listener {
            revision: self.revision.clone(),
            asked: asked.map(str::to_owned),
            tap: self.tap.clone(),
        };
        Ok(Reply::new(response, listener))
    }

    /// Sends a request of any form.
    pub async fn send(&self, method: Method, body: impl Into<Bytes>, asked: Option<&str>) -> Reply {
        self.try_send(method, body, asked).await.expect("an answer")
    }

    /// Posts this text as it is.
    pub async fn post(&self, body: impl Into<Bytes>) -> Answer {
        self.send(Method::POST, body, None).await.whole().await
    }

    /// A request with the headers and `_meta` of its revision; what `params._meta` has stays.
    #[must_use]
    pub fn request(&self, method: &str, mut params: Value) -> (Self, Value) {
        let id = self.ids.fetch_add(1, Ordering::Relaxed);
        let mut caller = self.clone();
        if self.is_modern() {
            let mut meta = params.get("_meta").cloned().unwrap_or_else(|| json!({}));
            for (name, value) in [
                ("protocolVersion", json!(self.revision)),
                ("clientInfo", self.program.clone()),
                ("clientCapabilities", self.capabilities.clone()),
            ] {
                let key = format!("{META}/{name}");
                if meta.get(&key).is_none() {
                    meta[key] = value;
                }
            }
            params["_meta"] = meta;
            caller = caller.with("mcp-protocol-version", &self.revision).with("mcp-method", method);
            let name = match method {
                "tools/call" | "prompts/get" => params["name"].as_str(),
                "resources/read" => params["uri"].as_str(),
                _ => None,
            };
            if let Some(name) = name {
                caller = caller.with("mcp-name", name);
            }
        }
        let mut message = json!({"jsonrpc": "2.0", "id": id, "method": method});
        if !params.is_null() {
            message["params"] = params;
        }
        (caller, message)
    }

    /// Asks, and gives the reply unread: for streams.
    pub async fn begin(&self, method: &str, params: Value) -> Reply {
        let (caller, message) = self.request(method, params);
        caller.send(Method::POST, message.to_string(), Some(method)).await
    }

    /// Asks, and reads the whole answer.
    pub async fn ask(&self, method: &str, params: Value) -> Answer {
        self.begin(method, params).await.whole().await
    }

    /// Asks; an error when no answer came.
    ///
    /// # Errors
    /// When there is no answer.
    pub async fn try_ask(&self, method: &str, params: Value) -> Result<Answer, String> {
        let (caller, message) = self.request(method, params);
        Ok(caller.try_send(Method::POST, message.to_string(), Some(method)).await?.whole().await)
    }

    /// Calls a tool.
    pub async fn call(&self, tool: &str, arguments: Value) -> Answer {
        self.ask("tools/call", json!({"name": tool, "arguments": arguments})).await
    }

    /// The names of the tools that it sees.
    pub async fn tools(&self) -> Vec<String> {
        let result = self.ask("tools/list", json!({})).await.result();
        let tools = result["tools"].as_array().expect("tools");
        tools.iter().map(|tool| tool["name"].as_str().unwrap().to_owned()).collect()
    }

    /// Tells, as clients with a session do.
    pub async fn tell(&self, method: &str, params: Value) -> StatusCode {
        let mut message = json!({"jsonrpc": "2.0", "method": method});
        if !params.is_null() {
            message["params"] = params;
        }
        self.send(Method::POST, message.to_string(), None).await.status
    }

    /// Answers a request of the server.
    pub async fn reply(&self, id: &Value, result: &Value) -> StatusCode {
        let message = json!({"jsonrpc": "2.0", "id": id, "result": result});
        self.send(Method::POST, message.to_string(), None).await.status
    }

    /// Shakes hands: the same caller within its session.
    pub async fn open(self) -> Self {
        let params = json!({
            "protocolVersion": self.revision,
            "capabilities": self.capabilities,
            "clientInfo": self.program,
        });
        let answer = self.ask("initialize", params).await;
        assert_eq!(answer.result()["protocolVersion"], self.revision.as_str());
        let session = answer.header("mcp-session-id");
        let caller = self.with("mcp-session-id", session).with("mcp-protocol-version", &self.revision);
        assert_eq!(caller.tell("notifications/initialized", Value::Null).await, StatusCode::ACCEPTED);
        caller
    }

    /// The stream of what the server says unasked, for clients with a session.
    pub async fn listen(&self) -> Reply {
        let reply = self.send(Method::GET, Bytes::new(), None).await;
        assert_eq!(reply.status, StatusCode::OK);
        reply
    }

    /// Ends the session.
    pub async fn end(&self) -> StatusCode {
        self.send(Method::DELETE, Bytes::new(), None).await.status
    }
}

/// Reads a plain HTTP page, such as those of an operations port.
pub async fn page(url: &str) -> Result<(StatusCode, String), String> {
    let client: Client<HttpConnector, Full<Bytes>> = Client::builder(TokioExecutor::new()).build_http();
    let request = Request::builder().uri(url).body(Full::default()).unwrap();
    let response = client.request(request).await.map_err(|error| error.to_string())?;
    let status = response.status();
    let body = response.into_body().collect().await.map_err(|error| error.to_string())?.to_bytes();
    Ok((status, String::from_utf8_lossy(&body).into_owned()))
}

/// Reads a plain HTTP page with its headers.
pub async fn page_with_headers(url: &str) -> Answer {
    plain(Request::builder().uri(url).body(Full::default()).unwrap()).await
}

/// Sends a form to a page, as a browser does, with one more header or another one.
pub async fn form(url: &str, fields: &[(&str, &str)], header: Option<(&str, &str)>) -> Answer {
    let encoded = |text: &str| text.bytes().map(|byte| format!("%{byte:02X}")).collect::<String>();
    let fields: Vec<String> =
        fields.iter().map(|(name, value)| format!("{}={}", encoded(name), encoded(value))).collect();
    let body = Full::new(Bytes::from(fields.join("&")));
    let mut request = Request::builder().method(Method::POST).uri(url).body(body).unwrap();
    let kind = HeaderValue::from_static("application/x-www-form-urlencoded");
    request.headers_mut().insert(http::header::CONTENT_TYPE, kind);
    if let Some((name, value)) = header {
        request
            .headers_mut()
            .insert(HeaderName::from_bytes(name.as_bytes()).unwrap(), value.parse().unwrap());
    }
    plain(request).await
}

async fn plain(request: Request<Full<Bytes>>) -> Answer {
    let client: Client<HttpConnector, Full<Bytes>> = Client::builder(TokioExecutor::new()).build_http();
    let (head, body) = client.request(request).await.unwrap().into_parts();
    let body = body.collect().await.unwrap().to_bytes();
    Answer {
        status: head.status,
        headers: head.headers,
        text: String::from_utf8_lossy(&body).into_owned(),
        messages: Vec::new(),
    }
}
