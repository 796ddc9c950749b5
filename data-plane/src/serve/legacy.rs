//! Legacy callers (2025-03-26 to 2025-11-25): `initialize`, then requests that may name its session.
//!
//! A client that never returns its session id is served too. A disconnect is no cancellation: a call goes on without its
//! connection, and can be resumed where it was streaming.

use std::sync::Arc;

use bytes::Bytes;
use http::{HeaderValue, StatusCode};
use portcullis_mcp::headers::SESSION_ID;
use portcullis_mcp::{
    Era, LEGACY_OFFERED, Message, Method, Params, Revision, handshake, message, object, respond,
};
use serde_json::value::RawValue;

use super::Gateway;
use super::admit::Entered;
use super::answer::{self, HttpAnswer};
use super::post::{unknown_method, version_header};
use super::session::Session;
use crate::lists::Offer;
use crate::pipeline::{
    Admitted, Answered, Client, Refused, Request, Trace, Undeliverable, empty_object, is_log_level,
};
use crate::sync::{Signal, Wish};

/// What the record of a refused answer names: it has no method of its own.
const POST: &str = "POST";

impl Gateway {
    /// Answers one message of a legacy caller.
    pub(super) async fn legacy(&self, entered: &Entered, bytes: &Bytes, message: Message<'_>) -> HttpAnswer {
        let id = match &message {
            Message::Request { id, method, params } if method == "initialize" => {
                return self.initialize(entered, bytes.len(), id, params);
            }
            Message::Request { id, .. } => Some(*id),
            _ => None,
        };
        let refused = || {
            let refused = entered.refused(&http::Method::POST).sized(bytes.len()).in_era(Era::Legacy);
            match &message {
                Message::Request { method, .. } | Message::Notification { method, .. } => {
                    refused.named(method)
                }
                Message::Response { .. } => refused,
            }
        };
        let session = match self.session(entered) {
            Ok(session) => session,
            Err(status) => return self.malformed(&refused(), answer::of(respond::status(status, id))),
        };
        let version = match version_of(entered, session.as_ref()) {
            Ok(version) => version,
            Err(asked) => {
                let answer = respond::unsupported_version(Era::Legacy, id, asked);
                return self.malformed(&refused(), answer::of(answer));
            }
        };
        let admitted = entered.admitted(bytes.len(), Era::Legacy, info_of(session.as_ref()));
        match message {
            Message::Request { id, method, params } => {
                let client = Arc::new(self.client_of(&admitted, version, session.as_ref(), Some(&params)));
                self.legacy_request(admitted, client, id, &method, &params).await
            }
            Message::Notification { method, params } => {
                let client = Arc::new(self.client_of(&admitted, version, session.as_ref(), Some(&params)));
                self.told(&admitted, &client, &method, &params).await;
                answer::empty(StatusCode::ACCEPTED)
            }
            Message::Response { id, .. } => {
                let client = self.client_of(&admitted, version, session.as_ref(), None);
                self.replied(&admitted, &client, id, bytes).await
            }
        }
    }

    /// The session that a request names. None is fine; one that is forged, another's, deleted or over is a 404.
    pub(super) fn session(&self, entered: &Entered) -> Result<Option<Session>, StatusCode> {
        let mut values = entered.headers.get_all(SESSION_ID).iter();
        let token = match (values.next(), values.next()) {
            (None, _) => return Ok(None),
            (Some(value), None) => value.to_str().map_err(|_| StatusCode::NOT_FOUND)?,
            (Some(_), Some(_)) => return Err(StatusCode::BAD_REQUEST),
        };
        let secrets = self.pipeline().secrets().load();
        let principal = entered.caller.principal.key_uid;
        let endpoint = entered.view.endpoint().to_string();
        let session = Session::open(&secrets.sealer, principal, &endpoint, token, entered.arrival.unix_ms);
        match session {
            Some(session) if !self.0.tombstones.holds(&session.id) => Ok(Some(session)),
            _ => Err(StatusCode::NOT_FOUND),
        }
    }

    pub(super) fn client_of(
        &self,
        admitted: &Admitted,
        version: &str,
        session: Option<&Session>,
        params: Option<&Params<'_>>,
    ) -> Client {
        let wishes = session.and_then(|session| self.0.wishes.get(&session.id));
        let trace = match (&admitted.trace, params) {
            (Trace { parent: None, .. }, Some(params)) => {
                Trace::new(params.meta.traceparent.as_deref(), params.meta.tracestate.as_deref())
            }
            (trace, _) => trace.clone(),
        };
        Client {
            era: Era::Legacy,
            version: version.to_owned(),
            session: session.map(|session| session.id),
            info: session.and_then(|session| session.info.clone()),
            capabilities: session.map_or_else(empty_object, |session| session.capabilities.clone()),
            log_level: wishes.and_then(|wishes| wishes.log_level.clone()),
            trace,
            says_so: false,
        }
    }

    fn initialize(&self, entered: &Entered, bytes: usize, id: &RawValue, params: &Params<'_>) -> HttpAnswer {
        let member = |name| params.raw.and_then(|raw| object::member(raw, name));
        let Some(asked) = member("protocolVersion").and_then(object::string) else {
            let answer = respond::invalid_params(Some(id), "initialize needs params.protocolVersion", false);
            let refused = entered.refused(&http::Method::POST).named("initialize").sized(bytes);
            return self.malformed(&refused.in_era(Era::Legacy), answer::of(answer));
        };
        let revision = Revision::negotiate_legacy(&asked);
        let (info, capabilities) = (member("clientInfo"), member("capabilities"));
        let admitted = entered.admitted(bytes, Era::Legacy, info);
        let endpoint = admitted.view.endpoint().to_string();
        let session =
            Session::begin(endpoint, revision.as_str(), info, capabilities, entered.arrival.unix_ms);
        let secrets = self.pipeline().secrets().load();
        let token = session.and_then(|session| session.seal(&secrets.sealer, admitted.principal.key_uid));
        let offer = Offer::of(&admitted.view);
        let result = handshake::initialize_result(
            revision,
            &offer.capabilities(),
            &offer.server_info,
            offer.instructions.as_deref(),
        );
        let body = message::result(id, &result);
        let mut response = answer::json(StatusCode::OK, super::Body::whole(body.into()));
        // Without a key to seal with there is no session, and the client is served without one.
        if let Some(value) = token.and_then(|token| HeaderValue::from_str(&token).ok()) {
            response.headers_mut().insert(SESSION_ID, value);
            self.metrics().sessions_opened.fetch_add(1, std::sync::atomic::Ordering::Relaxed);
        }
        response
    }

    async fn legacy_request(
        &self,
        admitted: Arc<Admitted>,
        client: Arc<Client>,
        id: &RawValue,
        name: &str,
        params: &Params<'_>,
    ) -> HttpAnswer {
        let known =
            Method::parse(name).filter(|method| method.known_in(Era::Legacy) && !method.is_notification());
        let Some(method) = known.filter(|method| {
            matches!(method, Method::ToolsCall | Method::ToolsList | Method::Ping)
                || Offer::of(&admitted.view).allows(*method)
        }) else {
            let refused = Refused::of(&admitted, Era::Legacy, name);
            return self.malformed(&refused, unknown_method(Era::Legacy, id, name));
        };
        let request = Request::new(method, id, params);
        match method {
            Method::Ping => {
                answer::json(StatusCode::OK, super::Body::whole(message::result(id, "{}").into()))
            }
            Method::ToolsList | Method::PromptsList => self.definitions(&admitted, &client, &request),
            Method::ResourcesList | Method::ResourcesTemplatesList => {
                answer::of(self.pipeline().list(admitted, client, request).await)
            }
            Method::LoggingSetLevel => self.set_level(admitted, client, request, params).await,
            Method::ResourcesSubscribe | Method::ResourcesUnsubscribe => {
                self.subscribe(admitted, client, request).await
            }
            _ => self.resumable_call(admitted, client, request).await,
        }
    }

    async fn set_level(
        &self,
        admitted: Arc<Admitted>,
        client: Arc<Client>,
        request: Request,
        params: &Params<'_>,
    ) -> HttpAnswer {
        let level = params.raw.and_then(|raw| object::member(raw, "level")).and_then(object::string);
        let Some(level) = level.filter(|level| is_log_level(level)) else {
            let answer = respond::invalid_params(Some(&request.id), "Unknown log level", false);
            let refused = Refused::of(&admitted, Era::Legacy, request.method.as_str());
            return self.malformed(&refused, answer::of(answer));
        };
        self.wish(client.session, Wish::LogLevel(level.clone().into_owned()));
        answer::of(self.pipeline().set_level(admitted, client, request).await)
    }

    async fn subscribe(&self, admitted: Arc<Admitted>, client: Arc<Client>, request: Request) -> HttpAnswer {
        let (method, session) = (request.method, client.session);
        let Some(uri) = request.uri.clone() else {
            return self.resumable_call(admitted, client, request).await;
        };
        let server = self.pipeline().server_of(&admitted, &client, &uri).await;
        let answered =
            self.pipeline().call(admitted, client, request, crate::pipeline::Carried::default()).await;
        let Answered::Reply(reply) = answered else { return super::post::direct(answered) };
        let accepted = matches!(
            portcullis_mcp::parse_upstream(&reply.body),
            Ok(Message::Response { outcome: Ok(_), .. })
        );
        if let (true, Some(server)) = (accepted, server) {
            let wish = match method {
                Method::ResourcesUnsubscribe => Wish::Unsubscribed(uri),
                _ => Wish::Subscribed { uri, server },
            };
            self.wish(session, wish);
        }
        answer::of(reply)
    }

    /// Remembers what a session wishes, here and on every sibling.
    fn wish(&self, session: Option<[u8; 16]>, wish: Wish) {
        let Some(session) = session else { return };
        self.0.wished(session, wish.clone());
        self.0.signals.send(Signal::SessionWished { session, wish });
    }

    async fn told(&self, admitted: &Arc<Admitted>, client: &Arc<Client>, name: &str, params: &Params<'_>) {
        match Method::parse(name) {
            Some(Method::NotificationsCancelled) => self.cancel(client, params),
            Some(method @ Method::NotificationsRootsListChanged) => {
                self.pipeline().notify(admitted, client, method, params.raw).await;
            }
            // The token of a progress notification belongs to one server's request: only where there is one server.
            Some(method @ Method::NotificationsProgress)
                if matches!(admitted.view.endpoint(), portcullis_policy::Endpoint::Server(_)) =>
            {
                self.pipeline().notify(admitted, client, method, params.raw).await;
            }
            _ => {}
        }
    }

    fn cancel(&self, client: &Client, params: &Params<'_>) {
        // Without a session an id may be anybody's.
        let Some(session) = client.session else { return };
        let Some(id) = params.raw.and_then(|raw| object::member(raw, "requestId")) else { return };
        if self.0.in_flight.cancel(&session, id.get()) || id.get().len() > 256 {
            return;
        }
        let reason = params.raw.and_then(|raw| object::member(raw, "reason")).and_then(object::string);
        self.0.signals.send(Signal::RequestCancelled {
            session,
            request_id_json: Bytes::copy_from_slice(id.get().as_bytes()),
            reason: reason.map(|reason| reason.chars().take(256).collect()).unwrap_or_default(),
        });
    }

    async fn replied(
        &self,
        admitted: &Admitted,
        client: &Client,
        id: Option<&RawValue>,
        bytes: &Bytes,
    ) -> HttpAnswer {
        match self.pipeline().reply(admitted, client, id, bytes).await {
            Ok(()) => answer::empty(StatusCode::ACCEPTED),
            Err(Undeliverable::Unknown) => {
                let refused = Refused::of(admitted, Era::Legacy, POST);
                let answer = respond::bad_request(None, "No request of this id waits for an answer");
                self.malformed(&refused, answer::of(answer))
            }
            Err(Undeliverable::Denied(denial)) => {
                self.metrics().denied(denial.reason);
                self.pipeline().note_denied(&Refused::of(admitted, Era::Legacy, POST), &denial);
                answer::of(respond::bad_request(None, "No request of this id waits for an answer"))
            }
            Err(Undeliverable::Upstream(error)) => {
                self.metrics().denied(error.reason);
                tracing::debug!(%error, "an answer did not reach the server that asked");
                // The client did its part; the call that waits for the server ends with its own error.
                answer::empty(StatusCode::ACCEPTED)
            }
        }
    }
}

/// What the program of a session said of itself when it began. Without a session nobody said anything.
pub(super) fn info_of(session: Option<&Session>) -> Option<&RawValue> {
    session.and_then(|session| session.info.as_deref())
}

/// The revision of a request: what its session agreed on, else its header, else the last one without that header.
pub(super) fn version_of<'a>(entered: &'a Entered, session: Option<&'a Session>) -> Result<&'a str, &'a str> {
    let header = version_header(entered);
    if let Some(asked) = header
        && !LEGACY_OFFERED.iter().any(|revision| revision.as_str() == asked)
    {
        return Err(asked);
    }
    let agreed = session.map(|session| session.version.as_str());
    Ok(agreed.or(header).unwrap_or(Revision::V2025_03_26.as_str()))
}
