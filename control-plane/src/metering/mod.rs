//! Metering: what data planes may spend is granted here, and written down before it is said.
//!
//! The rules are those of `portcullis_metering`; this room gives them a disk, a clock and a wire. [`Bank`](bank) keeps the accounts in a
//! journal of its own, [`limits`] lends shares from memory, [`follow`] puts what is published in force, [`service`] talks with data
//! planes, and [`liveness`] writes off what those hold that are gone. What holds, and why, is in `docs/metering.md`.

mod bank;
mod books;
mod checkpoint;
mod conversation;
pub(crate) mod figures;
mod fleet;
mod follow;
mod generations;
mod known;
mod limits;
mod liveness;
mod log;
mod making;
mod service;
mod standing;
mod wire;

use std::path::Path;
use std::sync::Arc;

use tokio::sync::watch;
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

pub(crate) use bank::Bank;
pub(crate) use liveness::Patience;
pub(crate) use service::Leases;
pub(crate) use standing::Standing;

use crate::clock::Clock;
use crate::publish::Published;
use crate::store::StoreError;
use crate::stream::PlaneDoor;

/// The room. Cheap to clone.
#[derive(Debug, Clone)]
pub(crate) struct Metering {
    /// Accounts.
    pub(crate) bank: Bank,
    fleet: fleet::Fleet,
    limits: Arc<limits::Limits>,
    sums: Arc<figures::Sums>,
}

impl Metering {
    /// Opens what is in this directory. Blocks: it reads the log.
    pub(crate) fn open(dir: &Path, clock: Clock) -> Result<Self, StoreError> {
        let (log, books) = log::Log::open(dir)?;
        let limits = Arc::new(limits::Limits::after(books.planes.is_empty()));
        Ok(Self {
            bank: Bank::over(dir, log, books, clock)?,
            fleet: fleet::Fleet::default(),
            limits,
            sums: Arc::default(),
        })
    }

    /// The gRPC service, for planes that this door admits.
    pub(crate) fn service(&self, door: PlaneDoor, stop: CancellationToken) -> Leases {
        Leases::new(service::Parts {
            door,
            bank: self.bank.clone(),
            fleet: self.fleet.clone(),
            limits: Arc::clone(&self.limits),
            stop,
        })
    }

    /// Works until the token is cancelled; then the bank's directory is free.
    pub(crate) fn start(
        &self,
        tasks: &TaskTracker,
        published: watch::Receiver<Option<Arc<Published>>>,
        patience: Patience,
        stop: &CancellationToken,
    ) {
        let bank = self.bank.clone();
        tasks.spawn(follow::follow(bank.clone(), Arc::clone(&self.limits), published, stop.clone()));
        tasks.spawn(liveness::watch(bank.clone(), self.fleet.clone(), patience, stop.clone()));
        tasks.spawn(figures::sum_up(bank.clone(), Arc::clone(&self.sums), stop.clone()));
        let stop = stop.clone();
        tasks.spawn(async move {
            stop.cancelled().await;
            bank.stop().await;
        });
    }
}
