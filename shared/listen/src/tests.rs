use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use futures_util::StreamExt as _;
use rcgen::{CertificateParams, KeyPair};
use rustls::pki_types::{CertificateDer, ServerName};
use rustls::{ClientConfig, RootCertStore};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpStream;
use tokio::time::timeout;
use tokio_rustls::TlsConnector;
use tokio_util::sync::CancellationToken;

use super::*;

const PATIENCE: Duration = Duration::from_secs(20);

async fn soon<T>(what: impl Future<Output = T>) -> T {
    timeout(PATIENCE, what).await.expect("it takes too long")
}

fn local() -> SocketAddr {
    ([127, 0, 0, 1], 0).into()
}

/// Writes a new certificate for `localhost` and its key; gives what a client must trust.
fn write_pair(dir: &Path) -> CertificateDer<'static> {
    let key = KeyPair::generate().unwrap();
    let cert = CertificateParams::new(vec!["localhost".to_owned()]).unwrap().self_signed(&key).unwrap();
    std::fs::write(dir.join("key.pem"), key.serialize_pem()).unwrap();
    std::fs::write(dir.join("cert.pem"), cert.pem()).unwrap();
    cert.der().clone()
}

fn files(dir: &Path) -> TlsFiles {
    TlsFiles { cert: dir.join("cert.pem"), key: dir.join("key.pem") }
}

async fn handshake(
    addr: SocketAddr,
    trusted: &CertificateDer<'static>,
    alpn: &[&str],
) -> io::Result<tokio_rustls::client::TlsStream<TcpStream>> {
    let mut roots = RootCertStore::empty();
    roots.add(trusted.clone()).unwrap();
    let mut config = ClientConfig::builder_with_provider(Arc::new(rustls::crypto::ring::default_provider()))
        .with_safe_default_protocol_versions()
        .unwrap()
        .with_root_certificates(roots)
        .with_no_client_auth();
    config.alpn_protocols = alpn.iter().map(|name| name.as_bytes().to_vec()).collect();
    let tcp = TcpStream::connect(addr).await?;
    TlsConnector::from(Arc::new(config)).connect(ServerName::try_from("localhost").unwrap(), tcp).await
}

#[tokio::test]
async fn plain_bytes_go_both_ways_and_both_ends_are_known() {
    let listener = Listener::bind(local(), None).unwrap();
    let addr = listener.local_addr();
    assert!(!listener.is_tls() && listener.certificate_changes().is_none());
    let mut incoming = listener.incoming(CancellationToken::new());
    let mut client = TcpStream::connect(addr).await.unwrap();
    let mut served = soon(incoming.next()).await.unwrap().unwrap();
    assert_eq!(served.peer_addr(), client.local_addr().unwrap());
    assert_eq!((served.local_addr(), served.is_tls(), served.alpn()), (addr, false, None));
    client.write_all(b"ping").await.unwrap();
    let mut four = [0; 4];
    served.read_exact(&mut four).await.unwrap();
    served.write_all(b"pong").await.unwrap();
    served.shutdown().await.unwrap();
    let mut answer = Vec::new();
    client.read_to_end(&mut answer).await.unwrap();
    assert_eq!((&four, answer.as_slice()), (b"ping", b"pong".as_slice()));
}

#[tokio::test]
async fn tls_agrees_on_the_protocol_that_the_client_prefers_of_ours() {
    let dir = tempfile::tempdir().unwrap();
    let trusted = write_pair(dir.path());
    let listener = Listener::bind(local(), Some(files(dir.path()))).unwrap();
    let addr = listener.local_addr();
    let mut incoming = listener.incoming(CancellationToken::new());
    for (offered, agreed) in
        [(vec!["h2", "http/1.1"], Some("h2")), (vec!["http/1.1"], Some("http/1.1")), (vec![], None)]
    {
        let client = soon(handshake(addr, &trusted, &offered)).await.unwrap();
        let served = soon(incoming.accept()).await.unwrap();
        assert!(served.is_tls());
        assert_eq!(served.alpn(), agreed.map(str::as_bytes));
        drop(client);
    }
    soon(handshake(addr, &trusted, &["smtp"])).await.unwrap_err();
}

#[tokio::test]
async fn a_new_certificate_is_used_without_a_restart_and_a_broken_one_is_not() {
    let dir = tempfile::tempdir().unwrap();
    let first = write_pair(dir.path());
    let listener = Listener::bind(local(), Some(files(dir.path()))).unwrap();
    let addr = listener.local_addr();
    let mut changes = listener.certificate_changes().unwrap();
    let mut incoming = listener.incoming(CancellationToken::new());
    let mut old = soon(handshake(addr, &first, &[])).await.unwrap();
    let mut old_served = soon(incoming.accept()).await.unwrap();

    // A certificate without its key, as in the middle of a replacement.
    let second = write_pair(dir.path());
    let whole_key = std::fs::read(dir.path().join("key.pem")).unwrap();
    std::fs::write(dir.path().join("key.pem"), &whole_key[..whole_key.len() / 2]).unwrap();
    // Long enough for two looks.
    assert!(timeout(Duration::from_millis(2500), changes.changed()).await.is_err());
    soon(handshake(addr, &first, &[])).await.unwrap();
    soon(incoming.accept()).await.unwrap();

    std::fs::write(dir.path().join("key.pem"), &whole_key).unwrap();
    soon(changes.changed()).await.unwrap();
    soon(handshake(addr, &second, &[])).await.unwrap();
    soon(incoming.accept()).await.unwrap();
    soon(handshake(addr, &first, &[])).await.unwrap_err();

    // What was open stays open.
    old.write_all(b"still here").await.unwrap();
    let mut ten = [0; 10];
    old_served.read_exact(&mut ten).await.unwrap();
    assert_eq!(&ten, b"still here");
}

#[tokio::test]
async fn a_client_that_does_not_shake_hands_holds_nobody_up_and_is_let_go() {
    let dir = tempfile::tempdir().unwrap();
    let trusted = write_pair(dir.path());
    let bounds = Bounds { handshake: Duration::from_millis(200), ..Bounds::default() };
    let listener = Listener::bind(local(), Some(files(dir.path()))).unwrap().with_bounds(bounds);
    let addr = listener.local_addr();
    let mut incoming = listener.incoming(CancellationToken::new());
    let mut silent = TcpStream::connect(addr).await.unwrap();
    let mut chatter = TcpStream::connect(addr).await.unwrap();
    chatter.write_all(b"GET / HTTP/1.1\r\n\r\n").await.unwrap();
    soon(handshake(addr, &trusted, &[])).await.unwrap();
    soon(incoming.accept()).await.unwrap();
    let mut nothing = Vec::new();
    assert_eq!(soon(silent.read_to_end(&mut nothing)).await.unwrap_or(0), 0);
}

#[tokio::test]
async fn at_the_bound_connections_wait_until_one_ends() {
    let bounds = Bounds { connections: 2, ..Bounds::default() };
    let listener = Listener::bind(local(), None).unwrap().with_bounds(bounds);
    let addr = listener.local_addr();
    let mut incoming = listener.incoming(CancellationToken::new());
    let _clients =
        [TcpStream::connect(addr), TcpStream::connect(addr), TcpStream::connect(addr)].map(tokio::spawn);
    let first = soon(incoming.accept()).await.unwrap();
    let _second = soon(incoming.accept()).await.unwrap();
    assert!(timeout(Duration::from_millis(200), incoming.accept()).await.is_err());
    drop(first);
    soon(incoming.accept()).await.unwrap();
}

#[tokio::test]
async fn the_token_ends_the_stream_and_frees_the_port() {
    let listener = Listener::bind(local(), None).unwrap();
    let addr = listener.local_addr();
    let stop = CancellationToken::new();
    let mut incoming = listener.incoming(stop.clone());
    stop.cancel();
    assert!(soon(incoming.accept()).await.is_none());
    soon(async {
        while TcpStream::connect(addr).await.is_ok() {
            tokio::task::yield_now().await;
        }
    })
    .await;
    Listener::bind(addr, None).unwrap();
}

#[tokio::test]
async fn a_dropped_stream_stops_the_listener() {
    let listener = Listener::bind(local(), None).unwrap();
    let addr = listener.local_addr();
    drop(listener.incoming(CancellationToken::new()));
    soon(async {
        while TcpStream::connect(addr).await.is_ok() {
            tokio::task::yield_now().await;
        }
    })
    .await;
}

#[tokio::test]
async fn what_cannot_be_used_is_named_and_no_key_is_quoted() {
    let dir = tempfile::tempdir().unwrap();
    let taken = Listener::bind(local(), None).unwrap();
    let error = Listener::bind(taken.local_addr(), None).unwrap_err().to_string();
    assert!(error.contains(&taken.local_addr().to_string()), "{error}");

    let bind = || Listener::bind(local(), Some(files(dir.path()))).unwrap_err().to_string();
    assert!(bind().contains("cert.pem"));
    write_pair(dir.path());
    std::fs::write(dir.path().join("key.pem"), "TOP SECRET").unwrap();
    let error = bind();
    assert!(error.contains("key.pem") && !error.contains("TOP"), "{error}");
    let other = KeyPair::generate().unwrap();
    std::fs::write(dir.path().join("key.pem"), other.serialize_pem()).unwrap();
    let error = bind();
    assert!(error.contains("do not work together"), "{error}");
    std::fs::write(dir.path().join("cert.pem"), "nothing").unwrap();
    assert!(bind().contains("no CERTIFICATE section"));
}
