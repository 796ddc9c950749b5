//! Rollout policies and defaults of tiers: whom they name is there, and their numbers make sense.

use std::time::Duration;

use super::{FindingsOf, ResourceSet, server};
use crate::resource::{Checks, Kind, Name, RolloutPolicySpec, Tier, TierDefaultsSpec};

/// How many teams, or keys, a stage may name.
const MAX_NAMES: usize = 1_000;
const MIN_WINDOW: Duration = Duration::from_secs(1);
const MAX_WINDOW: Duration = Duration::from_hours(24);

pub(super) fn policy(spec: &RolloutPolicySpec, set: &ResourceSet, of: &mut FindingsOf<'_>) {
    if spec.sandbox.is_none() && spec.limited.is_none() {
        of.add("spec", "a policy has a stage before general: sandbox, limited or both");
    }
    if let Some(stage) = &spec.sandbox {
        checks("spec.sandbox.checks", &stage.checks, of);
    }
    let Some(stage) = &spec.limited else { return };
    checks("spec.limited.checks", &stage.checks, of);
    if stage.teams.is_empty() && stage.keys.is_empty() && stage.percent.is_none() {
        of.add("spec.limited", "it lets nobody in: name teams or keys, or give a percent");
    }
    if stage.percent.is_some_and(|percent| !(1..=100).contains(&percent)) {
        of.add("spec.limited.percent", "it is 1 to 100");
    }
    for (field, kind, names) in [("teams", Kind::Team, &stage.teams), ("keys", Kind::VirtualKey, &stage.keys)]
    {
        let field = format!("spec.limited.{field}");
        if names.len() > MAX_NAMES {
            of.add(&field, format!("a stage names at most {MAX_NAMES}"));
            continue;
        }
        for (at, name) in names.iter().enumerate() {
            of.reference(&format!("{field}[{at}]"), kind, name, set);
        }
    }
}

fn checks(field: &str, checks: &Checks, of: &mut FindingsOf<'_>) {
    if !(MIN_WINDOW..=MAX_WINDOW).contains(&checks.window.0) {
        of.add(&format!("{field}.window"), "it is 1s to 1d");
    }
}

pub(super) fn tier(name: &Name, spec: &TierDefaultsSpec, set: &ResourceSet, of: &mut FindingsOf<'_>) {
    if !Tier::ALL.iter().any(|tier| tier.as_str() == name.as_str()) {
        of.add("metadata.name", "the defaults of a tier have its name: gold, silver or bronze");
    }
    server::limits(&spec.limits, of);
    if let Some(rollout) = &spec.rollout {
        of.reference("spec.rollout.policy", Kind::RolloutPolicy, &rollout.policy, set);
    }
}
