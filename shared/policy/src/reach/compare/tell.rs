//! From numbers to names, as many as are asked for.

use std::collections::{BTreeMap, HashSet};
use std::sync::Arc;

use super::scope::Scope;
use super::things::Things;
use super::{Bounds, Difference, Found, Lost, Numbers, Shift, StateChange};
use crate::compile::Snapshot;
use crate::compile::model::{Candidate, Offer};
use crate::reach::{DefinitionStanding, Thing};
use crate::resource::Name;
use crate::rule::DefinitionKind;

/// How many names may still be told.
struct Budget {
    each: usize,
    left: usize,
}

impl Budget {
    fn take<T>(&mut self, from: impl Iterator<Item = T>) -> Vec<T> {
        let taken: Vec<T> = from.take(self.each.min(self.left)).collect();
        self.left -= taken.len();
        taken
    }
}

pub(super) fn tell(
    old: &Snapshot,
    new: &Snapshot,
    scope: &Scope,
    things: &Things,
    found: Found<'_>,
    bounds: Bounds,
) -> Difference {
    let mut budget = Budget { each: bounds.each, left: bounds.total };
    let mut difference = Difference {
        from_version: old.version(),
        gains: found.gains.counts(),
        losses: found.losses.counts(),
        keys: Vec::new(),
        more_keys: found.beyond,
        states: Vec::new(),
        more_states: 0,
        unserved: Vec::new(),
    };
    let mut shifts: Vec<(Numbers, Vec<&Name>)> = found.shifts.into_iter().collect();
    for (_, keys) in &mut shifts {
        keys.sort_unstable();
    }
    shifts.sort_unstable_by(|(_, a), (_, b)| b.len().cmp(&a.len()).then_with(|| a.cmp(b)));
    for (numbers, keys) in shifts {
        if difference.keys.len() >= bounds.each || budget.left == 0 {
            difference.more_keys += keys.len();
            continue;
        }
        difference.keys.push(shift(numbers, keys, things, &mut budget));
    }
    let states = states(scope);
    let all = states.len();
    difference.states = budget.take(states.into_iter());
    difference.more_states = all - difference.states.len();
    let before: HashSet<&String> = old.reports().iter().collect();
    let unserved = new.reports().iter().filter(|report| !before.contains(report)).cloned();
    difference.unserved = budget.take(unserved);
    difference
}

fn shift(numbers: Numbers, keys: Vec<&Name>, things: &Things, budget: &mut Budget) -> Shift {
    let Numbers { gains, losses } = numbers;
    let (key_count, gain_count, loss_count) = (keys.len(), gains.len(), losses.len());
    let mut gained: Vec<&Thing> = gains.iter().filter_map(|number| things.get(*number)).collect();
    gained.sort_unstable();
    let mut lost: Vec<_> =
        losses.iter().filter_map(|(number, reason)| Some((things.get(*number)?, *number, *reason))).collect();
    lost.sort_unstable();
    Shift {
        keys: budget.take(keys.into_iter().cloned()),
        key_count,
        gains: budget.take(gained.into_iter().cloned()),
        gain_count,
        losses: budget.take(lost.into_iter().map(|(thing, number, reason)| Lost {
            thing: thing.clone(),
            reason,
            rule: things.rule(number, reason),
        })),
        loss_count,
    }
}

type Sides<'a> = (Option<&'a Candidate>, Option<&'a Candidate>);

/// What stands otherwise, in the order of servers and names.
fn states(scope: &Scope) -> Vec<StateChange> {
    let mut changes = Vec::new();
    for (before, after) in &scope.changed {
        let mut sides: BTreeMap<(DefinitionKind, &str), Sides<'_>> = BTreeMap::new();
        for candidate in all(before.as_ref()) {
            sides.entry((candidate.kind, &candidate.name)).or_default().0 = Some(candidate);
        }
        for candidate in all(after.as_ref()) {
            sides.entry((candidate.kind, &candidate.name)).or_default().1 = Some(candidate);
        }
        changes.extend(sides.into_values().filter_map(state));
    }
    changes
}

fn all(offer: Option<&Arc<Offer>>) -> impl Iterator<Item = &Candidate> {
    offer.into_iter().flat_map(|offer| offer.tools.iter().chain(&offer.prompts)).map(|candidate| &**candidate)
}

fn state((before, after): Sides<'_>) -> Option<StateChange> {
    let standing = |candidate: &Candidate| DefinitionStanding::of(&candidate.state);
    let exposed = |candidate: Option<&Candidate>| candidate.and_then(|candidate| candidate.exposed.clone());
    let was = exposed(before).filter(|name| after.is_some() && exposed(after).as_ref() != Some(name));
    let (old, new) = (before.map(standing), after.map(standing));
    if old == new && was.is_none() {
        return None;
    }
    let thing = Thing::of(after.or(before)?);
    Some(StateChange { thing, before: old, after: new, was_exposed: was })
}
