//! What a control plane is started with.

use std::net::{Ipv4Addr, SocketAddr};
use std::path::PathBuf;
use std::time::Duration;

use portcullis_listen::TlsFiles;

use crate::clock::Clock;

/// How to start a control plane.
#[derive(Debug, Clone)]
pub struct Config {
    /// Where its state is kept: `DATA_DIR/control`. Made with mode 0700 when it is missing.
    pub data_dir: PathBuf,
    /// Whether a vault that was lost is given up: a new one is made then, with another signing key and without secrets.
    /// Refused where there is a vault. Without it a control plane that lost its vault does not start.
    pub new_vault: bool,
    /// Where the administrator's token is written at the first start: `DATA_DIR/admin.token`.
    pub admin_token_file: PathBuf,
    /// The gRPC port. An address that is not loopback needs `tls`.
    pub grpc_listen: SocketAddr,
    /// The port of `/healthz`, `/readyz`, `/metrics` and the pages of approvals. An address that is not loopback needs `tls`.
    pub http_listen: SocketAddr,
    /// Under which URL people reach the HTTP port, such as `https://portcullis.example.com`: links to approvals begin with it. The
    /// port's own address where none is given.
    pub public_url: Option<String>,
    /// The certificate of both ports.
    pub tls: Option<TlsFiles>,
    /// Whether gRPC is served in plain text on a loopback port of its own as well, for a data plane of the same process.
    pub local_listener: bool,
    /// How long open calls and streams may take to end after a shutdown was asked for.
    pub grace: Duration,
    /// How often a data plane sends a sign of life.
    pub status_interval: Duration,
    /// How often a server is probed without other cause.
    pub probe_interval: Duration,
    /// How often the store is asked whether it still takes changes, for `/readyz`.
    pub store_check_interval: Duration,
    /// For how long a data plane may be gone before what it holds of budgets is written off, until it is heard of again.
    pub lease_grace: Duration,
    /// What time it is.
    pub clock: Clock,
}

impl Config {
    /// The defaults over a data directory: loopback ports 7410 and 7411, no TLS.
    #[must_use]
    pub fn new(data_dir: impl Into<PathBuf>) -> Self {
        let root: PathBuf = data_dir.into();
        Self {
            data_dir: root.join("control"),
            new_vault: false,
            admin_token_file: root.join("admin.token"),
            grpc_listen: (Ipv4Addr::LOCALHOST, 7410).into(),
            http_listen: (Ipv4Addr::LOCALHOST, 7411).into(),
            public_url: None,
            tls: None,
            local_listener: false,
            grace: Duration::from_secs(10),
            status_interval: Duration::from_secs(2),
            probe_interval: Duration::from_secs(30),
            store_check_interval: Duration::from_secs(5),
            lease_grace: Duration::from_secs(60),
            clock: Clock::system(),
        }
    }
}
