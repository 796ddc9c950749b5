//! A control plane as far as a data plane sees it: the tests say what it sends, and see what it is told.
#![allow(dead_code, reason = "each test file uses a part of it")]

use std::net::SocketAddr;
use std::path::Path;
use std::pin::Pin;
use std::time::Duration;

use bytes::Bytes;
use futures_util::{Stream, StreamExt as _};
use portcullis_data_plane::sync::{ControlPlane, SyncConfig, Synced, Synchroniser};
use portcullis_policy::Entry;
use portcullis_policy::resource::{Metering, Uid};
use portcullis_policy::snapshot::{
    SIGNATURE_PURPOSE, SnapshotHeader, SnapshotVersion, TeamEntry, ZoneEntry, encode_all,
};
use portcullis_proto::config::v1::attach_request::Message as Said;
use portcullis_proto::config::v1::attach_response::Message as Told;
use portcullis_proto::config::v1::distribution_server::{Distribution, DistributionServer};
use portcullis_proto::config::v1::{self as proto};
use portcullis_seal::{PlaneToken, SigningKey};
use tokio::net::TcpListener;
use tokio::sync::mpsc;
use tokio::task::JoinHandle;
use tokio_stream::wrappers::{ReceiverStream, TcpListenerStream};
use tokio_util::sync::CancellationToken;
use tonic::{Request, Response, Status, Streaming};
use uuid::Uuid;

pub(crate) const SECRET: &str = "pcp_test-secret";
/// Longer than anything here takes; reached only when a test fails.
const PATIENCE: Duration = Duration::from_secs(20);

pub(crate) async fn soon<T>(what: impl Future<Output = T>) -> T {
    tokio::time::timeout(PATIENCE, what).await.expect("it takes too long")
}

/// One conversation, from the control plane's side.
pub(crate) struct Session {
    pub(crate) hello: proto::Hello,
    pub(crate) authorization: String,
    said: mpsc::Receiver<Said>,
    tell: mpsc::Sender<Result<proto::AttachResponse, Status>>,
}

impl Session {
    pub(crate) async fn tell(&self, message: Told) {
        let response = proto::AttachResponse { message: Some(message) };
        self.tell.send(Ok(response)).await.expect("the plane listens");
    }

    pub(crate) async fn welcome(&self) {
        self.welcome_as(&[]).await;
    }

    /// Welcomes a plane that has these labels.
    pub(crate) async fn welcome_as(&self, labels: &[(&str, &str)]) {
        let labels = labels.iter().map(|(key, value)| ((*key).to_owned(), (*value).to_owned()));
        self.tell(Told::Welcome(proto::Welcome {
            control_plane_id: "test".to_owned(),
            unix_ms: 0,
            status_interval_ms: 100,
            labels: labels.collect(),
        }))
        .await;
    }

    pub(crate) async fn fail(self, status: Status) {
        self.tell.send(Err(status)).await.expect("the plane listens");
    }

    pub(crate) async fn send(&self, chunks: impl IntoIterator<Item = proto::SnapshotChunk>) {
        for chunk in chunks {
            self.tell(Told::Snapshot(chunk)).await;
        }
    }

    /// The next message that is no sign of life; none when the plane went away.
    pub(crate) async fn heard(&mut self) -> Option<Said> {
        soon(async {
            loop {
                match self.said.recv().await {
                    Some(Said::Status(_)) => {}
                    other => return other,
                }
            }
        })
        .await
    }

    pub(crate) async fn status(&mut self) -> proto::PlaneStatus {
        soon(async {
            loop {
                if let Said::Status(status) = self.said.recv().await.expect("the plane is there") {
                    return status;
                }
            }
        })
        .await
    }

    pub(crate) async fn ack(&mut self) -> proto::Ack {
        match self.heard().await {
            Some(Said::Ack(ack)) => ack,
            other => panic!("no Ack but {other:?}"),
        }
    }

    pub(crate) async fn nack(&mut self) -> proto::Nack {
        match self.heard().await {
            Some(Said::Nack(nack)) => nack,
            other => panic!("no Nack but {other:?}"),
        }
    }
}

struct Service {
    sessions: mpsc::Sender<Session>,
}

#[tonic::async_trait]
impl Distribution for Service {
    type AttachStream = Pin<Box<dyn Stream<Item = Result<proto::AttachResponse, Status>> + Send>>;

    async fn attach(
        &self,
        request: Request<Streaming<proto::AttachRequest>>,
    ) -> Result<Response<Self::AttachStream>, Status> {
        let authorization = request.metadata().get("authorization").and_then(|value| value.to_str().ok());
        let authorization = authorization.unwrap_or_default().to_owned();
        if authorization != format!("Bearer {SECRET}") {
            return Err(Status::unauthenticated("no"));
        }
        let mut inbound = request.into_inner();
        let first = inbound.message().await?.and_then(|first| first.message);
        let Some(Said::Hello(hello)) = first else { return Err(Status::invalid_argument("no Hello")) };
        let (tell, told) = mpsc::channel(64);
        let (say, said) = mpsc::channel(1024);
        tokio::spawn(async move {
            while let Some(Ok(request)) = inbound.next().await {
                if say.send(request.message.expect("a message")).await.is_err() {
                    return;
                }
            }
        });
        let session = Session { hello, authorization, said, tell };
        self.sessions.send(session).await.map_err(|_| Status::unavailable("over"))?;
        Ok(Response::new(Box::pin(ReceiverStream::new(told))))
    }
}

/// The fake. Dropped, its port closes and its connections end.
pub(crate) struct FakeControlPlane {
    pub(crate) addr: SocketAddr,
    pub(crate) key: SigningKey,
    sessions: mpsc::Receiver<Session>,
    server: JoinHandle<()>,
}

impl Drop for FakeControlPlane {
    fn drop(&mut self) {
        self.server.abort();
    }
}

impl FakeControlPlane {
    pub(crate) async fn start() -> Self {
        Self::start_at(([127, 0, 0, 1], 0).into(), SigningKey::generate().unwrap().0).await
    }

    /// At an address that another one just left, perhaps.
    pub(crate) async fn start_at(addr: SocketAddr, key: SigningKey) -> Self {
        let listener = soon(async {
            loop {
                match TcpListener::bind(addr).await {
                    Ok(listener) => return listener,
                    Err(_) => tokio::task::yield_now().await,
                }
            }
        })
        .await;
        let addr = listener.local_addr().unwrap();
        Self::serve(addr, key, TcpListenerStream::new(listener))
    }

    pub(crate) fn serve<I, IO>(addr: SocketAddr, key: SigningKey, incoming: I) -> Self
    where
        I: Stream<Item = Result<IO, std::io::Error>> + Send + 'static,
        IO: tokio::io::AsyncRead
            + tokio::io::AsyncWrite
            + tonic::transport::server::Connected
            + Unpin
            + Send
            + 'static,
    {
        let (send, sessions) = mpsc::channel(16);
        let service = DistributionServer::new(Service { sessions: send });
        let server = tokio::spawn(async move {
            let _ =
                tonic::transport::Server::builder().add_service(service).serve_with_incoming(incoming).await;
        });
        Self { addr, key, sessions, server }
    }

    pub(crate) fn url(&self) -> String {
        format!("http://{}", self.addr)
    }

    pub(crate) fn token(&self) -> PlaneToken {
        PlaneToken { secret_text: SECRET.to_owned(), public_key: self.key.public_key() }
    }

    pub(crate) fn config(&self, dir: &Path) -> SyncConfig {
        SyncConfig {
            control_plane: ControlPlane::new(&self.url(), None).unwrap(),
            token: self.token(),
            name: "plane-1".parse().unwrap(),
            labels: [("region".to_owned(), "eu".to_owned())].into(),
            allow_stdio: true,
            mcp_url: "http://127.0.0.1:7400".to_owned(),
            dir: dir.to_owned(),
        }
    }

    pub(crate) async fn session(&mut self) -> Session {
        soon(self.sessions.recv()).await.expect("the fake is alive")
    }

    /// The next conversation, welcomed.
    pub(crate) async fn welcomed(&mut self) -> Session {
        let session = self.session().await;
        session.welcome().await;
        session
    }

    pub(crate) fn snapshot(&self, version: u64, entries: &[Entry]) -> Signed {
        Signed::new(&self.key, version, entries)
    }
}

/// A data plane's synchronisation that runs until it is dropped.
pub(crate) struct Plane {
    pub(crate) synced: Synced,
    pub(crate) stop: CancellationToken,
    pub(crate) task: JoinHandle<()>,
}

impl Drop for Plane {
    fn drop(&mut self) {
        self.stop.cancel();
    }
}

impl Plane {
    pub(crate) fn start(config: SyncConfig) -> Self {
        let (synchroniser, synced) = Synchroniser::open(config).unwrap();
        let stop = CancellationToken::new();
        let figures = || portcullis_data_plane::sync::PlaneFigures {
            calls_total: 42,
            open_streams: 7,
            draining: false,
            ..Default::default()
        };
        let task = tokio::spawn(synchroniser.run(figures, stop.clone()));
        Self { synced, stop, task }
    }

    pub(crate) async fn end(mut self) {
        self.stop.cancel();
        soon(&mut self.task).await.unwrap();
    }

    pub(crate) fn version(&self) -> u64 {
        version(&self.synced)
    }
}

pub(crate) fn version(synced: &Synced) -> u64 {
    synced.live.load().map_or(0, |snapshot| snapshot.version().0)
}

/// What a control plane would send of one version.
#[derive(Clone)]
pub(crate) struct Signed {
    pub(crate) header: proto::SnapshotHeader,
    pub(crate) entries: Vec<proto::Entry>,
}

impl Signed {
    pub(crate) fn new(key: &SigningKey, version: u64, entries: &[Entry]) -> Self {
        let (encoded, digest) = encode_all(entries);
        let entries: Vec<proto::Entry> = encoded
            .into_iter()
            .map(|entry| proto::Entry {
                kind: entry.kind.to_owned(),
                id: entry.id,
                body: Bytes::from(entry.body),
            })
            .collect();
        let count = u32::try_from(entries.len()).unwrap();
        Self { header: sign(key, version, digest, count), entries }
    }

    /// In pieces of so many entries.
    pub(crate) fn chunks(&self, size: usize) -> Vec<proto::SnapshotChunk> {
        let pieces: Vec<_> = self.entries.chunks(size).collect();
        let last = pieces.len() - 1;
        let chunk = |(at, piece): (usize, &&[proto::Entry])| proto::SnapshotChunk {
            version: self.header.version,
            header: (at == 0).then(|| self.header.clone()),
            entries: piece.to_vec(),
            last: at == last,
        };
        pieces.iter().enumerate().map(chunk).collect()
    }
}

pub(crate) fn sign(
    key: &SigningKey,
    version: u64,
    digest: portcullis_seal::Fingerprint,
    entries: u32,
) -> proto::SnapshotHeader {
    let header = SnapshotHeader {
        version: SnapshotVersion(version),
        digest,
        built_unix_ms: 1_780_000_000_000,
        entries,
    };
    proto::SnapshotHeader {
        version,
        digest: Bytes::copy_from_slice(digest.as_bytes()),
        built_unix_ms: header.built_unix_ms,
        entries,
        signature: Bytes::copy_from_slice(&key.sign(SIGNATURE_PURPOSE, &header.signed_text())),
        key_id: Bytes::copy_from_slice(&key.public_key().id().0),
    }
}

pub(crate) fn zone(number: u128) -> Entry {
    Entry::Zone(ZoneEntry {
        uid: Uid(Uuid::from_u128(number)),
        name: format!("zone-{number}").parse().unwrap(),
        ..ZoneEntry::built_in()
    })
}

pub(crate) fn zones(count: u128) -> Vec<Entry> {
    (1..=count).map(zone).collect()
}

/// A team of a customer that is not there.
pub(crate) fn dangling() -> Entry {
    Entry::Team(TeamEntry {
        uid: Uid(Uuid::from_u128(1000)),
        name: "lost".parse().unwrap(),
        customer: Some("nobody".parse().unwrap()),
        metering: Metering::default(),
    })
}
