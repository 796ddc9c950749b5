//! A control plane that a test drives itself: it admits data planes and sends them what the test signs, when it says so.

use std::net::SocketAddr;
use std::pin::Pin;
use std::sync::{Arc, Mutex};

use bytes::Bytes;
use futures_util::{Stream, StreamExt as _};
use portcullis_policy::snapshot::{SIGNATURE_PURPOSE, SnapshotHeader, SnapshotVersion, encode_all};
use portcullis_policy::{Entry, secret};
use portcullis_proto::config::v1 as wire;
use portcullis_seal::{PlaneToken, SigningKey, fingerprint_json};
use serde_json::{Value, json};
use tokio::net::TcpListener;
use tokio::sync::{mpsc, watch};
use tokio::task::JoinHandle;
use tokio_stream::wrappers::{ReceiverStream, TcpListenerStream};
use tonic::{Request, Response, Status, Streaming};
use wire::attach_request::Message as Said;
use wire::attach_response::Message as Told;
use wire::distribution_server::{Distribution, DistributionServer};

const SECRET: &str = "pcp_of-a-fake";

type Attached = mpsc::Sender<Result<wire::AttachResponse, Status>>;

#[derive(Default)]
struct Shared {
    /// Whether planes get no keys for sealed tokens.
    keyless: bool,
    planes: Mutex<Vec<Attached>>,
    /// What a plane gets that attaches now.
    current: Mutex<Option<wire::SnapshotChunk>>,
    nacks: Mutex<Vec<wire::Nack>>,
}

struct Service {
    shared: Arc<Shared>,
    acked: watch::Sender<u64>,
}

fn response(message: Told) -> Result<wire::AttachResponse, Status> {
    Ok(wire::AttachResponse { message: Some(message) })
}

fn welcome() -> Told {
    let welcome = wire::Welcome {
        control_plane_id: "fake".to_owned(),
        unix_ms: 0,
        status_interval_ms: 1000,
        ..wire::Welcome::default()
    };
    Told::Welcome(welcome)
}

fn secrets() -> Told {
    let key = wire::SealingKey { id: vec![1, 2, 3, 4].into(), key: vec![9; 32].into() };
    Told::Secrets(wire::SecretPart { generation: 1, sealing_keys: vec![key], values: Default::default() })
}

#[tonic::async_trait]
impl Distribution for Service {
    type AttachStream = Pin<Box<dyn Stream<Item = Result<wire::AttachResponse, Status>> + Send>>;

    async fn attach(
        &self,
        request: Request<Streaming<wire::AttachRequest>>,
    ) -> Result<Response<Self::AttachStream>, Status> {
        let presented = request.metadata().get("authorization").and_then(|value| value.to_str().ok());
        if presented != Some(format!("Bearer {SECRET}").as_str()) {
            return Err(Status::unauthenticated("no"));
        }
        let (tell, told) = mpsc::channel(64);
        let current = self.shared.current.lock().unwrap().clone();
        let secrets = (!self.shared.keyless).then(secrets);
        for message in [welcome()].into_iter().chain(secrets).chain(current.map(Told::Snapshot)) {
            tell.send(response(message)).await.map_err(|_| Status::unavailable("gone"))?;
        }
        self.shared.planes.lock().unwrap().push(tell);
        let (mut inbound, shared, acked) =
            (request.into_inner(), Arc::clone(&self.shared), self.acked.clone());
        tokio::spawn(async move {
            while let Some(Ok(request)) = inbound.next().await {
                match request.message {
                    Some(Said::Ack(ack)) => drop(acked.send_replace(ack.version)),
                    Some(Said::Nack(nack)) => shared.nacks.lock().unwrap().push(nack),
                    _ => {}
                }
            }
        });
        Ok(Response::new(Box::pin(ReceiverStream::new(told))))
    }
}

/// The fake. Dropped, its port closes.
pub struct FakeControlPlane {
    /// Where it serves.
    pub url: String,
    key: SigningKey,
    shared: Arc<Shared>,
    acked: watch::Receiver<u64>,
    server: JoinHandle<()>,
}

impl FakeControlPlane {
    /// Starts one.
    pub async fn start() -> Self {
        Self::start_with(Shared::default()).await
    }

    /// Starts one that gives no keys for sealed tokens.
    pub async fn start_keyless() -> Self {
        Self::start_with(Shared { keyless: true, ..Shared::default() }).await
    }

    async fn start_with(shared: Shared) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let addr: SocketAddr = listener.local_addr().unwrap();
        let shared = Arc::new(shared);
        let (acked, acks) = watch::channel(0);
        let service = DistributionServer::new(Service { shared: Arc::clone(&shared), acked });
        let server = tokio::spawn(async move {
            let incoming = TcpListenerStream::new(listener);
            let _ =
                tonic::transport::Server::builder().add_service(service).serve_with_incoming(incoming).await;
        });
        let key = SigningKey::generate().unwrap().0;
        Self { url: format!("http://{addr}"), key, shared, acked: acks, server }
    }

    /// What admits a data plane here.
    #[must_use]
    pub fn token(&self) -> String {
        PlaneToken { secret_text: SECRET.to_owned(), public_key: self.key.public_key() }.to_text()
    }

    /// Signs a version and sends it to every plane, and to those that come.
    pub async fn push(&self, version: u64, policy: &Policy) {
        let (encoded, digest) = encode_all(&policy.entries());
        let entries: Vec<wire::Entry> = encoded
            .into_iter()
            .map(|entry| wire::Entry { kind: entry.kind.to_owned(), id: entry.id, body: entry.body.into() })
            .collect();
        let count = u32::try_from(entries.len()).unwrap();
        let built_unix_ms = 1_780_000_000_000;
        let header =
            SnapshotHeader { version: SnapshotVersion(version), digest, built_unix_ms, entries: count };
        let signature = self.key.sign(SIGNATURE_PURPOSE, &header.signed_text());
        let signed = wire::SnapshotHeader {
            version,
            digest: Bytes::copy_from_slice(digest.as_bytes()),
            built_unix_ms,
            entries: count,
            signature: Bytes::copy_from_slice(&signature),
            key_id: Bytes::copy_from_slice(&self.key.public_key().id().0),
        };
        let chunk = wire::SnapshotChunk { version, header: Some(signed), entries, last: true };
        *self.shared.current.lock().unwrap() = Some(chunk.clone());
        let planes = self.shared.planes.lock().unwrap().clone();
        for plane in planes {
            let _ = plane.send(response(Told::Snapshot(chunk.clone()))).await;
        }
    }

    /// Waits until a plane says that it enforces a version.
    pub async fn acknowledged(&mut self, version: u64) {
        let acked = &mut self.acked;
        crate::patience::soon("an acknowledgement", async {
            acked.wait_for(|acked| *acked >= version).await.map(|_| ()).unwrap();
        })
        .await;
    }

    /// What planes refused.
    #[must_use]
    pub fn nacks(&self) -> Vec<wire::Nack> {
        self.shared.nacks.lock().unwrap().clone()
    }
}

impl Drop for FakeControlPlane {
    fn drop(&mut self) {
        self.server.abort();
    }
}

/// A snapshot in the making, written the way entries travel.
#[derive(Clone, Default)]
pub struct Policy(Vec<(&'static str, Value)>);

/// A uid that is the same for the same text.
fn uid(kind: &str, name: &str) -> String {
    let hash = portcullis_seal::sha256(format!("{kind}/{name}").as_bytes());
    let bytes: [u8; 16] = hash[..16].try_into().unwrap();
    uuid::Builder::from_random_bytes(bytes).into_uuid().to_string()
}

/// A secret for a key.
#[must_use]
pub fn new_secret() -> String {
    secret::generate_key().unwrap().text.to_string()
}

impl Policy {
    /// The built-in zone and nothing else.
    #[must_use]
    pub fn new() -> Self {
        Self::default().and(
            "zone",
            json!({"uid": uid("zone", "default"), "name": "default",
            "reachableFrom": [], "allowedDataClasses": ["*"], "audit": "required"}),
        )
    }

    /// With one entry more.
    #[must_use]
    pub fn and(mut self, kind: &'static str, body: Value) -> Self {
        self.0.push((kind, body));
        self
    }

    /// With a server over HTTP that was seen to speak this revision.
    #[must_use]
    pub fn server(self, name: &str, url: &str, revision: &str) -> Self {
        self.and("server", json!({
            "uid": uid("server", name), "name": name, "zone": "default",
            "transport": {"streamableHttp": {"url": url}},
            "hosting": "self", "environment": "prod", "tier": "bronze", "dataClasses": [], "auth": {"none": {}},
            "limits": {"timeout": "30s", "maxRequestBytes": "1MiB", "maxResponseBytes": "4MiB", "concurrency": 1000},
            "observed": {"modern": revision >= crate::client::MODERN, "protocolVersion": revision,
                         "capabilities": {"tools": {}}},
        }))
    }

    /// With an approved tool.
    #[must_use]
    pub fn tool(self, server: &str, name: &str) -> Self {
        let definition = crate::upstream::tool(name);
        let pin = fingerprint_json(definition.to_string().as_bytes()).unwrap();
        self.and(
            "tool",
            json!({"server": uid("server", server), "name": name,
            "state": {"approved": {"pin": pin, "definition": definition}}}),
        )
    }

    /// With a key.
    #[must_use]
    pub fn key(self, name: &str, text: &str, grants: &Value) -> Self {
        let hash = secret::key_hash(text).unwrap();
        self.and(
            "key",
            json!({
                "uid": uid("key", name), "name": name, "secrets": [{"hash": hash}], "revoked": false,
                "principal": {"kind": "agent", "subject": name}, "zone": "default", "grants": grants,
            }),
        )
    }

    fn entries(&self) -> Vec<Entry> {
        let decode = |(kind, body): &(&str, Value)| Entry::decode(kind, body.to_string().as_bytes()).unwrap();
        self.0.iter().map(decode).collect()
    }
}
