//! The gRPC port: the services of all rooms on one listener, with bounds on everything that a client can open.

use std::io;
use std::net::SocketAddr;
use std::pin::Pin;
use std::task::{Context, Poll};
use std::time::Duration;

use futures_util::StreamExt as _;
use portcullis_listen::{Connection, Listener};
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio_util::sync::CancellationToken;
use tonic::service::Routes;
use tonic::transport::server::{Connected, Server};

/// Connections at once.
pub(crate) const MAX_CONNECTIONS: usize = 4096;
/// Streams of one connection: calls and long conversations together.
const MAX_STREAMS: u32 = 256;
/// Calls of one connection that are being answered; more are refused with RESOURCE_EXHAUSTED.
const MAX_CALLS: usize = 128;
/// The longest headers of a request, in bytes.
const MAX_HEADERS: u32 = 16 << 10;
/// How long a call may take until its answer begins.
const CALL_TIMEOUT: Duration = Duration::from_secs(120);
/// How often a silent connection is asked whether it still lives, and how long it may take to say so.
const KEEPALIVE: (Duration, Duration) = (Duration::from_secs(20), Duration::from_secs(10));
/// What a client may send before it must wait, for each stream and for the connection.
const WINDOWS: (u32, u32) = (1 << 20, 4 << 20);

/// Serves until the token is cancelled and every stream has ended.
pub(crate) async fn serve(
    listener: Listener,
    routes: Routes,
    shutdown: CancellationToken,
) -> Result<(), tonic::transport::Error> {
    let incoming = listener.incoming(shutdown.clone()).map(|connection| connection.map(GrpcConnection));
    let (interval, patience) = KEEPALIVE;
    let (stream_window, connection_window) = WINDOWS;
    Server::builder()
        .concurrency_limit_per_connection(MAX_CALLS)
        .load_shed(true)
        .timeout(CALL_TIMEOUT)
        .max_concurrent_streams(MAX_STREAMS)
        .http2_max_header_list_size(MAX_HEADERS)
        .http2_keepalive_interval(Some(interval))
        .http2_keepalive_timeout(Some(patience))
        .initial_stream_window_size(stream_window)
        .initial_connection_window_size(connection_window)
        .add_routes(routes)
        .serve_with_incoming_shutdown(incoming, shutdown.cancelled_owned())
        .await
}

/// A connection as tonic wants it.
struct GrpcConnection(Connection);

impl Connected for GrpcConnection {
    type ConnectInfo = SocketAddr;

    fn connect_info(&self) -> SocketAddr {
        self.0.peer_addr()
    }
}

impl AsyncRead for GrpcConnection {
    fn poll_read(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buf: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        Pin::new(&mut self.0).poll_read(cx, buf)
    }
}

impl AsyncWrite for GrpcConnection {
    fn poll_write(mut self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &[u8]) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.0).poll_write(cx, buf)
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.0).poll_flush(cx)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.0).poll_shutdown(cx)
    }

    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        bufs: &[io::IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.0).poll_write_vectored(cx, bufs)
    }

    fn is_write_vectored(&self) -> bool {
        self.0.is_write_vectored()
    }
}
