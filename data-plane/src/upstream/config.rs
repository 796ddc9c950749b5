//! What an operator decides about upstreams, for one data plane.

use std::collections::BTreeMap;
use std::time::Duration;

use rustls::pki_types::CertificateDer;
use tokio_util::sync::CancellationToken;

/// Settings of this room. [`Default`] is what a plane runs with when nothing is said.
#[derive(Debug, Clone)]
pub struct UpstreamConfig {
    /// Whether stdio servers may be started on this plane.
    pub allow_stdio: bool,
    /// What every child gets of the environment: PATH, HOME, TMPDIR and LANG. A server's own `env` comes on top.
    pub stdio_env: BTreeMap<String, String>,
    /// How long a child may take from start to its first answer.
    pub stdio_startup_timeout: Duration,
    /// How long a child gets between the end of its input, SIGTERM and SIGKILL.
    pub stdio_kill_grace: Duration,
    /// Cancelled to kill every child with what it started, without that time.
    pub kill: CancellationToken,
    /// How long a connection may take, TLS included.
    pub connect_timeout: Duration,
    /// How many upstream sessions this plane keeps; beyond it the one unused longest goes.
    pub max_sessions: usize,
    /// After which time without use an upstream session ends.
    pub session_idle: Duration,
    /// Certificate authorities that are trusted beside the machine's.
    pub extra_roots: Vec<CertificateDer<'static>>,
}

impl Default for UpstreamConfig {
    fn default() -> Self {
        Self {
            allow_stdio: false,
            stdio_env: BTreeMap::new(),
            stdio_startup_timeout: Duration::from_secs(60),
            stdio_kill_grace: Duration::from_secs(2),
            kill: CancellationToken::new(),
            connect_timeout: Duration::from_secs(5),
            max_sessions: 10_000,
            session_idle: Duration::from_mins(10),
            extra_roots: Vec::new(),
        }
    }
}

impl UpstreamConfig {
    /// The default with PATH, HOME, TMPDIR and LANG taken from this process.
    #[must_use]
    pub fn from_environment() -> Self {
        let kept = ["PATH", "HOME", "TMPDIR", "LANG"];
        let stdio_env =
            kept.into_iter().filter_map(|name| Some((name.to_owned(), std::env::var(name).ok()?))).collect();
        Self { stdio_env, ..Self::default() }
    }
}
