//! Apart, planes speak TLS: the control plane proves itself with a certificate of the given authority.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing,
    reason = "a test that fails says so"
)]

mod sync_fake;

use std::io;
use std::pin::Pin;
use std::task::{Context, Poll};

use futures_util::StreamExt as _;
use portcullis_data_plane::TlsFiles;
use portcullis_data_plane::sync::{ControlPlane, Synchroniser};
use portcullis_listen::{Connection, Listener};
use portcullis_seal::SigningKey;
use rcgen::{BasicConstraints, CertificateParams, CertifiedIssuer, IsCa, KeyPair};
use sync_fake::{FakeControlPlane, Plane, zones};
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio_util::sync::CancellationToken;
use tonic::transport::server::Connected;

struct Io(Connection);

impl Connected for Io {
    type ConnectInfo = ();
    fn connect_info(&self) {}
}

impl AsyncRead for Io {
    fn poll_read(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buf: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        Pin::new(&mut self.0).poll_read(cx, buf)
    }
}

impl AsyncWrite for Io {
    fn poll_write(mut self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &[u8]) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.0).poll_write(cx, buf)
    }
    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.0).poll_flush(cx)
    }
    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.0).poll_shutdown(cx)
    }
}

fn authority() -> CertifiedIssuer<'static, KeyPair> {
    let mut params = CertificateParams::new(Vec::<String>::new()).unwrap();
    params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
    CertifiedIssuer::self_signed(params, KeyPair::generate().unwrap()).unwrap()
}

#[tokio::test]
async fn the_certificate_must_be_of_the_given_authority() {
    let dir = tempfile::tempdir().unwrap();
    let file = |name: &str| dir.path().join(name);
    let (ours, stranger) = (authority(), authority());
    let key = KeyPair::generate().unwrap();
    let params = CertificateParams::new(vec!["localhost".to_owned()]).unwrap();
    let certificate = params.signed_by(&key, &ours).unwrap();
    std::fs::write(file("cert.pem"), certificate.pem()).unwrap();
    std::fs::write(file("key.pem"), key.serialize_pem()).unwrap();
    std::fs::write(file("ca.pem"), stranger.pem()).unwrap();

    let tls = TlsFiles { cert: file("cert.pem"), key: file("key.pem") };
    let listener = Listener::bind(([127, 0, 0, 1], 0).into(), Some(tls)).unwrap();
    let addr = listener.local_addr();
    let incoming = listener.incoming(CancellationToken::new()).map(|connection| connection.map(Io));
    let mut control = FakeControlPlane::serve(addr, SigningKey::generate().unwrap().0, incoming);
    let mut config = control.config(&file("data"));
    let url = format!("https://localhost:{}", addr.port());
    config.control_plane = ControlPlane::new(&url, Some(file("ca.pem"))).unwrap();

    let (synchroniser, _synced) = Synchroniser::open(config.clone()).unwrap();
    let stop = CancellationToken::new();
    let refused = tokio::spawn(synchroniser.run(Default::default, stop.clone()));
    let nobody = tokio::time::timeout(std::time::Duration::from_millis(500), control.session()).await;
    assert!(nobody.is_err(), "a plane does not speak to a control plane that it cannot verify");
    stop.cancel();
    refused.await.unwrap();

    let plane = Plane::start(config);
    // The file is read for each connection: no restart.
    std::fs::write(file("ca.pem"), ours.pem()).unwrap();
    let mut session = control.welcomed().await;
    session.send(control.snapshot(1, &zones(2)).chunks(1)).await;
    assert_eq!(session.ack().await.version, 1);
    assert_eq!(plane.version(), 1);
}
