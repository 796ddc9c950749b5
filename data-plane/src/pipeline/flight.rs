//! How many requests are served at once on this plane, with a bound; and gauges that count while something lives.

use std::sync::atomic::{AtomicU64, Ordering};

use super::metrics::{Figures, Metrics};

/// One request that is being served; given back when dropped.
#[derive(Debug)]
pub(super) struct Flight(Metrics);

impl Flight {
    /// `None` at the bound.
    pub(super) fn begin(metrics: &Metrics, bound: u64) -> Option<Self> {
        let flight = Self(metrics.clone());
        (metrics.in_flight.fetch_add(1, Ordering::Relaxed) < bound).then_some(flight)
    }
}

impl Drop for Flight {
    fn drop(&mut self) {
        self.0.in_flight.fetch_sub(1, Ordering::Relaxed);
    }
}

/// An amount that counts in a gauge while this lives.
#[derive(Debug)]
pub(crate) struct Held {
    metrics: Metrics,
    gauge: fn(&Figures) -> &AtomicU64,
    amount: u64,
}

impl Held {
    /// Bytes that are kept for a client that may resume.
    pub(crate) fn count(metrics: &Metrics, bytes: u64) -> Self {
        Self::add(metrics, |figures| &figures.replay_bytes, bytes)
    }

    /// One open stream; `None` at the bound.
    pub(crate) fn stream(metrics: &Metrics, bound: u64) -> Option<Self> {
        let held = Self::add(metrics, |figures| &figures.open_streams, 1);
        (metrics.open_streams.load(Ordering::Relaxed) <= bound).then_some(held)
    }

    fn add(metrics: &Metrics, gauge: fn(&Figures) -> &AtomicU64, amount: u64) -> Self {
        gauge(metrics).fetch_add(amount, Ordering::Relaxed);
        Self { metrics: metrics.clone(), gauge, amount }
    }
}

impl Drop for Held {
    fn drop(&mut self) {
        (self.gauge)(&self.metrics).fetch_sub(self.amount, Ordering::Relaxed);
    }
}
