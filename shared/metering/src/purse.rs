//! The data plane's side: what this plane holds of every account, and the only way to spend it.
//!
//! A purse spends nothing that it does not hold, and holds nothing that is not on the control plane's disk as granted and, before it is
//! spent, on its own disk as opened. It does no IO and reads no clock: it says what to write and whom to ask ([`Work`]), and is told what
//! came back. Time is monotonic; how long units of a period may be spent is said by the control plane as a span, and counted from before
//! the question was sent.

mod debt;
mod lot;
mod pocket;
mod record;
mod reservation;
mod slow;
mod work;

use std::collections::BTreeMap;
use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

pub use record::{Disordered, Record, Recovery, recover};
pub use reservation::{Price, Reservation, Spent, Tab};
pub use work::{Opening, Work};

use crate::id::{AccountId, Holder, Level, Unit};
use crate::message::{Answer, Closed};
use crate::terms::OnOutage;
use crate::time::Mono;
use pocket::Pocket;
use reservation::MAX_ACCOUNTS;
use slow::{Round, Slow};

const SHARDS: usize = 16;

/// How a purse behaves.
#[derive(Debug, Clone, Copy)]
pub struct Settings {
    /// Accounts that are kept at once; a call that would need one more is denied.
    pub max_accounts: usize,
    /// How often [`Purse::beat`] is called.
    pub beat: Duration,
    /// How much demand a lease is to cover.
    pub ahead: Duration,
    /// An ask that was not answered for so long is asked again.
    pub retry: Duration,
    /// Spending is reported at least so often.
    pub report: Duration,
    /// An account that was not used for so long gives all back, and is forgotten once nothing refers to it.
    pub idle: Duration,
    /// When asks go unanswered for so long, the control plane is out of reach.
    pub outage_after: Duration,
}

impl Default for Settings {
    fn default() -> Self {
        Self {
            max_accounts: 65_536,
            beat: Duration::from_millis(250),
            ahead: Duration::from_secs(1),
            retry: Duration::from_millis(500),
            report: Duration::from_secs(1),
            idle: Duration::from_secs(5),
            outage_after: Duration::from_secs(3),
        }
    }
}

/// One account that a call debits, with what its policy says to data planes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Charge {
    /// Which account.
    pub account: AccountId,
    /// Its limit, of which a share may pass in an outage.
    pub limit: u64,
    /// What holds without a control plane.
    pub on_outage: OnOutage,
}

/// Why a call was not paid for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Denied {
    /// The first account, in the order of the tab, that could not pay.
    pub account: AccountId,
    /// Why.
    pub why: Why,
    /// When it may be worth another try.
    pub retry_after: Duration,
}

/// Why an account could not pay.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Why {
    /// The lease in hand is empty, and the control plane did not say that nothing is left: the call may wait for the next answer, once
    /// [`Purse::urgent`] has asked.
    Empty,
    /// The control plane said, within the last beat, that not so much is left.
    Exhausted,
    /// The lease in hand is empty, the control plane is out of reach, and `onOutage` does not let the call pass.
    Outage,
}

/// More accounts are in use than the purse keeps, or than one call may debit. The call is to be denied.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error(
    "more accounts are in use at once than this data plane keeps, or one call debits more than {MAX_ACCOUNTS}"
)]
pub struct Full;

/// Everything that this life of this plane holds.
#[derive(Debug)]
pub struct Purse {
    holder: Holder,
    settings: Settings,
    shards: [Mutex<BTreeMap<AccountId, Arc<Pocket>>>; SHARDS],
    accounts: AtomicUsize,
    flagged: Mutex<Vec<Arc<Pocket>>>,
    /// Numbers asks and chunks.
    seq: AtomicU64,
    /// Since when asks go unanswered: [`Mono::NEVER`] while they are answered, 0 when the connection is known to be cut.
    unanswered: AtomicU64,
    debts: AtomicU64,
}

impl Purse {
    /// An empty purse of a life whose [`Record::Life`] is on disk and whose earlier lives the control plane has heard of.
    #[must_use]
    pub fn new(holder: Holder, settings: Settings) -> Self {
        Self {
            holder,
            settings,
            shards: std::array::from_fn(|_| Mutex::default()),
            accounts: AtomicUsize::new(0),
            flagged: Mutex::default(),
            seq: AtomicU64::new(0),
            unanswered: AtomicU64::new(Mono::NEVER.0),
            debts: AtomicU64::new(0),
        }
    }

    /// Whose purse it is.
    #[must_use]
    pub const fn holder(&self) -> Holder {
        self.holder
    }

    /// The accounts that calls of one kind debit, in the order in which they are tried: levels in their order, then units and lengths.
    ///
    /// # Errors
    /// [`Full`], if a bound would be passed: the call is to be denied.
    pub fn tab(&self, charges: &[Charge], now: Mono) -> Result<Arc<Tab>, Full> {
        if charges.len() > MAX_ACCOUNTS {
            return Err(Full);
        }
        let mut charges = charges.to_vec();
        charges.sort_by_key(|charge| charge.account);
        charges.dedup_by_key(|charge| charge.account);
        let pockets: Result<Vec<_>, Full> = charges.iter().map(|charge| self.pocket(charge, now)).collect();
        Ok(Arc::new(Tab { pockets: pockets? }))
    }

    /// Takes the most that a call can cost from every account of its tab, or nothing from any.
    ///
    /// # Errors
    /// [`Denied`] names the first account that cannot pay. Another call that fails on a later account may hold units of an earlier one
    /// for a moment; whoever finds them missing then is told [`Why::Empty`], never [`Why::Exhausted`].
    pub fn reserve(&self, tab: &Arc<Tab>, price: Price, now: Mono) -> Result<Reservation, Denied> {
        self.try_to_reserve(tab, price, now, true)
    }

    /// The same for a call that found a lease empty before, and waited: its demand was counted then.
    ///
    /// # Errors
    /// Those of [`Purse::reserve`].
    pub fn reserve_again(&self, tab: &Arc<Tab>, price: Price, now: Mono) -> Result<Reservation, Denied> {
        self.try_to_reserve(tab, price, now, false)
    }

    fn try_to_reserve(
        &self,
        tab: &Arc<Tab>,
        price: Price,
        now: Mono,
        is_new: bool,
    ) -> Result<Reservation, Denied> {
        let mut reservation = Reservation { tab: tab.clone(), price, tags: [0; MAX_ACCOUNTS], low: false };
        let mut failed = None;
        for (pocket, tag) in tab.pockets.iter().zip(&mut reservation.tags) {
            let amount = price.of(pocket.id.unit);
            if amount == 0 {
                continue;
            }
            if failed.is_some() {
                // All that lack something are asked for at once, not one after the other.
                if !pocket.could_pay(amount, now) {
                    self.miss(pocket, amount, is_new);
                }
                continue;
            }
            if let Some(taken) = pocket.take(amount, now) {
                *tag = taken.tag;
                if taken.low {
                    reservation.low = true;
                    self.flag(pocket);
                }
                continue;
            }
            match self.without_lease(pocket, amount, now, is_new) {
                // The sooner it is asked for, the less is owed.
                Ok(debt) => (*tag, reservation.low) = (debt, true),
                Err(denied) => failed = Some(denied),
            }
        }
        match failed {
            None => Ok(reservation),
            Some(denied) => {
                reservation.release();
                Err(denied)
            }
        }
    }

    /// Notes what a pocket could not pay.
    fn miss(&self, pocket: &Arc<Pocket>, amount: u64, is_new: bool) {
        if is_new {
            pocket.unmet.fetch_add(amount, Ordering::AcqRel);
        }
        pocket.need.fetch_max(amount, Ordering::AcqRel);
        self.flag(pocket);
    }

    /// What a pocket that cannot pay does about it.
    #[cold]
    fn without_lease(
        &self,
        pocket: &Arc<Pocket>,
        amount: u64,
        now: Mono,
        is_new: bool,
    ) -> Result<pocket::Tag, Denied> {
        self.miss(pocket, amount, is_new);
        let denied = |why, retry_after| Denied { account: pocket.id, why, retry_after };
        let mut slow = pocket.slow();
        if let Some(refills_at) = slow.exhausted(pocket, amount, now, &self.settings) {
            return Err(denied(Why::Exhausted, refills_at.since(now)));
        }
        let cut_off = self.is_cut_off(now);
        let without = cut_off || slow.is_without();
        let owed = without.then(|| slow.owe(amount, now, pocket.id.length.nominal_ms())).flatten();
        drop(slow);
        self.debts.fetch_add(u64::from(owed.is_some()), Ordering::Relaxed);
        owed.ok_or_else(|| match cut_off {
            true => denied(Why::Outage, self.settings.outage_after),
            false => denied(Why::Empty, self.settings.beat),
        })
    }

    /// Sees to the accounts that run low or could not pay since it was last called: to be called soon after
    /// [`Reservation::runs_low`] or [`Why::Empty`], once for however many calls.
    pub fn urgent(&self, now: Mono) -> Work {
        let mut work = Work::default();
        let flagged = std::mem::take(&mut *lock(&self.flagged));
        for pocket in flagged {
            pocket.flagged.store(false, Ordering::Release);
            self.tend(&pocket, now, false, &mut work);
        }
        work
    }

    /// Sees to every account: to be called regularly. Measures demand, asks ahead, gives back what is not needed, reports, closes what
    /// is over, and forgets accounts that hold nothing and that nothing refers to.
    pub fn beat(&self, now: Mono) -> Work {
        let mut work = self.urgent(now);
        for shard in &self.shards {
            let pockets: Vec<Arc<Pocket>> = lock(shard).values().cloned().collect();
            for pocket in pockets {
                self.tend(&pocket, now, true, &mut work);
            }
            // Under the shard's lock nobody can find a pocket; one reference is the map's own.
            lock(shard).retain(|_, pocket| {
                let kept = Arc::strong_count(pocket) > 1 || !pocket.slow().empty(pocket);
                if !kept {
                    self.accounts.fetch_sub(1, Ordering::AcqRel);
                }
                kept
            });
        }
        work
    }

    /// Gives back all that no call uses, and says so: for a plane that ends. [`Purse::records`] then says the same, so that a ledger
    /// that is written last costs nothing at the next start.
    pub fn leave(&self, now: Mono) -> Work {
        let mut work = Work::default();
        for shard in &self.shards {
            let pockets: Vec<Arc<Pocket>> = lock(shard).values().cloned().collect();
            for pocket in pockets {
                pocket.slow().leave(&pocket, self.round(now, true), &mut work);
            }
        }
        work
    }

    /// An answer came. Of an answer to anything but the last ask of an account only the total granted is believed.
    pub fn receive(&self, answer: &Answer, now: Mono) -> Work {
        let mut work = Work::default();
        if answer.holder == self.holder
            && let Some(pocket) = self.find(answer.account)
            && pocket.slow().receive(&pocket, answer, self.round(now, false), &mut work)
        {
            self.answered();
            if pocket.need.load(Ordering::Acquire) > 0 {
                self.tend(&pocket, now, false, &mut work);
            }
        }
        work
    }

    /// A closing was taken note of.
    pub fn closed(&self, closed: &Closed) {
        if closed.holder == self.holder
            && let Some(pocket) = self.find(closed.account)
        {
            pocket.slow().closed(closed);
            self.answered();
        }
    }

    /// The control plane refused an ask: the account does not exist there (yet, or any more).
    pub fn refused(&self, account: AccountId, seq: u64) {
        if let Some(pocket) = self.find(account) {
            pocket.slow().refused(seq);
            self.answered();
        }
    }

    /// The connection to the control plane broke and could not be made again: an outage begins now, not after
    /// [`Settings::outage_after`]. It ends with the next answer; for an account that let units pass, with what is said of that one.
    pub fn cut_off(&self) {
        self.unanswered.store(0, Ordering::Release);
    }

    /// Everything that the ledger must know of this life, for a new file that replaces the old one. Take it while no [`Work`] is under
    /// way, so that no record of the old file is newer.
    #[must_use]
    pub fn records(&self) -> Vec<Record> {
        let mut records = vec![Record::Life { plane: self.holder.plane, life: self.holder.life }];
        for shard in &self.shards {
            let shard = lock(shard);
            records.extend(
                shard.values().flat_map(|pocket| pocket.slow().records(pocket, self.round(Mono(0), false))),
            );
        }
        records
    }

    /// Free units in hand of an account, open for spending or not.
    #[must_use]
    pub fn holding(&self, account: AccountId) -> u64 {
        self.find(account).map_or(0, |pocket| pocket.slow().hold(&pocket))
    }

    /// The epoch of an account whose units are in hand; `None` before the first answer.
    #[must_use]
    pub fn epoch(&self, account: AccountId) -> Option<crate::id::Epoch> {
        self.find(account).and_then(|pocket| pocket.slow().epoch())
    }

    /// Free units in hand of all accounts of each level, open for spending or not. For figures: it looks at every account.
    #[must_use]
    pub fn held(&self) -> BTreeMap<(Level, Unit), u64> {
        let mut held: BTreeMap<(Level, Unit), u64> = BTreeMap::new();
        for shard in &self.shards {
            let pockets: Vec<Arc<Pocket>> = lock(shard).values().cloned().collect();
            for pocket in pockets {
                let units = held.entry((pocket.id.level, pocket.id.unit)).or_default();
                *units = units.saturating_add(pocket.slow().hold(&pocket));
            }
        }
        held
    }

    /// Whether the control plane is taken to be out of reach.
    #[must_use]
    pub fn is_cut_off(&self, now: Mono) -> bool {
        let unanswered = Mono(self.unanswered.load(Ordering::Acquire));
        unanswered != Mono::NEVER
            && (unanswered.0 == 0 || now.since(unanswered) >= self.settings.outage_after)
    }

    /// How often an account let a call pass without a lease.
    #[must_use]
    pub fn debts(&self) -> u64 {
        self.debts.load(Ordering::Relaxed)
    }

    /// How many accounts are kept.
    #[must_use]
    pub fn accounts(&self) -> usize {
        self.accounts.load(Ordering::Acquire)
    }

    const fn round(&self, now: Mono, beat: bool) -> Round<'_> {
        Round { now, beat, holder: self.holder, seq: &self.seq, settings: &self.settings }
    }

    fn answered(&self) {
        self.unanswered.store(Mono::NEVER.0, Ordering::Release);
    }

    fn tend(&self, pocket: &Arc<Pocket>, now: Mono, beat: bool, work: &mut Work) {
        pocket.slow().tend(pocket, self.round(now, beat), work);
        if !work.asks.is_empty() {
            let (never, now) = (Mono::NEVER.0, now.0.max(1));
            let _ = self.unanswered.compare_exchange(never, now, Ordering::AcqRel, Ordering::Acquire);
        }
    }

    fn flag(&self, pocket: &Arc<Pocket>) {
        if !pocket.flagged.swap(true, Ordering::AcqRel) {
            lock(&self.flagged).push(pocket.clone());
        }
    }

    fn shard(&self, account: AccountId) -> &Mutex<BTreeMap<AccountId, Arc<Pocket>>> {
        let [first, rest @ ..] = &self.shards;
        let at = usize::from(account.owner.as_bytes().iter().fold(0_u8, |sum, byte| sum ^ byte)) % SHARDS;
        at.checked_sub(1).and_then(|at| rest.get(at)).unwrap_or(first)
    }

    fn find(&self, account: AccountId) -> Option<Arc<Pocket>> {
        lock(self.shard(account)).get(&account).cloned()
    }

    fn pocket(&self, charge: &Charge, now: Mono) -> Result<Arc<Pocket>, Full> {
        let mut shard = lock(self.shard(charge.account));
        if let Some(pocket) = shard.get(&charge.account) {
            pocket.slow().set_terms(charge);
            return Ok(pocket.clone());
        }
        let room = |kept: usize| (kept < self.settings.max_accounts).then_some(kept + 1);
        self.accounts.fetch_update(Ordering::AcqRel, Ordering::Acquire, room).map_err(|_| Full)?;
        let pocket = Arc::new(Pocket::new(charge.account, Slow::new(charge, now)));
        shard.insert(charge.account, pocket.clone());
        Ok(pocket)
    }
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

#[cfg(test)]
mod tests;
