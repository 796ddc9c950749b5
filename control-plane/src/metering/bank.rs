//! The bank: one thread that decides about all leases, and is the only one that writes them down.
//!
//! It takes what waits, decides and applies it in order, puts the facts of all of it on the disk with one sync, and answers then. So a
//! sync serves as many planes as wait for it, and nothing is ever answered before it is on the disk. When something cannot be written
//! or synced, what memory holds is ahead of the disk: nobody of that round is answered, and nobody after it until a restart.

use std::path::Path;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, OnceLock};

use portcullis_metering::Utc;
use portcullis_metering::accounts::{Command, Corrupt, Event, Refusal};
use tokio::sync::{mpsc, oneshot};

use super::books::{Books, Fact};
use super::log::Log;
use crate::clock::Clock;
use crate::store::StoreError;

/// Jobs that wait for the bank; more wait at its door.
const WAITING: usize = 1_024;
/// Facts of one round, about: a round that has more of them takes no further job.
const FACTS_IN_ROUND: usize = 32_768;

/// The bank answers nothing.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub(crate) enum Closed {
    /// Its disk failed.
    #[error("metering answers nothing until the control plane is started again: {0}")]
    Poisoned(Arc<str>),
    /// The control plane is stopping.
    #[error("the control plane is stopping")]
    Stopped,
}

/// What a job does in its turn, and the answer, which is sent when the round is on the disk.
type Job = Box<dyn FnOnce(&mut Round<'_>) -> Result<Answer, Corrupt> + Send>;
type Answer = Box<dyn FnOnce() + Send>;

/// What is counted of the bank.
#[derive(Debug, Default)]
pub(crate) struct Counts {
    /// Leases answered.
    pub(crate) leases: AtomicU64,
    /// Rounds that were brought to the disk.
    pub(crate) syncs: AtomicU64,
    /// Budgets whose warning threshold was reached.
    pub(crate) warnings: AtomicU64,
    /// Times that what a plane held was written off.
    pub(crate) write_offs: AtomicU64,
    /// Messages that no plane with a sound ledger sends.
    pub(crate) impossible: AtomicU64,
}

#[derive(Debug, Default)]
struct Shared {
    counts: Counts,
    poisoned: OnceLock<Arc<str>>,
}

/// The door to the bank. Cheap to clone.
#[derive(Debug, Clone)]
pub(crate) struct Bank {
    jobs: mpsc::Sender<Option<Job>>,
    shared: Arc<Shared>,
}

impl Bank {
    /// Opens the bank of this directory over what its log says.
    pub(super) fn over(dir: &Path, log: Log, books: Books, clock: Clock) -> Result<Self, StoreError> {
        let (jobs, waiting) = mpsc::channel(WAITING);
        let shared = Arc::new(Shared::default());
        let teller = Teller { log, books, clock, shared: Arc::clone(&shared) };
        std::thread::Builder::new()
            .name("metering-bank".to_owned())
            .spawn(move || teller.run(waiting))
            .map_err(|source| StoreError::io(dir, source))?;
        Ok(Self { jobs, shared })
    }

    /// Does something in its turn, and tells what came of it once that is on the disk.
    pub(crate) async fn run<T: Send + 'static>(
        &self,
        work: impl FnOnce(&mut Round<'_>) -> Result<T, Corrupt> + Send + 'static,
    ) -> Result<T, Closed> {
        let (reply, answer) = oneshot::channel();
        let job: Job = Box::new(move |round| {
            let value = work(round)?;
            Ok(Box::new(move || {
                // Whoever asked may have gone; what was decided stays decided.
                let _ = reply.send(value);
            }))
        });
        self.jobs.send(Some(job)).await.map_err(|_| self.closed())?;
        answer.await.map_err(|_| self.closed())
    }

    /// Looks at the books, as they are on the disk.
    pub(crate) async fn read<T: Send + 'static>(
        &self,
        look: impl FnOnce(&Books, Utc) -> T + Send + 'static,
    ) -> Result<T, Closed> {
        self.run(|round| Ok(look(round.books, round.now))).await
    }

    /// Lets the bank finish what waits, and ends it: its directory is free when this returns.
    pub(crate) async fn stop(&self) {
        if self.jobs.send(None).await.is_ok() {
            self.jobs.closed().await;
        }
    }

    /// What was counted.
    pub(crate) fn counts(&self) -> &Counts {
        &self.shared.counts
    }

    /// Why it answers nothing, if that is so.
    pub(crate) fn poisoned(&self) -> Option<Arc<str>> {
        self.shared.poisoned.get().cloned()
    }

    fn closed(&self) -> Closed {
        self.poisoned().map_or(Closed::Stopped, Closed::Poisoned)
    }
}

/// One turn at the books: what jobs see.
#[derive(Debug)]
pub(crate) struct Round<'a> {
    pub(crate) now: Utc,
    pub(crate) books: &'a mut Books,
    pub(crate) counts: &'a Counts,
    facts: &'a mut Vec<Fact>,
}

impl Round<'_> {
    /// Carries out a command, or tells why not.
    pub(crate) fn command(&mut self, command: &Command) -> Result<Result<(), Refusal>, Corrupt> {
        let events = match self.books.accounts.decide(self.now, command) {
            Ok(events) => events,
            Err(refusal) => return Ok(Err(refusal)),
        };
        for event in events {
            self.fact(Fact::Account(event))?;
        }
        Ok(Ok(()))
    }

    /// Makes something so.
    pub(super) fn fact(&mut self, fact: Fact) -> Result<(), Corrupt> {
        self.books.apply(&fact)?;
        self.facts.push(fact);
        Ok(())
    }
}

/// The thread.
struct Teller {
    log: Log,
    books: Books,
    clock: Clock,
    shared: Arc<Shared>,
}

impl Drop for Teller {
    fn drop(&mut self) {
        if std::thread::panicking() {
            let _ = self.shared.poisoned.set("an internal error".into());
        }
    }
}

impl Teller {
    fn run(mut self, mut waiting: mpsc::Receiver<Option<Job>>) {
        let mut answers = Vec::new();
        let mut facts = Vec::new();
        let mut stop = false;
        while !stop && let Some(first) = waiting.blocking_recv() {
            let mut next = Some(first);
            while let Some(job) = next {
                let Some(job) = job else {
                    stop = true;
                    break;
                };
                let now = Utc(self.clock.now_unix_ms());
                let counts = &self.shared.counts;
                let mut round = Round { now, books: &mut self.books, counts, facts: &mut facts };
                match job(&mut round) {
                    Ok(answer) => answers.push(answer),
                    Err(corrupt) => return self.poison(&corrupt.to_string(), (answers, waiting)),
                }
                let full = facts.len() >= FACTS_IN_ROUND || answers.len() >= WAITING;
                next = if full { None } else { waiting.try_recv().ok() };
            }
            if !facts.is_empty() {
                if let Err(why) = self.log.append(&facts) {
                    return self.poison(&why, (answers, waiting));
                }
                self.shared.counts.syncs.fetch_add(1, Ordering::Relaxed);
                facts.drain(..).for_each(|fact| tell(&fact, &self.shared.counts));
            }
            answers.drain(..).for_each(|answer| answer());
            self.log.turn(&self.books);
        }
        // The lock goes before the door is closed: whoever saw it closed may open the directory again.
        drop(self);
        drop(waiting);
    }

    /// Nobody is answered any more. What waits finds the door closed, and at once: not when the disk lets go of this thread.
    fn poison<Waiting>(self, why: &str, waiting: Waiting) {
        tracing::error!(
            why,
            "metering answers nothing until the control plane is started again: its log failed"
        );
        let _ = self.shared.poisoned.set(why.into());
        drop(waiting);
    }
}

/// Tells what a person should see, once it is on the disk.
fn tell(fact: &Fact, counts: &Counts) {
    let Fact::Account(event) = fact else { return };
    match event {
        Event::Warned { account, used, limit, .. } => {
            counts.warnings.fetch_add(1, Ordering::Relaxed);
            tracing::warn!(%account, used, limit, "a budget has reached its warning threshold");
        }
        Event::WrittenOff { account, holder, amount, .. } => {
            counts.write_offs.fetch_add(1, Ordering::Relaxed);
            tracing::warn!(%account, %holder, amount, "what a data plane held that is gone is written off, until it is heard of again");
        }
        Event::Dropped { account, epoch, totals } if totals.written_off > 0 => {
            tracing::warn!(%account, epoch = epoch.0, written_off = totals.written_off, "an old period of a budget was dropped with units that were written off");
        }
        Event::Adjusted { account, credit, reason, by, .. } => {
            tracing::info!(%account, credit, reason, by, "a budget was adjusted");
        }
        Event::Reset { account, forgiven, reason, by, .. } => {
            tracing::info!(%account, forgiven, reason, by, "a budget was reset");
        }
        Event::Overridden { account, reason, by, .. } => {
            tracing::info!(%account, reason, by, "the override of a budget changed");
        }
        Event::Removed { account, .. } => tracing::info!(%account, "a budget was removed"),
        _ => {}
    }
}

#[cfg(test)]
mod tests;
