//! The tap on the wire: every JSON-RPC message that a data plane sends, to callers and to upstreams, as the other side read it.

use std::sync::{Arc, Mutex};

use serde_json::Value;

/// Who read the message.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Reader {
    /// A client: the data plane is its server.
    Client,
    /// An upstream: the data plane is its client.
    Upstream,
}

/// One message of a data plane.
#[derive(Debug, Clone)]
pub struct Emitted {
    /// Who read it.
    pub reader: Reader,
    /// The revision that both sides speak.
    pub revision: String,
    /// The method that a response answers; none for requests and notifications.
    pub answers: Option<String>,
    /// The message.
    pub message: Value,
}

/// Keeps what it is given. Clones share it.
#[derive(Debug, Clone, Default)]
pub struct Tap(Arc<Mutex<Vec<Emitted>>>);

impl Tap {
    /// Keeps one message.
    pub fn read(&self, emitted: Emitted) {
        self.0.lock().unwrap().push(emitted);
    }

    /// Everything so far.
    #[must_use]
    pub fn all(&self) -> Vec<Emitted> {
        self.0.lock().unwrap().clone()
    }
}
