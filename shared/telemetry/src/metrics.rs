//! The metrics of one process, and their text form for Prometheus.

use std::fmt;
use std::sync::{Arc, Mutex, PoisonError};

use prometheus_client::registry::Registry;

/// The content type of [`Metrics::encode`]: OpenMetrics 1.0, which Prometheus reads.
pub const METRICS_CONTENT_TYPE: &str = "application/openmetrics-text; version=1.0.0; charset=utf-8";

/// The registry of one process. Clones share it. Rooms register when they are made and keep the handles of their metrics:
/// a cached handle costs an atomic addition, and nothing here is asked on the way of a call.
#[derive(Clone, Default)]
pub struct Metrics(Arc<Mutex<Registry>>);

impl fmt::Debug for Metrics {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Metrics")
    }
}

impl Metrics {
    /// Lets a room register its metrics. Names begin with `portcullis_`; counters get `_total` by themselves.
    pub fn register<T>(&self, register: impl FnOnce(&mut Registry) -> T) -> T {
        register(&mut self.0.lock().unwrap_or_else(PoisonError::into_inner))
    }

    /// All metrics as text.
    #[must_use]
    pub fn encode(&self) -> String {
        let mut text = String::with_capacity(16 * 1024);
        let registry = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        // Writing to a String cannot fail.
        let _ = prometheus_client::encoding::text::encode(&mut text, &registry);
        text
    }
}

#[cfg(test)]
mod tests {
    use prometheus_client::metrics::counter::Counter;

    use super::Metrics;

    #[test]
    fn a_registered_counter_is_in_the_text() {
        let metrics = Metrics::default();
        let calls = metrics.register(|registry| {
            let calls = Counter::<u64>::default();
            registry.register("portcullis_calls", "Calls", calls.clone());
            calls
        });
        calls.inc();
        let text = metrics.encode();
        assert!(text.contains("portcullis_calls_total 1\n"), "{text}");
        assert!(text.ends_with("# EOF\n"));
    }
}
