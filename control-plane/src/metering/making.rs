//! A checkpoint in the making: on a thread of its own, from what the disk says of the generation before, so that the bank neither waits
//! for it nor copies what it knows.

use std::io;
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread::JoinHandle;

use super::checkpoint;
use super::log::{after, generation_dir};

/// It is ended, and waited for, when it is dropped: nobody writes into a directory that was given up.
#[derive(Debug)]
pub(super) struct Making {
    thread: Option<JoinHandle<Result<u64, String>>>,
    pub(super) unwanted: Arc<AtomicBool>,
}

impl Making {
    /// Begins to make the checkpoint of a generation, whose log is being written, from the one before it, whose log is not.
    pub(super) fn begin(dir: &Path, generation: u64, segment_bytes: u64) -> io::Result<Self> {
        let before = generation_dir(dir, generation.saturating_sub(1));
        let own = generation_dir(dir, generation);
        let unwanted = Arc::<AtomicBool>::default();
        let wanted = Arc::clone(&unwanted);
        let thread = std::thread::Builder::new().name("metering-books".to_owned()).spawn(move || {
            portcullis_background::step_back();
            make(&before, &own, segment_bytes, &wanted)
        })?;
        Ok(Self { thread: Some(thread), unwanted })
    }

    pub(super) fn is_done(&self) -> bool {
        self.thread.as_ref().is_none_or(JoinHandle::is_finished)
    }

    /// The length of the checkpoint in bytes, or why there is none. Waits for it.
    pub(super) fn made(mut self) -> Result<u64, String> {
        let thread = self.thread.take().ok_or("it was never begun")?;
        thread.join().unwrap_or_else(|_| Err("an internal error".to_owned()))
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

fn make(before: &Path, own: &Path, segment_bytes: u64, unwanted: &AtomicBool) -> Result<u64, String> {
    let books = after(before, segment_bytes, &mut || !unwanted.load(Ordering::Relaxed));
    let books = books.map_err(|error| error.to_string())?;
    checkpoint::write(own, &books).map_err(|error| error.to_string())
}
