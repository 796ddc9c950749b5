//! The stream that answers one request of a legacy session: its events, its requests to the client, its resumption, and the
//! cancellation that its owner causes by letting go.

use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use futures_util::Stream;
use portcullis_mcp::{Era, Message, headers, parse_upstream};
use portcullis_policy::Reason;
use portcullis_policy::resource::Limits;
use serde_json::value::RawValue;
use tokio::runtime::Handle;
use tokio::time::Instant;

use super::HttpLink;
use super::answer::{self, Answer};
use super::client::Outgoing;
use super::events::Events;
use super::session::HttpSession;
use crate::upstream::call::{Call, Event};
use crate::upstream::limits::timed_out;
use crate::upstream::stats::count;
use crate::upstream::{UpstreamError, wire};

/// How long a cancellation, or an answer to the server, may take to deliver.
const SIDE_TIMEOUT: Duration = Duration::from_secs(5);
/// How often one stream is taken up again in all.
const MAX_RESUMPTIONS: u32 = 100;
/// How often in a row taking it up may fail.
const MAX_FAILURES: u32 = 5;
/// The wait before a stream is taken up again when the server names none.
const DEFAULT_RETRY: Duration = Duration::from_secs(1);

/// Tells the server to stop if the request is let go of before its answer.
pub(super) struct CancelGuard {
    open: Option<(Arc<HttpLink>, Arc<HttpSession>, u64)>,
}

impl CancelGuard {
    pub(super) const fn new(link: Arc<HttpLink>, session: Arc<HttpSession>, id: u64) -> Self {
        Self { open: Some((link, session, id)) }
    }

    /// The request is over: nothing is left to cancel.
    pub(super) fn disarm(mut self) {
        self.open = None;
    }
}

impl Drop for CancelGuard {
    fn drop(&mut self) {
        let Some((link, session, id)) = self.open.take() else { return };
        let Ok(runtime) = Handle::try_current() else { return };
        if session.is_over() {
            return;
        }
        runtime.spawn(async move {
            let told =
                tokio::time::timeout(SIDE_TIMEOUT, link.post_into(&session, wire::cancelled(id))).await;
            if !matches!(told, Ok(Ok(()))) {
                tracing::debug!(server = %link.name, "an upstream did not take a cancellation");
            }
        });
    }
}

/// The stream of one request.
pub(super) struct LegacyStream {
    guard: Option<CancelGuard>,
    link: Arc<HttpLink>,
    session: Arc<HttpSession>,
    events: Events,
    token: Option<Box<RawValue>>,
    drops_logs: bool,
    timeout: Duration,
    max_bytes: u64,
    deadline: Instant,
    resumptions: u32,
}

impl LegacyStream {
    pub(super) fn new(
        guard: CancelGuard,
        events: Events,
        token: Option<Box<RawValue>>,
        call: &Call,
        limits: &Limits,
        (link, session): (&Arc<HttpLink>, &Arc<HttpSession>),
    ) -> Self {
        let timeout = limits.timeout.0;
        Self {
            guard: Some(guard),
            link: Arc::clone(link),
            session: Arc::clone(session),
            events,
            token,
            // A modern caller hears only what it asked for in this very request.
            drops_logs: call.caller.era == Era::Modern && call.caller.log_level.is_none(),
            timeout,
            max_bytes: limits.max_response_bytes.0,
            deadline: Instant::now() + timeout,
            resumptions: 0,
        }
    }

    pub(super) fn into_stream(self) -> impl Stream<Item = Result<Event, UpstreamError>> + Send {
        futures_util::stream::unfold(Some(self), |state| async move {
            let mut stream = state?;
            match stream.next().await {
                Ok(event @ Event::Response { .. }) => {
                    if let Some(guard) = stream.guard.take() {
                        guard.disarm();
                    }
                    Some((Ok(event), None))
                }
                Ok(event) => Some((Ok(event), Some(stream))),
                Err(error) => Some((Err(error), None)),
            }
        })
    }

    /// The next event. The server's time starts again with each message, not with signs of life alone.
    async fn next(&mut self) -> Result<Event, UpstreamError> {
        loop {
            let data = match tokio::time::timeout_at(self.deadline, self.events.next()).await {
                Err(_) => return Err(timed_out(self.timeout, true)),
                Ok(Ok(Some(data))) => data,
                Ok(Ok(None)) => {
                    self.resume().await?;
                    continue;
                }
                Ok(Err(error)) if error.reason == Reason::UpstreamError && self.events.last_id.is_some() => {
                    self.resume().await?;
                    continue;
                }
                Ok(Err(error)) => return Err(error),
            };
            self.deadline = Instant::now() + self.timeout;
            if let Some(event) = self.understand(data).await {
                return Ok(event);
            }
        }
    }

    async fn understand(&mut self, data: String) -> Option<Event> {
        match parse_upstream(data.as_bytes()) {
            Ok(Message::Response { .. }) => Some(Event::Response { json: data.into() }),
            Ok(Message::Notification { method, .. }) => {
                if self.drops_logs && method == "notifications/message" {
                    return None;
                }
                let json = match &self.token {
                    Some(token) if method == "notifications/progress" => {
                        wire::with_progress_token(&data, token)
                    }
                    _ => None,
                };
                Some(Event::Notification { json: json.unwrap_or_else(|| data.into()) })
            }
            Ok(Message::Request { id, method, .. }) => {
                let answer = match answer_here(&self.session, id, &method) {
                    Some(answer) => answer,
                    None => return Some(Event::Request { json: data.into() }),
                };
                self.link.answer(&self.session, answer).await;
                (method != "ping").then(|| Event::Refused { json: data.into() })
            }
            Err(fault) => {
                count(&self.link.stats.messages_dropped_total);
                tracing::debug!(server = %self.link.name, %fault, "an event of an upstream is no message");
                None
            }
        }
    }

    /// Takes the stream up where it broke, after the time that the server asked for.
    async fn resume(&mut self) -> Result<(), UpstreamError> {
        let ended =
            || UpstreamError::sent(Reason::UpstreamError, "The server's stream ended without an answer.");
        for _ in 0..MAX_FAILURES {
            let Some(last_id) = self.events.last_id.clone() else { return Err(ended()) };
            self.resumptions = self.resumptions.saturating_add(1);
            if self.resumptions > MAX_RESUMPTIONS {
                return Err(ended());
            }
            let wait = self.events.retry.unwrap_or(DEFAULT_RETRY);
            let resumed = async {
                tokio::time::sleep(wait).await;
                self.link.get(&self.session, Some(&last_id)).await
            };
            match tokio::time::timeout_at(self.deadline, resumed).await {
                Err(_) => return Err(timed_out(self.timeout, true)),
                Ok(Ok(Answer::Events(_, body))) => {
                    count(&self.link.stats.streams_resumed_total);
                    let mut events = Events::new(body, self.max_bytes, true);
                    events.last_id = Some(last_id);
                    events.retry = self.events.retry;
                    events.set_left(self.events.left());
                    self.events = events;
                    return Ok(());
                }
                // The server says that there is nothing to take up.
                Ok(Ok(_)) => return Err(ended()),
                Ok(Err(error)) => tracing::debug!(%error, "a stream of an upstream was not taken up"),
            }
        }
        Err(ended())
    }
}

/// What a server's request to its client is answered with here: a `ping`, and what the client was never offered for.
pub(super) fn answer_here(session: &HttpSession, id: &RawValue, method: &str) -> Option<Bytes> {
    match method {
        "ping" => Some(wire::pong(id)),
        _ if session.answers => None,
        _ => Some(wire::unsupported(id)),
    }
}

impl HttpLink {
    /// Opens a stream by GET: what the server sends by itself, or the rest of a stream that broke.
    pub(super) async fn get(
        &self,
        session: &HttpSession,
        last_event_id: Option<&str>,
    ) -> Result<Answer, UpstreamError> {
        let mut map = session.headers("");
        if let Some(id) = last_event_id {
            let id = http::HeaderValue::from_str(id).map_err(|_| {
                UpstreamError::sent(
                    Reason::UpstreamError,
                    "The server's event id cannot be sent in a header.",
                )
            })?;
            map.insert(headers::LAST_EVENT_ID, id);
        }
        let response = self.client.send(Outgoing::get(map)).await?;
        answer::read(response, 0).await
    }

    /// Answers a request of the server, as far as it listens.
    pub(super) async fn answer(&self, session: &HttpSession, message: Bytes) {
        let told = tokio::time::timeout(SIDE_TIMEOUT, self.post_into(session, message)).await;
        if !matches!(told, Ok(Ok(()))) {
            tracing::debug!(server = %self.name, "an upstream did not take an answer");
        }
    }
}
