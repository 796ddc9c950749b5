//! What came back for a call, as the tests read it.

use futures_util::StreamExt as _;
use portcullis_data_plane::upstream::{Event, EventStream, Exchange, ExchangeBody};
use serde_json::Value;

use super::soon;

/// An answer that must have come as JSON.
pub fn json_body(body: &ExchangeBody) -> Value {
    match body {
        ExchangeBody::Json(json) => serde_json::from_slice(json).unwrap(),
        ExchangeBody::Stream(_) => panic!("a stream where JSON was expected"),
    }
}

/// An answer that must have come as a stream.
pub fn streamed(exchange: Exchange) -> EventStream {
    match exchange.body {
        ExchangeBody::Stream(stream) => stream,
        ExchangeBody::Json(_) => panic!("JSON where a stream was expected"),
    }
}

/// The next event, which must come soon.
pub async fn next(stream: &mut EventStream) -> Event {
    soon("an event", stream.next()).await.unwrap().unwrap()
}

/// The message that an event is.
pub fn value(event: &Event) -> Value {
    let (Event::Notification { json }
    | Event::Request { json }
    | Event::Refused { json }
    | Event::Response { json }) = event;
    serde_json::from_slice(json).unwrap()
}
