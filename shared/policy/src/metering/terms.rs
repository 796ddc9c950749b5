//! Budgets and limits as both planes use them.

use std::sync::Arc;
use std::time::Duration;

use portcullis_metering::purse::{Charge, Price};
use portcullis_metering::{AccountId, OnOutage, Override, Rate, Terms};
use uuid::Uuid;

use crate::pattern::Pattern;
use crate::resource::{CostOnError, Each, Name};

/// One budget.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct BudgetTerms {
    /// The account.
    pub account: AccountId,
    /// Its terms.
    pub terms: Terms,
    /// Another limit for a while.
    pub by_override: Option<Override>,
    /// What holds while no control plane can be reached.
    pub on_outage: OnOutage,
    /// Its place in the owner's list.
    pub at: u32,
}

impl BudgetTerms {
    /// What a data plane knows of it.
    #[must_use]
    pub const fn charge(&self) -> Charge {
        Charge { account: self.account, limit: self.terms.limit, on_outage: self.on_outage }
    }
}

/// Names a limit for as long as its owner has it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct LimitId(pub Uuid);

/// How much a limit lets pass.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Amount {
    /// So fast.
    Rate(Rate),
    /// So many at once.
    Calls(u64),
}

/// One rate limit, or one limit of calls at once.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct LimitTerms {
    /// Its name.
    pub id: LimitId,
    /// How much.
    pub amount: Amount,
    /// Only for this server.
    pub server: Option<Name>,
    /// Only for tools whose name matches.
    pub tool: Option<Pattern>,
    /// Who has one apart.
    pub each: Option<Each>,
    /// How long a call may wait for its turn.
    pub wait: Duration,
    /// What holds while no control plane can be reached.
    pub on_outage: OnOutage,
    /// Its place in the owner's list.
    pub at: u32,
}

/// The loop breaker.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Loops {
    /// How often the same call may be made.
    pub calls: u32,
    /// In so long.
    pub within: Duration,
}

/// What a call of a tool costs, in millionths of a US dollar.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Cost {
    /// Where nothing else is told.
    pub fixed: u64,
    /// At most; never less than `fixed`.
    pub max: u64,
    /// The member of the result's `_meta` in which the server tells it.
    pub from: Option<Arc<str>>,
    /// After a tool error.
    pub on_error: CostOnError,
}

impl Cost {
    /// What is reserved before the call.
    #[must_use]
    pub const fn reserved(&self) -> Price {
        Price { calls: 1, micro_usd: self.max }
    }

    /// What an answer costs. `told` is what the server told, where it is asked to: what is no whole number counts as not told, and
    /// what is more than the maximum as the maximum.
    #[must_use]
    pub fn of(&self, told: Option<u64>, tool_error: bool) -> Price {
        if tool_error && self.on_error == CostOnError::Free {
            return Price::default();
        }
        let told = told.filter(|_| self.from.is_some());
        Price { calls: 1, micro_usd: told.unwrap_or(self.fixed).min(self.max) }
    }
}
