//! An HTTP server over a listener: HTTP/1.1 and HTTP/2 on one port, with the bounds and the ending that every port needs.

use std::convert::Infallible;
use std::future::Future;
use std::net::SocketAddr;
use std::pin::{Pin, pin};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use http::{Request, Response};
use hyper::body::{Body, Incoming as RequestBody};
use hyper::service::service_fn;
use hyper_util::rt::{TokioExecutor, TokioIo, TokioTimer};
use hyper_util::server::conn::auto;
use portcullis_listen::{Connection, Incoming};
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

/// How long the head of a request may take, and how long an idle HTTP/1.1 connection is kept.
const HEAD: Duration = Duration::from_secs(75);
/// How long a new connection may take until its first request has begun.
const FIRST_REQUEST: Duration = Duration::from_secs(30);
/// Bytes of a request's head; more is answered with 431.
const MAX_HEAD: usize = 64 * 1024;
/// Header lines of a request; more is answered with 431.
const MAX_HEADERS: usize = 100;
/// Requests that one HTTP/2 connection may have open.
const MAX_STREAMS: u32 = 1000;
/// How often an HTTP/2 connection is tried, and how long an answer may take.
const PING: Duration = Duration::from_secs(20);

/// A boxed future: what a handler of requests returns.
pub(super) type Answering<B> = Pin<Box<dyn Future<Output = Response<B>> + Send>>;

/// Serves every connection until the shutdown; then takes no new ones, lets requests end for as long as `drain` says, and
/// closes what is left; at once when `abort` is cancelled.
pub(super) async fn serve<H, B>(
    mut incoming: Incoming,
    handler: Arc<H>,
    shutdown: CancellationToken,
    drain: Duration,
    abort: CancellationToken,
) where
    H: Fn(Request<RequestBody>, SocketAddr) -> Answering<B> + Send + Sync + 'static,
    B: Body<Error: Into<Box<dyn std::error::Error + Send + Sync>>, Data: Send> + Send + 'static,
{
    let connections = TaskTracker::new();
    let cut = CancellationToken::new();
    let server = Arc::new(builder());
    loop {
        let connection = tokio::select! {
            biased;
            () = shutdown.cancelled() => break,
            connection = incoming.accept() => connection,
        };
        let Some(connection) = connection else { break };
        let one = connect(Arc::clone(&server), connection, Arc::clone(&handler), shutdown.clone());
        let cut = cut.clone();
        connections.spawn(async move {
            tokio::select! {
                () = one => {}
                () = cut.cancelled() => {}
            }
        });
    }
    // The port closes: who connects now is sent elsewhere at once.
    drop(incoming);
    connections.close();
    tokio::select! {
        biased;
        () = connections.wait() => return,
        () = abort.cancelled() => {}
        () = tokio::time::sleep(drain) => {
            tracing::warn!(connections = connections.len(), "the drain's time is over; what is left is closed");
        }
    }
    cut.cancel();
    connections.wait().await;
}

fn builder() -> auto::Builder<TokioExecutor> {
    let mut builder = auto::Builder::new(TokioExecutor::new());
    builder
        .http1()
        .timer(TokioTimer::new())
        .header_read_timeout(HEAD)
        .max_headers(MAX_HEADERS)
        .max_buf_size(MAX_HEAD);
    builder
        .http2()
        .timer(TokioTimer::new())
        .max_header_list_size(u32::try_from(MAX_HEAD).unwrap_or(u32::MAX))
        .max_concurrent_streams(MAX_STREAMS)
        .keep_alive_interval(PING)
        .keep_alive_timeout(PING);
    builder
}

async fn connect<H, B>(
    server: Arc<auto::Builder<TokioExecutor>>,
    connection: Connection,
    handler: Arc<H>,
    shutdown: CancellationToken,
) where
    H: Fn(Request<RequestBody>, SocketAddr) -> Answering<B> + Send + Sync + 'static,
    B: Body<Error: Into<Box<dyn std::error::Error + Send + Sync>>, Data: Send> + Send + 'static,
{
    let peer = connection.peer_addr();
    let begun = Arc::new(AtomicBool::new(false));
    let seen = Arc::clone(&begun);
    let service = service_fn(move |request| {
        seen.store(true, Ordering::Relaxed);
        let answer = handler(request, peer);
        async move { Ok::<_, Infallible>(answer.await) }
    });
    let mut serving = pin!(server.serve_connection(TokioIo::new(connection), service));
    let mut first = pin!(tokio::time::sleep(FIRST_REQUEST));
    let (mut waiting, mut draining) = (true, false);
    loop {
        tokio::select! {
            ended = serving.as_mut() => {
                if let Err(error) = ended {
                    tracing::debug!(%peer, %error, "connection ended");
                }
                return;
            }
            () = &mut first, if waiting => {
                waiting = false;
                // Finding out the protocol has no limit of its own.
                if !begun.load(Ordering::Relaxed) {
                    return;
                }
            }
            () = shutdown.cancelled(), if !draining => {
                draining = true;
                serving.as_mut().graceful_shutdown();
            }
        }
    }
}

#[cfg(test)]
mod tests;
