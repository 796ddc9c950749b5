//! What siblings must know within a second: relayed by the control plane to every other data plane.

use bytes::Bytes;
use portcullis_proto::config::v1 as proto;
use tokio::sync::broadcast;

use super::outbox::Outbox;

/// Signals of siblings that a slow subscriber may lag behind; beyond it the oldest are lost to it.
const LAG: usize = 4096;

/// One signal.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Signal {
    /// A legacy session was deleted by its client.
    SessionEnded {
        /// The session's random id, not the sealed token.
        session: [u8; 16],
        /// When the tombstone may be forgotten, milliseconds since the Unix epoch.
        forget_after_unix_ms: u64,
    },
    /// A legacy client cancelled a request that may run on another plane.
    RequestCancelled {
        /// The session's random id.
        session: [u8; 16],
        /// The JSON-RPC id of the request, as JSON.
        request_id_json: Bytes,
        /// The reason that the client gave; empty when none.
        reason: String,
    },
}

impl Signal {
    /// Whether anybody still needs it.
    pub(super) const fn matters_at(&self, now_unix_ms: u64) -> bool {
        match self {
            Self::SessionEnded { forget_after_unix_ms, .. } => now_unix_ms < *forget_after_unix_ms,
            Self::RequestCancelled { .. } => true,
        }
    }

    pub(super) fn to_proto(&self) -> proto::Signal {
        use proto::signal::Signal as Kind;
        let kind = match self {
            Self::SessionEnded { session, forget_after_unix_ms } => Kind::SessionEnded(proto::SessionEnded {
                session: Bytes::copy_from_slice(session),
                forget_after_unix_ms: *forget_after_unix_ms,
            }),
            Self::RequestCancelled { session, request_id_json, reason } => {
                Kind::RequestCancelled(proto::RequestCancelled {
                    session: Bytes::copy_from_slice(session),
                    request_id_json: request_id_json.clone(),
                    reason: reason.clone(),
                })
            }
        };
        proto::Signal { signal: Some(kind) }
    }

    /// None for a signal that this version does not know or whose session id has another length.
    pub(super) fn from_proto(signal: proto::Signal) -> Option<Self> {
        use proto::signal::Signal as Kind;
        match signal.signal? {
            Kind::SessionEnded(ended) => Some(Self::SessionEnded {
                session: ended.session.as_ref().try_into().ok()?,
                forget_after_unix_ms: ended.forget_after_unix_ms,
            }),
            Kind::RequestCancelled(cancelled) => Some(Self::RequestCancelled {
                session: cancelled.session.as_ref().try_into().ok()?,
                request_id_json: cancelled.request_id_json,
                reason: cancelled.reason,
            }),
        }
    }
}

/// Sends signals to siblings and hears theirs. Clones share it.
#[derive(Debug, Clone)]
pub struct Signals {
    outbox: Outbox,
    heard: broadcast::Sender<Signal>,
}

impl Default for Signals {
    fn default() -> Self {
        Self::new(Outbox::default())
    }
}

impl Signals {
    pub(super) fn new(outbox: Outbox) -> Self {
        Self { outbox, heard: broadcast::Sender::new(LAG) }
    }

    /// Tells all siblings; never waits. Kept while the control plane is away, up to a bound.
    pub fn send(&self, signal: Signal) {
        self.outbox.signal(signal);
    }

    /// Hears what siblings tell from now on.
    #[must_use]
    pub fn subscribe(&self) -> broadcast::Receiver<Signal> {
        self.heard.subscribe()
    }

    /// A sibling told something.
    pub(super) fn heard(&self, signal: Signal) {
        // Nobody listening is no error.
        let _ = self.heard.send(signal);
    }
}
