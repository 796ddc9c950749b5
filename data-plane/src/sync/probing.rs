//! Between the prober and the control plane: what to probe, and what was found.

use std::time::Duration;

use portcullis_policy::resource::Uid;
use portcullis_proto::config::v1::{self as proto, ProbeReport};
use tokio::sync::{mpsc, watch};

use super::outbox::Outbox;

/// Requests to probe at once that may wait; beyond it they are left to the next round.
const MAX_PROBE_NOW: usize = 1024;
/// The shortest time between two rounds, whatever the control plane says.
const SHORTEST_ROUND: Duration = Duration::from_secs(1);

/// Which servers this plane probes. It replaces the assignment before.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ProbeAssignment {
    /// Their uids, sorted.
    pub uids: Vec<Uid>,
    /// Time between probes of one server without other cause.
    pub interval: Duration,
}

impl Default for ProbeAssignment {
    fn default() -> Self {
        Self { uids: Vec::new(), interval: Duration::from_secs(60) }
    }
}

/// Takes the prober's findings. Clones share one outbox.
#[derive(Debug, Clone, Default)]
pub struct Findings(Outbox);

impl Findings {
    /// Reports what a server offers; never waits. Kept while the control plane is away: the newest of each server.
    /// A report whose `server_uid` is no uid is left out.
    pub fn report(&self, report: ProbeReport) {
        match report.server_uid.parse() {
            Ok(server) => self.0.report(server, report),
            Err(_) => tracing::error!("a probe report without a server was left out"),
        }
    }

    /// Says that a server seems to have changed, so that its prober looks again.
    pub fn hint(&self, server: Uid) {
        self.0.hint(server);
    }
}

/// The prober's end: one for each data plane.
#[derive(Debug)]
pub struct Probing {
    /// What to probe; changes are told.
    pub assignment: watch::Receiver<ProbeAssignment>,
    /// Servers to probe at once; ends with the plane.
    pub probe_now: mpsc::Receiver<Uid>,
    /// Where findings go.
    pub findings: Findings,
}

/// The synchroniser's end.
#[derive(Debug)]
pub(super) struct ProbingLink {
    assignment: watch::Sender<ProbeAssignment>,
    probe_now: mpsc::Sender<Uid>,
}

impl ProbingLink {
    pub(super) fn new(outbox: Outbox) -> (Self, Probing) {
        let (assignment, assigned) = watch::channel(ProbeAssignment::default());
        let (probe_now, now) = mpsc::channel(MAX_PROBE_NOW);
        let link = Self { assignment, probe_now };
        (link, Probing { assignment: assigned, probe_now: now, findings: Findings(outbox) })
    }

    pub(super) fn assign(&self, assignment: &proto::ProbeAssignment) {
        let parse =
            |uids: &[String]| -> Vec<Uid> { uids.iter().filter_map(|uid| uid.parse().ok()).collect() };
        let mut uids = parse(&assignment.server_uids);
        uids.sort_unstable();
        uids.dedup();
        let interval = Duration::from_secs(assignment.interval_seconds.into()).max(SHORTEST_ROUND);
        let next = ProbeAssignment { uids, interval };
        self.assignment.send_if_modified(|current| {
            let changed = *current != next;
            *current = next;
            changed
        });
        for uid in parse(&assignment.probe_now) {
            if self.probe_now.try_send(uid).is_err() {
                tracing::warn!(server = %uid, "too many probes wait; this one comes with the next round");
            }
        }
    }
}
