//! How far a server has come: its lifecycle and the stage of its rollout, which people and probes move and nobody applies.

use portcullis_policy::resource::{Name, RolloutPolicySpec, Stage, Uid};
use portcullis_policy::snapshot::Opening;
use serde::{Deserialize, Serialize};

use crate::store::{Object, Op, State};

/// The kind of the objects that hold a [`ServerState`]; their name is the server's uid.
pub const SERVER_STATE: &str = "ServerState";

/// Where a server is in its life.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Lifecycle {
    /// Registered; it never answered.
    Discovered,
    /// It answered; its identity or its first definitions wait for somebody.
    Pending,
    /// They were decided. What it offers later waits on its own.
    Approved,
    /// Somebody stopped it: nothing of it may be used.
    Suspended,
    /// It ended: nothing of it may be used again. A new resource of the name is another server.
    Retired,
}

/// Who may go where: every move that there is. A state is left by what is written here, or not at all.
const MOVES: &[(Lifecycle, &[Lifecycle])] = &[
    (
        Lifecycle::Discovered,
        &[Lifecycle::Pending, Lifecycle::Approved, Lifecycle::Suspended, Lifecycle::Retired],
    ),
    (Lifecycle::Pending, &[Lifecycle::Approved, Lifecycle::Suspended, Lifecycle::Retired]),
    (Lifecycle::Approved, &[Lifecycle::Suspended, Lifecycle::Retired]),
    // Back to where it would be by what was decided meanwhile.
    (
        Lifecycle::Suspended,
        &[Lifecycle::Discovered, Lifecycle::Pending, Lifecycle::Approved, Lifecycle::Retired],
    ),
    (Lifecycle::Retired, &[]),
];

impl Lifecycle {
    /// The state as the API spells it.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Discovered => "discovered",
            Self::Pending => "pending",
            Self::Approved => "approved",
            Self::Suspended => "suspended",
            Self::Retired => "retired",
        }
    }

    /// Whether a server in this state may go to that one.
    #[must_use]
    pub fn may_become(self, next: Self) -> bool {
        MOVES.iter().any(|(from, to)| *from == self && to.contains(&next))
    }

    /// Whether nothing of the server may be used.
    #[must_use]
    pub const fn is_closed(self) -> bool {
        matches!(self, Self::Suspended | Self::Retired)
    }
}

/// The stage that a server has reached.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, rename_all = "camelCase")]
pub struct StageReached {
    /// Which.
    pub stage: Stage,
    /// Since when, milliseconds since the Unix epoch.
    pub since_unix_ms: u64,
    /// Whether it was reached although checks failed.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub forced: bool,
}

/// The body of a `ServerState` object.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, rename_all = "camelCase")]
pub struct ServerState {
    /// The server's name, for history.
    pub server: Name,
    /// Where it is in its life.
    pub lifecycle: Lifecycle,
    /// Since when, milliseconds since the Unix epoch.
    pub since_unix_ms: u64,
    /// The stage of its rollout; absent where it has none.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub stage: Option<StageReached>,
}

impl ServerState {
    /// A server that was just registered.
    #[must_use]
    pub const fn new(server: Name, now_unix_ms: u64) -> Self {
        Self { server, lifecycle: Lifecycle::Discovered, since_unix_ms: now_unix_ms, stage: None }
    }

    /// Reads it from its object.
    ///
    /// # Errors
    /// When the body is something else: a damaged store.
    pub fn from_object(object: &Object) -> Result<Self, serde_json::Error> {
        Self::deserialize(&object.body)
    }

    /// The state of a server that is kept; none of one that was registered before states were.
    #[must_use]
    pub fn of(state: &State, server: &Uid) -> Option<Self> {
        Self::from_object(state.get(SERVER_STATE, &server.to_string())?).ok()
    }

    /// Goes to another state, if [`MOVES`] says that it may; whether it did.
    pub fn go(&mut self, next: Lifecycle, now_unix_ms: u64) -> bool {
        let may = self.lifecycle.may_become(next);
        if may {
            self.lifecycle = next;
            self.since_unix_ms = now_unix_ms;
        }
        may
    }

    /// The stage that counts under a policy: the one reached, or the policy's first.
    #[must_use]
    pub fn stage_under(&self, policy: Option<&RolloutPolicySpec>) -> Stage {
        policy.map_or(Stage::General, |policy| {
            self.stage.as_ref().map_or_else(|| policy.first(), |reached| reached.stage)
        })
    }

    /// For whom the server is open.
    #[must_use]
    pub fn opening(&self, policy: Option<&RolloutPolicySpec>) -> Opening {
        match (self.lifecycle, self.stage_under(policy)) {
            (Lifecycle::Suspended, _) => Opening::Suspended,
            (Lifecycle::Retired, _) => Opening::Retired,
            (_, Stage::General) => Opening::General,
            (_, Stage::Sandbox) => Opening::Sandbox,
            (_, Stage::Limited) => {
                let limited = policy.and_then(|policy| policy.limited.clone()).unwrap_or_default();
                Opening::Limited { teams: limited.teams, keys: limited.keys, percent: limited.percent }
            }
        }
    }

    /// The step that keeps it.
    ///
    /// # Errors
    /// Never in practice: nothing in it fails to serialise.
    pub fn put(&self, server: Uid) -> Result<Op, serde_json::Error> {
        Ok(Op::Put {
            kind: SERVER_STATE.into(),
            name: server.to_string().into(),
            uid: server,
            body: serde_json::to_value(self)?,
        })
    }
}

#[cfg(test)]
mod tests {
    use Lifecycle::{Approved, Discovered, Pending, Retired, Suspended};

    use super::*;

    const ALL: [Lifecycle; 5] = [Discovered, Pending, Approved, Suspended, Retired];

    #[test]
    fn every_move_is_in_the_table_and_retirement_is_for_good() {
        let moves = |from: Lifecycle| ALL.into_iter().filter(|to| from.may_become(*to)).collect::<Vec<_>>();
        assert_eq!(moves(Discovered), [Pending, Approved, Suspended, Retired]);
        assert_eq!(moves(Pending), [Approved, Suspended, Retired]);
        assert_eq!(moves(Approved), [Suspended, Retired]);
        assert_eq!(moves(Suspended), [Discovered, Pending, Approved, Retired]);
        assert_eq!(moves(Retired), []);
    }

    #[test]
    fn a_move_that_is_not_in_the_table_changes_nothing() {
        let mut state = ServerState::new("crm".parse().unwrap(), 1);
        assert!(state.go(Retired, 2) && !state.go(Approved, 3) && !state.go(Retired, 4));
        assert_eq!((state.lifecycle, state.since_unix_ms), (Retired, 2));
    }

    #[test]
    fn a_server_is_open_as_its_life_and_its_stage_say_and_closed_where_a_stage_has_no_meaning() {
        let policy: RolloutPolicySpec =
            serde_json::from_value(serde_json::json!({ "sandbox": {}, "limited": { "percent": 5 } }))
                .unwrap();
        let mut state = ServerState::new("crm".parse().unwrap(), 1);
        assert_eq!(state.opening(None), Opening::General);
        assert_eq!(state.opening(Some(&policy)), Opening::Sandbox);
        let reached = |stage| Some(StageReached { stage, since_unix_ms: 1, forced: false });
        state.stage = reached(Stage::Limited);
        let limited = |percent| Opening::Limited { teams: Vec::new(), keys: Vec::new(), percent };
        assert_eq!(state.opening(Some(&policy)), limited(Some(5)));
        let without = RolloutPolicySpec { limited: None, ..policy.clone() };
        assert_eq!(state.opening(Some(&without)), limited(None), "nobody beside sandbox keys");
        state.stage = reached(Stage::General);
        assert_eq!(state.opening(Some(&policy)), Opening::General);
        state.go(Suspended, 2);
        assert_eq!(state.opening(None), Opening::Suspended);
    }
}
