//! Who has a bundle because of a team, told wherever it comes to be so: nothing is granted silently.

use std::collections::BTreeMap;

use super::{FindingsOf, ResourceSet, warn};
use crate::resource::{Name, Spec, ToolBundleSpec, VirtualKeySpec};

/// So many keys are named in one sentence.
const MAX_NAMES: usize = 10;

/// Bundles and keys by team.
#[derive(Debug, Default)]
pub(super) struct Teams<'a> {
    /// The bundle, what it says, and the place of the team in it.
    bundles: BTreeMap<&'a Name, Vec<(&'a Name, &'a ToolBundleSpec, usize)>>,
    /// Of teams that have a bundle: how many keys, and the first of their names.
    keys: BTreeMap<&'a Name, (usize, Vec<&'a str>)>,
}

impl<'a> Teams<'a> {
    pub(super) fn of(set: &'a ResourceSet) -> Self {
        let mut teams = Self::default();
        for resource in set.iter() {
            if let Spec::ToolBundle(spec) = &resource.spec {
                for (at, team) in spec.members.teams.iter().enumerate() {
                    teams.bundles.entry(team).or_default().push((resource.name(), spec, at));
                }
            }
        }
        if teams.bundles.is_empty() {
            return teams;
        }
        for resource in set.iter() {
            if let Spec::VirtualKey(spec) = &resource.spec
                && let Some(team) = spec.team.as_ref().filter(|team| teams.bundles.contains_key(team))
            {
                let (count, names) = teams.keys.entry(team).or_default();
                *count += 1;
                if names.len() < MAX_NAMES {
                    names.push(resource.name().as_str());
                }
            }
        }
        teams
    }

    /// Which keys have a bundle because of their team.
    pub(super) fn bundle(&self, spec: &ToolBundleSpec, of: &mut FindingsOf<'_>) {
        for (at, team) in spec.members.teams.iter().enumerate() {
            let now = match self.keys.get(team) {
                None => "none now".to_owned(),
                Some((count, names)) => {
                    let more = if *count > names.len() { ", …" } else { "" };
                    format!("{count} now ({}{more})", names.join(", "))
                }
            };
            let message =
                format!("every key of team {team} has this bundle without a grant that names it: {now}");
            of.add(&format!("spec.members.teams[{at}]"), message);
        }
    }

    /// Which bundles a key has because of its team.
    pub(super) fn key(&self, spec: &VirtualKeySpec, set: &ResourceSet, of: &mut FindingsOf<'_>) {
        let Some(team) = &spec.team else { return };
        for (bundle, held, at) in self.bundles.get(team).into_iter().flatten() {
            let message = format!(
                "as a key of team {team} it has ToolBundle/{bundle} without a grant that names it \
                 (spec.members.teams[{at}])"
            );
            of.add("spec.team", message);
            warn::crossings("spec.team", &spec.zone, held, set, of);
        }
    }
}
