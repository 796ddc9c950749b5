//! What an HTTP server sends outside requests: the GET stream of a legacy session, or a modern `subscriptions/listen`.
//!
//! A stream that breaks is opened again after a growing wait, for as long as somebody listens. A server that offers none is
//! asked once, not again and again.

use std::collections::VecDeque;
use std::future::Future;
use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;

use futures_util::Stream;
use http::StatusCode;
use portcullis_mcp::{Message, Revision, object, parse_upstream};
use portcullis_policy::Reason;
use serde_json::value::RawValue;

use super::HttpLink;
use super::answer::{self, Answer};
use super::client::Outgoing;
use super::events::Events;
use super::legacy::trace;
use super::legacy_stream::answer_here;
use super::modern::modern_headers;
use super::session::HttpSession;
use crate::upstream::backoff::Backoff;
use crate::upstream::call::{Caller, Event, EventStream, Listen, Mirrored, list_changed};
use crate::upstream::stats::count;
use crate::upstream::{UpstreamError, wire};

/// Some servers send the head of a stream with its first event only: then the stream counts as open after this time.
const HEAD_PATIENCE: Duration = Duration::from_secs(1);
/// Bytes that one event of such a stream may have.
const MAX_EVENT: u64 = 4 << 20;
const FIRST_WAIT: Duration = Duration::from_millis(500);
const LONGEST_WAIT: Duration = Duration::from_secs(60);

type Opening = Pin<Box<dyn Future<Output = Result<Answer, UpstreamError>> + Send>>;

/// What is listened to.
enum Source {
    /// The GET stream of a session.
    Session(Arc<HttpSession>),
    /// A subscription; its parameters are ready to be sent.
    Subscription { revision: Revision, params: Box<RawValue>, caller: Option<Box<Caller>> },
}

enum State {
    Opening(Opening),
    Open(Box<Events>),
    Broken,
}

/// A stream that is kept open.
struct Listening {
    link: Arc<HttpLink>,
    source: Source,
    state: State,
    last_id: Option<String>,
    retry: Option<Duration>,
    backoff: Backoff,
    /// List notifications that are wanted: they are told after a gap that could not be bridged.
    methods: Vec<&'static str>,
    ready: VecDeque<Event>,
}

/// Where the opening of a stream got to.
enum Opened {
    /// It is there, or will be.
    Yes,
    /// The server has no such thing.
    NotOffered,
}

impl HttpLink {
    /// The GET stream of a session.
    pub(super) async fn listen_legacy(
        self: &Arc<Self>,
        session: Arc<HttpSession>,
        wanted: &Listen,
    ) -> Result<EventStream, UpstreamError> {
        if self.offers_no_stream.load(Ordering::Acquire) {
            // Held, so that the session of a listener lives as long as it listens.
            return Ok(EventStream::silent().holding(session));
        }
        let reference = session.reference();
        let stream = self.listen(Source::Session(session), wanted).await?;
        Ok(stream.with_session(Some(reference)))
    }

    /// A modern subscription on behalf of a caller, or of the prober.
    pub(super) async fn listen_modern(
        self: &Arc<Self>,
        revision: Revision,
        wanted: &Listen,
        caller: Option<Caller>,
    ) -> Result<EventStream, UpstreamError> {
        let filter = filter(wanted);
        let params = match &caller {
            Some(caller) => wire::for_modern(filter.as_deref(), caller, revision)?,
            None => wire::own_for_modern(filter.as_deref(), revision)?,
        };
        let caller = caller.map(Box::new);
        self.listen(Source::Subscription { revision, params, caller }, wanted).await
    }

    async fn listen(self: &Arc<Self>, source: Source, wanted: &Listen) -> Result<EventStream, UpstreamError> {
        let mut listening = Listening {
            link: Arc::clone(self),
            source,
            state: State::Broken,
            last_id: None,
            retry: None,
            backoff: Backoff::new(FIRST_WAIT, LONGEST_WAIT),
            methods: wanted.methods(),
            ready: VecDeque::new(),
        };
        listening.state = State::Opening(listening.open());
        match tokio::time::timeout(HEAD_PATIENCE, listening.opened()).await {
            Ok(Ok(Opened::NotOffered)) => Ok(EventStream::silent().holding(listening.source)),
            Ok(Ok(Opened::Yes)) | Err(_) => Ok(EventStream::new(listening.into_stream())),
            Ok(Err(error)) => Err(error),
        }
    }
}

/// The parameters of `subscriptions/listen`.
pub(in crate::upstream) fn filter(wanted: &Listen) -> Option<Box<RawValue>> {
    let mut members = Vec::new();
    for (name, is_wanted) in [
        ("toolsListChanged", wanted.tools_list_changed),
        ("promptsListChanged", wanted.prompts_list_changed),
        ("resourcesListChanged", wanted.resources_list_changed),
    ] {
        if is_wanted {
            members.push(format!(r#""{name}":true"#));
        }
    }
    if !wanted.resource_subscriptions.is_empty() {
        let uris: Vec<_> = wanted.resource_subscriptions.iter().map(|uri| object::quoted(uri)).collect();
        members.push(format!(r#""resourceSubscriptions":[{}]"#, uris.join(",")));
    }
    wire::raw(format!(r#"{{"notifications":{{{}}}}}"#, members.join(",")))
}

impl Listening {
    fn into_stream(self) -> impl Stream<Item = Result<Event, UpstreamError>> + Send {
        futures_util::stream::unfold(Some(self), |state| async move {
            let mut listening = state?;
            match listening.next().await {
                Ok(event @ Event::Response { .. }) => Some((Ok(event), None)),
                Ok(event) => Some((Ok(event), Some(listening))),
                Err(error) => Some((Err(error), None)),
            }
        })
    }

    fn open(&self) -> Opening {
        let link = Arc::clone(&self.link);
        match &self.source {
            Source::Session(session) => {
                let (session, last_id) = (Arc::clone(session), self.last_id.clone());
                Box::pin(async move { link.get(&session, last_id.as_deref()).await })
            }
            Source::Subscription { revision, params, caller } => {
                let method = "subscriptions/listen";
                let mut map = modern_headers(*revision, method, None, &Mirrored::default());
                if let Some(caller) = caller {
                    trace(&mut map, caller);
                }
                let out = Outgoing::post(map, wire::request(link.next_id(), method, Some(params)), true);
                Box::pin(async move { answer::read(link.client.send(out).await?, MAX_EVENT).await })
            }
        }
    }

    /// Waits until the stream that is being opened is open.
    async fn opened(&mut self) -> Result<Opened, UpstreamError> {
        let State::Opening(opening) = &mut self.state else { return Ok(Opened::Yes) };
        let answer = opening.await;
        self.state = State::Broken;
        match (answer?, &self.source) {
            (Answer::Events(_, body), _) => {
                let mut events = Events::new(body, MAX_EVENT, false);
                events.last_id.clone_from(&self.last_id);
                events.retry = self.retry;
                self.state = State::Open(Box::new(events));
                self.backoff.reset();
                Ok(Opened::Yes)
            }
            (Answer::Refused(status, _), Source::Session(session)) => match status {
                StatusCode::NOT_FOUND if session.has_id() => {
                    session.expired();
                    Err(answer::refusal(status))
                }
                StatusCode::METHOD_NOT_ALLOWED | StatusCode::NOT_FOUND | StatusCode::NOT_IMPLEMENTED => {
                    self.link.offers_no_stream.store(true, Ordering::Release);
                    Ok(Opened::NotOffered)
                }
                // The stream before this one is not gone yet.
                StatusCode::CONFLICT => Ok(Opened::Yes),
                _ => Err(answer::refusal(status)),
            },
            // The method is not known there.
            (Answer::Refused(_, Some(_)) | Answer::Json(..), Source::Subscription { .. }) => {
                Ok(Opened::NotOffered)
            }
            (Answer::Refused(status, None), Source::Subscription { .. }) => {
                self.link.era.doubt();
                Err(answer::refusal(status))
            }
            (Answer::Json(..) | Answer::Accepted, _) => {
                Err(UpstreamError::sent(Reason::UpstreamError, "The server opened no stream."))
            }
        }
    }

    async fn next(&mut self) -> Result<Event, UpstreamError> {
        loop {
            if let Some(event) = self.ready.pop_front() {
                return Ok(event);
            }
            match &mut self.state {
                State::Broken => {
                    let wait = self.backoff.next().max(self.retry.unwrap_or_default());
                    tokio::time::sleep(wait).await;
                    self.state = State::Opening(self.open());
                }
                State::Opening(_) => match self.opened().await {
                    Ok(Opened::Yes) if matches!(self.state, State::Open(_)) => {
                        count(&self.link.stats.streams_resumed_total);
                        if self.last_id.is_none() {
                            let changed = self.methods.iter().copied().map(list_changed);
                            self.ready.extend(changed.map(|json| Event::Notification { json }));
                        }
                    }
                    Ok(Opened::Yes) => {}
                    Ok(Opened::NotOffered) => return std::future::pending().await,
                    Err(error) if self.is_over() => return Err(error),
                    Err(error) => {
                        tracing::debug!(server = %self.link.name, %error, "a stream of an upstream is not there yet");
                    }
                },
                State::Open(events) => match events.next().await {
                    Ok(Some(data)) => {
                        if let Some(event) = self.understand(data).await {
                            return Ok(event);
                        }
                    }
                    ended => {
                        if let Err(error) = ended {
                            tracing::debug!(server = %self.link.name, %error, "a stream of an upstream broke");
                        }
                        self.last_id = events.last_id.take();
                        self.retry = events.retry;
                        self.state = State::Broken;
                    }
                },
            }
        }
    }

    /// Whether opening it again is of no use: the session is gone, or the server is spoken to otherwise now.
    fn is_over(&self) -> bool {
        match &self.source {
            Source::Session(session) => session.is_over(),
            Source::Subscription { .. } => self.link.era.known().is_none(),
        }
    }

    async fn understand(&mut self, data: String) -> Option<Event> {
        match (parse_upstream(data.as_bytes()), &self.source) {
            (Ok(Message::Notification { .. }), _) => Some(Event::Notification { json: data.into() }),
            (Ok(Message::Request { id, method, .. }), Source::Session(session)) => {
                let Some(answer) = answer_here(session, id, &method) else {
                    return Some(Event::Request { json: data.into() });
                };
                self.link.answer(session, answer).await;
                (method != "ping").then(|| Event::Refused { json: data.into() })
            }
            (Ok(Message::Response { .. }), Source::Subscription { .. }) => {
                Some(Event::Response { json: data.into() })
            }
            _ => {
                count(&self.link.stats.messages_dropped_total);
                None
            }
        }
    }
}
