//! From what is stored to what is enforced: build, compile with the data plane's own code, sign, hand out.
//!
//! Every administrative change goes through [`Publisher::transact`]: what would result is compiled *before* it is
//! committed, so that the author hears of what cannot be served; and it is published before the author is answered. Changes
//! of other rooms (what probers report) are published by a task that follows the store.
//!
//! Nothing is kept on disk here: version, time and signature follow from the store alone, so that a restart signs the same.

mod candidate;
mod entries;
mod prepare;
mod published;
mod since;
mod transact;

use std::sync::Arc;

use portcullis_background::Background;
use portcullis_seal::SigningKey;
use std::sync::atomic::{AtomicU64, Ordering};
use tokio::sync::{Mutex, OwnedMutexGuard, watch};
use tokio_util::sync::CancellationToken;

use crate::clock::Clock;
use crate::store::{State, Store};

pub use entries::default_zone;
pub use prepare::PrepareError;
pub use published::{EncodedEntry, Published};
pub(crate) use transact::{Decision, Rehearsed, TransactError};

use candidate::Candidate;
use prepare::Workbench;

type Bench = OwnedMutexGuard<Workbench>;

/// Builds and hands out snapshots. Cheap to clone.
#[derive(Clone)]
pub struct Publisher(Arc<Inner>);

struct Inner {
    store: Arc<dyn Store>,
    key: Arc<SigningKey>,
    clock: Clock,
    background: Background,
    bench: Arc<Mutex<Workbench>>,
    published: watch::Sender<Option<Arc<Published>>>,
    /// The newest version of the store that was built, whether or not the digest changed.
    built: watch::Sender<u64>,
    failures: AtomicU64,
}

impl std::fmt::Debug for Publisher {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Publisher").field("key", &self.0.key).finish_non_exhaustive()
    }
}

impl Publisher {
    /// Publishes what the store holds now, and then what changes in it, until the token is cancelled. Builds and compiles in the
    /// background. Must be called within a tokio runtime.
    ///
    /// What cannot be published stops nobody: data planes keep what they have, and the change that heals it is published.
    pub async fn start(
        store: Arc<dyn Store>,
        key: Arc<SigningKey>,
        clock: Clock,
        background: Background,
        stop: CancellationToken,
    ) -> Self {
        let mut changes = store.watch();
        let publisher = Self(Arc::new(Inner {
            store,
            key,
            clock,
            background,
            bench: Arc::default(),
            published: watch::Sender::new(None),
            built: watch::Sender::new(0),
            failures: AtomicU64::new(0),
        }));
        changes.mark_unchanged();
        publisher.follow().await;
        let follower = publisher.clone();
        tokio::spawn(async move {
            loop {
                tokio::select! {
                    () = stop.cancelled() => return,
                    changed = changes.changed() => if changed.is_err() { return },
                }
                follower.follow().await;
            }
        });
        publisher
    }

    /// What is published now.
    #[must_use]
    pub fn current(&self) -> Option<Arc<Published>> {
        self.0.published.borrow().clone()
    }

    /// What is published, told again with each new version. A version is skipped by those who are slower than the changes.
    #[must_use]
    pub fn subscribe(&self) -> watch::Receiver<Option<Arc<Published>>> {
        self.0.published.subscribe()
    }

    /// Waits until everything that the store held at this version is published. Ends at once when it is.
    pub async fn reached(&self, store_version: u64) {
        // The sender lives in `self`: there is always somebody to wait for.
        let _ = self.0.built.subscribe().wait_for(|built| *built >= store_version).await;
    }

    /// The public half of the key that signs.
    #[must_use]
    pub fn public_key(&self) -> portcullis_seal::PublicKey {
        self.0.key.public_key()
    }

    /// How many states could not be published. Anything but 0 is a fault of Portcullis: data planes keep what they have.
    #[must_use]
    pub fn failures(&self) -> u64 {
        self.0.failures.load(Ordering::Relaxed)
    }

    async fn follow(&self) {
        let bench = Arc::clone(&self.0.bench).lock_owned().await;
        drop(self.catch_up(bench).await);
    }

    /// Publishes what the store holds now, if nobody did yet. Answers the state that is published then.
    async fn catch_up(&self, bench: Bench) -> (Bench, Arc<State>) {
        let state = self.0.store.state();
        let floor = *self.0.built.borrow();
        if floor >= state.version {
            return (bench, state);
        }
        let bench = match self.build(bench, &state, floor).await {
            Ok((prepared, bench)) => {
                self.publish(prepared, state.version);
                bench
            }
            Err((error, bench)) => {
                self.0.failures.fetch_add(1, Ordering::Relaxed);
                let version = state.version;
                tracing::error!(%error, version, "a state cannot be published; data planes keep the snapshot they have");
                // Whoever waits for this version would wait for ever.
                self.0.built.send_replace(version);
                bench
            }
        };
        (bench, state)
    }

    /// The snapshot of a state, of the version and the time at which its digest came about.
    async fn build(
        &self,
        mut bench: Bench,
        state: &Arc<State>,
        floor: u64,
    ) -> Result<(Option<Published>, Bench), (PrepareError, Bench)> {
        let (inner, base) = (Arc::clone(&self.0), Arc::clone(state));
        let runtime = tokio::runtime::Handle::current();
        let step = self.0.background.run(move || {
            let current = inner.published.borrow().clone();
            let prepared =
                runtime.block_on(since::since(&*inner.store, &mut bench, &base, floor)).and_then(|at| {
                    bench.prepare(&Candidate::unchanged(&base), at, &inner.key, current.as_deref())
                });
            (prepared, bench)
        });
        match step.await {
            Ok((Ok(prepared), bench)) => Ok((prepared, bench)),
            Ok((Err(error), bench)) => Err((error, bench)),
            Err(error) => Err((PrepareError::Internal(error.to_string()), self.cleared_bench().await)),
        }
    }

    /// A bench after a panic, which may have left it half done: an empty one costs time and nothing else.
    async fn cleared_bench(&self) -> Bench {
        let mut bench = Arc::clone(&self.0.bench).lock_owned().await;
        *bench = Workbench::default();
        bench
    }

    fn publish(&self, prepared: Option<Published>, store_version: u64) {
        if let Some(published) = prepared
            && let Some(old) = self.0.published.send_replace(Some(Arc::new(published)))
        {
            self.0.background.retire(old);
        }
        self.0.built.send_replace(store_version);
    }
}

#[cfg(test)]
mod tests;
