//! One server as it is reached now: its transport, its credential and its hosting. A change of these is another link.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use portcullis_policy::resource::{Auth, Hosting, Transport, Uid};
use portcullis_policy::snapshot::{ServerEntry, SnapshotVersion};

use super::era::Spoken;
use super::http::{HttpLink, Shared};
use super::stdio::StdioLink;
use super::{UpstreamConfig, UpstreamError};

/// The two ways to a server.
#[derive(Debug)]
pub(super) enum Way {
    /// Streamable HTTP.
    Http(Arc<HttpLink>),
    /// Children of this plane.
    Stdio(StdioLink),
    /// What was registered cannot be used.
    Unusable(UpstreamError),
}

/// A server as it is reached now.
#[derive(Debug)]
pub(super) struct Link {
    transport: Transport,
    auth: Auth,
    hosting: Hosting,
    version: AtomicU64,
    way: Way,
}

impl Link {
    pub(super) fn new(
        number: u64,
        entry: &ServerEntry,
        version: SnapshotVersion,
        config: &UpstreamConfig,
        shared: &Shared,
    ) -> Self {
        let way = match &entry.transport {
            Transport::StreamableHttp(http) => {
                match HttpLink::new(number, entry, &http.url, config, shared) {
                    Ok(link) => Way::Http(Arc::new(link)),
                    Err(error) => Way::Unusable(error),
                }
            }
            Transport::Stdio(spec) => Way::Stdio(StdioLink::new(entry, spec, config, &shared.stats)),
        };
        Self {
            transport: entry.transport.clone(),
            auth: entry.auth.clone(),
            hosting: entry.hosting,
            version: AtomicU64::new(version.0),
            way,
        }
    }

    /// The way to the server.
    pub(super) fn way(&self) -> Result<&Way, UpstreamError> {
        match &self.way {
            Way::Unusable(error) => Err(error.clone()),
            way => Ok(way),
        }
    }

    /// Whether it serves a request that was permitted by this version. A link is never older than its requests; one that
    /// was permitted just before a change goes where the server is now.
    pub(super) fn is_current(&self, entry: &ServerEntry, version: SnapshotVersion) -> bool {
        if version.0 <= self.version.load(Ordering::Acquire) {
            return true;
        }
        let same =
            self.hosting == entry.hosting && self.auth == entry.auth && self.transport == entry.transport;
        if same {
            self.version.fetch_max(version.0, Ordering::AcqRel);
        }
        same
    }

    /// Takes over what the prober found since.
    pub(super) fn observe(&self, entry: &ServerEntry) {
        if let (Way::Http(link), Some(spoken)) =
            (&self.way, entry.observed.as_ref().and_then(Spoken::assumed))
        {
            link.observed(spoken);
        }
    }

    /// Ends what it keeps open.
    pub(super) fn retire(&self) {
        match &self.way {
            Way::Http(link) => link.retire(),
            Way::Stdio(link) => link.retire(),
            Way::Unusable(_) => {}
        }
    }

    /// A session ended, whoever's it was.
    pub(super) async fn left_session(&self, client_session: [u8; 16]) {
        if let Way::Stdio(link) = &self.way {
            link.left_session(client_session).await;
        }
    }

    /// The caller's session ended.
    pub(super) async fn left(&self, principal: Uid, client_session: [u8; 16]) {
        if let Way::Stdio(link) = &self.way {
            link.left(principal, Some(client_session)).await;
        }
    }
}
