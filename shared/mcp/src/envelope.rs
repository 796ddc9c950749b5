//! One pass over a JSON-RPC message: what policy reads is found and checked, everything else stays raw.

use std::borrow::Cow;

use serde_json::value::RawValue;

use crate::raw;
use crate::respond::code::{INVALID_PARAMS, INVALID_REQUEST, PARSE_ERROR};
use crate::scan::{Fault, Scanner, Trust};

mod params;

use params::Mistyped;

/// One JSON-RPC message, borrowed from the bytes it came in.
#[derive(Debug, Clone)]
#[allow(
    clippy::large_enum_variant,
    reason = "a message lives on the stack of one request; a box would cost it an allocation"
)]
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
    /// `name` as it stands there.
    pub raw_name: Option<&'a RawValue>,
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
    /// Whether one of these is there as `null`: read as absent, and not to be passed on.
    pub has_null: bool,
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

/// Deepest message of a caller.
const CALLER_DEPTH: usize = 64;
/// Deepest message of an upstream.
const UPSTREAM_DEPTH: usize = 128;
/// Deepest text in which the id of a refused message is still looked for.
const SALVAGE_DEPTH: usize = 512;

/// Reads a message that a caller sent: names repeated at any depth, depth beyond 64, batches, and ids other than string or
/// integer are refused, and so are parameters of another type than the method's.
///
/// # Errors
/// With the JSON-RPC code and, where it could be read, the id.
pub fn parse(bytes: &[u8]) -> Result<Message<'_>, MalformedMessage> {
    read(bytes, CALLER_DEPTH, Trust::Caller)
}

/// Reads a message that an upstream sent: as [`parse`], but content may be 128 levels deep, only the names that are read here
/// must be unique, and parameters of an unexpected type count as absent.
///
/// # Errors
/// As [`parse`].
pub fn parse_upstream(bytes: &[u8]) -> Result<Message<'_>, MalformedMessage> {
    read(bytes, UPSTREAM_DEPTH, Trust::Upstream)
}

/// What stands in the envelope, not yet judged.
#[derive(Default)]
struct Envelope<'a> {
    jsonrpc: Option<&'a str>,
    id: Option<&'a str>,
    method: Option<&'a str>,
    params: Params<'a>,
    params_fault: bool,
    mistyped: Mistyped,
    result: Option<&'a str>,
    error: Option<&'a str>,
}

fn read(bytes: &[u8], depth: usize, trust: Trust) -> Result<Message<'_>, MalformedMessage> {
    let text = std::str::from_utf8(bytes).map_err(|_| fault(PARSE_ERROR, "the body is not UTF-8", None))?;
    let mut scanner = Scanner::new(text, depth, trust);
    match scanner.peek() {
        Some(b'{') => {}
        Some(b'[') => return Err(fault(INVALID_REQUEST, "batches are not supported", None)),
        Some(_) => {
            let is_json = scanner.value().and_then(|_| scanner.end()).is_ok();
            return Err(if is_json {
                fault(INVALID_REQUEST, "a message is a JSON object", None)
            } else {
                fault(PARSE_ERROR, "the body is not JSON", None)
            });
        }
        None => return Err(fault(PARSE_ERROR, "the body is empty", None)),
    }
    let mut envelope = Envelope::default();
    read_envelope(&mut scanner, &mut envelope).map_err(|why| match why {
        Fault::Syntax => fault(PARSE_ERROR, "the body is not JSON", None),
        Fault::Depth => fault(INVALID_REQUEST, "the message is nested too deeply", salvage_id(text)),
        Fault::Duplicate => fault(INVALID_REQUEST, "a member name is repeated", salvage_id(text)),
    })?;
    judge(envelope, trust)
}

fn read_envelope<'a>(scanner: &mut Scanner<'a>, envelope: &mut Envelope<'a>) -> Result<(), Fault> {
    scanner.object(|scanner, name, _| {
        match name.decode()?.as_ref() {
            "jsonrpc" => envelope.jsonrpc = Some(scanner.value()?),
            "id" => envelope.id = Some(scanner.value()?),
            "method" => envelope.method = Some(scanner.value()?),
            "params" => match scanner.peek() {
                Some(b'{') => {
                    scanner.peek();
                    let start = scanner.at();
                    params::read(scanner, &mut envelope.params, &mut envelope.mistyped)?;
                    envelope.params.raw = Some(raw(scanner.between(start, scanner.at())?)?);
                }
                _ => envelope.params_fault = scanner.value()? != "null",
            },
            "result" => envelope.result = Some(scanner.value()?),
            "error" => envelope.error = Some(scanner.value()?),
            _ => {
                scanner.value()?;
            }
        }
        Ok(())
    })?;
    scanner.end()
}

fn judge(envelope: Envelope<'_>, trust: Trust) -> Result<Message<'_>, MalformedMessage> {
    let id_text = envelope.id.filter(|id| is_id(id));
    let id = id_text.and_then(raw::borrowed);
    let refuse = |code, message| Err(fault(code, message, id.map(ToOwned::to_owned)));
    if envelope.id.is_some() && id.is_none() && !(envelope.id == Some("null") && envelope.error.is_some()) {
        return refuse(INVALID_REQUEST, "an id is a string or an integer");
    }
    if envelope.jsonrpc.and_then(text_of).as_deref() != Some("2.0") {
        return refuse(INVALID_REQUEST, "jsonrpc is not \"2.0\"");
    }
    let Some(method) = envelope.method else {
        return match (envelope.result, envelope.error) {
            (Some(result), None) if result.starts_with('{') => match (id, raw::borrowed(result)) {
                (Some(_), Some(result)) => Ok(Message::Response { id, outcome: Ok(result) }),
                _ => refuse(INVALID_REQUEST, "a result has the id of its request"),
            },
            (None, Some(error)) if error.starts_with('{') => match raw::borrowed(error) {
                Some(error) => Ok(Message::Response { id, outcome: Err(error) }),
                None => refuse(INVALID_REQUEST, "an error is an object"),
            },
            (None, None) => refuse(INVALID_REQUEST, "the message has no method"),
            (Some(_), Some(_)) => refuse(INVALID_REQUEST, "the message has both result and error"),
            _ => refuse(INVALID_REQUEST, "a result or error is an object"),
        };
    };
    if envelope.result.is_some() || envelope.error.is_some() {
        return refuse(INVALID_REQUEST, "the message has both method and outcome");
    }
    let Some(method) = text_of(method) else {
        return refuse(INVALID_REQUEST, "a method is a string");
    };
    if envelope.params_fault {
        return refuse(INVALID_PARAMS, "params is not an object");
    }
    if trust == Trust::Caller
        && let Some(message) = envelope.mistyped.message(&method)
    {
        return refuse(INVALID_PARAMS, message);
    }
    Ok(match id {
        Some(id) => Message::Request { id, method, params: envelope.params },
        None => Message::Notification { method, params: envelope.params },
    })
}

/// A JSON string, or an integer as a number of digits alone.
fn is_id(text: &str) -> bool {
    let digits = text.strip_prefix('-').unwrap_or(text);
    text.starts_with('"') || (!digits.is_empty() && digits.bytes().all(|byte| byte.is_ascii_digit()))
}

/// The text of a value that was scanned, if it is a string.
fn text_of(value: &str) -> Option<Cow<'_, str>> {
    Scanner::new(value, 0, Trust::Json).string().ok()?.decode().ok()
}

fn raw(text: &str) -> Result<&RawValue, Fault> {
    raw::borrowed(text).ok_or(Fault::Syntax)
}

/// The id of a message that was refused for what else is in it, so that the sender can match the error.
fn salvage_id(text: &str) -> Option<Box<RawValue>> {
    let mut id = None;
    let mut scanner = Scanner::new(text, SALVAGE_DEPTH, Trust::Upstream);
    let outcome = scanner.object(|scanner, name, _| {
        let value = scanner.value()?;
        if name.decode()? == "id" {
            // Twice an id is none.
            id = if id.is_none() { Some(value) } else { Some("") };
        }
        Ok::<_, Fault>(())
    });
    if outcome == Err(Fault::Depth) {
        return None;
    }
    id.filter(|id| is_id(id)).and_then(raw::borrowed).map(ToOwned::to_owned)
}

fn fault(code: i32, message: &'static str, id: Option<Box<RawValue>>) -> MalformedMessage {
    MalformedMessage { code, message, id }
}

#[cfg(test)]
mod tests;
