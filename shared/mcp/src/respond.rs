//! The one table from `Reason` to an answer: HTTP status, JSON-RPC code or a tool result that a model can act on.
//!
//! It follows the contract's "What a caller gets" row by row. Nothing here says more about a refusal than its row allows.

use http::StatusCode;
use portcullis_policy::Reason;
use serde_json::value::RawValue;

use crate::envelope::MalformedMessage;
use crate::headers::HeaderMismatch;
use crate::message;
use crate::names;
use crate::object::{push_quoted, quoted};
use crate::revision::{Era, MODERN_OFFERED};
use code::{
    HEADER_MISMATCH, INTERNAL_ERROR, INVALID_PARAMS, METHOD_NOT_FOUND, MISSING_CLIENT_CAPABILITY,
    RESOURCE_NOT_FOUND, UNSUPPORTED_PROTOCOL_VERSION,
};

pub mod code;
pub mod held;
mod sentence;

pub use sentence::sentence;

/// The challenge of every 401.
pub const WWW_AUTHENTICATE: &str = "Bearer realm=\"portcullis\"";
/// Who answers when Portcullis itself does: JSON of an `Implementation`.
pub const SERVER_INFO: &str =
    concat!("{\"name\":\"portcullis\",\"version\":\"", env!("CARGO_PKG_VERSION"), "\"}");
/// `Retry-After` when nothing better is known, in seconds.
const RETRY_AFTER_SECONDS: u64 = 1;
/// How much of a name or URI that the caller sent is repeated to it, in characters.
const ECHO_CHARS: usize = 256;

/// What was asked for: decides which of the table's rows applies.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Subject<'a> {
    /// `tools/call` of this name, as the caller wrote it.
    Tool(&'a str),
    /// `prompts/get` of this name (also a prompt named in a completion).
    Prompt(&'a str),
    /// A resource by URI (also a template named in a completion).
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

impl Answer {
    fn new(status: StatusCode, body: Vec<u8>) -> Self {
        Self { status, body, retry_after: None, www_authenticate: None }
    }
}

/// The row of the table that a reason falls into.
enum Row {
    Unauthenticated,
    NotFound,
    /// The same for all of these, so that nobody learns what exists.
    Unknown,
    /// A tool result for tools, -32603 for the rest.
    Refused,
    Unavailable,
    Malformed,
    Internal,
}

const fn row(reason: Reason) -> Row {
    match reason {
        Reason::Unauthenticated | Reason::KeyExpired | Reason::KeyRevoked => Row::Unauthenticated,
        Reason::UnknownEndpoint => Row::NotFound,
        Reason::ToolUnknown | Reason::ToolNotGranted | Reason::ToolNotApproved | Reason::ToolQuarantined => {
            Row::Unknown
        }
        Reason::ZoneDenied
        | Reason::PolicyDenied
        | Reason::ClientDenied
        | Reason::RateLimited
        | Reason::ConcurrencyExceeded
        | Reason::BudgetExhausted
        | Reason::ArgumentsInvalid
        | Reason::ContentBlocked
        | Reason::ExposureExceeded
        | Reason::ApprovalRequired
        | Reason::ApprovalDenied
        | Reason::DetectionBlocked
        | Reason::UpstreamUnavailable
        | Reason::UpstreamTimeout
        | Reason::UpstreamError
        | Reason::ResponseTooLarge => Row::Refused,
        Reason::SnapshotStale | Reason::AuditUnavailable | Reason::Overloaded => Row::Unavailable,
        Reason::MalformedRequest => Row::Malformed,
        Reason::Internal => Row::Internal,
    }
}

/// The table.
#[must_use]
pub fn deny(reason: Reason, asked: &Asked<'_>, detail: &Detail<'_>) -> Answer {
    match row(reason) {
        Row::Unauthenticated => unauthenticated(asked.id),
        Row::NotFound => status(StatusCode::NOT_FOUND, asked.id),
        Row::Unknown => unknown(asked),
        Row::Refused => refused(reason, asked, detail),
        Row::Unavailable => Answer {
            retry_after: Some(
                detail.retry_after_ms.map_or(RETRY_AFTER_SECONDS, |ms| ms.div_ceil(1000).max(1)),
            ),
            ..status(StatusCode::SERVICE_UNAVAILABLE, asked.id)
        },
        Row::Malformed => status(StatusCode::BAD_REQUEST, asked.id),
        Row::Internal => {
            let data = decision(reason, asked, &Detail::default());
            ok(message::error(asked.id, INTERNAL_ERROR.into(), sentence(reason), Some(&data)))
        }
    }
}

/// No credential that counts: the same whatever was wrong with it.
#[must_use]
pub fn unauthenticated(id: Option<&RawValue>) -> Answer {
    Answer { www_authenticate: Some(WWW_AUTHENTICATE), ..status(StatusCode::UNAUTHORIZED, id) }
}

/// An answer that only says an HTTP status: 400 403 404 405 406 413 415 431 503 and the like. The JSON-RPC code is the status.
#[must_use]
pub fn status(status: StatusCode, id: Option<&RawValue>) -> Answer {
    let words = status.canonical_reason().unwrap_or("Error");
    Answer::new(status, message::error(id, status.as_u16().into(), words, None))
}

/// A 400 whose code only repeats it, with words of its own.
#[must_use]
pub fn bad_request(id: Option<&RawValue>, words: &str) -> Answer {
    Answer::new(
        StatusCode::BAD_REQUEST,
        message::error(id, StatusCode::BAD_REQUEST.as_u16().into(), words, None),
    )
}

/// A message that could not be read: 400.
#[must_use]
pub fn malformed(fault: &MalformedMessage) -> Answer {
    Answer::new(
        StatusCode::BAD_REQUEST,
        message::error(fault.id.as_deref(), fault.code.into(), fault.message, None),
    )
}

/// Parameters that do not fit the method: -32602; `malformed` makes it HTTP 400 (missing `_meta` fields), else 200.
#[must_use]
pub fn invalid_params(id: Option<&RawValue>, words: &str, malformed: bool) -> Answer {
    let status = if malformed { StatusCode::BAD_REQUEST } else { StatusCode::OK };
    Answer::new(status, message::error(id, INVALID_PARAMS.into(), words, None))
}

/// Headers and body differ: 400, -32020 to modern callers.
#[must_use]
pub fn header_mismatch(era: Era, id: Option<&RawValue>, fault: &HeaderMismatch) -> Answer {
    let words = fault.to_string();
    match era {
        Era::Modern => {
            Answer::new(StatusCode::BAD_REQUEST, message::error(id, HEADER_MISMATCH.into(), &words, None))
        }
        Era::Legacy => bad_request(id, &words),
    }
}

/// A protocol version that is not offered: 400, -32022 with `supported` and `requested` to modern callers.
#[must_use]
pub fn unsupported_version(era: Era, id: Option<&RawValue>, requested: &str) -> Answer {
    if era == Era::Legacy {
        return bad_request(id, "Unsupported protocol version");
    }
    let supported: Vec<String> = MODERN_OFFERED.iter().map(|revision| quoted(revision.as_str())).collect();
    let data =
        format!("{{\"supported\":[{}],\"requested\":{}}}", supported.join(","), quoted(&echo(requested)));
    let body =
        message::error(id, UNSUPPORTED_PROTOCOL_VERSION.into(), "Unsupported protocol version", Some(&data));
    Answer::new(StatusCode::BAD_REQUEST, body)
}

/// A method that the era does not know: -32601; modern 404, legacy 200.
#[must_use]
pub fn unknown_method(era: Era, id: &RawValue, method: &str) -> Answer {
    let words = format!("Method not found: {}", echo(method));
    let body = message::error(Some(id), METHOD_NOT_FOUND.into(), &words, None);
    Answer::new(status_of_error(era, METHOD_NOT_FOUND.into()), body)
}

/// The request needs client capabilities that were not declared: 400, -32021. `required` is the JSON of a `ClientCapabilities`
/// object.
#[must_use]
pub fn missing_capability(id: &RawValue, required: &str) -> Answer {
    let data = format!("{{\"requiredCapabilities\":{required}}}");
    let words = "The request needs client capabilities that were not declared";
    let body = message::error(Some(id), MISSING_CLIENT_CAPABILITY.into(), words, Some(&data));
    Answer::new(StatusCode::BAD_REQUEST, body)
}

/// The audit record failed after the upstream acted: 200, -32603, nothing that invites a retry.
#[must_use]
pub fn record_failed(id: &RawValue) -> Answer {
    let data = format!("{{\"reason\":\"{}\"}}", Reason::AuditUnavailable.code());
    let words = "The request was carried out, but its record could not be kept, so its result is withheld. Do not repeat it.";
    ok(message::error(Some(id), INTERNAL_ERROR.into(), words, Some(&data)))
}

/// The HTTP status under which a JSON-RPC error of an upstream passes (after translation) to a caller of this era.
#[must_use]
pub fn status_of_error(era: Era, code: i64) -> StatusCode {
    if code == i64::from(MISSING_CLIENT_CAPABILITY) {
        StatusCode::BAD_REQUEST
    } else if era == Era::Modern && code == i64::from(METHOD_NOT_FOUND) {
        StatusCode::NOT_FOUND
    } else {
        StatusCode::OK
    }
}

fn unknown(asked: &Asked<'_>) -> Answer {
    let (code, words, data) = match asked.subject {
        Subject::Tool(name) => (INVALID_PARAMS, format!("Unknown tool: {}", echo(name)), None),
        Subject::Prompt(name) => (INVALID_PARAMS, format!("Unknown prompt: {}", echo(name)), None),
        Subject::Resource(uri) => {
            let code = if asked.era == Era::Modern { INVALID_PARAMS } else { RESOURCE_NOT_FOUND };
            (code, "Resource not found".to_owned(), Some(format!("{{\"uri\":{}}}", quoted(&echo(uri)))))
        }
        Subject::Other => (INVALID_PARAMS, "Not found".to_owned(), None),
    };
    ok(message::error(asked.id, code.into(), &words, data.as_deref()))
}

fn refused(reason: Reason, asked: &Asked<'_>, detail: &Detail<'_>) -> Answer {
    let words = detail.sentence.unwrap_or_else(|| sentence(reason));
    let decision = decision(reason, asked, detail);
    match (asked.subject, asked.id) {
        (Subject::Tool(_), Some(id)) => ok(message::result(id, &tool_error(asked.era, words, &decision))),
        _ => ok(message::error(asked.id, INTERNAL_ERROR.into(), words, Some(&decision))),
    }
}

/// A `CallToolResult` that says what went wrong, to the model in words and to the client in `_meta`.
fn tool_error(era: Era, words: &str, decision: &str) -> String {
    let mut out = String::with_capacity(words.len() + decision.len() + 256);
    out.push('{');
    if era == Era::Modern {
        out.push_str("\"resultType\":\"complete\",");
    }
    out.push_str("\"content\":[{\"type\":\"text\",\"text\":");
    push_quoted(&mut out, words);
    out.push_str("}],\"isError\":true,\"_meta\":{");
    push_quoted(&mut out, names::DECISION);
    out.push(':');
    out.push_str(decision);
    if era == Era::Modern {
        out.push(',');
        push_quoted(&mut out, names::SERVER_INFO);
        out.push(':');
        out.push_str(SERVER_INFO);
    }
    out.push_str("}}");
    out
}

/// `{reason, requestId, retryAfterMs?, approvalUrl?}`.
fn decision(reason: Reason, asked: &Asked<'_>, detail: &Detail<'_>) -> String {
    let mut out = format!("{{\"reason\":\"{}\",\"requestId\":{}", reason.code(), quoted(asked.request_id));
    if let Some(ms) = detail.retry_after_ms {
        out.push_str(&format!(",\"retryAfterMs\":{ms}"));
    }
    if let Some(url) = detail.approval_url {
        out.push_str(",\"approvalUrl\":");
        push_quoted(&mut out, url);
    }
    out.push('}');
    out
}

fn ok(body: Vec<u8>) -> Answer {
    Answer::new(StatusCode::OK, body)
}

/// What the caller sent, shortened to what is worth repeating.
fn echo(text: &str) -> String {
    match text.char_indices().nth(ECHO_CHARS) {
        Some((at, _)) => format!("{}…", text.get(..at).unwrap_or_default()),
        None => text.to_owned(),
    }
}

#[cfg(test)]
mod tests;
