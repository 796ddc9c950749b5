//! What comes out when many calls are decided again: counts, and those whose outcome changes by key, tool and reason.

use std::collections::HashMap;
use std::hash::Hash;
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
    changed: Groups<Option<Reason>, Option<Rule>>,
    /// Whether both say the same where they ask for what no record keeps.
    same_rules: bool,
    undecided: Groups<Undecided, ()>,
}

/// In what calls are alike; `how` is what becomes of them.
#[derive(Debug, PartialEq, Eq, Hash)]
struct Group<H> {
    key: Uid,
    kind: RecordedKind,
    server: Option<String>,
    name: String,
    was: Option<Reason>,
    how: H,
    already: bool,
}

/// How many calls of a group there are, and when they were; `more` is what its first call told beside.
#[derive(Debug)]
struct Calls<M> {
    key: String,
    more: M,
    calls: u64,
    first_unix_ms: u64,
    last_unix_ms: u64,
}

/// Calls by group, within a bound.
#[derive(Debug)]
struct Groups<H, M> {
    by: HashMap<Group<H>, Calls<M>>,
    left_out: u64,
}

impl<H: Eq + Hash, M> Groups<H, M> {
    fn new() -> Self {
        Self { by: HashMap::new(), left_out: 0 }
    }

    fn take(&mut self, call: &RecordedCall, was: Option<Reason>, how: H, already: bool, more: M) {
        let (server, name) = (call.server.clone(), call.name.clone());
        let group = Group { key: call.key_uid, kind: call.kind, server, name, was, how, already };
        if let Some(calls) = self.by.get_mut(&group) {
            calls.calls += 1;
            calls.first_unix_ms = calls.first_unix_ms.min(call.unix_ms);
            calls.last_unix_ms = calls.last_unix_ms.max(call.unix_ms);
        } else if self.by.len() < MAX_GROUPS {
            let (first_unix_ms, last_unix_ms) = (call.unix_ms, call.unix_ms);
            let calls = Calls { key: call.key.clone(), more, calls: 1, first_unix_ms, last_unix_ms };
            self.by.insert(group, calls);
        } else {
            self.left_out += 1;
        }
    }

    /// The `most` largest groups, equals in the order of `place`, and how many calls are in none of them.
    fn finish<P: Ord>(
        self,
        most: usize,
        place: impl Fn(&H) -> P,
    ) -> (impl Iterator<Item = (Group<H>, Calls<M>)>, u64) {
        let mut all: Vec<(Group<H>, Calls<M>)> = self.by.into_iter().collect();
        let order = |group: &Group<H>, calls: &Calls<M>| {
            let (server, name) = (group.server.clone(), group.name.clone());
            (calls.key.clone(), group.kind, server, name, group.was, place(&group.how))
        };
        all.sort_by(|(a, of_a), (b, of_b)| {
            of_b.calls.cmp(&of_a.calls).then_with(|| order(a, of_a).cmp(&order(b, of_b)))
        });
        let left_out = self.left_out + all.iter().skip(most).map(|(_, calls)| calls.calls).sum::<u64>();
        all.truncate(most);
        (all.into_iter(), left_out)
    }
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
            changed: Groups::new(),
            same_rules,
            undecided: Groups::new(),
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
        self.changed.take(call, was, would_be, already, rule);
    }

    fn undecidable(&mut self, call: &RecordedCall, was: Option<Reason>, undecided: Undecided) {
        self.outcome.undecidable += 1;
        let already = self.same_rules
            && matches!(self.before.decide_again(call), Again::Undecidable(before) if before == undecided);
        self.outcome.undecidable_already += u64::from(already);
        self.undecided.take(call, was, undecided, already, ());
    }

    /// What came out, with at most so many groups of each kind.
    #[must_use]
    pub fn finish(self, most: usize) -> Replayed {
        let Self { mut outcome, changed, undecided, .. } = self;
        let (items, more) = changed.finish(most, |would_be| *would_be);
        outcome.more_calls = more;
        outcome.items = items
            .map(|(group, calls)| ChangedCalls {
                key: calls.key,
                kind: group.kind,
                server: group.server,
                name: group.name,
                was: group.was,
                would_be: group.how,
                rule: calls.more,
                already: group.already,
                calls: calls.calls,
                first_unix_ms: calls.first_unix_ms,
                last_unix_ms: calls.last_unix_ms,
            })
            .collect();
        let (open, more) = undecided.finish(most, |undecided| undecided.why.clone());
        outcome.more_undecidable = more;
        outcome.undecided = open
            .map(|(group, calls)| UndecidableCalls {
                key: calls.key,
                kind: group.kind,
                server: group.server,
                name: group.name,
                was: group.was,
                rule: group.how.rule,
                why: group.how.why,
                already: group.already,
                calls: calls.calls,
                first_unix_ms: calls.first_unix_ms,
                last_unix_ms: calls.last_unix_ms,
            })
            .collect();
        outcome
    }
}
