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
pub(super) struct Sent(AtomicBool);

impl Sent {
    /// It is being sent.
    pub(super) fn set(&self) {
        self.0.store(true, Ordering::Release);
    }

    /// The server did not take it.
    pub(super) fn clear(&self) {
        self.0.store(false, Ordering::Release);
    }

    /// Whether it was sent.
    pub(super) fn get(&self) -> bool {
        self.0.load(Ordering::Acquire)
    }
}

/// The server's time is over.
pub(super) fn timed_out(after: Duration, reached: bool) -> UpstreamError {
    let message = format!("The server took longer than the {} ms that it is given.", after.as_millis());
    UpstreamError { reason: Reason::UpstreamTimeout, message, cause: None, http_status: None, reached }
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
}
