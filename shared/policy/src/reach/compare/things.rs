//! Numbers for what can be reached, the same in both snapshots: millions of comparisons are then comparisons of numbers.

use std::collections::HashMap;
use std::sync::Arc;

use crate::Reason;
use crate::compile::Snapshot;
use crate::reach::{ReachKind, Thing};
use crate::resource::{Name, Uid};
use crate::rule::Rule;

/// Of each server the numbers of its tools and then of its prompts, in the order of its offer.
pub(super) type Numbers = HashMap<Uid, Vec<u32>>;

/// Things by number, and back.
#[derive(Default)]
pub(super) struct Things {
    things: Vec<Thing>,
    numbers: HashMap<Name, HashMap<(ReachKind, Arc<str>), u32>>,
    /// The rule behind a loss: it follows from the thing and the reason.
    rules: HashMap<(u32, Reason), Option<Rule>>,
}

impl Things {
    /// Numbers everything that the servers of a snapshot offer.
    pub(super) fn number(&mut self, snapshot: &Snapshot) -> Numbers {
        let mut numbers = Numbers::new();
        for offer in snapshot.offers() {
            let candidates = offer.tools.iter().chain(&offer.prompts);
            let of_one = candidates.map(|candidate| self.of(Thing::of(candidate))).collect();
            numbers.insert(offer.server.uid(), of_one);
        }
        numbers
    }

    /// The number of a pattern of resources.
    pub(super) fn resources(&mut self, server: &Name, pattern: &str) -> u32 {
        let name: Arc<str> = pattern.into();
        self.of(Thing { kind: ReachKind::Resources, server: server.clone(), name, exposed: None })
    }

    fn of(&mut self, thing: Thing) -> u32 {
        let next = u32::try_from(self.things.len()).unwrap_or(u32::MAX);
        let of_server = match self.numbers.get_mut(&thing.server) {
            Some(of_server) => of_server,
            None => self.numbers.entry(thing.server.clone()).or_default(),
        };
        let number = *of_server.entry((thing.kind, Arc::clone(&thing.name))).or_insert(next);
        if number == next {
            self.things.push(thing);
        } else if let Some(known) = self.things.get_mut(number as usize) {
            // The later snapshot's name at `/mcp` is the one that is told.
            known.exposed = thing.exposed.or_else(|| known.exposed.take());
        }
        number
    }

    /// A thing by its number.
    pub(super) fn get(&self, number: u32) -> Option<&Thing> {
        self.things.get(number as usize)
    }

    /// Keeps the rule behind a loss.
    pub(super) fn lost(&mut self, number: u32, reason: Reason, rule: Option<Rule>) {
        self.rules.entry((number, reason)).or_insert(rule);
    }

    /// The rule behind a loss, where it is not one of a key's own.
    pub(super) fn rule(&self, number: u32, reason: Reason) -> Option<Rule> {
        self.rules.get(&(number, reason)).cloned().flatten()
    }
}
