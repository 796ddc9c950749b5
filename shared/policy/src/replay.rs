//! Recorded calls, decided again: what a change would have meant for them.
//!
//! A record keeps who called what, where and when, and what was decided; never arguments. What a rule needs and no record
//! keeps cannot be decided again, and is told as such instead of guessed.

mod tally;

use std::sync::Arc;

use crate::Reason;
use crate::circumstances::{Circumstances, Era};
use crate::compile::Snapshot;
use crate::decide::judge::{self, Asker, Ground, Refusal, Step, Steps};
use crate::decide::resolve;
use crate::resource::{Name, PlaneLabels, Uid};
use crate::rule::{DefinitionKind, Rule};
use crate::view::EndpointRef;

pub use tally::{ChangedCalls, MAX_GROUPS, Replay, Replayed, UndecidableCalls};

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
    /// The labels of the data plane that served it, where they are known.
    pub plane: Option<Arc<PlaneLabels>>,
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
    /// Nobody can tell: it depends on something that no record keeps.
    Undecidable(Undecided),
}

/// What an outcome depends on.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct Undecided {
    /// The rule that asks for it.
    pub rule: Rule,
    /// What it asks for, in a sentence.
    pub why: String,
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
        let told = |(reason, ground): Refusal<'_>| Again::Deny(reason, ground.rule(&principal.key_name));
        if let Err(refusal) = principal.alive(call.unix_ms) {
            return told(refusal);
        }
        let Some(view) = self.view(&principal.access, endpoint) else {
            return denied(Reason::UnknownEndpoint);
        };
        let rules = principal.access.rules(self);
        let asker = Asker {
            rules,
            place: view.place(),
            keyed: &principal.client_rules,
            caller: rules.standpoints.caller(principal).map(|caller| &**caller),
            listing: false,
            circumstances: Circumstances {
                era: call.era,
                plane: call.plane.as_deref(),
                ..Circumstances::at(call.unix_ms)
            },
        };
        let mut lacking = Lacking { key: &principal.key_name, first: None };
        let definition = |kind, lacking: &mut _| {
            let candidate = resolve(self, view.place(), kind, &call.name, lacking)?;
            let (definition, _) = judge::definition(&asker, candidate, lacking)?;
            // What one person approved then, one would have to approve now.
            match &definition.held_by {
                Some(rule) if !call.released => Err((Reason::ApprovalRequired, Ground::PerCall(rule))),
                _ => Ok(()),
            }
        };
        let decided = match (call.kind, &call.server) {
            (RecordedKind::Tool, _) => definition(DefinitionKind::Tool, &mut lacking),
            (RecordedKind::Prompt, _) => definition(DefinitionKind::Prompt, &mut lacking),
            (RecordedKind::Resource, Some(server)) => match self.server(server) {
                Some(server) => judge::resource(&asker, server, &call.name, &mut lacking).map(|_| ()),
                None => return denied(Reason::ToolUnknown),
            },
            // No server had it: which one it would be asked of now is not known before the lists are.
            (RecordedKind::Resource, None) => return denied(Reason::ToolUnknown),
        };
        match (decided, lacking.first) {
            // Whatever is not known: another rule denies it.
            (Err(refusal), _) => told(refusal),
            (Ok(()), Some(undecided)) => Again::Undecidable(undecided),
            (Ok(()), None) => Again::Permit,
        }
    }
}

/// Goes on where something is not known, so that what denies all the same is found; and remembers the first of it.
struct Lacking<'a> {
    key: &'a Name,
    first: Option<Undecided>,
}

impl Steps for Lacking<'_> {
    fn step(&mut self, _: Step, _: bool, _: Ground<'_>, _: impl FnOnce() -> String) {}

    fn unknown(&mut self, _: Step, ground: Ground<'_>, detail: impl FnOnce() -> String) -> bool {
        self.first.get_or_insert_with(|| Undecided { rule: ground.rule(self.key), why: detail() });
        true
    }

    fn unknown_in_shadow(&mut self, _: Step, _: Ground<'_>, _: impl FnOnce() -> String) -> bool {
        false
    }

    fn shadow(&mut self, _: &Name) {}
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
