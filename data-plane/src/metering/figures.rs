//! What is counted of metering, and how it is told on `/metrics`.

use std::fmt;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering::Relaxed};

use portcullis_metering::{Level, Unit};
use prometheus_client::collector::Collector;
use prometheus_client::encoding::{DescriptorEncoder, NoLabelSet};
use prometheus_client::metrics::MetricType;

use super::Metering;

/// Plain counters.
#[derive(Debug, Default)]
pub(super) struct Figures {
    pub(super) leases_asked: AtomicU64,
    pub(super) answers: AtomicU64,
    pub(super) conversations: AtomicU64,
    pub(super) other_planes: AtomicU64,
    syncs: AtomicU64,
    failures: AtomicU64,
    failing: AtomicBool,
    denied: [AtomicU64; 5],
}

impl Figures {
    /// A batch is on disk. True if the one before was not.
    pub(super) fn synced(&self) -> bool {
        self.syncs.fetch_add(1, Relaxed);
        self.failing.swap(false, Relaxed)
    }

    /// A batch is not on disk. True if the one before was.
    pub(super) fn sync_failed(&self) -> bool {
        self.failures.fetch_add(1, Relaxed);
        !self.failing.swap(true, Relaxed)
    }

    /// Whether the ledger cannot be written at the moment.
    pub(super) fn is_failing(&self) -> bool {
        self.failing.load(Relaxed)
    }

    /// A budget of this level denied a call.
    pub(super) fn denied(&self, level: Level) {
        if let Some(counter) = self.denied.get(place(level)) {
            counter.fetch_add(1, Relaxed);
        }
    }
}

const LEVELS: [Level; 5] = [Level::Customer, Level::Team, Level::Key, Level::Server, Level::Tool];

const fn place(level: Level) -> usize {
    match level {
        Level::Customer => 0,
        Level::Team => 1,
        Level::Key => 2,
        Level::Server => 3,
        Level::Tool => 4,
    }
}

const fn unit(unit: Unit) -> &'static str {
    match unit {
        Unit::Calls => "calls",
        Unit::MicroUsd => "micro_usd",
    }
}

impl Collector for Metering {
    fn encode(&self, mut encoder: DescriptorEncoder<'_>) -> Result<(), fmt::Error> {
        let figures = self.figures();
        let purse = self.purse();
        let mut held = encoder.encode_descriptor(
            "portcullis_budget_units_held",
            "Free units of budgets in the hands of this plane, by level",
            None,
            MetricType::Gauge,
        )?;
        for ((level, of), units) in purse.held() {
            let labels = [("level", level.to_string()), ("unit", unit(of).to_owned())];
            held.encode_family(&labels)?.encode_gauge(&i64::try_from(units).unwrap_or(i64::MAX))?;
        }
        let mut denied = encoder.encode_descriptor(
            "portcullis_budget_denials",
            "Calls that a budget denied, by level",
            None,
            MetricType::Counter,
        )?;
        for (level, count) in LEVELS.iter().zip(&figures.denied) {
            denied
                .encode_family(&[("level", level.to_string())])?
                .encode_counter::<NoLabelSet, u64, u64>(&count.load(Relaxed), None)?;
        }
        let (limiters, gates) = self.limits().counts();
        let flag = |on: bool| u64::from(on);
        for (name, help, value) in [
            ("budget_accounts", "Accounts of budgets in use", purse.accounts() as u64),
            ("metering_outage", "1 while no control plane answers asks for budgets", flag(self.is_cut_off())),
            (
                "metering_ledger_failing",
                "1 while the ledger of budgets cannot be written",
                flag(figures.is_failing()),
            ),
            ("rate_limiters", "Rate limits in use", limiters),
            ("concurrency_gates", "Limits of calls at once in use", gates),
        ] {
            encoder
                .encode_descriptor(&format!("portcullis_{name}"), help, None, MetricType::Gauge)?
                .encode_gauge(&i64::try_from(value).unwrap_or(i64::MAX))?;
        }
        for (name, help, value) in [
            ("leases_asked", "Asks for units of budgets", figures.leases_asked.load(Relaxed)),
            ("lease_answers", "Answers to them", figures.answers.load(Relaxed)),
            (
                "lease_conversations",
                "Conversations about metering begun",
                figures.conversations.load(Relaxed),
            ),
            ("metering_ledger_syncs", "Batches that were brought to the ledger", figures.syncs.load(Relaxed)),
            ("metering_ledger_failures", "Batches that could not be", figures.failures.load(Relaxed)),
            (
                "metering_planes_abandoned",
                "Times that this plane had to come as another one",
                figures.other_planes.load(Relaxed),
            ),
            (
                "budget_debts",
                "Times that a budget let a call pass without units, as its onOutage says",
                purse.debts(),
            ),
        ] {
            encoder
                .encode_descriptor(&format!("portcullis_{name}"), help, None, MetricType::Counter)?
                .encode_counter::<NoLabelSet, u64, u64>(&value, None)?;
        }
        Ok(())
    }
}
