//! `Role` and `RoleBinding`: what an administrator may do, and who has which role.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

use super::{Kind, Name};

/// One thing that an administrator may or may not do. Every request of the admin API needs one of them.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
pub enum Right {
    /// List and read resources.
    #[serde(rename = "resources:read")]
    ResourcesRead,
    /// Apply and delete resources, other than those that say who may do what.
    #[serde(rename = "resources:write")]
    ResourcesWrite,
    /// Read who changed what, when and why.
    #[serde(rename = "history:read")]
    HistoryRead,
    /// Ask what is in force and what a change would do: explain, snapshot, plan.
    #[serde(rename = "policy:read")]
    PolicyRead,
    /// Create, rotate and revoke the secrets of virtual keys.
    #[serde(rename = "keys:write")]
    KeysWrite,
    /// List and read what waits for a person.
    #[serde(rename = "approvals:read")]
    ApprovalsRead,
    /// Approve and deny.
    #[serde(rename = "approvals:decide")]
    ApprovalsDecide,
    /// List data planes and their tokens.
    #[serde(rename = "planes:read")]
    PlanesRead,
    /// Make and revoke the tokens with which data planes connect.
    #[serde(rename = "planes:write")]
    PlanesWrite,
    /// List the names of secrets.
    #[serde(rename = "secrets:read")]
    SecretsRead,
    /// Set and delete secrets.
    #[serde(rename = "secrets:write")]
    SecretsWrite,
    /// List administrators' tokens.
    #[serde(rename = "access:read")]
    AccessRead,
    /// Make and revoke administrators' tokens; apply and delete `Role`, `RoleBinding` and `ApprovalRule`.
    #[serde(rename = "access:write")]
    AccessWrite,
    /// Give `payloads:read` to others.
    #[serde(rename = "payloads:grant")]
    PayloadsGrant,
    /// Read how budgets stand, and count recorded calls.
    #[serde(rename = "usage:read")]
    UsageRead,
    /// Reset and adjust what was used of budgets.
    #[serde(rename = "usage:write")]
    UsageWrite,
    /// Read what callers sent and servers answered, where it is kept. No built-in role has it.
    #[serde(rename = "payloads:read")]
    PayloadsRead,
}

impl Right {
    /// Every right.
    pub const ALL: &[Self] = &[
        Self::ResourcesRead,
        Self::ResourcesWrite,
        Self::HistoryRead,
        Self::PolicyRead,
        Self::KeysWrite,
        Self::ApprovalsRead,
        Self::ApprovalsDecide,
        Self::PlanesRead,
        Self::PlanesWrite,
        Self::SecretsRead,
        Self::SecretsWrite,
        Self::AccessRead,
        Self::AccessWrite,
        Self::PayloadsGrant,
        Self::UsageRead,
        Self::UsageWrite,
        Self::PayloadsRead,
    ];

    /// The right as documents spell it.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::ResourcesRead => "resources:read",
            Self::ResourcesWrite => "resources:write",
            Self::HistoryRead => "history:read",
            Self::PolicyRead => "policy:read",
            Self::KeysWrite => "keys:write",
            Self::ApprovalsRead => "approvals:read",
            Self::ApprovalsDecide => "approvals:decide",
            Self::PlanesRead => "planes:read",
            Self::PlanesWrite => "planes:write",
            Self::SecretsRead => "secrets:read",
            Self::SecretsWrite => "secrets:write",
            Self::AccessRead => "access:read",
            Self::AccessWrite => "access:write",
            Self::PayloadsGrant => "payloads:grant",
            Self::UsageRead => "usage:read",
            Self::UsageWrite => "usage:write",
            Self::PayloadsRead => "payloads:read",
        }
    }

    /// Whether a rule may limit it to some resources: each request that needs it is about resources that it names.
    #[must_use]
    pub const fn can_be_limited(self) -> bool {
        matches!(self, Self::ResourcesWrite | Self::KeysWrite | Self::ApprovalsDecide)
    }
}

impl std::fmt::Display for Right {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(self.as_str())
    }
}

/// The roles that are there without being written.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum BuiltInRole {
    /// Reads resources, history, decisions, approvals, planes and usage.
    Viewer,
    /// A viewer that changes resources, keys, planes' tokens and secrets, and corrects usage.
    Operator,
    /// A viewer that decides what waits for a person.
    Approver,
    /// A viewer that also sees who administers, and which secrets there are.
    Auditor,
    /// Everything but reading payloads.
    Admin,
}

impl BuiltInRole {
    /// Every one of them.
    pub const ALL: &[Self] = &[Self::Viewer, Self::Operator, Self::Approver, Self::Auditor, Self::Admin];

    /// Its name.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Viewer => "viewer",
            Self::Operator => "operator",
            Self::Approver => "approver",
            Self::Auditor => "auditor",
            Self::Admin => "admin",
        }
    }

    /// The role of this name.
    #[must_use]
    pub fn named(name: &str) -> Option<Self> {
        Self::ALL.iter().copied().find(|role| role.as_str() == name)
    }

    /// What it may do, without limits.
    #[must_use]
    pub fn rights(self) -> Vec<Right> {
        use Right as R;
        let viewer =
            [R::ResourcesRead, R::HistoryRead, R::PolicyRead, R::ApprovalsRead, R::PlanesRead, R::UsageRead];
        let more: &[Right] = match self {
            Self::Viewer => &[],
            Self::Operator => &[
                R::ResourcesWrite,
                R::KeysWrite,
                R::PlanesWrite,
                R::SecretsRead,
                R::SecretsWrite,
                R::UsageWrite,
            ],
            Self::Approver => &[R::ApprovalsDecide],
            Self::Auditor => &[R::AccessRead, R::SecretsRead],
            Self::Admin => {
                return Right::ALL.iter().copied().filter(|right| *right != R::PayloadsRead).collect();
            }
        };
        viewer.iter().chain(more).copied().collect()
    }
}

/// The spec of a `Role`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct RoleSpec {
    /// Each one adds; a request needs one that allows it.
    pub rules: Vec<RoleRule>,
}

/// Rights, on everything or on what the limits leave. All limits that are given must fit; a resource that has no zone fits no
/// list of zones.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct RoleRule {
    /// What may be done.
    pub rights: Vec<Right>,
    /// Only with resources of these kinds.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub kinds: Option<Vec<Kind>>,
    /// Only with zones of these names, and with servers and keys in them.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub zones: Option<Vec<Name>>,
    /// Only with these servers.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub servers: Option<Vec<Name>>,
    /// Only with resources that have all of these labels.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub labels: Option<BTreeMap<String, String>>,
}

impl RoleRule {
    /// Rights without limits.
    #[must_use]
    pub const fn unlimited(rights: Vec<Right>) -> Self {
        Self { rights, kinds: None, zones: None, servers: None, labels: None }
    }

    /// Whether it has a limit.
    #[must_use]
    pub const fn is_limited(&self) -> bool {
        self.kinds.is_some() || self.zones.is_some() || self.servers.is_some() || self.labels.is_some()
    }
}

/// The spec of a `RoleBinding`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct RoleBindingSpec {
    /// Who has the roles, beside what their tokens give.
    pub subjects: Vec<Subject>,
    /// Built-in ones, or of `Role` resources.
    pub roles: Vec<Name>,
}

/// Somebody who administers.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(deny_unknown_fields, rename_all = "camelCase")]
pub enum Subject {
    /// A person, whichever of their tokens they use: what `--for` named, or the token's own name.
    Identity(String),
    /// One administrator's token.
    Token(Name),
}
