//! Puts the rooms together: one data plane, from its start to the end of its last call.

mod http;

use std::io;
use std::net::SocketAddr;
use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;

use portcullis_listen::{Bounds, ListenError, Listener};
use portcullis_proto::config::v1::ServerCalls;
use portcullis_seal::{BadPlaneToken, PlaneToken};
use portcullis_telemetry as telemetry;
use tokio::task::JoinHandle;
use tokio_util::sync::CancellationToken;

use crate::config::Config;
use crate::ledger::{self, Spool, SpoolError};
use crate::metering::{self, Metering, MeteringError, MonoClock};
use crate::ops::{Ops, OpsParts};
use crate::pipeline::ServerCounts;
use crate::probe;
use crate::recall::{self, Recalled};
use crate::serve::{BadOrigin, Gateway, Parts, Proxies};
use crate::sync::{
    BadControlPlane, ControlPlane, Live, PlaneFigures, RecordFinding, RecordFindings, RecordSource,
    SyncConfig, Synced, Synchroniser, authorization,
};
use crate::upstream::{UpstreamConfig, Upstreams};

/// Open connections of the operations port.
const OPS_CONNECTIONS: usize = 256;
/// How long answers of the operations port may take at the end.
const OPS_DRAIN: Duration = Duration::from_secs(1);

/// How long the end may take when it is to be at once.
const ABORT: Duration = Duration::from_secs(2);

/// The data plane could not be started. A fault of the configuration or the machine; the same start fails again.
#[derive(Debug, thiserror::Error)]
pub enum StartError {
    /// Plain MCP would leave this machine.
    #[error(
        "plain HTTP on {0} would carry keys and calls over the network unencrypted: give --tls-cert and --tls-key, or say \
         --insecure-listen when something in front of it encrypts"
    )]
    PlainListen(SocketAddr),
    /// The control plane cannot be addressed.
    #[error(transparent)]
    ControlPlane(#[from] BadControlPlane),
    /// The plane token is none.
    #[error(transparent)]
    Token(#[from] BadPlaneToken),
    /// An allowed origin is none.
    #[error(transparent)]
    Origin(#[from] BadOrigin),
    /// A port cannot be served.
    #[error(transparent)]
    Listen(#[from] ListenError),
    /// The state directory cannot be used.
    #[error("data directory: {0}")]
    DataDir(#[from] io::Error),
    /// The audit spool cannot be used.
    #[error(transparent)]
    Spool(#[from] SpoolError),
    /// The ledger of metering cannot be used.
    #[error(transparent)]
    Metering(#[from] MeteringError),
}

/// A running data plane.
#[derive(Debug)]
pub struct Running {
    /// Where MCP is served, with the real port.
    pub mcp_addr: SocketAddr,
    /// Where operations are served, with the real port.
    pub ops_addr: SocketAddr,
    /// The snapshot in force: for those who start a plane in their own process and wait for it to enforce something.
    pub live: Live,
    task: JoinHandle<()>,
}

impl Running {
    /// Waits until the plane has ended: after the shutdown, when the last call is answered or the drain's time is over.
    pub async fn wait(self) {
        if self.task.await.is_err() {
            tracing::error!("the data plane's main task failed");
        }
    }
}

/// Starts a data plane, within a tokio runtime. It serves what is in force, from disk at first, until the token is cancelled or
/// the control plane asks it to end.
///
/// # Errors
/// When the configuration, a port, a certificate or the data directory cannot be used. An unreachable control plane is none.
pub async fn start(config: Config, shutdown: CancellationToken) -> Result<Running, StartError> {
    if config.tls.is_none() && !config.listen.ip().is_loopback() && !config.insecure_listen {
        return Err(StartError::PlainListen(config.listen));
    }
    let token: PlaneToken = config.plane_token.trim().parse()?;
    let control_plane = ControlPlane::new(&config.control_plane, config.ca_file.clone())?;
    let bounds = |connections| Bounds { connections, ..Bounds::default() };
    let mcp = Listener::bind(config.listen, config.tls.clone())?.with_bounds(bounds(config.max_connections));
    let ops = Listener::bind(config.ops_listen, config.ops_tls.clone())?.with_bounds(bounds(OPS_CONNECTIONS));
    let (mcp_addr, ops_addr) = (mcp.local_addr(), ops.local_addr());
    let authorization = authorization(&token)?;
    let sync = SyncConfig {
        control_plane: control_plane.clone(),
        token,
        name: config.name.clone(),
        labels: config.labels.clone(),
        allow_stdio: config.allow_stdio,
        mcp_url: config.public_url.clone().unwrap_or_else(|| url(mcp_addr, mcp.is_tls())),
        dir: config.data_dir.clone(),
    };
    let (spool_dir, spool_config) = (config.data_dir.join(ledger::DIRECTORY), config.spool.clone());
    let (metering_dir, metering_config) = (config.data_dir.join(metering::DIRECTORY), config.metering);
    // Reads, compiles, and locks the directory: not for this thread.
    let opened = tokio::task::spawn_blocking(move || -> Result<_, StartError> {
        let (synchroniser, synced) = Synchroniser::open(sync)?;
        // The spool first: it is asked what was spent.
        let spool = Spool::open(&spool_dir, spool_config)?;
        let metering = Metering::open(&metering_dir, &spool_dir, metering_config, MonoClock::machine())?;
        Ok((synchroniser, synced, spool, metering))
    });
    let (synchroniser, synced, spool, (metering, keeper)) = opened.await.map_err(io::Error::other)??;
    let synchroniser = synchroniser.telling_records(records(config.data_dir.join(ledger::DIRECTORY)));
    let plane = Plane::new(&config, mcp_addr, synced, spool, metering)?;
    let live = plane.live.clone();
    let keeping = move |stop| keeper.run(control_plane, authorization, stop);
    let task = tokio::spawn(plane.run(
        synchroniser,
        keeping,
        mcp,
        ops,
        config.drain_timeout,
        shutdown,
        config.abort,
    ));
    Ok(Running { mcp_addr, ops_addr, live, task })
}

fn url(addr: SocketAddr, tls: bool) -> String {
    format!("{}://{addr}", if tls { "https" } else { "http" })
}

/// The rooms of one data plane.
#[derive(Debug)]
struct Plane {
    live: Live,
    upstreams: Upstreams,
    gateway: Gateway,
    ops: Ops,
    probing: crate::sync::Probing,
    /// Cancelled when the control plane asks this plane to end.
    asked_to_end: CancellationToken,
    /// Cancelled when no new calls are taken.
    draining: CancellationToken,
}

impl Plane {
    fn new(
        config: &Config,
        bound: SocketAddr,
        synced: Synced,
        spool: Spool,
        metering: Metering,
    ) -> Result<Self, StartError> {
        let Synced { live, secrets, signals, calls, probing, status, drain } = synced;
        let upstream_config = UpstreamConfig {
            allow_stdio: config.allow_stdio,
            stdio_env: config.stdio_env.clone(),
            kill: config.abort.clone(),
            ..UpstreamConfig::default()
        };
        let upstreams = Upstreams::new(upstream_config, secrets.clone());
        let mut parts = Parts::new(
            live.clone(),
            secrets,
            upstreams.clone(),
            spool.clone(),
            signals,
            bound,
            &config.allowed_origins,
            &config.allowed_hosts,
        )?;
        parts.calls = calls;
        parts.metering = metering.clone();
        parts.proxies = Proxies::new(config.trusted_proxies.clone());
        let gateway = Gateway::new(parts);
        let draining = CancellationToken::new();
        let metrics = telemetry::Metrics::default();
        metrics.register(|registry| registry.register_collector(Box::new(metering)));
        metrics.register(|registry| registry.register_collector(Box::new(gateway.metrics().clone())));
        let ops = Ops::new(OpsParts {
            live: live.clone(),
            sync: status,
            spool,
            upstreams: upstreams.stats(),
            metrics,
            draining: draining.clone(),
        });
        Ok(Self { live, upstreams, gateway, ops, probing, asked_to_end: drain, draining })
    }

    #[allow(clippy::too_many_arguments, reason = "each is one room of the plane; they run in one place")]
    async fn run<K: Future<Output = ()> + Send + 'static>(
        self,
        synchroniser: Synchroniser,
        keeping: impl FnOnce(CancellationToken) -> K + Send + 'static,
        mcp: Listener,
        ops: Listener,
        drain: Duration,
        shutdown: CancellationToken,
        abort: CancellationToken,
    ) {
        let Self { live, upstreams, gateway, ops: answers, probing, asked_to_end, draining } = self;
        // What serves goes on while calls end; it is stopped last.
        let stop = CancellationToken::new();
        let counted = (gateway.clone(), upstreams.clone(), draining.clone());
        let figures = move || figures(&counted.0, &counted.1, &counted.2);
        let beside = [
            tokio::spawn({
                let stop = stop.clone();
                async move { synchroniser.run(figures, stop).await }
            }),
            tokio::spawn(keeping(stop.clone())),
            tokio::spawn(retain(live.clone(), gateway.clone(), upstreams.clone(), stop.clone())),
            tokio::spawn(http::serve(
                ops.incoming(stop.clone()),
                Arc::new(move |request, _| {
                    let answer = answers.answer(&request);
                    Box::pin(async move { answer }) as http::Answering<_>
                }),
                stop.clone(),
                OPS_DRAIN,
                abort.clone(),
            )),
        ];
        // Nobody looks at upstreams for a plane that ends.
        let probing = tokio::spawn(probe::run(upstreams.clone(), live, probing, draining.clone()));
        let serving = tokio::spawn({
            let gateway = gateway.clone();
            let answer = Arc::new(move |request, peer| {
                let gateway = gateway.clone();
                Box::pin(async move { gateway.handle(request, peer).await }) as http::Answering<_>
            });
            http::serve(mcp.incoming(draining.clone()), answer, draining.clone(), drain, abort.clone())
        });
        tokio::select! {
            () = shutdown.cancelled() => {}
            () = asked_to_end.cancelled() => {}
            () = abort.cancelled() => {}
        }
        tracing::info!(timeout = ?drain, "draining: no new connections, calls end");
        draining.cancel();
        gateway.close_streams();
        let orderly = async {
            ended("serving", serving).await;
            ended("probing", probing).await;
            // Calls that outlive their connections have their records too.
            while abort.is_cancelled() && gateway.metrics().in_flight.load(Ordering::Relaxed) > 0 {
                tokio::time::sleep(Duration::from_millis(5)).await;
            }
            upstreams.shutdown().await;
            stop.cancel();
            for task in beside {
                ended("a task beside the calls", task).await;
            }
        };
        let at_once = async {
            abort.cancelled().await;
            tracing::warn!("ending at once: open calls are recorded as cancelled, children are killed");
            gateway.abort();
            stop.cancel();
            tokio::time::sleep(ABORT).await;
        };
        tokio::select! {
            () = orderly => {}
            () = at_once => tracing::error!("not everything ended in time"),
        }
    }
}

async fn ended(what: &str, task: JoinHandle<()>) {
    if task.await.is_err() {
        tracing::error!(what, "failed");
    }
}

fn figures(gateway: &Gateway, upstreams: &Upstreams, draining: &CancellationToken) -> PlaneFigures {
    let metrics = gateway.metrics();
    let counted = metrics.tally.read();
    PlaneFigures {
        calls_total: metrics.calls_total(),
        open_streams: u32::try_from(metrics.open_streams.load(Ordering::Relaxed)).unwrap_or(u32::MAX),
        draining: draining.is_cancelled(),
        last_use: upstreams.last_use(),
        run: *counted.run.as_bytes(),
        counting_for: counted.counting_for,
        calls: counted.servers.into_iter().map(to_proto).collect(),
        uncounted: counted.uncounted,
    }
}

fn to_proto(counts: ServerCounts) -> ServerCalls {
    let by_code = |counts: Vec<(&'static str, u64)>| {
        counts.into_iter().map(|(code, count)| (code.to_owned(), count)).collect()
    };
    ServerCalls {
        server_uid: counts.server.to_string(),
        sandbox: counts.sandbox,
        calls: counts.calls,
        errors: by_code(counts.errors),
        denials: by_code(counts.denials),
    }
}

/// The recorded calls of this plane.
fn records(spool: PathBuf) -> RecordSource {
    RecordSource::new(move |since_unix_ms, until_unix_ms| {
        let window = recall::Window { since_unix_ms, until_unix_ms };
        let found = recall::recall(&spool, window).map_err(|error| error.to_string())?;
        Ok(Box::new(found.map(|found| match found {
            Recalled::KeptSince(unix_ms) => RecordFinding::KeptSince(unix_ms),
            Recalled::Call(call) => RecordFinding::Call(call),
            Recalled::Damaged(_) => RecordFinding::Damaged,
        })) as RecordFindings)
    })
}

/// After each swap: what is kept of servers that the snapshot no longer knows is let go.
async fn retain(live: Live, gateway: Gateway, upstreams: Upstreams, stop: CancellationToken) {
    let mut versions = live.subscribe();
    loop {
        versions.borrow_and_update();
        if let Some(snapshot) = live.load() {
            upstreams.retain(&snapshot);
            gateway.metrics().tally.retain(&snapshot);
        }
        tokio::select! {
            () = stop.cancelled() => return,
            changed = versions.changed() => if changed.is_err() { return },
        }
    }
}
