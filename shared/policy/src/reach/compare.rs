//! Two snapshots, and who reaches what in one of them only: what a change does, before it is made.
//!
//! Only what can differ is judged: keys whose grants changed, and of all others the servers whose own entries changed. Keys
//! with equal grants before and after are judged once, and those that gain and lose the same are told together.

mod scope;
mod tell;
mod things;

use std::collections::{BTreeSet, HashMap};
use std::sync::Arc;

use serde::Serialize;

use super::{DefinitionStanding, ReachKind, Thing, judge};
use crate::Reason;
use crate::access::{Access, Rules};
use crate::compile::Snapshot;
use crate::compile::model::Principal;
use crate::decide::judge::Refusal;
use crate::resource::{Kind, Name};
use crate::rule::{DefinitionKind, Rule};
use crate::snapshot::SnapshotVersion;
use crate::standpoint::Holder;
use scope::Scope;
use things::Things;

/// How much of a difference is told by name. Counts are always whole.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Bounds {
    /// The most names in one list.
    pub each: usize,
    /// The most names in all lists.
    pub total: usize,
}

impl Bounds {
    /// Enough for a person to see what it is about.
    pub const SHORT: Self = Self { each: 10, total: 2_000 };
    /// As much as an answer holds.
    pub const FULL: Self = Self { each: usize::MAX, total: 500_000 };
}

/// So many numbers of things are kept at most while differences are collected; keys beyond it are counted and not named.
const MAX_KEPT: usize = 8_000_000;

/// What differs between two snapshots.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Difference {
    /// The version compared with. Names of what goes are those of it.
    pub from_version: SnapshotVersion,
    /// How much is gained.
    pub gains: Counts,
    /// How much is lost.
    pub losses: Counts,
    /// Keys with what they gain and lose; those that most keys share first.
    pub keys: Vec<Shift>,
    /// How many more keys gain or lose something that is not told by name.
    pub more_keys: usize,
    /// Tools and prompts that stand otherwise afterwards, whoever asks.
    pub states: Vec<StateChange>,
    /// How many more of these.
    pub more_states: usize,
    /// What is there afterwards and cannot be served or evaluated, and could be before; for a person.
    pub unserved: Vec<String>,
}

/// How much.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize)]
pub struct Counts {
    /// Keys that it concerns.
    pub keys: usize,
    /// Tools, prompts and patterns of resources.
    pub things: usize,
    /// Pairs of a key and a thing.
    pub pairs: usize,
}

/// Keys that gain and lose the same.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Shift {
    /// Their names, as many as are told.
    pub keys: Vec<Name>,
    /// How many they are.
    pub key_count: usize,
    /// What each of them gains, as far as it is told.
    pub gains: Vec<Thing>,
    /// How much that is.
    pub gain_count: usize,
    /// What each of them loses, as far as it is told.
    pub losses: Vec<Lost>,
    /// How much that is.
    pub loss_count: usize,
}

/// Something that is lost.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Lost {
    /// What.
    #[serde(flatten)]
    pub thing: Thing,
    /// The reason that a call gets afterwards.
    pub reason: Reason,
    /// The rule behind it, where it is not one of the key's own.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub rule: Option<Rule>,
}

/// A tool or prompt that stands otherwise.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct StateChange {
    /// Which.
    #[serde(flatten)]
    pub thing: Thing,
    /// How it stood; none when it was not there.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub before: Option<DefinitionStanding>,
    /// How it stands; none when it is gone.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub after: Option<DefinitionStanding>,
    /// Its name at `/mcp` before, where that changed.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub was_exposed: Option<Arc<str>>,
}

impl Difference {
    /// Whether nobody gains or loses anything, and nothing stands otherwise.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.keys.is_empty() && self.more_keys == 0 && self.states.is_empty() && self.unserved.is_empty()
    }
}

/// Compares two snapshots as they judge at one time.
#[must_use]
pub fn compare(old: &Snapshot, new: &Snapshot, now_unix_ms: u64, bounds: Bounds) -> Difference {
    let scope = Scope::between(old, new);
    let mut things = Things::default();
    let sides = [old, new].map(|snapshot| Side { snapshot, numbers: things.number(snapshot) });
    let mut found = Found::default();
    for (pair, keys) in pairs(old, new, now_unix_ms) {
        let Some(shift) = pair.shift(&sides, &scope, &mut things) else { continue };
        found.add(shift, keys);
    }
    tell::tell(old, new, &scope, &things, found, bounds)
}

/// What one key, or several alike, had and will have. None where there is no key, or one that opens nothing.
struct Pair<'a> {
    old: Option<Held<'a>>,
    /// Why the key opens nothing afterwards.
    new: Result<Held<'a>, Refusal<'static>>,
}

/// What a key holds in one snapshot: its grants, and what rules know of it.
#[derive(Clone, Copy)]
struct Held<'a> {
    access: &'a Arc<Access>,
    holder: Holder<'a>,
    principal: &'a Principal,
}

type HeldKey<'a> = (*const Access, (&'a [u32], Option<u64>));

impl<'a> Held<'a> {
    fn key(self) -> HeldKey<'a> {
        (Arc::as_ptr(self.access), self.holder.alike())
    }

    /// What policies may read of the principal, where any can apply to it.
    fn facts(self) -> Option<(&'a str, &'a str, Option<&'a Name>, Option<&'a Name>)> {
        let of = self.principal;
        let (kind, subject) = (of.kind.as_str(), &*of.subject);
        self.holder.alike().1.map(|_| (kind, subject, of.team.as_ref(), of.customer.as_ref()))
    }
}

type PairKey<'a> = (Option<HeldKey<'a>>, Option<HeldKey<'a>>, Option<Reason>);

/// Every key of either snapshot, by what it had and will have.
fn pairs<'a>(old: &'a Snapshot, new: &'a Snapshot, now_unix_ms: u64) -> Vec<(Pair<'a>, Vec<&'a Name>)> {
    let mut found: HashMap<PairKey<'_>, (Pair<'a>, Vec<&'a Name>)> = HashMap::new();
    let mut add = |before: Option<&'a Arc<Principal>>, after: Option<&'a Arc<Principal>>, name: &'a Name| {
        let live = |(snapshot, principal): (&'a Snapshot, &'a Arc<Principal>)| {
            let holder = Holder::new(&snapshot.standpoints, principal);
            let held = Held { access: &principal.access, holder, principal };
            judge::alive(principal, now_unix_ms).map(|()| held)
        };
        let gone = (Reason::Unauthenticated, crate::decide::judge::Ground::Closed);
        let pair = Pair {
            old: before.and_then(|principal| live((old, principal)).ok()),
            new: after.map_or(Err(gone), |principal| live((new, principal))),
        };
        let reason = pair.new.as_ref().err().map(|(reason, _)| *reason);
        let key = (pair.old.map(Held::key), pair.new.ok().map(Held::key), reason);
        found.entry(key).or_insert_with(|| (pair, Vec::new())).1.push(name);
    };
    for principal in new.keys() {
        add(old.key_by_name(principal.key_name.as_str()), Some(principal), &principal.key_name);
    }
    for principal in old.keys() {
        if new.key_by_name(principal.key_name.as_str()).is_none() {
            add(Some(principal), None, &principal.key_name);
        }
    }
    found.into_values().collect()
}

/// One of the two snapshots, with the numbers of what its servers offer.
struct Side<'a> {
    snapshot: &'a Snapshot,
    numbers: things::Numbers,
}

impl Side<'_> {
    /// The numbers of what grants reach, in order.
    fn reached(&self, rules: &Rules, holder: Holder<'_>, things: &mut Things) -> Vec<u32> {
        let mut found = Vec::new();
        for of in &rules.servers {
            if let Some(numbers) = self.numbers.get(&of.offer.server.uid()) {
                let candidates = of.offer.tools.iter().chain(&of.offer.prompts);
                let reached =
                    candidates.zip(numbers).filter(|(one, _)| judge::definition(rules, holder, one).is_ok());
                found.extend(reached.map(|(_, number)| *number));
            }
            if !of.chosen.resources().is_empty() && judge::server(rules, holder, of).is_ok() {
                let server = of.offer.server.name();
                let patterns = of.chosen.resources().iter();
                found.extend(patterns.map(|pattern| things.resources(server, pattern.as_str())));
            }
        }
        found.sort_unstable();
        found.dedup();
        found
    }

    /// Why something is not reached here.
    fn refusal(&self, rules: &Rules, holder: Holder<'_>, thing: &Thing) -> (Reason, Option<Rule>) {
        let told = |(reason, ground): Refusal<'_>| {
            // Rules of keys are left out, so no key needs to be named for them.
            let rule = ground.rule(&rules.zone);
            (reason, Some(rule).filter(|rule| rule.kind.is_some_and(|kind| kind != Kind::VirtualKey)))
        };
        let unknown = (Reason::ToolUnknown, None);
        let not_granted = (Reason::ToolNotGranted, None);
        let Some(server) = self.snapshot.server(thing.server.as_str()) else { return unknown };
        let kind = match thing.kind {
            ReachKind::Tool => DefinitionKind::Tool,
            ReachKind::Prompt => DefinitionKind::Prompt,
            ReachKind::Resources => {
                let of = rules.server(server.uid());
                let named =
                    of.filter(|of| of.chosen.resources().iter().any(|one| one.as_str() == &*thing.name));
                let Some(of) = named else { return not_granted };
                return judge::server(rules, holder, of).err().map_or(not_granted, told);
            }
        };
        let offer = self.snapshot.offer(server.uid());
        let Some(candidate) = offer.and_then(|offer| offer.find(kind, &thing.name)) else { return unknown };
        judge::definition(rules, holder, candidate).err().map_or(not_granted, told)
    }
}

/// What a pair gains and loses, as numbers of things.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
struct Numbers {
    gains: Vec<u32>,
    losses: Vec<(u32, Reason)>,
}

impl Pair<'_> {
    /// None where nothing differs.
    fn shift(&self, [old, new]: &[Side<'_>; 2], scope: &Scope, things: &mut Things) -> Option<Numbers> {
        // Equal grants and bundles of the team in the same zone that are let in alike, under the same rules for clients and the same
        // policies, differ only by the servers that differ.
        let equal = self.old.zip(self.new.ok()).is_some_and(|(before, after)| {
            before.access.reads_like(after.access)
                && before.holder.keyed == after.holder.keyed
                && before.facts() == after.facts()
                && scope.same_rules
        });
        if equal && scope.is_empty() {
            return None;
        }
        let rules_of = |side: &Side<'_>, held: Held<'_>, servers| {
            held.access.rules_about(side.snapshot, equal.then_some(servers))
        };
        let before = self.old.map(|held| (rules_of(old, held, &scope.old), held.holder));
        let after = self.new.as_ref().ok().map(|held| (rules_of(new, *held, &scope.new), held.holder));
        let had = before.map(|(rules, holder)| old.reached(&rules, holder, things)).unwrap_or_default();
        let has =
            after.as_ref().map(|(rules, holder)| new.reached(rules, *holder, things)).unwrap_or_default();
        let without = |these: &[u32], those: &[u32]| -> Vec<u32> {
            these.iter().copied().filter(|one| those.binary_search(one).is_err()).collect()
        };
        let gains = without(&has, &had);
        let losses: Vec<_> = without(&had, &has)
            .into_iter()
            .map(|number| {
                let (reason, rule) = match (&after, &self.new) {
                    (_, Err((reason, _))) => (*reason, None),
                    (Some((rules, holder)), Ok(_)) => {
                        let thing = things.get(number);
                        thing.map_or((Reason::ToolUnknown, None), |thing| new.refusal(rules, *holder, thing))
                    }
                    (None, Ok(_)) => (Reason::ToolUnknown, None),
                };
                things.lost(number, reason, rule);
                (number, reason)
            })
            .collect();
        (!gains.is_empty() || !losses.is_empty()).then_some(Numbers { gains, losses })
    }
}

/// Everything that differs.
#[derive(Default)]
struct Found<'a> {
    shifts: HashMap<Numbers, Vec<&'a Name>>,
    kept: usize,
    /// Keys that are counted and not kept.
    beyond: usize,
    gains: Tally,
    losses: Tally,
}

/// Counts with the things that they count.
#[derive(Default)]
struct Tally {
    keys: usize,
    pairs: usize,
    seen: BTreeSet<u32>,
}

impl Tally {
    fn add(&mut self, numbers: impl ExactSizeIterator<Item = u32>, keys: usize) {
        if numbers.len() == 0 {
            return;
        }
        self.keys += keys;
        self.pairs += numbers.len().saturating_mul(keys);
        self.seen.extend(numbers);
    }

    fn counts(&self) -> Counts {
        Counts { keys: self.keys, things: self.seen.len(), pairs: self.pairs }
    }
}

impl<'a> Found<'a> {
    fn add(&mut self, numbers: Numbers, keys: Vec<&'a Name>) {
        self.gains.add(numbers.gains.iter().copied(), keys.len());
        self.losses.add(numbers.losses.iter().map(|(number, _)| *number), keys.len());
        let size = numbers.gains.len() + numbers.losses.len();
        if let Some(same) = self.shifts.get_mut(&numbers) {
            same.extend(keys);
        } else if self.kept.saturating_add(size) > MAX_KEPT {
            self.beyond += keys.len();
        } else {
            self.kept += size;
            self.shifts.insert(numbers, keys);
        }
    }
}
