//! What an apply does to the states of servers: a new server gets one, and one that comes under a rollout policy begins at its
//! first stage.

use std::collections::BTreeMap;

use portcullis_policy::check::ResourceSet;
use portcullis_policy::resource::{Kind, McpServerSpec, Name, Spec, Stage, TierDefaultsSpec, Uid};

use super::RegistryError;
use crate::catalog;
use crate::objects::{ServerState, StageReached};
use crate::store::{Op, State};

/// The defaults of a server's tier in a set.
pub(super) fn tier_of<'a>(set: &'a ResourceSet, server: &McpServerSpec) -> Option<&'a TierDefaultsSpec> {
    let name: Name = server.tier.as_str().parse().ok()?;
    match &set.get(Kind::TierDefaults, &name)?.spec {
        Spec::TierDefaults(tier) => Some(tier),
        _ => None,
    }
}

/// The first stage of each server of a set that has a rollout policy, its own or its tier's; none for the others.
pub(super) fn first_stages(set: &ResourceSet) -> BTreeMap<Name, Option<Stage>> {
    let mut stages = BTreeMap::new();
    for resource in set.iter() {
        let Spec::McpServer(server) = &resource.spec else { continue };
        let of_tier = || tier_of(set, server)?.rollout.as_ref();
        let policy = server.rollout.as_ref().or_else(of_tier).and_then(|rollout| {
            match &set.get(Kind::RolloutPolicy, &rollout.policy)?.spec {
                Spec::RolloutPolicy(policy) => Some(policy.first()),
                _ => None,
            }
        });
        stages.insert(resource.name().clone(), policy);
    }
    stages
}

/// The states that begin, or lose their stage, with these operations; and the names of servers that were there and begin a
/// rollout now.
pub(super) fn ops(
    state: &State,
    stages: &BTreeMap<Name, Option<Stage>>,
    applied: &[Op],
    now_unix_ms: u64,
) -> Result<(Vec<Op>, Vec<(Name, Stage)>), RegistryError> {
    let mut made = Vec::new();
    let mut begun = Vec::new();
    let new: BTreeMap<&str, Uid> = applied
        .iter()
        .filter_map(|op| match op {
            Op::Put { kind, name, uid, .. } if &**kind == Kind::McpServer.as_str() => Some((&**name, *uid)),
            _ => None,
        })
        .collect();
    for (name, first) in stages {
        // A name under another uid is another server.
        let placed = new.get(name.as_str()).copied();
        let present = state.get(Kind::McpServer.as_str(), name.as_str()).map(|object| object.uid);
        let present = present.filter(|uid| placed.is_none_or(|placed| placed == *uid));
        let Some(uid) = present.or(placed) else { continue };
        let reached = first.map(|stage| StageReached { stage, since_unix_ms: now_unix_ms, forced: false });
        let after = match (present, ServerState::of(state, &uid)) {
            (None, _) => ServerState { stage: reached, ..ServerState::new(name.clone(), now_unix_ms) },
            (Some(_), kept) if kept.as_ref().is_some_and(|kept| kept.stage.is_some()) == first.is_some() => {
                continue;
            }
            (Some(_), _) => {
                begun.extend(first.map(|stage| (name.clone(), stage)));
                let kept = catalog::server_state(state, &uid, name, now_unix_ms);
                ServerState { stage: reached, ..kept }
            }
        };
        made.push(after.put(uid).map_err(|error| RegistryError::Internal(error.to_string()))?);
    }
    Ok((made, begun))
}
