//! Why an upstream gave nothing usable: a reason, a sentence, and whether it may have acted.

use portcullis_policy::Reason;

/// Characters of a cause.
const MAX_CAUSE: usize = 300;

/// The one error of this room.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{message}")]
pub struct UpstreamError {
    /// The code for the reply, the record and the metric.
    pub reason: Reason,
    /// One sentence for the caller: no address, no credential, nothing that the upstream wrote.
    pub message: String,
    /// What lay behind it, for those who administer servers and nobody else: an address, an error of the system, what is wrong
    /// with a certificate. Never a credential, and bounded.
    pub cause: Option<Box<str>>,
    /// The upstream's HTTP status, if it gave one.
    pub http_status: Option<u16>,
    /// Whether the upstream may have acted on the request.
    pub reached: bool,
    /// Whether the server certainly got nothing of the request: not one byte of it was written to any connection or process.
    /// Without proof it is false. A refusal that did nothing is not `reached` and yet not untouched.
    pub untouched: bool,
}

impl UpstreamError {
    /// An error before anything was sent.
    pub(crate) fn unsent(reason: Reason, message: impl Into<String>) -> Self {
        Self {
            reason,
            message: message.into(),
            cause: None,
            http_status: None,
            reached: false,
            untouched: false,
        }
    }

    /// An error after the upstream may have acted.
    pub(crate) fn sent(reason: Reason, message: impl Into<String>) -> Self {
        Self {
            reason,
            message: message.into(),
            cause: None,
            http_status: None,
            reached: true,
            untouched: false,
        }
    }

    /// The same with what lay behind it, cut to [`MAX_CAUSE`] characters.
    pub(crate) fn because(mut self, cause: &str) -> Self {
        let plain = |letter: char| if letter.is_control() { ' ' } else { letter };
        self.cause = Some(cause.chars().take(MAX_CAUSE).map(plain).collect::<String>().into());
        self
    }

    /// What an administrator is told.
    pub(crate) fn in_full(&self) -> String {
        match &self.cause {
            Some(cause) => format!("{} ({cause})", self.message),
            None => self.message.clone(),
        }
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
