//! What a probe changes: the stored definitions of one server against what the server offers now. Pure: state in,
//! operations out, so that a conflict in the store only means asking again.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use portcullis_policy::resource::{ToolRules, Uid};
use serde::Deserialize as _;

use super::definition::{DEFINITION, DefinitionKind, Standing, StoredDefinition};
use super::lifecycle;
use super::observation::OBSERVATION;
use super::offer::{Offer, Sighting};
use super::server;
use crate::governance::{Matter, Rulebook};
use crate::store::{Object, Op, State};

/// How many definitions that are gone keep their approval, for each server; those gone longest are forgotten first.
const MAX_GONE: usize = 1_000;
/// How much one transaction may hold, in the unit of [`Change::cost`].
const MAX_BATCH: u64 = 24 << 20;

/// What one transaction does.
#[derive(Debug, Default)]
pub(super) struct Batch {
    /// The operations; empty when nothing changes.
    pub ops: Vec<Op>,
    /// What they cost of the server's allowance, in bytes.
    pub cost: u64,
    /// How many definitions changed and wait for the next batch.
    pub left: usize,
    /// How many definitions changed and wait for the server's allowance.
    pub withheld: usize,
    /// How many definitions the review has to look at before they can be taken in.
    pub unseen: usize,
    /// How many definitions are new, changed in what is offered, and gone.
    pub counts: (usize, usize, usize),
}

/// The server of a report is not registered any more.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("no server has this uid")]
pub struct NoServer;

struct Change {
    stored: StoredDefinition,
    uid: Uid,
    /// It stops being served: that is never put off.
    urgent: bool,
    /// About how many bytes of journal it takes.
    cost: u64,
    kind: Kind,
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum Kind {
    New,
    Changed,
    Gone,
}

/// Compares. `allowance` is how many bytes this server may still write now; a definition that stops being served is
/// written whatever is left of it.
///
/// # Errors
/// When the server is gone.
pub(super) fn reconcile(
    state: &State,
    offer: &Offer,
    now_unix_ms: u64,
    allowance: u64,
) -> Result<Batch, NoServer> {
    let object = server::by_uid(state, &offer.server).ok_or(NoServer)?;
    let rules = server::rules(state, object).ok_or(NoServer)?;
    let judges = Judges::of(state, object, &rules);
    let (mut changes, unseen) = compare(state, offer, &judges, now_unix_ms);
    forget_oldest(state, offer, &mut changes);
    changes.sort_by_key(|change| !change.urgent);

    let mut batch = Batch { unseen, ..Batch::default() };
    let mut taken = Vec::new();
    observation(state, offer, &mut batch);
    for change in changes {
        if !change.urgent && batch.cost.saturating_add(change.cost) > allowance {
            batch.withheld += 1;
        } else if !batch.ops.is_empty() && batch.cost.saturating_add(change.cost) > MAX_BATCH {
            batch.left += 1;
        } else {
            batch.cost = batch.cost.saturating_add(change.cost);
            match change.kind {
                Kind::New => batch.counts.0 += 1,
                Kind::Changed => batch.counts.1 += 1,
                Kind::Gone => batch.counts.2 += 1,
            }
            batch.ops.extend(write(&change.stored, change.uid));
            taken.push(change.stored);
        }
    }
    let taken: Vec<_> = taken.iter().collect();
    let whole = batch.left == 0 && batch.withheld == 0 && batch.unseen == 0;
    batch.ops.extend(lifecycle::advance(state, &offer.server, &taken, whole, now_unix_ms));
    Ok(batch)
}

/// What decides over a definition without a person: the server's own rules, or the approval rule that is about it.
pub(super) struct Judges<'a> {
    rules: &'a ToolRules,
    book: Rulebook,
    server: Matter,
}

impl<'a> Judges<'a> {
    /// Those of one server.
    pub(super) fn of(state: &State, server: &Object, rules: &'a ToolRules) -> Self {
        Self { rules, book: Rulebook::of(state), server: Matter::of_server(server) }
    }

    /// Whether the review has to look at it before it is taken in.
    pub(super) fn need_look(&self, stored: &StoredDefinition, sighting: &Sighting) -> bool {
        let by_rule = match self.book.rule(&self.server.class(stored.change_class())) {
            None => stored.approving_rule(self.rules).is_some(),
            // What was found to be too much for the rule is not looked at again at every probe.
            Some(rule) => {
                let offered = stored.offered.as_ref().filter(|o| o.fingerprint == sighting.fingerprint);
                let known = offered.and_then(|offered| offered.risk).unwrap_or_default();
                rule.approves_by_itself(&sighting.definition, known)
            }
        };
        stored.needs_look(&sighting.fingerprint, self.rules, by_rule)
    }

    fn observe(&self, stored: &mut StoredDefinition, sighting: &Sighting, now_unix_ms: u64) {
        let (fingerprint, definition) = (sighting.fingerprint, sighting.definition.as_str());
        let class = stored.change_class();
        match self.book.rule(&self.server.class(class)) {
            None => stored.observe(fingerprint, definition, sighting.risk, self.rules, now_unix_ms),
            // Who may approve is not for the server to say: its own `approve` counts for nothing here.
            Some(rule) => {
                stored.sight(fingerprint, definition, sighting.risk, now_unix_ms);
                if sighting.risk.is_some_and(|risk| rule.approves_by_itself(definition, risk)) {
                    stored.approve_by_rule(&format!("rule {}", rule.name), sighting.risk, now_unix_ms);
                }
            }
        }
    }
}

/// What changes, and how much of it the review has to look at first.
fn compare(state: &State, offer: &Offer, judges: &Judges<'_>, now_unix_ms: u64) -> (Vec<Change>, usize) {
    let rules = judges.rules;
    let mut known = BTreeSet::new();
    let mut changes = Vec::new();
    let mut unseen = 0;
    let mut look = |stored: &StoredDefinition, sighting: &Sighting| {
        // A steady server is asked nothing: what it offers is approved, or was looked at.
        unseen += usize::from(sighting.risk.is_none() && judges.need_look(stored, sighting));
    };
    for (object, before) in stored(state, &offer.server) {
        let mut after = before.clone();
        let key = (before.kind, before.name.clone());
        let sighting = offer.definitions.get(&key);
        known.insert(key);
        let kind = match sighting {
            Some(sighting) => {
                look(&before, sighting);
                judges.observe(&mut after, sighting, now_unix_ms);
                Kind::Changed
            }
            // A malformed identity is reported and changes nothing; a server cannot stop having one.
            None if before.kind == DefinitionKind::Identity => continue,
            None => {
                after.vanish(now_unix_ms);
                Kind::Gone
            }
        };
        if after.is_ignored(rules) && after.denied.is_empty() {
            after.offered = None;
        }
        if after != before {
            changes.push(change(Some(&before), after, object.uid, rules, kind));
        }
    }
    for (key, sighting) in offer.definitions.iter().filter(|(key, _)| !known.contains(*key)) {
        let mut after = StoredDefinition::new(offer.server, key.0, key.1.clone());
        if !after.is_ignored(rules) {
            look(&after, sighting);
            judges.observe(&mut after, sighting, now_unix_ms);
            changes.push(change(None, after, Uid(uuid::Uuid::new_v4()), rules, Kind::New));
        }
    }
    (changes, unseen)
}

fn change(
    before: Option<&StoredDefinition>,
    after: StoredDefinition,
    uid: Uid,
    rules: &ToolRules,
    kind: Kind,
) -> Change {
    let served = |definition: &StoredDefinition| definition.standing(rules) == Standing::Served;
    let urgent = before.is_some_and(served) && !served(&after);
    let cost = before.map_or(0, size).saturating_add(size(&after));
    Change { stored: after, uid, urgent, cost, kind }
}

/// About how many bytes of journal a definition takes: its texts are escaped there.
fn size(definition: &StoredDefinition) -> u64 {
    let approved = definition.approved.as_ref().map_or(0, |approved| approved.definition.len());
    let offered = definition.offered.as_ref().and_then(|offered| offered.definition.as_ref());
    let texts = approved + offered.map_or(0, String::len);
    1024 + 2 * texts as u64
}

/// Keeps what is remembered of definitions that are gone within its bound.
fn forget_oldest(state: &State, offer: &Offer, changes: &mut Vec<Change>) {
    let mut gone: BTreeMap<String, (u64, StoredDefinition, Uid)> = BTreeMap::new();
    for (object, definition) in stored(state, &offer.server) {
        if let Some(since) = definition.gone_unix_ms {
            gone.insert(definition.object_name(), (since, definition, object.uid));
        }
    }
    for change in changes.iter() {
        let name = change.stored.object_name();
        match change.stored.gone_unix_ms {
            Some(since) if !change.stored.is_empty() => {
                gone.insert(name, (since, change.stored.clone(), change.uid));
            }
            _ => {
                gone.remove(&name);
            }
        }
    }
    let excess = gone.len().saturating_sub(MAX_GONE);
    if excess == 0 {
        return;
    }
    let mut gone: Vec<_> = gone.into_values().collect();
    // A denial is worth more than an approval: without it a rule may approve what a person refused.
    gone.sort_by(|(a, x, _), (b, y, _)| {
        (!x.denied.is_empty(), a, &x.name).cmp(&(!y.denied.is_empty(), b, &y.name))
    });
    for (_, definition, uid) in gone.into_iter().take(excess) {
        let name = definition.object_name();
        let urgent = changes.iter().any(|change| change.urgent && change.stored.object_name() == name);
        changes.retain(|change| change.stored.object_name() != name);
        let stored = StoredDefinition::new(definition.server, definition.kind, definition.name);
        changes.push(Change { stored, uid, urgent, cost: 1024, kind: Kind::Gone });
    }
}

fn observation(state: &State, offer: &Offer, batch: &mut Batch) {
    let name = offer.server.to_string();
    let Ok(body) = serde_json::to_value(&offer.observation) else { return };
    let before = state.get(OBSERVATION, &name);
    if before.is_none_or(|object| object.body != body) {
        let uid = before.map_or_else(|| Uid(uuid::Uuid::new_v4()), |object| object.uid);
        batch.ops.push(Op::Put { kind: OBSERVATION.into(), name: name.into(), uid, body });
    }
}

/// The operation that makes the store hold this definition.
pub(crate) fn write(definition: &StoredDefinition, uid: Uid) -> Option<Op> {
    let name: Arc<str> = definition.object_name().into();
    if definition.is_empty() {
        return Some(Op::Delete { kind: DEFINITION.into(), name });
    }
    let body = serde_json::to_value(definition).ok()?;
    Some(Op::Put { kind: DEFINITION.into(), name, uid, body })
}

/// The stored definitions of one server. What cannot be read is left out: it is served nowhere.
pub(crate) fn stored(state: &State, server: &Uid) -> Vec<(Arc<Object>, StoredDefinition)> {
    let prefix = format!("{server}/");
    state
        .list_prefix(DEFINITION, &prefix)
        .filter_map(|object| Some((Arc::clone(object), StoredDefinition::deserialize(&object.body).ok()?)))
        .collect()
}
