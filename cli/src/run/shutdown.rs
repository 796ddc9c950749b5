//! SIGTERM and SIGINT: the first asks for a graceful end, the second ends at once.

use std::time::Duration;

use tokio::signal::unix::{SignalKind, signal};
use tokio_util::sync::CancellationToken;

use crate::failure::Failure;
use crate::output;

/// How long the records of calls that are cut off may take to be written.
const LAST_WORDS: Duration = Duration::from_secs(2);
/// The exit status after a second signal, as shells know it of SIGINT.
const INTERRUPTED: i32 = 130;

/// What signals ask for.
#[derive(Debug, Clone, Default)]
pub(crate) struct Shutdown {
    /// Cancelled by the first signal: end when what runs has ended.
    pub(crate) graceful: CancellationToken,
    /// Cancelled by the second: cut off what runs and record it.
    pub(crate) abort: CancellationToken,
}

/// Listens for signals until the process ends. A second one ends it within [`LAST_WORDS`], whatever happens.
pub(crate) fn on_signal() -> Result<Shutdown, Failure> {
    let mut terminate = signal(SignalKind::terminate())?;
    let mut interrupt = signal(SignalKind::interrupt())?;
    let shutdown = Shutdown::default();
    let asked = shutdown.clone();
    tokio::spawn(async move {
        for token in [&asked.graceful, &asked.abort] {
            tokio::select! {
                _ = terminate.recv() => {}
                _ = interrupt.recv() => {}
            }
            token.cancel();
        }
        output::note("ended by a second signal; calls that were running are cut off");
        tokio::time::sleep(LAST_WORDS).await;
        std::process::exit(INTERRUPTED);
    });
    Ok(shutdown)
}

/// After everything has ended: an end that was forced is told by the exit status, even when it took no time.
pub(crate) fn finish(shutdown: &Shutdown, ready: Option<crate::run::ready::ReadyFile>) {
    drop(ready);
    if shutdown.abort.is_cancelled() {
        std::process::exit(INTERRUPTED);
    }
}
