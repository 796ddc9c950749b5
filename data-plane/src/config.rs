//! How one data plane is set up.

use std::collections::BTreeMap;
use std::fmt;
use std::net::{Ipv4Addr, SocketAddr};
use std::path::PathBuf;
use std::time::Duration;

use portcullis_listen::TlsFiles;
use portcullis_policy::resource::{Name, Network};
use tokio_util::sync::CancellationToken;

use crate::ledger::SpoolConfig;
use crate::metering::MeteringConfig;

/// How one data plane is set up. [`Config::new`] gives the defaults of everything that has one.
#[derive(Clone)]
pub struct Config {
    /// State of this plane: snapshot, secrets, audit spool.
    pub data_dir: PathBuf,
    /// Its name, unique among connected planes.
    pub name: Name,
    /// Free labels.
    pub labels: BTreeMap<String, String>,
    /// Where MCP is served.
    pub listen: SocketAddr,
    /// Where `/healthz`, `/readyz`, `/metrics` and `/snapshot` are served.
    pub ops_listen: SocketAddr,
    /// The control plane: `https://host:port`, or `http://` on loopback.
    pub control_plane: String,
    /// The plane token (`pcp_….KEY`): what admits this plane, and the key of the snapshots that it takes.
    pub plane_token: String,
    /// The certificate authority of the control plane, PEM; the machine's roots when absent.
    pub ca_file: Option<PathBuf>,
    /// TLS of the MCP listener.
    pub tls: Option<TlsFiles>,
    /// TLS of the operations listener.
    pub ops_tls: Option<TlsFiles>,
    /// Origins that may call, beside loopback when listening on loopback.
    pub allowed_origins: Vec<String>,
    /// `Host` names that may be called, beside the addresses listened on.
    pub allowed_hosts: Vec<String>,
    /// Proxies in front of this plane that are believed about whom they forward for.
    pub trusted_proxies: Vec<Network>,
    /// Whether stdio servers may be started here.
    pub allow_stdio: bool,
    /// The environment of stdio children (PATH, HOME, TMPDIR, LANG), to which their own is added.
    pub stdio_env: BTreeMap<String, String>,
    /// Whether plain MCP may be served on an address that is not loopback.
    pub insecure_listen: bool,
    /// The base URL under which callers reach this plane, when it is not the address listened on.
    pub public_url: Option<String>,
    /// The audit spool.
    pub spool: SpoolConfig,
    /// How leases of budgets are held.
    pub metering: MeteringConfig,
    /// Open connections of the MCP listener.
    pub max_connections: usize,
    /// How long calls may go on after the shutdown began.
    pub drain_timeout: Duration,
    /// Cancelled to end at once rather than gracefully: open calls are recorded as cancelled, children killed with what they
    /// started, and [`Running::wait`](crate::Running::wait) returns within two seconds. By default it never is.
    pub abort: CancellationToken,
}

impl Config {
    /// The defaults, with what has none.
    #[must_use]
    pub fn new(data_dir: PathBuf, name: Name, control_plane: String, plane_token: String) -> Self {
        Self {
            data_dir,
            name,
            labels: BTreeMap::new(),
            listen: SocketAddr::from((Ipv4Addr::LOCALHOST, 7400)),
            ops_listen: SocketAddr::from((Ipv4Addr::LOCALHOST, 7401)),
            control_plane,
            plane_token,
            ca_file: None,
            tls: None,
            ops_tls: None,
            allowed_origins: Vec::new(),
            allowed_hosts: Vec::new(),
            trusted_proxies: Vec::new(),
            allow_stdio: false,
            stdio_env: BTreeMap::new(),
            insecure_listen: false,
            public_url: None,
            spool: SpoolConfig::default(),
            metering: MeteringConfig::default(),
            max_connections: 20_000,
            drain_timeout: Duration::from_secs(30),
            abort: CancellationToken::new(),
        }
    }
}

impl fmt::Debug for Config {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Config")
            .field("data_dir", &self.data_dir)
            .field("name", &self.name)
            .field("listen", &self.listen)
            .field("ops_listen", &self.ops_listen)
            .field("control_plane", &self.control_plane)
            .finish_non_exhaustive()
    }
}
