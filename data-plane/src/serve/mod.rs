//! The door for callers: HTTP and the two eras of MCP. What is asked for is decided and done by `pipeline`.
//!
//! Order of judgement: `Origin` and `Host`, credential, path, method and form of the request, body, era, method of MCP. Each
//! request loads one snapshot and is served by it to its end.

mod admit;
mod answer;
mod body;
mod doors;
mod inflight;
mod legacy;
mod listen;
mod modern;
mod network;
mod post;
mod resume;
mod route;
mod session;
mod settings;
mod slot;
mod standing;
mod streams;

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use http::{HeaderValue, Method, Request, Response, StatusCode};
use portcullis_mcp::headers::REQUEST_ID;
use portcullis_policy::Reason;
use tokio::sync::broadcast;
use tokio_util::sync::{CancellationToken, DropGuard};

pub use body::{Body, MAX_BODY_BYTES};
pub use doors::{BadOrigin, Doors};
pub use network::Proxies;
pub use settings::Parts;

pub use crate::pipeline::Metrics;

use self::inflight::InFlight;
use self::session::{Tombstones, Wishes};
use self::streams::Streams;
use crate::pipeline::shards::Shards;
use crate::pipeline::{Arrival, Pipeline, PipelineParts, Refused, Rendered};
use crate::sync::{Signal, Signals, Wish};

/// Sessions whose wishes (log level, subscriptions) a plane remembers; beyond it the oldest is forgotten.
const MAX_WISHES: usize = 65_536;

/// How often what has ended by itself is forgotten.
const SWEEP: Duration = Duration::from_mins(5);

/// Serves MCP over HTTP. Clones share everything.
#[derive(Debug, Clone)]
pub struct Gateway(Arc<Inner>);

#[derive(Debug)]
struct Inner {
    pipeline: Pipeline,
    doors: Doors,
    proxies: Proxies,
    signals: Signals,
    rendered: Rendered,
    streams: Streams,
    in_flight: InFlight,
    tombstones: Tombstones,
    wishes: Shards<[u8; 16], Arc<Wishes>>,
    /// Tells the standing stream of a session that its wishes changed.
    wished: broadcast::Sender<[u8; 16]>,
    closing: CancellationToken,
    _gone: DropGuard,
}

impl Gateway {
    /// Opens the door. Must be called inside a tokio runtime: a task hears the signals of siblings until the last clone is gone.
    #[must_use]
    pub fn new(parts: Parts) -> Self {
        let Parts {
            live,
            secrets,
            upstreams,
            spool,
            signals,
            calls,
            metering,
            clock,
            metrics,
            doors,
            proxies,
        } = parts;
        let streams = Streams::new(&metrics);
        let heard = signals.subscribe();
        let gone = CancellationToken::new();
        let pipeline = Pipeline::new(PipelineParts {
            live,
            secrets,
            upstreams,
            calls,
            metering,
            spool,
            clock,
            metrics,
            abort: CancellationToken::new(),
        });
        let inner = Arc::new(Inner {
            pipeline,
            doors,
            proxies,
            signals,
            rendered: Rendered::default(),
            streams,
            in_flight: InFlight::default(),
            tombstones: Tombstones::default(),
            wishes: Shards::new(MAX_WISHES),
            wished: broadcast::Sender::new(1024),
            closing: CancellationToken::new(),
            _gone: gone.clone().drop_guard(),
        });
        tokio::spawn(listen_to_siblings(Arc::downgrade(&inner), heard, gone));
        Self(inner)
    }

    /// Answers one request. It never fails: what goes wrong is an answer too.
    pub async fn handle<B>(&self, request: Request<B>, peer: SocketAddr) -> Response<Body>
    where
        B: http_body::Body<Data = Bytes> + Unpin,
    {
        let arrival = Arrival::now(self.pipeline().clock());
        let mut response = match self.serve(arrival, request, peer).await {
            Ok(response) => response,
            Err(refusal) => *refusal,
        };
        let mut buffer = uuid::Uuid::encode_buffer();
        let text = arrival.request_id.hyphenated().encode_lower(&mut buffer);
        // Hex digits and hyphens are always a header value.
        if let Ok(value) = HeaderValue::from_str(text) {
            response.headers_mut().insert(REQUEST_ID, value);
        }
        response
    }

    /// Ends the streams that clients keep open of their own accord, so that a plane can drain. Calls go on.
    pub fn close_streams(&self) {
        self.0.closing.cancel();
    }

    /// Ends every call and stream at once, those too whose callers are gone. Each call is recorded as cancelled.
    pub fn abort(&self) {
        self.close_streams();
        self.pipeline().abort().cancel();
    }

    /// Figures for `/metrics`.
    #[must_use]
    pub fn metrics(&self) -> &Metrics {
        self.pipeline().metrics()
    }

    async fn serve<B>(
        &self,
        arrival: Arrival,
        request: Request<B>,
        peer: SocketAddr,
    ) -> Result<Response<Body>, Box<Response<Body>>>
    where
        B: http_body::Body<Data = Bytes> + Unpin,
    {
        let (head, body) = request.into_parts();
        let method = head.method.clone();
        let network = self.proxies().caller(peer.ip(), &head.headers);
        let entered = self.enter(arrival, head, network)?;
        match method {
            Method::POST => {
                let bytes = match admit::check_post(&entered.headers) {
                    Ok(()) => body::read(&entered.headers, body).await,
                    Err(status) => Err(status),
                };
                match bytes {
                    Ok(bytes) => Ok(self.post(&entered, bytes).await),
                    Err(status) => Err(Box::new(self.misshapen(&entered.refused(&method), status))),
                }
            }
            Method::GET => Ok(self.get(&entered)),
            Method::DELETE => Ok(self.delete(&entered).await),
            _ => {
                let refused = entered.refused(&method);
                Err(Box::new(self.misshapen(&refused, StatusCode::METHOD_NOT_ALLOWED)))
            }
        }
    }

    /// Answers, counts and records a request of somebody known whose form is wrong.
    fn misshapen(&self, refused: &Refused<'_>, status: StatusCode) -> Response<Body> {
        self.metrics().turned_away(Reason::MalformedRequest);
        self.pipeline().note_refused(refused, Reason::MalformedRequest);
        match status {
            StatusCode::METHOD_NOT_ALLOWED => answer::method_not_allowed("POST, GET, DELETE"),
            status => answer::status(status),
        }
    }

    pub(crate) fn pipeline(&self) -> &Pipeline {
        &self.0.pipeline
    }

    fn proxies(&self) -> &Proxies {
        &self.0.proxies
    }

    fn doors(&self) -> &Doors {
        &self.0.doors
    }
}

impl Inner {
    /// Remembers what a session wishes, and tells its standing stream.
    fn wished(&self, session: [u8; 16], wish: Wish) {
        let mut wishes = self.wishes.get(&session).map(|wishes| Wishes::clone(&wishes)).unwrap_or_default();
        wishes.take(wish);
        wishes.changed_unix_ms = self.pipeline.clock().unix_ms();
        self.wishes.put(&session, &Arc::new(wishes), |wishes| wishes.changed_unix_ms);
        // No standing stream is no error.
        let _ = self.wished.send(session);
    }
}

/// What sessions did on another plane: they ended, cancelled calls, wished something; and the forgetting of what is over.
async fn listen_to_siblings(
    inner: std::sync::Weak<Inner>,
    mut heard: broadcast::Receiver<Signal>,
    gone: CancellationToken,
) {
    let mut sweep = tokio::time::interval(SWEEP);
    loop {
        let signal = tokio::select! {
            () = gone.cancelled() => return,
            signal = heard.recv() => signal,
            _ = sweep.tick() => {
                let Some(inner) = inner.upgrade() else { return };
                inner.tombstones.sweep(inner.pipeline.clock().unix_ms());
                continue;
            }
        };
        let Some(inner) = inner.upgrade() else { return };
        match signal {
            Ok(Signal::SessionEnded { session, forget_after_unix_ms }) => {
                inner.tombstones.bury(session, forget_after_unix_ms);
                inner.in_flight.end(&session);
                // Beside this loop: an upstream that is slow to part must hold up no other signal. Each ends within its own time.
                let upstreams = inner.pipeline.upstreams().clone();
                tokio::spawn(async move { upstreams.end_client_session(session).await });
            }
            Ok(Signal::RequestCancelled { session, request_id_json, .. }) => {
                if let Ok(id) = std::str::from_utf8(&request_id_json) {
                    inner.in_flight.cancel(&session, id);
                }
            }
            Ok(Signal::SessionWished { session, wish }) => inner.wished(session, wish),
            Err(broadcast::error::RecvError::Lagged(lost)) => {
                tracing::warn!(lost, "signals of siblings were lost");
            }
            Err(broadcast::error::RecvError::Closed) => return,
        }
    }
}
