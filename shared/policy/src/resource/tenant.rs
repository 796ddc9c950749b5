//! `Customer` and `Team`: for whom calls are made and counted.

use serde::{Deserialize, Serialize};

use super::Name;
use super::metering::{Budget, Concurrency, LoopBreaker, Metering, RateLimit};

/// The spec of a `Customer`.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, rename_all = "camelCase")]
pub struct CustomerSpec {
    /// What may be used in a period.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub budgets: Vec<Budget>,
    /// How fast.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub rate_limits: Vec<RateLimit>,
    /// How many at once, on all data planes together.
    #[serde(default, skip_serializing_if = "Concurrency::is_empty")]
    pub concurrency: Concurrency,
    /// How often the same call.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub loop_breaker: Option<LoopBreaker>,
}

impl CustomerSpec {
    /// What it says of how much may be used.
    #[must_use]
    pub fn metering(&self) -> Metering {
        Metering::of(&self.budgets, &self.rate_limits, &self.concurrency, self.loop_breaker)
    }
}

/// The spec of a `Team`.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, rename_all = "camelCase")]
pub struct TeamSpec {
    /// The customer that it works for.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub customer: Option<Name>,
    /// What may be used in a period.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub budgets: Vec<Budget>,
    /// How fast.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub rate_limits: Vec<RateLimit>,
    /// How many at once, on all data planes together.
    #[serde(default, skip_serializing_if = "Concurrency::is_empty")]
    pub concurrency: Concurrency,
    /// How often the same call.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub loop_breaker: Option<LoopBreaker>,
}

impl TeamSpec {
    /// What it says of how much may be used.
    #[must_use]
    pub fn metering(&self) -> Metering {
        Metering::of(&self.budgets, &self.rate_limits, &self.concurrency, self.loop_breaker)
    }
}
