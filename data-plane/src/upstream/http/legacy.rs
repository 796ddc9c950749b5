//! Requests to a legacy HTTP server: the handshake, the session, one request in it, and the stream that may answer it.

use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use http::StatusCode;
use http::header::{HeaderName, HeaderValue};
use portcullis_mcp::{Era, Message, Revision, headers, object, parse_upstream, translate};
use portcullis_policy::Reason;
use portcullis_policy::resource::Limits;
use serde_json::value::RawValue;

use super::answer::{self, Answer};
use super::client::Outgoing;
use super::events::Events;
use super::legacy_stream::{CancelGuard, LegacyStream};
use super::session::{HttpSession, Introduction, session_headers};
use super::{HttpLink, Turn};
use crate::upstream::call::{Call, Caller, EventStream, Exchange, ExchangeBody};
use crate::upstream::limits::Sent;
use crate::upstream::stats::count;
use crate::upstream::{UpstreamError, wire};

/// Bytes that the answer to a handshake may have.
const MAX_HANDSHAKE: u64 = 1 << 20;
/// How long setting the level of log messages may take; a call does not fail over it.
const LEVEL_TIMEOUT: Duration = Duration::from_secs(5);

/// W3C trace context headers.
const TRACEPARENT: HeaderName = HeaderName::from_static("traceparent");
const TRACESTATE: HeaderName = HeaderName::from_static("tracestate");

/// What may be sent twice: it reads, or says the same again.
pub(super) fn is_repeatable(method: &str) -> bool {
    !matches!(method, "tools/call") && !method.starts_with("notifications/")
}

/// Puts the caller's trace context on a request.
pub(super) fn trace(map: &mut http::HeaderMap, caller: &Caller) {
    for (name, value) in [(TRACEPARENT, &caller.traceparent), (TRACESTATE, &caller.tracestate)] {
        if let Some(value) = value.as_deref().and_then(|value| HeaderValue::from_str(value).ok()) {
            map.insert(name, value);
        }
    }
}

/// What a session is subscribed to, so that another session of the same client can be subscribed alike.
fn note_subscription(session: &HttpSession, call: &Call) {
    let subscribed = call.method == "resources/subscribe";
    if !subscribed && call.method != "resources/unsubscribe" {
        return;
    }
    let Some(uri) = wire::text_member(call.params.as_deref(), "uri") else { return };
    if subscribed {
        session.takes_subscription(&uri);
    } else {
        session.drops_subscription(&uri);
    }
}

impl HttpLink {
    /// Opens a session on behalf of a caller; of the prober when there is none.
    ///
    /// A legacy caller is introduced as itself. For a modern one nothing is offered that the server would ask its client
    /// for: such requests do not cross between eras.
    pub(super) async fn initialize(&self, caller: Option<&Caller>) -> Result<HttpSession, UpstreamError> {
        let id = self.next_id();
        let asked = caller
            .and_then(|caller| Revision::parse(&caller.protocol_version))
            .filter(|revision| revision.era() == Era::Legacy)
            .unwrap_or(Revision::V2025_11_25);
        let capabilities = match caller {
            Some(caller) => translate::client_capabilities(
                caller.capabilities.get(),
                caller.era,
                Era::Legacy,
            )
            .map_err(|_| {
                UpstreamError::unsent(Reason::MalformedRequest, "The client's capabilities are no object.")
            })?,
            None => "{}".into(),
        };
        let info =
            caller.and_then(|caller| caller.client_info.as_deref()).map_or(wire::GATEWAY_INFO, RawValue::get);
        let params = wire::raw(format!(
            r#"{{"protocolVersion":"{asked}","capabilities":{capabilities},"clientInfo":{info}}}"#
        ));
        let body = wire::request(id, "initialize", params.as_deref());
        let map = session_headers(None, Revision::V2024_11_05, "initialize");
        let response =
            self.client.send(Outgoing::post(map, body, true)).await.inspect_err(|_| self.era.doubt())?;
        let session_id = response.headers().get(headers::SESSION_ID).cloned();
        let response = match answer::read(response, MAX_HANDSHAKE).await? {
            Answer::Json(_, body) => body,
            Answer::Events(_, body) => last(Events::new(body, MAX_HANDSHAKE, true)).await?,
            Answer::Accepted => return Err(self.no_handshake("it gave no answer")),
            Answer::Refused(status, _) => {
                self.era.doubt();
                return Err(answer::refusal(status).not_reached());
            }
        };
        let introduction = introduction(&response).map_err(|why| self.no_handshake(why))?;
        let answers = caller.is_some_and(|caller| caller.era == Era::Legacy);
        let session = HttpSession::new(
            self.uid,
            session_id,
            introduction,
            answers,
            Arc::clone(&self.client),
            Arc::clone(&self.stats),
        );
        let initialized = wire::notification("notifications/initialized", None);
        self.post_into(&session, initialized).await?;
        Ok(session)
    }

    fn no_handshake(&self, why: &'static str) -> UpstreamError {
        self.era.doubt();
        tracing::debug!(server = %self.name, why, "an upstream did not open a session");
        UpstreamError::unsent(Reason::UpstreamError, "The server did not open a session.")
    }

    /// Sends a message that wants no answer.
    pub(super) async fn post_into(&self, session: &HttpSession, message: Bytes) -> Result<(), UpstreamError> {
        self.post(session.headers(""), message, Some(session)).await
    }

    /// Sends a message that wants no answer, with these headers.
    pub(super) async fn post(
        &self,
        map: http::HeaderMap,
        message: Bytes,
        session: Option<&HttpSession>,
    ) -> Result<(), UpstreamError> {
        let response = self.client.send(Outgoing::post(map, message, false)).await?;
        let status = response.status();
        // 202 without a body by the specification; some servers say 200 and something, which is as good.
        if status.is_success() {
            return Ok(());
        }
        if let Some(session) = session.filter(|session| session.has_id() && status == StatusCode::NOT_FOUND) {
            session.expired();
        }
        match answer::read(response, MAX_HANDSHAKE).await? {
            Answer::Refused(status, _) => Err(answer::refusal(status)),
            _ => Ok(()),
        }
    }

    /// One request of a caller in its session, which is opened if it has to be, and again if the server forgot it.
    pub(super) async fn legacy_request(
        self: &Arc<Self>,
        call: &Call,
        limits: &Limits,
        sent: &Sent,
    ) -> Result<Turn, UpstreamError> {
        let key = self.key(call.caller.principal, call.caller.client_session);
        let mut session = self.sessions.obtain_for_call(key, || self.initialize(Some(&call.caller))).await?;
        for attempt in 0..2 {
            if let Some(level) = call.caller.log_level.as_deref() {
                self.set_level(&session, level).await;
            }
            note_subscription(&session, call);
            match self.legacy_exchange(&session, call, limits, sent).await? {
                Turn::SessionOver if attempt == 0 => {
                    session.expired();
                    sent.clear();
                    session = self.sessions.obtain(key, || self.initialize(Some(&call.caller))).await?;
                }
                turn => return Ok(turn),
            }
        }
        Err(UpstreamError::unsent(Reason::UpstreamError, "The server forgets its sessions at once."))
    }

    /// One request in one session.
    pub(super) async fn legacy_exchange(
        self: &Arc<Self>,
        session: &Arc<HttpSession>,
        call: &Call,
        limits: &Limits,
        sent: &Sent,
    ) -> Result<Turn, UpstreamError> {
        let id = self.next_id();
        let params = wire::for_legacy(call.params.as_deref(), &call.caller)?;
        let (params, token) = wire::swap_progress_token(params, id)?;
        let body = wire::request(id, &call.method, params.as_deref());
        let mut map = session.headers(&call.method);
        trace(&mut map, &call.caller);
        let guard = CancelGuard::new(Arc::clone(self), Arc::clone(session), id);
        let out = Outgoing::post(map, body, is_repeatable(&call.method));
        let response = match sent.by(self.client.send(out)).await {
            Ok(response) => response,
            Err(error) => {
                guard.disarm();
                self.era.doubt();
                return Err(error);
            }
        };
        let max_bytes = limits.max_response_bytes.0;
        let (status, body) = match answer::read(response, max_bytes).await {
            Ok(Answer::Json(status, body)) => {
                guard.disarm();
                (status, ExchangeBody::Json(body))
            }
            Ok(Answer::Events(status, body)) => {
                let events = Events::new(body, max_bytes, true);
                let stream = LegacyStream::new(guard, events, token, call, limits, (self, session));
                (status, ExchangeBody::Stream(EventStream::new(stream.into_stream())))
            }
            Ok(Answer::Accepted) => {
                guard.disarm();
                return Err(UpstreamError::sent(
                    Reason::UpstreamError,
                    "The server gave no answer to a request.",
                ));
            }
            Ok(Answer::Refused(status, error)) => {
                guard.disarm();
                if session.has_id() && forgets_session(status, error.as_deref()) {
                    return Ok(Turn::SessionOver);
                }
                match error {
                    Some(error) => (status, ExchangeBody::Json(error)),
                    None => {
                        self.era.doubt();
                        return Err(answer::refusal(status));
                    }
                }
            }
            Err(error) => {
                // What broke off may still be running: the guard then tells the server to stop.
                if !error.reached {
                    guard.disarm();
                }
                return Err(error);
            }
        };
        Ok(Turn::Done(Exchange {
            era: Era::Legacy,
            protocol_version: session.introduction.revision.as_str().to_owned(),
            http_status: Some(status.as_u16()),
            session: Some(session.reference()),
            body,
        }))
    }

    async fn set_level(self: &Arc<Self>, session: &Arc<HttpSession>, level: &str) {
        let offers = object::member(&session.introduction.capabilities, "logging").is_some();
        if !offers || !session.takes_level(level) {
            return;
        }
        let params = wire::raw(format!(r#"{{"level":{}}}"#, object::quoted(level)));
        let body = wire::request(self.next_id(), "logging/setLevel", params.as_deref());
        let asked = self.ask(session.headers("logging/setLevel"), body, MAX_HANDSHAKE);
        if !matches!(tokio::time::timeout(LEVEL_TIMEOUT, asked).await, Ok(Ok(_))) {
            tracing::debug!(server = %self.name, level, "an upstream did not take a log level");
        }
    }

    /// Sends a request of this gateway and gives the JSON-RPC response.
    pub(super) async fn ask(
        &self,
        map: http::HeaderMap,
        body: Bytes,
        max_bytes: u64,
    ) -> Result<Bytes, UpstreamError> {
        count(&self.stats.requests_total);
        let response = self.client.send(Outgoing::post(map, body, true)).await?;
        match answer::read(response, max_bytes).await? {
            Answer::Json(_, body) | Answer::Refused(_, Some(body)) => Ok(body),
            Answer::Events(_, body) => last(Events::new(body, max_bytes, true)).await,
            Answer::Accepted => {
                Err(UpstreamError::sent(Reason::UpstreamError, "The server gave no answer to a request."))
            }
            Answer::Refused(status, None) => Err(answer::refusal(status)),
        }
    }
}

/// Whether a refusal means that the session is unknown: 404 by the specification. Many servers say 400 with an error about the
/// session instead, which their handlers give before they look at the request.
fn forgets_session(status: StatusCode, error: Option<&[u8]>) -> bool {
    if status == StatusCode::NOT_FOUND {
        return true;
    }
    let Some(Ok(Message::Response { id, outcome: Err(error) })) =
        error.filter(|_| status == StatusCode::BAD_REQUEST).map(parse_upstream)
    else {
        return false;
    };
    let answers_request = id.is_some_and(|id| wire::own_id(id).is_some());
    let text = wire::text_member(Some(error), "message").unwrap_or_default().to_ascii_lowercase();
    !answers_request && text.contains("session")
}

/// The response at the end of a stream, everything before it left out.
pub(super) async fn last(mut events: Events) -> Result<Bytes, UpstreamError> {
    while let Some(data) = events.next().await? {
        if matches!(parse_upstream(data.as_bytes()), Ok(Message::Response { .. })) {
            return Ok(data.into());
        }
    }
    Err(UpstreamError::sent(Reason::UpstreamError, "The server's stream ended without an answer."))
}

/// Reads the response to `initialize`.
pub(in crate::upstream) fn introduction(response: &[u8]) -> Result<Introduction, &'static str> {
    let Ok(Message::Response { outcome, .. }) = parse_upstream(response) else {
        return Err("it gave no response");
    };
    let result = outcome.map_err(|_| "it answered with an error")?;
    let version = wire::text_member(Some(result), "protocolVersion").ok_or("it named no revision")?;
    let revision = Revision::parse(&version)
        .filter(|revision| revision.era() == Era::Legacy)
        .ok_or("it named a revision that has no handshake")?;
    let owned = |name| object::member(result, name).map(ToOwned::to_owned);
    Ok(Introduction {
        revision,
        capabilities: owned("capabilities").ok_or("it named no capabilities")?,
        server_info: owned("serverInfo"),
        instructions: wire::text_member(Some(result), "instructions").map(Into::into),
    })
}
