//! Has the review look at what a report brings that nobody saw yet: once for each definition, not at every probe, and before
//! any transaction, so that the store waits for none of it.

use std::collections::BTreeMap;

use portcullis_policy::resource::{Kind, ToolRules};

use super::definition::{DEFINITION, DefinitionKind, StoredDefinition};
use super::offer::Offer;
use super::{reconcile, server};
use crate::review::{self, Definition, Names};
use crate::store::State;

/// The names of all tools that the servers offer or offered, as they call them and as clients see them.
#[must_use]
pub fn names(state: &State) -> Names {
    let mut names = Names::new();
    for object in state.list(Kind::McpServer.as_str()) {
        let rules = server::rules(state, object).unwrap_or_default();
        let aliases = aliases(&rules);
        let prefix = format!("{}/{}/", object.uid, DefinitionKind::Tool.as_str());
        for definition in state.list_prefix(DEFINITION, &prefix) {
            // The name of the object says it all: thousands of definitions need not be read for it.
            if let Some(tool) = definition.name.strip_prefix(&prefix) {
                add(&mut names, &object.name, tool, &aliases);
            }
        }
    }
    names
}

fn aliases(rules: &ToolRules) -> BTreeMap<&str, &str> {
    rules
        .overrides
        .iter()
        .filter_map(|of_one| Some((of_one.name.as_str(), of_one.alias.as_deref()?)))
        .collect()
}

fn add(names: &mut Names, server: &str, tool: &str, aliases: &BTreeMap<&str, &str>) {
    match aliases.get(tool) {
        Some(alias) => names.add(server, tool, alias),
        None => names.add(server, tool, &format!("{server}_{tool}")),
    }
}

/// Looks at all in this offer that needs it.
pub(super) fn look(state: &State, offer: &mut Offer) {
    let Some(object) = server::by_uid(state, &offer.server) else { return };
    let Some(rules) = server::rules(state, object) else { return };
    let mut names = names(state);
    let aliases = aliases(&rules);
    for (_, name) in offer.definitions.keys().filter(|(kind, _)| *kind == DefinitionKind::Tool) {
        add(&mut names, &object.name, name, &aliases);
    }
    let stored: BTreeMap<_, _> = reconcile::stored(state, &offer.server)
        .into_iter()
        .map(|(_, stored)| ((stored.kind, stored.name.clone()), stored))
        .collect();
    let judges = reconcile::Judges::of(state, object, &rules);
    for ((kind, name), sighting) in &mut offer.definitions {
        let unknown = StoredDefinition::new(offer.server, *kind, name.clone());
        let known = stored.get(&(*kind, name.clone())).unwrap_or(&unknown);
        if judges.need_look(known, sighting) {
            let definition = Definition {
                subject: kind.subject(),
                server: &object.name,
                name,
                offered: &sighting.definition,
                approved: known.approved.as_ref().map(|approved| approved.definition.as_str()),
            };
            sighting.risk = Some(review::risk(&definition, &names));
        }
    }
}
