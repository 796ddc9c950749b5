//! A bundle with its members read: what it holds of each server, and what things are called and say at its endpoint.

use std::collections::HashMap;
use std::sync::Arc;

use crate::chosen::Chosen;
use crate::compile::model::Candidate;
use crate::resource::{Name, ToolRewrite, Uid};
use crate::rule::DefinitionKind;
use crate::snapshot::BundleEntry;

/// A bundle, its members by their servers.
#[derive(Debug)]
pub(crate) struct Bundle {
    pub(crate) entry: BundleEntry,
    held: HashMap<Uid, Held>,
    /// The tools that have a name of their own here.
    aliases: HashMap<Arc<str>, Arc<Candidate>>,
}

/// What a bundle holds of one server.
#[derive(Debug, Default)]
pub(crate) struct Held {
    pub(crate) chosen: Chosen,
    /// By the upstream's name of the tool, with the place of the member that says so.
    rewrites: HashMap<String, (u32, Rewrite)>,
}

/// A rewrite, with its alias in the form that lists share.
#[derive(Debug)]
struct Rewrite {
    alias: Option<Arc<str>>,
    texts: Arc<ToolRewrite>,
}

/// Two tools have one name in a bundle, or a rewrite is of a tool that the bundle does not hold.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum BadRewrite {
    /// The alias, one claimant, and the other.
    Collision(String, String, String),
    /// The alias is no exposed name.
    Alias(String),
    /// The tool has two rewrites.
    Twice(String),
}

impl Bundle {
    /// Reads the members, following their servers by name. One of which nothing can be chosen is left out.
    pub(crate) fn new(entry: BundleEntry, uid_of: impl Fn(&Name) -> Option<Uid>) -> (Self, Vec<BadRewrite>) {
        let mut held: HashMap<Uid, Held> = HashMap::new();
        let mut wrong = Vec::new();
        for (at, member) in (0..).zip(&entry.tools) {
            let Some(uid) = uid_of(&member.server) else { continue };
            let chosen = Chosen::new(at, &member.allow, &member.except, &member.prompts, &member.resources);
            if chosen.is_empty() {
                continue;
            }
            let of = held.entry(uid).or_default();
            of.chosen.append(chosen);
            for rewrite in &member.rewrite {
                let alias: Option<Arc<str>> = rewrite.alias.as_deref().map(Into::into);
                let read = Rewrite { alias, texts: Arc::new(rewrite.clone()) };
                if of.rewrites.insert(rewrite.name.clone(), (at, read)).is_some() {
                    wrong.push(BadRewrite::Twice(format!("{} of {}", rewrite.name, member.server)));
                }
            }
        }
        (Self { entry, held, aliases: HashMap::new() }, wrong)
    }

    /// Gives the tools that have an alias here their names. `find` gives a tool of a server by the upstream's name, `exposed`
    /// by its exposed name.
    pub(crate) fn name_tools(
        &mut self,
        find: impl Fn(Uid, &str) -> Option<Arc<Candidate>>,
        exposed: impl Fn(&str) -> Option<Arc<Candidate>>,
    ) -> Vec<BadRewrite> {
        let mut wrong = Vec::new();
        let mut aliased: Vec<(Arc<str>, Arc<Candidate>)> = self
            .held
            .iter()
            .flat_map(|(server, held)| {
                held.rewrites.values().map(move |(_, rewrite)| (*server, held, rewrite))
            })
            .filter(|(_, held, rewrite)| held.chosen.tool(&rewrite.texts.name).is_some())
            .filter_map(|(server, _, rewrite)| {
                Some((Arc::clone(rewrite.alias.as_ref()?), find(server, &rewrite.texts.name)?))
            })
            .collect();
        // The order of what is found wrong must not depend on that of a hash map.
        aliased.sort_by(|(a, a_tool), (b, b_tool)| (a, &a_tool.name).cmp(&(b, &b_tool.name)));
        for (alias, candidate) in aliased {
            if !crate::exposed::valid_exposed_name(&alias) {
                wrong.push(BadRewrite::Alias(alias.to_string()));
            }
            let other = exposed(&alias).filter(|other| {
                !Arc::ptr_eq(other, &candidate) && self.member(other).is_some() && self.alias(other).is_none()
            });
            let label = candidate.label();
            let claimed = self.aliases.insert(Arc::clone(&alias), candidate);
            if let Some(other) = claimed.or(other) {
                wrong.push(BadRewrite::Collision(alias.to_string(), other.label(), label));
            }
        }
        wrong
    }

    /// What it holds of a server.
    pub(crate) fn of(&self, server: Uid) -> Option<&Held> {
        self.held.get(&server)
    }

    /// Of how many servers it holds anything.
    pub(crate) fn size(&self) -> usize {
        self.held.len()
    }

    /// What it holds, by server, in no order.
    pub(crate) fn servers(&self) -> impl Iterator<Item = (Uid, &Chosen)> {
        self.held.iter().map(|(uid, held)| (*uid, &held.chosen))
    }

    /// The place of the first member that holds a tool or a prompt.
    pub(crate) fn member(&self, candidate: &Candidate) -> Option<u32> {
        let chosen = &self.held.get(&candidate.server.uid())?.chosen;
        match candidate.kind {
            DefinitionKind::Tool => chosen.tool(&candidate.name),
            DefinitionKind::Prompt => chosen.prompt(&candidate.name),
        }
    }

    /// What something is called at the bundle's endpoint; `None` where it has no valid name.
    pub(crate) fn name<'a>(&'a self, candidate: &'a Candidate) -> Option<&'a Arc<str>> {
        self.alias(candidate).or(candidate.exposed.as_ref())
    }

    /// The name of its own that something has here.
    pub(crate) fn alias(&self, candidate: &Candidate) -> Option<&Arc<str>> {
        self.rewrite(candidate).and_then(|(_, rewrite)| rewrite.alias.as_ref())
    }

    /// Whether something has a name of its own here, and its exposed one is none. A bundle without aliases looks nothing up.
    pub(crate) fn hides(&self, candidate: &Candidate) -> bool {
        !self.aliases.is_empty() && self.alias(candidate).is_some()
    }

    /// What a tool says here instead of its own words.
    pub(crate) fn texts(&self, candidate: &Candidate) -> Option<&Arc<ToolRewrite>> {
        self.rewrite(candidate).map(|(_, rewrite)| &rewrite.texts)
    }

    fn rewrite(&self, candidate: &Candidate) -> Option<&(u32, Rewrite)> {
        if candidate.kind != DefinitionKind::Tool {
            return None;
        }
        self.held.get(&candidate.server.uid())?.rewrites.get(&*candidate.name)
    }

    /// What has an alias as its name here.
    pub(crate) fn aliased(&self, kind: DefinitionKind, name: &str) -> Option<&Candidate> {
        if kind != DefinitionKind::Tool {
            return None;
        }
        self.aliases.get(name).map(|found| &**found)
    }
}

#[cfg(test)]
mod tests;
