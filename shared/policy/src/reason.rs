//! The closed list of reasons: one code, the same in the audit record, the metric and `explain`.

use std::fmt;

use serde::{Deserialize, Serialize};

macro_rules! reasons {
    ($($(#[$doc:meta])* $variant:ident = $code:literal,)+) => {
        /// Why a call was denied or failed. CONTRACT: the codes never change their meaning.
        #[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
        #[serde(rename_all = "snake_case")]
        pub enum Reason {
            $($(#[$doc])* $variant,)+
        }

        impl Reason {
            /// Every reason, in the order of the contract.
            pub const ALL: &[Self] = &[$(Self::$variant,)+];

            /// The code: lower case with underscores.
            #[must_use]
            pub const fn code(self) -> &'static str {
                match self { $(Self::$variant => $code,)+ }
            }
        }
    };
}

reasons! {
    /// No credential, an unknown one, or two in one request.
    Unauthenticated = "unauthenticated",
    /// The key's time is over.
    KeyExpired = "key_expired",
    /// The key was revoked.
    KeyRevoked = "key_revoked",
    /// No such bundle or server, or none that this key reaches.
    UnknownEndpoint = "unknown_endpoint",
    /// Nothing has this name.
    ToolUnknown = "tool_unknown",
    /// The key's grants do not name it.
    ToolNotGranted = "tool_not_granted",
    /// Nobody approved it yet.
    ToolNotApproved = "tool_not_approved",
    /// The upstream's definition no longer matches the pin.
    ToolQuarantined = "tool_quarantined",
    /// The tool's zone is not reachable from the principal's.
    ZoneDenied = "zone_denied",
    /// An access policy forbids it, or could not be evaluated.
    PolicyDenied = "policy_denied",
    /// A client rule forbids it.
    ClientDenied = "client_denied",
    /// A rate limit is used up.
    RateLimited = "rate_limited",
    /// Too many calls at once.
    ConcurrencyExceeded = "concurrency_exceeded",
    /// A budget is used up.
    BudgetExhausted = "budget_exhausted",
    /// The arguments do not fit the tool's schema.
    ArgumentsInvalid = "arguments_invalid",
    /// A guardrail blocked content.
    ContentBlocked = "content_blocked",
    /// More data than may be exposed.
    ExposureExceeded = "exposure_exceeded",
    /// This call needs a person's approval.
    ApprovalRequired = "approval_required",
    /// A person denied this call.
    ApprovalDenied = "approval_denied",
    /// A detection blocked the caller.
    DetectionBlocked = "detection_blocked",
    /// The upstream cannot be reached.
    UpstreamUnavailable = "upstream_unavailable",
    /// The upstream did not answer in time.
    UpstreamTimeout = "upstream_timeout",
    /// The upstream failed.
    UpstreamError = "upstream_error",
    /// The upstream's answer is larger than allowed.
    ResponseTooLarge = "response_too_large",
    /// The snapshot is older than its limit.
    SnapshotStale = "snapshot_stale",
    /// The audit record has no place, and audit is required.
    AuditUnavailable = "audit_unavailable",
    /// The data plane is at a bound.
    Overloaded = "overloaded",
    /// The request is no valid MCP request.
    MalformedRequest = "malformed_request",
    /// A fault of Portcullis itself.
    Internal = "internal",
}

impl fmt::Display for Reason {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.code())
    }
}
