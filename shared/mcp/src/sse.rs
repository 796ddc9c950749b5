//! Server-sent events (WHATWG HTML, "Server-sent events"): an incremental decoder with a bound, and the encoder.

/// One dispatched event.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Event {
    /// `event`; empty means `message`.
    pub event: String,
    /// `data` lines joined by line feeds.
    pub data: String,
    /// The last `id` seen on the stream when the event was dispatched, if any.
    pub id: Option<String>,
    /// `retry` in milliseconds, if this event's block had one.
    pub retry_ms: Option<u64>,
}

/// The stream cannot be read further.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum SseError {
    /// One event is larger than allowed.
    #[error("an event is larger than {0} bytes")]
    TooLarge(usize),
    /// The bytes are not UTF-8.
    #[error("the stream is not UTF-8")]
    NotUtf8,
}

/// Decodes a stream of bytes that arrives in pieces of any size.
#[derive(Debug)]
pub struct Decoder {
    max_event_bytes: usize,
}

impl Decoder {
    /// A decoder that refuses events of more than `max_event_bytes`.
    #[must_use]
    pub fn new(max_event_bytes: usize) -> Self {
        Self { max_event_bytes }
    }

    /// Takes the next bytes and gives the events that they complete.
    ///
    /// # Errors
    /// If an event exceeds the bound or is not UTF-8; the decoder then stays failed.
    pub fn push(&mut self, bytes: &[u8]) -> Result<Vec<Event>, SseError> {
        let _ = (bytes, self.max_event_bytes);
        todo!()
    }
}

/// One `message` event around a JSON text, written as the transport wants it.
#[must_use]
pub fn encode(data: &[u8], id: Option<&str>) -> Vec<u8> {
    let _ = (data, id);
    todo!()
}

/// A block that only tells the client how long to wait before it reconnects, with an id to resume from.
#[must_use]
pub fn encode_retry(id: Option<&str>, retry_ms: u64) -> Vec<u8> {
    let _ = (id, retry_ms);
    todo!()
}

/// A comment that keeps intermediaries from closing an idle stream.
pub const KEEP_ALIVE: &[u8] = b":\n\n";
