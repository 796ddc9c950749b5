//! HTTP answers of the fake upstream.

use bytes::Bytes;
use futures_util::{Stream, StreamExt as _};
use http::{Response, StatusCode};
use http_body::Frame;
use http_body_util::combinators::UnsyncBoxBody;
use http_body_util::{BodyExt as _, Full, StreamBody};
use serde_json::Value;

pub(super) type Body = UnsyncBoxBody<Bytes, std::convert::Infallible>;

pub(super) fn status(status: StatusCode) -> Response<Body> {
    let mut response = Response::new(Full::new(Bytes::new()).boxed_unsync());
    *response.status_mut() = status;
    response
}

pub(super) fn json(message: &Value) -> Response<Body> {
    let mut response = Response::new(Full::new(Bytes::from(message.to_string())).boxed_unsync());
    response.headers_mut().insert("content-type", "application/json".parse().unwrap());
    response
}

pub(super) fn events(messages: impl Stream<Item = Value> + Send + 'static) -> Response<Body> {
    let frames = messages.map(|message| Ok(Frame::data(Bytes::from(format!("data: {message}\n\n")))));
    let mut response = Response::new(StreamBody::new(frames).boxed_unsync());
    response.headers_mut().insert("content-type", "text/event-stream".parse().unwrap());
    response
}
