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
    pub time: DateTime<Utc>,
    /// The JSON-RPC method.
    pub method: Cow<'static, str>,
    /// The path of the endpoint: `/mcp`, `/bundles/B/mcp`, `/servers/S/mcp`.
    pub endpoint: Cow<'static, str>,
    /// The caller's era: `modern` or `legacy`.
    pub era: Cow<'static, str>,
    /// What was decided.
    pub decision: Decision,
    /// Why it was denied, or how it failed.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub reason: Option<Reason>,
    /// The rule that decided: `VirtualKey/support-bot spec.grants[0]`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub rule: Option<String>,
    /// The version of the snapshot that decided.
    pub snapshot_version: u64,
    /// Who called.
    pub principal: PrincipalFacts,
    /// The key that was used.
    pub key: KeyFacts,
    /// The key's team.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub team: Option<Name>,
    /// The team's customer.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub customer: Option<Name>,
    /// The server called.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub server: Option<Name>,
    /// The zone of the server.
    #[serde(default, skip_serializing_if = "Option::is_none")]
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
    /// W3C trace id, 32 hex digits.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub trace_id: Option<String>,
    /// W3C span id of our span, 16 hex digits.
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
    pub name: Name,
    /// Its uid.
    pub uid: Uid,
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
