//! What limits refuse: a server's own, and those that meter callers. Such a call was granted and yet did not go out: it is a denial, and the limit is its rule.

use std::sync::Arc;

use portcullis_mcp::respond::{self, Answer, Asked, Detail};
use portcullis_policy::{Carried, Denial, Permit, Reason, Server, Target, live};
use serde_json::value::RawValue;

use super::context::{Admitted, Client, Request};
use crate::metering::Refused;
use crate::upstream::UpstreamError;

/// When a call may be tried again that found the server's calls all in use, in milliseconds. How long the others take is not
/// known.
const BUSY_RETRY_MS: u64 = 1000;

/// A call that a limit refused.
#[derive(Debug)]
pub(super) struct Limited {
    pub(super) denial: Denial,
    sentence: String,
    retry_after_ms: Option<u64>,
}

impl Limited {
    /// A request that carries more than the server takes.
    pub(super) fn by_size(admitted: &Admitted, permit: &Permit, params: Option<&RawValue>) -> Option<Self> {
        let server = permit.server();
        let limits = &server.entry.limits;
        let limit = limits.max_request_bytes;
        // What it carries is a part of its body: most need not be measured.
        if admitted.request_bytes <= limit.0 {
            return None;
        }
        let carried = Carried::of_params(params);
        if carried.fits(limits) {
            return None;
        }
        let (what, bytes) = if carried.bytes > limit.0 {
            ("arguments have", carried.bytes)
        } else {
            ("_meta has", carried.meta_bytes)
        };
        let sentence = format!(
            "The request's {what} {bytes} bytes, which is more than the server {} takes (limits.maxRequestBytes is {limit}). \
             Send less.",
            server.name(),
        );
        let mut limited = Self::new(admitted, server, Reason::ArgumentsInvalid, sentence);
        limited.denial.zone = Some(permit.zone().entry.name.clone());
        limited.denial.tool = match permit.target() {
            Target::Tool(tool) => Some(Arc::clone(&tool.name)),
            Target::Prompt(prompt) => Some(Arc::clone(&prompt.name)),
            Target::Resource { .. } | Target::Server => None,
        };
        Some(limited)
    }

    /// An error of the way out that is a limit's; none for any other.
    pub(super) fn by_upstream(admitted: &Admitted, server: &Server, error: &UpstreamError) -> Option<Self> {
        let limits = matches!(error.reason, Reason::ConcurrencyExceeded | Reason::ArgumentsInvalid);
        limits.then(|| Self::new(admitted, server, error.reason, error.message.clone()))
    }

    /// What metering does not let pass.
    pub(super) fn by_meter(admitted: &Admitted, server: &Server, refused: Refused) -> Self {
        let Refused { reason, rule, sentence, retry_after_ms } = refused;
        let denial = live::denial(reason, admitted.snapshot.version(), Some(server));
        Self { denial: Denial { rule, ..denial }, sentence, retry_after_ms: Some(retry_after_ms) }
    }

    fn new(admitted: &Admitted, server: &Server, reason: Reason, sentence: String) -> Self {
        let denial = live::denial(reason, admitted.snapshot.version(), Some(server));
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
