//! Server-sent events (WHATWG HTML, "Server-sent events"): an incremental decoder with a bound, and the encoder.

/// What a stream may begin with, and what is then skipped.
const BYTE_ORDER_MARK: &[u8] = b"\xef\xbb\xbf";

/// A comment that keeps intermediaries from closing an idle stream.
pub const KEEP_ALIVE: &[u8] = b":\n\n";

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
///
/// Blocks without a `data` line are not dispatched; what they say about resuming is kept: see [`Decoder::last_event_id`] and
/// [`Decoder::retry_ms`]. An event that the stream's end cuts off is dropped, as the standard says.
#[derive(Debug)]
pub struct Decoder {
    max_event_bytes: usize,
    /// The line that has not ended yet.
    line: Vec<u8>,
    /// The last byte was a carriage return, so that a line feed now ends nothing.
    after_return: bool,
    first_line: bool,
    event: Event,
    has_data: bool,
    last_id: Option<String>,
    retry_ms: Option<u64>,
    failed: Option<SseError>,
}

impl Decoder {
    /// A decoder that refuses events of more than `max_event_bytes`, counted over all its lines.
    #[must_use]
    pub fn new(max_event_bytes: usize) -> Self {
        Self {
            max_event_bytes,
            line: Vec::new(),
            after_return: false,
            first_line: true,
            event: Event::default(),
            has_data: false,
            last_id: None,
            retry_ms: None,
            failed: None,
        }
    }

    /// The `id` from which the stream could be resumed.
    #[must_use]
    pub fn last_event_id(&self) -> Option<&str> {
        self.last_id.as_deref()
    }

    /// How long the server wants its client to wait before it reconnects, in milliseconds.
    #[must_use]
    pub fn retry_ms(&self) -> Option<u64> {
        self.retry_ms
    }

    /// Takes the next bytes and gives the events that they complete.
    ///
    /// # Errors
    /// If an event exceeds the bound or is not UTF-8; the decoder then stays failed, and the events before it are lost to the
    /// caller only if they came in the same bytes.
    pub fn push(&mut self, bytes: &[u8]) -> Result<Vec<Event>, SseError> {
        if let Some(failed) = self.failed {
            return Err(failed);
        }
        let mut events = Vec::new();
        self.take(bytes, &mut events).inspect_err(|error| self.failed = Some(*error))?;
        Ok(events)
    }

    fn take(&mut self, bytes: &[u8], events: &mut Vec<Event>) -> Result<(), SseError> {
        let mut rest = bytes;
        if self.after_return
            && let Some(first) = rest.first()
        {
            self.after_return = false;
            rest = if *first == b'\n' { rest.get(1..).unwrap_or_default() } else { rest };
        }
        while let Some(at) = rest.iter().position(|byte| matches!(byte, b'\n' | b'\r')) {
            let (line, ending) = rest.split_at(at);
            self.room_for(line.len())?;
            if self.line.is_empty() {
                self.end_line(line, events)?;
            } else {
                self.line.extend_from_slice(line);
                let line = std::mem::take(&mut self.line);
                self.end_line(&line, events)?;
            }
            rest = match ending {
                [b'\r', b'\n', after @ ..] => after,
                [b'\r'] => {
                    self.after_return = true;
                    &[]
                }
                [_, after @ ..] => after,
                [] => &[],
            };
        }
        self.room_for(rest.len())?;
        self.line.extend_from_slice(rest);
        Ok(())
    }

    /// The unfinished line and the event so far, together with `more` bytes, are within the bound.
    fn room_for(&self, more: usize) -> Result<(), SseError> {
        let held = self.line.len() + self.event.data.len() + self.event.event.len();
        if held.saturating_add(more) > self.max_event_bytes {
            return Err(SseError::TooLarge(self.max_event_bytes));
        }
        Ok(())
    }

    fn end_line(&mut self, line: &[u8], events: &mut Vec<Event>) -> Result<(), SseError> {
        let mut line = line;
        if std::mem::replace(&mut self.first_line, false) {
            line = line.strip_prefix(BYTE_ORDER_MARK).unwrap_or(line);
        }
        if line.is_empty() {
            let mut event = std::mem::take(&mut self.event);
            if std::mem::replace(&mut self.has_data, false) {
                event.id.clone_from(&self.last_id);
                events.push(event);
            }
            return Ok(());
        }
        let (field, value) = match line.iter().position(|byte| *byte == b':') {
            // A comment.
            Some(0) => return Ok(()),
            Some(colon) => {
                let (field, value) = line.split_at(colon);
                let value = value.get(1..).unwrap_or_default();
                (field, value.strip_prefix(b" ").unwrap_or(value))
            }
            None => (line, &[][..]),
        };
        let text = || std::str::from_utf8(value).map_err(|_| SseError::NotUtf8);
        match field {
            b"data" => {
                if std::mem::replace(&mut self.has_data, true) {
                    self.event.data.push('\n');
                }
                self.event.data.push_str(text()?);
            }
            b"event" => self.event.event = text()?.to_owned(),
            b"id" if !value.contains(&0) => {
                self.last_id = Some(text()?.to_owned()).filter(|id| !id.is_empty())
            }
            b"retry" if !value.is_empty() && value.iter().all(u8::is_ascii_digit) => {
                // A number that no clock can hold is no waiting time.
                if let Ok(ms) = text()?.parse() {
                    self.event.retry_ms = Some(ms);
                    self.retry_ms = Some(ms);
                }
            }
            _ => {}
        }
        Ok(())
    }
}

/// One `message` event around a JSON text. Line breaks in it, which JSON allows between tokens only, become `data` lines.
#[must_use]
pub fn encode(data: &[u8], id: Option<&str>) -> Vec<u8> {
    let mut out = Vec::with_capacity(data.len() + id.map_or(0, str::len) + 32);
    out.extend_from_slice(b"event: message\n");
    push_id(&mut out, id);
    push_data(&mut out, data);
    out.push(b'\n');
    out
}

/// A block that tells the client how long to wait before it reconnects, and from which id; with empty data, so that it also
/// primes the client (2025-11-25, transports, sending messages).
#[must_use]
pub fn encode_retry(id: Option<&str>, retry_ms: u64) -> Vec<u8> {
    let mut out = Vec::with_capacity(64);
    push_id(&mut out, id);
    out.extend_from_slice(format!("retry: {retry_ms}\n").as_bytes());
    push_data(&mut out, b"");
    out.push(b'\n');
    out
}

/// An id that would break the line is left out: it could not come back as it is.
fn push_id(out: &mut Vec<u8>, id: Option<&str>) {
    if let Some(id) = id.filter(|id| !id.contains(['\n', '\r', '\0'])) {
        out.extend_from_slice(b"id: ");
        out.extend_from_slice(id.as_bytes());
        out.push(b'\n');
    }
}

fn push_data(out: &mut Vec<u8>, data: &[u8]) {
    let mut rest = data;
    loop {
        let at = rest.iter().position(|byte| matches!(byte, b'\n' | b'\r')).unwrap_or(rest.len());
        let (line, after) = rest.split_at(at);
        out.extend_from_slice(b"data: ");
        out.extend_from_slice(line);
        out.push(b'\n');
        rest = match after {
            [] => return,
            [b'\r', b'\n', after @ ..] | [_, after @ ..] => after,
        };
    }
}

#[cfg(test)]
mod tests;
