//! Work that takes long and that callers are not to feel: compiling a policy, writing it down, taking an old one apart.
//!
//! It runs on one thread of its own, so that what one piece of work allocated the next one frees where it is cheap, and on Linux
//! below the threads that serve: where cores are scarce, a call that has something to do goes first, and the work still gets its
//! part.

use std::any::Any;
use std::io;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::mpsc::{Receiver, RecvTimeoutError, SyncSender, sync_channel};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use tokio::sync::{Semaphore, oneshot};

/// How far below the threads that serve: about a third of their weight where cores are scarce. Much less, and a flood of calls
/// would hold up the very policy that is to stop it.
#[cfg(target_os = "linux")]
const BELOW: i32 = 5;

/// The most things that wait to be taken apart; more are left to whoever lets go of them last.
const MAX_RETIRED: usize = 64;
/// How often the thread looks whether somebody still holds what is to be taken apart.
const LOOK: Duration = Duration::from_millis(100);

type Job = Box<dyn FnOnce() + Send>;
type Retired = Arc<dyn Any + Send + Sync>;

/// The thread. Clones share it; it ends with the last of them, when its work is done.
#[derive(Clone)]
pub struct Background {
    jobs: SyncSender<Job>,
    /// Whoever has it may send one job: there is always room for that.
    turn: Arc<Semaphore>,
    retired: Arc<Mutex<Vec<Retired>>>,
}

/// The work panicked: what it was to make is not there. The thread goes on.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("work in the background failed: {0}")]
pub struct Failed(String);

impl std::fmt::Debug for Background {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Background").finish_non_exhaustive()
    }
}

impl Background {
    /// Starts the thread.
    ///
    /// # Errors
    /// When the machine has no thread left.
    pub fn start(name: &str) -> io::Result<Self> {
        let (jobs, queue) = sync_channel(1);
        let retired = Arc::<Mutex<Vec<Retired>>>::default();
        let shared = Arc::clone(&retired);
        std::thread::Builder::new().name(name.to_owned()).spawn(move || {
            step_back();
            serve(&queue, &shared);
        })?;
        Ok(Self { jobs, turn: Arc::new(Semaphore::new(1)), retired })
    }

    /// Does a piece of work and gives what it made. Work is done in the order in which it was asked for; it is done to its end also
    /// where nobody waits for it any more.
    ///
    /// # Errors
    /// [`Failed`], if it panicked.
    pub async fn run<T: Send + 'static>(
        &self,
        work: impl FnOnce() -> T + Send + 'static,
    ) -> Result<T, Failed> {
        let gone = || Failed("its thread is gone".to_owned());
        let turn = Arc::clone(&self.turn).acquire_owned().await.map_err(|_| gone())?;
        let (tell, told) = oneshot::channel();
        let job: Job = Box::new(move || {
            let made = catch_unwind(AssertUnwindSafe(work)).map_err(|panic| Failed(said(&*panic)));
            drop(turn);
            // Whoever asked may have gone.
            let _ = tell.send(made);
        });
        self.jobs.try_send(job).map_err(|_| gone())?;
        told.await.map_err(|_| gone())?
    }

    /// Takes something large apart here as soon as nobody else holds it, and not in the middle of a call that happened to hold it
    /// last.
    pub fn retire<T: Send + Sync + 'static>(&self, old: Arc<T>) {
        {
            let mut retired = self.retired.lock().unwrap_or_else(PoisonError::into_inner);
            if retired.len() >= MAX_RETIRED {
                return;
            }
            retired.push(old);
        }
        // A thread that has work looks after that; one that has none is nudged.
        if let Ok(turn) = Arc::clone(&self.turn).try_acquire_owned() {
            let _ = self.jobs.try_send(Box::new(|| drop(turn)));
        }
    }
}

fn serve(queue: &Receiver<Job>, retired: &Mutex<Vec<Retired>>) {
    loop {
        let waits = take_apart(retired);
        let job = if waits {
            match queue.recv_timeout(LOOK) {
                Err(RecvTimeoutError::Timeout) => continue,
                Ok(job) => Some(job),
                Err(RecvTimeoutError::Disconnected) => None,
            }
        } else {
            queue.recv().ok()
        };
        match job {
            Some(job) => job(),
            None => return,
        }
    }
}

/// Drops what nobody else holds; whether anything is left.
fn take_apart(retired: &Mutex<Vec<Retired>>) -> bool {
    let (free, left) = {
        let mut retired = retired.lock().unwrap_or_else(PoisonError::into_inner);
        // Nobody can take another reference from the only one.
        let free: Vec<Retired> = retired.extract_if(.., |old| Arc::strong_count(old) == 1).collect();
        (free, !retired.is_empty())
    };
    for old in free {
        if catch_unwind(AssertUnwindSafe(|| drop(old))).is_err() {
            tracing::error!("taking something apart in the background failed");
        }
    }
    left
}

fn said(panic: &(dyn Any + Send)) -> String {
    let text = panic.downcast_ref::<&str>().map(|text| (*text).to_owned());
    text.or_else(|| panic.downcast_ref::<String>().cloned()).unwrap_or_else(|| "it panicked".to_owned())
}

/// Lets the threads that serve go before this one, for good. Where the machine does not allow it, its work is merely as important as
/// theirs. For a thread that is begun for one piece of work.
pub fn step_back() {
    // There a priority is a thread's own; elsewhere it is the process's.
    #[cfg(target_os = "linux")]
    if let Err(error) = rustix::process::nice(BELOW) {
        tracing::debug!(%error, "work in the background runs beside what serves, not below it");
    }
}

#[cfg(test)]
mod tests;
