//! Who reaches what: the predicate of one call, asked of every key for one tool, of everything for one key, and of two
//! snapshots for what differs between them.
//!
//! It answers from a compiled snapshot and judges by the very function that decides, so that nobody is told of a tool that a
//! call would not get. Keys with equal grants share one answer: 100,000 keys are a few questions, and the worst case reads
//! what each is granted of the one server that is asked about.

mod compare;
mod group;
mod judge;
mod what;
mod who;

use std::sync::Arc;

use serde::Serialize;

use crate::Reason;
use crate::compile::model::{Candidate, CandidateState, Principal};
use crate::resource::{CallApproval, Name, PrincipalKind};
use crate::rule::{DefinitionKind, Rule};

pub use compare::{Bounds, Counts, Difference, Shift, StateChange, compare};
pub use what::{Endpoints, KeyReach, Reached};
pub use who::{ToolReach, Unknown, WhoReaches};

/// What can be reached.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum ReachKind {
    /// A tool.
    Tool,
    /// A prompt.
    Prompt,
    /// The resources that match a pattern.
    Resources,
}

impl From<DefinitionKind> for ReachKind {
    fn from(kind: DefinitionKind) -> Self {
        match kind {
            DefinitionKind::Tool => Self::Tool,
            DefinitionKind::Prompt => Self::Prompt,
        }
    }
}

/// One thing that can be reached.
#[derive(Debug, Clone, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Thing {
    /// What it is.
    pub kind: ReachKind,
    /// Its server.
    pub server: Name,
    /// The upstream's name of it; of resources the pattern.
    pub name: Arc<str>,
    /// Its name at `/mcp`, where it has one.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub exposed: Option<Arc<str>>,
}

/// Why something is not reached.
#[derive(Debug, Clone, Serialize)]
pub struct Refused {
    /// The reason that a call would get.
    pub reason: Reason,
    /// The rule behind it.
    pub rule: Rule,
}

/// A key, as answers name it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Caller {
    /// The key's name.
    pub key: Name,
    /// What kind of principal calls with it.
    pub principal_kind: PrincipalKind,
    /// Who, in the organisation's words.
    pub subject: Arc<str>,
    /// Its team.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub team: Option<Name>,
    /// The team's customer.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub customer: Option<Name>,
    /// The zone of the principal.
    pub zone: Name,
}

impl Caller {
    fn of(principal: &Principal) -> Self {
        Self {
            key: principal.key_name.clone(),
            principal_kind: principal.kind,
            subject: Arc::clone(&principal.subject),
            team: principal.team.clone(),
            customer: principal.customer.clone(),
            zone: principal.zone.clone(),
        }
    }
}

impl Thing {
    fn of(candidate: &Candidate) -> Self {
        Self {
            kind: candidate.kind.into(),
            server: candidate.server.name().clone(),
            name: Arc::clone(&candidate.name),
            exposed: candidate.exposed.clone(),
        }
    }
}

/// `per-call` where a person has to approve each call of it, whoever calls.
fn approval(candidate: &Candidate) -> Option<CallApproval> {
    let held = candidate.usable().is_some_and(|definition| definition.held_by.is_some());
    held.then_some(CallApproval::PerCall)
}

/// How a definition stands, whoever asks.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum DefinitionStanding {
    /// Approved, and served.
    Approved,
    /// Nobody approved it.
    Pending,
    /// It no longer matches its pin.
    Quarantined,
    /// Approved, and against the rules of the protocol: it cannot be served.
    Invalid,
}

impl DefinitionStanding {
    const fn of(state: &CandidateState) -> Self {
        match state {
            CandidateState::Usable(_) => Self::Approved,
            CandidateState::Pending => Self::Pending,
            CandidateState::Quarantined => Self::Quarantined,
            CandidateState::Invalid(_) => Self::Invalid,
        }
    }
}

#[cfg(test)]
mod tests;
