//! One pass over a JSON-RPC message: what policy reads is found and checked, everything else stays raw.

use std::borrow::Cow;

use serde_json::value::RawValue;

/// One JSON-RPC message, borrowed from the bytes it came in.
#[derive(Debug, Clone)]
pub enum Message<'a> {
    /// Wants an answer.
    Request {
        /// A JSON string or integer.
        id: &'a RawValue,
        /// The method's name.
        method: Cow<'a, str>,
        /// Its parameters; empty when there are none.
        params: Params<'a>,
    },
    /// Wants none.
    Notification {
        /// The method's name.
        method: Cow<'a, str>,
        /// Its parameters; empty when there are none.
        params: Params<'a>,
    },
    /// Is one.
    Response {
        /// `None` only on an error whose sender could not read the id.
        id: Option<&'a RawValue>,
        /// `result` or `error`.
        outcome: Result<&'a RawValue, &'a RawValue>,
    },
}

/// What is read of `params`. Absent and `null` are the same; raw members are as they came.
#[derive(Debug, Clone, Default)]
pub struct Params<'a> {
    /// The whole object.
    pub raw: Option<&'a RawValue>,
    /// `name`: tool or prompt.
    pub name: Option<Cow<'a, str>>,
    /// `uri`: resource.
    pub uri: Option<Cow<'a, str>>,
    /// `cursor` of a list.
    pub cursor: Option<Cow<'a, str>>,
    /// `arguments`, an object.
    pub arguments: Option<&'a RawValue>,
    /// `requestState` of a multi round-trip retry.
    pub request_state: Option<Cow<'a, str>>,
    /// `inputResponses` of a multi round-trip retry, an object.
    pub input_responses: Option<&'a RawValue>,
    /// `ref` of `completion/complete`, an object.
    pub r#ref: Option<&'a RawValue>,
    /// `_meta`.
    pub meta: Meta<'a>,
}

/// What is read of `params._meta`.
#[derive(Debug, Clone, Default)]
pub struct Meta<'a> {
    /// The whole object.
    pub raw: Option<&'a RawValue>,
    /// `io.modelcontextprotocol/protocolVersion`.
    pub protocol_version: Option<Cow<'a, str>>,
    /// `io.modelcontextprotocol/clientInfo`, an object.
    pub client_info: Option<&'a RawValue>,
    /// `io.modelcontextprotocol/clientCapabilities`, an object.
    pub client_capabilities: Option<&'a RawValue>,
    /// `io.modelcontextprotocol/logLevel`.
    pub log_level: Option<Cow<'a, str>>,
    /// `io.modelcontextprotocol/subscriptionId`, a string or integer.
    pub subscription_id: Option<&'a RawValue>,
    /// `progressToken`, a string or integer.
    pub progress_token: Option<&'a RawValue>,
    /// `traceparent`.
    pub traceparent: Option<Cow<'a, str>>,
    /// `tracestate`.
    pub tracestate: Option<Cow<'a, str>>,
    /// `baggage`.
    pub baggage: Option<Cow<'a, str>>,
}

/// The message is not one that may be served. Answered with HTTP 400.
#[derive(Debug, Clone, thiserror::Error)]
#[error("{message}")]
pub struct MalformedMessage {
    /// JSON-RPC code: -32700, -32600 or -32602.
    pub code: i32,
    /// What is wrong, in words for the sender.
    pub message: &'static str,
    /// The request's id, if it was read before the fault.
    pub id: Option<Box<RawValue>>,
}

/// Reads a message that a caller sent: names repeated at any depth, depth beyond 64, batches, and ids other than string or
/// integer are refused.
///
/// # Errors
/// With the JSON-RPC code and, where it could be read, the id.
pub fn parse(bytes: &[u8]) -> Result<Message<'_>, MalformedMessage> {
    let _ = bytes;
    todo!()
}

/// Reads a message that an upstream sent: as [`parse`], but content may be 128 levels deep and only the names that are
/// read here must be unique.
///
/// # Errors
/// As [`parse`].
pub fn parse_upstream(bytes: &[u8]) -> Result<Message<'_>, MalformedMessage> {
    let _ = bytes;
    todo!()
}
