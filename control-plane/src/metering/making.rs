//! A checkpoint in the making: on a thread of its own, so that the bank does not wait for it.

use std::io;
use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread::JoinHandle;

use super::books::Books;
use super::checkpoint;

/// It is ended, and waited for, when it is dropped: nobody writes into a directory that was given up.
#[derive(Debug)]
pub(super) struct Making {
    thread: Option<JoinHandle<io::Result<u64>>>,
    pub(super) unwanted: Arc<AtomicBool>,
}

impl Making {
    /// Begins to write the checkpoint of the generation in this directory.
    pub(super) fn begin(generation: PathBuf, books: Books) -> io::Result<Self> {
        let unwanted = Arc::<AtomicBool>::default();
        let wanted = Arc::clone(&unwanted);
        let thread = std::thread::Builder::new().name("metering-books".to_owned()).spawn(move || {
            portcullis_background::step_back();
            checkpoint::write(&generation, &books, &|| !wanted.load(Ordering::Relaxed))
        })?;
        Ok(Self { thread: Some(thread), unwanted })
    }

    pub(super) fn is_done(&self) -> bool {
        self.thread.as_ref().is_none_or(JoinHandle::is_finished)
    }

    /// The length of the checkpoint in bytes, or why there is none. Waits for it.
    pub(super) fn made(mut self) -> io::Result<u64> {
        let thread = self.thread.take().ok_or_else(|| io::Error::other("it was never begun"))?;
        thread.join().unwrap_or_else(|_| Err(io::Error::other("an internal error")))
    }
}

impl Drop for Making {
    fn drop(&mut self) {
        self.unwanted.store(true, Ordering::Relaxed);
        if let Some(thread) = self.thread.take() {
            // What it came to is found at the next start.
            let _ = thread.join();
        }
    }
}
