//! What comes back: an answer that was read to its end, or a reply that is read bit by bit.

use std::collections::VecDeque;

use futures_util::StreamExt as _;
use http::{HeaderMap, Response, StatusCode};
use http_body_util::BodyStream;
use hyper::body::Incoming;
use portcullis_mcp::sse;
use serde_json::Value;

use crate::patience::soon;
use crate::tap::{Emitted, Reader, Tap};

/// An answer that was read to its end.
#[derive(Debug, Clone)]
pub struct Answer {
    /// HTTP status.
    pub status: StatusCode,
    /// HTTP headers.
    pub headers: HeaderMap,
    /// The body, if it was not JSON or events.
    pub text: String,
    /// Every message, in order.
    pub messages: Vec<Value>,
}

impl Answer {
    /// A header's value; empty when there is none.
    #[must_use]
    pub fn header(&self, name: &str) -> &str {
        self.headers.get(name).map_or("", |value| value.to_str().unwrap())
    }

    /// The id of the audit record.
    #[must_use]
    pub fn request_id(&self) -> uuid::Uuid {
        self.header("x-request-id").parse().expect("X-Request-Id is a UUID")
    }

    /// The response: the last message that asks and tells nothing.
    #[must_use]
    pub fn response(&self) -> Value {
        let mut messages = self.messages.iter().rev();
        messages.find(|message| message.get("method").is_none()).cloned().unwrap_or(Value::Null)
    }

    /// The result of a request that was answered with one.
    ///
    /// # Panics
    /// When it was not.
    #[must_use]
    pub fn result(&self) -> Value {
        let response = self.response();
        assert!(response.get("result").is_some(), "{} {response} {:?}", self.status, self.text);
        response["result"].clone()
    }

    /// The code of a JSON-RPC error; zero when there is none.
    #[must_use]
    pub fn code(&self) -> i64 {
        self.response()["error"]["code"].as_i64().unwrap_or(0)
    }

    /// Whether a tool did what it was asked.
    #[must_use]
    pub fn succeeded(&self) -> bool {
        let response = self.response();
        self.status == StatusCode::OK
            && response.get("result").is_some()
            && response["result"]["isError"] != true
    }

    /// The reason that the reply tells; empty when it tells none.
    #[must_use]
    pub fn reason(&self) -> String {
        let response = self.response();
        let decision = &response["result"]["_meta"]["portcullis/decision"];
        let told = [&decision["reason"], &response["error"]["data"]["reason"]];
        told.into_iter().find_map(Value::as_str).unwrap_or_default().to_owned()
    }

    /// The text of a tool's answer.
    #[must_use]
    pub fn content(&self) -> String {
        self.response()["result"]["content"][0]["text"].as_str().unwrap_or_default().to_owned()
    }
}

/// A reply whose body has not been read yet.
pub struct Reply {
    /// HTTP status.
    pub status: StatusCode,
    /// HTTP headers.
    pub headers: HeaderMap,
    body: BodyStream<Incoming>,
    decoder: sse::Decoder,
    ready: VecDeque<sse::Event>,
    listener: Listener,
}

/// What is needed to tell the tap what was read.
#[derive(Clone)]
pub(super) struct Listener {
    pub(super) revision: String,
    pub(super) asked: Option<String>,
    pub(super) tap: Option<Tap>,
}

impl Listener {
    fn read(&self, message: &Value) {
        let Some(tap) = &self.tap else { return };
        let answers = if message.get("method").is_some() { None } else { self.asked.clone() };
        tap.read(Emitted {
            reader: Reader::Client,
            revision: self.revision.clone(),
            answers,
            message: message.clone(),
        });
    }
}

impl Reply {
    pub(super) fn new(response: Response<Incoming>, listener: Listener) -> Self {
        let (head, body) = response.into_parts();
        let decoder = sse::Decoder::new(16 << 20);
        let body = BodyStream::new(body);
        Self { status: head.status, headers: head.headers, body, decoder, ready: VecDeque::new(), listener }
    }

    /// Whether it is an event stream.
    #[must_use]
    pub fn is_stream(&self) -> bool {
        self.headers.get("content-type").is_some_and(|kind| kind.as_bytes().starts_with(b"text/event-stream"))
    }

    /// The next event, empty ones too; none at the end.
    pub async fn event(&mut self) -> Option<sse::Event> {
        loop {
            if let Some(event) = self.ready.pop_front() {
                return Some(event);
            }
            let frame = self.body.next().await?.ok()?;
            let Ok(data) = frame.into_data() else { continue };
            self.ready.extend(self.decoder.push(&data).unwrap());
        }
    }

    /// The next message; none at the end of the stream.
    pub async fn next(&mut self) -> Option<Value> {
        loop {
            let event = self.event().await?;
            if !event.data.is_empty() {
                let message = serde_json::from_str(&event.data).unwrap();
                self.listener.read(&message);
                return Some(message);
            }
        }
    }

    /// The next message of a method, or without one for the response.
    pub async fn until(&mut self, method: Option<&str>) -> Value {
        let wanted = |message: &Value| message.get("method").and_then(Value::as_str) == method;
        soon(&format!("a message {method:?}"), async {
            loop {
                let message = self.next().await.expect("the stream goes on");
                if wanted(&message) {
                    return message;
                }
            }
        })
        .await
    }

    /// Reads it to its end.
    pub async fn whole(mut self) -> Answer {
        let mut messages = Vec::new();
        let mut text = String::new();
        if self.is_stream() {
            while let Some(message) = self.next().await {
                messages.push(message);
            }
        } else {
            let mut bytes = Vec::new();
            while let Some(Ok(frame)) = self.body.next().await {
                bytes.extend_from_slice(&frame.into_data().unwrap_or_default());
            }
            text = String::from_utf8(bytes).unwrap();
            if let Ok(message) = serde_json::from_str(&text) {
                self.listener.read(&message);
                messages.push(message);
            }
        }
        Answer { status: self.status, headers: self.headers, text, messages }
    }
}
