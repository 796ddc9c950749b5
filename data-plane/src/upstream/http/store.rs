//! The legacy sessions of a data plane, keyed (server as reached now, principal, client session), with a bound.
//!
//! A session is never shared between principals. One opens it for all who wait. At the bound the one unused longest goes.

use std::collections::HashMap;
use std::future::Future;
use std::hash::{BuildHasher as _, RandomState};
use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use arc_swap::ArcSwapOption;
use portcullis_policy::resource::Uid;
use tokio::sync::Notify;

use super::session::HttpSession;
use crate::upstream::UpstreamError;
use crate::upstream::stats::{UpstreamStats, count};

/// Below this bound one shard keeps the order exact; above it, shards keep requests from waiting for each other.
const SHARD_FROM: usize = 1024;
const SHARDS: usize = 16;

/// How long a call waits for the stream of a listener that came before it.
const LISTENER_PATIENCE: Duration = Duration::from_secs(1);

/// Whose session it is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub(in crate::upstream) struct SessionKey {
    /// The number of the link: a server that is reached otherwise is another one.
    pub(in crate::upstream) link: u64,
    /// The key's uid; nil for the prober.
    pub(in crate::upstream) principal: Uid,
    /// The caller's own session; absent for modern callers.
    pub(in crate::upstream) client: Option<[u8; 16]>,
}

/// Why the last attempt to open a session failed, and when it ended.
type Failure = Option<(Instant, UpstreamError)>;

struct Slot {
    session: ArcSwapOption<HttpSession>,
    opening: tokio::sync::Mutex<Failure>,
    used_ms: AtomicU64,
    /// Listeners of this session whose stream is being opened.
    arriving: AtomicUsize,
    arrived: Notify,
}

/// A listener whose stream is being opened; until this is dropped, calls of the session wait for it.
pub(in crate::upstream) struct Arriving(Arc<Slot>);

impl Drop for Arriving {
    fn drop(&mut self) {
        if self.0.arriving.fetch_sub(1, Ordering::AcqRel) == 1 {
            self.0.arrived.notify_waiters();
        }
    }
}

impl Slot {
    fn usable(&self) -> Option<Arc<HttpSession>> {
        self.session.load_full().filter(|session| !session.is_over())
    }

    /// Whether somebody holds its session beside this slot.
    fn busy(&self) -> bool {
        self.session.load_full().is_some_and(|session| Arc::strong_count(&session) > 2)
            || self.opening.try_lock().is_err()
    }
}

type Shard = HashMap<SessionKey, Arc<Slot>>;

/// All sessions.
pub(in crate::upstream) struct SessionStore {
    shards: Vec<Mutex<Shard>>,
    hasher: RandomState,
    max_in_shard: usize,
    born: Instant,
    stats: Arc<UpstreamStats>,
}

impl std::fmt::Debug for SessionStore {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("SessionStore").field("shards", &self.shards.len()).finish_non_exhaustive()
    }
}

impl SessionStore {
    /// Announces a listener of this session.
    pub(in crate::upstream) fn arriving(&self, key: SessionKey) -> Arriving {
        let slot = self.slot(key);
        slot.arriving.fetch_add(1, Ordering::AcqRel);
        Arriving(slot)
    }

    /// [`SessionStore::obtain`], for a call: waits a moment for listeners that came before it. A server that asks its client
    /// something outside the call's own stream has nobody to ask before that one is open.
    pub(in crate::upstream) async fn obtain_for_call<F>(
        &self,
        key: SessionKey,
        open: impl FnOnce() -> F,
    ) -> Result<Arc<HttpSession>, UpstreamError>
    where
        F: Future<Output = Result<HttpSession, UpstreamError>>,
    {
        let slot = self.slot(key);
        let session = Self::obtain_in(&slot, open).await?;
        if slot.arriving.load(Ordering::Acquire) == 0 {
            return Ok(session);
        }
        let deadline = tokio::time::Instant::now() + LISTENER_PATIENCE;
        loop {
            let arrived = slot.arrived.notified();
            if slot.arriving.load(Ordering::Acquire) == 0
                || tokio::time::timeout_at(deadline, arrived).await.is_err()
            {
                return Ok(session);
            }
        }
    }

    /// Keeps at most `max` sessions.
    pub(in crate::upstream) fn new(max: usize, stats: Arc<UpstreamStats>) -> Self {
        let shards = if max < SHARD_FROM { 1 } else { SHARDS };
        Self {
            shards: (0..shards).map(|_| Mutex::default()).collect(),
            hasher: RandomState::new(),
            max_in_shard: (max / shards).max(1),
            born: Instant::now(),
            stats,
        }
    }

    /// The session of this key, or the one that `open` opens.
    pub(super) async fn obtain<F>(
        &self,
        key: SessionKey,
        open: impl FnOnce() -> F,
    ) -> Result<Arc<HttpSession>, UpstreamError>
    where
        F: Future<Output = Result<HttpSession, UpstreamError>>,
    {
        Self::obtain_in(&self.slot(key), open).await
    }

    async fn obtain_in<F>(slot: &Slot, open: impl FnOnce() -> F) -> Result<Arc<HttpSession>, UpstreamError>
    where
        F: Future<Output = Result<HttpSession, UpstreamError>>,
    {
        if let Some(session) = slot.usable() {
            return Ok(session);
        }
        let arrived = Instant::now();
        let mut failure = slot.opening.lock().await;
        if let Some(session) = slot.usable() {
            return Ok(session);
        }
        if let Some((at, error)) = &*failure
            && *at >= arrived
        {
            return Err(error.clone());
        }
        match open().await {
            Ok(session) => {
                let session = Arc::new(session);
                *failure = None;
                slot.session.store(Some(Arc::clone(&session)));
                Ok(session)
            }
            Err(error) => {
                *failure = Some((Instant::now(), error.clone()));
                Err(error)
            }
        }
    }

    /// The session of this key if there is one.
    pub(super) fn peek(&self, key: &SessionKey) -> Option<Arc<HttpSession>> {
        self.shard(key).get(key).and_then(|slot| slot.usable())
    }

    /// Takes out every session that `leaves` picks.
    pub(in crate::upstream) fn take(&self, leaves: impl Fn(&SessionKey) -> bool) -> Vec<Arc<HttpSession>> {
        let mut taken = Vec::new();
        for shard in &self.shards {
            let mut shard = shard.lock().unwrap_or_else(PoisonError::into_inner);
            let slots =
                shard.extract_if(|key, _| leaves(key)).filter_map(|(_, slot)| slot.session.load_full());
            taken.extend(slots);
        }
        taken
    }

    /// Lets go of sessions that nobody used for `idle`; they end by themselves.
    pub(in crate::upstream) fn sweep(&self, idle: Duration) {
        let oldest = self.now_ms().saturating_sub(millis(idle));
        for shard in &self.shards {
            // Dropped outside the lock.
            let gone: Vec<_> = shard
                .lock()
                .unwrap_or_else(PoisonError::into_inner)
                .extract_if(|_, slot| slot.used_ms.load(Ordering::Relaxed) < oldest && !slot.busy())
                .collect();
            gone.iter().for_each(|_| count(&self.stats.sessions_idled_total));
        }
    }

    fn slot(&self, key: SessionKey) -> Arc<Slot> {
        let now = self.now_ms();
        let mut shard = self.shard(&key);
        if let Some(slot) = shard.get(&key) {
            slot.used_ms.store(now, Ordering::Relaxed);
            return Arc::clone(slot);
        }
        let evicted = if shard.len() >= self.max_in_shard { evict(&mut shard) } else { None };
        let slot = Arc::new(Slot {
            session: ArcSwapOption::empty(),
            opening: tokio::sync::Mutex::default(),
            used_ms: AtomicU64::new(now),
            arriving: AtomicUsize::new(0),
            arrived: Notify::new(),
        });
        shard.insert(key, Arc::clone(&slot));
        drop(shard);
        if evicted.is_some() {
            count(&self.stats.sessions_evicted_total);
        }
        slot
    }

    fn shard(&self, key: &SessionKey) -> MutexGuard<'_, Shard> {
        let count = u64::try_from(self.shards.len()).unwrap_or(1);
        let at = usize::try_from(self.hasher.hash_one(key) % count).unwrap_or_default();
        #[allow(clippy::indexing_slicing, reason = "a remainder of the length; there is always one shard")]
        let shard = &self.shards[at];
        shard.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn now_ms(&self) -> u64 {
        millis(self.born.elapsed())
    }
}

/// Takes out the slot unused longest, one that nobody holds if there is such a one.
fn evict(shard: &mut Shard) -> Option<Arc<Slot>> {
    let oldest = shard
        .iter()
        .min_by_key(|(_, slot)| (slot.busy(), slot.used_ms.load(Ordering::Relaxed)))
        .map(|(key, _)| *key)?;
    shard.remove(&oldest)
}

fn millis(duration: Duration) -> u64 {
    u64::try_from(duration.as_millis()).unwrap_or(u64::MAX)
}
