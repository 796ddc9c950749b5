//! Bundles: what they hold is there, what they call it is a name that nothing else has there, and who has them is known.

use std::collections::{BTreeMap, BTreeSet};

use super::{FindingsOf, ResourceSet, text};
use crate::chosen::Selection;
use crate::exposed::valid_exposed_name;
use crate::resource::{BundleMember, Kind, Name, Spec, ToolBundleSpec, ToolRewrite};

/// How many members a bundle may have, and how many teams may have it.
const MAX_MEMBERS: usize = 1_000;
/// How many tools one member may rewrite.
const MAX_REWRITES: usize = 1_000;
/// The longest description, in characters.
const MAX_DESCRIPTION: usize = 8_192;

pub(super) fn check(spec: &ToolBundleSpec, set: &ResourceSet, of: &mut FindingsOf<'_>) {
    if spec.tools.len() > MAX_MEMBERS {
        of.add("spec.tools", format!("a bundle has at most {MAX_MEMBERS} members"));
        return;
    }
    for (at, member) in spec.tools.iter().enumerate() {
        let field = format!("spec.tools[{at}]");
        of.reference(&format!("{field}.server"), Kind::McpServer, &member.server, set);
        text::patterns(&format!("{field}.allow"), &member.allow, of);
        text::patterns(&format!("{field}.except"), &member.except, of);
        text::patterns(&format!("{field}.prompts"), &member.prompts, of);
        text::patterns(&format!("{field}.resources"), &member.resources, of);
        if member.rewrite.len() > MAX_REWRITES {
            of.add(&format!("{field}.rewrite"), format!("a member rewrites at most {MAX_REWRITES} tools"));
            return;
        }
        rewrites(&field, member, of);
    }
    names(spec, set, of);
    teams(&spec.members.teams, set, of);
}

fn teams(teams: &[Name], set: &ResourceSet, of: &mut FindingsOf<'_>) {
    if teams.len() > MAX_MEMBERS {
        of.add("spec.members.teams", format!("a bundle names at most {MAX_MEMBERS} teams"));
        return;
    }
    let mut seen = BTreeSet::new();
    for (at, team) in teams.iter().enumerate() {
        let field = format!("spec.members.teams[{at}]");
        of.reference(&field, Kind::Team, team, set);
        if !seen.insert(team) {
            of.add(&field, format!("{team} is named twice"));
        }
    }
}

/// Each rewrite says something, in words that can be shown, of a tool that its member holds.
fn rewrites(field: &str, member: &BundleMember, of: &mut FindingsOf<'_>) {
    let held = Selection::new(&member.allow, &member.except);
    for (at, ToolRewrite { name, alias, title, description }) in member.rewrite.iter().enumerate() {
        let field = format!("{field}.rewrite[{at}]");
        if !held.matches(name) {
            of.add(
                &format!("{field}.name"),
                format!(
                    "this member does not hold the tool {:?}: name one that allow matches, by the upstream's name",
                    name.chars().take(80).collect::<String>()
                ),
            );
        }
        if alias.is_none() && title.is_none() && description.is_none() {
            of.add(&field, "it rewrites nothing: give an alias, a title or a description, or leave it out");
        }
        if let Some(alias) = alias.as_ref().filter(|alias| !valid_exposed_name(alias)) {
            of.add(
                &format!("{field}.alias"),
                format!(
                    "{:?} is no exposed name: 1 to 64 of a-z, A-Z, 0-9, _ and -",
                    alias.chars().take(80).collect::<String>()
                ),
            );
        }
        if title.as_ref().is_some_and(|title| !text::short(title, 1, 256)) {
            of.add(&format!("{field}.title"), "a title has 1 to 256 characters and no control characters");
        }
        let lines = |text: &String| text.replace(['\n', '\t'], " ");
        if description.as_ref().is_some_and(|text| !text::short(&lines(text), 1, MAX_DESCRIPTION)) {
            of.add(
                &format!("{field}.description"),
                format!(
                    "a description has 1 to {MAX_DESCRIPTION} characters and no control characters but line ends and tabs"
                ),
            );
        }
    }
}

/// Who claims a name: the server, its tool, and the words that say where.
type Claim<'a> = (&'a Name, &'a str, String);

/// No two tools of a bundle have one name there, now or once a server offers more: what is not renamed is called by the alias
/// that its server's overrides give it, or by a name that begins with its server's.
fn names(spec: &ToolBundleSpec, set: &ResourceSet, of: &mut FindingsOf<'_>) {
    let mut rewritten: BTreeMap<(&Name, &str), String> = BTreeMap::new();
    let mut claims: BTreeMap<&str, Claim<'_>> = BTreeMap::new();
    let mut renamed: BTreeSet<(&Name, &str)> = BTreeSet::new();
    for (place, member) in spec.tools.iter().enumerate() {
        for (at, rewrite) in member.rewrite.iter().enumerate() {
            let field = format!("spec.tools[{place}].rewrite[{at}]");
            let tool = (&member.server, rewrite.name.as_str());
            if let Some(first) = rewritten.get(&tool) {
                let message = format!("{} of {} is rewritten by {first} too", rewrite.name, member.server);
                of.add(&format!("{field}.name"), message);
                continue;
            }
            rewritten.insert(tool, field.clone());
            let Some(alias) = rewrite.alias.as_deref().filter(|alias| valid_exposed_name(alias)) else {
                continue;
            };
            renamed.insert(tool);
            let field = format!("{field}.alias");
            if let Some((_, _, first)) = claims.get(alias) {
                of.add(&field, format!("{alias} is the alias of {first} too: names are unique in a bundle"));
            } else {
                claims.insert(alias, (tool.0, tool.1, field.clone()));
            }
            let before = alias.split_once('_').map(|(before, _)| before);
            if let Some(owner) =
                spec.tools.iter().map(|m| &m.server).find(|name| Some(name.as_str()) == before)
            {
                let message = format!(
                    "{alias} begins with {owner}_, as the names of the tools of {owner} in this bundle do: \
                     choose another alias"
                );
                of.add(&field, message);
            }
        }
    }
    if claims.is_empty() {
        return;
    }
    for member in &spec.tools {
        let Some(Spec::McpServer(server)) = set.get(Kind::McpServer, &member.server).map(|r| &r.spec) else {
            continue;
        };
        let held = Selection::new(&member.allow, &member.except);
        for rule in &server.tools.overrides {
            let tool = (&member.server, rule.name.as_str());
            let claim = rule.alias.as_deref().and_then(|alias| claims.get_key_value(alias));
            let Some((alias, (owner, name, field))) = claim else { continue };
            if (*owner, *name) != tool && held.matches(&rule.name) && !renamed.contains(&tool) {
                let message = format!(
                    "{alias} is what McpServer/{} calls its {} by spec.tools.overrides, and this bundle holds that \
                     too: choose another alias",
                    member.server, rule.name
                );
                of.add(field, message);
            }
        }
    }
}

#[cfg(test)]
mod tests;
