//! The resources that people write: one file a kind, each the exact shape of its YAML.
//!
//! Every struct refuses unknown fields. A field that the contract names and that nothing enforces yet is not here, so that
//! it is refused; [`crate::document`] turns that into a sentence which says so.

pub mod access_policy;
pub mod approval_rule;
pub mod bundle;
pub mod client;
pub mod key;
pub mod metering;
pub mod name;
pub mod network;
pub mod quantity;
pub mod role;
pub mod rollout;
pub mod server;
pub mod tenant;
pub mod tier;
pub mod zone;

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

pub use access_policy::{AccessPolicySpec, PolicyMode};
pub use approval_rule::{AcceptedRisk, ApprovalMatch, ApprovalRuleSpec, Approver, AutoApprove, ChangeClass};
pub use bundle::{BundleMember, BundleMembership, ToolBundleSpec, ToolRewrite};
pub use client::{ClientMatch, ClientReach, ClientSpec, ProgramMatch, Reached};
pub use key::{BundleGrant, Grant, PrincipalKind, PrincipalSpec, ServerGrant, VirtualKeySpec};
pub(crate) use metering::LimitScope;
pub use metering::{
    Budget, BudgetOverride, Concurrency, ConcurrencyLimit, CostOnError, Each, LoopBreaker, Metering,
    OnOutage, Period, RateLimit, ToolCost,
};
pub use name::{BadName, Name, Uid};
pub use network::{BadNetwork, Network};
pub use quantity::{ByteSize, HumanDuration};
pub use role::{BuiltInRole, Right, RoleBindingSpec, RoleRule, RoleSpec, Subject};
pub use rollout::{Checks, LimitedStage, RolloutPolicySpec, SandboxStage, Share, Stage};
pub use server::{
    Auth, CallApproval, ChangedTools, Environment, HeaderAuth, HeldBy, Hosting, Limits, McpServerSpec,
    NewTools, NoAuth, Owner, Rollout, Sandbox, Stdio, StreamableHttp, Tier, ToolOverride, ToolRules,
    ToolSettings, Transport, ValueFrom,
};
pub use tenant::{CustomerSpec, TeamSpec};
pub use tier::{Effective, LimitSettings, Origin, Sourced, TierDefaultsSpec, TierTools};
pub use zone::{AuditMode, PlaneLabels, TrustZoneSpec, serves};

/// The one `apiVersion`.
pub const API_VERSION: &str = "portcullis/v1";

/// What every resource says of itself.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Metadata {
    /// Unique within the kind.
    pub name: Name,
    /// Free labels. Those of a key can be matched by a `Client`; all others are descriptive only.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub labels: BTreeMap<String, String>,
}

/// The kinds of resources.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
pub enum Kind {
    /// [`TrustZoneSpec`]
    TrustZone,
    /// [`CustomerSpec`]
    Customer,
    /// [`TeamSpec`]
    Team,
    /// [`RolloutPolicySpec`]
    RolloutPolicy,
    /// [`TierDefaultsSpec`]
    TierDefaults,
    /// [`McpServerSpec`]
    McpServer,
    /// [`ToolBundleSpec`]
    ToolBundle,
    /// [`VirtualKeySpec`]
    VirtualKey,
    /// [`RoleSpec`]
    Role,
    /// [`RoleBindingSpec`]
    RoleBinding,
    /// [`ApprovalRuleSpec`]
    ApprovalRule,
    /// [`ClientSpec`]
    Client,
    /// [`AccessPolicySpec`]
    AccessPolicy,
}

impl Kind {
    /// Every kind, referenced ones before those that refer to them.
    pub const ALL: &[Self] = &[
        Self::TrustZone,
        Self::Customer,
        Self::Team,
        Self::RolloutPolicy,
        Self::TierDefaults,
        Self::McpServer,
        Self::ToolBundle,
        Self::VirtualKey,
        Self::Role,
        Self::RoleBinding,
        Self::ApprovalRule,
        Self::Client,
        Self::AccessPolicy,
    ];

    /// The kind as documents spell it.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::TrustZone => "TrustZone",
            Self::Customer => "Customer",
            Self::Team => "Team",
            Self::RolloutPolicy => "RolloutPolicy",
            Self::TierDefaults => "TierDefaults",
            Self::McpServer => "McpServer",
            Self::ToolBundle => "ToolBundle",
            Self::VirtualKey => "VirtualKey",
            Self::Role => "Role",
            Self::RoleBinding => "RoleBinding",
            Self::ApprovalRule => "ApprovalRule",
            Self::Client => "Client",
            Self::AccessPolicy => "AccessPolicy",
        }
    }

    /// The short plural of the command line: `servers`, `zones`, ….
    #[must_use]
    pub const fn plural(self) -> &'static str {
        match self {
            Self::TrustZone => "zones",
            Self::Customer => "customers",
            Self::Team => "teams",
            Self::RolloutPolicy => "rollouts",
            Self::TierDefaults => "tiers",
            Self::McpServer => "servers",
            Self::ToolBundle => "bundles",
            Self::VirtualKey => "keys",
            Self::Role => "roles",
            Self::RoleBinding => "rolebindings",
            Self::ApprovalRule => "approvalrules",
            Self::Client => "clients",
            Self::AccessPolicy => "policies",
        }
    }

    /// Whether it says who may administer: changing it needs `access:write`.
    #[must_use]
    pub const fn is_access(self) -> bool {
        matches!(self, Self::Role | Self::RoleBinding | Self::ApprovalRule)
    }

    /// Reads a kind from either spelling; the document's in any case, the plural with or without its `s`.
    #[must_use]
    pub fn parse(text: &str) -> Option<Self> {
        Self::ALL.iter().copied().find(|kind| {
            let plural = kind.plural();
            text.eq_ignore_ascii_case(kind.as_str())
                || text.eq_ignore_ascii_case(plural)
                || plural.strip_suffix('s').is_some_and(|singular| text.eq_ignore_ascii_case(singular))
        })
    }
}

impl std::fmt::Display for Kind {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(self.as_str())
    }
}

/// One resource of any kind.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Resource {
    /// Name and labels.
    pub metadata: Metadata,
    /// What it says.
    pub spec: Spec,
}

/// The spec of one resource.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Spec {
    /// A trust zone.
    TrustZone(TrustZoneSpec),
    /// A customer.
    Customer(CustomerSpec),
    /// A team.
    Team(TeamSpec),
    /// The stages of servers.
    RolloutPolicy(RolloutPolicySpec),
    /// What the servers of a tier have.
    TierDefaults(TierDefaultsSpec),
    /// An upstream server.
    McpServer(Box<McpServerSpec>),
    /// A virtual server.
    ToolBundle(ToolBundleSpec),
    /// A caller's key.
    VirtualKey(Box<VirtualKeySpec>),
    /// What an administrator may do.
    Role(RoleSpec),
    /// Which administrators have which roles.
    RoleBinding(RoleBindingSpec),
    /// Who may approve what.
    ApprovalRule(Box<ApprovalRuleSpec>),
    /// A rule for AI applications.
    Client(Box<ClientSpec>),
    /// A condition beyond grants.
    AccessPolicy(AccessPolicySpec),
}

impl Spec {
    /// Its kind.
    #[must_use]
    pub const fn kind(&self) -> Kind {
        match self {
            Self::TrustZone(_) => Kind::TrustZone,
            Self::Customer(_) => Kind::Customer,
            Self::Team(_) => Kind::Team,
            Self::RolloutPolicy(_) => Kind::RolloutPolicy,
            Self::TierDefaults(_) => Kind::TierDefaults,
            Self::McpServer(_) => Kind::McpServer,
            Self::ToolBundle(_) => Kind::ToolBundle,
            Self::VirtualKey(_) => Kind::VirtualKey,
            Self::Role(_) => Kind::Role,
            Self::RoleBinding(_) => Kind::RoleBinding,
            Self::ApprovalRule(_) => Kind::ApprovalRule,
            Self::Client(_) => Kind::Client,
            Self::AccessPolicy(_) => Kind::AccessPolicy,
        }
    }
}
