//! The thread beside the requests: it does what takes time, so that they need not.

use std::io;
use std::sync::{Arc, Condvar, Mutex, PoisonError, Weak};
use std::thread::JoinHandle;
use std::time::Duration;

use super::files::Files;

/// How often it looks when nobody wakes it. The most that a loss of power can take is what was written since.
const ROUND: Duration = Duration::from_secs(1);

/// Wakes the keeper.
#[derive(Debug, Default, Clone)]
pub(super) struct Wake(Arc<(Mutex<Call>, Condvar)>);

#[derive(Debug, Default)]
struct Call {
    now: bool,
    end: bool,
}

impl Wake {
    pub(super) fn wake(&self) {
        self.call(|call| call.now = true);
    }

    fn call(&self, change: impl FnOnce(&mut Call)) {
        let (call, condition) = &*self.0;
        change(&mut call.lock().unwrap_or_else(PoisonError::into_inner));
        condition.notify_one();
    }

    /// False when it is over.
    fn wait(&self) -> bool {
        let (call, condition) = &*self.0;
        let guard = call.lock().unwrap_or_else(PoisonError::into_inner);
        let (mut guard, _) = condition
            .wait_timeout_while(guard, ROUND, |call| !call.now && !call.end)
            .unwrap_or_else(PoisonError::into_inner);
        guard.now = false;
        !guard.end
    }
}

/// Ends the thread, and waits for its end, when it is dropped. Places that are out outlive it; the last one closes the files.
#[derive(Debug)]
pub(super) struct Keeper {
    wake: Wake,
    thread: Option<JoinHandle<()>>,
}

impl Keeper {
    pub(super) fn start(files: &Arc<Files>) -> io::Result<Self> {
        let (wake, weak) = (files.wake.clone(), Arc::downgrade(files));
        let own = wake.clone();
        let thread =
            std::thread::Builder::new().name("audit-keeper".to_owned()).spawn(move || keep(&wake, &weak))?;
        Ok(Self { wake: own, thread: Some(thread) })
    }
}

impl Drop for Keeper {
    fn drop(&mut self) {
        self.wake.call(|call| call.end = true);
        // A round that is under way ends first; a keeper that failed has nothing left to end.
        let _ = self.thread.take().map(JoinHandle::join);
    }
}

fn keep(wake: &Wake, files: &Weak<Files>) {
    while wake.wait() {
        let Some(files) = files.upgrade() else { return };
        files.tend();
    }
}
