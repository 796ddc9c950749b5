//! The HTTP port: `/healthz`, `/readyz`, `/metrics`, and the pages of calls that wait for a person. Nothing on it is secret, and
//! nothing changes anything without an administrator's token.

mod approval;
mod attempts;
mod html;

use std::convert::Infallible;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use http::header::{ALLOW, CONTENT_TYPE};
use http::{Method, Request, Response, StatusCode};
use http_body_util::Full;
use hyper::body::Incoming as Body;
use hyper::service::service_fn;
use hyper_util::rt::{TokioExecutor, TokioIo, TokioTimer};
use hyper_util::server::conn::auto;
use portcullis_listen::{Connection, Listener};
use portcullis_telemetry::{METRICS_CONTENT_TYPE, Metrics};
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

use crate::admin::Authn;
use crate::approvals::calls::Calls;
use crate::metering::Metering;
use crate::publish::Publisher;
use crate::store::Store;

pub(crate) use attempts::Attempts;

/// Connections at once.
pub(crate) const MAX_CONNECTIONS: usize = 512;
/// How long the headers of a request may take.
const HEADERS_TIMEOUT: Duration = Duration::from_secs(10);
/// The longest headers, in bytes.
const MAX_HEADERS: usize = 16 << 10;
/// Streams of one HTTP/2 connection.
const MAX_STREAMS: u32 = 32;

/// What is answered from.
#[derive(Clone)]
pub(crate) struct Pages {
    pub(crate) publisher: Publisher,
    pub(crate) store: Arc<dyn Store>,
    pub(crate) metrics: Metrics,
    pub(crate) metering: Metering,
    pub(crate) calls: Calls,
    pub(crate) authn: Authn,
    pub(crate) attempts: Attempts,
}

/// Serves until the token is cancelled and every request is answered.
pub(crate) async fn serve(listener: Listener, pages: Pages, shutdown: CancellationToken) {
    let mut incoming = listener.incoming(shutdown.clone());
    let connections = TaskTracker::new();
    while let Some(connection) = incoming.accept().await {
        connections.spawn(answer(connection, pages.clone(), shutdown.clone()));
    }
    connections.close();
    connections.wait().await;
}

async fn answer(connection: Connection, pages: Pages, shutdown: CancellationToken) {
    let mut builder = auto::Builder::new(TokioExecutor::new());
    builder.http1().timer(TokioTimer::new()).header_read_timeout(HEADERS_TIMEOUT).max_buf_size(MAX_HEADERS);
    builder
        .http2()
        .timer(TokioTimer::new())
        .max_concurrent_streams(MAX_STREAMS)
        .keep_alive_interval(Some(Duration::from_secs(30)));
    let peer = connection.peer_addr();
    let service = service_fn(move |request| {
        let pages = pages.clone();
        async move { Ok::<_, Infallible>(page(&pages, request, peer).await) }
    });
    let serving = builder.serve_connection(TokioIo::new(connection), service);
    tokio::pin!(serving);
    let ended = tokio::select! {
        ended = serving.as_mut() => ended,
        () = shutdown.cancelled() => {
            serving.as_mut().graceful_shutdown();
            serving.await
        }
    };
    if let Err(error) = ended {
        tracing::debug!(%error, "a connection to the HTTP port ended");
    }
}

async fn page(pages: &Pages, request: Request<Body>, peer: SocketAddr) -> Response<Full<Bytes>> {
    if request.uri().path().starts_with(approval::PATH) {
        return approval::answer(pages, request, peer).await;
    }
    plain(pages, &request)
}

fn plain(pages: &Pages, request: &Request<Body>) -> Response<Full<Bytes>> {
    let known = matches!(request.uri().path(), "/healthz" | "/readyz" | "/metrics");
    if known && !matches!(*request.method(), Method::GET | Method::HEAD) {
        let mut response = text(StatusCode::METHOD_NOT_ALLOWED, "method not allowed\n");
        response.headers_mut().insert(ALLOW, http::HeaderValue::from_static("GET, HEAD"));
        return response;
    }
    match request.uri().path() {
        "/healthz" => text(StatusCode::OK, "ok\n"),
        "/readyz" => match (pages.publisher.current(), pages.store.trouble()) {
            _ if let Some(why) = pages.metering.bank.poisoned() => {
                text(StatusCode::SERVICE_UNAVAILABLE, format!("metering answers nothing: {why}\n"))
            }
            (None, _) => text(StatusCode::SERVICE_UNAVAILABLE, "nothing is published yet\n"),
            (_, Some(why)) => {
                text(StatusCode::SERVICE_UNAVAILABLE, format!("the store takes no changes: {why}\n"))
            }
            (Some(_), None) => text(StatusCode::OK, "ready\n"),
        },
        "/metrics" => {
            let mut response = text(StatusCode::OK, "");
            *response.body_mut() = Full::from(pages.metrics.encode());
            let kind = http::HeaderValue::from_static(METRICS_CONTENT_TYPE);
            response.headers_mut().insert(CONTENT_TYPE, kind);
            response
        }
        _ => text(StatusCode::NOT_FOUND, "not found\n"),
    }
}

fn text(status: StatusCode, body: impl Into<Bytes>) -> Response<Full<Bytes>> {
    let mut response = Response::new(Full::from(body.into()));
    *response.status_mut() = status;
    let kind = http::HeaderValue::from_static("text/plain; charset=utf-8");
    response.headers_mut().insert(CONTENT_TYPE, kind);
    response
}
