//! Metering on this plane: what it holds of budgets, its shares of limits, and what of them a call meets. The rules are in
//! `portcullis_metering`; what holds and why is in `docs/metering.md`.
//!
//! A call touches `enter` and, through its `meter`, atomics. Beside the calls, `keeper` beats, `talk` speaks with the control plane
//! (`wire` is the form of that), and `writer`, a thread, brings the `book` to the `disk`. `limits` finds rates and calls at once,
//! `witness` asks the audit spool after a crash, `refused` has the words, `figures` the counters.

mod book;
mod clock;
mod disk;
mod enter;
mod figures;
mod keeper;
mod limits;
mod meter;
mod refused;
mod talk;
mod wire;
mod witness;
mod writer;

use std::hash::RandomState;
use std::io;
use std::path::Path;
use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering::Release};
use std::sync::{Arc, Mutex, OnceLock, PoisonError};
use std::time::Duration;

use arc_swap::ArcSwap;
use portcullis_metering::purse::{Purse, Settings};
use portcullis_metering::{Holder, Mono, Repeats};
use portcullis_proto::lease::v1::MeterRequest;
use tokio::sync::{Notify, mpsc, watch};
use uuid::Uuid;

pub use clock::MonoClock;
pub use enter::{Asked, Ended, Entered, Held};
pub use keeper::Keeper;
pub use refused::Refused;

use crate::ledger::{SpentFacts, SpentLine};

use book::Book;
use disk::Directory;
use figures::Figures;
use limits::Limits;
use writer::{Told, Writer};

/// The ledger's directory within a data plane's state.
pub const DIRECTORY: &str = "metering";

/// Calls that the loop breaker remembers.
const REMEMBERED: usize = 65_536;

/// How metering behaves.
#[derive(Debug, Clone, Copy)]
pub struct MeteringConfig {
    /// How long a call waits for the next answer when the lease in hand is empty; it is denied then.
    pub empty_wait: Duration,
    /// How leases are held.
    pub purse: Settings,
}

impl Default for MeteringConfig {
    fn default() -> Self {
        Self { empty_wait: Duration::from_millis(20), purse: Settings::default() }
    }
}

/// The state of metering cannot be used: a fault of the machine, or of the configuration.
#[derive(Debug, thiserror::Error)]
#[error("metering ledger {path}: {source}", path = path.display())]
pub struct MeteringError {
    /// The directory.
    pub path: std::path::PathBuf,
    /// Why.
    pub source: io::Error,
}

/// What a call cost.
#[derive(Debug)]
pub struct Settlement {
    /// In millionths of a US dollar.
    pub cost_micro_usd: u64,
    /// What its accounts have spent by now; none where no account paid from a lease.
    pub spent: Option<Box<SpentFacts>>,
}

/// Metering on this plane. Clones share it.
#[derive(Debug, Clone)]
pub struct Metering(Arc<Inner>);

#[derive(Debug)]
struct Inner {
    config: MeteringConfig,
    clock: MonoClock,
    purse: ArcSwap<Purse>,
    /// Counts the purses: what was found by an older one is out of date.
    generation: AtomicU64,
    limits: Limits,
    /// How many meters there are.
    meters: Arc<AtomicUsize>,
    repeats: OnceLock<Repeats>,
    /// Random for each process: nobody outside can aim at a mark.
    hasher: RandomState,
    /// Rung when a reservation ran low or found nothing, or a limit is new.
    urgent: Notify,
    /// Rung when a call that found nothing may find something.
    news: Arc<Notify>,
    /// Calls that wait for a lease.
    waiting: AtomicUsize,
    figures: Arc<Figures>,
    /// Where asks go, while a control plane listens to them.
    link: Mutex<Option<mpsc::Sender<MeterRequest>>>,
    writer: Option<Writer>,
}

impl Default for Metering {
    fn default() -> Self {
        Self::alone()
    }
}

impl Metering {
    /// Of a plane that no control plane ever answers: each budget and limit does what its `onOutage` says.
    #[must_use]
    pub fn alone() -> Self {
        let config = MeteringConfig::default();
        let purse = Purse::new(Holder { plane: Uuid::nil(), life: 1 }, config.purse);
        purse.cut_off();
        Self::new(config, MonoClock::machine(), Arc::new(purse), Told::new(), None)
    }

    /// Opens the ledger in a directory, which is made when it is missing, and begins a life. `spool` is where the audit records of this
    /// plane are. Reads much after a crash; not for a thread that serves.
    ///
    /// # Errors
    /// When the directory cannot be used, or another process uses it. A full disk is no error here: budgets then do without leases
    /// until it can be written. Damage is none either: the plane then comes as another one.
    pub fn open(
        dir: &Path,
        spool: &Path,
        config: MeteringConfig,
        clock: MonoClock,
    ) -> Result<(Self, Keeper), MeteringError> {
        let failed = |source| MeteringError { path: dir.to_owned(), source };
        let (mut disk, bytes) = Directory::open(dir).map_err(failed)?;
        let mut found = book::read(&bytes, stranger().map_err(failed)?);
        if found.torn > 0 {
            tracing::info!(
                bytes = found.torn,
                "the end of the metering ledger was never synced, and is cut off"
            );
        }
        if let Some(damage) = &found.damage {
            let aside = disk::Disk::put_aside(&mut disk, "damaged").map_err(failed)?;
            tracing::error!(
                damage,
                aside,
                plane = %found.recovery.holder.plane,
                "the metering ledger cannot be read whole: this plane comes as another one, and what the old one held stays written off"
            );
        }
        witness::hear(&mut found.recovery, spool);
        let holder = found.recovery.holder;
        let purse = Arc::new(Purse::new(holder, config.purse));
        let told = Told::new();
        let born = told.born.subscribe();
        let book = Book::new(Box::new(disk), &found.recovery);
        let writer = Writer::start(book, Arc::clone(&purse), told.clone()).map_err(failed)?;
        if found.damage.is_some() {
            told.figures.other_planes.fetch_add(1, std::sync::atomic::Ordering::Relaxed);
        }
        tracing::debug!(%holder, earlier = found.recovery.over.len(), "a life of metering begins");
        let metering = Self::new(config, clock, purse, told, Some(writer));
        let keeper = Keeper::new(metering.clone(), found.recovery.over, born).map_err(failed)?;
        Ok((metering, keeper))
    }

    fn new(
        config: MeteringConfig,
        clock: MonoClock,
        purse: Arc<Purse>,
        told: Told,
        writer: Option<Writer>,
    ) -> Self {
        Self(Arc::new(Inner {
            config,
            clock,
            purse: ArcSwap::new(purse),
            generation: AtomicU64::new(0),
            limits: Limits::default(),
            meters: Arc::default(),
            repeats: OnceLock::new(),
            hasher: RandomState::new(),
            urgent: Notify::new(),
            news: told.news,
            waiting: AtomicUsize::new(0),
            figures: told.figures,
            link: Mutex::default(),
            writer,
        }))
    }

    fn now(&self) -> Mono {
        self.0.clock.now()
    }

    fn purse(&self) -> Arc<Purse> {
        self.0.purse.load_full()
    }

    fn limits(&self) -> &Limits {
        &self.0.limits
    }

    fn figures(&self) -> &Figures {
        &self.0.figures
    }

    fn repeats(&self) -> &Repeats {
        self.0.repeats.get_or_init(|| Repeats::new(REMEMBERED))
    }

    fn link(&self) -> Option<mpsc::Sender<MeterRequest>> {
        self.0.link.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    fn set_link(&self, link: Option<mpsc::Sender<MeterRequest>>) {
        *self.0.link.lock().unwrap_or_else(PoisonError::into_inner) = link;
    }

    /// Whether the ledger cannot be written at the moment, so that no units are opened for spending.
    #[must_use]
    pub fn is_failing(&self) -> bool {
        self.figures().is_failing()
    }

    /// Whether a control plane listens to this plane's asks now.
    #[must_use]
    pub fn is_linked(&self) -> bool {
        self.link().is_some()
    }

    /// Whether no control plane is taken to be there, so that empty leases do what `onOutage` says.
    #[must_use]
    pub fn is_cut_off(&self) -> bool {
        self.purse().is_cut_off(self.now())
    }

    /// Who this plane is to budgets, and in which of its lives.
    #[must_use]
    pub fn holder(&self) -> Holder {
        self.purse().holder()
    }

    /// The control plane knows this plane as another: from now on it is a new one, which holds nothing.
    fn become_another(&self) -> io::Result<Holder> {
        let holder = Holder { plane: stranger()?, life: 1 };
        let purse = Arc::new(Purse::new(holder, self.0.config.purse));
        self.0.purse.store(Arc::clone(&purse));
        self.0.generation.fetch_add(1, Release);
        if let Some(writer) = &self.0.writer {
            writer.order(writer::Order::Another(purse));
        }
        self.figures().other_planes.fetch_add(1, std::sync::atomic::Ordering::Relaxed);
        Ok(holder)
    }
}

impl Told {
    fn new() -> Self {
        Self { news: Arc::default(), born: watch::Sender::new(None), figures: Arc::default() }
    }
}

/// A plane that nobody has heard of.
fn stranger() -> io::Result<Uuid> {
    let bytes = portcullis_seal::random::<16>().map_err(|error| io::Error::other(error.to_string()))?;
    Ok(uuid::Builder::from_random_bytes(bytes).into_uuid())
}
