//! What waits to be sent to one plane, beside snapshots and secrets. Bounded: assignments are replaced by newer ones, probes
//! asked for are a set, and a plane that lets signals pile up loses its stream rather than one of them.

use std::collections::{BTreeSet, VecDeque};
use std::sync::{Mutex, MutexGuard, PoisonError};

use portcullis_policy::resource::Uid;
use portcullis_proto::config::v1::{CallAnswer, ProbeAssignment, RecordCredit, RecordQuery, Signal};
use tokio::sync::Notify;

/// How many signals may wait for one plane.
pub(super) const MAX_SIGNALS: usize = 20_000;

/// Answers about calls that may wait for one plane: as many as it asks for at once.
const MAX_ANSWERS: usize = 1_024;

/// The signals of a plane piled up.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Full;

/// What waits for one plane.
#[derive(Debug, Default)]
pub(super) struct Outbox {
    waiting: Mutex<Waiting>,
    changed: Notify,
}

#[derive(Debug, Default)]
struct Waiting {
    /// All servers that the plane probes; kept after it was sent, for those asked for later.
    assigned: BTreeSet<Uid>,
    /// Whether `assigned` was not sent yet.
    reassigned: bool,
    probe_now: BTreeSet<Uid>,
    signals: VecDeque<Signal>,
    /// The newest question for recorded calls, and leave to answer it.
    query: Option<RecordQuery>,
    credit: Option<RecordCredit>,
    /// Answers about calls that a person has to approve.
    answers: Vec<CallAnswer>,
}

/// What to send next.
#[derive(Debug, Default)]
pub(super) struct Mail {
    pub(super) assignment: Option<ProbeAssignment>,
    pub(super) signals: Vec<Signal>,
    pub(super) query: Option<RecordQuery>,
    pub(super) credit: Option<RecordCredit>,
    pub(super) answers: Vec<CallAnswer>,
}

impl Outbox {
    fn waiting(&self) -> MutexGuard<'_, Waiting> {
        self.waiting.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Replaces the assignment; servers that are new in it are probed at once.
    pub(super) fn assign(&self, servers: BTreeSet<Uid>) {
        let mut waiting = self.waiting();
        if waiting.assigned != servers {
            let new: Vec<Uid> = servers.difference(&waiting.assigned).copied().collect();
            waiting.probe_now.retain(|uid| servers.contains(uid));
            waiting.probe_now.extend(new);
            waiting.assigned = servers;
            waiting.reassigned = true;
            self.changed.notify_one();
        }
    }

    /// Asks for a probe of one server at once. Does nothing when the plane does not probe it.
    pub(super) fn probe_now(&self, server: Uid) {
        let mut waiting = self.waiting();
        if waiting.assigned.contains(&server) && waiting.probe_now.insert(server) {
            self.changed.notify_one();
        }
    }

    /// Adds a signal.
    pub(super) fn signal(&self, signal: Signal) -> Result<(), Full> {
        let mut waiting = self.waiting();
        if waiting.signals.len() >= MAX_SIGNALS {
            return Err(Full);
        }
        waiting.signals.push_back(signal);
        self.changed.notify_one();
        Ok(())
    }

    /// Asks for recorded calls; what was asked before is no longer wanted.
    pub(super) fn ask(&self, query: RecordQuery) {
        let mut waiting = self.waiting();
        waiting.query = Some(query);
        waiting.credit = None;
        self.changed.notify_one();
    }

    /// Gives leave to tell more of an answer; none at all ends the question.
    pub(super) fn credit(&self, id: u64, chunks: u32) {
        let mut waiting = self.waiting();
        if waiting.query.as_ref().is_some_and(|query| query.id != id) {
            return;
        }
        match waiting.credit.as_mut().filter(|credit| credit.id == id) {
            Some(credit) if chunks == 0 || credit.chunks == 0 => credit.chunks = 0,
            Some(credit) => credit.chunks = credit.chunks.saturating_add(chunks),
            None => waiting.credit = Some(RecordCredit { id, chunks }),
        }
        self.changed.notify_one();
    }

    /// Answers an ask. One that piles up is left out: the plane asks again, or gives up.
    pub(super) fn answer(&self, answer: CallAnswer) {
        let mut waiting = self.waiting();
        if waiting.answers.len() < MAX_ANSWERS {
            waiting.answers.push(answer);
            self.changed.notify_one();
        }
    }

    /// Whether the plane probes this server.
    pub(super) fn probes(&self, server: &Uid) -> bool {
        self.waiting().assigned.contains(server)
    }

    /// The servers that the plane probes.
    pub(super) fn assigned(&self) -> BTreeSet<Uid> {
        self.waiting().assigned.clone()
    }

    /// Takes what waits.
    pub(super) fn take(&self, interval_seconds: u32) -> Mail {
        let mut waiting = self.waiting();
        let due = waiting.reassigned || !waiting.probe_now.is_empty();
        waiting.reassigned = false;
        let probe_now = std::mem::take(&mut waiting.probe_now);
        let assignment = due.then(|| ProbeAssignment {
            server_uids: waiting.assigned.iter().map(Uid::to_string).collect(),
            probe_now: probe_now.iter().map(Uid::to_string).collect(),
            interval_seconds,
        });
        Mail {
            assignment,
            signals: waiting.signals.drain(..).collect(),
            query: waiting.query.take(),
            credit: waiting.credit.take(),
            answers: std::mem::take(&mut waiting.answers),
        }
    }

    /// Waits until something was added since the last call of [`Outbox::take`].
    pub(super) async fn changed(&self) {
        self.changed.notified().await;
    }
}
