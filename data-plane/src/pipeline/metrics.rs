//! Figures of calls. Labels come from what was configured and approved, never from what a client invents.
//!
//! Plain atomics that nobody waits for; `ops` reads them when `/metrics` is asked for.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering::Relaxed};
use std::time::Duration;

use portcullis_policy::Reason;
use portcullis_policy::resource::Name;
use prometheus_client::collector::Collector;
use prometheus_client::encoding::{DescriptorEncoder, MetricEncoder, NoLabelSet};
use prometheus_client::metrics::MetricType;

use super::shards::Shards;
use super::tally::Tally;
use crate::ledger::Outcome;

/// Series of calls that are kept; calls beyond it are counted without server and tool.
const MAX_SERIES: usize = 65_536;

/// Upper bounds of the latency histograms, in microseconds.
const BUCKETS_MICROS: [u64; 14] = [
    100, 250, 500, 1_000, 2_500, 5_000, 10_000, 25_000, 50_000, 100_000, 250_000, 1_000_000, 5_000_000,
    30_000_000,
];

/// Figures of all calls of a data plane. Clones share them.
#[derive(Debug, Clone)]
pub struct Metrics(Arc<Figures>);

impl Default for Metrics {
    fn default() -> Self {
        Self(Arc::new(Figures::new()))
    }
}

impl std::ops::Deref for Metrics {
    type Target = Figures;

    fn deref(&self) -> &Figures {
        &self.0
    }
}

/// What is counted.
#[derive(Debug)]
pub struct Figures {
    turned_away: Vec<AtomicU64>,
    denied: Vec<AtomicU64>,
    calls: Shards<Series, Arc<Outcomes>>,
    other_calls: Outcomes,
    total: Histogram,
    own: Histogram,
    /// Requests that are being served now.
    pub in_flight: AtomicU64,
    /// Event streams that are open now.
    pub open_streams: AtomicU64,
    /// Legacy sessions opened.
    pub sessions_opened: AtomicU64,
    /// Records that had no place where none was required, or that could not be written.
    pub records_lost: AtomicU64,
    /// Bytes kept for legacy clients that may resume a stream.
    pub replay_bytes: AtomicU64,
    /// Servers that did not answer while a list was put together from several.
    pub list_parts_failed: AtomicU64,
    /// Resource URIs hidden since two granted servers offer them.
    pub resources_hidden: AtomicU64,
    answered: AtomicU64,
    /// What is counted of each server for the control plane.
    pub tally: Tally,
}

#[derive(Debug, Clone, PartialEq, Eq, Hash)]
struct Series {
    server: Option<Name>,
    method: &'static str,
    name: Arc<str>,
}

#[derive(Debug, Default)]
struct Outcomes([AtomicU64; 4]);

impl Outcomes {
    fn add(&self, outcome: Outcome) {
        if let Some(counter) = self.0.get(place(outcome)) {
            counter.fetch_add(1, Relaxed);
        }
    }
}

const OUTCOMES: [&str; 4] = ["ok", "tool_error", "error", "cancelled"];

const fn place(outcome: Outcome) -> usize {
    match outcome {
        Outcome::Ok => 0,
        Outcome::ToolError => 1,
        Outcome::Error => 2,
        Outcome::Cancelled => 3,
    }
}

#[derive(Debug, Default)]
struct Histogram {
    buckets: [AtomicU64; BUCKETS_MICROS.len() + 1],
    sum_micros: AtomicU64,
}

impl Histogram {
    fn observe(&self, micros: u64) {
        let at = BUCKETS_MICROS.partition_point(|bound| *bound < micros);
        if let Some(bucket) = self.buckets.get(at) {
            bucket.fetch_add(1, Relaxed);
        }
        self.sum_micros.fetch_add(micros, Relaxed);
    }
}

impl Figures {
    fn new() -> Self {
        let by_reason = || Reason::ALL.iter().map(|_| AtomicU64::new(0)).collect();
        Self {
            turned_away: by_reason(),
            denied: by_reason(),
            calls: Shards::new(MAX_SERIES),
            other_calls: Outcomes::default(),
            total: Histogram::default(),
            own: Histogram::default(),
            in_flight: AtomicU64::new(0),
            open_streams: AtomicU64::new(0),
            sessions_opened: AtomicU64::new(0),
            records_lost: AtomicU64::new(0),
            replay_bytes: AtomicU64::new(0),
            list_parts_failed: AtomicU64::new(0),
            resources_hidden: AtomicU64::new(0),
            answered: AtomicU64::new(0),
            tally: Tally::default(),
        }
    }

    /// A request was turned away before it was a call: at the door, by its credential, its endpoint or its form.
    pub fn turned_away(&self, reason: Reason) {
        add(&self.turned_away, reason);
    }

    /// A call was denied, or failed, for a reason.
    pub fn denied(&self, reason: Reason) {
        add(&self.denied, reason);
    }

    /// A call ended. `name` is an approved name, or empty.
    pub(crate) fn ended(
        &self,
        server: Option<&Name>,
        method: &'static str,
        name: &Arc<str>,
        outcome: Outcome,
        took: Duration,
        upstream: Duration,
    ) {
        let series = Series { server: server.cloned(), method, name: Arc::clone(name) };
        match self.calls.get_or_keep(&series, Arc::default) {
            Some(outcomes) => outcomes.add(outcome),
            None => self.other_calls.add(outcome),
        }
        self.total.observe(micros(took));
        self.own.observe(micros(took.saturating_sub(upstream)));
        self.answered.fetch_add(1, Relaxed);
    }

    /// Calls that ended since the plane started.
    #[must_use]
    pub fn calls_total(&self) -> u64 {
        self.answered.load(Relaxed)
    }
}

fn add(counters: &[AtomicU64], reason: Reason) {
    let at = Reason::ALL.iter().position(|known| *known == reason);
    if let Some(counter) = at.and_then(|at| counters.get(at)) {
        counter.fetch_add(1, Relaxed);
    }
}

pub(crate) fn micros(duration: Duration) -> u64 {
    u64::try_from(duration.as_micros()).unwrap_or(u64::MAX)
}

impl Collector for Metrics {
    fn encode(&self, mut encoder: DescriptorEncoder<'_>) -> Result<(), std::fmt::Error> {
        let mut family = encoder.encode_descriptor(
            "portcullis_requests_turned_away",
            "Requests turned away before they were calls: by door, credential, endpoint or form",
            None,
            MetricType::Counter,
        )?;
        by_reason(&mut family, &self.turned_away)?;
        let mut family = encoder.encode_descriptor(
            "portcullis_calls_refused",
            "Calls denied or failed, by reason",
            None,
            MetricType::Counter,
        )?;
        by_reason(&mut family, &self.denied)?;
        self.encode_calls(&mut encoder)?;
        histogram(
            &mut encoder,
            "portcullis_call_seconds",
            "From the head of a request to its record",
            &self.total,
        )?;
        histogram(
            &mut encoder,
            "portcullis_own_seconds",
            "The same without the time spent waiting for an upstream",
            &self.own,
        )?;
        for (name, help, value) in [
            ("portcullis_in_flight", "Requests being served", &self.in_flight),
            ("portcullis_open_streams", "Event streams open", &self.open_streams),
            ("portcullis_replay_bytes", "Bytes kept for clients that resume a stream", &self.replay_bytes),
        ] {
            encoder.encode_descriptor(name, help, None, MetricType::Gauge)?.encode_gauge(&load(value))?;
        }
        for (name, help, value) in [
            ("portcullis_sessions_opened", "Legacy sessions opened", &self.sessions_opened),
            ("portcullis_records_lost", "Records that could not be kept", &self.records_lost),
            ("portcullis_list_parts_failed", "Servers missing from a merged list", &self.list_parts_failed),
            (
                "portcullis_resources_hidden",
                "Resources that two granted servers offer",
                &self.resources_hidden,
            ),
        ] {
            encoder
                .encode_descriptor(name, help, None, MetricType::Counter)?
                .encode_counter::<NoLabelSet, u64, u64>(&load(value).cast_unsigned(), None)?;
        }
        Ok(())
    }
}

fn load(value: &AtomicU64) -> i64 {
    i64::try_from(value.load(Relaxed)).unwrap_or(i64::MAX)
}

fn by_reason(family: &mut MetricEncoder<'_>, counters: &[AtomicU64]) -> Result<(), std::fmt::Error> {
    for (reason, counter) in Reason::ALL.iter().zip(counters) {
        let count = counter.load(Relaxed);
        if count > 0 {
            family
                .encode_family(&[("reason", reason.code())])?
                .encode_counter::<NoLabelSet, u64, u64>(&count, None)?;
        }
    }
    Ok(())
}

impl Figures {
    fn encode_calls(&self, encoder: &mut DescriptorEncoder<'_>) -> Result<(), std::fmt::Error> {
        let mut family =
            encoder.encode_descriptor("portcullis_calls", "Calls by outcome", None, MetricType::Counter)?;
        let mut series: Vec<(Series, Arc<Outcomes>)> = Vec::new();
        self.calls.each(|key, outcomes| series.push((key.clone(), Arc::clone(outcomes))));
        for (key, outcomes) in &series {
            let server = key.server.as_ref().map_or("", Name::as_str);
            one_series(&mut family, server, key.method, &key.name, outcomes)?;
        }
        one_series(&mut family, "", "", "", &self.other_calls)
    }
}

fn one_series(
    family: &mut MetricEncoder<'_>,
    server: &str,
    method: &str,
    name: &str,
    outcomes: &Outcomes,
) -> Result<(), std::fmt::Error> {
    for (outcome, counter) in OUTCOMES.iter().zip(&outcomes.0) {
        let count = counter.load(Relaxed);
        if count > 0 {
            family
                .encode_family(&[
                    ("server", server),
                    ("method", method),
                    ("name", name),
                    ("outcome", outcome),
                ])?
                .encode_counter::<NoLabelSet, u64, u64>(&count, None)?;
        }
    }
    Ok(())
}

fn histogram(
    encoder: &mut DescriptorEncoder<'_>,
    name: &str,
    help: &str,
    histogram: &Histogram,
) -> Result<(), std::fmt::Error> {
    let bounds = BUCKETS_MICROS.iter().map(|micros| seconds(*micros)).chain([f64::MAX]);
    let buckets: Vec<(f64, u64)> =
        bounds.zip(&histogram.buckets).map(|(bound, count)| (bound, count.load(Relaxed))).collect();
    let count = buckets.iter().map(|(_, count)| count).sum();
    encoder.encode_descriptor(name, help, None, MetricType::Histogram)?.encode_histogram::<NoLabelSet>(
        seconds(histogram.sum_micros.load(Relaxed)),
        count,
        &buckets,
        None,
    )
}

#[allow(
    clippy::cast_precision_loss,
    reason = "a metric in seconds; microseconds beyond 2^52 are lost in 142 years"
)]
fn seconds(micros: u64) -> f64 {
    micros as f64 / 1e6
}
