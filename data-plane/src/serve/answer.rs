//! HTTP answers put together.

use bytes::Bytes;
use futures_util::{Stream, stream};
use http::header::{ALLOW, CACHE_CONTROL, CONTENT_TYPE, RETRY_AFTER, WWW_AUTHENTICATE};
use http::{HeaderValue, Response, StatusCode};
use portcullis_mcp::headers::ACCEL_BUFFERING;
use portcullis_mcp::respond::{self, Answer};
use portcullis_mcp::sse;
use serde_json::value::RawValue;

use super::Body;
use crate::pipeline::{Frame, Relay};

pub(super) type HttpAnswer = Response<Body>;

const JSON: HeaderValue = HeaderValue::from_static("application/json");
const EVENTS: HeaderValue = HeaderValue::from_static("text/event-stream");

/// One of the table's answers.
pub(super) fn of(answer: Answer) -> HttpAnswer {
    let mut response = json(answer.status, Body::whole(answer.body.into()));
    let headers = response.headers_mut();
    if let Some(seconds) = answer.retry_after {
        headers.insert(RETRY_AFTER, seconds.into());
    }
    if let Some(challenge) = answer.www_authenticate {
        headers.insert(WWW_AUTHENTICATE, HeaderValue::from_static(challenge));
    }
    response
}

/// A JSON body.
pub(super) fn json(status: StatusCode, body: Body) -> HttpAnswer {
    let mut response = Response::new(body);
    *response.status_mut() = status;
    response.headers_mut().insert(CONTENT_TYPE, JSON);
    response
}

/// A result whose one large member is a buffer that is shared, not copied: `{"MEMBER":ITEMS REST}`.
pub(super) fn list(id: &RawValue, member: &str, items: Bytes, rest: &str) -> HttpAnswer {
    let head = format!("{{\"jsonrpc\":\"2.0\",\"id\":{},\"result\":{{\"{member}\":", id.get());
    let tail = format!("{rest}}}}}");
    json(StatusCode::OK, Body::parts([head.into(), items, tail.into()]))
}

/// Only a status, as JSON.
pub(super) fn status(status: StatusCode) -> HttpAnswer {
    of(respond::status(status, None))
}

/// A method of HTTP that is not served.
pub(super) fn method_not_allowed(allow: &'static str) -> HttpAnswer {
    let mut response = status(StatusCode::METHOD_NOT_ALLOWED);
    response.headers_mut().insert(ALLOW, HeaderValue::from_static(allow));
    response
}

/// Nothing to say.
pub(super) fn empty(status: StatusCode) -> HttpAnswer {
    let mut response = Response::new(Body::Empty);
    *response.status_mut() = status;
    response
}

/// An event stream.
pub(super) fn events(stream: impl Stream<Item = Bytes> + Send + 'static) -> HttpAnswer {
    let mut response = Response::new(Body::stream(stream));
    let headers = response.headers_mut();
    headers.insert(CONTENT_TYPE, EVENTS);
    headers.insert(CACHE_CONTROL, HeaderValue::from_static("no-cache"));
    // Proxies that buffer would hold events back.
    headers.insert(ACCEL_BUFFERING, HeaderValue::from_static("no"));
    response
}

/// An answer in pieces, read straight from the upstream: when the caller goes, the call is cancelled.
pub(super) fn relayed(relay: Box<Relay>) -> HttpAnswer {
    events(stream::unfold(Some(relay), |relay| async move {
        let mut relay = relay?;
        match relay.next().await? {
            Frame::Message(message) => Some((sse::encode(&message, None).into(), Some(relay))),
            Frame::Idle => Some((Bytes::from_static(sse::KEEP_ALIVE), Some(relay))),
            Frame::Last(answer) => Some((sse::encode(&answer.body, None).into(), None)),
        }
    }))
}

/// The caller cancelled: a stream that ends without a response.
pub(super) fn cancelled() -> HttpAnswer {
    events(stream::empty())
}
