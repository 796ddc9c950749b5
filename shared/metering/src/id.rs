//! Whose money it is and who holds it: the names that every message, event and record carries.

use std::fmt;

use serde::{Deserialize, Serialize};
use uuid::Uuid;

use crate::period::Length;

/// What a budget stands on. A call debits every level that applies to it, in this order.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Level {
    /// The customer of the caller's team.
    Customer,
    /// The caller's team.
    Team,
    /// The caller's virtual key: its uid, so that a rotated secret keeps its usage.
    Key,
    /// The server that is called.
    Server,
    /// The tool that is called.
    Tool,
}

impl fmt::Display for Level {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Customer => "customer",
            Self::Team => "team",
            Self::Key => "key",
            Self::Server => "server",
            Self::Tool => "tool",
        })
    }
}

/// What is counted.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Unit {
    /// Calls.
    Calls,
    /// Millionths of a US dollar.
    MicroUsd,
}

/// One budget of one resource. A resource has at most one budget of a unit, length and kind of period, so these and the uid of its
/// owner name it: a changed amount keeps what was used, and a deleted owner that comes back (with another uid) inherits nothing.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct AccountId {
    /// Where in the order of levels it stands.
    pub level: Level,
    /// The uid of the resource that has the budget.
    pub owner: Uuid,
    /// What it counts.
    pub unit: Unit,
    /// How long a period is.
    pub length: Length,
    /// Whether the period is the time that just went by, instead of a part of the calendar.
    pub rolling: bool,
}

impl fmt::Display for AccountId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let unit = match self.unit {
            Unit::Calls => "calls",
            Unit::MicroUsd => "micro-USD",
        };
        let kind = if self.rolling { "rolling" } else { "calendar" };
        write!(f, "{} per {} ({kind}) of {} {}", unit, self.length, self.level, self.owner)
    }
}

/// One life of one data plane: from a start to the next. What a life held is its own, and is settled when the next one begins.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct Holder {
    /// The data plane; a plane that lost its ledger must come as another one.
    pub plane: Uuid,
    /// Counts the starts of this plane, from 1, kept in its ledger.
    pub life: u32,
}

impl fmt::Display for Holder {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "plane {} (life {})", self.plane, self.life)
    }
}

/// Which period of an account: counted from 1 by the control plane, which alone knows the calendar. A rolling account has only one.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Default, Serialize, Deserialize)]
#[serde(transparent)]
pub struct Epoch(pub u32);

impl Epoch {
    /// The epoch after this one.
    #[must_use]
    pub const fn next(self) -> Self {
        Self(self.0.saturating_add(1))
    }
}
