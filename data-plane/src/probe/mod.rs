//! What upstreams offer: data planes look, the control plane judges.
//!
//! Each assigned server has a [`watch`] of its own; servers of other probers are looked at slowly by [`drift`]. What was seen
//! is reported whole; nothing is decided here.

mod drift;
mod look;
mod watch;

use std::collections::{HashMap, HashSet};
use std::sync::Arc;

use portcullis_policy::resource::{Auth, Hosting, Transport, Uid};
use portcullis_policy::snapshot::ServerEntry;
use portcullis_proto::config::v1::ProbeReport;
use tokio::sync::{Notify, Semaphore, mpsc, watch as told};
use tokio::task::{AbortHandle, JoinSet};
use tokio_util::sync::CancellationToken;

use self::watch::Watch;
use crate::sync::{Findings, Live, ProbeAssignment, Probing};
use crate::upstream::Upstreams;

/// Servers that are looked at together.
const MAX_LOOKS: usize = 8;

/// The assignment in force.
type Assigned = told::Receiver<ProbeAssignment>;

/// Takes what was found.
pub trait Report: Clone + Send + Sync + 'static {
    /// What a server offers, or that it cannot be reached.
    fn report(&self, report: ProbeReport);
    /// A server that another plane probes seems to have changed.
    fn hint(&self, server: Uid);
}

impl Report for Findings {
    fn report(&self, report: ProbeReport) {
        Self::report(self, report);
    }

    fn hint(&self, server: Uid) {
        Self::hint(self, server);
    }
}

/// Probes what is assigned, until it is stopped.
pub async fn run(upstreams: Upstreams, live: Live, probing: Probing, stop: CancellationToken) {
    let Probing { assignment, probe_now, findings } = probing;
    run_with(upstreams, live, assignment, probe_now, findings, stop).await;
}

/// [`run`] with any taker of findings.
pub async fn run_with<R: Report>(
    upstreams: Upstreams,
    live: Live,
    mut assignment: told::Receiver<ProbeAssignment>,
    mut probe_now: mpsc::Receiver<Uid>,
    report: R,
    stop: CancellationToken,
) {
    let mut versions = live.subscribe();
    let drift = drift::run(upstreams.clone(), live.clone(), assignment.clone(), report.clone(), stop.clone());
    let mut watches = Watches {
        upstreams,
        live,
        assigned: assignment.clone(),
        report,
        looks: Arc::new(Semaphore::new(MAX_LOOKS)),
        running: HashMap::new(),
        tasks: JoinSet::new(),
    };
    watches.tasks.spawn(drift);
    loop {
        watches.reconcile();
        tokio::select! {
            () = stop.cancelled() => return,
            changed = assignment.changed() => if changed.is_err() { return },
            changed = versions.changed() => if changed.is_err() { return },
            Some(uid) = probe_now.recv() => {
                // The assignment that named it may be newer than the one in force here.
                watches.reconcile();
                watches.poke(uid);
            }
            Some(_) = watches.tasks.join_next() => {}
        }
    }
}

/// How a server is reached: another way is another watch.
#[derive(PartialEq)]
struct Reached {
    transport: Transport,
    auth: Auth,
    hosting: Hosting,
}

impl Reached {
    fn of(entry: &ServerEntry) -> Self {
        Self { transport: entry.transport.clone(), auth: entry.auth.clone(), hosting: entry.hosting }
    }
}

struct Running {
    reached: Reached,
    poke: Arc<Notify>,
    task: AbortHandle,
}

/// The watches that run. All of them end with this.
struct Watches<R> {
    upstreams: Upstreams,
    live: Live,
    assigned: Assigned,
    report: R,
    looks: Arc<Semaphore>,
    running: HashMap<Uid, Running>,
    tasks: JoinSet<()>,
}

impl<R: Report> Watches<R> {
    /// Starts and ends watches until they are those that are assigned and exist.
    fn reconcile(&mut self) {
        let Some(snapshot) = self.live.load() else { return };
        let assigned: HashSet<Uid> = self.assigned.borrow().uids.iter().copied().collect();
        self.running.retain(|uid, running| {
            let server = snapshot.server_by_uid(uid).filter(|_| assigned.contains(uid));
            let stays = server.is_some_and(|server| Reached::of(&server.entry) == running.reached)
                && !running.task.is_finished();
            if !stays {
                running.task.abort();
            }
            stays
        });
        for uid in assigned {
            let Some(server) = snapshot.server_by_uid(&uid) else { continue };
            if self.running.contains_key(&uid) {
                continue;
            }
            let poke = Arc::new(Notify::new());
            let watch = Watch {
                uid,
                upstreams: self.upstreams.clone(),
                live: self.live.clone(),
                assigned: self.assigned.clone(),
                report: self.report.clone(),
                poke: Arc::clone(&poke),
                looks: Arc::clone(&self.looks),
            };
            let task = self.tasks.spawn(watch.run());
            self.running.insert(uid, Running { reached: Reached::of(&server.entry), poke, task });
        }
    }

    fn poke(&self, uid: Uid) {
        if let Some(running) = self.running.get(&uid) {
            running.poke.notify_one();
        }
    }
}
