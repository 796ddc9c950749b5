//! `ApprovalRule`: who may approve what, and how many of them it takes.

use serde::{Deserialize, Serialize};

use super::{Environment, HumanDuration, Name, Tier};

/// The spec of an `ApprovalRule`.
///
/// Of the rules that match, the one that names the most kinds of criteria counts; of equals the one that asks for the most
/// people; of equals the first by name.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, rename_all = "camelCase")]
pub struct ApprovalRuleSpec {
    /// What it is about; all that are given must fit. Nothing given: every definition.
    #[serde(rename = "match", default, skip_serializing_if = "ApprovalMatch::is_empty")]
    pub matches: ApprovalMatch,
    /// Who may approve; they need the right `approvals:decide` as well.
    pub approvers: Vec<Approver>,
    /// How many different people it takes.
    #[serde(default = "one")]
    pub required: u32,
    /// Whether the author of what is to be approved counts for nothing.
    #[serde(default = "yes")]
    pub four_eyes: bool,
    /// How long what waits may wait; then it has to be opened again.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub expires_after: Option<HumanDuration>,
    /// What needs no person.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub auto_approve: Option<AutoApprove>,
}

const fn one() -> u32 {
    1
}

const fn yes() -> bool {
    true
}

/// What an `ApprovalRule` is about.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, rename_all = "camelCase")]
pub struct ApprovalMatch {
    /// The zone of the server, or one of those that the change is about.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub zones: Option<Vec<Name>>,
    /// The server.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub servers: Option<Vec<Name>>,
    /// The server's tier.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub tiers: Option<Vec<Tier>>,
    /// The server's environment.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub environments: Option<Vec<Environment>>,
    /// One of the server's data classes.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub data_classes: Option<Vec<String>>,
    /// What kind of change it is. Not given: `new`, `changed` and `identity`; a rule about calls names `call`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub changes: Option<Vec<ChangeClass>>,
}

impl ApprovalMatch {
    /// Whether nothing is given.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        *self == Self::default()
    }

    /// How many kinds of criteria are given.
    #[must_use]
    pub fn criteria(&self) -> usize {
        [
            self.zones.is_some(),
            self.servers.is_some(),
            self.tiers.is_some(),
            self.environments.is_some(),
            self.data_classes.is_some(),
            self.changes.is_some(),
        ]
        .into_iter()
        .filter(|given| *given)
        .count()
    }
}

/// What kind of change it is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum ChangeClass {
    /// A tool or prompt of which nothing is approved.
    New,
    /// A tool or prompt of which another definition is approved.
    Changed,
    /// What a server says of itself.
    Identity,
    /// Every change of an apply that is listed below.
    Proposal,
    /// A server, or a single tool of it, moves to another zone.
    ZoneMapping,
    /// A zone is reachable from more zones or networks, allows more data classes, eras, hosting or data planes, or
    /// asks less of audit.
    ZoneOpening,
    /// A limit of what a server may be sent or may answer is raised.
    ExposureLimits,
    /// A server's new or changed tools, or calls of one of its tools, need less approval than before.
    ApprovalMode,
    /// An `AccessPolicy` that is enforced says something else, only records, or goes.
    PolicyLoosening,
    /// A server whose rollout has not come to its end is open to more callers, or comes on with less asked of it: its
    /// `RolloutPolicy` is wider, laxer or another one, or somebody forces it on although checks fail.
    RolloutOpening,
    /// A `Role`, `RoleBinding` or `ApprovalRule` comes, changes or goes.
    Access,
    /// One call of a tool whose calls a person has to approve.
    Call,
}

impl ChangeClass {
    /// Every kind of change of an apply.
    pub const PROPOSALS: &[Self] = &[
        Self::ZoneMapping,
        Self::ZoneOpening,
        Self::ExposureLimits,
        Self::ApprovalMode,
        Self::PolicyLoosening,
        Self::RolloutOpening,
        Self::Access,
    ];

    /// As documents spell it.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::New => "new",
            Self::Changed => "changed",
            Self::Identity => "identity",
            Self::Proposal => "proposal",
            Self::ZoneMapping => "zone-mapping",
            Self::ZoneOpening => "zone-opening",
            Self::ExposureLimits => "exposure-limits",
            Self::ApprovalMode => "approval-mode",
            Self::PolicyLoosening => "policy-loosening",
            Self::RolloutOpening => "rollout-opening",
            Self::Access => "access",
            Self::Call => "call",
        }
    }

    /// Whether it is a change of an apply.
    #[must_use]
    pub const fn is_proposal(self) -> bool {
        !self.is_definition() && !matches!(self, Self::Call)
    }

    /// Whether it is something that a server offers.
    #[must_use]
    pub const fn is_definition(self) -> bool {
        matches!(self, Self::New | Self::Changed | Self::Identity)
    }
}

impl std::fmt::Display for ChangeClass {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(self.as_str())
    }
}

/// Somebody who may approve.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, rename_all = "camelCase")]
pub enum Approver {
    /// Whoever has this role, a built-in one or that of a `Role`.
    Role(Name),
    /// A person: what `--for` named, or the name of a token.
    Identity(String),
}

impl std::fmt::Display for Approver {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::Role(role) => write!(f, "role {role}"),
            Self::Identity(identity) => f.write_str(identity),
        }
    }
}

/// What needs no person. All conditions that are given must hold; at least one is given.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, rename_all = "camelCase")]
pub struct AutoApprove {
    /// The definition's annotations say `readOnlyHint: true`, and not `destructiveHint: true`.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub read_only_hint: bool,
    /// The review found nothing worse than this.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub risk: Option<AcceptedRisk>,
}

/// The worst that a review may find in what needs no person. What it rates `high` needs one, whatever a rule says.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum AcceptedRisk {
    /// Nothing at all.
    None,
    /// What is worth knowing, and honest definitions have too.
    Info,
    /// What a person should have looked at.
    Warn,
}
