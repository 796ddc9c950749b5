//! What waits to be told to the control plane. It outlives connections, and each part of it has a bound.

use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use portcullis_policy::resource::Uid;
use portcullis_proto::config::v1::call_answer::Answer;
use portcullis_proto::config::v1::{CallAnswer, CallAsk, CallGivenBack, ProbeReport};
use tokio::sync::{Notify, oneshot};
use tokio::time::Instant;

use super::signals::Signal;

/// Signals kept while nobody takes them; beyond it the oldest goes.
const MAX_SIGNALS: usize = 16_384;
/// Servers with a report or a hint that waits; the newest report of a server replaces the one before.
const MAX_SERVERS: usize = 10_000;
/// Calls that are being asked for; beyond it nobody asks.
const MAX_ASKS: usize = 1_024;
/// Approvals to give back; beyond it they stay used up.
const MAX_GIVEN_BACK: usize = 1_024;

/// How long a signal that was handed to a connection is kept: it may be lost with the connection, and is then told again.
const MAYBE_LOST: Duration = Duration::from_secs(30);

/// One thing to tell.
#[derive(Debug, Clone, PartialEq)]
pub(super) enum Item {
    Signal(Signal),
    Report(Box<ProbeReport>),
    Hint(Uid),
    Ask(Box<CallAsk>),
    GivenBack(CallGivenBack),
}

/// A call that somebody waits for an answer about.
#[derive(Debug)]
struct Asked {
    ask: Box<CallAsk>,
    /// Whether it was handed to the connection that stands.
    told: bool,
    answer: Option<oneshot::Sender<Answer>>,
}

/// Too many calls are being asked for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Full;

#[derive(Debug, Default)]
struct Waiting {
    signals: VecDeque<Signal>,
    handed_over: VecDeque<(Instant, Signal)>,
    reports: BTreeMap<Uid, Box<ProbeReport>>,
    hints: BTreeSet<Uid>,
    /// By their use ids.
    asks: BTreeMap<[u8; 16], Asked>,
    given_back: VecDeque<CallGivenBack>,
    dropped: u64,
}

/// Shared by those who tell and the one connection that carries it.
#[derive(Debug, Clone, Default)]
pub(super) struct Outbox(Arc<Shared>);

#[derive(Debug, Default)]
struct Shared {
    waiting: Mutex<Waiting>,
    changed: Notify,
}

impl Outbox {
    fn waiting(&self) -> MutexGuard<'_, Waiting> {
        self.0.waiting.lock().unwrap_or_else(PoisonError::into_inner)
    }

    pub(super) fn signal(&self, signal: Signal) {
        let mut waiting = self.waiting();
        if waiting.signals.len() >= MAX_SIGNALS {
            waiting.signals.pop_front();
            waiting.dropped += 1;
        }
        waiting.signals.push_back(signal);
        drop(waiting);
        self.0.changed.notify_one();
    }

    pub(super) fn report(&self, server: Uid, report: ProbeReport) {
        let mut waiting = self.waiting();
        if waiting.reports.len() >= MAX_SERVERS && !waiting.reports.contains_key(&server) {
            waiting.dropped += 1;
            return;
        }
        waiting.reports.insert(server, Box::new(report));
        drop(waiting);
        self.0.changed.notify_one();
    }

    pub(super) fn hint(&self, server: Uid) {
        let mut waiting = self.waiting();
        if waiting.hints.len() >= MAX_SERVERS && !waiting.hints.contains(&server) {
            waiting.dropped += 1;
            return;
        }
        waiting.hints.insert(server);
        drop(waiting);
        self.0.changed.notify_one();
    }

    /// Asks for a call; the answer goes to whoever waits.
    pub(super) fn ask(
        &self,
        use_id: [u8; 16],
        ask: CallAsk,
        answer: oneshot::Sender<Answer>,
    ) -> Result<(), Full> {
        let mut waiting = self.waiting();
        if waiting.asks.len() >= MAX_ASKS {
            waiting.dropped += 1;
            return Err(Full);
        }
        waiting.asks.insert(use_id, Asked { ask: Box::new(ask), told: false, answer: Some(answer) });
        drop(waiting);
        self.0.changed.notify_one();
        Ok(())
    }

    /// Nobody waits for the answer any more: it is not asked, or not asked again.
    pub(super) fn forget_ask(&self, use_id: &[u8; 16]) {
        self.waiting().asks.remove(use_id);
    }

    /// An answer came. One that nobody waits for is dropped.
    pub(super) fn answered(&self, answer: CallAnswer) {
        let Ok(use_id) = <[u8; 16]>::try_from(&*answer.use_id) else { return };
        let waiter = self.waiting().asks.get_mut(&use_id).and_then(|asked| asked.answer.take());
        if let (Some(waiter), Some(answer)) = (waiter, answer.answer) {
            // Who went away meanwhile makes no call.
            let _ = waiter.send(answer);
        }
    }

    /// Tells that a call which was let go never reached its server. It may be lost with a connection: the approval then stays
    /// used up.
    pub(super) fn give_back(&self, given: CallGivenBack) {
        let mut waiting = self.waiting();
        if waiting.given_back.len() >= MAX_GIVEN_BACK {
            waiting.dropped += 1;
            return;
        }
        waiting.given_back.push_back(given);
        drop(waiting);
        self.0.changed.notify_one();
    }

    /// How many were dropped at a bound since the start.
    pub(super) fn dropped(&self) -> u64 {
        self.waiting().dropped
    }

    /// The next thing to tell, signals first; it is gone from here. Signals that nobody needs any more are left out.
    pub(super) async fn next(&self, now_unix_ms: impl Fn() -> u64) -> Item {
        loop {
            // Asked for before the look: a change in between wakes us.
            let changed = self.0.changed.notified();
            if let Some(item) = self.take(now_unix_ms()) {
                return item;
            }
            changed.await;
        }
    }

    fn take(&self, now_unix_ms: u64) -> Option<Item> {
        let mut waiting = self.waiting();
        while let Some(signal) = waiting.signals.pop_front() {
            if signal.matters_at(now_unix_ms) {
                waiting.hand_over(&signal);
                return Some(Item::Signal(signal));
            }
        }
        // Before asks: the same call, asked again, finds what was given back.
        if let Some(given) = waiting.given_back.pop_front() {
            return Some(Item::GivenBack(given));
        }
        // One that is answered already waits only to be forgotten.
        let ask = waiting.asks.values_mut().find(|asked| !asked.told && asked.answer.is_some());
        if let Some(asked) = ask {
            asked.told = true;
            return Some(Item::Ask(asked.ask.clone()));
        }
        if let Some(server) = waiting.hints.pop_first() {
            return Some(Item::Hint(server));
        }
        waiting.reports.pop_first().map(|(_, report)| Item::Report(report))
    }

    /// A new connection: what was handed to the one before shortly ago is told again, and what was not answered is asked again.
    /// Hearing a signal twice does no harm, and an ask is answered alike.
    pub(super) fn connected(&self, now_unix_ms: u64) {
        let mut waiting = self.waiting();
        waiting.forget_old();
        let again: Vec<Signal> = waiting.handed_over.drain(..).map(|(_, signal)| signal).collect();
        for signal in again.into_iter().rev().filter(|signal| signal.matters_at(now_unix_ms)) {
            if waiting.signals.len() < MAX_SIGNALS {
                waiting.signals.push_front(signal);
            }
        }
        waiting.asks.values_mut().for_each(|asked| asked.told = false);
        drop(waiting);
        self.0.changed.notify_one();
    }
}

impl Waiting {
    fn hand_over(&mut self, signal: &Signal) {
        self.forget_old();
        if self.handed_over.len() >= MAX_SIGNALS {
            self.handed_over.pop_front();
        }
        self.handed_over.push_back((Instant::now(), signal.clone()));
    }

    fn forget_old(&mut self) {
        while self.handed_over.front().is_some_and(|(when, _)| when.elapsed() > MAYBE_LOST) {
            self.handed_over.pop_front();
        }
    }
}

#[cfg(test)]
mod tests;
