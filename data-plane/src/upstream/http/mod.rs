//! One server over Streamable HTTP, of either era.
//!
//! [`HttpLink`] knows how the server is spoken to and keeps what that needs; `legacy` and `modern` are the two ways to ask,
//! `listen` is what comes unasked. Below them: `client` sends, `answer` and `events` read, `connect` dials.

mod answer;
mod client;
mod connect;
mod events;
mod legacy;
mod legacy_stream;
mod listen;
mod modern;
mod session;
mod store;
mod tls;

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};

use bytes::Bytes;
use http::{HeaderValue, Uri};
use portcullis_mcp::{Era, Revision};
use portcullis_policy::Reason;
use portcullis_policy::resource::{Limits, Name, Uid};
use portcullis_policy::snapshot::ServerEntry;
use rustls::ClientConfig;
use serde_json::value::RawValue;

use self::client::HttpClient;
use self::session::session_headers;
use super::call::{Call, Caller, EventStream, Exchange, Listen, Mirrored, UpstreamSessionRef};
use super::era::{EraCell, Spoken};
use super::limits::Sent;
use super::stats::{UpstreamStats, count};
use super::{UpstreamConfig, UpstreamError, wire};
use crate::sync::SecretsHandle;

pub(super) use self::legacy::introduction;
pub(super) use self::listen::filter;
pub(super) use self::session::{HttpSession, Introduction};
pub(super) use self::store::{SessionKey, SessionStore};
pub(super) use self::tls::client_config;

/// How often one request may find out that the server is spoken to otherwise.
const MAX_TURNS: u32 = 3;

/// What all links share.
#[derive(Clone)]
pub(super) struct Shared {
    pub(super) tls: Option<Arc<ClientConfig>>,
    pub(super) sessions: Arc<SessionStore>,
    pub(super) secrets: SecretsHandle,
    pub(super) stats: Arc<UpstreamStats>,
}

/// One server, as it is reached now.
pub(super) struct HttpLink {
    number: u64,
    uid: Uid,
    name: Name,
    client: Arc<HttpClient>,
    era: EraCell,
    sessions: Arc<SessionStore>,
    next_id: AtomicU64,
    /// The server said that it has no GET stream.
    offers_no_stream: AtomicBool,
    stats: Arc<UpstreamStats>,
}

/// Where one attempt got to.
#[allow(clippy::large_enum_variant, reason = "one for each request, and never kept")]
enum Turn {
    /// It was answered.
    Done(Exchange),
    /// The server forgot the session; nothing was done.
    SessionOver,
    /// The server is spoken to otherwise; nothing was done.
    AskAgain,
}

impl HttpLink {
    /// A link that has not been used yet.
    pub(super) fn new(
        number: u64,
        entry: &ServerEntry,
        url: &str,
        config: &UpstreamConfig,
        shared: &Shared,
    ) -> Result<Self, UpstreamError> {
        let broken = |message: &str| UpstreamError::unsent(Reason::UpstreamUnavailable, message);
        let uri: Uri = url.parse().map_err(|_| broken("The server's URL cannot be read."))?;
        if uri.host().is_none() || !matches!(uri.scheme_str(), Some("http" | "https")) {
            return Err(broken("The server's URL is no absolute http or https URL."));
        }
        let tls = shared.tls.clone().ok_or_else(|| broken("TLS is not available on this data plane."))?;
        let client = HttpClient::new(
            uri,
            entry.hosting,
            tls,
            config.connect_timeout,
            entry.auth.clone(),
            shared.secrets.clone(),
            Arc::clone(&shared.stats),
        );
        Ok(Self {
            number,
            uid: entry.uid,
            name: entry.name.clone(),
            client: Arc::new(client),
            era: EraCell::new(entry.observed.as_ref().and_then(Spoken::assumed)),
            sessions: Arc::clone(&shared.sessions),
            next_id: AtomicU64::new(1),
            offers_no_stream: AtomicBool::new(false),
            stats: Arc::clone(&shared.stats),
        })
    }

    fn next_id(&self) -> u64 {
        self.next_id.fetch_add(1, Ordering::Relaxed)
    }

    fn key(&self, principal: Uid, client: Option<[u8; 16]>) -> SessionKey {
        SessionKey { link: self.number, principal, client }
    }

    /// The prober found something: an assumption from now on.
    pub(super) fn observed(&self, spoken: Spoken) {
        if self.era.known().map(Spoken::era) != Some(spoken.era()) {
            self.era.learn(spoken);
        }
    }

    async fn spoken(&self) -> Result<Spoken, UpstreamError> {
        self.era.get(|| async { Ok(self.discover().await?.0) }).await
    }

    /// How the server is spoken to for this caller: in the caller's own era where the server knows both, so that nothing has
    /// to be translated and the server's requests can pass.
    async fn spoken_for(&self, caller: &Caller) -> Result<Spoken, UpstreamError> {
        if let Some(known) = self.era.known().and_then(|spoken| self.suits(spoken, caller)) {
            return Ok(known);
        }
        // In a box: asking is rare, and large.
        Box::pin(self.find_out_for(caller)).await
    }

    async fn find_out_for(&self, caller: &Caller) -> Result<Spoken, UpstreamError> {
        let spoken = self.spoken().await?;
        if let Some(suiting) = self.suits(spoken, caller) {
            return Ok(suiting);
        }
        let takes = self.takes_handshake(spoken, caller).await;
        Ok(if takes { Spoken::Legacy } else { spoken })
    }

    /// Which of the server's ways suits a caller; none where a modern server was not asked yet for the caller's own.
    fn suits(&self, spoken: Spoken, caller: &Caller) -> Option<Spoken> {
        if caller.era == Era::Modern || spoken == Spoken::Legacy {
            return Some(spoken);
        }
        self.era.legacy_too().map(|takes| if takes { Spoken::Legacy } else { spoken })
    }

    /// Asks a modern server for a session of this caller. A refusal is kept; a server that did not answer is asked again.
    async fn takes_handshake(&self, spoken: Spoken, caller: &Caller) -> bool {
        let key = self.key(caller.principal, caller.client_session);
        let opened = self.sessions.obtain(key, || self.initialize(Some(caller))).await;
        // A refused handshake says nothing against what is known.
        self.era.learn(spoken);
        match opened {
            Ok(_) => self.era.learn_legacy_too(true),
            Err(error) if matches!(error.reason, Reason::UpstreamUnavailable | Reason::UpstreamTimeout) => {
                return false;
            }
            Err(_) => self.era.learn_legacy_too(false),
        }
        opened.is_ok()
    }

    /// One request of a caller.
    pub(super) async fn request(
        self: &Arc<Self>,
        call: &Call,
        mirrored: &Mirrored,
        limits: &Limits,
        sent: &Sent,
    ) -> Result<Exchange, UpstreamError> {
        count(&self.stats.requests_total);
        for turn in 0..MAX_TURNS {
            let certain = turn > 0;
            let turn = match self.spoken_for(&call.caller).await? {
                Spoken::Modern(revision) => {
                    self.modern_request(call, mirrored, (revision, certain), limits, sent).await?
                }
                Spoken::Legacy => Box::pin(self.legacy_request(call, limits, sent)).await?,
            };
            match turn {
                Turn::Done(exchange) => return Ok(exchange),
                Turn::AskAgain => sent.clear(),
                Turn::SessionOver => break,
            }
        }
        Err(UpstreamError::unsent(Reason::UpstreamError, "The server does not agree on how it is spoken to."))
    }

    /// A notification of a caller, if the server has a session of it. Modern servers take none.
    pub(super) async fn notify(&self, call: &Call) -> Result<(), UpstreamError> {
        let key = self.key(call.caller.principal, call.caller.client_session);
        let Some(session) = self.sessions.peek(&key) else { return Ok(()) };
        let params = wire::for_legacy(call.params.as_deref(), &call.caller)?;
        self.post_into(&session, wire::notification(&call.method, params.as_deref())).await
    }

    /// A client's answer to a request of the server, in a session that any plane may have opened.
    pub(super) async fn reply(
        &self,
        session: &UpstreamSessionRef,
        message: Bytes,
    ) -> Result<(), UpstreamError> {
        let unusable =
            || UpstreamError::unsent(Reason::MalformedRequest, "The session of this answer cannot be read.");
        let revision = Revision::parse(&session.protocol_version).ok_or_else(unusable)?;
        let id =
            session.session_id.as_deref().map(HeaderValue::from_str).transpose().map_err(|_| unusable())?;
        self.post(session_headers(id.as_ref(), revision, ""), message, None).await
    }

    /// What the server sends outside requests, for a caller.
    pub(super) async fn hear(self: &Arc<Self>, wanted: Listen) -> Result<EventStream, UpstreamError> {
        let caller = wanted.caller.clone();
        match (self.spoken_for(&caller).await?, caller.era) {
            (Spoken::Modern(revision), _) => self.listen_modern(revision, &wanted, Some(caller)).await,
            (Spoken::Legacy, Era::Legacy) => {
                let key = self.key(caller.principal, caller.client_session);
                let _arriving = self.sessions.arriving(key);
                let session = self.sessions.obtain(key, || self.initialize(Some(&caller))).await?;
                // Asked for on another plane, or of a session that the server forgot since.
                self.subscribe(&session, &wanted.resource_subscriptions).await;
                self.listen_legacy(session, &wanted).await
            }
            (Spoken::Legacy, Era::Modern) => {
                // A session of its own: a server has one such stream for each, and a modern caller may listen twice.
                let session = Arc::new(self.initialize(Some(&caller)).await?);
                self.subscribe(&session, &wanted.resource_subscriptions).await;
                self.listen_legacy(session, &wanted).await
            }
        }
    }

    async fn subscribe(&self, session: &HttpSession, uris: &[String]) {
        for uri in uris {
            if !session.takes_subscription(uri) {
                continue;
            }
            let params = wire::raw(format!(r#"{{"uri":{}}}"#, portcullis_mcp::object::quoted(uri)));
            let body = wire::request(self.next_id(), "resources/subscribe", params.as_deref());
            if let Err(error) = self.ask(session.headers("resources/subscribe"), body, 64 << 10).await {
                tracing::debug!(server = %self.name, %error, "an upstream did not take a subscription");
            }
        }
    }

    /// What the server sends outside requests, for the prober.
    pub(super) async fn hear_for_prober(
        self: &Arc<Self>,
        wanted: &Listen,
    ) -> Result<EventStream, UpstreamError> {
        match self.spoken().await? {
            Spoken::Modern(revision) => self.listen_modern(revision, wanted, None).await,
            Spoken::Legacy => {
                let session = Arc::new(self.initialize(None).await?);
                self.listen_legacy(session, wanted).await
            }
        }
    }

    /// Asks anew what the server is, for the prober.
    pub(super) async fn visit(&self) -> Result<HttpVisit, UpstreamError> {
        match self.discover().await? {
            (spoken @ Spoken::Modern(revision), response) => {
                self.era.learn(spoken);
                Ok(HttpVisit::Modern(revision, response.unwrap_or_default()))
            }
            (Spoken::Legacy, _) => {
                let session = self.initialize(None).await?;
                self.era.learn(Spoken::Legacy);
                Ok(HttpVisit::Legacy(Arc::new(session)))
            }
        }
    }

    /// A request of the prober.
    pub(super) async fn inquire(
        &self,
        visit: &HttpVisit,
        method: &'static str,
        params: Option<&RawValue>,
        max_bytes: u64,
    ) -> Result<Bytes, UpstreamError> {
        match visit {
            HttpVisit::Modern(revision, _) => self.modern_ask(*revision, method, params, max_bytes).await,
            HttpVisit::Legacy(session) => {
                self.ask(session.headers(method), wire::request(self.next_id(), method, params), max_bytes)
                    .await
            }
        }
    }

    /// Ends what it keeps open.
    pub(super) fn retire(&self) {
        // Dropped here; each ends by itself once nobody uses it any more.
        drop(self.sessions.take(|key| key.link == self.number));
    }
}

/// A visit of the prober.
pub(super) enum HttpVisit {
    /// Its revision and its response to `server/discover`; empty when that was an error.
    Modern(Revision, Bytes),
    /// A session for this visit only.
    Legacy(Arc<HttpSession>),
}

impl std::fmt::Debug for HttpLink {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("HttpLink")
            .field("name", &self.name)
            .field("number", &self.number)
            .finish_non_exhaustive()
    }
}
