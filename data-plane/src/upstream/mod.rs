//! Upstreams: the only way out of a data plane.
//!
//! It takes a [`Permitted`] call, finds out which era the server speaks, keeps the sessions and children that this needs,
//! holds the server's limits, and gives back what the server said, byte for byte. It does not decide, does not translate
//! results, and never sees a caller's credential.
//!
//! `registry` finds the link of a server, `link` is one server as it is reached now, `http` and `stdio` are the two ways,
//! `wire` writes the messages, `inquiry` is what the prober may ask without a permit.

mod auth;
mod backoff;
mod call;
mod config;
mod era;
mod error;
mod http;
mod inquiry;
mod limits;
mod link;
mod registry;
mod stats;
mod stdio;
mod wire;

use std::sync::{Arc, Weak};
use std::time::Duration;

use portcullis_policy::decide::Permit;
use portcullis_policy::resource::{Limits, Uid};
use portcullis_policy::{Carried, Permitted, Reason, Snapshot};

pub use call::{Call, Caller, Event, EventStream, Exchange, ExchangeBody, Listen, Reply, UpstreamSessionRef};
pub use config::UpstreamConfig;
pub use error::UpstreamError;
pub use stats::UpstreamStats;

pub(crate) use backoff::{Backoff, spread};
pub(crate) use call::mirrored_in;
pub(crate) use inquiry::{List, Offer, Visit};

use self::call::Mirrored;
use self::http::{SessionStore, Shared};
use self::limits::{Sent, timed_out};
use self::link::{Link, Way};
use self::registry::{Registry, Slot};
use crate::sync::SecretsHandle;

/// Streams of one server that may be listened to at once on one plane.
const MAX_STREAMS: u32 = 1024;
/// How long the end of everything may take.
const SHUTDOWN: Duration = Duration::from_secs(5);

/// All upstreams of a data plane. Clones share everything.
#[derive(Debug, Clone)]
pub struct Upstreams {
    inner: Arc<Inner>,
}

#[derive(Debug)]
struct Inner {
    registry: Registry,
    sessions: Arc<SessionStore>,
    stats: Arc<UpstreamStats>,
}

impl Upstreams {
    /// Upstreams with nothing open yet. Must be called inside a tokio runtime.
    #[must_use]
    pub fn new(config: UpstreamConfig, secrets: SecretsHandle) -> Self {
        let stats = Arc::<UpstreamStats>::default();
        let sessions = Arc::new(SessionStore::new(config.max_sessions, Arc::clone(&stats)));
        let shared = Shared {
            tls: http::client_config(&config.extra_roots),
            sessions: Arc::clone(&sessions),
            secrets,
            stats: Arc::clone(&stats),
        };
        tokio::spawn(sweep(Arc::downgrade(&sessions), config.session_idle));
        Self { inner: Arc::new(Inner { registry: Registry::new(config, shared), sessions, stats }) }
    }

    /// Counters for `/metrics`.
    #[must_use]
    pub fn stats(&self) -> Arc<UpstreamStats> {
        Arc::clone(&self.inner.stats)
    }

    /// Sends a request and gives what comes back.
    ///
    /// # Errors
    /// When the server could not be reached, failed, took too long or said too much, or the request is more than it takes.
    pub async fn request(&self, call: Permitted<Call>) -> Result<Exchange, UpstreamError> {
        let (permit, call) = call.into_parts();
        let limits = &permit.server().entry.limits;
        let (slot, link) = self.find(&permit)?;
        check_size(&call, limits)?;
        let place = slot.calls.enter(limits.concurrency).ok_or_else(|| {
            let message =
                format!("The server takes no more than {} calls at once; try again.", limits.concurrency);
            UpstreamError::unsent(Reason::ConcurrencyExceeded, message)
        })?;
        slot.used_unix_ms.fetch_max(now_unix_ms(), std::sync::atomic::Ordering::Relaxed);
        let mirrored = Mirrored::of(permit.target());
        let sent = Sent::default();
        let answered = tokio::time::timeout(limits.timeout.0, async {
            match link.way()? {
                Way::Http(link) => link.request(&call, &mirrored, limits, &sent).await,
                Way::Stdio(link) => link.request(&call, limits, &sent).await,
                Way::Unusable(error) => Err(error.clone()),
            }
        });
        let answered = answered.await.unwrap_or_else(|_| Err(timed_out(limits.timeout.0, sent.get())));
        match answered {
            Ok(exchange) => Ok(exchange.holding(place)),
            Err(error) => Err(UpstreamError { untouched: sent.never_written(), ..error }),
        }
    }

    /// Sends a client's notification, where the upstream has a session that wants it.
    ///
    /// # Errors
    /// As for [`Self::request`].
    pub async fn notify(&self, note: Permitted<Call>) -> Result<(), UpstreamError> {
        let (permit, note) = note.into_parts();
        let limits = &permit.server().entry.limits;
        let (_, link) = self.find(&permit)?;
        check_size(&note, limits)?;
        // A child is shared: what one client says of itself is nothing to it.
        let Way::Http(link) = link.way()? else { return Ok(()) };
        let told = tokio::time::timeout(limits.timeout.0, link.notify(&note));
        told.await.map_err(|_| timed_out(limits.timeout.0, true))?
    }

    /// Sends a client's answer to a request of a legacy server. Works on any plane.
    ///
    /// # Errors
    /// As for [`Self::request`].
    pub async fn reply(&self, reply: Permitted<Reply>) -> Result<(), UpstreamError> {
        let (permit, reply) = reply.into_parts();
        let entry = &permit.server().entry;
        let nowhere = |message| UpstreamError::unsent(Reason::MalformedRequest, message);
        if reply.session.server != entry.uid {
            return Err(nowhere("The answer belongs to another server."));
        }
        let (_, link) = self.find(&permit)?;
        if over(reply.message.len(), entry.limits.max_request_bytes.0) {
            return Err(too_long(&entry.limits));
        }
        let Way::Http(link) = link.way()? else {
            return Err(nowhere("The server asks nothing of its clients."));
        };
        let told = tokio::time::timeout(entry.limits.timeout.0, link.reply(&reply.session, reply.message));
        told.await.map_err(|_| timed_out(entry.limits.timeout.0, true))?
    }

    /// Opens the stream of what a server sends outside requests. It is opened again by itself when it breaks; after a gap
    /// that could not be bridged it says that the wanted lists changed.
    ///
    /// # Errors
    /// As for [`Self::request`]. A server that offers no such stream is no error: its stream stays silent.
    pub async fn listen(&self, permit: Permitted<Listen>) -> Result<EventStream, UpstreamError> {
        let (permit, listen) = permit.into_parts();
        let timeout = permit.server().entry.limits.timeout.0;
        let (slot, link) = self.find(&permit)?;
        let place = slot.streams.enter(MAX_STREAMS).ok_or_else(|| {
            UpstreamError::unsent(
                Reason::Overloaded,
                "Too many clients listen to the server on this data plane.",
            )
        })?;
        let opened = tokio::time::timeout(timeout, async {
            match link.way()? {
                Way::Http(link) => link.hear(listen).await,
                Way::Stdio(link) => link.hear(listen, true).await,
                Way::Unusable(error) => Err(error.clone()),
            }
        });
        Ok(opened.await.map_err(|_| timed_out(timeout, false))??.holding(place))
    }

    /// Ends the upstream sessions of a caller's session.
    pub async fn end_session(&self, principal: Uid, client_session: [u8; 16]) {
        let taken =
            self.inner.sessions.take(|key| key.principal == principal && key.client == Some(client_session));
        futures_util::future::join_all(taken.iter().map(|session| session.end())).await;
        for link in self.inner.registry.links() {
            link.left(principal, client_session).await;
        }
    }

    /// The same for a session that ended on another plane, which tells its id and not whose it was. Session ids are random.
    pub async fn end_client_session(&self, client_session: [u8; 16]) {
        let taken = self.inner.sessions.take(|key| key.client == Some(client_session));
        futures_util::future::join_all(taken.iter().map(|session| session.end())).await;
        for link in self.inner.registry.links() {
            link.left_session(client_session).await;
        }
    }

    /// After a swap: ends what belongs to servers that are gone or are reached otherwise now. Cheap where nothing changed.
    pub fn retain(&self, snapshot: &Snapshot) {
        self.inner.registry.retain(snapshot);
    }

    /// When each server was called last by a caller, milliseconds since the Unix epoch. Probes do not count.
    #[must_use]
    pub fn last_use(&self) -> Vec<(Uid, u64)> {
        self.inner.registry.last_use()
    }

    /// Ends all children and sessions, within a bounded time.
    pub async fn shutdown(&self) {
        let sessions = self.inner.sessions.take(|_| true);
        self.inner.registry.clear();
        let ended = async {
            futures_util::future::join_all(sessions.iter().map(|session| session.end())).await;
            while self.inner.stats.children_running.load(std::sync::atomic::Ordering::Relaxed) > 0 {
                tokio::time::sleep(Duration::from_millis(10)).await;
            }
        };
        if tokio::time::timeout(SHUTDOWN, ended).await.is_err() {
            tracing::warn!("some upstream sessions or children did not end in time");
        }
    }

    fn find(&self, permit: &Permit) -> Result<(Arc<Slot>, Arc<Link>), UpstreamError> {
        self.inner.registry.find(&permit.server().entry, permit.snapshot())
    }
}

/// What a modern upstream wants mirrored into headers.
fn check_size(call: &Call, limits: &Limits) -> Result<(), UpstreamError> {
    let params = call.params.as_deref();
    let length = params.map_or(0, |params| params.get().len());
    // What is carried is a part of the parameters: most need not be measured.
    if !over(length, limits.max_request_bytes.0) || Carried::of_params(params).fits(limits) {
        return Ok(());
    }
    Err(too_long(limits))
}

fn over(length: usize, max_bytes: u64) -> bool {
    u64::try_from(length).is_ok_and(|length| length > max_bytes)
}

fn too_long(limits: &Limits) -> UpstreamError {
    let message =
        format!("The request is larger than the {} that the server takes.", limits.max_request_bytes);
    UpstreamError::unsent(Reason::ArgumentsInvalid, message)
}

fn now_unix_ms() -> u64 {
    let since = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH).unwrap_or_default();
    u64::try_from(since.as_millis()).unwrap_or(u64::MAX)
}

/// Lets go of idle sessions for as long as there is somebody to have them.
async fn sweep(sessions: Weak<SessionStore>, idle: Duration) {
    let pause = (idle / 4).clamp(Duration::from_millis(50), Duration::from_secs(30));
    loop {
        tokio::time::sleep(pause).await;
        match sessions.upgrade() {
            Some(sessions) => sessions.sweep(idle),
            None => return,
        }
    }
}
