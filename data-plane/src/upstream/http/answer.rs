//! What an HTTP answer of an MCP server means: one JSON message, a stream, an acceptance, a refusal, or a fault.

use bytes::{Bytes, BytesMut};
use http::header::{CONTENT_ENCODING, CONTENT_TYPE, HeaderMap};
use http::{Response, StatusCode};
use http_body_util::BodyExt as _;
use hyper::body::{Body as _, Incoming};
use portcullis_mcp::{Message, parse_upstream};
use portcullis_policy::Reason;

use crate::upstream::UpstreamError;

/// Bytes of a refusal's body that are read.
const MAX_REFUSAL: u64 = 64 << 10;

/// An answer, understood as far as HTTP goes.
pub(super) enum Answer {
    /// One JSON body.
    Json(StatusCode, Bytes),
    /// A stream of events.
    Events(StatusCode, Incoming),
    /// Taken, nothing to say.
    Accepted,
    /// A client error or server error; with its body if that is a JSON-RPC error.
    Refused(StatusCode, Option<Bytes>),
}

/// Reads the head, and the body unless it is a stream.
///
/// # Errors
/// On redirects, on 401 and 403, on bodies that are too large, broken, compressed or of an unknown type.
pub(super) async fn read(response: Response<Incoming>, max_bytes: u64) -> Result<Answer, UpstreamError> {
    let (head, body) = response.into_parts();
    let status = head.status;
    let fault = |message: &str| UpstreamError::sent(Reason::UpstreamError, message).with_status(status);
    if status.is_redirection() {
        return Err(fault("The server answered with a redirect, which is never followed.").not_reached());
    }
    if status == StatusCode::UNAUTHORIZED || status == StatusCode::FORBIDDEN {
        return Err(fault("The server does not accept the credential of this gateway.").not_reached());
    }
    if !status.is_success() {
        let body = collect(body, max_bytes.min(MAX_REFUSAL)).await.ok();
        return Ok(Answer::Refused(status, body.filter(|body| is_error(body))));
    }
    if head.headers.get(CONTENT_ENCODING).is_some_and(|coding| coding != "identity") {
        return Err(fault("The server answered in a compressed form that it was not asked for."));
    }
    match media_type(&head.headers) {
        Some("application/json") => match collect(body, max_bytes).await {
            Ok(body) if body.is_empty() && status == StatusCode::ACCEPTED => Ok(Answer::Accepted),
            Ok(body) => Ok(Answer::Json(status, body)),
            Err(error) => Err(error.with_status(status)),
        },
        Some("text/event-stream") => Ok(Answer::Events(status, body)),
        _ if status == StatusCode::ACCEPTED || status == StatusCode::NO_CONTENT => Ok(Answer::Accepted),
        None if body.is_end_stream() => Ok(Answer::Accepted),
        _ => Err(fault("The server answered with a content type that MCP does not know.")),
    }
}

/// What a refusal means for a caller when nothing better is known.
pub(super) fn refusal(status: StatusCode) -> UpstreamError {
    let (reason, message) = match status {
        StatusCode::BAD_GATEWAY | StatusCode::SERVICE_UNAVAILABLE | StatusCode::TOO_MANY_REQUESTS => {
            (Reason::UpstreamUnavailable, "The server says that it is not available now.")
        }
        StatusCode::GATEWAY_TIMEOUT => (Reason::UpstreamTimeout, "The server says that it took too long."),
        _ if status.is_server_error() => (Reason::UpstreamError, "The server failed."),
        _ => (Reason::UpstreamError, "The server refused the request."),
    };
    let error = UpstreamError::sent(reason, message).with_status(status);
    if status.is_client_error() { error.not_reached() } else { error }
}

/// The whole body, if it is not larger than allowed. A body in one piece is not copied.
async fn collect(mut body: Incoming, max_bytes: u64) -> Result<Bytes, UpstreamError> {
    if body.size_hint().lower() > max_bytes {
        return Err(too_large(max_bytes));
    }
    let mut first = Bytes::new();
    let mut whole = BytesMut::new();
    while let Some(frame) = body.frame().await {
        let frame = frame.map_err(|error| broken(&error))?;
        let Ok(data) = frame.into_data() else { continue };
        let length = first.len().saturating_add(whole.len()).saturating_add(data.len());
        if u64::try_from(length).unwrap_or(u64::MAX) > max_bytes {
            return Err(too_large(max_bytes));
        }
        if whole.is_empty() && first.is_empty() {
            first = data;
        } else {
            if whole.is_empty() {
                whole.extend_from_slice(&std::mem::take(&mut first));
            }
            whole.extend_from_slice(&data);
        }
    }
    Ok(if whole.is_empty() { first } else { whole.freeze() })
}

/// The answer is larger than the server's limit.
pub(super) fn too_large(max_bytes: u64) -> UpstreamError {
    UpstreamError::sent(
        Reason::ResponseTooLarge,
        format!("The server's answer is larger than the {max_bytes} bytes that are allowed."),
    )
}

/// The answer ended in the middle.
pub(super) fn broken(error: &hyper::Error) -> UpstreamError {
    tracing::debug!(%error, "an upstream's answer broke off");
    UpstreamError::sent(Reason::UpstreamError, "The server's answer broke off.")
}

/// The media type without parameters, if it is one that MCP knows.
fn media_type(headers: &HeaderMap) -> Option<&str> {
    let value = headers.get(CONTENT_TYPE)?.to_str().ok()?;
    let essence = value.split(';').next().unwrap_or_default().trim();
    let known = ["application/json", "text/event-stream"];
    Some(known.into_iter().find(|known| essence.eq_ignore_ascii_case(known)).unwrap_or(essence))
}

/// Whether the body is a JSON-RPC error.
fn is_error(body: &[u8]) -> bool {
    matches!(parse_upstream(body), Ok(Message::Response { outcome: Err(_), .. }))
}
