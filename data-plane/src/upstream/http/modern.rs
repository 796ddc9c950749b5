//! Requests to a modern HTTP server: one POST, everything it needs in it, and closing as the only cancellation.

use std::borrow::Cow;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use futures_util::Stream;
use http::{HeaderMap, StatusCode};
use portcullis_mcp::methods::NameSource;
use portcullis_mcp::{Era, Message, Method, Revision, headers, object, parse_upstream};
use portcullis_policy::Reason;
use portcullis_policy::resource::Limits;
use serde_json::value::RawValue;
use tokio::time::Instant;

use super::answer::{self, Answer};
use super::client::Outgoing;
use super::events::Events;
use super::legacy::{is_repeatable, last, trace};
use super::{HttpLink, Turn};
use crate::upstream::call::{Call, Event, EventStream, Exchange, ExchangeBody, Mirrored};
use crate::upstream::era::{self, Discovery, Spoken};
use crate::upstream::limits::{Sent, timed_out};
use crate::upstream::stats::count;
use crate::upstream::{UpstreamError, wire};

/// Bytes that the answer to `server/discover` may have.
const MAX_DISCOVERY: u64 = 1 << 20;
/// How long a server may think about `server/discover` before it counts as one that does not know it.
const DISCOVERY_TIMEOUT: Duration = Duration::from_secs(10);
/// An error response is short: longer answers are not searched for −32022.
const MAX_ERROR: usize = 1 << 10;

impl HttpLink {
    /// Asks the server which era it speaks; the response to `server/discover` if it is a modern one.
    pub(super) async fn discover(&self) -> Result<(Spoken, Option<Bytes>), UpstreamError> {
        count(&self.stats.era_detections_total);
        let revision = era::newest();
        let params = wire::own_for_modern(None, revision)?;
        let map = modern_headers(revision, "server/discover", None, &Mirrored::default());
        let body = wire::request(self.next_id(), "server/discover", Some(&params));
        let asked = async {
            let response = self.client.send(Outgoing::post(map, body, true)).await?;
            match answer::read(response, MAX_DISCOVERY).await? {
                Answer::Json(_, body) | Answer::Refused(_, Some(body)) => Ok::<_, UpstreamError>(body),
                Answer::Events(_, body) => {
                    Ok(last(Events::new(body, MAX_DISCOVERY, true)).await.unwrap_or_default())
                }
                Answer::Accepted | Answer::Refused(..) => Ok(Bytes::new()),
            }
        };
        let response = match tokio::time::timeout(DISCOVERY_TIMEOUT, asked).await {
            Ok(Ok(response)) => response,
            // No connection, a redirect, or a credential that is not accepted: nothing else would fare better.
            Ok(Err(error)) if !error.reached => return Err(error),
            Ok(Err(_)) | Err(_) => Bytes::new(),
        };
        match era::discovery(&response) {
            Discovery::Speaks(spoken) => Ok((spoken, (spoken != Spoken::Legacy).then_some(response))),
            Discovery::NothingInCommon => Err(era::nothing_in_common()),
        }
    }

    /// One request of a caller. `certain` says that the server was just asked for its era: its refusals are then its answers.
    pub(super) async fn modern_request(
        self: &Arc<Self>,
        call: &Call,
        mirrored: &Mirrored,
        (revision, certain): (Revision, bool),
        limits: &Limits,
        sent: &Sent,
    ) -> Result<Turn, UpstreamError> {
        let params = wire::of_call(call, revision)?;
        let mut map = modern_headers(revision, &call.method, Some(&params), mirrored);
        trace(&mut map, &call.caller);
        let body = wire::request(self.next_id(), &call.method, Some(&params));
        let out = Outgoing::post(map, body, is_repeatable(&call.method));
        let response = sent.by(self.client.send(out)).await.inspect_err(|_| self.era.doubt())?;
        let max_bytes = limits.max_response_bytes.0;
        let (status, body) = match answer::read(response, max_bytes).await? {
            Answer::Json(status, body) => {
                if let Some(found) =
                    Some(&body).filter(|body| body.len() <= MAX_ERROR).and_then(names_versions)
                {
                    return self.turn(&found);
                }
                (status, ExchangeBody::Json(body))
            }
            Answer::Events(status, body) => {
                let stream = ModernStream::new(Events::new(body, max_bytes, true), limits, Arc::clone(self));
                (status, ExchangeBody::Stream(EventStream::new(stream.into_stream())))
            }
            Answer::Accepted => {
                return Err(UpstreamError::sent(
                    Reason::UpstreamError,
                    "The server gave no answer to a request.",
                ));
            }
            Answer::Refused(status, Some(error)) => {
                if let Some(found) = names_versions(&error) {
                    return self.turn(&found);
                }
                if !certain && is_foreign(status, Some(&error)) {
                    self.era.doubt();
                    return Ok(Turn::AskAgain);
                }
                (status, ExchangeBody::Json(error))
            }
            Answer::Refused(status, None) => {
                self.era.doubt();
                return if !certain && is_foreign(status, None) {
                    Ok(Turn::AskAgain)
                } else {
                    Err(answer::refusal(status))
                };
            }
        };
        Ok(Turn::Done(Exchange {
            era: Era::Modern,
            protocol_version: revision.as_str().to_owned(),
            http_status: Some(status.as_u16()),
            session: None,
            body,
        }))
    }

    fn turn(&self, found: &Discovery) -> Result<Turn, UpstreamError> {
        match found {
            Discovery::Speaks(spoken) => {
                self.era.learn(*spoken);
                Ok(Turn::AskAgain)
            }
            Discovery::NothingInCommon => {
                self.era.doubt();
                Err(era::nothing_in_common())
            }
        }
    }

    /// A request of this gateway itself: the JSON-RPC response.
    pub(super) async fn modern_ask(
        &self,
        revision: Revision,
        method: &str,
        params: Option<&RawValue>,
        max_bytes: u64,
    ) -> Result<Bytes, UpstreamError> {
        let params = wire::own_for_modern(params, revision)?;
        let map = modern_headers(revision, method, Some(&params), &Mirrored::default());
        self.ask(map, wire::request(self.next_id(), method, Some(&params)), max_bytes).await
    }
}

/// The headers that repeat what the body says.
pub(super) fn modern_headers(
    revision: Revision,
    method: &str,
    params: Option<&RawValue>,
    mirrored: &Mirrored,
) -> HeaderMap {
    let source = Method::parse(method).and_then(Method::name_source);
    let name = match (source, &mirrored.name) {
        (Some(NameSource::Name), Some(name)) => Some(Cow::Borrowed(&**name)),
        (Some(NameSource::Name), None) => wire::text_member(params, "name"),
        (Some(NameSource::Uri), _) => wire::text_member(params, "uri"),
        (None, _) => None,
    };
    let arguments = if mirrored.arguments.is_empty() {
        None
    } else {
        params.and_then(|params| object::member(params, "arguments"))
    };
    let mut map = HeaderMap::new();
    headers::compose(&mut map, revision, method, name.as_deref(), &mirrored.arguments, arguments);
    map
}

/// Whether a modern server would not refuse like this: it may be another one by now, or never was modern (2026-07-28,
/// streamable HTTP, backward compatibility). Nothing was done then.
fn is_foreign(status: StatusCode, error: Option<&[u8]>) -> bool {
    if !matches!(status, StatusCode::BAD_REQUEST | StatusCode::NOT_FOUND | StatusCode::METHOD_NOT_ALLOWED) {
        return false;
    }
    let Some(Ok(Message::Response { outcome: Err(error), .. })) = error.map(parse_upstream) else {
        return true;
    };
    let code = object::member(error, "code").map(RawValue::get);
    // Malformed requests and unknown methods are refused alike in both eras, by a server that took the request as its own.
    !matches!(code, Some("-32700" | "-32600" | "-32601" | "-32602" | "-32020" | "-32021" | "-32022"))
}

/// What an error −32022 says about the server; `None` for any other answer.
fn names_versions(body: &Bytes) -> Option<Discovery> {
    let named = std::str::from_utf8(body).is_ok_and(|text| text.contains("-32022"));
    named.then(|| era::unsupported_version(body)).flatten()
}

/// The stream of one request. Letting go of it closes it, which is the cancellation.
struct ModernStream {
    events: Events,
    timeout: Duration,
    deadline: Instant,
    link: Arc<HttpLink>,
}

impl ModernStream {
    fn new(events: Events, limits: &Limits, link: Arc<HttpLink>) -> Self {
        let timeout = limits.timeout.0;
        Self { events, timeout, deadline: Instant::now() + timeout, link }
    }

    fn into_stream(self) -> impl Stream<Item = Result<Event, UpstreamError>> + Send {
        futures_util::stream::unfold(Some(self), |state| async move {
            let mut stream = state?;
            match stream.next().await {
                Ok(event @ Event::Response { .. }) => Some((Ok(event), None)),
                Ok(event) => Some((Ok(event), Some(stream))),
                Err(error) => Some((Err(error), None)),
            }
        })
    }

    async fn next(&mut self) -> Result<Event, UpstreamError> {
        loop {
            let next = tokio::time::timeout_at(self.deadline, self.events.next()).await;
            let data = next.map_err(|_| timed_out(self.timeout, true))??.ok_or_else(|| {
                UpstreamError::sent(Reason::UpstreamError, "The server's stream ended without an answer.")
            })?;
            self.deadline = Instant::now() + self.timeout;
            match parse_upstream(data.as_bytes()) {
                Ok(Message::Response { .. }) => return Ok(Event::Response { json: data.into() }),
                Ok(Message::Notification { .. }) => return Ok(Event::Notification { json: data.into() }),
                // Modern servers ask within their results; a request on a stream has nobody to answer it.
                Ok(Message::Request { .. }) | Err(_) => {
                    count(&self.link.stats.messages_dropped_total);
                    tracing::debug!(server = %self.link.name, "an event of an upstream is no message for a client");
                }
            }
        }
    }
}
