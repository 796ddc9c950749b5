//! `VirtualKey`: the credential of one caller, and the unit of governance.

use chrono::{DateTime, Utc};
use serde::{Deserialize, Serialize};

use super::Name;
use super::server::default_zone;

/// The spec of a `VirtualKey`. Its secret is no part of it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, rename_all = "camelCase")]
pub struct VirtualKeySpec {
    /// Who calls with it.
    pub principal: PrincipalSpec,
    /// The team that it belongs to.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub team: Option<Name>,
    /// The zone that its principal is in.
    #[serde(default = "default_zone")]
    pub zone: Name,
    /// What it may reach; nothing is granted that is not listed.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub grants: Vec<Grant>,
    /// When it ends.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub expires_at: Option<DateTime<Utc>>,
}

/// Who calls.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct PrincipalSpec {
    /// What kind of caller.
    pub kind: PrincipalKind,
    /// Who, in the organisation's words: 1 to 256 visible characters.
    pub subject: String,
}

/// What kind of caller.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum PrincipalKind {
    /// A person.
    Human,
    /// An AI agent.
    Agent,
    /// Any other program.
    Workload,
}

impl PrincipalKind {
    /// The kind as documents spell it.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Human => "human",
            Self::Agent => "agent",
            Self::Workload => "workload",
        }
    }
}

/// One grant: a bundle, or chosen things of one server.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(
    untagged,
    expecting = "a grant is { bundle: NAME } or { server: NAME, allow: [tools], except: [tools], prompts: [names], resources: [URI patterns] }"
)]
pub enum Grant {
    /// All that a bundle offers.
    Bundle(BundleGrant),
    /// Chosen things of one server.
    Server(ServerGrant),
}

/// All that a bundle offers.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct BundleGrant {
    /// The bundle's name.
    pub bundle: Name,
}

/// Chosen things of one server.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct ServerGrant {
    /// The server's name.
    pub server: Name,
    /// Names or globs of tools.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub allow: Vec<String>,
    /// Names or globs of tools that are left out again.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub except: Vec<String>,
    /// Names or globs of prompts.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub prompts: Vec<String>,
    /// Globs of resource URIs. A URI with dot segments or an encoded `/` matches none.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub resources: Vec<String>,
}
