//! What one era says, said in the other: results, errors, notifications, capabilities, `_meta`.

use std::borrow::Cow;

use serde_json::value::RawValue;

use crate::edit::EditError;
use crate::revision::Era;

/// What an upstream is told about the caller in `_meta` of a modern request.
#[derive(Debug, Clone, Copy)]
pub struct CallerFacts<'a> {
    /// `MCP-Protocol-Version` towards this upstream.
    pub protocol_version: &'a str,
    /// JSON of an `Implementation`.
    pub client_info: Option<&'a str>,
    /// JSON of `ClientCapabilities`.
    pub client_capabilities: &'a str,
    /// Least severe log level wanted.
    pub log_level: Option<&'a str>,
    /// W3C trace context.
    pub traceparent: Option<&'a str>,
    /// W3C trace context.
    pub tracestate: Option<&'a str>,
}

/// Why something of one era cannot be said in the other.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum TranslateError {
    /// The piece is no JSON object, or repeats a name.
    #[error("not a JSON object: {0}")]
    Malformed(#[from] EditError),
    /// A modern upstream asks its client for input, and the client is a legacy one.
    #[error("the server asks for input, which a client of this era cannot give")]
    InputRequired,
    /// A result type that the caller's era does not know.
    #[error("the server answered with an unknown result type")]
    UnknownResultType,
}

/// A result of an upstream of era `from` for a caller of era `to`.
///
/// # Errors
/// If it is no object or cannot be said in the other era.
pub fn result<'a>(method: &str, raw: &'a str, from: Era, to: Era) -> Result<Cow<'a, str>, TranslateError> {
    let _ = (method, raw, from, to);
    todo!()
}

/// An `error` object likewise. `method` is the request's.
///
/// # Errors
/// If it is no error object.
pub fn error<'a>(method: &str, raw: &'a str, from: Era, to: Era) -> Result<Cow<'a, str>, TranslateError> {
    let _ = (method, raw, from, to);
    todo!()
}

/// `params` of a notification likewise; `None` when the other era has no such notification.
///
/// # Errors
/// If the parameters are no object.
pub fn notification<'a>(
    method: &str,
    params: Option<&'a str>,
    from: Era,
    to: Era,
) -> Result<Option<Option<Cow<'a, str>>>, TranslateError> {
    let _ = (method, params, from, to);
    todo!()
}

/// `params` for a modern upstream: `_meta` tells the caller's facts and nothing else of the protocol's.
///
/// # Errors
/// If `params` or its `_meta` is no object.
pub fn params_for_modern(
    params: Option<&RawValue>,
    facts: &CallerFacts<'_>,
) -> Result<Box<RawValue>, EditError> {
    let _ = (params, facts);
    todo!()
}

/// `params` for a legacy upstream: without the protocol's keys in `_meta`, trace context as given.
///
/// # Errors
/// If `params` or its `_meta` is no object.
pub fn params_for_legacy(
    params: Option<&RawValue>,
    traceparent: Option<&str>,
    tracestate: Option<&str>,
) -> Result<Option<Box<RawValue>>, EditError> {
    let _ = (params, traceparent, tracestate);
    todo!()
}

/// A client's capabilities as an upstream of era `to` is told them. Across eras nothing is offered that a server would ask
/// its client for (elicitation, sampling, roots): those requests do not cross yet.
///
/// # Errors
/// If it is no object.
pub fn client_capabilities(raw: &str, from: Era, to: Era) -> Result<Cow<'_, str>, TranslateError> {
    let _ = (raw, from, to);
    todo!()
}

/// A server's capabilities as a client of era `to` is told them.
///
/// # Errors
/// If it is no object.
pub fn server_capabilities(raw: &str, from: Era, to: Era) -> Result<Cow<'_, str>, TranslateError> {
    let _ = (raw, from, to);
    todo!()
}
