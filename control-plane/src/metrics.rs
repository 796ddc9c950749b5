//! What a control plane tells Prometheus: read from the rooms at each scrape, so that nothing is counted twice.

use std::fmt;
use std::sync::Arc;

use portcullis_telemetry::Metrics;
use prometheus_client::collector::Collector;
use prometheus_client::encoding::{DescriptorEncoder, EncodeMetric as _};
use prometheus_client::metrics::counter::ConstCounter;
use prometheus_client::metrics::gauge::ConstGauge;

use crate::approvals::calls::HELD_CALL;
use crate::metering::Metering;
use crate::publish::Publisher;
use crate::store::{Store, Vault};
use crate::stream::Planes;

/// What is read at a scrape.
pub(crate) struct Figures {
    pub(crate) store: Arc<dyn Store>,
    pub(crate) vault: Arc<Vault>,
    pub(crate) publisher: Publisher,
    pub(crate) planes: Planes,
    pub(crate) metering: Metering,
}

impl fmt::Debug for Figures {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Figures")
    }
}

/// Registers the figures.
pub(crate) fn register(metrics: &Metrics, figures: Figures) {
    metrics.register(|registry| registry.register_collector(Box::new(figures)));
}

impl Collector for Figures {
    fn encode(&self, mut encoder: DescriptorEncoder<'_>) -> Result<(), fmt::Error> {
        let state = self.store.state();
        let published = self.publisher.current();
        let (version, entries, reports) = published.map_or((0, 0, 0), |published| {
            (published.header.version.0, published.entries.len(), published.reports.len())
        });
        // A collector gets no prefix from the registry.
        let gauges: [(&str, &str, u64); 8] = [
            ("portcullis_store_version", "Version of the store", state.version),
            ("portcullis_store_objects", "Objects in the store", number(state.len())),
            (
                "portcullis_held_calls",
                "Calls that wait for a person or did, as far as they are kept",
                number(state.count(HELD_CALL)),
            ),
            ("portcullis_snapshot_version", "Version of the published snapshot", version),
            ("portcullis_snapshot_entries", "Entries of the published snapshot", number(entries)),
            ("portcullis_snapshot_reports", "What is in the snapshot and not served", number(reports)),
            ("portcullis_secrets_generation", "Generation of the secret part", self.vault.generation()),
            (
                "portcullis_planes_connected",
                "Data planes that are connected",
                number(self.planes.connected()),
            ),
        ];
        for (name, help, value) in gauges {
            let gauge = ConstGauge::new(i64::try_from(value).unwrap_or(i64::MAX));
            gauge.encode(encoder.encode_descriptor(name, help, None, gauge.metric_type())?)?;
        }
        let failures = ConstCounter::new(self.publisher.failures());
        let help = "States that could not be published";
        let descriptor =
            encoder.encode_descriptor("portcullis_publish_failures", help, None, failures.metric_type())?;
        failures.encode(descriptor)?;
        let help = "Tokens that were refused";
        let mut family =
            encoder.encode_descriptor("portcullis_refused_tokens", help, None, failures.metric_type())?;
        for (credential, cause, count) in self.planes.refusals().counts() {
            let labels = [("credential", credential), ("cause", cause)];
            ConstCounter::new(count).encode(family.encode_family(&labels)?)?;
        }
        self.metering.encode(&mut encoder)
    }
}

fn number(count: usize) -> u64 {
    u64::try_from(count).unwrap_or(u64::MAX)
}
