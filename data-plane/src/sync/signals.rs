//! What siblings must know within a second: relayed by the control plane to every other data plane.

use bytes::Bytes;
use portcullis_policy::resource::Name;
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
    /// A legacy session asked for something that lasts.
    SessionWished {
        /// The session's random id.
        session: [u8; 16],
        /// What it asked for.
        wish: Wish,
    },
}

/// What a legacy session asks for as long as it lasts, and no token carries.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Wish {
    /// `logging/setLevel`.
    LogLevel(String),
    /// `resources/subscribe`.
    Subscribed {
        /// The URI.
        uri: String,
        /// The server that has it.
        server: Name,
    },
    /// `resources/unsubscribe`, by its URI.
    Unsubscribed(String),
}

impl Signal {
    /// Whether anybody still needs it.
    pub(super) const fn matters_at(&self, now_unix_ms: u64) -> bool {
        match self {
            Self::SessionEnded { forget_after_unix_ms, .. } => now_unix_ms < *forget_after_unix_ms,
            Self::RequestCancelled { .. } | Self::SessionWished { .. } => true,
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
            Self::SessionWished { session, wish } => Kind::SessionWished(proto::SessionWished {
                session: Bytes::copy_from_slice(session),
                wish: Some(wish.to_proto()),
            }),
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
            Kind::SessionWished(wished) => Some(Self::SessionWished {
                session: wished.session.as_ref().try_into().ok()?,
                wish: Wish::from_proto(wished.wish?)?,
            }),
        }
    }
}

impl Wish {
    fn to_proto(&self) -> proto::session_wished::Wish {
        use proto::session_wished::Wish as Kind;
        match self {
            Self::LogLevel(level) => Kind::LogLevel(level.clone()),
            Self::Subscribed { uri, server } => {
                Kind::Subscribed(proto::ResourceSubscription { uri: uri.clone(), server: server.to_string() })
            }
            Self::Unsubscribed(uri) => Kind::Unsubscribed(uri.clone()),
        }
    }

    fn from_proto(wish: proto::session_wished::Wish) -> Option<Self> {
        use proto::session_wished::Wish as Kind;
        Some(match wish {
            Kind::LogLevel(level) => Self::LogLevel(level),
            Kind::Subscribed(subscribed) => {
                Self::Subscribed { uri: subscribed.uri, server: subscribed.server.parse().ok()? }
            }
            Kind::Unsubscribed(uri) => Self::Unsubscribed(uri),
        })
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
