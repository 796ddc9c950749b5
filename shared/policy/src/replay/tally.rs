//! What comes out when many calls are decided again: counts, and those whose outcome changes by key, tool and reason.

use std::collections::HashMap;
use std::sync::Arc;

use serde::Serialize;

use super::{Again, RecordedCall, RecordedKind, is_of_policy};
use crate::Reason;
use crate::compile::Snapshot;
use crate::resource::Uid;
use crate::rule::Rule;

/// The most groups that are kept apart; calls of further ones are counted.
pub const MAX_GROUPS: usize = 20_000;

/// Calls that are decided again by what would be in force, and by what is.
#[derive(Debug)]
pub struct Replay {
    before: Arc<Snapshot>,
    after: Arc<Snapshot>,
    outcome: Replayed,
    groups: HashMap<Group, ChangedCalls>,
}

#[derive(Debug, PartialEq, Eq, Hash)]
struct Group {
    key: Uid,
    kind: RecordedKind,
    server: Option<String>,
    name: String,
    was: Option<Reason>,
    would_be: Option<Reason>,
    already: bool,
}

/// What many calls come to.
#[derive(Debug, Clone, Default, PartialEq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Replayed {
    /// Calls that were decided again.
    pub calls: u64,
    /// Of these, permitted then and denied now.
    pub would_be_denied: u64,
    /// Of these, denied then and permitted now.
    pub would_be_permitted: u64,
    /// Of those two, calls that the policy in force decides otherwise than their record already: the change is an earlier one.
    pub already: u64,
    /// Those whose outcome changes: the most calls first.
    pub items: Vec<ChangedCalls>,
    /// How many calls change that are in no item.
    pub more_calls: u64,
}

/// Calls of one key for one thing whose outcome changes in one way.
#[derive(Debug, Clone, PartialEq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct ChangedCalls {
    /// The key's name.
    pub key: String,
    /// What was asked for.
    pub kind: RecordedKind,
    /// The server, where it was found.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub server: Option<String>,
    /// The name that the caller used.
    pub name: String,
    /// Why it was denied; none where it was permitted.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub was: Option<Reason>,
    /// Why it would be denied; none where it would be permitted.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub would_be: Option<Reason>,
    /// The rule that would deny it.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub rule: Option<Rule>,
    /// Whether the policy in force decides so already.
    pub already: bool,
    /// How many calls.
    pub calls: u64,
    /// The first of them, in milliseconds since the Unix epoch.
    pub first_unix_ms: u64,
    /// The last of them, likewise.
    pub last_unix_ms: u64,
}

impl Replay {
    /// Of the policy in force, and of what would take its place.
    #[must_use]
    pub fn new(before: Arc<Snapshot>, after: Arc<Snapshot>) -> Self {
        Self { before, after, outcome: Replayed::default(), groups: HashMap::new() }
    }

    /// Decides one call again. One denial for another is no change: the caller gets none either way.
    pub fn take(&mut self, call: &RecordedCall) {
        self.outcome.calls += 1;
        let was = call.denied.filter(|reason| is_of_policy(*reason));
        let (would_be, rule) = match self.after.decide_again(call) {
            Again::Permit => (None, None),
            Again::Deny(reason, rule) => (Some(reason), Some(rule)),
        };
        match (was, would_be) {
            (None, None) | (Some(_), Some(_)) => return,
            (None, Some(_)) => self.outcome.would_be_denied += 1,
            (Some(_), None) => self.outcome.would_be_permitted += 1,
        }
        let already = (self.before.decide_again(call) == Again::Permit) == would_be.is_none();
        self.outcome.already += u64::from(already);
        let group = Group {
            key: call.key_uid,
            kind: call.kind,
            server: call.server.clone(),
            name: call.name.clone(),
            was,
            would_be,
            already,
        };
        if let Some(calls) = self.groups.get_mut(&group) {
            calls.calls += 1;
            calls.first_unix_ms = calls.first_unix_ms.min(call.unix_ms);
            calls.last_unix_ms = calls.last_unix_ms.max(call.unix_ms);
        } else if self.groups.len() < MAX_GROUPS {
            let calls = ChangedCalls {
                key: call.key.clone(),
                kind: call.kind,
                server: call.server.clone(),
                name: call.name.clone(),
                was,
                would_be,
                rule,
                already,
                calls: 1,
                first_unix_ms: call.unix_ms,
                last_unix_ms: call.unix_ms,
            };
            self.groups.insert(group, calls);
        } else {
            self.outcome.more_calls += 1;
        }
    }

    /// What came out, with at most so many groups.
    #[must_use]
    pub fn finish(self, most: usize) -> Replayed {
        let Self { mut outcome, groups, .. } = self;
        let mut items: Vec<ChangedCalls> = groups.into_values().collect();
        let place =
            |a: &ChangedCalls| (a.key.clone(), a.kind, a.server.clone(), a.name.clone(), a.was, a.would_be);
        items.sort_by(|a, b| b.calls.cmp(&a.calls).then_with(|| place(a).cmp(&place(b))));
        outcome.more_calls += items.iter().skip(most).map(|item| item.calls).sum::<u64>();
        items.truncate(most);
        outcome.items = items;
        outcome
    }
}
