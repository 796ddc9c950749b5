//! What metering tells Prometheus: sums for each level, never one for each key. The books are summed up every few seconds, apart from
//! scrapes, which must not wait for the bank.

use std::collections::BTreeMap;
use std::fmt;
use std::sync::atomic::Ordering;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use portcullis_metering::{Level, Unit};
use prometheus_client::encoding::{DescriptorEncoder, EncodeMetric as _};
use prometheus_client::metrics::counter::ConstCounter;
use prometheus_client::metrics::gauge::ConstGauge;
use tokio_util::sync::CancellationToken;

use super::Metering;
use super::bank::Bank;
use super::books::Books;

const EVERY: Duration = Duration::from_secs(5);

/// The units of all present periods of a level.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(super) struct Sum {
    budgets: u64,
    granted: u64,
    spent: u64,
    held: u64,
    returned: u64,
    written_off: u64,
    debt: u64,
}

/// The last sums.
#[derive(Debug, Default)]
pub(crate) struct Sums(Mutex<BTreeMap<(Level, Unit), Sum>>);

/// Sums up the books every few seconds, until the token is cancelled or the bank is closed.
pub(super) async fn sum_up(bank: Bank, sums: Arc<Sums>, stop: CancellationToken) {
    loop {
        let Ok(fresh) = bank.read(|books, _| sums_of(books)).await else { return };
        *sums.0.lock().unwrap_or_else(PoisonError::into_inner) = fresh;
        tokio::select! {
            () = stop.cancelled() => return,
            () = tokio::time::sleep(EVERY) => {}
        }
    }
}

pub(super) fn sums_of(books: &Books) -> BTreeMap<(Level, Unit), Sum> {
    let mut sums: BTreeMap<(Level, Unit), Sum> = BTreeMap::new();
    for (account, book) in books.accounts.present() {
        let sum = sums.entry((account.level, account.unit)).or_default();
        let totals = &book.totals;
        sum.budgets += 1;
        for (sum, more) in [
            (&mut sum.granted, totals.granted),
            (&mut sum.spent, totals.spent),
            (&mut sum.held, totals.held),
            (&mut sum.returned, totals.returned),
            (&mut sum.written_off, totals.written_off),
            (&mut sum.debt, book.debt),
        ] {
            *sum = sum.saturating_add(more);
        }
    }
    sums
}

impl Metering {
    /// Tells all figures.
    pub(crate) fn encode(&self, encoder: &mut DescriptorEncoder<'_>) -> Result<(), fmt::Error> {
        let poisoned = u64::from(self.bank.poisoned().is_some());
        let gauges: [(&str, &str, u64); 3] = [
            (
                "portcullis_metering_poisoned",
                "Whether metering answers nothing, because its log failed",
                poisoned,
            ),
            (
                "portcullis_metering_planes",
                "Data planes in conversation about leases",
                u64::try_from(self.fleet.connected()).unwrap_or(u64::MAX),
            ),
            (
                "portcullis_metering_buckets",
                "Buckets of limits whose shares are kept",
                u64::try_from(self.limits.buckets()).unwrap_or(u64::MAX),
            ),
        ];
        for (name, help, value) in gauges {
            let gauge = gauge(value);
            gauge.encode(encoder.encode_descriptor(name, help, None, gauge.metric_type())?)?;
        }
        let counts = self.bank.counts();
        for (name, help, count) in [
            ("portcullis_metering_leases", "Asks for leases that were answered", &counts.leases),
            ("portcullis_metering_syncs", "Rounds that were brought to the disk", &counts.syncs),
            (
                "portcullis_metering_warnings",
                "Budgets that reached their warning threshold",
                &counts.warnings,
            ),
            (
                "portcullis_metering_write_offs",
                "Times that what a plane held in a budget was written off",
                &counts.write_offs,
            ),
            (
                "portcullis_metering_impossible",
                "What data planes said of budgets and cannot be so",
                &counts.impossible,
            ),
        ] {
            let counter = ConstCounter::new(count.load(Ordering::Relaxed));
            counter.encode(encoder.encode_descriptor(name, help, None, counter.metric_type())?)?;
        }
        let sums = self.sums.0.lock().unwrap_or_else(PoisonError::into_inner).clone();
        let help = "Budgets";
        let kind = gauge(0).metric_type();
        let mut family = encoder.encode_descriptor("portcullis_budgets", help, None, kind)?;
        for ((level, unit), sum) in &sums {
            let labels = [("level", level.to_string()), ("unit", unit_name(*unit).to_owned())];
            gauge(sum.budgets).encode(family.encode_family(&labels)?)?;
        }
        let help = "Units of the present periods of all budgets of a level, by where they are";
        let mut family = encoder.encode_descriptor("portcullis_budget_units", help, None, kind)?;
        for ((level, unit), sum) in &sums {
            for (state, value) in [
                ("granted", sum.granted),
                ("spent", sum.spent),
                ("held", sum.held),
                ("returned", sum.returned),
                ("written_off", sum.written_off),
                ("debt", sum.debt),
            ] {
                let labels = [
                    ("level", level.to_string()),
                    ("unit", unit_name(*unit).to_owned()),
                    ("state", state.to_owned()),
                ];
                gauge(value).encode(family.encode_family(&labels)?)?;
            }
        }
        Ok(())
    }
}

fn gauge(value: u64) -> ConstGauge<i64> {
    ConstGauge::new(i64::try_from(value).unwrap_or(i64::MAX))
}

/// A unit as people and metrics name it.
pub(crate) const fn unit_name(unit: Unit) -> &'static str {
    match unit {
        Unit::Calls => "calls",
        Unit::MicroUsd => "micro-usd",
    }
}

#[cfg(test)]
mod tests;
