//! Puts the rooms together: one data plane, from its start to the end of its last call.

use std::io;
use std::net::SocketAddr;

use portcullis_listen::ListenError;
use tokio::task::JoinHandle;
use tokio_util::sync::CancellationToken;

use crate::config::Config;
use crate::ledger::SpoolError;

/// The data plane could not be started.
#[derive(Debug, thiserror::Error)]
pub enum StartError {
    /// Something in the configuration cannot be.
    #[error("{0}")]
    Config(String),
    /// A port cannot be served.
    #[error(transparent)]
    Listen(#[from] ListenError),
    /// The state directory cannot be used.
    #[error("data directory: {0}")]
    DataDir(#[from] io::Error),
    /// The audit spool cannot be used.
    #[error(transparent)]
    Spool(#[from] SpoolError),
}

/// A running data plane.
#[derive(Debug)]
pub struct Running {
    /// Where MCP is served, with the real port.
    pub mcp_addr: SocketAddr,
    /// Where operations are served, with the real port.
    pub ops_addr: SocketAddr,
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

/// Starts a data plane. It serves until the token is cancelled.
///
/// # Errors
/// When the configuration, a port, a certificate or the data directory cannot be used. An unreachable control plane is none.
pub async fn start(config: Config, _shutdown: CancellationToken) -> Result<Running, StartError> {
    Err(StartError::Config(format!("{config:?}")))
}
