//! What an apply does to the states of servers: a new server gets one, and one that comes under a rollout policy begins at its
//! first stage.

use std::collections::BTreeMap;

use portcullis_policy::check::ResourceSet;
use portcullis_policy::resource::{Kind, McpServerSpec, Name, Spec, Stage, TierDefaultsSpec, Uid};

use super::{ChangeKind, RegistryError, ResourceChange, history};
use crate::catalog;
use crate::objects::{Lifecycle, ServerState, StageReached};
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

/// The states of servers that a change brings with it.
#[derive(Debug, Default)]
pub(super) struct Moved {
    /// What is to be kept, by the servers' uids.
    states: BTreeMap<Uid, ServerState>,
    /// Servers that were there and begin a rollout now.
    pub(super) begun: Vec<(Name, Stage)>,
}

/// What begins, or loses its stage, with these operations. `stages` are those of the set that results.
pub(super) fn moved(
    state: &State,
    stages: &BTreeMap<Name, Option<Stage>>,
    applied: &[Op],
    now_unix_ms: u64,
) -> Moved {
    let mut moved = Moved::default();
    for (name, uid, stays) in servers(state, stages, applied) {
        let first = stages.get(name).copied().flatten();
        let reached = first.map(|stage| reached(stage, now_unix_ms));
        let after = if stays {
            let kept = ServerState::of(state, &uid);
            if kept.as_ref().is_some_and(|kept| kept.stage.is_some()) == first.is_some() {
                continue;
            }
            moved.begun.extend(first.map(|stage| (name.clone(), stage)));
            ServerState { stage: reached, ..catalog::server_state(state, &uid, name, now_unix_ms) }
        } else {
            ServerState { stage: reached, ..ServerState::new(name.clone(), now_unix_ms) }
        };
        moved.states.insert(uid, after);
    }
    moved
}

/// A stage that is reached now, as its policy says.
const fn reached(stage: Stage, now_unix_ms: u64) -> StageReached {
    StageReached { stage, since_unix_ms: now_unix_ms, forced: false }
}

/// The servers of the set that results, each with its uid, and whether it is there already. A name under another uid is another
/// server.
fn servers<'a>(
    state: &'a State,
    stages: &'a BTreeMap<Name, Option<Stage>>,
    applied: &'a [Op],
) -> impl Iterator<Item = (&'a Name, Uid, bool)> {
    let placed: BTreeMap<&str, Uid> = applied
        .iter()
        .filter_map(|op| match op {
            Op::Put { kind, name, uid, .. } if &**kind == Kind::McpServer.as_str() => Some((&**name, *uid)),
            _ => None,
        })
        .collect();
    stages.keys().filter_map(move |name| {
        let placed = placed.get(name.as_str()).copied();
        let present = state.get(Kind::McpServer.as_str(), name.as_str()).map(|object| object.uid);
        let present = present.filter(|uid| placed.is_none_or(|placed| placed == *uid));
        present.map(|uid| (name, uid, true)).or_else(|| Some((name, placed?, false)))
    })
}

impl Moved {
    /// Closes again, on the way back, what was opened since: a server is no wider open than it was then, nor than it is now.
    /// `then` knows the state of a server by its uid, or of the one that had its name.
    pub(super) fn close_again(
        &mut self,
        state: &State,
        stages: &BTreeMap<Name, Option<Stage>>,
        applied: &[Op],
        then: impl Fn(&Uid, &Name) -> Option<ServerState>,
        now_unix_ms: u64,
    ) {
        for (name, uid, stays) in servers(state, stages, applied) {
            let Some(then) = then(&uid, name).filter(|_| stays) else { continue };
            let kept = catalog::server_state(state, &uid, name, now_unix_ms);
            let stage_of =
                |of: &ServerState| of.stage.as_ref().map_or(Stage::General, |reached| reached.stage);
            let mut after = self.states.get(&uid).unwrap_or(&kept).clone();
            let narrower = stage_of(&then).min(stage_of(&kept));
            if stages.get(name).copied().flatten().is_some() && stage_of(&after) != narrower {
                after.stage = Some(reached(narrower, now_unix_ms));
            }
            if then.lifecycle.is_closed() && !after.lifecycle.is_closed() {
                after.go(Lifecycle::Suspended, now_unix_ms);
            }
            if after != kept {
                self.states.insert(uid, after);
            }
        }
    }

    /// How far servers that stay come, each with what it is before and after.
    pub(super) fn changes(&self, state: &State) -> Vec<ResourceChange> {
        let told = |(uid, after): (&Uid, &ServerState)| {
            let before = ServerState::of(state, uid)?;
            let [before, after_json] = [&before, after].map(|state| serde_json::to_value(state).ok());
            let fields = history::state_fields(before.as_ref(), after_json.as_ref());
            (!fields.is_empty()).then(|| ResourceChange {
                change: ChangeKind::Changed,
                kind: Kind::McpServer.as_str().to_owned(),
                name: after.server.as_str().to_owned(),
                uid: Some(*uid),
                fields,
            })
        };
        self.states.iter().filter_map(told).collect()
    }

    /// The steps that keep it.
    pub(super) fn ops(&self) -> Result<Vec<Op>, RegistryError> {
        let put = |(uid, state): (&Uid, &ServerState)| state.put(*uid);
        let ops: Result<Vec<Op>, _> = self.states.iter().map(put).collect();
        ops.map_err(|error| RegistryError::Internal(error.to_string()))
    }
}
