//! `ToolBundle`: a virtual MCP server.

use serde::{Deserialize, Serialize};

use super::Name;

/// The spec of a `ToolBundle`.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct ToolBundleSpec {
    /// Its members.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub tools: Vec<BundleMember>,
}

/// Chosen tools of one server.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct BundleMember {
    /// The server's name.
    pub server: Name,
    /// Names or globs of tools; none when empty.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub allow: Vec<String>,
    /// Names or globs that are left out again.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub except: Vec<String>,
}
