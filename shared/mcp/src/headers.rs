//! MCP's HTTP headers: their names, whether they tell the same as the body, and the same headers for an upstream request
//! (2026-07-28, streamable HTTP, request metadata).

use http::header::{HeaderMap, HeaderName};
use serde_json::value::RawValue;

use crate::envelope::Params;
use crate::revision::Revision;

/// `MCP-Protocol-Version`.
pub const PROTOCOL_VERSION: HeaderName = HeaderName::from_static("mcp-protocol-version");
/// `Mcp-Method`.
pub const METHOD: HeaderName = HeaderName::from_static("mcp-method");
/// `Mcp-Name`.
pub const NAME: HeaderName = HeaderName::from_static("mcp-name");
/// `Mcp-Session-Id` (legacy).
pub const SESSION_ID: HeaderName = HeaderName::from_static("mcp-session-id");
/// `Last-Event-ID` (legacy).
pub const LAST_EVENT_ID: HeaderName = HeaderName::from_static("last-event-id");
/// What the names of parameter headers begin with.
pub const PARAM_PREFIX: &str = "mcp-param-";
/// `X-Portcullis-Key`: the virtual key.
pub const PORTCULLIS_KEY: HeaderName = HeaderName::from_static("x-portcullis-key");
/// `X-Request-Id`: id of the audit record.
pub const REQUEST_ID: HeaderName = HeaderName::from_static("x-request-id");
/// `X-Accel-Buffering`: `no` on event streams.
pub const ACCEL_BUFFERING: HeaderName = HeaderName::from_static("x-accel-buffering");

/// A parameter that a tool wants mirrored in a header.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct HeaderParam {
    /// The annotation's value: the part after `Mcp-Param-`, a field-name token.
    pub header: String,
    /// The chain of property names that leads to it in `arguments`.
    pub path: Vec<String>,
}

/// Headers and body differ. HTTP 400; JSON-RPC -32020 to modern callers.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("Header mismatch: {0}")]
pub struct HeaderMismatch(pub String);

/// A tool definition whose `x-mcp-header` annotations break the rules; clients must leave such a tool out.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("x-mcp-header: {0}")]
pub struct HeaderParamError(pub String);

/// Checks `MCP-Protocol-Version`, `Mcp-Method` and `Mcp-Name` of a modern request against its body.
///
/// # Errors
/// If one is missing, doubled, malformed or different.
pub fn check_standard(headers: &HeaderMap, method: &str, params: &Params<'_>) -> Result<(), HeaderMismatch> {
    let _ = (headers, method, params);
    todo!()
}

/// Checks `Mcp-Param-*` of a modern `tools/call` against its arguments.
///
/// # Errors
/// If one is missing, doubled, malformed or different.
pub fn check_params(
    headers: &HeaderMap,
    header_params: &[HeaderParam],
    arguments: Option<&RawValue>,
) -> Result<(), HeaderMismatch> {
    let _ = (headers, header_params, arguments);
    todo!()
}

/// The `x-mcp-header` annotations of an input schema, in the order of the document.
///
/// # Errors
/// If an annotation breaks a rule; the tool is then not to be offered over HTTP.
pub fn header_params(input_schema: &RawValue) -> Result<Vec<HeaderParam>, HeaderParamError> {
    let _ = input_schema;
    todo!()
}

/// Adds the headers that a request to an upstream of this revision must carry: `MCP-Protocol-Version` from 2025-06-18 on;
/// `Mcp-Method`, `Mcp-Name` and `Mcp-Param-*` for modern ones. `name` is what `Mcp-Name` mirrors.
pub fn compose(
    headers: &mut HeaderMap,
    revision: Revision,
    method: &str,
    name: Option<&str>,
    header_params: &[HeaderParam],
    arguments: Option<&RawValue>,
) {
    let _ = (headers, revision, method, name, header_params, arguments);
    todo!()
}
