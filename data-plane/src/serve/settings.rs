//! What the door needs to be set up.

use std::net::SocketAddr;

use super::doors::{BadOrigin, Doors};
use super::network::Proxies;
use crate::ledger::Spool;
use crate::metering::Metering;
use crate::pipeline::{Clock, Metrics};
use crate::sync::{CallDesk, Live, SecretsHandle, Signals};
use crate::upstream::Upstreams;

/// Everything that a [`super::Gateway`] is made of.
#[derive(Debug, Clone)]
pub struct Parts {
    /// What is enforced.
    pub live: Live,
    /// Keys for sealed tokens.
    pub secrets: SecretsHandle,
    /// The way out.
    pub upstreams: Upstreams,
    /// Where records go.
    pub spool: Spool,
    /// What siblings must know.
    pub signals: Signals,
    /// Asks for calls that a person has to approve; by default nobody is asked, and none is let through.
    pub calls: CallDesk,
    /// What calls may use; by default no control plane is ever asked, and budgets do what their `onOutage` says.
    pub metering: Metering,
    /// The time.
    pub clock: Clock,
    /// Figures, to be registered for `/metrics` too.
    pub metrics: Metrics,
    /// Which `Origin` and `Host` are valid.
    pub doors: Doors,
    /// Which proxies are believed about whom they forward for.
    pub proxies: Proxies,
}

impl Parts {
    /// With the machine's clock and new figures, for a listener at `bound`.
    ///
    /// # Errors
    /// When an allowed origin is none.
    #[allow(
        clippy::too_many_arguments,
        reason = "each is one room of the plane; they are put together in one place"
    )]
    pub fn new(
        live: Live,
        secrets: SecretsHandle,
        upstreams: Upstreams,
        spool: Spool,
        signals: Signals,
        bound: SocketAddr,
        allowed_origins: &[String],
        allowed_hosts: &[String],
    ) -> Result<Self, BadOrigin> {
        Ok(Self {
            live,
            secrets,
            upstreams,
            spool,
            signals,
            calls: CallDesk::default(),
            metering: Metering::alone(),
            clock: Clock::system(),
            metrics: Metrics::default(),
            doors: Doors::new(bound, allowed_origins, allowed_hosts)?,
            proxies: Proxies::default(),
        })
    }
}
