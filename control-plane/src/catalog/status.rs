//! How each server is doing, for `get` and `describe`: in memory only, since a probe makes it again within a minute. The
//! same board keeps what each server may still write, so that one that changes with every probe cannot fill the disk.

use std::collections::{HashMap, HashSet};
use std::sync::{Mutex, MutexGuard, PoisonError};

use portcullis_policy::resource::{Kind, Uid};
use portcullis_proto::config::v1::ServerUse;
use serde::{Deserialize as _, Serialize};
use serde_json::{Value, json};

use super::definition::{DefinitionKind, Standing};
use super::observation::{OBSERVATION, Observation};
use super::offer::Problems;
use super::{reconcile, server};
use crate::clock::rfc3339;
use crate::store::State;

/// What one server may write at once, in bytes of journal.
pub(super) const ALLOWANCE_BYTES: u64 = 64 << 20;
/// What it regains, in bytes a second: about 350 MB a day at the very most.
const REGAINED_PER_SECOND: u64 = 4 << 10;
/// The longest error that is kept, in characters.
const MAX_ERROR: usize = 1_000;

/// Whether a server answers.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum Health {
    /// Nobody probed it since this control plane started.
    #[default]
    Unknown,
    /// It answered the last probe.
    Up,
    /// It did not.
    Down,
}

/// How one server is doing.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct ServerStatus {
    /// Whether it answers.
    pub health: Health,
    /// What went wrong at the last probe; absent when nothing did.
    pub last_error: Option<String>,
    /// When it was probed last, milliseconds since the Unix epoch.
    pub last_probe_unix_ms: Option<u64>,
    /// The data plane that probed it last.
    pub probed_by: Option<String>,
    /// How long the last good probe took, in microseconds.
    pub took_micros: Option<u64>,
    /// How many tools it listed, refused ones too.
    pub listed_tools: usize,
    /// How many prompts it listed, refused ones too.
    pub listed_prompts: usize,
    /// What was refused of what it listed, and why.
    pub problems: Problems,
    /// When it was called last through any plane, milliseconds since the Unix epoch; none when no plane told of a call since
    /// this control plane and that plane started.
    pub last_use_unix_ms: Option<u64>,
}

#[derive(Debug, Default)]
struct Line {
    status: ServerStatus,
    spent: u64,
    spent_unix_ms: u64,
}

impl Line {
    fn spent(&self, now_unix_ms: u64) -> u64 {
        let regained = now_unix_ms.saturating_sub(self.spent_unix_ms) / 1000 * REGAINED_PER_SECOND;
        self.spent.saturating_sub(regained)
    }
}

/// One line for each server.
#[derive(Debug)]
pub(super) struct Board {
    allowance_bytes: u64,
    lines: Mutex<HashMap<Uid, Line>>,
}

impl Board {
    pub(super) fn new(allowance_bytes: u64) -> Self {
        Self { allowance_bytes, lines: Mutex::default() }
    }

    fn lines(&self) -> MutexGuard<'_, HashMap<Uid, Line>> {
        self.lines.lock().unwrap_or_else(PoisonError::into_inner)
    }

    pub(super) fn get(&self, uid: &Uid) -> Option<ServerStatus> {
        self.lines().get(uid).map(|line| line.status.clone())
    }

    pub(super) fn down(&self, uid: Uid, plane: &str, now_unix_ms: u64, error: &str) {
        let mut lines = self.lines();
        let status = &mut lines.entry(uid).or_default().status;
        status.health = Health::Down;
        status.last_error = Some(error.chars().take(MAX_ERROR).collect());
        status.last_probe_unix_ms = Some(now_unix_ms);
        status.probed_by = Some(plane.to_owned());
    }

    pub(super) fn up(
        &self,
        uid: Uid,
        plane: &str,
        now_unix_ms: u64,
        took_micros: u64,
        (listed_tools, listed_prompts): (usize, usize),
        problems: Problems,
    ) {
        let mut lines = self.lines();
        let status = &mut lines.entry(uid).or_default().status;
        *status = ServerStatus {
            last_use_unix_ms: status.last_use_unix_ms,
            health: Health::Up,
            last_error: None,
            last_probe_unix_ms: Some(now_unix_ms),
            probed_by: Some(plane.to_owned()),
            took_micros: Some(took_micros),
            listed_tools,
            listed_prompts,
            problems,
        };
    }

    /// Notes uses of servers that there are. A plane whose clock is ahead does not see into the future.
    pub(super) fn used(&self, state: &State, uses: &[ServerUse], now_unix_ms: u64) {
        if uses.is_empty() {
            return;
        }
        let there: HashSet<Uid> = state.list(Kind::McpServer.as_str()).map(|object| object.uid).collect();
        let mut lines = self.lines();
        for one in uses {
            let Some(uid) = one.server_uid.parse().ok().filter(|uid| there.contains(uid)) else { continue };
            let status = &mut lines.entry(uid).or_default().status;
            let told = one.last_call_unix_ms.min(now_unix_ms);
            status.last_use_unix_ms = status.last_use_unix_ms.max(Some(told));
        }
    }

    /// How many bytes of journal a server may write now.
    pub(super) fn allowance(&self, uid: Uid, now_unix_ms: u64) -> u64 {
        let spent = self.lines().get(&uid).map_or(0, |line| line.spent(now_unix_ms));
        self.allowance_bytes.saturating_sub(spent)
    }

    /// Takes from what a server may write.
    pub(super) fn spend(&self, uid: Uid, now_unix_ms: u64, bytes: u64) {
        let mut lines = self.lines();
        let line = lines.entry(uid).or_default();
        line.spent = line.spent(now_unix_ms).saturating_add(bytes);
        line.spent_unix_ms = now_unix_ms;
    }

    /// Forgets servers that are gone.
    pub(super) fn retain(&self, state: &State) {
        let mut lines = self.lines();
        if lines.len() > state.count(Kind::McpServer.as_str()) {
            lines.retain(|uid, _| server::by_uid(state, uid).is_some());
        }
    }
}

/// What the store knows of a server's tools, prompts or identity.
#[derive(Debug, Default, Clone, Copy, Serialize)]
struct Counts {
    approved: usize,
    pending: usize,
    quarantined: usize,
    denied: usize,
}

/// The status of a server with what the store knows of it: what people look at first, and the rest under `details`.
pub(super) fn describe(state: &State, uid: &Uid, status: ServerStatus) -> Value {
    let (mut tools, mut prompts, mut identity) = (Counts::default(), Counts::default(), Counts::default());
    let mut drift = 0_usize;
    let rules =
        server::by_uid(state, uid).and_then(|object| server::rules(state, object)).unwrap_or_default();
    for (_, stored) in reconcile::stored(state, uid) {
        let counts = match stored.kind {
            DefinitionKind::Tool => &mut tools,
            DefinitionKind::Prompt => &mut prompts,
            DefinitionKind::Identity => &mut identity,
        };
        let Some(offered) = &stored.offered else { continue };
        let is_drift = |pin| pin != offered.fingerprint;
        drift += usize::from(stored.approved.as_ref().is_some_and(|approved| is_drift(approved.pin)));
        match stored.standing(&rules) {
            Standing::Served => counts.approved += 1,
            Standing::Quarantined => counts.quarantined += 1,
            Standing::Pending | Standing::Absent => {}
        }
        if stored.waits(&rules) {
            counts.pending += 1;
        } else if stored.denial(&offered.fingerprint).is_some() {
            counts.denied += 1;
        }
    }
    let all = [tools, prompts, identity];
    let observed = state
        .get(OBSERVATION, &uid.to_string())
        .and_then(|object| Observation::deserialize(&object.body).ok());
    let era = observed.as_ref().map(|observed| if observed.modern { "modern" } else { "legacy" });
    let mut described = json!({
        "health": status.health,
        "era": era,
        "tools": tools.approved,
        "prompts": prompts.approved,
        "pending": all.iter().map(|counts| counts.pending).sum::<usize>(),
        "quarantined": all.iter().map(|counts| counts.quarantined).sum::<usize>(),
        "drift": drift,
        "lastUse": status.last_use_unix_ms.map(rfc3339),
        "lastProbe": status.last_probe_unix_ms.map(rfc3339),
        "error": status.last_error,
        "details": {
            "protocolVersion": observed.map(|observed| observed.protocol_version),
            "probedBy": status.probed_by,
            "tookMicros": status.took_micros,
            "listedTools": status.listed_tools,
            "listedPrompts": status.listed_prompts,
            "problems": status.problems,
            "tools": tools,
            "prompts": prompts,
            "identity": identity,
        },
    });
    // What is not known is not there.
    if let Some(members) = described.as_object_mut() {
        if let Some(details) = members.get_mut("details").and_then(Value::as_object_mut) {
            details.retain(|_, value| !value.is_null());
        }
        members.retain(|_, value| !value.is_null());
    }
    described
}
