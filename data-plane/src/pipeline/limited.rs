//! What a server's own limits refuse. Such a call was granted and yet did not go out: it is a denial, and the limit is its rule.

use std::sync::Arc;

use portcullis_mcp::respond::{self, Answer, Asked, Detail};
use portcullis_policy::resource::Kind;
use portcullis_policy::{Denial, Permit, Reason, Rule, RulePath, Server, Target};

use super::context::{Admitted, Client, Request};
use crate::upstream::UpstreamError;

/// When a call may be tried again that found the server's calls all in use, in milliseconds. How long the others take is not
/// known.
const BUSY_RETRY_MS: u64 = 1000;

/// A call that a server's limit refused.
#[derive(Debug)]
pub(super) struct Limited {
    pub(super) denial: Denial,
    sentence: String,
    retry_after_ms: Option<u64>,
}

impl Limited {
    /// A request that is larger than the server takes.
    pub(super) fn by_size(admitted: &Admitted, permit: &Permit) -> Option<Self> {
        let server = permit.server();
        let limit = server.entry.limits.max_request_bytes;
        if admitted.request_bytes <= limit.0 {
            return None;
        }
        let sentence = format!(
            "The request has {} bytes, which is more than the {limit} that the server {} takes \
             (limits.maxRequestBytes). Send less.",
            admitted.request_bytes,
            server.name(),
        );
        let mut limited =
            Self::new(admitted, server, Reason::ArgumentsInvalid, "spec.limits.maxRequestBytes", sentence);
        limited.denial.tool = match permit.target() {
            Target::Tool(tool) => Some(Arc::clone(&tool.name)),
            Target::Prompt(prompt) => Some(Arc::clone(&prompt.name)),
            Target::Resource { .. } | Target::Server => None,
        };
        Some(limited)
    }

    /// An error of the way out that is a limit's; none for any other.
    pub(super) fn by_upstream(
        admitted: &Admitted,
        server: &Arc<Server>,
        error: &UpstreamError,
    ) -> Option<Self> {
        let field = match error.reason {
            Reason::ConcurrencyExceeded => "spec.limits.concurrency",
            Reason::ArgumentsInvalid => "spec.limits.maxRequestBytes",
            _ => return None,
        };
        Some(Self::new(admitted, server, error.reason, field, error.message.clone()))
    }

    fn new(
        admitted: &Admitted,
        server: &Arc<Server>,
        reason: Reason,
        field: &'static str,
        sentence: String,
    ) -> Self {
        let denial = Denial {
            reason,
            rule: Rule::of(Kind::McpServer, server.name().clone(), RulePath::Field(field)),
            snapshot: admitted.snapshot.version(),
            server: Some(server.name().clone()),
            tool: None,
            zone: Some(server.entry.zone.clone()),
        };
        let retry_after_ms = (reason == Reason::ConcurrencyExceeded).then_some(BUSY_RETRY_MS);
        Self { denial, sentence, retry_after_ms }
    }

    /// What the caller gets.
    pub(super) fn answer(&self, admitted: &Admitted, client: &Client, request: &Request) -> Answer {
        let request_id = admitted.arrival.request_id.to_string();
        let asked = Asked {
            era: client.era,
            id: Some(&request.id),
            subject: request.subject(),
            request_id: &request_id,
        };
        let detail = Detail {
            sentence: Some(&self.sentence),
            retry_after_ms: self.retry_after_ms,
            ..Detail::default()
        };
        respond::deny(self.denial.reason, &asked, &detail)
    }
}
