//! Figures of snapshot, synchronisation and spool, read when `/metrics` is asked for.

use std::fmt;
use std::sync::Arc;

use prometheus_client::collector::Collector;
use prometheus_client::encoding::{DescriptorEncoder, NoLabelSet};
use prometheus_client::metrics::MetricType;
use prometheus_client::metrics::family::Family;
use prometheus_client::metrics::gauge::Gauge;

use super::{OpsParts, unix_now};
use crate::ledger::Spool;
use crate::sync::{Live, SyncStatus};
use crate::upstream::UpstreamStats;

pub(super) fn register(parts: &OpsParts) {
    parts.metrics.register(|registry| {
        let build = Family::<Vec<(String, String)>, Gauge>::default();
        build.get_or_create(&vec![("version".to_owned(), env!("CARGO_PKG_VERSION").to_owned())]).set(1);
        registry.register("portcullis_build", "The version of this plane; always 1", build);
        registry.register_collector(Box::new(PlaneCollector {
            live: parts.live.clone(),
            sync: parts.sync.clone(),
            spool: parts.spool.clone(),
            upstreams: Arc::clone(&parts.upstreams),
        }));
    });
}

/// What is asked. Not all of [`OpsParts`]: the registry would hold itself, and nothing of a plane would ever be freed.
#[derive(Debug)]
struct PlaneCollector {
    live: Live,
    sync: SyncStatus,
    spool: Spool,
    upstreams: Arc<UpstreamStats>,
}

impl Collector for PlaneCollector {
    fn encode(&self, mut encoder: DescriptorEncoder<'_>) -> Result<(), fmt::Error> {
        let Self { live, sync, spool, upstreams } = self;
        if let Some(snapshot) = live.load() {
            let header = snapshot.header();
            let age = unix_now().as_secs().saturating_sub(header.built_unix_ms / 1000);
            gauge(&mut encoder, "snapshot_version", "The snapshot in force", header.version.0)?;
            gauge(
                &mut encoder,
                "snapshot_age_seconds",
                "Seconds since the snapshot in force was built",
                age,
            )?;
            gauge(
                &mut encoder,
                "snapshot_entries",
                "Entries of the snapshot in force",
                header.entries.into(),
            )?;
        }
        let persisted = u64::from(sync.unsaved().is_none());
        gauge(&mut encoder, "snapshot_persisted", "1 while what is enforced is also on disk", persisted)?;
        let connected = u64::from(sync.is_connected());
        gauge(&mut encoder, "control_plane_connected", "1 while a control plane answers", connected)?;
        counter(&mut encoder, "control_plane_connections", "Conversations begun", sync.connections())?;
        counter(&mut encoder, "snapshots_applied", "Snapshots put in force", sync.applied())?;
        counter(&mut encoder, "snapshots_refused", "Snapshots refused", sync.refused())?;
        counter(
            &mut encoder,
            "uplink_dropped",
            "Signals and findings dropped at their bound",
            sync.dropped(),
        )?;
        let stats = spool.stats();
        counter(&mut encoder, "audit_records", "Audit records written", stats.written)?;
        counter(&mut encoder, "audit_records_failed", "Audit records whose writing failed", stats.failed)?;
        counter(
            &mut encoder,
            "audit_places_refused",
            "Places for audit records that were refused",
            stats.refused,
        )?;
        counter(
            &mut encoder,
            "audit_segments_deleted",
            "Audit segments deleted at the bound",
            stats.deleted_segments,
        )?;
        gauge(&mut encoder, "audit_places", "Places for audit records that are out", stats.places)?;
        gauge(&mut encoder, "audit_bytes", "Bytes of the audit spool, reserved space included", stats.bytes)?;
        for (name, value) in upstreams.figures() {
            let name = format!("upstream_{name}");
            match name.strip_suffix("_total") {
                Some(name) => counter(&mut encoder, name, "Of upstreams, as named", value)?,
                None => gauge(&mut encoder, &name, "Of upstreams, as named", value)?,
            }
        }
        Ok(())
    }
}

fn gauge(encoder: &mut DescriptorEncoder<'_>, name: &str, help: &str, value: u64) -> fmt::Result {
    let value = i64::try_from(value).unwrap_or(i64::MAX);
    encoder
        .encode_descriptor(&format!("portcullis_{name}"), help, None, MetricType::Gauge)?
        .encode_gauge(&value)
}

fn counter(encoder: &mut DescriptorEncoder<'_>, name: &str, help: &str, value: u64) -> fmt::Result {
    encoder
        .encode_descriptor(&format!("portcullis_{name}"), help, None, MetricType::Counter)?
        .encode_counter::<NoLabelSet, u64, u64>(&value, None)
}
