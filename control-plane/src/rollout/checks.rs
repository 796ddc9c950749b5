//! The checks of a stage, each with its measured number: what does not hold keeps a server where it is.

use std::collections::BTreeMap;

use portcullis_policy::resource::{Checks, HumanDuration};

use super::board::Seen;
use super::counts::listed;

/// One check with its number.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Check {
    /// Which: `window`, `calls`, `errorRate`, `denials` or `drift`.
    pub name: &'static str,
    /// What was measured, for a person.
    pub measured: String,
    /// What is asked, for a person.
    pub required: String,
    /// Whether it holds.
    pub passed: bool,
}

/// Judges what was seen of a server, and the definitions of it that differ from their pins.
pub(super) fn judge(checks: &Checks, seen: &Seen, drifted: &[String]) -> Vec<Check> {
    let counts = &seen.counts;
    let mut judged = vec![Check {
        name: "window",
        measured: seen.missing.clone().unwrap_or_else(|| "whole".to_owned()),
        required: format!("all planes counted for {}", checks.window),
        passed: seen.missing.is_none(),
    }];
    if let Some(least) = checks.min_calls {
        judged.push(Check {
            name: "calls",
            measured: counts.calls.to_string(),
            required: format!("at least {least} in {}", checks.window),
            passed: counts.calls >= least,
        });
    }
    if let Some(most) = checks.max_error_rate {
        let failed = counts.failed();
        judged.push(Check {
            name: "errorRate",
            measured: format!(
                "{} ({failed} of {}{})",
                rate(failed, counts.calls),
                counts.calls,
                after(&counts.errors)
            ),
            required: format!("at most {most} in {}", checks.window),
            passed: !most.is_exceeded_by(failed, counts.calls),
        });
    }
    if let Some(most) = checks.max_denials {
        let denied = counts.denied();
        let number = denied.values().fold(0_u64, |sum, count| sum.saturating_add(*count));
        judged.push(Check {
            name: "denials",
            measured: format!("{number}{}", after(&denied)),
            required: format!("at most {most} in {}", checks.window),
            passed: number <= most,
        });
    }
    if checks.no_drift {
        judged.push(Check {
            name: "drift",
            measured: if drifted.is_empty() { "none".to_owned() } else { some(drifted) },
            required: "every definition matches its pin".to_owned(),
            passed: drifted.is_empty(),
        });
    }
    judged
}

/// What stands for a window that a policy does not ask for.
pub(super) fn skipped(window: HumanDuration) -> Check {
    Check {
        name: "window",
        measured: "the policy has no such stage any more".to_owned(),
        required: format!("all planes counted for {window}"),
        passed: true,
    }
}

fn rate(part: u64, whole: u64) -> String {
    if whole == 0 {
        return "0%".to_owned();
    }
    let hundredths = u128::from(part) * 10_000 / u128::from(whole);
    format!("{}.{:02}%", hundredths / 100, hundredths % 100)
}

fn after(counts: &BTreeMap<&'static str, u64>) -> String {
    if counts.is_empty() { String::new() } else { format!(": {}", listed(counts)) }
}

fn some(names: &[String]) -> String {
    let shown = names.iter().take(5).cloned().collect::<Vec<_>>().join(", ");
    match names.len().saturating_sub(5) {
        0 => shown,
        more => format!("{shown} and {more} more"),
    }
}
