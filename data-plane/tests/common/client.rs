//! A caller that says exactly what a test wants it to say.

use bytes::Bytes;
use futures_util::StreamExt as _;
use http::{HeaderMap, HeaderName, Method, Request, Response, StatusCode};
use http_body_util::{BodyExt as _, BodyStream, Full};
use hyper::body::Incoming;
use hyper_util::client::legacy::Client;
use hyper_util::client::legacy::connect::HttpConnector;
use hyper_util::rt::TokioExecutor;
use portcullis_mcp::sse;
use serde_json::{Value, json};

/// The newest revision of each era.
pub const MODERN: &str = "2026-07-28";
pub const LEGACY: &str = "2025-11-25";

#[derive(Clone)]
pub struct Caller {
    client: Client<HttpConnector, Full<Bytes>>,
    pub url: String,
    pub headers: HeaderMap,
}

/// An answer that was read to its end.
#[derive(Debug)]
pub struct Got {
    pub status: StatusCode,
    pub headers: HeaderMap,
    pub text: String,
}

impl Got {
    pub fn json(&self) -> Value {
        serde_json::from_str(&self.text)
            .unwrap_or_else(|_| panic!("no JSON: {} {:?}", self.status, self.text))
    }

    pub fn header(&self, name: &str) -> &str {
        self.headers.get(name).map_or("", |value| value.to_str().unwrap())
    }

    /// The `result` of an answer that is one.
    pub fn result(&self) -> Value {
        let json = self.json();
        assert!(json.get("result").is_some(), "{} {json}", self.status);
        json["result"].clone()
    }

    /// The code of a JSON-RPC error.
    pub fn code(&self) -> i64 {
        self.json()["error"]["code"].as_i64().unwrap_or_else(|| panic!("no error: {}", self.text))
    }
}

/// An event stream that is read bit by bit.
pub struct Events {
    pub headers: HeaderMap,
    body: BodyStream<Incoming>,
    decoder: sse::Decoder,
    ready: std::collections::VecDeque<sse::Event>,
}

impl Events {
    pub fn new(response: Response<Incoming>) -> Self {
        assert_eq!(response.status(), StatusCode::OK);
        assert_eq!(response.headers()["content-type"], "text/event-stream");
        let headers = response.headers().clone();
        let body = BodyStream::new(response.into_body());
        Self { headers, body, decoder: sse::Decoder::new(8 << 20), ready: std::collections::VecDeque::new() }
    }

    /// The next event, empty ones too; none at the end of the stream.
    pub async fn event(&mut self) -> Option<sse::Event> {
        loop {
            if let Some(event) = self.ready.pop_front() {
                return Some(event);
            }
            let frame = self.body.next().await?.ok()?;
            self.ready.extend(self.decoder.push(&frame.into_data().unwrap()).unwrap());
        }
    }

    /// The next message.
    pub async fn message(&mut self) -> Option<Value> {
        loop {
            let event = self.event().await?;
            if !event.data.is_empty() {
                return Some(serde_json::from_str(&event.data).unwrap());
            }
        }
    }
}

impl Caller {
    pub fn new(url: String, secret: &str) -> Self {
        let mut headers = HeaderMap::new();
        headers.insert("authorization", format!("Bearer {secret}").parse().unwrap());
        headers.insert("content-type", "application/json".parse().unwrap());
        headers.insert("accept", "application/json, text/event-stream".parse().unwrap());
        Self { client: Client::builder(TokioExecutor::new()).build_http(), url, headers }
    }

    /// The same with another header.
    pub fn with(&self, name: &str, value: &str) -> Self {
        let mut other = self.clone();
        other.headers.insert(HeaderName::from_bytes(name.as_bytes()).unwrap(), value.parse().unwrap());
        other
    }

    /// The same with one header more, beside those of the same name.
    pub fn with_also(&self, name: &str, value: &str) -> Self {
        let mut other = self.clone();
        other.headers.append(HeaderName::from_bytes(name.as_bytes()).unwrap(), value.parse().unwrap());
        other
    }

    pub fn without(&self, name: &str) -> Self {
        let mut other = self.clone();
        other.headers.remove(name);
        other
    }

    pub fn at(&self, url: &str) -> Self {
        Self { url: url.to_owned(), ..self.clone() }
    }

    pub async fn send(&self, method: Method, body: impl Into<Bytes>) -> Response<Incoming> {
        let mut request =
            Request::builder().method(method).uri(&self.url).body(Full::new(body.into())).unwrap();
        *request.headers_mut() = self.headers.clone();
        self.client.request(request).await.unwrap()
    }

    pub async fn read(&self, method: Method, body: impl Into<Bytes>) -> Got {
        let response = self.send(method, body).await;
        let (head, body) = response.into_parts();
        let text = String::from_utf8(body.collect().await.unwrap().to_bytes().to_vec()).unwrap();
        Got { status: head.status, headers: head.headers, text }
    }

    pub async fn post(&self, body: impl Into<Bytes>) -> Got {
        self.read(Method::POST, body).await
    }

    /// A modern request, headers and `_meta` as they must be; `params._meta` is added to.
    pub fn modern(&self, method: &str, params: Value) -> (Self, String) {
        let mut params = params;
        let defaults = json!({
            "io.modelcontextprotocol/protocolVersion": MODERN,
            "io.modelcontextprotocol/clientInfo": {"name": "tester", "version": "9"},
            "io.modelcontextprotocol/clientCapabilities": {}
        });
        let mut meta = params.get("_meta").cloned().unwrap_or_else(|| json!({}));
        for (key, value) in defaults.as_object().unwrap() {
            if meta.get(key).is_none() {
                meta[key] = value.clone();
            }
        }
        params["_meta"] = meta;
        let mut caller = self.with("mcp-protocol-version", MODERN).with("mcp-method", method);
        let name = match method {
            "tools/call" | "prompts/get" => params["name"].as_str(),
            "resources/read" => params["uri"].as_str(),
            _ => None,
        };
        if let Some(name) = name {
            caller = caller.with("mcp-name", name);
        }
        let body = json!({"jsonrpc": "2.0", "id": 1, "method": method, "params": params}).to_string();
        (caller, body)
    }

    pub async fn ask_modern(&self, method: &str, params: Value) -> Got {
        let (caller, body) = self.modern(method, params);
        caller.post(body).await
    }

    /// A legacy request without a session, unless a header names one.
    pub async fn ask_legacy(&self, method: &str, params: Value) -> Got {
        let body = json!({"jsonrpc": "2.0", "id": 1, "method": method, "params": params}).to_string();
        self.post(body).await
    }

    /// Opens a legacy session, and gives a caller that names it.
    pub async fn initialize(&self, capabilities: Value) -> Self {
        let params = json!({"protocolVersion": LEGACY, "capabilities": capabilities,
                            "clientInfo": {"name": "old-tester", "version": "3"}});
        let got = self.ask_legacy("initialize", params).await;
        assert_eq!(got.result()["protocolVersion"], LEGACY);
        let caller =
            self.with("mcp-session-id", got.header("mcp-session-id")).with("mcp-protocol-version", LEGACY);
        let note = json!({"jsonrpc": "2.0", "method": "notifications/initialized"}).to_string();
        assert_eq!(caller.post(note).await.status, StatusCode::ACCEPTED);
        caller
    }
}
