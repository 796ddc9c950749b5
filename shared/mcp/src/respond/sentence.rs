//! What a model reads when a call is refused or fails: one sentence on what happened, one on what to do.

use portcullis_policy::Reason;

/// The sentence of a reason. It names no rule, no other tool, and nothing of the upstream.
#[must_use]
pub const fn sentence(reason: Reason) -> &'static str {
    match reason {
        Reason::Unauthenticated | Reason::KeyExpired | Reason::KeyRevoked => "Unauthorized",
        Reason::UnknownEndpoint => "Not Found",
        Reason::ToolUnknown | Reason::ToolNotGranted | Reason::ToolNotApproved | Reason::ToolQuarantined => {
            "There is no such tool."
        }
        Reason::ZoneDenied => {
            "This call was denied because it would cross into a trust zone that your key may not reach. Do not retry; use another tool or ask the user to request access."
        }
        Reason::PolicyDenied => {
            "This call was denied by an access policy. Do not retry it as it is; use another tool or ask the user to request access."
        }
        Reason::ClientDenied => {
            "This call was denied because the client in use may not make it. Do not retry; tell the user."
        }
        Reason::RateLimited => "Too many calls in a short time. Wait before you call this again.",
        Reason::ConcurrencyExceeded => {
            "Too many calls are in progress at once. Wait for some to finish, then try again."
        }
        Reason::BudgetExhausted => {
            "The budget for these calls is used up. Do not retry until it is renewed; tell the user."
        }
        Reason::ArgumentsInvalid => {
            "The arguments do not fit the tool's input schema. Correct them and call the tool again."
        }
        Reason::ContentBlocked => {
            "This call was blocked because its content may not pass, such as secrets or personal data. Remove that content before you try again."
        }
        Reason::ExposureExceeded => {
            "The call would expose more data than is allowed. Ask for less, for example with a narrower query."
        }
        Reason::ApprovalRequired => {
            "This call needs a person's approval first. Ask the user to have it approved, then call the tool again with the same arguments."
        }
        Reason::ApprovalDenied => "A person denied this call. Do not retry it; tell the user.",
        Reason::DetectionBlocked => {
            "This call was blocked by a security detection. Do not retry; tell the user."
        }
        Reason::UpstreamUnavailable => {
            "The server behind this tool cannot be reached at the moment. Try again later, or continue without it."
        }
        Reason::UpstreamTimeout => {
            "The server behind this tool did not answer in time. It may have acted all the same; check before you call it again."
        }
        Reason::UpstreamError => {
            "The server behind this tool failed to answer the call. Trying again may not help; tell the user if it goes on."
        }
        Reason::ResponseTooLarge => {
            "The answer is larger than allowed and was withheld. Ask for less, for example with a filter or a smaller page."
        }
        Reason::SnapshotStale | Reason::AuditUnavailable | Reason::Overloaded => "Service Unavailable",
        Reason::MalformedRequest => "Bad Request",
        Reason::Internal => "The gateway failed to handle the request.",
    }
}
