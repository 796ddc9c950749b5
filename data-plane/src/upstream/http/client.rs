//! One HTTP request to one server, over a pooled connection: credentials on, redirects off, repeated only where safe.

use std::sync::Arc;
use std::time::{Duration, Instant};

use bytes::Bytes;
use http::header::{ACCEPT, CONTENT_TYPE, HeaderMap, HeaderValue, USER_AGENT};
use http::uri::Scheme;
use http::{Extensions, Method, Request, Response, Uri};
use http_body_util::Full;
use hyper::body::Incoming;
use hyper_util::client::legacy::{Client, Error as ClientError};
use hyper_util::rt::{TokioExecutor, TokioTimer};
use portcullis_policy::Reason;
use portcullis_policy::resource::{Auth, Hosting};
use rustls::ClientConfig;

use super::connect::{ConnectError, Connector, Opened};
use crate::sync::SecretsHandle;
use crate::upstream::UpstreamError;
use crate::upstream::auth;
use crate::upstream::stats::{UpstreamStats, count};

const AGENT: &str = concat!("portcullis/", env!("CARGO_PKG_VERSION"));
/// Idle connections kept for one server.
const MAX_IDLE: usize = 128;
/// Common plain servers close idle connections after five seconds: going first avoids meeting a closed one.
const IDLE_PLAIN: Duration = Duration::from_secs(4);
/// A TLS handshake is worth keeping longer.
const IDLE_TLS: Duration = Duration::from_secs(30);
/// How often an HTTP/2 connection in use is checked for life.
const H2_PING: Duration = Duration::from_secs(20);

/// What is to be sent.
#[derive(Clone)]
pub(super) struct Outgoing {
    pub(super) method: Method,
    pub(super) headers: HeaderMap,
    pub(super) body: Bytes,
    /// Whether sending it twice does no harm.
    pub(super) repeatable: bool,
}

impl Outgoing {
    /// A JSON-RPC message.
    pub(super) fn post(mut headers: HeaderMap, body: impl Into<Bytes>, repeatable: bool) -> Self {
        headers.insert(CONTENT_TYPE, HeaderValue::from_static("application/json"));
        headers.insert(ACCEPT, HeaderValue::from_static("application/json, text/event-stream"));
        Self { method: Method::POST, headers, body: body.into(), repeatable }
    }

    /// A stream to listen on.
    pub(super) fn get(mut headers: HeaderMap) -> Self {
        headers.insert(ACCEPT, HeaderValue::from_static("text/event-stream"));
        Self { method: Method::GET, headers, body: Bytes::new(), repeatable: true }
    }

    /// The end of a session.
    pub(super) fn delete(headers: HeaderMap) -> Self {
        Self { method: Method::DELETE, headers, body: Bytes::new(), repeatable: true }
    }
}

/// Sends requests to one server.
pub(super) struct HttpClient {
    uri: Uri,
    pooled: Client<Connector, Full<Bytes>>,
    fresh: Client<Connector, Full<Bytes>>,
    auth: Auth,
    secrets: SecretsHandle,
    stats: Arc<UpstreamStats>,
}

impl HttpClient {
    pub(super) fn new(
        uri: Uri,
        hosting: Hosting,
        tls: Arc<ClientConfig>,
        connect_timeout: Duration,
        auth: Auth,
        secrets: SecretsHandle,
        stats: Arc<UpstreamStats>,
    ) -> Self {
        let connector = Connector::new(hosting, tls, connect_timeout, Arc::clone(&stats));
        let idle = if uri.scheme() == Some(&Scheme::HTTPS) { IDLE_TLS } else { IDLE_PLAIN };
        let build = |max_idle: usize| {
            Client::builder(TokioExecutor::new())
                .timer(TokioTimer::new())
                .pool_timer(TokioTimer::new())
                .pool_idle_timeout(idle)
                .pool_max_idle_per_host(max_idle)
                .http2_keep_alive_interval(H2_PING)
                .build(connector.clone())
        };
        Self { uri, pooled: build(MAX_IDLE), fresh: build(0), auth, secrets, stats }
    }

    /// Sends it and gives the head of the answer.
    ///
    /// What was never written is sent again by the pool. What may have been written is sent again only if it is repeatable,
    /// the connection was a pooled one that broke before an answer began, and then once, on a connection of its own.
    pub(super) async fn send(&self, out: Outgoing) -> Result<Response<Incoming>, UpstreamError> {
        let started = Instant::now();
        let again = out.repeatable.then(|| out.clone());
        let error = match self.pooled.request(self.request(out)?).await {
            Ok(response) => return Ok(response),
            Err(error) => error,
        };
        match again.filter(|_| was_stale(&error, started)) {
            Some(out) => {
                count(&self.stats.retries_total);
                self.fresh.request(self.request(out)?).await.map_err(|error| failure(&error, &self.uri))
            }
            None => Err(failure(&error, &self.uri)),
        }
    }

    fn request(&self, out: Outgoing) -> Result<Request<Full<Bytes>>, UpstreamError> {
        let mut request = Request::new(Full::new(out.body));
        *request.method_mut() = out.method;
        *request.uri_mut() = self.uri.clone();
        let headers = request.headers_mut();
        *headers = out.headers;
        headers.insert(USER_AGENT, HeaderValue::from_static(AGENT));
        auth::attach(headers, &self.auth, &self.secrets)?;
        Ok(request)
    }
}

/// Whether a connection from the pool broke before an answer began.
fn was_stale(error: &ClientError, started: Instant) -> bool {
    if error.is_connect() {
        return false;
    }
    let mut extras = Extensions::new();
    if let Some(connected) = error.connect_info() {
        connected.get_extras(&mut extras);
    }
    let pooled = extras.get::<Opened>().is_some_and(|opened| opened.0 < started);
    let broke = find::<hyper::Error>(error)
        .is_some_and(|error| error.is_incomplete_message() || error.is_canceled() || error.is_closed())
        || find::<std::io::Error>(error).is_some();
    pooled && broke
}

/// Says what went wrong: to callers without an address, which may be an inside one, and as the cause with it.
fn failure(error: &ClientError, uri: &Uri) -> UpstreamError {
    told(error).because(&cause(error, uri))
}

/// What lay behind it: the address without user or query, and the innermost error that says something.
fn cause(error: &ClientError, uri: &Uri) -> String {
    let host = uri.host().unwrap_or_default();
    let port = uri.port_u16().unwrap_or(if uri.scheme() == Some(&Scheme::HTTPS) { 443 } else { 80 });
    if let Some(refused) = find::<ConnectError>(error) {
        return format!("{host}:{port}: {refused}");
    }
    if let Some(tls) = find::<rustls::Error>(error) {
        return format!("TLS with {host}:{port}: {tls}");
    }
    match find::<std::io::Error>(error) {
        Some(io) if io.kind() == std::io::ErrorKind::ConnectionRefused => {
            format!("connection refused to {host}:{port}")
        }
        Some(io) => format!("{host}:{port}: {io}"),
        None => format!("{host}:{port}: {}", Chain(error)),
    }
}

fn told(error: &ClientError) -> UpstreamError {
    tracing::debug!(error = %Chain(error), "a request to an upstream failed");
    if !error.is_connect() {
        return UpstreamError::sent(
            Reason::UpstreamUnavailable,
            "The server closed the connection before it answered.",
        );
    }
    let message = match find::<ConnectError>(error) {
        Some(ConnectError::Refused) => "The server's address is not one that may be reached.",
        Some(ConnectError::TimedOut) => "Connecting to the server took too long.",
        None if find::<rustls::Error>(error).is_some() => {
            "The server's TLS certificate or settings are not acceptable."
        }
        None => "The server cannot be connected to.",
    };
    UpstreamError::unsent(Reason::UpstreamUnavailable, message)
}

/// The first error of a type in the chain of causes. An `io::Error` hides its inner one from `source`.
fn find<'a, E: std::error::Error + 'static>(error: &'a (dyn std::error::Error + 'static)) -> Option<&'a E> {
    let mut next = Some(error);
    while let Some(error) = next {
        if let Some(found) = error.downcast_ref::<E>() {
            return Some(found);
        }
        let inside = error.downcast_ref::<std::io::Error>().and_then(std::io::Error::get_ref);
        next = match inside {
            Some(inside) => Some(inside),
            None => error.source(),
        };
    }
    None
}

/// An error with its causes, for the log.
struct Chain<'a>(&'a (dyn std::error::Error + 'static));

impl std::fmt::Display for Chain<'_> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{}", self.0)?;
        let mut next = self.0.source();
        while let Some(cause) = next {
            write!(f, ": {cause}")?;
            next = cause.source();
        }
        Ok(())
    }
}
