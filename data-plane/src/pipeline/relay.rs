//! An answer that comes in pieces: what an upstream sends before its response, told to the caller as it comes.

use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use futures_util::StreamExt as _;
use portcullis_mcp::respond::Answer;
use portcullis_mcp::{Era, Message, parse_upstream};
use portcullis_policy::Reason;
use tokio_util::sync::CancellationToken;

use super::course::Course;
use super::downward::{Downward, Scope, ServerRequestOutcome};
use super::standing::Standing;
use crate::upstream::{Event, EventStream, UpstreamError, UpstreamSessionRef};

/// Without a message for this long, a stream tells its reader that it lives.
pub(crate) const IDLE: Duration = Duration::from_secs(15);

/// How long a legacy caller of an upstream that streams waits for a first message: beyond it the call becomes a stream of its
/// own, which can be resumed. Before it an answer that comes alone stays plain JSON.
const PROMPT: Duration = Duration::from_millis(500);

/// One piece of an answer.
#[derive(Debug)]
pub enum Frame {
    /// A message before the response.
    Message(Bytes),
    /// Nothing came for a while; the stream lives.
    Idle,
    /// The response, recorded. Nothing comes after it.
    Last(Answer),
}

/// What may end a call from the caller's side.
#[derive(Debug)]
pub(super) struct Interrupt {
    pub(super) cancel: Option<CancellationToken>,
    /// The plane ends at once.
    pub(super) abort: CancellationToken,
    pub(super) standing: Standing,
}

/// Why a call was interrupted.
pub(super) enum Interrupted {
    Cancelled,
    Denied(Box<portcullis_policy::Denial>),
}

impl Interrupt {
    /// Whether the caller cancelled, or the plane ends at once.
    pub(super) fn is_cancelled(&self) -> bool {
        self.abort.is_cancelled() || self.cancel.as_ref().is_some_and(CancellationToken::is_cancelled)
    }

    /// Waits for an interruption. Safe to drop and call again.
    pub(super) async fn wait(&mut self) -> Interrupted {
        let cancelled = async {
            match &self.cancel {
                Some(token) => token.cancelled().await,
                None => std::future::pending().await,
            }
        };
        tokio::select! {
            biased;
            () = cancelled => Interrupted::Cancelled,
            () = self.abort.cancelled() => Interrupted::Cancelled,
            denial = self.standing.denied() => Interrupted::Denied(Box::new(denial)),
        }
    }
}

/// An answer in pieces. Dropped before its end it cancels at the upstream, and is recorded as cancelled.
#[derive(Debug)]
pub struct Relay {
    course: Course,
    events: Option<EventStream>,
    from: Era,
    downward: Downward,
    interrupt: Interrupt,
    ready: Option<Frame>,
    idle: Duration,
}

impl Relay {
    pub(super) fn new(
        course: Course,
        events: EventStream,
        from: Era,
        session: Option<UpstreamSessionRef>,
        interrupt: Interrupt,
    ) -> Self {
        let downward = Downward {
            pipeline: course.pipeline.clone(),
            admitted: Arc::clone(&course.admitted),
            client: Arc::clone(&course.client),
            server: course.server.name().clone(),
            from,
            session,
            scope: Scope::Call,
            asked: Vec::new(),
        };
        let idle = if course.client.era == Era::Legacy { PROMPT } else { IDLE };
        Self { course, events: Some(events), from, downward, interrupt, ready: None, idle }
    }

    /// Puts a frame back, to be given first.
    pub(super) fn give_back(&mut self, frame: Frame) {
        self.ready = Some(frame);
    }

    /// The era of the caller.
    #[must_use]
    pub fn era(&self) -> Era {
        self.course.client.era
    }

    /// The next piece; `None` after the last one, or when the call was cancelled. Safe to drop and call again, but for the
    /// loss of a request that the server is waiting for.
    pub async fn next(&mut self) -> Option<Frame> {
        if let Some(frame) = self.ready.take() {
            return Some(frame);
        }
        loop {
            let events = self.events.as_mut()?;
            let event = tokio::select! {
                biased;
                interrupted = self.interrupt.wait() => {
                    self.events = None;
                    return match interrupted {
                        // Dropping the course records it as cancelled, once the relay goes.
                        Interrupted::Cancelled => None,
                        Interrupted::Denied(denial) => Some(Frame::Last(self.course.deny(&denial))),
                    };
                }
                event = events.next() => event,
                () = tokio::time::sleep(self.idle) => {
                    self.idle = IDLE;
                    return Some(Frame::Idle);
                }
            };
            if let Some(frame) = self.on_event(event).await {
                if let (Frame::Message(bytes), Some(recorder)) = (&frame, &mut self.course.recorder) {
                    recorder.sent(bytes.len());
                }
                return Some(frame);
            }
        }
    }

    async fn on_event(&mut self, event: Option<Result<Event, UpstreamError>>) -> Option<Frame> {
        match event {
            Some(Ok(Event::Notification { json })) => self.downward.notification(&json).map(Frame::Message),
            Some(Ok(Event::Request { json })) => match self.downward.request(&json).await {
                ServerRequestOutcome::Ask(bytes) => Some(Frame::Message(bytes)),
                ServerRequestOutcome::Answered => None,
                ServerRequestOutcome::Unanswerable(method) => {
                    self.events = None;
                    Some(Frame::Last(self.course.fail_unanswerable(&method)))
                }
            },
            Some(Ok(Event::Refused { json })) => {
                let method = method_of(&json);
                if method == "ping" {
                    return None;
                }
                self.events = None;
                Some(Frame::Last(self.course.fail_unanswerable(&method)))
            }
            Some(Ok(Event::Response { json })) => {
                let last = self.course.conclude(&json, self.from);
                self.events = None;
                Some(Frame::Last(last))
            }
            Some(Err(error)) => {
                self.events = None;
                Some(Frame::Last(self.course.fail(&error)))
            }
            None => {
                self.events = None;
                let error = UpstreamError {
                    reason: Reason::UpstreamError,
                    message: "The server's stream ended without an answer.".to_owned(),
                    cause: None,
                    http_status: None,
                    reached: true,
                    untouched: false,
                };
                Some(Frame::Last(self.course.fail(&error)))
            }
        }
    }
}

fn method_of(json: &[u8]) -> String {
    match parse_upstream(json) {
        Ok(Message::Request { method, .. }) => method.chars().take(64).collect(),
        _ => "something".to_owned(),
    }
}
