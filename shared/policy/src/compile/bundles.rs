//! Bundles: their members followed, the names of their tools given out, and who has them because of a team.

use std::collections::HashMap;
use std::sync::Arc;

use super::definitions::Names;
use super::model::{Candidate, Offer, Server};
use super::notes::Notes;
use crate::access::Membership;
use crate::bundle::{BadRewrite, Bundle};
use crate::resource::{Name, Uid};
use crate::rule::DefinitionKind;
use crate::snapshot::BundleEntry;

/// What servers offer, by server and by exposed name.
pub(super) struct Offered<'a> {
    pub(super) offers: &'a HashMap<Uid, Arc<Offer>>,
    pub(super) tools: &'a Names,
}

impl Offered<'_> {
    fn tool(&self, server: Uid, name: &str) -> Option<Arc<Candidate>> {
        self.offers.get(&server)?.find_arc(DefinitionKind::Tool, name).cloned()
    }
}

/// Bundles by name.
pub(super) fn bundles(
    entries: Vec<BundleEntry>,
    teams: &HashMap<Name, Option<Name>>,
    servers: &HashMap<Name, Arc<Server>>,
    offered: &Offered<'_>,
    notes: &mut Notes,
) -> HashMap<Name, Arc<Bundle>> {
    let mut bundles: HashMap<Name, Arc<Bundle>> = HashMap::with_capacity(entries.len());
    for entry in entries {
        let label = format!("ToolBundle/{}", entry.name);
        for (at, member) in entry.tools.iter().enumerate() {
            if !servers.contains_key(&member.server) {
                notes.dangling(label.clone(), format!("tools[{at}].server"), "McpServer", &member.server);
            }
        }
        for (at, team) in entry.members.teams.iter().enumerate() {
            if !teams.contains_key(team) {
                notes.dangling(label.clone(), format!("members.teams[{at}]"), "Team", team);
            }
        }
        let uid = entry.uid.to_string();
        let uid_of = |name: &Name| servers.get(name).map(|server| server.uid());
        let (mut bundle, mut wrong) = Bundle::new(entry, uid_of);
        wrong.extend(
            bundle.name_tools(
                |server, name| offered.tool(server, name),
                |name| offered.tools.get(name).cloned(),
            ),
        );
        wrong.into_iter().for_each(|wrong| note(wrong, &label, notes));
        if let Some(other) = bundles.insert(bundle.entry.name.clone(), Arc::new(bundle)) {
            notes.duplicate("bundle names", &other.entry.name, other.entry.uid.to_string(), uid);
        }
    }
    bundles
}

fn note(wrong: BadRewrite, label: &str, notes: &mut Notes) {
    match wrong {
        BadRewrite::Collision(alias, first, second) => {
            let (first, second) = (format!("{first} in {label}"), format!("{second} in {label}"));
            notes.duplicate("names of tools in one bundle", alias, first, second);
        }
        BadRewrite::Alias(alias) => {
            notes.invalid(label.to_owned(), format!("the alias {alias:?} is no valid exposed name"));
        }
        BadRewrite::Twice(tool) => notes.invalid(label.to_owned(), format!("{tool} is rewritten twice")),
    }
}

/// The bundles that the keys of each team have, in the order of their names.
pub(super) fn memberships(bundles: &HashMap<Name, Arc<Bundle>>) -> HashMap<Name, Arc<[Membership]>> {
    let mut by_team: HashMap<&Name, Vec<Membership>> = HashMap::new();
    for bundle in bundles.values() {
        for (at, team) in (0..).zip(&bundle.entry.members.teams) {
            let of = by_team.entry(team).or_default();
            let name = &bundle.entry.name;
            if of.iter().all(|known| known.bundle != *name) {
                of.push(Membership { bundle: name.clone(), at });
            }
        }
    }
    by_team
        .into_iter()
        .map(|(team, mut of)| {
            of.sort_by(|a, b| a.bundle.cmp(&b.bundle));
            (team.clone(), of.into())
        })
        .collect()
}
