//! `Customer` and `Team`: for whom calls are made and counted.

use serde::{Deserialize, Serialize};

use super::Name;

/// The spec of a `Customer`.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct CustomerSpec {}

/// The spec of a `Team`.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct TeamSpec {
    /// The customer that it works for.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub customer: Option<Name>,
}
