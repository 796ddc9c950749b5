//! Why an upstream gave nothing usable: a reason, a sentence, and whether it may have acted.

use portcullis_policy::Reason;

/// The one error of this room.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{message}")]
pub struct UpstreamError {
    /// The code for the reply, the record and the metric.
    pub reason: Reason,
    /// One sentence for the caller: no address, no credential, nothing that the upstream wrote.
    pub message: String,
    /// The upstream's HTTP status, if it gave one.
    pub http_status: Option<u16>,
    /// Whether the upstream may have acted on the request.
    pub reached: bool,
}

impl UpstreamError {
    /// An error before anything was sent.
    pub(crate) fn unsent(reason: Reason, message: impl Into<String>) -> Self {
        Self { reason, message: message.into(), http_status: None, reached: false }
    }

    /// An error after the upstream may have acted.
    pub(crate) fn sent(reason: Reason, message: impl Into<String>) -> Self {
        Self { reason, message: message.into(), http_status: None, reached: true }
    }

    /// The same with the upstream's status.
    pub(crate) const fn with_status(mut self, status: http::StatusCode) -> Self {
        self.http_status = Some(status.as_u16());
        self
    }

    /// The same, said of a request that was not acted on.
    pub(crate) const fn not_reached(mut self) -> Self {
        self.reached = false;
        self
    }
}
