//! Recorded calls, decided again: what a change would have meant for them.
//!
//! A record keeps who called what, where and when, and what was decided; never arguments. What a rule needs and no record
//! keeps cannot be decided again, and is told as such instead of guessed.

mod tally;

use crate::Reason;
use crate::circumstances::{Circumstances, Era};
use crate::compile::Snapshot;
use crate::decide::Denial;
use crate::resource::Uid;
use crate::rule::Rule;
use crate::view::EndpointRef;

pub use tally::{ChangedCalls, MAX_GROUPS, Replay, Replayed};

/// What a recorded call asked for.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, serde::Serialize)]
#[serde(rename_all = "lowercase")]
pub enum RecordedKind {
    /// `tools/call`
    Tool,
    /// `prompts/get`
    Prompt,
    /// `resources/read`, and subscriptions.
    Resource,
}

/// One call as its record tells it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct RecordedCall {
    /// The name of the key.
    pub key: String,
    /// Its uid: a name that came back is another key.
    pub key_uid: Uid,
    /// The path of the endpoint.
    pub endpoint: String,
    /// What was asked for.
    pub kind: RecordedKind,
    /// The name that the caller used; of a resource its URI.
    pub name: String,
    /// The server, as far as it was found.
    pub server: Option<String>,
    /// When, in milliseconds since the Unix epoch.
    pub unix_ms: u64,
    /// How the caller spoke.
    pub era: Option<Era>,
    /// Why it was denied; none where it was permitted, however it ended.
    pub denied: Option<Reason>,
    /// Whether a person had approved exactly this call.
    pub released: bool,
}

/// What a call comes to when it is decided again.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Again {
    /// It is permitted.
    Permit,
    /// It is denied.
    Deny(Reason, Rule),
}

/// Whether a snapshot gives this reason, or what it asks for came to it. Of others the policy had permitted the call: what was met
/// came after it.
#[must_use]
pub const fn is_of_policy(reason: Reason) -> bool {
    matches!(
        reason,
        Reason::Unauthenticated
            | Reason::KeyExpired
            | Reason::KeyRevoked
            | Reason::UnknownEndpoint
            | Reason::ToolUnknown
            | Reason::ToolNotGranted
            | Reason::ToolNotApproved
            | Reason::ToolQuarantined
            | Reason::ZoneDenied
            | Reason::PolicyDenied
            | Reason::ClientDenied
            | Reason::ApprovalRequired
            | Reason::ApprovalDenied
    )
}

impl Snapshot {
    /// Decides a recorded call by this snapshot, as of the time of the call.
    #[must_use]
    pub fn decide_again(&self, call: &RecordedCall) -> Again {
        let denied = |reason| Again::Deny(reason, Rule::closed());
        let Some(endpoint) = endpoint(&call.endpoint) else { return denied(Reason::UnknownEndpoint) };
        let known = self.key_by_name(&call.key).filter(|principal| principal.key_uid == call.key_uid);
        let Some(principal) = known else { return denied(Reason::Unauthenticated) };
        let told = |denial: Denial| Again::Deny(denial.reason, denial.rule);
        let view = match self.endpoint(principal, endpoint) {
            Ok(view) => view,
            Err(denial) => return told(denial),
        };
        let circumstances = Circumstances { era: call.era, ..Circumstances::at(call.unix_ms) };
        let decided = match (call.kind, &call.server) {
            (RecordedKind::Tool, _) => self.decide_tool(principal, &view, &call.name, &circumstances),
            (RecordedKind::Prompt, _) => self.decide_prompt(principal, &view, &call.name, &circumstances),
            (RecordedKind::Resource, Some(server)) => {
                self.decide_resource(principal, &view, server, &call.name, &circumstances)
            }
            // No server had it: which one it would be asked of now is not known before the lists are.
            (RecordedKind::Resource, None) => return denied(Reason::ToolUnknown),
        };
        match decided {
            // What one person approved then, one would have to approve now.
            Err(denial) if call.released && denial.reason == Reason::ApprovalRequired => Again::Permit,
            decided => decided.map_or_else(told, |_| Again::Permit),
        }
    }
}

fn endpoint(path: &str) -> Option<EndpointRef<'_>> {
    let mut parts = path.strip_prefix('/')?.split('/');
    match (parts.next()?, parts.next(), parts.next(), parts.next()) {
        ("mcp", None, ..) => Some(EndpointRef::All),
        ("bundles", Some(name), Some("mcp"), None) => Some(EndpointRef::Bundle(name)),
        ("servers", Some(name), Some("mcp"), None) => Some(EndpointRef::Server(name)),
        _ => None,
    }
}

#[cfg(test)]
mod tests;
