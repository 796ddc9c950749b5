//! Figures of this room, as plain atomics: `ops` reads them when `/metrics` is asked for.

use std::sync::atomic::{AtomicU64, Ordering};

macro_rules! stats {
    ($($(#[$doc:meta])* $name:ident,)+) => {
        /// Counters and gauges of this room. All start at 0 and are relaxed: they inform, nothing hangs on them.
        #[derive(Debug, Default)]
        pub struct UpstreamStats {
            $($(#[$doc])* pub $name: AtomicU64,)+
        }

        impl UpstreamStats {
            /// Every figure with its name, for a metrics page.
            #[must_use]
            pub fn figures(&self) -> Vec<(&'static str, u64)> {
                vec![$((stringify!($name), self.$name.load(Ordering::Relaxed)),)+]
            }
        }
    };
}

stats! {
    /// Requests sent to upstreams, retries not counted.
    requests_total,
    /// Requests sent again because nothing of them had been processed.
    retries_total,
    /// Times that a server was asked which era it speaks.
    era_detections_total,
    /// Legacy sessions open now.
    sessions_open,
    /// Legacy sessions opened.
    sessions_opened_total,
    /// Legacy sessions that the upstream had forgotten.
    sessions_expired_total,
    /// Legacy sessions ended because they were idle.
    sessions_idled_total,
    /// Legacy sessions ended because there were too many.
    sessions_evicted_total,
    /// Streams taken up again after they broke.
    streams_resumed_total,
    /// Addresses that were not dialled because the server's hosting forbids them.
    addresses_refused_total,
    /// stdio children running now.
    children_running,
    /// stdio children started.
    children_started_total,
    /// stdio children that ended by themselves.
    children_exited_total,
    /// Messages of children that nobody could be given.
    messages_dropped_total,
}

/// Adds one.
pub(crate) fn count(counter: &AtomicU64) {
    counter.fetch_add(1, Ordering::Relaxed);
}

/// Takes one from a gauge.
pub(crate) fn uncount(gauge: &AtomicU64) {
    gauge.fetch_sub(1, Ordering::Relaxed);
}
