//! What operators say about a budget or a limit: how much, when to warn, and what holds while nobody can be asked.

use serde::{Deserialize, Serialize};

use crate::period::FiscalMonth;

/// What a data plane does at an empty lease while it cannot reach a control plane.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum OnOutage {
    /// It denies.
    Deny,
    /// It lets pass, in each nominal period of the outage, at most this many thousandths of the budget or limit, recorded as debt.
    Share(PerMille),
    /// It lets everything pass, recorded as debt.
    Allow,
}

/// Thousandths, 0 to 1,000.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(try_from = "u16", into = "u16")]
pub struct PerMille(u16);

impl PerMille {
    /// All of it.
    pub const ALL: Self = Self(1_000);

    /// This part of an amount, rounded down.
    #[must_use]
    pub fn of(self, amount: u64) -> u64 {
        u64::try_from(u128::from(amount) * u128::from(self.0) / 1_000).unwrap_or(u64::MAX)
    }
}

impl TryFrom<u16> for PerMille {
    type Error = NoPerMille;

    fn try_from(thousandths: u16) -> Result<Self, NoPerMille> {
        if thousandths <= 1_000 { Ok(Self(thousandths)) } else { Err(NoPerMille(thousandths)) }
    }
}

impl From<PerMille> for u16 {
    fn from(part: PerMille) -> Self {
        part.0
    }
}

/// The number is no part of a thousand.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("{0} is more than 1000 thousandths: a part lies between 0 and 1000")]
pub struct NoPerMille(u16);

/// The terms of a budget. A change of them keeps what was used; another fiscal month holds from the next period on.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Terms {
    /// What may be used in a period, in the unit of the account. It is a hard limit.
    pub limit: u64,
    /// The part of the limit whose use is told as an event, once in a period; `None` warns of nothing.
    pub warn_at: Option<PerMille>,
    /// Where the fiscal year begins; it moves quarters and years.
    pub fiscal_month: FiscalMonth,
}

/// Another limit for a while: for an incident, a launch, a customer who called.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Override {
    /// The limit that holds instead.
    pub limit: u64,
    /// The first moment at which it holds no more.
    pub until: crate::time::Utc,
}
