//! Connections to one server: name resolution and dialling under the rule of its [`Hosting`], then TLS with ALPN.
//!
//! No proxy is ever taken from the environment, and a name is resolved here and nowhere else.

use std::future::Future;
use std::io;
use std::net::{IpAddr, SocketAddr};
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};
use std::time::{Duration, Instant};

use http::Uri;
use hyper::rt::{Read, ReadBufCursor, Write};
use hyper_rustls::{HttpsConnector, MaybeHttpsStream};
use hyper_util::client::legacy::connect::dns::Name;
use hyper_util::client::legacy::connect::{Connected, Connection, HttpConnector};
use hyper_util::rt::TokioIo;
use portcullis_policy::address;
use portcullis_policy::resource::Hosting;
use rustls::ClientConfig;
use tokio::net::TcpStream;
use tower::Service;

use crate::upstream::stats::{UpstreamStats, count};

type BoxError = Box<dyn std::error::Error + Send + Sync>;
type Pinned<T> = Pin<Box<dyn Future<Output = Result<T, BoxError>> + Send>>;

/// Addresses of one name that are looked at; the rest is left out.
const MAX_ADDRESSES: usize = 16;
/// How often a quiet connection is checked for life.
const KEEPALIVE: Duration = Duration::from_secs(30);

/// Why no connection was made, where that is worth telling apart.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub(super) enum ConnectError {
    /// Every address is one that the server's hosting forbids.
    #[error("the address is not allowed for this server")]
    Refused,
    /// It took too long.
    #[error("connecting took too long")]
    TimedOut,
}

/// When a connection was opened: tells a fresh one from a pooled one.
#[derive(Debug, Clone, Copy)]
pub(super) struct Opened(pub(super) Instant);

/// Dials, speaks TLS where the URL says so, and gives up in time.
#[derive(Clone)]
pub(super) struct Connector {
    tls: HttpsConnector<Dial>,
    timeout: Duration,
}

impl Connector {
    pub(super) fn new(
        hosting: Hosting,
        tls: Arc<ClientConfig>,
        timeout: Duration,
        stats: Arc<UpstreamStats>,
    ) -> Self {
        let mut http = HttpConnector::new_with_resolver(Resolver { hosting, stats: Arc::clone(&stats) });
        http.enforce_http(false);
        http.set_nodelay(true);
        http.set_keepalive(Some(KEEPALIVE));
        http.set_connect_timeout(Some(timeout));
        let mut tls = HttpsConnector::from((Dial { http, hosting, stats }, tls));
        if hosting == Hosting::Vendor {
            tls.enforce_https();
        }
        Self { tls, timeout }
    }
}

impl Service<Uri> for Connector {
    type Response = MaybeHttpsStream<Dialled>;
    type Error = BoxError;
    type Future = Pinned<Self::Response>;

    fn poll_ready(&mut self, cx: &mut Context<'_>) -> Poll<Result<(), BoxError>> {
        self.tls.poll_ready(cx)
    }

    fn call(&mut self, uri: Uri) -> Self::Future {
        let connecting = self.tls.call(uri);
        let timeout = self.timeout;
        Box::pin(async move {
            tokio::time::timeout(timeout, connecting).await.map_err(|_| ConnectError::TimedOut)?
        })
    }
}

/// Gives only addresses that the hosting allows.
#[derive(Clone)]
struct Resolver {
    hosting: Hosting,
    stats: Arc<UpstreamStats>,
}

impl Service<Name> for Resolver {
    type Response = std::vec::IntoIter<SocketAddr>;
    type Error = BoxError;
    type Future = Pinned<Self::Response>;

    fn poll_ready(&mut self, _: &mut Context<'_>) -> Poll<Result<(), BoxError>> {
        Poll::Ready(Ok(()))
    }

    fn call(&mut self, name: Name) -> Self::Future {
        let (hosting, stats) = (self.hosting, Arc::clone(&self.stats));
        Box::pin(async move {
            let found = tokio::net::lookup_host((name.as_str(), 0)).await?;
            let (allowed, refused): (Vec<_>, Vec<_>) =
                found.take(MAX_ADDRESSES).partition(|address| allowed(address.ip(), hosting));
            if allowed.is_empty() && !refused.is_empty() {
                count(&stats.addresses_refused_total);
                return Err(ConnectError::Refused.into());
            }
            Ok(allowed.into_iter())
        })
    }
}

/// Dials, and judges literal addresses before and the peer after: neither passes the resolver.
#[derive(Clone)]
struct Dial {
    http: HttpConnector<Resolver>,
    hosting: Hosting,
    stats: Arc<UpstreamStats>,
}

impl Service<Uri> for Dial {
    type Response = Dialled;
    type Error = BoxError;
    type Future = Pinned<Dialled>;

    fn poll_ready(&mut self, cx: &mut Context<'_>) -> Poll<Result<(), BoxError>> {
        self.http.poll_ready(cx).map_err(Into::into)
    }

    fn call(&mut self, uri: Uri) -> Self::Future {
        let (hosting, stats) = (self.hosting, Arc::clone(&self.stats));
        if literal(&uri).is_some_and(|address| !allowed(address, hosting)) {
            count(&stats.addresses_refused_total);
            return Box::pin(async { Err(ConnectError::Refused.into()) });
        }
        let connecting = self.http.call(uri);
        Box::pin(async move {
            let io = connecting.await?;
            if !allowed(io.inner().peer_addr()?.ip(), hosting) {
                count(&stats.addresses_refused_total);
                return Err(ConnectError::Refused.into());
            }
            Ok(Dialled { io, opened: Instant::now() })
        })
    }
}

/// Whether a server of this hosting may be at the address.
fn allowed(address: IpAddr, hosting: Hosting) -> bool {
    address::judge(address, hosting).is_ok()
}

/// The address that a URL names itself, if it names one.
fn literal(uri: &Uri) -> Option<IpAddr> {
    let host = uri.host()?;
    host.strip_prefix('[').and_then(|host| host.strip_suffix(']')).unwrap_or(host).parse().ok()
}

/// A TCP connection that knows when it was opened.
pub(super) struct Dialled {
    io: TokioIo<TcpStream>,
    opened: Instant,
}

impl Connection for Dialled {
    fn connected(&self) -> Connected {
        self.io.connected().extra(Opened(self.opened))
    }
}

impl Read for Dialled {
    fn poll_read(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buf: ReadBufCursor<'_>,
    ) -> Poll<io::Result<()>> {
        Pin::new(&mut self.io).poll_read(cx, buf)
    }
}

impl Write for Dialled {
    fn poll_write(mut self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &[u8]) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.io).poll_write(cx, buf)
    }

    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        bufs: &[io::IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.io).poll_write_vectored(cx, bufs)
    }

    fn is_write_vectored(&self) -> bool {
        self.io.is_write_vectored()
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.io).poll_flush(cx)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.io).poll_shutdown(cx)
    }
}
