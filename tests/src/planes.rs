//! Both planes, each startable in the process of a test, over directories that outlive them.

use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use portcullis_control_plane as control_plane;
use portcullis_data_plane as data_plane;
use portcullis_data_plane::TlsFiles;
use portcullis_data_plane::ledger::{AuditRecord, Filter, SpoolConfig};
use portcullis_policy::resource::Network;
use tempfile::TempDir;
use tokio_util::sync::CancellationToken;

use crate::admin::Admin;
use crate::certificates::Authority;
use crate::client::Caller;
use crate::patience::{eventually, soon};

/// A port of loopback that the machine chooses.
#[must_use]
pub fn any_port() -> SocketAddr {
    ([127, 0, 0, 1], 0).into()
}

/// A control plane that runs in this process.
pub struct ControlPlane {
    /// Its administrator.
    pub admin: Admin,
    /// Where gRPC is served.
    pub url: String,
    /// The same as an address.
    pub addr: SocketAddr,
    /// Where HTTP is served.
    pub http: String,
    /// Its state.
    pub dir: Arc<TempDir>,
    running: Option<control_plane::Running>,
    shutdown: CancellationToken,
}

/// How to start a control plane.
#[derive(Clone)]
pub struct ControlOptions {
    /// Its state.
    pub dir: Arc<TempDir>,
    /// Where.
    pub listen: SocketAddr,
    /// With which certificate, and the authority that signed it.
    pub tls: Option<(TlsFiles, PathBuf)>,
    /// How often servers are probed without other cause.
    pub probe_interval: Duration,
    /// What time it is to it.
    pub clock: control_plane::Clock,
}

impl Default for ControlOptions {
    fn default() -> Self {
        Self {
            dir: Arc::new(tempfile::tempdir().unwrap()),
            listen: any_port(),
            tls: None,
            probe_interval: Duration::from_secs(30),
            clock: control_plane::Clock::system(),
        }
    }
}

impl ControlPlane {
    /// Starts one.
    pub async fn start(options: ControlOptions) -> Self {
        let shutdown = CancellationToken::new();
        let mut config = control_plane::Config::new(options.dir.path());
        config.grpc_listen = options.listen;
        config.http_listen = any_port();
        config.grace = Duration::from_millis(500);
        config.probe_interval = options.probe_interval;
        config.clock = options.clock;
        config.tls = options.tls.as_ref().map(|(files, _)| files.clone());
        let running = soon("the last one leaves the port", async {
            loop {
                match control_plane::start(config.clone(), shutdown.clone()).await {
                    Ok(running) => return running,
                    Err(control_plane::StartError::Listen(_)) if options.listen.port() != 0 => {
                        tokio::time::sleep(Duration::from_millis(5)).await;
                    }
                    Err(error) => panic!("the control plane does not start: {error}"),
                }
            }
        })
        .await;
        let scheme = if options.tls.is_some() { "https" } else { "http" };
        let url = format!("{scheme}://{}", running.grpc_addr);
        let http = format!("{scheme}://{}", running.http_addr);
        let token = std::fs::read_to_string(&running.admin_token_file).unwrap();
        let ca = options.tls.as_ref().map(|(_, ca)| ca.as_path());
        let admin = Admin::new(&url, token.trim(), ca);
        Self { admin, url, http, addr: running.grpc_addr, dir: options.dir, running: Some(running), shutdown }
    }

    /// Stops it and waits until it is gone.
    pub async fn stop(&mut self) {
        self.shutdown.cancel();
        if let Some(running) = self.running.take() {
            soon("the control plane ends", running.wait()).await.unwrap();
        }
    }
}

impl Drop for ControlPlane {
    fn drop(&mut self) {
        self.shutdown.cancel();
    }
}

/// How to start a data plane.
#[derive(Clone)]
pub struct PlaneOptions {
    /// Its name.
    pub name: String,
    /// Its state.
    pub dir: Arc<TempDir>,
    /// Its control plane.
    pub control_plane: String,
    /// What admits it there.
    pub token: String,
    /// The authority of the control plane's certificate.
    pub ca_file: Option<PathBuf>,
    /// The certificate of its own port.
    pub tls: Option<TlsFiles>,
    /// Its audit spool.
    pub spool: SpoolConfig,
    /// Proxies that it believes about whom they forward for.
    pub trusted_proxies: Vec<Network>,
}

impl PlaneOptions {
    /// A plane of this name.
    #[must_use]
    pub fn new(name: &str, control_plane: &str, token: &str) -> Self {
        Self {
            name: name.to_owned(),
            dir: Arc::new(tempfile::tempdir().unwrap()),
            control_plane: control_plane.to_owned(),
            token: token.to_owned(),
            ca_file: None,
            tls: None,
            spool: SpoolConfig { segment_bytes: 1 << 20, shards: 1, ..SpoolConfig::default() },
            trusted_proxies: Vec::new(),
        }
    }
}

/// A data plane that runs in this process.
pub struct DataPlane {
    /// `http://host:port` of its MCP port.
    pub base: String,
    /// The same of its operations port.
    pub ops: String,
    /// What is enforced.
    pub live: data_plane::sync::Live,
    /// Its state.
    pub dir: Arc<TempDir>,
    running: Option<data_plane::Running>,
    shutdown: CancellationToken,
}

impl DataPlane {
    /// Starts one.
    pub async fn start(options: PlaneOptions) -> Self {
        let shutdown = CancellationToken::new();
        let name = options.name.parse().unwrap();
        let mut config = data_plane::Config::new(
            options.dir.path().join("data"),
            name,
            options.control_plane,
            options.token,
        );
        config.listen = any_port();
        config.ops_listen = any_port();
        config.ca_file = options.ca_file;
        config.tls = options.tls;
        config.allow_stdio = true;
        config.stdio_env =
            [("PATH".to_owned(), std::env::var("PATH").unwrap_or_default())].into_iter().collect();
        config.spool = options.spool;
        config.trusted_proxies = options.trusted_proxies;
        config.drain_timeout = Duration::from_millis(500);
        // Stories share their machine with others: a lease may take longer here than callers would like to wait for it.
        config.metering.empty_wait = Duration::from_secs(2);
        let scheme = if config.tls.is_some() { "https" } else { "http" };
        let running = data_plane::start(config, shutdown.clone()).await.expect("the data plane starts");
        Self {
            base: format!("{scheme}://{}", running.mcp_addr),
            ops: format!("http://{}", running.ops_addr),
            live: running.live.clone(),
            dir: options.dir,
            running: Some(running),
            shutdown,
        }
    }

    /// Stops it and waits until it is gone.
    pub async fn stop(&mut self) {
        self.shutdown.cancel();
        if let Some(running) = self.running.take() {
            soon("the data plane ends", running.wait()).await;
        }
    }

    /// The version in force; 0 when there is none.
    #[must_use]
    pub fn version(&self) -> u64 {
        self.live.load().map_or(0, |snapshot| snapshot.version().0)
    }

    /// Waits until this version, or a newer one, is in force.
    pub async fn enforces(&self, version: u64) {
        let mut versions = self.live.subscribe();
        soon(&format!("version {version} in force"), async {
            versions.wait_for(|in_force| in_force.0 >= version).await.map(|_| ()).unwrap();
        })
        .await;
    }

    /// A caller that needs no handshake.
    #[must_use]
    pub fn modern(&self, path: &str, secret: &str) -> Caller {
        Caller::modern(format!("{}{path}", self.base), secret)
    }

    /// A caller that has not shaken hands yet.
    #[must_use]
    pub fn legacy(&self, path: &str, secret: &str) -> Caller {
        Caller::legacy(format!("{}{path}", self.base), secret)
    }

    /// The audit record of a request.
    pub async fn record(&self, request_id: uuid::Uuid) -> AuditRecord {
        let filter = Filter { request_id: Some(request_id), ..Filter::default() };
        let what = format!("the record of {request_id}");
        let found = eventually(&what, async || records(self.dir.path(), filter.clone()).pop());
        found.await.0
    }

    /// All records so far.
    #[must_use]
    pub fn records(&self) -> Vec<AuditRecord> {
        records(self.dir.path(), Filter::default())
    }
}

/// The records of the data plane whose data directory this is.
#[must_use]
pub fn records(data_dir: &Path, filter: Filter) -> Vec<AuditRecord> {
    let dir = data_dir.join("data").join(data_plane::ledger::DIRECTORY);
    data_plane::ledger::read(&dir, filter).unwrap().filter_map(Result::ok).collect()
}

impl Drop for DataPlane {
    fn drop(&mut self) {
        self.shutdown.cancel();
    }
}

/// A whole Portcullis: a control plane and one data plane.
pub struct Portcullis {
    /// What is decided from.
    pub control: ControlPlane,
    /// What decides.
    pub plane: DataPlane,
    /// Its administrator.
    pub admin: Admin,
}

impl Portcullis {
    /// Starts one over plain loopback.
    pub async fn start() -> Self {
        Self::start_with(ControlOptions::default()).await
    }

    /// Starts one with settings of the control plane.
    pub async fn start_with(options: ControlOptions) -> Self {
        Self::start_tuned(options, |_| {}).await
    }

    /// Starts one with settings of both planes.
    pub async fn start_tuned(options: ControlOptions, tune: impl FnOnce(&mut PlaneOptions)) -> Self {
        let control = ControlPlane::start(options).await;
        let (_, token) = control.admin.plane_token().await;
        let mut options = PlaneOptions::new("plane-a", &control.url, &token);
        tune(&mut options);
        let plane = DataPlane::start(options).await;
        let admin = control.admin.clone();
        plane.enforces(1).await;
        Self { control, plane, admin }
    }

    /// Applies documents, and waits until the plane enforces them.
    pub async fn apply(&self, text: &str) -> portcullis_proto::admin::v1::ApplyResponse {
        let response = self.admin.apply(text).await;
        self.settle().await;
        response
    }

    /// Applies servers that offer so many definitions in all, approves them, and waits until the plane enforces that.
    pub async fn admit(&self, text: &str, definitions: usize) -> portcullis_proto::admin::v1::ApplyResponse {
        let response = self.admin.apply(text).await;
        self.admin.awaits(definitions).await;
        self.admin.approve_all().await;
        self.settle().await;
        response
    }

    /// Waits until the plane enforces what is published.
    pub async fn settle(&self) {
        self.plane.enforces(self.admin.snapshot().await.version).await;
    }
}

/// A directory with an authority and a certificate for loopback.
#[must_use]
pub fn tls(dir: &Path) -> (Authority, TlsFiles) {
    let authority = Authority::new(dir);
    let files = authority.sign(dir, "loopback");
    (authority, files)
}
