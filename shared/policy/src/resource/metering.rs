//! Budgets, rate limits, calls at once and the loop breaker, as people write them; what a call costs.

use std::fmt;
use std::str::FromStr;

use chrono::{DateTime, Utc};
use portcullis_metering::{Length, UnknownLength};
use serde::de::{Error as _, SeqAccess, Visitor};
use serde::{Deserialize, Deserializer, Serialize};

use super::rollout::Share;
use super::{HumanDuration, Name};

/// What a resource says of how much may be used: the same four fields wherever they stand.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, rename_all = "camelCase", default)]
pub struct Metering {
    /// What may be used in a period.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub budgets: Vec<Budget>,
    /// How fast.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub rate_limits: Vec<RateLimit>,
    /// How many at once.
    #[serde(skip_serializing_if = "Concurrency::is_empty")]
    pub concurrency: Concurrency,
    /// How often the same call.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub loop_breaker: Option<LoopBreaker>,
}

impl Metering {
    /// What a spec says in these fields.
    #[must_use]
    pub(super) fn of(
        budgets: &[Budget],
        rate_limits: &[RateLimit],
        concurrency: &Concurrency,
        loop_breaker: Option<LoopBreaker>,
    ) -> Self {
        Self {
            budgets: budgets.to_vec(),
            rate_limits: rate_limits.to_vec(),
            concurrency: concurrency.clone(),
            loop_breaker,
        }
    }

    /// Whether it limits nothing.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        *self == Self::default()
    }
}

/// A hard limit of what may be used in a period: of calls, or of money.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, rename_all = "camelCase")]
pub struct Budget {
    /// So many calls; this or `amountMicroUsd`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub calls: Option<u64>,
    /// So many millionths of a US dollar; this or `calls`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub amount_micro_usd: Option<u64>,
    /// How long a period is: `1m 1h 1d 1w 1mo 3mo 1y`.
    pub period: Period,
    /// Whether the period is the time that just went by, instead of a part of the calendar (UTC).
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub rolling: bool,
    /// The month, 1 to 12, in which a fiscal year begins; it moves quarters and years.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub fiscal_year_start: Option<u8>,
    /// The part of it whose use is told as an event, once in a period.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub warn_at: Option<Share>,
    /// What data planes do with an empty lease while no control plane can be reached; they deny unless it is said.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub on_outage: Option<OnOutage>,
    /// Another amount for a while.
    #[serde(default, rename = "override", skip_serializing_if = "Option::is_none")]
    pub by_override: Option<BudgetOverride>,
}

/// Another amount for a while.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, rename_all = "camelCase")]
pub struct BudgetOverride {
    /// So many calls, where the budget is one of calls.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub calls: Option<u64>,
    /// So many millionths of a US dollar, where the budget is one of money.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub amount_micro_usd: Option<u64>,
    /// The first moment at which it holds no more.
    pub until: DateTime<Utc>,
}

/// How long a period is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize)]
#[serde(into = "String")]
pub struct Period(pub Length);

impl FromStr for Period {
    type Err = UnknownLength;

    fn from_str(text: &str) -> Result<Self, UnknownLength> {
        text.parse().map(Self)
    }
}

impl fmt::Display for Period {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

impl From<Period> for String {
    fn from(period: Period) -> Self {
        period.to_string()
    }
}

impl<'de> Deserialize<'de> for Period {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let text = String::deserialize(deserializer)?;
        text.parse().map_err(|error| {
            D::Error::custom(format_args!("{:?}: {error}", text.chars().take(40).collect::<String>()))
        })
    }
}

/// A token bucket.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, rename_all = "camelCase")]
pub struct RateLimit {
    /// So many requests.
    pub requests: u64,
    /// In so long: 1s to 1d.
    pub per: HumanDuration,
    /// The most that pass at once after a pause; as many as `requests` unless it is said.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub burst: Option<u64>,
    /// Only for this server; for owners that are no server.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub server: Option<Name>,
    /// Only for tools whose name matches this glob: the exposed name, or of a server's own limit the upstream's.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub tool: Option<String>,
    /// Who has a bucket of their own; all share one unless it is said.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub each: Option<Each>,
    /// How long a request may wait for its turn, at most 10s; it does not unless it is said.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub wait: Option<HumanDuration>,
    /// What data planes do while no control plane can be reached; each lets a tenth pass unless it is said.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub on_outage: Option<OnOutage>,
}

/// A limit of calls that are under way.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, rename_all = "camelCase")]
pub struct ConcurrencyLimit {
    /// So many at once.
    pub calls: u64,
    /// Only for this server; for owners that are no server.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub server: Option<Name>,
    /// Only for tools whose name matches this glob: the exposed name, or of a server's own limit the upstream's.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub tool: Option<String>,
    /// Who is counted apart; all together unless it is said.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub each: Option<Each>,
    /// How long a call may wait for its turn, at most 10s; it does not unless it is said.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub wait: Option<HumanDuration>,
    /// What data planes do while no control plane can be reached; each lets a tenth in unless it is said.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub on_outage: Option<OnOutage>,
}

/// What rate limits and limits of calls at once have in common.
#[derive(Debug, Clone, Copy)]
pub(crate) struct LimitScope<'a> {
    pub(crate) server: Option<&'a Name>,
    pub(crate) tool: Option<&'a str>,
    pub(crate) each: Option<Each>,
    pub(crate) wait: Option<HumanDuration>,
    pub(crate) on_outage: Option<OnOutage>,
}

impl RateLimit {
    pub(crate) fn scope(&self) -> LimitScope<'_> {
        let Self { server, tool, each, wait, on_outage, .. } = self;
        LimitScope {
            server: server.as_ref(),
            tool: tool.as_deref(),
            each: *each,
            wait: *wait,
            on_outage: *on_outage,
        }
    }
}

impl ConcurrencyLimit {
    pub(crate) fn scope(&self) -> LimitScope<'_> {
        let Self { server, tool, each, wait, on_outage, .. } = self;
        LimitScope {
            server: server.as_ref(),
            tool: tool.as_deref(),
            each: *each,
            wait: *wait,
            on_outage: *on_outage,
        }
    }
}

/// Limits of calls that are under way: `8`, or a list.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize)]
#[serde(transparent)]
pub struct Concurrency(pub Vec<ConcurrencyLimit>);

impl Concurrency {
    /// Whether nothing is limited.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }
}

impl<'de> Deserialize<'de> for Concurrency {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct ConcurrencyVisitor;

        impl<'de> Visitor<'de> for ConcurrencyVisitor {
            type Value = Concurrency;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("a number of calls such as 8, or a list such as [{ calls: 8, tool: \"crm_*\" }]")
            }

            fn visit_u64<E>(self, calls: u64) -> Result<Self::Value, E> {
                let (server, tool, each, wait, on_outage) = (None, None, None, None, None);
                Ok(Concurrency(vec![ConcurrencyLimit { calls, server, tool, each, wait, on_outage }]))
            }

            fn visit_seq<A: SeqAccess<'de>>(self, mut list: A) -> Result<Self::Value, A::Error> {
                let mut limits = Vec::new();
                while let Some(limit) = list.next_element()? {
                    limits.push(limit);
                }
                Ok(Concurrency(limits))
            }
        }

        deserializer.deserialize_any(ConcurrencyVisitor)
    }
}

/// By what a limit is told apart.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Each {
    /// The customer of the caller's team.
    Customer,
    /// The caller's team.
    Team,
    /// The caller's key.
    Key,
    /// Who calls: kind and subject, whatever the key.
    Principal,
    /// The server that is called.
    Server,
    /// The tool that is called.
    Tool,
}

impl Each {
    /// As documents spell it.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Customer => "customer",
            Self::Team => "team",
            Self::Key => "key",
            Self::Principal => "principal",
            Self::Server => "server",
            Self::Tool => "tool",
        }
    }
}

/// The same principal making the same call over and over.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct LoopBreaker {
    /// How often one call, the arguments included, may be made: 2 to 10,000.
    pub calls: u32,
    /// In so long: 1s to 1h.
    pub within: HumanDuration,
}

/// What holds while no control plane can be reached: `deny`, `allow`, or `{ share: 10% }`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum OnOutage {
    /// Nothing passes that is not in hand.
    Deny,
    /// Everything passes, recorded as debt.
    Allow,
    /// At most this part of the limit passes on each data plane, recorded as debt.
    Share(Share),
}

/// What one call of a tool costs, in millionths of a US dollar.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, rename_all = "camelCase", default)]
pub struct ToolCost {
    /// What it costs; where the server tells it, what an answer costs that does not.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub cost_micro_usd: Option<u64>,
    /// What it costs at most: reserved before the call.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub max_cost_micro_usd: Option<u64>,
    /// The member of the result's `_meta` in which the server tells what the call cost, as a whole number.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub cost_from: Option<String>,
    /// What a call costs that ended in a tool error.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub cost_on_error: Option<CostOnError>,
}

impl ToolCost {
    /// Whether nothing is said.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        *self == Self::default()
    }

    /// This, and of a server's own words what is left out here. A tool whose cost is told does not cost what others of the server do
    /// where it is not told.
    #[must_use]
    pub fn or(&self, server: &Self) -> Self {
        Self {
            cost_micro_usd: self
                .cost_micro_usd
                .or(server.cost_micro_usd.filter(|_| self.cost_from.is_none())),
            max_cost_micro_usd: self.max_cost_micro_usd.or(server.max_cost_micro_usd),
            cost_from: self.cost_from.clone().or_else(|| server.cost_from.clone()),
            cost_on_error: self.cost_on_error.or(server.cost_on_error),
        }
    }
}

/// What a call costs that ended in a tool error.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum CostOnError {
    /// As any other.
    #[default]
    Charge,
    /// Nothing, and it counts as no call.
    Free,
}
