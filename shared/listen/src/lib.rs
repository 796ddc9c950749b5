//! Listeners of every port: TCP or TLS, with certificates read again while they serve.
//!
//! One accept loop for all that Portcullis listens with, so that bounds (connections, handshake time), behaviour on
//! accept errors and the rotation of certificates are the same everywhere. It knows no HTTP and no gRPC: it yields
//! connections, as a stream.
#![forbid(unsafe_code)]

mod certificates;
mod connection;

use std::io;
use std::net::SocketAddr;
use std::path::PathBuf;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};
use std::time::Duration;

use futures_util::Stream;
use tokio::net::{TcpListener, TcpSocket, TcpStream};
use tokio::sync::{OwnedSemaphorePermit, Semaphore, mpsc, watch};
use tokio_util::sync::CancellationToken;

pub use certificates::{CertificateError, Certificates};
pub use connection::Connection;

/// Connections that wait between the accept loop and the one who serves them.
const HAND_OVER: usize = 64;
/// Connections that wait in the kernel.
const BACKLOG: u32 = 1024;
/// The longest pause after an accept error such as "too many open files".
const LONGEST_PAUSE: Duration = Duration::from_secs(1);

/// The certificate chain and the private key of a listener, both PEM.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct TlsFiles {
    /// The chain, the listener's own certificate first.
    pub cert: PathBuf,
    /// The private key: PKCS#8, PKCS#1 or SEC1.
    pub key: PathBuf,
}

/// Bounds of a listener.
#[derive(Debug, Clone, Copy)]
pub struct Bounds {
    /// Open connections, handshakes included. At the bound, new ones wait in the kernel's backlog.
    pub connections: usize,
    /// How long a TLS handshake may take.
    pub handshake: Duration,
}

impl Default for Bounds {
    fn default() -> Self {
        Self { connections: 20_000, handshake: Duration::from_secs(10) }
    }
}

/// A listener could not be made.
#[derive(Debug, thiserror::Error)]
pub enum ListenError {
    /// The address is taken, not ours, or not allowed.
    #[error("cannot listen on {addr}: {source}")]
    Bind {
        /// The address.
        addr: SocketAddr,
        /// Why.
        source: io::Error,
    },
    /// The certificate or its key cannot be used.
    #[error(transparent)]
    Certificate(#[from] CertificateError),
}

/// A bound port that does not accept yet.
#[derive(Debug)]
pub struct Listener {
    tcp: TcpListener,
    local: SocketAddr,
    certificates: Option<Arc<Certificates>>,
    bounds: Bounds,
}

impl Listener {
    /// Binds, and reads the certificate if there is one. Port 0 takes a free port.
    ///
    /// # Errors
    /// When the address cannot be bound or the certificate cannot be used.
    pub fn bind(addr: SocketAddr, tls: Option<TlsFiles>) -> Result<Self, ListenError> {
        let certificates = tls.map(Certificates::load).transpose()?.map(Arc::new);
        let bind = || -> io::Result<(TcpListener, SocketAddr)> {
            let socket = if addr.is_ipv4() { TcpSocket::new_v4()? } else { TcpSocket::new_v6()? };
            socket.set_reuseaddr(true)?;
            socket.bind(addr)?;
            let tcp = socket.listen(BACKLOG)?;
            let local = tcp.local_addr()?;
            Ok((tcp, local))
        };
        let (tcp, local) = bind().map_err(|source| ListenError::Bind { addr, source })?;
        Ok(Self { tcp, local, certificates, bounds: Bounds::default() })
    }

    /// The same with other bounds.
    #[must_use]
    pub fn with_bounds(mut self, bounds: Bounds) -> Self {
        self.bounds = bounds;
        self
    }

    /// The address, with the port that was really bound.
    #[must_use]
    pub const fn local_addr(&self) -> SocketAddr {
        self.local
    }

    /// Whether it speaks TLS.
    #[must_use]
    pub const fn is_tls(&self) -> bool {
        self.certificates.is_some()
    }

    /// Counts how often the certificate was replaced; none without TLS.
    #[must_use]
    pub fn certificate_changes(&self) -> Option<watch::Receiver<u64>> {
        self.certificates.as_ref().map(|certificates| certificates.changes())
    }

    /// Starts to accept, until the token is cancelled or the stream is dropped. Must be called within a tokio runtime.
    #[must_use]
    pub fn incoming(self, shutdown: CancellationToken) -> Incoming {
        let (hand_over, connections) = mpsc::channel(HAND_OVER);
        let local = self.local;
        let stop = shutdown.child_token();
        if let Some(certificates) = &self.certificates {
            tokio::spawn(Arc::clone(certificates).watch(stop.clone()));
        }
        tokio::spawn(self.accept(hand_over, stop.clone()));
        Incoming { connections, local, _stop: stop.drop_guard() }
    }

    async fn accept(self, hand_over: mpsc::Sender<Connection>, stop: CancellationToken) {
        let slots = Arc::new(Semaphore::new(self.bounds.connections.min(Semaphore::MAX_PERMITS)));
        let mut pause = Duration::ZERO;
        loop {
            let accepted = tokio::select! {
                biased;
                () = stop.cancelled() => return,
                accepted = self.next(&slots) => accepted,
            };
            match accepted {
                Ok((tcp, peer, slot)) => {
                    pause = Duration::ZERO;
                    let admit = admit(tcp, peer, slot, self.certificates.clone(), self.bounds.handshake);
                    let hand_over = hand_over.clone();
                    let stop = stop.clone();
                    tokio::spawn(async move {
                        let connection = tokio::select! {
                            () = stop.cancelled() => return,
                            connection = admit => connection,
                        };
                        match connection {
                            // Nobody listens any more: the connection closes.
                            Ok(connection) => drop(hand_over.send(connection).await),
                            Err(error) => tracing::debug!(%peer, %error, "connection not admitted"),
                        }
                    });
                }
                // The peer went away before we took it.
                Err(error) if is_of_the_peer(&error) => {}
                Err(error) => {
                    // Out of descriptors or memory: accepting at once would only spin.
                    pause = (pause * 2).clamp(Duration::from_millis(10), LONGEST_PAUSE);
                    tracing::warn!(%error, listener = %self.local, ?pause, "cannot accept connections");
                    tokio::select! {
                        () = stop.cancelled() => return,
                        () = tokio::time::sleep(pause) => {}
                    }
                }
            }
        }
    }

    async fn next(
        &self,
        slots: &Arc<Semaphore>,
    ) -> io::Result<(TcpStream, SocketAddr, OwnedSemaphorePermit)> {
        let slot = Arc::clone(slots).acquire_owned().await.map_err(io::Error::other)?;
        let (tcp, peer) = self.tcp.accept().await?;
        Ok((tcp, peer, slot))
    }
}

async fn admit(
    tcp: TcpStream,
    peer: SocketAddr,
    slot: OwnedSemaphorePermit,
    certificates: Option<Arc<Certificates>>,
    handshake: Duration,
) -> io::Result<Connection> {
    tcp.set_nodelay(true)?;
    let local = tcp.local_addr()?;
    let Some(certificates) = certificates else { return Ok(Connection::plain(tcp, peer, local, slot)) };
    let acceptor = tokio_rustls::TlsAcceptor::from(certificates.current());
    let tls = tokio::time::timeout(handshake, acceptor.accept(tcp))
        .await
        .map_err(|_| io::Error::new(io::ErrorKind::TimedOut, "the TLS handshake took too long"))??;
    Ok(Connection::tls(tls, peer, local, slot))
}

fn is_of_the_peer(error: &io::Error) -> bool {
    matches!(
        error.kind(),
        io::ErrorKind::ConnectionRefused | io::ErrorKind::ConnectionAborted | io::ErrorKind::ConnectionReset
    )
}

/// Accepted connections, handshake done. Dropping it stops the listener; so does the token given at the start, after
/// which the stream ends.
#[derive(Debug)]
pub struct Incoming {
    connections: mpsc::Receiver<Connection>,
    local: SocketAddr,
    _stop: tokio_util::sync::DropGuard,
}

impl Incoming {
    /// The address that it listens on.
    #[must_use]
    pub const fn local_addr(&self) -> SocketAddr {
        self.local
    }

    /// The next connection; none after the end.
    pub async fn accept(&mut self) -> Option<Connection> {
        self.connections.recv().await
    }
}

/// Errors of single connections end those connections only, so every item is `Ok`; the form is the one that tonic asks for.
impl Stream for Incoming {
    type Item = io::Result<Connection>;

    fn poll_next(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Self::Item>> {
        self.connections.poll_recv(cx).map(|connection| connection.map(Ok))
    }
}

#[cfg(test)]
mod tests;
