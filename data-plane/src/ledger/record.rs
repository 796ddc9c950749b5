//! One audit record: what is kept of one call. Arguments and results are no part of it.

use std::borrow::Cow;
use std::sync::Arc;

use chrono::{DateTime, Utc};
use portcullis_policy::Reason;
use portcullis_policy::resource::{Name, PrincipalKind, Uid};
use serde::{Deserialize, Serialize};
use uuid::Uuid;

/// What is kept of one call. Names are those of the resources; texts that callers or upstreams chose are cut so that a
/// record always fits its place.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct AuditRecord {
    /// The id of the request: UUIDv7, as in `X-Request-Id`.
    pub request_id: Uuid,
    /// When the request arrived.
    #[serde(serialize_with = "text::time")]
    pub time: DateTime<Utc>,
    /// The JSON-RPC method, cut where no revision knows it; of a request whose body was not read, what its header names, else
    /// HTTP's.
    pub method: Cow<'static, str>,
    /// The path of the endpoint: `/mcp`, `/bundles/B/mcp`, `/servers/S/mcp`; with `unknown_endpoint` any path, cut.
    pub endpoint: Cow<'static, str>,
    /// The caller's era: `modern` or `legacy`.
    pub era: Cow<'static, str>,
    /// What was decided.
    pub decision: Decision,
    /// Why it was denied, or how it failed.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub reason: Option<Reason>,
    /// The rule behind decision and reason: the grant that permitted the call, `VirtualKey/support-bot spec.grants[0]`, unless
    /// another rule denied it or a limit ended it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub rule: Option<String>,
    /// The policies in shadow mode that would have denied it.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub shadow: Vec<Arc<str>>,
    /// The approval that the call was held back for, or let through by.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub approval: Option<Box<ApprovalFacts>>,
    /// The version of the snapshot that decided.
    pub snapshot_version: u64,
    /// Who called.
    pub principal: PrincipalFacts,
    /// The key that was used.
    pub key: KeyFacts,
    /// The key's team.
    #[serde(default, skip_serializing_if = "Option::is_none", serialize_with = "text::maybe")]
    pub team: Option<Name>,
    /// The team's customer.
    #[serde(default, skip_serializing_if = "Option::is_none", serialize_with = "text::maybe")]
    pub customer: Option<Name>,
    /// The server called.
    #[serde(default, skip_serializing_if = "Option::is_none", serialize_with = "text::maybe")]
    pub server: Option<Name>,
    /// The zone of the server.
    #[serde(default, skip_serializing_if = "Option::is_none", serialize_with = "text::maybe")]
    pub zone: Option<Name>,
    /// The upstream's name of the tool.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub tool: Option<Arc<str>>,
    /// The upstream's name of the prompt.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub prompt: Option<Arc<str>>,
    /// The URI of the resource.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub resource: Option<Arc<str>>,
    /// The name that the caller used, where it differs or is all that is known.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub exposed_name: Option<Arc<str>>,
    /// What the caller's program says that it is. A hint: nobody checked it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub client_hint: Option<Arc<str>>,
    /// Where the time went.
    pub latency_micros: LatencySplit,
    /// How much went through.
    pub bytes: Sizes,
    /// What the upstream did; none when it was not asked.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub upstream: Option<UpstreamFacts>,
    /// How it ended.
    pub outcome: Outcome,
    /// What it cost, in millionths of a US dollar, where what it used has a cost.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub cost_micro_usd: Option<u64>,
    /// What the budgets that paid for it had spent by then: so a crash of the plane loses less.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub spent: Option<Box<SpentFacts>>,
    /// W3C trace id, 32 hex digits.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub trace_id: Option<String>,
    /// W3C span id of the call's own span, 16 hex digits; the caller's where no span of ours is exported.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub span_id: Option<String>,
    /// Fields that were cut to fit. Set by the spool.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub truncated: Vec<Cow<'static, str>>,
}

/// What was decided.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Decision {
    /// It was let through.
    Permit,
    /// It was not.
    Deny,
}

impl From<portcullis_policy::explain::Decision> for Decision {
    fn from(decision: portcullis_policy::explain::Decision) -> Self {
        match decision {
            portcullis_policy::explain::Decision::Permit => Self::Permit,
            portcullis_policy::explain::Decision::Deny => Self::Deny,
        }
    }
}

impl Decision {
    /// The code.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Permit => "permit",
            Self::Deny => "deny",
        }
    }
}

/// Who called.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct PrincipalFacts {
    /// Human, agent or workload.
    pub kind: PrincipalKind,
    /// Who, in the organisation's words.
    pub subject: Arc<str>,
}

/// The key that was used.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct KeyFacts {
    /// Its name.
    #[serde(serialize_with = "text::name")]
    pub name: Name,
    /// Its uid.
    pub uid: Uid,
}

/// What a person had to say of one call.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct ApprovalFacts {
    /// The id of the approval.
    pub id: Arc<str>,
    /// Who approved it, of a call that was let through.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub by: Option<Arc<str>>,
}

/// What the budgets that paid for a call had spent by then.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct SpentFacts {
    /// Who this plane was to budgets.
    pub plane: Uuid,
    /// In which of its lives.
    pub life: u32,
    /// The budgets, in the order of their levels.
    pub accounts: Vec<SpentLine>,
}

/// One of them.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct SpentLine {
    /// The account: `LEVEL:UNIT:PERIOD:UID`, with `rolling:` before the uid of one that counts the time that just went by.
    pub account: Arc<str>,
    /// Which of its periods paid.
    pub epoch: u32,
    /// All that this life of the plane had certainly spent of it.
    pub spent: u64,
}

/// Microseconds.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct LatencySplit {
    /// From the request's head to the record.
    pub total: u64,
    /// Of it, authentication and decision.
    pub decide: u64,
    /// Of it, waiting for the upstream.
    pub upstream: u64,
}

/// Bytes of bodies.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Sizes {
    /// Of the caller's request.
    pub request: u64,
    /// Of our answer, until the record was made.
    pub response: u64,
}

/// What the upstream did.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct UpstreamFacts {
    /// Its HTTP status; none over stdio, or when none came.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub status: Option<u16>,
    /// Its era: `modern` or `legacy`; none when it is not known.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub era: Option<Cow<'static, str>>,
}

/// How a call ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Outcome {
    /// With a result.
    Ok,
    /// With a tool's own error (`isError`).
    ToolError,
    /// With a JSON-RPC error, ours or the upstream's.
    Error,
    /// The caller went away or cancelled.
    Cancelled,
}

impl Outcome {
    /// The code.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Ok => "ok",
            Self::ToolError => "tool_error",
            Self::Error => "error",
            Self::Cancelled => "cancelled",
        }
    }
}

/// How fields are written: the same text as by their own types, without the allocations of those.
pub(super) mod text {
    use chrono::{DateTime, Datelike as _, Timelike as _, Utc};
    use portcullis_policy::resource::Name;
    use serde::Serializer;

    pub(super) fn name<S: Serializer>(name: &Name, to: S) -> Result<S::Ok, S::Error> {
        to.serialize_str(name.as_str())
    }

    pub(super) fn maybe<S: Serializer>(name: &Option<Name>, to: S) -> Result<S::Ok, S::Error> {
        match name {
            Some(name) => to.serialize_str(name.as_str()),
            None => to.serialize_none(),
        }
    }

    pub(super) fn time<S: Serializer>(time: &DateTime<Utc>, to: S) -> Result<S::Ok, S::Error> {
        let digits = rfc3339(time);
        match digits.as_ref().and_then(|digits| std::str::from_utf8(digits).ok()) {
            Some(text) => to.serialize_str(text),
            None => to.collect_str(&time.format("%+")),
        }
    }

    /// RFC 3339 in UTC, microseconds. Years that have not four digits are left to chrono.
    pub(in crate::ledger) fn rfc3339(time: &DateTime<Utc>) -> Option<[u8; 27]> {
        let year = u32::try_from(time.year()).ok().filter(|year| *year <= 9999)?;
        let mut text = *b"0000-00-00T00:00:00.000000Z";
        // A leap second is written as the second before it.
        let micros = (time.nanosecond() / 1000).min(999_999);
        let fields = [
            (4, year),
            (7, time.month()),
            (10, time.day()),
            (13, time.hour()),
            (16, time.minute()),
            (19, time.second()),
            (26, micros),
        ];
        for (end, mut value) in fields {
            for digit in text.iter_mut().take(end).rev() {
                if value == 0 {
                    break;
                }
                *digit = b'0' + u8::try_from(value % 10).unwrap_or(0);
                value /= 10;
            }
        }
        Some(text)
    }
}

#[cfg(test)]
mod tests {
    use chrono::{DateTime, Utc};
    use serde::Serialize;

    use super::text;

    #[derive(Serialize)]
    struct Timed(#[serde(serialize_with = "text::time")] DateTime<Utc>);

    #[test]
    fn a_time_is_written_as_rfc_3339_and_read_back() {
        for time in [
            "2026-11-21T09:43:07.000001Z",
            "1970-01-01T00:00:00.000000Z",
            "9999-12-31T23:59:59.999999Z",
            "2000-02-29T10:20:30.100000Z",
        ] {
            let parsed: DateTime<Utc> = time.parse().unwrap();
            assert_eq!(serde_json::to_string(&Timed(parsed)).unwrap(), format!("\"{time}\""));
        }
        let far = DateTime::<Utc>::MAX_UTC;
        let written = serde_json::to_string(&Timed(far)).unwrap();
        assert!(written.starts_with("\"+262"), "{written}");
    }
}
