//! `ToolBundle`: a virtual MCP server.

use serde::{Deserialize, Serialize};

use super::Name;

/// The spec of a `ToolBundle`.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct ToolBundleSpec {
    /// What it holds.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub tools: Vec<BundleMember>,
    /// Who has it without a grant that names it.
    #[serde(default, skip_serializing_if = "BundleMembership::is_empty")]
    pub members: BundleMembership,
}

/// Chosen things of one server; nothing that is not listed.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct BundleMember {
    /// The server's name.
    pub server: Name,
    /// Names or globs of tools; none when empty.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub allow: Vec<String>,
    /// Names or globs of tools that are left out again.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub except: Vec<String>,
    /// Names or globs of prompts; none when empty.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub prompts: Vec<String>,
    /// Globs of resource URIs and of URI templates; none when empty. A URI with dot segments or an encoded `/` matches none.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub resources: Vec<String>,
    /// What some of its tools are called and say at the bundle's endpoint.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub rewrite: Vec<ToolRewrite>,
}

/// What one tool is called and says at the endpoint of one bundle. What is called upstream, and what was approved, stays the
/// upstream's own.
#[derive(Debug, Clone, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct ToolRewrite {
    /// The upstream's name of the tool: no pattern.
    pub name: String,
    /// Its whole name here; its exposed name is none here then.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub alias: Option<String>,
    /// Its `title` here.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub title: Option<String>,
    /// Its `description` here.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub description: Option<String>,
}

/// Who has a bundle without a grant that names it.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct BundleMembership {
    /// Names of teams: every key of these.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub teams: Vec<Name>,
}

impl BundleMembership {
    /// Whether nobody has it so.
    #[must_use]
    pub const fn is_empty(&self) -> bool {
        self.teams.is_empty()
    }
}
