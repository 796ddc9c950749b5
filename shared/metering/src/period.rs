//! Periods of the calendar, in UTC. Only the control plane asks; a data plane is told how long it may still spend.

use std::fmt;
use std::str::FromStr;

use serde::{Deserialize, Serialize};

use crate::time::Utc;

const MINUTE: u64 = 60_000;
const HOUR: u64 = 60 * MINUTE;
const DAY: u64 = 24 * HOUR;

/// How long a period is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub enum Length {
    /// A minute.
    #[serde(rename = "1m")]
    Minute,
    /// An hour.
    #[serde(rename = "1h")]
    Hour,
    /// A day.
    #[serde(rename = "1d")]
    Day,
    /// A week, from Monday.
    #[serde(rename = "1w")]
    Week,
    /// A month; 30 days if it is rolling.
    #[serde(rename = "1mo")]
    Month,
    /// A quarter, counted from the first month of the fiscal year; 91 days if it is rolling.
    #[serde(rename = "3mo")]
    Quarter,
    /// A year, from the first month of the fiscal year; 365 days if it is rolling.
    #[serde(rename = "1y")]
    Year,
}

impl Length {
    /// Every length, shortest first.
    pub const ALL: [Self; 7] =
        [Self::Minute, Self::Hour, Self::Day, Self::Week, Self::Month, Self::Quarter, Self::Year];

    /// The length as people write it: `1m 1h 1d 1w 1mo 3mo 1y`.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::Minute => "1m",
            Self::Hour => "1h",
            Self::Day => "1d",
            Self::Week => "1w",
            Self::Month => "1mo",
            Self::Quarter => "3mo",
            Self::Year => "1y",
        }
    }

    /// The nominal length in milliseconds: what a rolling period spans, always.
    #[must_use]
    pub const fn nominal_ms(self) -> u64 {
        match self {
            Self::Minute => MINUTE,
            Self::Hour => HOUR,
            Self::Day => DAY,
            Self::Week => 7 * DAY,
            Self::Month => 30 * DAY,
            Self::Quarter => 91 * DAY,
            Self::Year => 365 * DAY,
        }
    }

    /// The period of the calendar that holds `at`: its first moment, and the first one after it.
    #[must_use]
    pub fn around(self, at: Utc, fiscal: FiscalMonth) -> (Utc, Utc) {
        let even = |span: u64, offset: u64| {
            let start = (at.0 + offset) / span * span;
            (Utc(start.saturating_sub(offset)), Utc(start + span - offset))
        };
        match self {
            Self::Minute => even(MINUTE, 0),
            Self::Hour => even(HOUR, 0),
            Self::Day => even(DAY, 0),
            // 1970-01-01 was a Thursday: three days after a Monday.
            Self::Week => even(7 * DAY, 3 * DAY),
            Self::Month => months(at, 1, FiscalMonth::JANUARY),
            Self::Quarter => months(at, 3, fiscal),
            Self::Year => months(at, 12, fiscal),
        }
    }
}

impl fmt::Display for Length {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}

impl FromStr for Length {
    type Err = UnknownLength;

    fn from_str(text: &str) -> Result<Self, UnknownLength> {
        Self::ALL.into_iter().find(|length| length.name() == text).ok_or(UnknownLength)
    }
}

/// The text names no length of a period.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("a period is one of 1m 1h 1d 1w 1mo 3mo 1y")]
pub struct UnknownLength;

/// The month in which a fiscal year begins, 1 to 12.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(try_from = "u8", into = "u8")]
pub struct FiscalMonth(u8);

impl FiscalMonth {
    /// The fiscal year is the year of the calendar.
    pub const JANUARY: Self = Self(1);
}

impl TryFrom<u8> for FiscalMonth {
    type Error = NoMonth;

    fn try_from(month: u8) -> Result<Self, NoMonth> {
        if (1..=12).contains(&month) { Ok(Self(month)) } else { Err(NoMonth(month)) }
    }
}

impl From<FiscalMonth> for u8 {
    fn from(month: FiscalMonth) -> Self {
        month.0
    }
}

/// The number is no month.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("{0} is no month: a fiscal year begins in a month from 1 to 12")]
pub struct NoMonth(u8);

/// The span of `count` months around a moment, where spans are counted from `first`.
fn months(at: Utc, count: u64, first: FiscalMonth) -> (Utc, Utc) {
    let (year, month) = civil(at.0 / DAY);
    // Months since January of the year 0, moved so that a fiscal year begins at a multiple of twelve.
    let moved = year * 12 + (month - 1) + (12 - (u64::from(first.0) - 1)) % 12;
    let start = moved / count * count;
    let back = |moved: u64| {
        let month = moved - (12 - (u64::from(first.0) - 1)) % 12;
        Utc(first_day(month / 12, month % 12 + 1) * DAY)
    };
    (back(start), back(start + count))
}

/// Year and month of a day counted from 1970-01-01 in the proleptic Gregorian calendar: years are counted from March, so that the
/// leap day is the last of its year, and 400 years are 146,097 days.
const fn civil(days: u64) -> (u64, u64) {
    let since_0000_03_01 = days + 719_468;
    let era = since_0000_03_01 / 146_097;
    let day_of_era = since_0000_03_01 % 146_097;
    let year_of_era = (day_of_era - day_of_era / 1_460 + day_of_era / 36_524 - day_of_era / 146_096) / 365;
    let day_of_year = day_of_era - (365 * year_of_era + year_of_era / 4 - year_of_era / 100);
    let from_march = (5 * day_of_year + 2) / 153;
    let month = if from_march < 10 { from_march + 3 } else { from_march - 9 };
    let year = era * 400 + year_of_era + if month <= 2 { 1 } else { 0 };
    (year, month)
}

/// The first day of a month, counted from 1970-01-01; 0 for what lies before it.
const fn first_day(year: u64, month: u64) -> u64 {
    let year = if month <= 2 { year - 1 } else { year };
    let era = year / 400;
    let year_of_era = year % 400;
    let from_march = if month > 2 { month - 3 } else { month + 9 };
    let day_of_year = (153 * from_march + 2) / 5;
    let day_of_era = year_of_era * 365 + year_of_era / 4 - year_of_era / 100 + day_of_year;
    (era * 146_097 + day_of_era).saturating_sub(719_468)
}

#[cfg(test)]
mod tests;
