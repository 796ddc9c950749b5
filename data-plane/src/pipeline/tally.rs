//! What this plane counts of each server for the control plane, which decides by it whether a server may move on.
//!
//! Counters only grow, from zero at the start of the process: a report that is lost or told twice changes nothing.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering::Relaxed};
use std::time::{Duration, Instant};

use portcullis_policy::compile::Server;
use portcullis_policy::resource::Uid;
use portcullis_policy::{Principal, Reason, Snapshot};

use super::shards::Shards;
use crate::ledger::Outcome;

/// How many servers are counted, sandboxes as servers of their own. A shard holds its share: this is more than a fleet has, so
/// that none is full by chance.
const MAX_SERVERS: usize = 16_384;
/// What a server says itself: that its tool failed, and that it takes no such request.
const OWN: [&str; 2] = ["tool_error", "rpc_error"];
/// Requests that use something of a server.
const COUNTED: [&str; 3] = ["tools/call", "prompts/get", "resources/read"];

/// Which server, and whether its sandbox.
type Key = (Uid, bool);

/// Counters by server.
#[derive(Debug)]
pub struct Tally {
    run: uuid::Uuid,
    began: Instant,
    lines: Shards<Key, Arc<Line>>,
    uncounted: AtomicBool,
}

#[derive(Debug)]
struct Line {
    calls: AtomicU64,
    errors: Vec<AtomicU64>,
    denials: Vec<AtomicU64>,
}

impl Default for Line {
    fn default() -> Self {
        let counters = |count: usize| (0..count).map(|_| AtomicU64::new(0)).collect();
        let reasons = Reason::ALL.len();
        Self { calls: AtomicU64::new(0), errors: counters(reasons + OWN.len()), denials: counters(reasons) }
    }
}

/// What was counted of all servers since the process began.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Counted {
    /// Which process: random.
    pub run: uuid::Uuid,
    /// For how long it has counted.
    pub counting_for: Duration,
    /// Servers of which there is anything, in no order.
    pub servers: Vec<ServerCounts>,
    /// Whether something was not counted for want of room.
    pub uncounted: bool,
}

/// What was counted of one server.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ServerCounts {
    /// The server's uid, as registered.
    pub server: Uid,
    /// Whether these went to its sandbox.
    pub sandbox: bool,
    /// Calls that were let through.
    pub calls: u64,
    /// Those that failed, by code.
    pub errors: Vec<(&'static str, u64)>,
    /// Calls that were denied, by code.
    pub denials: Vec<(&'static str, u64)>,
}

impl Default for Tally {
    fn default() -> Self {
        Self {
            run: uuid::Uuid::new_v4(),
            began: Instant::now(),
            lines: Shards::new(MAX_SERVERS),
            uncounted: AtomicBool::new(false),
        }
    }
}

impl Tally {
    /// A call to a server ended that had been let through.
    pub(super) fn called(&self, server: &Server, method: &str, outcome: Outcome, reason: Option<Reason>) {
        let Some(line) = self.line(server, method) else { return };
        line.calls.fetch_add(1, Relaxed);
        let own = |at: usize| Some(Reason::ALL.len() + at);
        let failed = match (reason, outcome) {
            (Some(reason), _) => place(reason),
            (None, Outcome::ToolError) => own(0),
            (None, Outcome::Error) => own(1),
            (None, Outcome::Ok | Outcome::Cancelled) => None,
        };
        if let Some(counter) = failed.and_then(|at| line.errors.get(at)) {
            counter.fetch_add(1, Relaxed);
        }
    }

    /// A call to a server was denied.
    pub(super) fn denied(&self, server: &Server, method: &str, reason: Reason) {
        let Some(line) = self.line(server, method) else { return };
        if let Some(counter) = place(reason).and_then(|at| line.denials.get(at)) {
            counter.fetch_add(1, Relaxed);
        }
    }

    fn line(&self, server: &Server, method: &str) -> Option<Arc<Line>> {
        if !COUNTED.contains(&method) {
            return None;
        }
        let line = self.lines.get_or_keep(&(server.registered_uid(), server.is_sandbox()), Arc::default);
        if line.is_none() {
            self.uncounted.store(true, Relaxed);
        }
        line
    }

    /// Forgets servers that are gone.
    pub(crate) fn retain(&self, snapshot: &Snapshot) {
        self.lines.retain(|(server, _), _| snapshot.server_by_uid(server).is_some());
    }

    /// What was counted so far.
    #[must_use]
    pub fn read(&self) -> Counted {
        let mut servers = Vec::new();
        self.lines.each(|(server, sandbox), line| {
            servers.push(ServerCounts {
                server: *server,
                sandbox: *sandbox,
                calls: line.calls.load(Relaxed),
                errors: named(&line.errors),
                denials: named(&line.denials),
            });
        });
        let uncounted = self.uncounted.load(Relaxed);
        Counted { run: self.run, counting_for: self.began.elapsed(), servers, uncounted }
    }
}

/// The server that a denial speaks of, as this principal would have reached it.
pub(super) fn denied_server<'a>(
    snapshot: &'a Snapshot,
    principal: &Principal,
    name: &str,
) -> Option<&'a Arc<Server>> {
    snapshot.server(name).map(|server| principal.way(server))
}

fn place(reason: Reason) -> Option<usize> {
    Reason::ALL.iter().position(|known| *known == reason)
}

fn named(counters: &[AtomicU64]) -> Vec<(&'static str, u64)> {
    let names = Reason::ALL.iter().map(|reason| reason.code()).chain(OWN);
    names
        .zip(counters)
        .map(|(name, count)| (name, count.load(Relaxed)))
        .filter(|(_, count)| *count > 0)
        .collect()
}
