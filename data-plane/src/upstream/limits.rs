//! What a call may cost: how many at once, and whether it has left already when its time is over.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU32, Ordering};
use std::time::Duration;

use portcullis_policy::Reason;

use super::UpstreamError;

/// How many calls, or streams, of one server are open. Lives beside the snapshot and survives its swaps.
#[derive(Debug, Clone, Default)]
pub(super) struct Gauge(Arc<AtomicU32>);

impl Gauge {
    /// One more, if that is not too many.
    pub(super) fn enter(&self, max: u32) -> Option<Place> {
        let admit = |open: u32| (open < max).then(|| open.saturating_add(1));
        self.0.fetch_update(Ordering::AcqRel, Ordering::Acquire, admit).ok()?;
        Some(Place(Arc::clone(&self.0)))
    }
}

/// A place among the open ones; given back on drop.
#[derive(Debug)]
pub(super) struct Place(Arc<AtomicU32>);

impl Drop for Place {
    fn drop(&mut self) {
        self.0.fetch_sub(1, Ordering::AcqRel);
    }
}

/// Whether a request may have reached the server.
#[derive(Debug, Default)]
pub(super) struct Sent {
    /// The server may act on it.
    pending: AtomicBool,
    /// Something of it may have been written, whatever became of that.
    written: AtomicBool,
}

impl Sent {
    /// It is being sent.
    pub(super) fn set(&self) {
        self.pending.store(true, Ordering::Release);
        self.written.store(true, Ordering::Release);
    }

    /// The server did not take it.
    pub(super) fn clear(&self) {
        self.pending.store(false, Ordering::Release);
    }

    /// Whether it was sent.
    pub(super) fn get(&self) -> bool {
        self.pending.load(Ordering::Acquire)
    }

    /// Sends it. Until this has ended it counts as written; afterwards not where no connection was there to write it to and
    /// nothing was written before.
    pub(super) async fn by<T>(
        &self,
        sending: impl Future<Output = Result<T, UpstreamError>>,
    ) -> Result<T, UpstreamError> {
        let before = self.written.load(Ordering::Acquire);
        self.set();
        let sent = sending.await;
        if sent.as_ref().is_err_and(|error| !error.reached) {
            self.written.store(before, Ordering::Release);
        }
        sent
    }

    /// Whether nothing of it was ever written.
    pub(super) fn never_written(&self) -> bool {
        !self.written.load(Ordering::Acquire)
    }
}

/// The server's time is over.
pub(super) fn timed_out(after: Duration, reached: bool) -> UpstreamError {
    let message = format!("The server took longer than the {} ms that it is given.", after.as_millis());
    UpstreamError {
        reason: Reason::UpstreamTimeout,
        message,
        cause: None,
        http_status: None,
        reached,
        untouched: false,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_place_is_given_back_and_the_bound_holds() {
        let gauge = Gauge::default();
        let first = gauge.enter(2).unwrap();
        let second = gauge.enter(2).unwrap();
        assert!(gauge.enter(2).is_none());
        assert!(gauge.enter(3).is_some(), "a raised limit holds at once");
        drop(first);
        assert!(gauge.enter(2).is_some());
        drop(second);
        assert!(gauge.enter(0).is_none());
    }

    #[tokio::test]
    async fn a_request_is_untouched_only_where_no_attempt_had_a_connection() {
        let failed = |reached: bool| async move {
            let error = UpstreamError::sent(Reason::UpstreamUnavailable, "");
            Err::<(), _>(if reached { error } else { error.not_reached() })
        };
        for (attempts, untouched) in [
            (vec![], true),
            (vec![false], true),
            (vec![false, false], true),
            (vec![true], false),
            // Sent and refused without effect; then the server went away.
            (vec![true, false], false),
        ] {
            let sent = Sent::default();
            for reached in &attempts {
                sent.by(failed(*reached)).await.unwrap_err();
                sent.clear();
            }
            assert_eq!(sent.never_written(), untouched, "{attempts:?}");
        }
        let sent = Sent::default();
        let begun = tokio::time::timeout(Duration::ZERO, sent.by(std::future::pending::<Result<(), _>>()));
        assert!(begun.await.is_err());
        assert!(!sent.never_written(), "what was broken off may have been written");
        let sent = Sent::default();
        sent.by(std::future::ready(Ok(()))).await.unwrap();
        assert!(!sent.never_written());
    }
}
