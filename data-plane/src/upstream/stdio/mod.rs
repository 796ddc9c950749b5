//! One server as children of this data plane, of either era.
//!
//! Children are shared between principals: they are offered nothing that they would ask a client for, and what they say
//! reaches only those whom it concerns.

mod child;
mod frame;
mod listen;
mod listeners;
mod pool;
mod process;
mod start;

use std::collections::BTreeSet;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use futures_util::Stream;
use portcullis_mcp::{Era, Message, object, parse_upstream};
use portcullis_policy::Reason;
use portcullis_policy::resource::{Limits, Name, Stdio, Uid};
use portcullis_policy::snapshot::ServerEntry;
use serde_json::value::RawValue;
use tokio::time::Instant;

use self::child::{Child, Next, Pending, exited, too_large};
use self::listeners::Owner;
use self::pool::Pool;
use super::call::{Call, Event, EventStream, Exchange, ExchangeBody, Listen};
use super::era::Spoken;
use super::limits::{Sent, timed_out};
use super::stats::{UpstreamStats, count};
use super::{UpstreamConfig, UpstreamError, wire};

pub(super) use self::start::Greeting;

/// How long small requests beside a call may take.
const SIDE_TIMEOUT: Duration = Duration::from_secs(5);

/// One server, as its children are started now.
pub(super) struct StdioLink {
    name: Name,
    allowed: bool,
    pool: Arc<Pool>,
    stats: Arc<UpstreamStats>,
}

impl std::fmt::Debug for StdioLink {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("StdioLink").field("name", &self.name).finish_non_exhaustive()
    }
}

impl StdioLink {
    /// A link whose children are started when they are needed.
    pub(super) fn new(
        entry: &ServerEntry,
        spec: &Stdio,
        config: &UpstreamConfig,
        stats: &Arc<UpstreamStats>,
    ) -> Self {
        let assumed = entry.observed.as_ref().and_then(Spoken::assumed);
        let pool = Pool::new(entry.name.clone(), spec.clone(), config, assumed, Arc::clone(stats));
        pool.make_room(entry.limits.max_response_bytes.0);
        Self {
            name: entry.name.clone(),
            allowed: config.allow_stdio,
            pool: Arc::new(pool),
            stats: Arc::clone(stats),
        }
    }

    fn check_allowed(&self) -> Result<(), UpstreamError> {
        let message = "This data plane does not start local servers: it runs without --allow-stdio.";
        self.allowed.then_some(()).ok_or_else(|| UpstreamError::unsent(Reason::UpstreamUnavailable, message))
    }

    /// Whether a child runs now.
    pub(super) fn is_running(&self) -> bool {
        !self.pool.running().is_empty()
    }

    /// One request of a caller.
    pub(super) async fn request(
        &self,
        call: &Call,
        limits: &Limits,
        sent: &Sent,
    ) -> Result<Exchange, UpstreamError> {
        self.check_allowed()?;
        count(&self.stats.requests_total);
        self.pool.make_room(limits.max_response_bytes.0);
        let subscription = matches!(&*call.method, "resources/subscribe" | "resources/unsubscribe");
        let child = self.pool.child(subscription).await?;
        let greeting = child.greeting().ok_or_else(|| exited(false))?;
        let (spoken, revision) = (greeting.spoken, greeting.revision());
        let owner = (call.caller.principal, call.caller.client_session);
        if let (Spoken::Legacy, Some(level)) = (spoken, call.caller.log_level.as_deref()) {
            set_level(&child, call.caller.principal, level).await;
        }
        let body = if subscription && spoken == Spoken::Legacy {
            ExchangeBody::Json(self.subscription(&child, call, owner, limits, sent).await?)
        } else {
            let pending = begin(&child, call, owner, spoken, sent).await?;
            first(pending, call, spoken, limits).await?
        };
        Ok(Exchange {
            era: spoken.era(),
            protocol_version: revision.as_str().to_owned(),
            http_status: None,
            session: None,
            body,
        })
    }

    /// `resources/subscribe` and `resources/unsubscribe`: the child has one subscription for all who want a resource.
    async fn subscription(
        &self,
        child: &Arc<Child>,
        call: &Call,
        owner: Owner,
        limits: &Limits,
        sent: &Sent,
    ) -> Result<Bytes, UpstreamError> {
        let missing = || UpstreamError::unsent(Reason::MalformedRequest, "The request names no resource.");
        let uri = wire::text_member(call.params.as_deref(), "uri").ok_or_else(missing)?.into_owned();
        let ends = call.method == "resources/unsubscribe";
        if ends && !self.pool.listeners.unsubscribed(owner, &uri) {
            return Ok(Bytes::from_static(br#"{"jsonrpc":"2.0","id":0,"result":{}}"#));
        }
        if !ends {
            self.pool.listeners.subscribed(owner, &uri)?;
        }
        let asked = async {
            let response = begin(child, call, owner, Spoken::Legacy, sent).await?.response().await?;
            within(response, limits)
        };
        let response = asked.await;
        let taken = matches!(
            response.as_deref().map(parse_upstream),
            Ok(Ok(Message::Response { outcome: Ok(_), .. }))
        );
        if !ends && !taken {
            self.pool.listeners.unsubscribed(owner, &uri);
        }
        response
    }

    /// The caller's session ended: its subscriptions end.
    pub(super) async fn left(&self, principal: Uid, client_session: Option<[u8; 16]>) {
        self.unwanted(self.pool.listeners.left((principal, client_session))).await;
    }

    /// A session ended, whoever's it was.
    pub(super) async fn left_session(&self, client_session: [u8; 16]) {
        for owner in self.pool.listeners.owners_of(client_session) {
            self.unwanted(self.pool.listeners.left(owner)).await;
        }
    }

    async fn unwanted(&self, uris: Vec<String>) {
        if uris.is_empty() {
            return;
        }
        if let Some(child) = self.pool.running().first() {
            unsubscribe(child, uris).await;
        }
    }

    /// What the children say by themselves, for a caller or, without one, for the prober.
    pub(super) async fn hear(&self, wanted: Listen, for_caller: bool) -> Result<EventStream, UpstreamError> {
        self.check_allowed()?;
        let stream = listen::Listening::open(Arc::clone(&self.pool), wanted, for_caller).await?;
        Ok(EventStream::new(stream.into_stream()))
    }

    /// A child for a visit of the prober.
    pub(super) async fn visit(&self) -> Result<StdioVisit, UpstreamError> {
        self.check_allowed()?;
        let child = self.pool.child(false).await?;
        let spoken = child.greeting().ok_or_else(|| exited(false))?.spoken;
        // A modern child is asked anew; a legacy one says what it is only once.
        let discovery = match spoken {
            Spoken::Modern(_) => ask(&child, spoken, "server/discover", None).await?,
            Spoken::Legacy => Bytes::new(),
        };
        Ok(StdioVisit { child, spoken, discovery })
    }

    /// A request of the prober.
    pub(super) async fn inquire(
        &self,
        visit: &StdioVisit,
        method: &'static str,
        params: Option<&RawValue>,
    ) -> Result<Bytes, UpstreamError> {
        ask(&visit.child, visit.spoken, method, params).await
    }

    /// Ends the children.
    pub(super) fn retire(&self) {
        self.pool.stop();
    }
}

impl Drop for StdioLink {
    fn drop(&mut self) {
        self.pool.stop();
    }
}

/// A visit of the prober.
pub(super) struct StdioVisit {
    child: Arc<Child>,
    pub(super) spoken: Spoken,
    /// The response to `server/discover` of a modern child.
    pub(super) discovery: Bytes,
}

impl StdioVisit {
    pub(super) fn greeting(&self) -> Option<&Greeting> {
        self.child.greeting()
    }
}

async fn begin(
    child: &Arc<Child>,
    call: &Call,
    owner: Owner,
    spoken: Spoken,
    sent: &Sent,
) -> Result<Pending, UpstreamError> {
    let params = match spoken {
        Spoken::Modern(revision) => Some(wire::of_call(call, revision)?),
        Spoken::Legacy => wire::for_legacy(call.params.as_deref(), &call.caller)?,
    };
    sent.by(child.begin(&call.method, Some(owner), |id| wire::swap_progress_token(params, id))).await
}

/// A request of this gateway itself.
async fn ask(
    child: &Arc<Child>,
    spoken: Spoken,
    method: &str,
    params: Option<&RawValue>,
) -> Result<Bytes, UpstreamError> {
    let params = match spoken {
        Spoken::Modern(revision) => Some(std::borrow::Cow::Owned(wire::own_for_modern(params, revision)?)),
        Spoken::Legacy => params.map(std::borrow::Cow::Borrowed),
    };
    child.begin(method, None, |_| Ok((params, None))).await?.response().await
}

/// Waits for the first thing that comes: the response alone, or the start of a stream.
async fn first(
    mut pending: Pending,
    call: &Call,
    spoken: Spoken,
    limits: &Limits,
) -> Result<ExchangeBody, UpstreamError> {
    // What a modern caller did not ask for in this request it does not hear.
    let drops_logs =
        spoken == Spoken::Legacy && call.caller.era == Era::Modern && call.caller.log_level.is_none();
    loop {
        match pending.next().await? {
            Next::Done(response) => return within(response, limits).map(ExchangeBody::Json),
            Next::Note(json) if drops_logs && is_log(&json) => {}
            Next::Note(json) => {
                let stream = StdioStream {
                    pending,
                    ready: Some(json),
                    drops_logs,
                    timeout: limits.timeout.0,
                    left: limits.max_response_bytes.0,
                    max_bytes: limits.max_response_bytes.0,
                };
                return Ok(ExchangeBody::Stream(EventStream::new(stream.into_stream())));
            }
        }
    }
}

fn is_log(json: &[u8]) -> bool {
    matches!(parse_upstream(json), Ok(Message::Notification { method, .. }) if method == "notifications/message")
}

fn within(response: Bytes, limits: &Limits) -> Result<Bytes, UpstreamError> {
    let max = usize::try_from(limits.max_response_bytes.0).unwrap_or(usize::MAX);
    if response.len() > max { Err(too_large(max)) } else { Ok(response) }
}

/// The stream of one call. Letting go of it cancels the call.
struct StdioStream {
    pending: Pending,
    ready: Option<Bytes>,
    drops_logs: bool,
    timeout: Duration,
    left: u64,
    max_bytes: u64,
}

impl StdioStream {
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
        let deadline = Instant::now() + self.timeout;
        loop {
            let next = match self.ready.take() {
                Some(json) => Next::Note(json),
                None => tokio::time::timeout_at(deadline, self.pending.next())
                    .await
                    .map_err(|_| timed_out(self.timeout, true))??,
            };
            let (Next::Note(json) | Next::Done(json)) = &next;
            let length = u64::try_from(json.len()).unwrap_or(u64::MAX);
            let max = usize::try_from(self.max_bytes).unwrap_or(usize::MAX);
            self.left = self.left.checked_sub(length).ok_or_else(|| too_large(max))?;
            match next {
                Next::Note(json) if self.drops_logs && is_log(&json) => {}
                Next::Note(json) => return Ok(Event::Notification { json }),
                Next::Done(json) => return Ok(Event::Response { json }),
            }
        }
    }
}

async fn set_level(child: &Arc<Child>, principal: Uid, level: &str) {
    if !child.takes_level(principal, level) {
        return;
    }
    let params = wire::raw(format!(r#"{{"level":{}}}"#, object::quoted(level)));
    let asked = ask(child, Spoken::Legacy, "logging/setLevel", params.as_deref());
    if !matches!(tokio::time::timeout(SIDE_TIMEOUT, asked).await, Ok(Ok(_))) {
        tracing::debug!(server = %child.name, level, "a child did not take a log level");
    }
}

/// Subscribes to resources in a legacy child.
async fn subscribe(child: &Arc<Child>, uris: BTreeSet<String>) {
    for uri in uris {
        side_request(child, "resources/subscribe", &uri).await;
    }
}

/// Ends subscriptions in a legacy child.
async fn unsubscribe(child: &Arc<Child>, uris: Vec<String>) {
    for uri in uris {
        side_request(child, "resources/unsubscribe", &uri).await;
    }
}

async fn side_request(child: &Arc<Child>, method: &'static str, uri: &str) {
    let params = wire::raw(format!(r#"{{"uri":{}}}"#, object::quoted(uri)));
    let asked = ask(child, Spoken::Legacy, method, params.as_deref());
    if !matches!(tokio::time::timeout(SIDE_TIMEOUT, asked).await, Ok(Ok(_))) {
        tracing::debug!(server = %child.name, method, "a child did not take a subscription");
    }
}
