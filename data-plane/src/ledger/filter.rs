//! What `audit query` asks for.

use chrono::{DateTime, Utc};
use portcullis_policy::Reason;

use super::record::{AuditRecord, Decision};

/// Which records. Everything that is given must match; nothing given means all.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Filter {
    /// Not before.
    pub since: Option<DateTime<Utc>>,
    /// Before.
    pub until: Option<DateTime<Utc>>,
    /// The name or the uid of the key.
    pub key: Option<String>,
    /// The upstream's or the exposed name of the tool or prompt.
    pub tool: Option<String>,
    /// The server's name.
    pub server: Option<String>,
    /// The reason.
    pub reason: Option<Reason>,
    /// The decision.
    pub decision: Option<Decision>,
    /// The request's id, as in `X-Request-Id`.
    pub request_id: Option<uuid::Uuid>,
}

impl Filter {
    /// Whether the record is asked for.
    #[must_use]
    pub fn matches(&self, record: &AuditRecord) -> bool {
        let tools = [&record.tool, &record.prompt, &record.exposed_name];
        self.since.is_none_or(|since| record.time >= since)
            && self.until.is_none_or(|until| record.time < until)
            && self.key.as_ref().is_none_or(|key| {
                record.key.name.as_str() == key || key.parse().is_ok_and(|uid| record.key.uid == uid)
            })
            && self
                .tool
                .as_deref()
                .is_none_or(|tool| tools.iter().any(|named| named.as_deref() == Some(tool)))
            && self
                .server
                .as_deref()
                .is_none_or(|server| record.server.as_ref().is_some_and(|named| named.as_str() == server))
            && self.reason.is_none_or(|reason| record.reason == Some(reason))
            && self.decision.is_none_or(|decision| record.decision == decision)
            && self.request_id.is_none_or(|id| record.request_id == id)
    }
}
