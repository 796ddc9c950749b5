//! The children of one server: as many as it wants, the least loaded one for each call, restarted with growing waits.

use std::collections::BTreeMap;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use portcullis_policy::Reason;
use portcullis_policy::resource::{Name, Stdio};
use tokio::sync::Notify;
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;

use super::child::Child;
use super::listeners::Listeners;
use super::start::{self, Ground};
use crate::upstream::UpstreamError;
use crate::upstream::backoff::Backoff;
use crate::upstream::era::Spoken;
use crate::upstream::stats::UpstreamStats;

const FIRST_WAIT: Duration = Duration::from_millis(100);
const LONGEST_WAIT: Duration = Duration::from_secs(30);
/// A child that lived so long ended for a reason of its own: its restart does not wait longer than the first.
const SOUND_LIFE: Duration = Duration::from_secs(10);
/// A call waits so long for a restart; beyond it, it fails at once.
const PATIENCE: Duration = Duration::from_secs(1);
/// Children of one server, whatever it wants.
const MAX_INSTANCES: u16 = 16;
/// Lines may always be this long: lists are longer than answers.
pub(super) const MIN_MAX_LINE: usize = 8 << 20;

/// The place of one child.
struct Slot {
    child: Option<Arc<Child>>,
    starting: bool,
    backoff: Backoff,
    not_before: Option<Instant>,
    failure: Option<UpstreamError>,
}

/// All children of one server.
pub(super) struct Pool {
    name: Name,
    spec: Stdio,
    env: BTreeMap<String, String>,
    startup_timeout: Duration,
    grace: Duration,
    kill: CancellationToken,
    slots: Mutex<Vec<Slot>>,
    assumed: Mutex<Option<Spoken>>,
    changed: Notify,
    pub(super) listeners: Arc<Listeners>,
    pub(super) max_line: Arc<AtomicUsize>,
    stop: CancellationToken,
    stats: Arc<UpstreamStats>,
}

/// What the pool can give.
enum Outlook {
    Child(Arc<Child>),
    /// One is being started, or one more attempt will be made at this time.
    Wait(Option<Instant>),
    Failure(UpstreamError),
}

impl Pool {
    pub(super) fn new(
        name: Name,
        spec: Stdio,
        config: &crate::upstream::UpstreamConfig,
        assumed: Option<Spoken>,
        stats: Arc<UpstreamStats>,
    ) -> Self {
        let slots = (0..spec.instances.clamp(1, MAX_INSTANCES)).map(|_| Slot {
            child: None,
            starting: false,
            backoff: Backoff::new(FIRST_WAIT, LONGEST_WAIT),
            not_before: None,
            failure: None,
        });
        Self {
            name,
            spec,
            env: config.stdio_env.clone(),
            startup_timeout: config.stdio_startup_timeout,
            grace: config.stdio_kill_grace,
            kill: config.kill.clone(),
            slots: Mutex::new(slots.collect()),
            assumed: Mutex::new(assumed),
            changed: Notify::new(),
            listeners: Arc::new(Listeners::new(Arc::clone(&stats))),
            max_line: Arc::new(AtomicUsize::new(MIN_MAX_LINE)),
            stop: CancellationToken::new(),
            stats,
        }
    }

    fn slots(&self) -> MutexGuard<'_, Vec<Slot>> {
        self.slots.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// What answers of this size need.
    pub(super) fn make_room(&self, max_response_bytes: u64) {
        let bytes = usize::try_from(max_response_bytes).unwrap_or(usize::MAX).saturating_add(1 << 10);
        self.max_line.fetch_max(bytes, Ordering::Relaxed);
    }

    /// The least loaded child; with `first`, the one that subscriptions are kept in. Missing ones are started.
    pub(super) async fn child(self: &Arc<Self>, first: bool) -> Result<Arc<Child>, UpstreamError> {
        loop {
            // Before the look, so that no change between look and wait is missed.
            let changed = self.changed.notified();
            tokio::pin!(changed);
            changed.as_mut().enable();
            self.start_missing();
            match self.outlook(first) {
                Outlook::Child(child) => return Ok(child),
                Outlook::Failure(error) => return Err(error),
                Outlook::Wait(None) => changed.await,
                Outlook::Wait(Some(at)) => tokio::select! {
                    () = changed => {}
                    () = tokio::time::sleep_until(at) => {}
                },
            }
        }
    }

    /// The children that run now.
    pub(super) fn running(&self) -> Vec<Arc<Child>> {
        self.slots().iter().filter_map(|slot| slot.child.clone()).collect()
    }

    /// Whether they were ended for good.
    pub(super) fn is_stopped(&self) -> bool {
        self.stop.is_cancelled()
    }

    /// Ends all of them, for good.
    pub(super) fn stop(&self) {
        self.stop.cancel();
        self.changed.notify_waiters();
    }

    fn outlook(&self, first: bool) -> Outlook {
        if self.stop.is_cancelled() {
            let message = "The server was removed or is reached otherwise now.";
            return Outlook::Failure(UpstreamError::unsent(Reason::UpstreamUnavailable, message));
        }
        let slots = self.slots();
        let eligible = || slots.iter().take(if first { 1 } else { usize::MAX });
        let running = eligible().filter_map(|slot| slot.child.as_ref());
        if let Some(child) = running.min_by_key(|child| child.load()) {
            return Outlook::Child(Arc::clone(child));
        }
        if eligible().any(|slot| slot.starting) {
            return Outlook::Wait(None);
        }
        let next = eligible().filter_map(|slot| slot.not_before).min();
        let failure = eligible().find_map(|slot| slot.failure.clone());
        match (next, failure) {
            (_, Some(error)) => Outlook::Failure(error),
            (Some(at), None) if at.saturating_duration_since(Instant::now()) <= PATIENCE => {
                Outlook::Wait(Some(at))
            }
            _ => Outlook::Failure(UpstreamError::unsent(
                Reason::UpstreamUnavailable,
                "The server's process ends again and again; it is started again later.",
            )),
        }
    }

    fn start_missing(self: &Arc<Self>) {
        if self.stop.is_cancelled() {
            return;
        }
        let now = Instant::now();
        let mut slots = self.slots();
        for (at, slot) in slots.iter_mut().enumerate() {
            let due = slot.not_before.is_none_or(|at| at <= now);
            if slot.child.is_none() && !slot.starting && due {
                slot.starting = true;
                tokio::spawn(Arc::clone(self).run(at));
            }
        }
    }

    /// One child from its start to its end.
    async fn run(self: Arc<Self>, at: usize) {
        let assumed = *self.assumed.lock().unwrap_or_else(PoisonError::into_inner);
        let ground = Ground {
            name: &self.name,
            spec: &self.spec,
            env: &self.env,
            grace: self.grace,
            kill: &self.kill,
            max_line: &self.max_line,
            listeners: &self.listeners,
            stats: &self.stats,
            stop: &self.stop,
        };
        let started = tokio::time::timeout(self.startup_timeout, start::start(&ground, assumed)).await;
        let child = match started.unwrap_or_else(|_| Err(start::startup_timed_out())) {
            Ok(child) => child,
            Err(error) => {
                tracing::warn!(server = %self.name, %error, "a child is not usable");
                *self.assumed.lock().unwrap_or_else(PoisonError::into_inner) = None;
                self.settle(at, |slot| {
                    slot.not_before = Some(Instant::now() + slot.backoff.next());
                    slot.failure = Some(error);
                });
                return;
            }
        };
        let spoken = child.greeting().map(|greeting| greeting.spoken);
        *self.assumed.lock().unwrap_or_else(PoisonError::into_inner) = spoken;
        if at == 0 && spoken == Some(Spoken::Legacy) {
            super::subscribe(&child, self.listeners.uris()).await;
        }
        let born = Instant::now();
        self.settle(at, |slot| {
            slot.child = Some(Arc::clone(&child));
            slot.failure = None;
            slot.not_before = None;
        });
        child.gone.cancelled().await;
        self.settle(at, |slot| {
            slot.child = None;
            if born.elapsed() >= SOUND_LIFE {
                slot.backoff.reset();
            }
            slot.not_before = Some(Instant::now() + slot.backoff.next());
        });
    }

    fn settle(&self, at: usize, change: impl FnOnce(&mut Slot)) {
        if let Some(slot) = self.slots().get_mut(at) {
            slot.starting = false;
            change(slot);
        }
        self.changed.notify_waiters();
    }
}
