//! Messages towards upstreams: ids of our own, parameters in the words of the upstream's era, progress tokens of our own.
//!
//! Ids and progress tokens are rewritten because several callers may share a session or a child; everything else that the
//! caller wrote stays byte for byte.

use std::borrow::Cow;

use bytes::Bytes;
use portcullis_mcp::edit::edit_params;
use portcullis_mcp::{CallerFacts, Edit, Era, Revision, edit_object, message, object, translate};
use portcullis_policy::Reason;
use serde_json::value::RawValue;

use super::{Call, Caller, UpstreamError};

/// Who this gateway is, where no caller is spoken for.
pub(super) const GATEWAY_INFO: &str =
    concat!(r#"{"name":"portcullis","title":"Portcullis","version":""#, env!("CARGO_PKG_VERSION"), r#""}"#);

/// The prefix of the protocol's own keys in `_meta`.
const PROTOCOL_KEYS: &str = "io.modelcontextprotocol/";

/// Parameters as the caller gave them, or as they had to be rewritten.
pub(super) type Params<'a> = Option<Cow<'a, RawValue>>;

/// A request with an id of ours.
pub(super) fn request(id: u64, method: &str, params: Option<&RawValue>) -> Bytes {
    message::request(&number(id), method, params).into()
}

/// A notification.
pub(super) fn notification(method: &str, params: Option<&RawValue>) -> Bytes {
    message::notification(method, params.map(RawValue::get)).into()
}

/// `notifications/cancelled` for a request of ours.
pub(super) fn cancelled(id: u64) -> Bytes {
    let params = raw(format!(r#"{{"requestId":{id},"reason":"The caller no longer waits."}}"#));
    notification("notifications/cancelled", params.as_deref())
}

/// The answer to a request of a server that nobody can be asked.
pub(super) fn unsupported(id: &RawValue) -> Bytes {
    message::error(Some(id), -32601, "Method not found", None).into()
}

/// The answer to a server's `ping`.
pub(super) fn pong(id: &RawValue) -> Bytes {
    message::result(id, "{}").into()
}

/// An id of ours, as it stands in a message.
pub(super) fn own_id(id: &RawValue) -> Option<u64> {
    id.get().parse().ok()
}

/// Parameters of a caller for a legacy upstream.
pub(super) fn for_legacy<'a>(
    params: Option<&'a RawValue>,
    caller: &Caller,
) -> Result<Params<'a>, UpstreamError> {
    let plain = params.is_none_or(|params| !params.get().contains(PROTOCOL_KEYS));
    if plain && caller.traceparent.is_none() && caller.tracestate.is_none() {
        return Ok(params.map(Cow::Borrowed));
    }
    translate::params_for_legacy(params, caller.traceparent.as_deref(), caller.tracestate.as_deref())
        .map(|params| params.map(Cow::Owned))
        .map_err(|_| malformed())
}

/// Parameters of a call for a modern upstream.
pub(super) fn of_call(call: &Call, revision: Revision) -> Result<Cow<'_, RawValue>, UpstreamError> {
    match call.params.as_deref() {
        Some(params) if call.told && call.caller.protocol_version == revision.as_str() => {
            Ok(Cow::Borrowed(params))
        }
        params => for_modern(params, &call.caller, revision).map(Cow::Owned),
    }
}

/// Parameters of a caller for a modern upstream.
pub(super) fn for_modern(
    params: Option<&RawValue>,
    caller: &Caller,
    revision: Revision,
) -> Result<Box<RawValue>, UpstreamError> {
    let capabilities = translate::client_capabilities(caller.capabilities.get(), caller.era, Era::Modern)
        .map_err(|_| malformed())?;
    let facts = CallerFacts {
        protocol_version: revision.as_str(),
        client_info: caller.client_info.as_deref().map(RawValue::get),
        client_capabilities: &capabilities,
        log_level: caller.log_level.as_deref(),
        traceparent: caller.traceparent.as_deref(),
        tracestate: caller.tracestate.as_deref(),
    };
    translate::params_for_modern(params, &facts).map_err(|_| malformed())
}

/// Parameters of this gateway itself for a modern upstream.
pub(super) fn own_for_modern(
    params: Option<&RawValue>,
    revision: Revision,
) -> Result<Box<RawValue>, UpstreamError> {
    let facts = CallerFacts {
        protocol_version: revision.as_str(),
        client_info: Some(GATEWAY_INFO),
        client_capabilities: "{}",
        log_level: None,
        traceparent: None,
        tracestate: None,
    };
    translate::params_for_modern(params, &facts).map_err(|_| malformed())
}

/// Puts `id` in the place of the caller's progress token, and gives the caller's for [`with_progress_token`].
pub(super) fn swap_progress_token<'a>(
    params: Params<'a>,
    id: u64,
) -> Result<(Params<'a>, Option<Box<RawValue>>), UpstreamError> {
    let Some(given) = params.as_deref().filter(|params| params.get().contains("progressToken")) else {
        return Ok((params, None));
    };
    let token = object::member(given, "_meta").and_then(|meta| object::member(meta, "progressToken"));
    let Some(token) = token.map(ToOwned::to_owned) else { return Ok((params, None)) };
    let edited = edit_params(Some(given), &[], &[("progressToken", Edit::Set(&id.to_string()))])
        .map_err(|_| malformed())?;
    Ok((edited.map(Cow::Owned), Some(token)))
}

/// A progress notification with the caller's token in it again. `None` if it is no such notification after all.
pub(super) fn with_progress_token(json: &str, token: &RawValue) -> Option<Bytes> {
    let whole: &RawValue = serde_json::from_str(json).ok()?;
    let params = object::member(whole, "params")?;
    let params = edit_object(params.get(), &[("progressToken", Edit::Set(token.get()))]).ok()?;
    edit_object(json, &[("params", Edit::Set(&params))]).ok().map(Bytes::from)
}

/// The text of a string member of parameters.
pub(super) fn text_member<'a>(params: Option<&'a RawValue>, name: &str) -> Option<Cow<'a, str>> {
    object::string(object::member(params?, name)?)
}

/// JSON text that is known to be valid.
pub(super) fn raw(json: String) -> Option<Box<RawValue>> {
    RawValue::from_string(json).ok()
}

fn number(id: u64) -> Box<RawValue> {
    // A number is always JSON; `null` is never reached and would only be a request that nobody answers.
    raw(id.to_string()).unwrap_or_else(|| RawValue::NULL.to_owned())
}

fn malformed() -> UpstreamError {
    UpstreamError::unsent(Reason::MalformedRequest, "The request's parameters are not what MCP allows.")
}

#[cfg(test)]
mod tests;
