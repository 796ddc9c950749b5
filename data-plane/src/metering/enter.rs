//! A call on its way through what meters it: the loop breaker, rates, calls at once, budgets; and back, when it ended.

use std::hash::{BuildHasher as _, Hash as _, Hasher as _};
use std::pin::pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering::AcqRel, Ordering::Relaxed};
use std::time::Duration;

use portcullis_metering::purse::{Denied, Price, Reservation, Tab, Why};
use portcullis_metering::{CallMark, Crowded, Limited, Looping, Mono};
use portcullis_policy::Permit;
use portcullis_policy::metering::Cost;
use serde_json::value::RawValue;
use tokio::time::{Instant, sleep, timeout_at};

use super::limits::Inside;
use super::meter::{Bound, Budget, Meter};
use super::refused::Refused;
use super::{Metering, Settlement, SpentFacts, SpentLine};

/// Calls that may wait for one limit, and for budgets.
const MAX_WAITING: usize = 1_024;
/// How long a call that waits for others to end looks away at most.
const LOOK: Duration = Duration::from_millis(50);
/// When a call that found all its calls at once in use may try again: how long the others take is not known.
const CROWDED_RETRY: Duration = Duration::from_secs(1);

/// What is asked of the meter. The same again is a loop, perhaps.
#[derive(Debug, Clone, Copy)]
pub struct Asked<'a> {
    /// The JSON-RPC method.
    pub method: &'a str,
    /// The name, or the URI.
    pub name: &'a str,
    /// The arguments, byte for byte: the same in another order, or with other spaces, is another call here.
    pub arguments: Option<&'a RawValue>,
}

/// A call that may go out. Dropped without a settlement it is spent whole, since nobody knows what became of it.
#[derive(Debug)]
#[must_use = "a call that is dropped unsettled is spent whole"]
pub struct Entered {
    meter: Arc<Meter>,
    reservation: Option<Reservation>,
    inside: Vec<Inside>,
    rates_taken: usize,
}

/// A call that could go out and does not yet. Dropped, it gives back everything: it did not happen.
#[derive(Debug)]
#[must_use = "a call that is dropped here does not happen"]
pub struct Held {
    entered: Option<Entered>,
    mark: Option<CallMark>,
    metering: Metering,
}

impl Held {
    fn count(&mut self) -> Result<(), Box<Refused>> {
        match (self.mark.take(), &self.entered) {
            (Some(mark), Some(entered)) => self.metering.count(&entered.meter, mark),
            _ => Ok(()),
        }
    }

    /// It goes out now. The loop breaker counts it; it is too late to deny it.
    #[must_use]
    pub fn go(mut self) -> Option<Entered> {
        let _ = self.count();
        self.entered.take()
    }
}

impl Drop for Held {
    fn drop(&mut self) {
        if let Some(entered) = self.entered.take() {
            entered.withdraw();
        }
    }
}

/// How a call ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Ended {
    /// It certainly never reached its server.
    Unsent,
    /// With an answer, in which the server told so much, perhaps.
    Answered {
        /// What it told.
        told: Option<u64>,
        /// It was a tool error, or one of JSON-RPC.
        error: bool,
    },
    /// Nobody knows: it is spent whole.
    Unknown,
}

impl Ended {
    /// What such an end costs.
    #[must_use]
    pub fn price(self, cost: &Cost) -> Price {
        match self {
            Self::Unsent => Price::default(),
            Self::Answered { told, error } => cost.of(told, error),
            Self::Unknown => cost.reserved(),
        }
    }
}

impl Metering {
    /// Lets a call pass, or says why not. `None` where nothing meters it. Waits as long as a limit says that a call may wait, and for a
    /// few milliseconds where the lease in hand is empty.
    ///
    /// # Errors
    /// [`Refused`]: the call is to be denied.
    pub async fn enter(&self, permit: &Permit, asked: Asked<'_>) -> Result<Option<Entered>, Box<Refused>> {
        let Some(mut held) = self.hold(permit, asked).await? else { return Ok(None) };
        held.count()?;
        Ok(held.entered.take())
    }

    /// The same for a call that something else may stop yet: the loop breaker looks, and counts when it [goes](Held::go).
    ///
    /// # Errors
    /// [`Refused`]: the call is to be denied.
    pub async fn hold(&self, permit: &Permit, asked: Asked<'_>) -> Result<Option<Held>, Box<Refused>> {
        let now = self.now();
        let meter = match self.meter(permit, now) {
            Ok(Some(meter)) => meter,
            Ok(None) => return Ok(None),
            Err(no_meter) => return Err(Box::new(Refused::no_meter(no_meter))),
        };
        let mark = meter.loops.as_ref().map(|_| self.mark(&meter, permit, asked));
        if let (Some(mark), Some((loops, rule))) = (mark, &meter.loops) {
            let looked = self.repeats().look(mark, loops.calls, loops.within, now);
            looked.map_err(|looping| Box::new(Refused::looping(rule, looping)))?;
        }
        let entered = Entered { meter, reservation: None, inside: Vec::new(), rates_taken: 0 };
        let mut held = Held { entered: Some(entered), mark, metering: self.clone() };
        if let Some(entered) = &mut held.entered {
            self.take_all(entered, now).await?;
        }
        Ok(Some(held))
    }

    fn count(&self, meter: &Meter, mark: CallMark) -> Result<(), Box<Refused>> {
        let Some((loops, rule)) = &meter.loops else { return Ok(()) };
        let counted = self.repeats().count(mark, loops.calls, loops.within, self.now());
        counted.map_err(|looping: Looping| Box::new(Refused::looping(rule, looping)))
    }

    fn mark(&self, meter: &Meter, permit: &Permit, asked: Asked<'_>) -> CallMark {
        let mut hasher = self.0.hasher.build_hasher();
        meter.principal.hash(&mut hasher);
        permit.server().registered_uid().0.hash(&mut hasher);
        asked.method.hash(&mut hasher);
        asked.name.hash(&mut hasher);
        asked.arguments.map(RawValue::get).hash(&mut hasher);
        CallMark(hasher.finish())
    }

    async fn take_all(&self, entered: &mut Entered, now: Mono) -> Result<(), Box<Refused>> {
        let meter = Arc::clone(&entered.meter);
        for rate in &meter.rates {
            if let Err(limited) = rate.limit.take(now) {
                Box::pin(self.wait_for_rate(rate, limited)).await?;
            }
            entered.rates_taken += 1;
        }
        for gate in &meter.gates {
            entered.inside.push(match gate.limit.enter(now) {
                Ok(inside) => inside,
                Err(crowded) => Box::pin(self.wait_for_gate(gate, crowded)).await?,
            });
        }
        let Some(tab) = &meter.tab else { return Ok(()) };
        let reserved = match meter.purse.reserve(tab, meter.price, now) {
            Ok(reservation) => Ok(reservation),
            Err(denied) if denied.why == Why::Empty => {
                Box::pin(self.wait_for_lease(&meter, tab, denied)).await
            }
            Err(denied) => Err(denied),
        };
        let reservation = reserved.map_err(|denied| self.without_budget(&meter, denied))?;
        if reservation.runs_low() {
            self.0.urgent.notify_one();
        }
        entered.reservation = Some(reservation);
        Ok(())
    }

    #[cold]
    fn without_budget(&self, meter: &Meter, denied: Denied) -> Box<Refused> {
        self.0.urgent.notify_one();
        self.figures().denied(denied.account.level);
        let budget = meter.budgets.iter().find(|budget| budget.account == denied.account);
        Box::new(Refused::budget(budget.map(|Budget { rule, .. }| rule), denied))
    }

    /// Waits for a token as long as the limit lets a call wait.
    async fn wait_for_rate(&self, rate: &Bound, mut limited: Limited) -> Result<(), Box<Refused>> {
        let until = Instant::now() + rate.wait;
        let seat = Seat::take(&rate.limit.waiting, rate.wait);
        while seat.is_some() && Instant::now() + limited.retry_after <= until {
            sleep(limited.retry_after).await;
            match rate.limit.take(self.now()) {
                Ok(()) => return Ok(()),
                Err(still) => limited = still,
            }
        }
        Err(Box::new(Refused::rate(&rate.rule, limited)))
    }

    /// Waits until another call ends, as long as the limit lets a call wait.
    async fn wait_for_gate(&self, gate: &Bound, mut crowded: Crowded) -> Result<Inside, Box<Refused>> {
        let until = Instant::now() + gate.wait;
        let seat = Seat::take(&gate.limit.waiting, gate.wait);
        while seat.is_some() && Instant::now() < until {
            let _ = timeout_at(until.min(Instant::now() + LOOK), gate.limit.freed.notified()).await;
            match gate.limit.enter(self.now()) {
                Ok(inside) => return Ok(inside),
                Err(still) => crowded = still,
            }
        }
        Err(Box::new(Refused::crowded(&gate.rule, crowded, CROWDED_RETRY)))
    }

    /// Has the keeper ask, and waits for its news: one ask is under way, however many calls wait.
    async fn wait_for_lease(
        &self,
        meter: &Meter,
        tab: &Arc<Tab>,
        mut denied: Denied,
    ) -> Result<Reservation, Denied> {
        let until = Instant::now() + self.0.config.empty_wait;
        let seat = Seat::take(&self.0.waiting, self.0.config.empty_wait);
        // The news may be of other accounts: it looks again at each until its time is over.
        let mut in_time = seat.is_some();
        while in_time && denied.why == Why::Empty {
            let mut news = pin!(self.0.news.notified());
            news.as_mut().enable();
            self.0.urgent.notify_one();
            in_time = timeout_at(until, news).await.is_ok();
            match meter.purse.reserve_again(tab, meter.price, self.now()) {
                Ok(reservation) => return Ok(reservation),
                Err(still) => denied = still,
            }
        }
        Err(denied)
    }
}

/// A place among those that wait, of which there are so many.
struct Seat<'a>(&'a AtomicUsize);

impl<'a> Seat<'a> {
    /// None where a call may not wait, or too many do.
    fn take(waiting: &'a AtomicUsize, wait: Duration) -> Option<Self> {
        if wait.is_zero() {
            return None;
        }
        let room = |seats: usize| (seats < MAX_WAITING).then_some(seats + 1);
        waiting.fetch_update(AcqRel, Relaxed, room).ok().map(|_| Self(waiting))
    }
}

impl Drop for Seat<'_> {
    fn drop(&mut self) {
        self.0.fetch_sub(1, AcqRel);
    }
}

impl Entered {
    /// The call did not happen, and does not.
    fn withdraw(mut self) {
        if let Some(reservation) = self.reservation.take() {
            reservation.release();
        }
        for rate in self.meter.rates.iter().take(self.rates_taken) {
            rate.limit.give_back();
        }
    }

    /// The call ended: pays for it, and says what is to be recorded. Lets the next one in.
    pub fn settle(mut self, ended: Ended) -> Settlement {
        let price = ended.price(&self.meter.cost);
        let mut lines = Vec::new();
        let meter = &self.meter;
        if let Some(reservation) = self.reservation.take() {
            reservation.settle_with(price, |spent| {
                if lines.is_empty() {
                    lines.reserve_exact(meter.budgets.len());
                }
                lines.extend(meter.budgets.get(spent.place).map(|budget| SpentLine {
                    account: Arc::clone(&budget.text),
                    epoch: spent.epoch.0,
                    spent: spent.spent,
                }));
            });
        }
        let holder = meter.purse.holder();
        let spent = (!lines.is_empty())
            .then(|| Box::new(SpentFacts { plane: holder.plane, life: holder.life, accounts: lines }));
        Settlement { cost_micro_usd: price.micro_usd, spent }
    }
}
