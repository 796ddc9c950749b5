//! Server-sent events out of an HTTP body, with a bound on each event and on all of them together.

use std::collections::VecDeque;
use std::time::Duration;

use http_body_util::BodyExt as _;
use hyper::body::Incoming;
use portcullis_mcp::sse;

use super::answer;
use crate::upstream::UpstreamError;

/// The longest wait before a stream is taken up again, whatever the server asks for.
const LONGEST_RETRY: Duration = Duration::from_secs(30);

/// The events of one HTTP answer.
pub(super) struct Events {
    body: Incoming,
    decoder: sse::Decoder,
    ready: VecDeque<sse::Event>,
    /// The id to resume from, if the server gave one.
    pub(super) last_id: Option<String>,
    /// How long the server wants its client to wait before it comes back.
    pub(super) retry: Option<Duration>,
    left: Option<u64>,
    max_bytes: u64,
}

impl Events {
    /// Events of at most `max_bytes` each; with `bounded`, also of at most that many bytes together.
    pub(super) fn new(body: Incoming, max_bytes: u64, bounded: bool) -> Self {
        let max_event = usize::try_from(max_bytes).unwrap_or(usize::MAX);
        Self {
            body,
            decoder: sse::Decoder::new(max_event),
            ready: VecDeque::new(),
            last_id: None,
            retry: None,
            left: bounded.then_some(max_bytes),
            max_bytes,
        }
    }

    /// The bytes that may still come, to be handed to the stream that takes this one up.
    pub(super) const fn left(&self) -> Option<u64> {
        self.left
    }

    /// Sets the bytes that may still come.
    pub(super) const fn set_left(&mut self, left: Option<u64>) {
        self.left = left;
    }

    /// The data of the next event that has any; `None` at the end of the body.
    ///
    /// # Errors
    /// When the body breaks off, is too large or is not UTF-8.
    pub(super) async fn next(&mut self) -> Result<Option<String>, UpstreamError> {
        loop {
            while let Some(event) = self.ready.pop_front() {
                let is_message = event.event.is_empty() || event.event == "message";
                if is_message && !event.data.is_empty() {
                    return Ok(Some(event.data));
                }
            }
            let Some(frame) = self.body.frame().await else { return Ok(None) };
            let Ok(data) = frame.map_err(|error| answer::broken(&error))?.into_data() else { continue };
            if let Some(left) = &mut self.left {
                let length = u64::try_from(data.len()).unwrap_or(u64::MAX);
                *left = left.checked_sub(length).ok_or_else(|| answer::too_large(self.max_bytes))?;
            }
            let events = self.decoder.push(&data).map_err(|fault| match fault {
                sse::SseError::TooLarge(_) => answer::too_large(self.max_bytes),
                sse::SseError::NotUtf8 => UpstreamError::sent(
                    portcullis_policy::Reason::UpstreamError,
                    "The server's stream is not UTF-8.",
                ),
            })?;
            self.ready.extend(events);
            if let Some(id) = self.decoder.last_event_id() {
                self.last_id = Some(id.to_owned()).filter(|id| !id.is_empty());
            }
            if let Some(ms) = self.decoder.retry_ms() {
                self.retry = Some(Duration::from_millis(ms).min(LONGEST_RETRY));
            }
        }
    }
}
