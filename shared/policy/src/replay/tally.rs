//! What comes out when many calls are decided again: counts, and those whose outcome changes by key, tool and reason.

use std::collections::HashMap;
use std::sync::Arc;

use serde::Serialize;

use super::{Again, RecordedCall, RecordedKind, Undecided, is_of_policy};
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
    /// Whether both say the same where they ask for what no record keeps.
    same_rules: bool,
    undecided: HashMap<UndecidedGroup, UndecidableCalls>,
}

#[derive(Debug, PartialEq, Eq, Hash)]
struct UndecidedGroup {
    key: Uid,
    kind: RecordedKind,
    server: Option<String>,
    name: String,
    was: Option<Reason>,
    undecided: Undecided,
    already: bool,
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
    /// Calls that cannot be decided again: their outcome depends on something that no record keeps.
    pub undecidable: u64,
    /// Of these, calls that depend on it by the policy in force already, in the same way: they come out as they do now.
    pub undecidable_already: u64,
    /// Those that cannot be decided again: the most calls first.
    pub undecided: Vec<UndecidableCalls>,
    /// How many such calls are in no item.
    pub more_undecidable: u64,
}

/// Calls of one key for one thing that cannot be decided again for one reason.
#[derive(Debug, Clone, PartialEq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct UndecidableCalls {
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
    /// The rule that asks for what is not known.
    pub rule: Rule,
    /// What it asks for, in a sentence.
    pub why: String,
    /// Whether the policy in force asks for it already, in the same way.
    pub already: bool,
    /// How many calls.
    pub calls: u64,
    /// The first of them, in milliseconds since the Unix epoch.
    pub first_unix_ms: u64,
    /// The last of them, likewise.
    pub last_unix_ms: u64,
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
        let same_rules = before.asks_like(&after);
        Self {
            before,
            after,
            outcome: Replayed::default(),
            groups: HashMap::new(),
            same_rules,
            undecided: HashMap::new(),
        }
    }

    /// Decides one call again. One denial for another is no change: the caller gets none either way.
    pub fn take(&mut self, call: &RecordedCall) {
        self.outcome.calls += 1;
        let was = call.denied.filter(|reason| is_of_policy(*reason));
        let (would_be, rule) = match self.after.decide_again(call) {
            Again::Permit => (None, None),
            Again::Deny(reason, rule) => (Some(reason), Some(rule)),
            Again::Undecidable(undecided) => return self.undecidable(call, was, undecided),
        };
        match (was, would_be) {
            (None, None) | (Some(_), Some(_)) => return,
            (None, Some(_)) => self.outcome.would_be_denied += 1,
            (Some(_), None) => self.outcome.would_be_permitted += 1,
        }
        let already = match self.before.decide_again(call) {
            Again::Permit => would_be.is_none(),
            Again::Deny(..) => would_be.is_some(),
            Again::Undecidable(_) => false,
        };
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

    fn undecidable(&mut self, call: &RecordedCall, was: Option<Reason>, undecided: Undecided) {
        self.outcome.undecidable += 1;
        let already = self.same_rules
            && matches!(self.before.decide_again(call), Again::Undecidable(before) if before == undecided);
        self.outcome.undecidable_already += u64::from(already);
        let group = UndecidedGroup {
            key: call.key_uid,
            kind: call.kind,
            server: call.server.clone(),
            name: call.name.clone(),
            was,
            undecided,
            already,
        };
        if let Some(calls) = self.undecided.get_mut(&group) {
            calls.calls += 1;
            calls.first_unix_ms = calls.first_unix_ms.min(call.unix_ms);
            calls.last_unix_ms = calls.last_unix_ms.max(call.unix_ms);
        } else if self.undecided.len() < MAX_GROUPS {
            let calls = UndecidableCalls {
                key: call.key.clone(),
                kind: call.kind,
                server: call.server.clone(),
                name: call.name.clone(),
                was,
                rule: group.undecided.rule.clone(),
                why: group.undecided.why.clone(),
                already,
                calls: 1,
                first_unix_ms: call.unix_ms,
                last_unix_ms: call.unix_ms,
            };
            self.undecided.insert(group, calls);
        } else {
            self.outcome.more_undecidable += 1;
        }
    }

    /// What came out, with at most so many groups of each kind.
    #[must_use]
    pub fn finish(self, most: usize) -> Replayed {
        let Self { mut outcome, groups, undecided, .. } = self;
        let mut open: Vec<UndecidableCalls> = undecided.into_values().collect();
        let of = |a: &UndecidableCalls| (a.key.clone(), a.kind, a.server.clone(), a.name.clone(), a.was);
        open.sort_by(|a, b| b.calls.cmp(&a.calls).then_with(|| of(a).cmp(&of(b))));
        outcome.more_undecidable += open.iter().skip(most).map(|item| item.calls).sum::<u64>();
        open.truncate(most);
        outcome.undecided = open;
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
