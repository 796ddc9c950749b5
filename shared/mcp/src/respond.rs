//! The one table from `Reason` to an answer: HTTP status, JSON-RPC code or a tool result that a model can act on.

use http::StatusCode;
use portcullis_policy::Reason;
use serde_json::value::RawValue;

use crate::envelope::MalformedMessage;
use crate::headers::HeaderMismatch;
use crate::revision::Era;

/// What was asked for: decides which of the table's rows applies.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Subject<'a> {
    /// `tools/call` of this exposed name.
    Tool(&'a str),
    /// `prompts/get` of this exposed name.
    Prompt(&'a str),
    /// A resource by URI.
    Resource(&'a str),
    /// Any other method.
    Other,
}

/// Who asked, and for what.
#[derive(Debug, Clone, Copy)]
pub struct Asked<'a> {
    /// The caller's era.
    pub era: Era,
    /// The request's id; `None` when no body was read.
    pub id: Option<&'a RawValue>,
    /// What it named.
    pub subject: Subject<'a>,
    /// `X-Request-Id`.
    pub request_id: &'a str,
}

/// What the reply may say beyond the reason.
#[derive(Debug, Clone, Copy, Default)]
pub struct Detail<'a> {
    /// A sentence that replaces the reason's own (never secrets, never another's data).
    pub sentence: Option<&'a str>,
    /// When to try again, milliseconds from now.
    pub retry_after_ms: Option<u64>,
    /// Where a person approves.
    pub approval_url: Option<&'a str>,
}

/// A whole HTTP answer but for `X-Request-Id`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Answer {
    /// HTTP status.
    pub status: StatusCode,
    /// JSON body; empty when there is nothing to say.
    pub body: Vec<u8>,
    /// `Retry-After`, in seconds.
    pub retry_after: Option<u64>,
    /// `WWW-Authenticate`.
    pub www_authenticate: Option<&'static str>,
}

/// The table.
#[must_use]
pub fn deny(reason: Reason, asked: &Asked<'_>, detail: &Detail<'_>) -> Answer {
    let _ = (reason, asked, detail);
    todo!()
}

/// An answer that only says an HTTP status: 403 405 406 413 415 431 and the like.
#[must_use]
pub fn status(status: StatusCode, id: Option<&RawValue>) -> Answer {
    let _ = (status, id);
    todo!()
}

/// A message that could not be read: 400.
#[must_use]
pub fn malformed(fault: &MalformedMessage) -> Answer {
    let _ = fault;
    todo!()
}

/// Parameters that do not fit the method: -32602; `bad_request` makes it HTTP 400 (missing `_meta` fields), else 200.
#[must_use]
pub fn invalid_params(id: Option<&RawValue>, message: &str, bad_request: bool) -> Answer {
    let _ = (id, message, bad_request);
    todo!()
}

/// Headers and body differ: 400, -32020 to modern callers.
#[must_use]
pub fn header_mismatch(era: Era, id: Option<&RawValue>, fault: &HeaderMismatch) -> Answer {
    let _ = (era, id, fault);
    todo!()
}

/// A protocol version that is not offered: 400, -32022 with `supported` and `requested` to modern callers.
#[must_use]
pub fn unsupported_version(era: Era, id: Option<&RawValue>, requested: &str) -> Answer {
    let _ = (era, id, requested);
    todo!()
}

/// A method that the era does not know: -32601; modern 404, legacy 200.
#[must_use]
pub fn unknown_method(era: Era, id: &RawValue, method: &str) -> Answer {
    let _ = (era, id, method);
    todo!()
}

/// The request needs client capabilities that were not declared: 400, -32021. `required` is the JSON of a
/// `ClientCapabilities` object.
#[must_use]
pub fn missing_capability(id: &RawValue, required: &str) -> Answer {
    let _ = (id, required);
    todo!()
}

/// The audit record failed after the upstream acted: 200, -32603, nothing that invites a retry.
#[must_use]
pub fn record_failed(id: &RawValue) -> Answer {
    let _ = id;
    todo!()
}
