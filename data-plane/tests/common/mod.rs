//! A whole gateway in one process: a compiled snapshot, a real HTTP listener, real upstreams of both eras.
#![allow(
    dead_code,
    unreachable_pub,
    missing_debug_implementations,
    reason = "each test file uses its part, in a crate of its own"
)]
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing,
    reason = "a fixture that fails is a test that fails"
)]

pub mod client;
pub mod modern;
pub mod policy;
pub mod upstream;

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use hyper::service::service_fn;
use hyper_util::rt::{TokioExecutor, TokioIo};
use hyper_util::server::conn::auto;
use portcullis_data_plane::ledger::{AuditRecord, Spool, SpoolConfig};
use portcullis_data_plane::metering::Metering;
use portcullis_data_plane::pipeline::{Clock, Metrics};
use portcullis_data_plane::serve::{Doors, Gateway, Parts, Proxies};
use portcullis_data_plane::sync::{CallDesk, Live, Secrets, SecretsHandle, Signals};
use portcullis_data_plane::upstream::{UpstreamConfig, Upstreams};
use portcullis_seal::{SealKey, Sealer};
use tokio::net::TcpListener;

pub use client::Caller;
pub use policy::Policy;
pub use upstream::Fake;

/// Everything that serves, and what drives it.
pub struct World {
    pub gateway: Gateway,
    pub live: Live,
    pub secrets: SecretsHandle,
    pub signals: Signals,
    pub metrics: Metrics,
    pub base: String,
    now: Arc<AtomicU64>,
    spool: tempfile::TempDir,
}

impl World {
    /// With a snapshot in force.
    pub async fn new(policy: &Policy) -> Self {
        let world = Self::empty(SpoolConfig { shards: 1, ..SpoolConfig::default() }).await;
        world.live.swap(policy.compile(1));
        world
    }

    /// With nothing in force.
    pub async fn empty(spool_config: SpoolConfig) -> Self {
        Self::sharing(spool_config, SecretsHandle::new(secrets())).await
    }

    /// A sibling: the same keys for sealed tokens, nothing else in common.
    pub async fn sharing(spool_config: SpoolConfig, secrets: SecretsHandle) -> Self {
        let spool = tempfile::tempdir().unwrap();
        Self::metered(spool, spool_config, secrets, Metering::alone()).await
    }

    /// One whose calls are metered so, with its records in this directory.
    pub async fn metered(
        spool: tempfile::TempDir,
        spool_config: SpoolConfig,
        secrets: SecretsHandle,
        metering: Metering,
    ) -> Self {
        // A machine of tests may have no roots; nothing here needs any.
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let bound = listener.local_addr().unwrap();
        let (live, signals, metrics) = (Live::new(), Signals::default(), Metrics::default());
        let now = Arc::new(AtomicU64::new(1_800_000_000_000));
        let clock = Arc::clone(&now);
        let gateway = Gateway::new(Parts {
            live: live.clone(),
            secrets: secrets.clone(),
            upstreams: Upstreams::new(UpstreamConfig::default(), secrets.clone()),
            spool: Spool::open(spool.path(), spool_config).unwrap(),
            signals: signals.clone(),
            calls: CallDesk::default(),
            metering,
            clock: Clock::new(move || clock.load(Ordering::SeqCst)),
            metrics: metrics.clone(),
            doors: Doors::new(bound, &["https://app.example.com".to_owned()], &[]).unwrap(),
            proxies: Proxies::default(),
        });
        tokio::spawn(accept(listener, gateway.clone()));
        Self { gateway, live, secrets, signals, metrics, base: format!("http://{bound}"), now, spool }
    }

    /// Moves the clock.
    pub fn pass(&self, duration: Duration) {
        self.now.fetch_add(u64::try_from(duration.as_millis()).unwrap(), Ordering::SeqCst);
    }

    /// A caller with a key of the policy, at an endpoint.
    pub fn caller(&self, key: &str, path: &str) -> Caller {
        Caller::new(format!("{}{path}", self.base), &policy::secret(key))
    }

    /// All records so far, oldest first.
    pub fn records(&self) -> Vec<AuditRecord> {
        let read = portcullis_data_plane::ledger::read(
            self.spool.path(),
            portcullis_data_plane::ledger::Filter::default(),
        );
        read.unwrap().map(Result::unwrap).collect()
    }

    /// Where the records are.
    pub fn spool_dir(&self) -> &std::path::Path {
        self.spool.path()
    }

    /// Waits for a record that fits.
    pub async fn record(&self, fits: impl Fn(&AuditRecord) -> bool) -> AuditRecord {
        for _ in 0..1000 {
            if let Some(found) = self.records().into_iter().find(|record| fits(record)) {
                return found;
            }
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
        panic!("no such record among {:#?}", self.records());
    }
}

pub fn secrets() -> Secrets {
    let sealer = Sealer::new(vec![SealKey::new([1, 2, 3, 4], &[9; 32])]);
    Secrets { generation: 1, sealer, ..Secrets::default() }
}

async fn accept(listener: TcpListener, gateway: Gateway) {
    while let Ok((stream, peer)) = listener.accept().await {
        let gateway = gateway.clone();
        tokio::spawn(async move {
            let service = service_fn(move |request| {
                let gateway = gateway.clone();
                async move { Ok::<_, std::convert::Infallible>(gateway.handle(request, peer).await) }
            });
            let _ = auto::Builder::new(TokioExecutor::new())
                .serve_connection(TokioIo::new(stream), service)
                .await;
        });
    }
}
