//! How each server is doing, for `get` and `describe`: in memory only, since a probe makes it again within a minute. The
//! same board keeps what each server may still write, so that one that changes with every probe cannot fill the disk.

use std::collections::HashMap;
use std::sync::{Mutex, MutexGuard, PoisonError};

use portcullis_policy::resource::{Kind, Uid};
use serde::Serialize;

use super::definition::{DefinitionKind, Standing};
use super::observation::{OBSERVATION, Observation};
use super::offer::Problems;
use super::{reconcile, server};
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
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct ServerStatus {
    /// Whether it answers.
    pub health: Health,
    /// What went wrong at the last probe; absent when nothing did.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub last_error: Option<String>,
    /// When it was probed last, milliseconds since the Unix epoch.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub last_probe_unix_ms: Option<u64>,
    /// The data plane that probed it last.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub probed_by: Option<String>,
    /// How long the last good probe took, in microseconds.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub took_micros: Option<u64>,
    /// How many tools it listed, refused ones too.
    pub listed_tools: usize,
    /// How many prompts it listed, refused ones too.
    pub listed_prompts: usize,
    /// What was refused of what it listed, and why.
    pub problems: Problems,
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
        self.lines().entry(uid).or_default().status = ServerStatus {
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

/// The status of a server with what the store knows of it.
pub(super) fn describe(state: &State, uid: &Uid, status: ServerStatus) -> serde_json::Value {
    #[derive(Default, Serialize)]
    struct Counts {
        approved: usize,
        pending: usize,
        quarantined: usize,
        denied: usize,
    }
    #[derive(Serialize)]
    #[serde(rename_all = "camelCase")]
    struct Described {
        #[serde(flatten)]
        status: ServerStatus,
        #[serde(skip_serializing_if = "Option::is_none")]
        era: Option<&'static str>,
        #[serde(skip_serializing_if = "Option::is_none")]
        protocol_version: Option<String>,
        tools: Counts,
        prompts: Counts,
        identity: Counts,
    }
    let observation = state.get(OBSERVATION, &uid.to_string()).and_then(|object| {
        serde::Deserialize::deserialize(&object.body).ok().map(|observation: Observation| observation)
    });
    let mut described = Described {
        status,
        era: observation.as_ref().map(|observed| if observed.modern { "modern" } else { "legacy" }),
        protocol_version: observation.map(|observed| observed.protocol_version),
        tools: Counts::default(),
        prompts: Counts::default(),
        identity: Counts::default(),
    };
    let rules = server::by_uid(state, uid).and_then(|object| server::rules(object)).unwrap_or_default();
    for (_, stored) in reconcile::stored(state, uid) {
        let counts = match stored.kind {
            DefinitionKind::Tool => &mut described.tools,
            DefinitionKind::Prompt => &mut described.prompts,
            DefinitionKind::Identity => &mut described.identity,
        };
        let Some(offered) = &stored.offered else { continue };
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
    serde_json::to_value(described).unwrap_or_default()
}
