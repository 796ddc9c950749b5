//! `AccessPolicy`: conditions beyond grants, in Cedar.

use serde::{Deserialize, Serialize};

/// The spec of an `AccessPolicy`. What its text may say is in `portcullis_conditions`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct AccessPolicySpec {
    /// Whether it decides.
    #[serde(default)]
    pub mode: PolicyMode,
    /// One or more `forbid` statements of Cedar.
    pub cedar: String,
}

/// Whether a policy decides or only records.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum PolicyMode {
    /// It denies.
    #[default]
    Enforce,
    /// It records what it would have denied.
    Shadow,
}

impl From<PolicyMode> for portcullis_conditions::Mode {
    fn from(mode: PolicyMode) -> Self {
        match mode {
            PolicyMode::Enforce => Self::Enforce,
            PolicyMode::Shadow => Self::Shadow,
        }
    }
}
