//! A control plane's stream on a real port, and data planes that are small enough to be read in one sitting.
#![allow(dead_code, reason = "each test file uses its part")]

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use portcullis_control_plane::approvals::calls::Calls;
use portcullis_control_plane::publish::{EncodedEntry, Published};
use portcullis_control_plane::store::Vault;
use portcullis_control_plane::stream::{
    Distribution, DistributionParts, PlaneInfo, PlaneTokens, Planes, StoreHandle, Timings, TokenScope,
};
use portcullis_policy::Snapshot;
use portcullis_policy::snapshot::{
    Entry, SIGNATURE_PURPOSE, SnapshotDigest, SnapshotHeader, SnapshotVersion, signed_text,
};
use portcullis_proto::config::v1 as proto;
use portcullis_proto::config::v1::attach_request::Message as Said;
use portcullis_proto::config::v1::attach_response::Message;
use portcullis_proto::config::v1::distribution_client::DistributionClient;
use portcullis_seal::{Fingerprint, PlaneToken, PublicKey};
use tokio::sync::{mpsc, watch};
use tokio::time::timeout;
use tokio_stream::wrappers::{ReceiverStream, TcpListenerStream};
use tokio_util::sync::CancellationToken;
use tonic::{Request, Status, Streaming};

use crate::catalog_support::World;

/// More than anything here takes; only a failing test waits so long.
const PATIENCE: Duration = Duration::from_secs(20);

pub(crate) struct Control {
    pub(crate) world: World,
    pub(crate) vault: Arc<Vault>,
    pub(crate) planes: Planes,
    pub(crate) tokens: PlaneTokens,
    pub(crate) publish: watch::Sender<Option<Arc<Published>>>,
    pub(crate) addr: SocketAddr,
    pub(crate) stop: CancellationToken,
    _dir: tempfile::TempDir,
}

pub(crate) fn timings() -> Timings {
    Timings::new(Duration::from_secs(60), Duration::from_secs(30))
}

impl Control {
    pub(crate) async fn start() -> Self {
        Self::start_with(timings()).await
    }

    pub(crate) async fn start_with(timings: Timings) -> Self {
        let world = World::new();
        let dir = tempfile::tempdir().unwrap();
        let vault = Arc::new(Vault::open(&dir.path().join("vault"), 1).unwrap());
        let planes = Planes::new(world.clock.clone());
        let tokens =
            PlaneTokens::new(Arc::clone(&world.store), world.clock.clone(), vault.signing_key().public_key());
        let (publish, published) = watch::channel(None);
        let distribution = Distribution::new(DistributionParts {
            store: StoreHandle(Arc::clone(&world.store)),
            published,
            vault: Arc::clone(&vault),
            catalog: world.catalog.clone(),
            calls: Calls::new(Arc::clone(&world.store), world.clock.clone(), "http://127.0.0.1:7411"),
            planes: planes.clone(),
            clock: world.clock.clone(),
            timings,
        });
        let stop = CancellationToken::new();
        tokio::spawn(distribution.clone().supervise(stop.clone()));
        let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
        let addr = listener.local_addr().unwrap();
        tokio::spawn(
            tonic::transport::Server::builder()
                .add_service(distribution.into_server())
                .serve_with_incoming(TcpListenerStream::new(listener)),
        );
        Self { world, vault, planes, tokens, publish, addr, stop, _dir: dir }
    }

    /// Publishes a version with entries of these sizes.
    pub(crate) fn publish(&self, version: u64, sizes: &[usize]) -> Fingerprint {
        let encoded = sizes.iter().enumerate().map(|(at, size)| EncodedEntry {
            kind: "tool",
            id: format!("{at:06}").into(),
            body: vec![b'x'; *size].into(),
        });
        self.publish_both(version, encoded.collect(), Vec::new())
    }

    /// Publishes a version with these entries.
    pub(crate) fn publish_policy(&self, version: u64, entries: Vec<Entry>) -> Fingerprint {
        let encoded = entries.iter().map(|entry| EncodedEntry {
            kind: entry.kind(),
            id: entry.id().into(),
            body: entry.encode().into(),
        });
        self.publish_both(version, encoded.collect(), entries)
    }

    fn publish_both(&self, version: u64, encoded: Vec<EncodedEntry>, entries: Vec<Entry>) -> Fingerprint {
        let mut digest = SnapshotDigest::default();
        encoded.iter().for_each(|entry| digest.add(entry.kind, &entry.id, &entry.body));
        let digest = digest.finish();
        let header = SnapshotHeader {
            version: SnapshotVersion(version),
            digest,
            built_unix_ms: version * 1000,
            entries: u32::try_from(encoded.len()).unwrap(),
        };
        let key = self.vault.signing_key();
        let text = signed_text(header.version, header.built_unix_ms, header.entries, header.digest);
        let compiled = SnapshotHeader { entries: u32::try_from(entries.len()).unwrap(), ..header.clone() };
        self.publish.send_replace(Some(Arc::new(Published {
            signature: key.sign(SIGNATURE_PURPOSE, &text),
            key_id: key.public_key().id(),
            header,
            entries: Arc::new(encoded),
            snapshot: Arc::new(Snapshot::compile(compiled, entries).unwrap()),
            reports: Vec::new(),
        })));
        digest
    }

    pub(crate) async fn token(&self) -> PlaneToken {
        let new = self.tokens.create("admin", TokenScope::default()).await.unwrap();
        new.text.parse().unwrap()
    }

    /// A plane with a token of its own that is connected and heard its Welcome.
    pub(crate) async fn plane(&self, name: &str) -> FakePlane {
        let token = self.token().await;
        self.attach(&token.secret_text, hello(name)).await.unwrap().welcomed().await
    }

    pub(crate) async fn attach(&self, secret: &str, hello: proto::Hello) -> Result<FakePlane, Status> {
        let plane = self.open(Some(secret)).await?;
        plane.say(Said::Hello(hello)).await;
        Ok(plane)
    }

    /// Opens a stream and says nothing yet.
    pub(crate) async fn open(&self, secret: Option<&str>) -> Result<FakePlane, Status> {
        open(self.addr, secret).await
    }

    pub(crate) fn info(&self, name: &str) -> PlaneInfo {
        let state = self.world.store.state();
        self.planes.list(&state).into_iter().find(|plane| plane.name == name).unwrap()
    }

    /// Waits until what is listed of a plane is so.
    pub(crate) async fn until(&self, name: &str, holds: impl Fn(&PlaneInfo) -> bool) -> PlaneInfo {
        let look = async {
            loop {
                let state = self.world.store.state();
                if let Some(info) =
                    self.planes.list(&state).into_iter().find(|plane| plane.name == name && holds(plane))
                {
                    return info;
                }
                tokio::time::sleep(Duration::from_millis(5)).await;
            }
        };
        timeout(PATIENCE, look).await.expect("it never came to be so")
    }
}

/// Opens a stream and says nothing yet.
pub(crate) async fn open(addr: SocketAddr, secret: Option<&str>) -> Result<FakePlane, Status> {
    let mut client = DistributionClient::connect(format!("http://{addr}"))
        .await
        .unwrap()
        .max_decoding_message_size(64 << 20);
    let (say, said) = mpsc::channel(64);
    let mut request = Request::new(ReceiverStream::new(said));
    if let Some(secret) = secret {
        request.metadata_mut().insert("authorization", format!("Bearer {secret}").parse().unwrap());
    }
    let hear = client.attach(request).await?.into_inner();
    Ok(FakePlane { say, hear, messages: 0 })
}

pub(crate) fn hello(name: &str) -> proto::Hello {
    proto::Hello { name: name.to_owned(), software_version: "0.1.0".to_owned(), ..proto::Hello::default() }
}

pub(crate) struct FakePlane {
    pub(crate) say: mpsc::Sender<proto::AttachRequest>,
    pub(crate) hear: Streaming<proto::AttachResponse>,
    /// How many messages it heard.
    pub(crate) messages: usize,
}

/// A whole snapshot as it came.
pub(crate) struct Received {
    pub(crate) version: u64,
    pub(crate) digest: Fingerprint,
    pub(crate) chunks: usize,
    pub(crate) largest_chunk: usize,
    /// Kind, id and body of each entry.
    pub(crate) entries: Vec<(String, String, bytes::Bytes)>,
}

impl FakePlane {
    pub(crate) async fn say(&self, said: Said) {
        self.say.send(proto::AttachRequest { message: Some(said) }).await.unwrap();
    }

    pub(crate) async fn next(&mut self) -> Result<Message, Status> {
        let next = timeout(PATIENCE, self.hear.message()).await.expect("nothing came")?;
        self.messages += 1;
        next.and_then(|response| response.message).ok_or_else(|| Status::ok("the stream ended"))
    }

    pub(crate) async fn welcomed(mut self) -> Self {
        assert!(matches!(self.next().await.unwrap(), Message::Welcome(_)));
        self
    }

    /// The status with which the stream ends, whatever comes before it.
    pub(crate) async fn end(&mut self) -> Status {
        loop {
            if let Err(status) = self.next().await {
                return status;
            }
        }
    }

    /// The next message for which `pick` has an answer; others are passed over.
    pub(crate) async fn until<T>(&mut self, mut pick: impl FnMut(Message) -> Option<T>) -> T {
        loop {
            if let Some(found) = pick(self.next().await.unwrap()) {
                return found;
            }
        }
    }

    pub(crate) async fn secrets(&mut self) -> proto::SecretPart {
        self.until(|message| if let Message::Secrets(part) = message { Some(part) } else { None }).await
    }

    pub(crate) async fn assignment(&mut self) -> proto::ProbeAssignment {
        self.until(|message| if let Message::Probe(probe) = message { Some(probe) } else { None }).await
    }

    /// The next assignment of which this holds.
    pub(crate) async fn assigned(&mut self, holds: impl Fn(&proto::ProbeAssignment) -> bool) {
        self.until(
            |message| if let Message::Probe(probe) = message { holds(&probe).then_some(()) } else { None },
        )
        .await;
    }

    pub(crate) async fn signal(&mut self) -> proto::Signal {
        self.until(|message| if let Message::Signal(signal) = message { Some(signal) } else { None }).await
    }

    /// The next snapshot, checked as a data plane would: chunks in order without others between them, digest, signature.
    pub(crate) async fn snapshot(&mut self, control: &Control) -> Received {
        self.snapshot_signed(&control.vault.signing_key().public_key()).await
    }

    /// The same, of whoever holds this key.
    pub(crate) async fn snapshot_signed(&mut self, key: &PublicKey) -> Received {
        use prost::Message as _;
        let mut chunk = self
            .until(|message| if let Message::Snapshot(chunk) = message { Some(chunk) } else { None })
            .await;
        let header = chunk.header.clone().expect("the first chunk has the header");
        let mut digest = SnapshotDigest::default();
        let (mut entries, mut chunks, mut largest_chunk) = (Vec::new(), 0, 0);
        loop {
            assert_eq!(chunk.version, header.version);
            chunks += 1;
            largest_chunk = largest_chunk.max(chunk.encoded_len());
            for entry in std::mem::take(&mut chunk.entries) {
                digest.add(&entry.kind, &entry.id, &entry.body);
                entries.push((entry.kind, entry.id, entry.body));
            }
            if chunk.last {
                break;
            }
            chunk = match self.next().await.unwrap() {
                Message::Snapshot(next) if next.header.is_none() => next,
                other => panic!("between two chunks came {other:?}"),
            };
        }
        let digest = digest.finish();
        assert_eq!(
            (header.entries as usize, header.digest.as_ref()),
            (entries.len(), digest.as_bytes().as_slice())
        );
        let text = signed_text(SnapshotVersion(header.version), header.built_unix_ms, header.entries, digest);
        key.verify(SIGNATURE_PURPOSE, &text, &header.signature).unwrap();
        assert_eq!(header.key_id.as_ref(), key.id().0);
        Received { version: header.version, digest, chunks, largest_chunk, entries }
    }

    pub(crate) async fn ack(&self, received: &Received) {
        let digest = received.digest.as_bytes().to_vec().into();
        self.say(Said::Ack(proto::Ack { version: received.version, digest, applied_in_micros: 10 })).await;
    }
}
