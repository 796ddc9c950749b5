//! `RolloutPolicy`: the stages that a server goes through before everybody may use it, and what must hold to leave each.

use std::fmt;
use std::str::FromStr;

use serde::de::Visitor;
use serde::{Deserialize, Deserializer, Serialize};

use super::{HumanDuration, Name};

/// How far a server is open, from the narrowest to the widest. Each stage holds those before it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Stage {
    /// Only keys with `sandbox: true`.
    Sandbox,
    /// Those that the policy names beside them, or a share of all.
    Limited,
    /// Every key whose grants name it.
    General,
}

impl Stage {
    /// The stage as documents spell it.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Sandbox => "sandbox",
            Self::Limited => "limited",
            Self::General => "general",
        }
    }

    /// Reads a stage.
    #[must_use]
    pub fn parse(text: &str) -> Option<Self> {
        [Self::Sandbox, Self::Limited, Self::General].into_iter().find(|stage| stage.as_str() == text)
    }
}

impl fmt::Display for Stage {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

/// The spec of a `RolloutPolicy`. A stage that is left out is skipped; `general` is always the last one.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct RolloutPolicySpec {
    /// The stage of keys that ask for it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub sandbox: Option<SandboxStage>,
    /// The stage of a chosen few.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub limited: Option<LimitedStage>,
}

impl RolloutPolicySpec {
    /// The stage at which a server begins.
    #[must_use]
    pub const fn first(&self) -> Stage {
        if self.sandbox.is_some() {
            Stage::Sandbox
        } else if self.limited.is_some() {
            Stage::Limited
        } else {
            Stage::General
        }
    }

    /// The stage after this one.
    #[must_use]
    pub const fn after(&self, stage: Stage) -> Option<Stage> {
        match stage {
            Stage::Sandbox if self.limited.is_some() => Some(Stage::Limited),
            Stage::Sandbox | Stage::Limited => Some(Stage::General),
            Stage::General => None,
        }
    }

    /// What must hold to leave a stage; `None` for a stage that the policy does not have.
    #[must_use]
    pub fn checks(&self, stage: Stage) -> Option<&Checks> {
        match stage {
            Stage::Sandbox => self.sandbox.as_ref().map(|stage| &stage.checks),
            Stage::Limited => self.limited.as_ref().map(|stage| &stage.checks),
            Stage::General => None,
        }
    }
}

/// The stage of keys that ask for it.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct SandboxStage {
    /// What must hold to leave it.
    #[serde(default)]
    pub checks: Checks,
}

/// The stage of a chosen few: who is named in any of these is in.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct LimitedStage {
    /// Keys of these teams.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub teams: Vec<Name>,
    /// These keys.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub keys: Vec<Name>,
    /// So many of a hundred principals, 1 to 100. Who they are is another choice for each server, and stays the same.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub percent: Option<u8>,
    /// What must hold to leave it.
    #[serde(default)]
    pub checks: Checks,
}

/// What must hold before a server leaves a stage. What is left out is not asked, but for drift.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, rename_all = "camelCase", default)]
pub struct Checks {
    /// The time that is looked back at, 1s to 1d. It must lie whole within the stage.
    pub window: HumanDuration,
    /// The least number of calls in it.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub min_calls: Option<u64>,
    /// The largest share of calls that failed, such as `1%` or `0.5%`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub max_error_rate: Option<Share>,
    /// The largest number of calls that were denied.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub max_denials: Option<u64>,
    /// Whether no definition may differ from its pin.
    pub no_drift: bool,
}

impl Default for Checks {
    fn default() -> Self {
        Self {
            window: HumanDuration(std::time::Duration::from_mins(10)),
            min_calls: None,
            max_error_rate: None,
            max_denials: None,
            no_drift: true,
        }
    }
}

/// A part of a whole, in hundredths of a percent.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize)]
#[serde(into = "String")]
pub struct Share(pub u16);

/// The text is no share.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error(
    "{0:?} is no share: write a percentage from 0% to 100% with at most two decimals, such as 1% or 0.5%"
)]
pub struct BadShare(String);

impl Share {
    /// All of it.
    pub const WHOLE: Self = Self(10_000);

    /// Whether `part` of `whole` is more than this. Of nothing nothing is too much.
    #[must_use]
    pub fn is_exceeded_by(self, part: u64, whole: u64) -> bool {
        u128::from(part) * u128::from(Self::WHOLE.0) > u128::from(whole) * u128::from(self.0)
    }
}

impl FromStr for Share {
    type Err = BadShare;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let bad = || BadShare(text.chars().take(40).collect());
        let number = text.strip_suffix('%').ok_or_else(bad)?;
        let (whole, rest) = number.split_once('.').unwrap_or((number, "00"));
        let digits = |text: &str, lengths: std::ops::RangeInclusive<usize>| {
            lengths.contains(&text.len()) && text.bytes().all(|byte| byte.is_ascii_digit())
        };
        if !digits(whole, 1..=3) || !digits(rest, 1..=2) {
            return Err(bad());
        }
        let whole: u16 = whole.parse().map_err(|_| bad())?;
        let rest: u16 = format!("{rest:0<2}").parse().map_err(|_| bad())?;
        Some(whole * 100 + rest).filter(|share| *share <= Self::WHOLE.0).map(Self).ok_or_else(bad)
    }
}

impl fmt::Display for Share {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match (self.0 / 100, self.0 % 100) {
            (whole, 0) => write!(f, "{whole}%"),
            (whole, rest) if rest % 10 == 0 => write!(f, "{whole}.{}%", rest / 10),
            (whole, rest) => write!(f, "{whole}.{rest:02}%"),
        }
    }
}

impl From<Share> for String {
    fn from(share: Share) -> Self {
        share.to_string()
    }
}

impl<'de> Deserialize<'de> for Share {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct ShareVisitor;

        impl Visitor<'_> for ShareVisitor {
            type Value = Share;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("a percentage such as 0.5%")
            }

            fn visit_str<E: serde::de::Error>(self, text: &str) -> Result<Self::Value, E> {
                text.parse().map_err(E::custom)
            }
        }

        deserializer.deserialize_str(ShareVisitor)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn shares_read_back_as_they_print_and_nonsense_is_refused() {
        for (text, share) in
            [("0%", 0), ("1%", 100), ("0.5%", 50), ("0.05%", 5), ("12.25%", 1225), ("100%", 10_000)]
        {
            assert_eq!(text.parse::<Share>().unwrap(), Share(share));
            assert_eq!(Share(share).to_string(), text);
        }
        assert_eq!("1.50%".parse::<Share>().unwrap().to_string(), "1.5%");
        for text in ["", "1", "%", "1.%", ".5%", "101%", "100.01%", "1.234%", "-1%", "1 %", "+1%", "9999%"] {
            assert!(text.parse::<Share>().is_err(), "{text}");
        }
    }

    #[test]
    fn a_share_is_exceeded_by_more_than_it_and_never_by_nothing() {
        let one = Share(100);
        assert!(!one.is_exceeded_by(1, 100) && one.is_exceeded_by(2, 100) && one.is_exceeded_by(1, 99));
        assert!(!one.is_exceeded_by(0, 0) && !Share(0).is_exceeded_by(0, 5) && Share(0).is_exceeded_by(1, 5));
        assert!(!Share::WHOLE.is_exceeded_by(u64::MAX, u64::MAX));
    }

    #[test]
    fn a_stage_that_is_left_out_is_skipped() {
        let both: RolloutPolicySpec =
            serde_json::from_value(serde_json::json!({ "sandbox": {}, "limited": { "percent": 5 } }))
                .unwrap();
        assert_eq!(both.first(), Stage::Sandbox);
        assert_eq!(both.after(Stage::Sandbox), Some(Stage::Limited));
        assert_eq!(both.after(Stage::Limited), Some(Stage::General));
        assert_eq!(both.after(Stage::General), None);
        let short = RolloutPolicySpec { limited: None, ..both };
        assert_eq!(short.after(Stage::Sandbox), Some(Stage::General));
        assert!(short.checks(Stage::Limited).is_none());
        assert_eq!(RolloutPolicySpec::default().first(), Stage::General);
    }
}
