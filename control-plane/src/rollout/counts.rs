//! What was counted of a server: added up from what data planes report, and held against what a stage asks.

use std::collections::BTreeMap;

use portcullis_policy::Reason;
use portcullis_proto::config::v1::ServerCalls;

/// What a server says itself, beside the codes of the contract.
const OWN: [&str; 2] = ["tool_error", "rpc_error"];

/// Calls of one server in some time.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(super) struct Counts {
    /// Calls that were let through.
    pub(super) calls: u64,
    /// Those that failed, by code.
    pub(super) errors: BTreeMap<&'static str, u64>,
    /// Calls that were denied, by code.
    pub(super) denials: BTreeMap<&'static str, u64>,
}

impl Counts {
    /// Reads a report. Codes that this version does not know count as `internal`, so that nothing is lost and nothing a plane
    /// invents is kept.
    pub(super) fn of(report: &ServerCalls) -> Self {
        let read = |counters: &std::collections::HashMap<String, u64>| {
            let mut read: BTreeMap<&'static str, u64> = BTreeMap::new();
            for (code, count) in counters {
                let sum = read.entry(known(code)).or_default();
                *sum = sum.saturating_add(*count);
            }
            read
        };
        Self { calls: report.calls, errors: read(&report.errors), denials: read(&report.denials) }
    }

    /// Adds others.
    pub(super) fn add(&mut self, other: &Self) {
        self.calls = self.calls.saturating_add(other.calls);
        for (own, theirs) in [(&mut self.errors, &other.errors), (&mut self.denials, &other.denials)] {
            for (code, count) in theirs {
                let sum = own.entry(*code).or_default();
                *sum = sum.saturating_add(*count);
            }
        }
    }

    /// What came since an earlier count of the same counters.
    pub(super) fn since(&self, earlier: &Self) -> Self {
        let minus = |now: &BTreeMap<&'static str, u64>, then: &BTreeMap<&'static str, u64>| {
            now.iter()
                .map(|(code, count)| (*code, count.saturating_sub(then.get(code).copied().unwrap_or(0))))
                .filter(|(_, count)| *count > 0)
                .collect()
        };
        Self {
            calls: self.calls.saturating_sub(earlier.calls),
            errors: minus(&self.errors, &earlier.errors),
            denials: minus(&self.denials, &earlier.denials),
        }
    }

    /// Whether there is nothing.
    pub(super) fn is_empty(&self) -> bool {
        *self == Self::default()
    }

    /// How many calls failed.
    pub(super) fn failed(&self) -> u64 {
        self.errors.values().fold(0, |sum, count| sum.saturating_add(*count))
    }

    /// The denials that say something of the server: what its approval or its stage refuse says nothing.
    pub(super) fn denied(&self) -> BTreeMap<&'static str, u64> {
        let told = |code: &&'static str| *code != Reason::ToolNotApproved.code();
        self.denials.iter().map(|(code, count)| (*code, *count)).filter(|(code, _)| told(code)).collect()
    }
}

/// `2 upstream_timeout, 1 tool_error`, the most frequent first; empty where there is nothing.
pub(super) fn listed(counts: &BTreeMap<&'static str, u64>) -> String {
    let mut counts: Vec<_> = counts.iter().collect();
    counts.sort_by_key(|(code, count)| (std::cmp::Reverse(**count), **code));
    counts.iter().map(|(code, count)| format!("{count} {code}")).collect::<Vec<_>>().join(", ")
}

fn known(code: &str) -> &'static str {
    let reasons = Reason::ALL.iter().map(|reason| reason.code());
    reasons.chain(OWN).find(|known| *known == code).unwrap_or(Reason::Internal.code())
}
