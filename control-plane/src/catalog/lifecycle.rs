//! How a server comes from `discovered` to `approved`: by answering, and by what is decided of what it offers.
//!
//! Pure, like what changes definitions: it is asked with the state and with what is about to change, and gives the operation.

use std::collections::BTreeMap;

use portcullis_policy::resource::{Name, Uid};

use super::definition::{DefinitionKind, StoredDefinition};
use super::observation::OBSERVATION;
use super::{reconcile, server};
use crate::objects::{Lifecycle, ServerState};
use crate::store::{Op, State};

/// Where a server is: as it is kept, or as what is stored of it says.
#[must_use]
pub fn lifecycle(state: &State, uid: &Uid) -> Lifecycle {
    ServerState::of(state, uid).map_or_else(|| decided(state, uid), |kept| kept.lifecycle)
}

/// Where a server would be by what was decided of it, whoever stopped it since.
#[must_use]
pub fn decided(state: &State, uid: &Uid) -> Lifecycle {
    judge(state, uid, state.get(OBSERVATION, &uid.to_string()).is_some(), &[])
}

/// The state that is kept of a server, or the one to keep of a server that was registered before states were.
#[must_use]
pub fn server_state(state: &State, uid: &Uid, name: &Name, now_unix_ms: u64) -> ServerState {
    ServerState::of(state, uid).unwrap_or_else(|| ServerState {
        lifecycle: decided(state, uid),
        ..ServerState::new(name.clone(), now_unix_ms)
    })
}

/// The move that a change of definitions makes, if any. `whole` is false where some of what the server offers waits for a
/// later transaction.
pub(crate) fn advance(
    state: &State,
    uid: &Uid,
    changed: &[&StoredDefinition],
    whole: bool,
    now_unix_ms: u64,
) -> Option<Op> {
    let name: Name = server::by_uid(state, uid)?.name.parse().ok()?;
    let mut kept = server_state(state, uid, &name, now_unix_ms);
    if !matches!(kept.lifecycle, Lifecycle::Discovered | Lifecycle::Pending) {
        return None;
    }
    let next = judge(state, uid, true, changed);
    let next = if whole { next } else { next.min(Lifecycle::Pending) };
    (next > kept.lifecycle && kept.go(next, now_unix_ms)).then(|| kept.put(*uid).ok()).flatten()
}

fn judge(state: &State, uid: &Uid, answered: bool, changed: &[&StoredDefinition]) -> Lifecycle {
    if !answered {
        return Lifecycle::Discovered;
    }
    let Some(rules) = server::by_uid(state, uid).and_then(|object| server::rules(state, object)) else {
        return Lifecycle::Pending;
    };
    let stored: Vec<_> = reconcile::stored(state, uid).into_iter().map(|(_, stored)| stored).collect();
    let mut after: BTreeMap<(DefinitionKind, &str), &StoredDefinition> =
        stored.iter().map(|stored| ((stored.kind, stored.name.as_str()), stored)).collect();
    after.extend(changed.iter().map(|stored| ((stored.kind, stored.name.as_str()), *stored)));
    let open = after.values().any(|stored| {
        let refused = stored.kind == DefinitionKind::Identity && stored.approved.is_none();
        stored.waits(&rules) || refused
    });
    if open { Lifecycle::Pending } else { Lifecycle::Approved }
}
