//! Starting and stopping a control plane: the only place that knows all rooms.

use std::net::{Ipv4Addr, SocketAddr};
use std::path::PathBuf;
use std::sync::{Arc, Weak};
use std::time::Duration;

use portcullis_background::Background;
use portcullis_listen::{Bounds, ListenError, Listener, TlsFiles};
use portcullis_policy::resource::Name;
use portcullis_telemetry::Metrics;
use tokio::sync::mpsc;
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;
use tonic::service::Routes;
use tonic_health::ServingStatus;
use tonic_health::server::HealthReporter;

use crate::admin::{self, Authn};
use crate::approvals::Approvals;
use crate::approvals::calls::Calls;
use crate::bootstrap::{self, BootstrapError};
use crate::catalog::Catalog;
use crate::clock::Clock;
use crate::config::Config;
use crate::governance::AdminTokens;
use crate::grpc;
use crate::http::{self, Attempts, Pages};
use crate::keys::Keys;
use crate::metering::{Metering, Patience};
use crate::metrics::{self, Figures};
use crate::publish::Publisher;
use crate::registry::Registry;
use crate::store::{JournalStore, Store, StoreError, Vault, VaultError};
use crate::stream::{Distribution, DistributionParts, PlaneTokens, Planes, StoreHandle, Timings, TokenError};

/// How often the vault is asked whether a new sealing key is due.
const SEALING_KEYS: Duration = Duration::from_secs(60);

/// Why a control plane did not start. Nothing serves then.
#[derive(Debug, thiserror::Error)]
pub enum StartError {
    /// Plain text would be served to other machines.
    #[error(
        "{port} on {addr} would be served in plain text: give a certificate (--tls-cert FILE --tls-key FILE), or listen on a loopback address"
    )]
    PlainText {
        /// Which port: `gRPC` or `HTTP`.
        port: &'static str,
        /// Its address.
        addr: SocketAddr,
    },
    /// A port or its certificate.
    #[error(transparent)]
    Listen(#[from] ListenError),
    /// The data directory or the administrator's token.
    #[error(transparent)]
    Bootstrap(#[from] BootstrapError),
    /// The store.
    #[error(transparent)]
    Store(#[from] StoreError),
    /// The vault.
    #[error(transparent)]
    Vault(#[from] VaultError),
    /// The URL under which people are to reach the HTTP port.
    #[error(
        "{0:?} is no URL of this control plane: write http or https, a host, and maybe a path, such as https://portcullis.example.com"
    )]
    PublicUrl(String),
    /// A fault of Portcullis itself.
    #[error("internal error: {0}")]
    Internal(String),
}

/// Why a control plane stopped without being asked to.
#[derive(Debug, thiserror::Error)]
pub enum RunError {
    /// The gRPC port failed.
    #[error("the gRPC port failed: {0}")]
    Grpc(#[from] tonic::transport::Error),
}

/// A control plane that serves.
#[derive(Debug)]
pub struct Running {
    /// Where gRPC is served, with the port that was really bound.
    pub grpc_addr: SocketAddr,
    /// Where gRPC is served to this process: the loopback port of [`Config::local_listener`], else the gRPC port.
    pub local_addr: SocketAddr,
    /// Where HTTP is served.
    pub http_addr: SocketAddr,
    /// Whether both speak TLS.
    pub tls: bool,
    /// Where the administrator's token is.
    pub admin_token_file: PathBuf,
    registry: Registry,
    publisher: Publisher,
    planes: Planes,
    tasks: TaskTracker,
    failed: mpsc::Receiver<RunError>,
    store: Weak<dyn Store>,
    shutdown: CancellationToken,
    grace: Duration,
}

/// Starts a control plane: opens what is stored, publishes it, and serves until the token is cancelled.
///
/// # Errors
/// See [`StartError`].
pub async fn start(config: Config, shutdown: CancellationToken) -> Result<Running, StartError> {
    for (port, addr) in [("gRPC", config.grpc_listen), ("HTTP", config.http_listen)] {
        if config.tls.is_none() && !addr.ip().is_loopback() {
            return Err(StartError::PlainText { port, addr });
        }
    }
    if let Some(url) = config.public_url.as_ref().filter(|url| !is_base_url(url)) {
        return Err(StartError::PublicUrl(url.clone()));
    }
    // Both ports first: who cannot serve must not change anything on disk.
    let grpc_port = bind(config.grpc_listen, config.tls.as_ref(), grpc::MAX_CONNECTIONS)?;
    let http_port = bind(config.http_listen, config.tls.as_ref(), http::MAX_CONNECTIONS)?;
    let loopback = (Ipv4Addr::LOCALHOST, 0).into();
    let local_port =
        config.local_listener.then(|| bind(loopback, None, grpc::MAX_CONNECTIONS)).transpose()?;
    let background = Background::start("policy").map_err(|error| StartError::Internal(error.to_string()))?;
    let (store, vault, metering) = open(&config).await?;
    bootstrap::admin_token(&*store, &config.admin_token_file, &config.clock).await?;

    // Whatever fails from here on stops what was started before it.
    let stop = shutdown.child_token();
    let undo = stop.clone().drop_guard();
    let scheme = if config.tls.is_some() { "https" } else { "http" };
    let base_url =
        config.public_url.clone().unwrap_or_else(|| format!("{scheme}://{}", http_port.local_addr()));
    let calls = Calls::new(Arc::clone(&store), config.clock.clone(), &base_url);
    let parts = Rooms::build(store, vault, metering, calls, background, &config, &stop).await;
    let metrics = Metrics::default();
    metrics::register(
        &metrics,
        Figures {
            store: Arc::clone(&parts.admin.store),
            vault: Arc::clone(&parts.admin.vault),
            publisher: parts.admin.publisher.clone(),
            planes: parts.admin.planes.clone(),
            metering: parts.admin.metering.clone(),
        },
    );
    let store = Arc::clone(&parts.admin.store);
    let refusals = parts.admin.planes.refusals().clone();
    let pages = Pages {
        publisher: parts.admin.publisher.clone(),
        store: Arc::clone(&store),
        metrics,
        metering: parts.admin.metering.clone(),
        calls: parts.admin.calls.clone(),
        authn: Authn::new(Arc::clone(&store), config.clock.clone(), refusals),
        attempts: Attempts::new(config.clock.clone()),
    };
    let (health, routes) = routes(&parts, &stop).await?;
    let (fail, failed) = mpsc::channel(1);
    let running = Running {
        grpc_addr: grpc_port.local_addr(),
        local_addr: local_port.as_ref().unwrap_or(&grpc_port).local_addr(),
        http_addr: http_port.local_addr(),
        tls: config.tls.is_some(),
        admin_token_file: config.admin_token_file,
        registry: parts.admin.registry.clone(),
        publisher: parts.admin.publisher.clone(),
        planes: parts.admin.planes.clone(),
        tasks: TaskTracker::new(),
        failed,
        store: Arc::downgrade(&parts.admin.store),
        shutdown: shutdown.clone(),
        grace: config.grace,
    };
    undo.disarm();

    let tasks = &running.tasks;
    let patience = Patience::new(config.lease_grace);
    parts.admin.metering.start(tasks, parts.admin.publisher.subscribe(), patience, &stop);
    tasks.spawn(parts.distribution.supervise(stop.clone()));
    tasks.spawn(sealing_keys(parts.admin.vault, config.clock, stop.clone()));
    tasks.spawn(check_store(store, config.store_check_interval, stop.clone()));
    tasks.spawn(http::serve(http_port, pages, stop.clone()));
    tasks.spawn(retire(health, stop.clone()));
    if let Some(port) = local_port {
        tasks.spawn(serve_or_stop(port, routes.clone(), stop.clone(), fail.clone(), shutdown.clone()));
    }
    tasks.spawn(serve_or_stop(grpc_port, routes, stop, fail, shutdown));
    tasks.close();
    tracing::info!(grpc = %running.grpc_addr, http = %running.http_addr, tls = running.tls, "the control plane serves");
    Ok(running)
}

/// Whether links can begin with this.
fn is_base_url(text: &str) -> bool {
    url::Url::parse(text).is_ok_and(|url| {
        matches!(url.scheme(), "http" | "https")
            && url.has_host()
            && url.username().is_empty()
            && url.password().is_none()
            && url.query().is_none()
            && url.fragment().is_none()
    })
}

/// Serves one gRPC port. Without its API a control plane is of no use: when the port fails, the process should end and be
/// started again.
async fn serve_or_stop(
    port: Listener,
    routes: Routes,
    stop: CancellationToken,
    fail: mpsc::Sender<RunError>,
    shutdown: CancellationToken,
) {
    if let Err(error) = grpc::serve(port, routes, stop).await {
        // The first failure is told; one is enough.
        let _ = fail.try_send(error.into());
        shutdown.cancel();
    }
}

fn bind(addr: SocketAddr, tls: Option<&TlsFiles>, connections: usize) -> Result<Listener, ListenError> {
    let bounds = Bounds { connections, ..Bounds::default() };
    Ok(Listener::bind(addr, tls.cloned())?.with_bounds(bounds))
}

async fn open(config: &Config) -> Result<(Arc<dyn Store>, Arc<Vault>, Metering), StartError> {
    let (dir, new_vault, clock) = (config.data_dir.clone(), config.new_vault, config.clock.clone());
    let now = clock.now_unix_ms();
    let opened = tokio::task::spawn_blocking(move || {
        bootstrap::private_dir(&dir)?;
        let store = JournalStore::open(&dir)?;
        let vault = Vault::open_beside(&dir.join("vault"), store.opened().version, new_vault, now)?;
        let metering = Metering::open(&dir.join("metering"), clock)?;
        Ok::<_, StartError>((store, vault, metering))
    });
    let (store, vault, metering) =
        opened.await.map_err(|error| StartError::Internal(error.to_string()))??;
    Ok((Arc::new(store), Arc::new(vault), metering))
}

/// The rooms that serve.
struct Rooms {
    admin: admin::Parts,
    distribution: Distribution,
}

impl Rooms {
    async fn build(
        store: Arc<dyn Store>,
        vault: Arc<Vault>,
        metering: Metering,
        calls: Calls,
        background: Background,
        config: &Config,
        stop: &CancellationToken,
    ) -> Self {
        let clock = config.clock.clone();
        let key = vault.signing_key();
        let public_key = key.public_key();
        let publisher =
            Publisher::start(Arc::clone(&store), key, clock.clone(), background, stop.clone()).await;
        let catalog = Catalog::new(Arc::clone(&store), clock.clone());
        let registry = Registry::new(
            Arc::clone(&store),
            publisher.clone(),
            Arc::clone(&vault),
            catalog.clone(),
            clock.clone(),
        );
        let planes = Planes::new(clock.clone());
        let distribution = Distribution::new(DistributionParts {
            store: StoreHandle(Arc::clone(&store)),
            published: publisher.subscribe(),
            vault: Arc::clone(&vault),
            catalog,
            calls: calls.clone(),
            planes: planes.clone(),
            clock: clock.clone(),
            timings: Timings::new(config.status_interval, config.probe_interval),
        });
        let admin = admin::Parts {
            keys: Keys::new(registry.clone(), publisher.clone(), clock.clone()),
            approvals: Approvals::new(Arc::clone(&store), clock.clone()),
            calls,
            tokens: PlaneTokens::new(Arc::clone(&store), clock.clone(), public_key),
            admin_tokens: AdminTokens::new(Arc::clone(&store), clock.clone()),
            store,
            vault,
            publisher,
            registry,
            planes,
            metering,
            clock,
            shutdown: stop.clone(),
        };
        Self { admin, distribution }
    }
}

async fn routes(rooms: &Rooms, stop: &CancellationToken) -> Result<(HealthReporter, Routes), StartError> {
    let (health, health_service) = tonic_health::server::health_reporter();
    let of_planes = [
        portcullis_proto::config::v1::distribution_server::SERVICE_NAME,
        portcullis_proto::lease::v1::leases_server::SERVICE_NAME,
    ];
    for service in admin::SERVICES.iter().chain(&of_planes) {
        health.set_service_status(service, ServingStatus::Serving).await;
    }
    let leases = rooms.admin.metering.service(rooms.distribution.door(), stop.clone());
    let reflection = tonic_reflection::server::Builder::configure()
        .register_encoded_file_descriptor_set(portcullis_proto::DESCRIPTORS)
        .register_encoded_file_descriptor_set(tonic_health::pb::FILE_DESCRIPTOR_SET)
        .build_v1()
        .map_err(|error| StartError::Internal(error.to_string()))?;
    let routes = Routes::new(health_service)
        .add_service(reflection)
        .add_service(rooms.distribution.clone().into_server())
        .add_service(leases.into_server());
    Ok((health, admin::add_to(routes, rooms.admin.clone())))
}

/// Tells whoever asks for health that this plane is going.
async fn retire(health: HealthReporter, stop: CancellationToken) {
    stop.cancelled().await;
    health.set_service_status("", ServingStatus::NotServing).await;
    for service in admin::SERVICES {
        health.set_service_status(service, ServingStatus::NotServing).await;
    }
}

async fn check_store(store: Arc<dyn Store>, interval: Duration, stop: CancellationToken) {
    loop {
        store.check().await;
        tokio::select! {
            () = stop.cancelled() => return,
            () = tokio::time::sleep(interval) => {}
        }
    }
}

async fn sealing_keys(vault: Arc<Vault>, clock: Clock, stop: CancellationToken) {
    loop {
        if let Err(error) = vault.rotate_sealing_keys(clock.now_unix_ms()).await {
            tracing::error!(%error, "sealing keys cannot be rotated; the present ones stay in use");
        }
        tokio::select! {
            () = stop.cancelled() => return,
            () = tokio::time::sleep(SEALING_KEYS) => {}
        }
    }
}

impl Running {
    /// The registry, for whoever runs this control plane within its own process.
    #[must_use]
    pub const fn registry(&self) -> &Registry {
        &self.registry
    }

    /// What is published.
    #[must_use]
    pub const fn publisher(&self) -> &Publisher {
        &self.publisher
    }

    /// A token for the data plane of this name in the same process, made without the API. It is kept in memory alone, so that
    /// no history knows of it, and ends with this process or when another one is made for the same name.
    ///
    /// # Errors
    /// When the operating system gives no randomness, or when there are too many.
    pub async fn plane_token(&self, plane: &Name) -> Result<String, TokenError> {
        self.planes.own_token(plane, self.publisher.public_key())
    }

    /// Waits for the shutdown that the token of [`start`] asks for, and then until everything has ended, at most for the
    /// configured grace.
    ///
    /// # Errors
    /// When it ended without being asked to.
    pub async fn wait(mut self) -> Result<(), RunError> {
        self.shutdown.cancelled().await;
        if tokio::time::timeout(self.grace, self.tasks.wait()).await.is_err() {
            tracing::warn!(grace = ?self.grace, "some streams did not end in time; they are cut");
        }
        let ended = self.failed.try_recv().map_or(Ok(()), Err);
        let Self { registry, publisher, planes, store, .. } = self;
        drop((registry, publisher, planes));
        freed(&store).await;
        ended
    }
}

/// Waits a moment for connections that are being cut: each holds the store, and with it the directory's lock, until its task
/// has ended. Whoever starts again over the same directory must find it free.
async fn freed(store: &Weak<dyn Store>) {
    const LOOK: Duration = Duration::from_millis(5);
    const PATIENCE: u32 = 400;
    for _ in 0..PATIENCE {
        if store.strong_count() == 0 {
            return;
        }
        tokio::time::sleep(LOOK).await;
    }
    tracing::debug!("the store is still held by a connection that was cut");
}
