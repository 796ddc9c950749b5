//! Why a call comes out as it does, step by step: the same run as [`crate::decide`] with a recorder that keeps each step, and
//! around it the steps that a data plane takes with what it alone knows.

mod chain;

use serde::Serialize;

use crate::Reason;
use crate::circumstances::Circumstances;
use crate::compile::Snapshot;
use crate::decide::Step;
use crate::resource::Name;
use crate::rule::{DefinitionKind, Rule};
use crate::snapshot::SnapshotVersion;
use crate::view::EndpointRef;

/// A call that is asked about.
#[derive(Debug, Clone, Copy)]
pub struct Question<'a> {
    /// The key's name.
    pub key: &'a str,
    /// Where it calls.
    pub endpoint: EndpointRef<'a>,
    /// Whether it asks for a tool or a prompt.
    pub kind: DefinitionKind,
    /// The name that this has at the endpoint.
    pub name: &'a str,
    /// What the data plane is taken to meet, of [`crate::live::REASONS`]; any other has no effect. What the call meets first
    /// counts.
    pub assume: &'a [Reason],
    /// What became of exactly this call, where a person has to approve each; `None` where nobody was asked for it, or nobody
    /// knows. What is taken to be denied is denied.
    pub asked: Option<Asked>,
    /// What else is known of the call. What rests on something that is not known is not judged.
    pub circumstances: Circumstances<'a>,
}

impl<'a> Question<'a> {
    /// A call of a tool, of which nothing more is known.
    #[must_use]
    pub const fn tool(key: &'a str, endpoint: EndpointRef<'a>, name: &'a str, now_unix_ms: u64) -> Self {
        let kind = DefinitionKind::Tool;
        Self {
            key,
            endpoint,
            kind,
            name,
            assume: &[],
            asked: None,
            circumstances: Circumstances::at(now_unix_ms),
        }
    }
}

/// What became of a call that a person has to approve.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Asked {
    /// It waits.
    Waits,
    /// It was approved, and did not go through yet.
    Approved,
    /// It was denied.
    Denied,
}

/// What a call comes to, with every step that leads to it.
#[derive(Debug, Clone, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Explanation {
    /// What is decided.
    pub decision: Decision,
    /// Why it is denied, or how it fails once it was let through.
    pub reason: Option<Reason>,
    /// The rule behind it, as in the audit record.
    pub rule: Rule,
    /// The snapshot that decides.
    pub snapshot_version: SnapshotVersion,
    /// The server, as far as it was found.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub server: Option<Name>,
    /// The upstream's name of the tool, as far as it was found.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub tool: Option<String>,
    /// The steps, in their order; a step that denies or fails is the last one.
    pub steps: Vec<ExplainedStep>,
}

/// What was decided.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum Decision {
    /// It may be called.
    Permit,
    /// It may not.
    Deny,
}

/// One step of a call.
#[derive(Debug, Clone, Serialize)]
pub struct ExplainedStep {
    /// Which.
    pub step: Step,
    /// How it comes out.
    pub outcome: Outcome,
    /// What it rests on.
    pub rule: Rule,
    /// A sentence for a person.
    pub detail: String,
}

/// How a step comes out.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum Outcome {
    /// The next step is asked.
    Pass,
    /// The call is denied.
    Deny,
    /// The call was let through, and fails here.
    Fail,
    /// Nobody knows before the call: the data plane finds out when it is made.
    Live,
}

/// Explains what a call comes to.
#[must_use]
pub fn explain(snapshot: &Snapshot, question: &Question<'_>) -> Explanation {
    chain::Chain::new(snapshot, question).run()
}

#[cfg(test)]
mod tests;
