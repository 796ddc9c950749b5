//! What a pocket knows behind its lock: its lots, what it asked for, and how much it would like to hold.

use std::sync::Arc;
use std::sync::atomic::AtomicU64;
use std::sync::atomic::Ordering::{AcqRel, Acquire};
use std::time::Duration;

use super::debt::Debt;
use super::lot::{Lot, Past};
use super::pocket::{DEBT, MOST, Pocket, Tag};
use super::record::Record;
use super::work::{Opened, Work};
use super::{Charge, Settings};
use crate::id::{Epoch, Holder};
use crate::message::{Answer, Ask, Closed, Used};
use crate::terms::OnOutage;
use crate::time::{Mono, nanos};

/// Earlier epochs in which calls may still be on their way.
const OPEN_LOTS: usize = 3;
/// Earlier epochs that wait for the control plane to note how they ended; with so many, no new one is begun.
const PAST_LOTS: usize = 16;

/// What the purse hands to each pocket that it sees to.
#[derive(Debug, Clone, Copy)]
pub(super) struct Round<'a> {
    pub(super) now: Mono,
    /// The regular beat, where demand is measured.
    pub(super) beat: bool,
    pub(super) holder: Holder,
    /// Numbers asks and chunks.
    pub(super) seq: &'a AtomicU64,
    pub(super) settings: &'a Settings,
}

impl Round<'_> {
    fn next(&self) -> u64 {
        self.seq.fetch_add(1, AcqRel).saturating_add(1)
    }
}

#[derive(Debug)]
pub(super) struct Slow {
    lot: Option<Lot>,
    /// Oldest first.
    past: Vec<Past>,
    next_tag: Tag,
    asked: Option<Asked>,
    advice: Option<Advice>,
    /// Free units that demand calls for.
    want: u64,
    /// What had been used at the last beat, of the lot with this tag; to see demand.
    seen: (Tag, u64),
    last_beat: Mono,
    last_use: Mono,
    last_report: Mono,
    /// What the control plane is known to know.
    acknowledged: Used,
    limit: u64,
    on_outage: OnOutage,
    /// It let units pass in an outage, and what the control plane says of this account since has not come, or waits for the disk.
    without: bool,
    pub(super) debt: Debt,
}

/// The ask that waits for its answer.
#[derive(Debug, Clone, Copy)]
struct Asked {
    seq: u64,
    at: Mono,
    /// The most that one waiting call needs.
    need: u64,
    /// What all the calls that wait need together.
    waiting: u64,
}

/// What the control plane last said about the account.
#[derive(Debug, Clone, Copy)]
struct Advice {
    at: Mono,
    cap: u64,
    left: u64,
    refills_at: Mono,
}

impl Slow {
    pub(super) fn new(charge: &Charge, now: Mono) -> Self {
        Self {
            lot: None,
            past: Vec::new(),
            next_tag: 0,
            asked: None,
            advice: None,
            want: 0,
            seen: (0, 0),
            last_beat: now,
            last_use: now,
            last_report: now,
            acknowledged: Used::default(),
            limit: charge.limit,
            on_outage: charge.on_outage,
            without: false,
            debt: Debt::new(now),
        }
    }

    pub(super) const fn set_terms(&mut self, charge: &Charge) {
        self.limit = charge.limit;
        self.on_outage = charge.on_outage;
    }

    /// Whether units with this tag are still counted here.
    pub(super) fn knows(&self, tag: Tag) -> bool {
        self.lot.is_some_and(|lot| lot.tag == tag) || self.past.iter().any(|past| past.counts(tag))
    }

    /// Units that come back to a lot that is no longer the current one, or became so a moment ago.
    pub(super) fn put_back_late(&mut self, tag: Tag, amount: u64, pocket: &Pocket) {
        if let Some(past) = self.past.iter_mut().find(|past| past.counts(tag)) {
            past.put_back(amount);
        } else if self.lot.is_some_and(|lot| lot.tag == tag) {
            pocket.open(tag, amount);
        }
    }

    /// When the control plane said that so much is not left, until when that holds; `None` if it may be otherwise by now, or if so much
    /// is in hand and only waits for the disk.
    pub(super) fn exhausted(
        &self,
        pocket: &Pocket,
        amount: u64,
        now: Mono,
        settings: &Settings,
    ) -> Option<Mono> {
        if self.hold(pocket) >= amount && now < pocket.usable_until() {
            return None;
        }
        let advice =
            self.advice.filter(|advice| advice.left < amount && now.since(advice.at) <= settings.beat)?;
        (advice.refills_at > now).then_some(advice.refills_at)
    }

    /// Lets units pass without a lease, if the terms of an outage say so.
    pub(super) fn owe(&mut self, amount: u64, now: Mono, period_ms: u64) -> Option<Tag> {
        let owed = self.debt.owe(amount, now, period_ms, self.on_outage, self.limit);
        self.without |= owed.is_some();
        owed
    }

    /// Whether the outage is not over for this account, whoever else was answered: what passed without a lease goes on until there is
    /// one to spend, or none to be had.
    pub(super) const fn is_without(&self) -> bool {
        self.without
    }

    /// Sees to the pocket: opens a chunk, asks, gives back, closes.
    pub(super) fn tend(&mut self, pocket: &Arc<Pocket>, round: Round<'_>, work: &mut Work) {
        let Round { now, beat, settings, .. } = round;
        let unmet = pocket.unmet.swap(0, AcqRel);
        let need = pocket.need.swap(0, AcqRel).max(self.asked.map_or(0, |asked| asked.need));
        if unmet > 0 {
            self.last_use = now;
        }
        if beat {
            self.measure(pocket, now, settings);
        }
        if let Some(asked) = &mut self.asked {
            asked.need = asked.need.max(need);
            asked.waiting = asked.waiting.saturating_add(unmet);
        } else if unmet > 0 {
            // Demand that outruns what is held doubles it, until the next beat measures.
            self.want = self.want.saturating_mul(2).max(unmet).max(need);
        }
        // Units whose time is over go back; the epoch is closed when the control plane names the next one.
        if let Some(lot) = self.lot.as_mut().filter(|_| now >= pocket.usable_until()) {
            lot.give_back(pocket, u64::MAX);
        }
        self.open(pocket, need.max(unmet), round, work);
        self.speak(pocket, (need, unmet), round, work);
        if beat {
            work.closes.extend(self.past.iter().map(|past| past.close(pocket, round.holder, pocket.id)));
            if let Some(debt) = self.debt.unrecorded() {
                work.records.push(Record::Debt { account: pocket.id, debt });
            }
        }
        pocket.set_low((self.chunk(pocket, need) / 2).max(1));
    }

    /// Gives back everything, and says so.
    pub(super) fn leave(&mut self, pocket: &Pocket, round: Round<'_>, work: &mut Work) {
        if let Some(lot) = &mut self.lot {
            lot.give_back(pocket, u64::MAX);
        }
        self.ask(pocket, 0, (0, 0), round, work);
        work.closes.extend(self.past.iter().map(|past| past.close(pocket, round.holder, pocket.id)));
    }

    /// Asks, gives back, or reports, if it is time to.
    fn speak(&mut self, pocket: &Pocket, (need, unmet): (u64, u64), round: Round<'_>, work: &mut Work) {
        let Round { now, beat, settings, .. } = round;
        let waiting = self.asked.is_some_and(|asked| now.since(asked.at) < settings.retry);
        // An account that is used up is asked for at the beat, however many calls knock meanwhile.
        let used_up = !beat && self.exhausted(pocket, need.max(1), now, settings).is_some();
        if waiting || used_up {
            return;
        }
        let (hold, cap) = (self.hold(pocket), self.advice.map_or(u64::MAX, |advice| advice.cap));
        let want = self.want.min(cap).max(need);
        let idle = now.since(self.last_use) >= settings.idle;
        if hold < need || (hold < want.div_ceil(2) && !idle) {
            self.ask(pocket, want, (need, unmet), round, work);
        } else if beat {
            let keep = if idle { 0 } else { want.saturating_mul(2).min(cap.max(need)) };
            let gave = self.give_back(pocket, hold, keep);
            let told = self.lot.map_or(self.acknowledged, |lot| lot.used(pocket));
            let unsaid = told != self.acknowledged || self.debt.unsaid();
            let quiet = now.since(self.last_report);
            let due = quiet >= settings.report && (unsaid || !idle);
            // A grant whose answer was lost is found by asking now and then.
            let overdue = quiet >= settings.report.saturating_mul(10);
            if gave || due || overdue || self.asked.is_some() {
                self.ask(pocket, 0, (0, 0), round, work);
            }
        }
    }

    fn measure(&mut self, pocket: &Pocket, now: Mono, settings: &Settings) {
        let Some(lot) = self.lot else { return };
        let used = lot.spent(pocket).saturating_add(lot.in_use(pocket));
        let before = if self.seen.0 == lot.tag { self.seen.1 } else { 0 };
        let since = nanos(now.since(self.last_beat)).max(1);
        let new = used.saturating_sub(before);
        if new > 0 {
            self.last_use = now;
        }
        let ahead = u128::from(new) * u128::from(nanos(settings.ahead)) / u128::from(since);
        let ahead = u64::try_from(ahead).unwrap_or(u64::MAX);
        self.want = if ahead > self.want { ahead } else { self.want - (self.want - ahead).div_ceil(4) };
        self.seen = (lot.tag, used);
        self.last_beat = now;
    }

    /// Free units, open for spending or not.
    pub(super) fn hold(&self, pocket: &Pocket) -> u64 {
        self.lot.map_or(0, |lot| lot.hold(pocket))
    }

    /// How much one chunk opens: a quarter of what is held, at least what the calls need that wait.
    fn chunk(&self, pocket: &Pocket, need: u64) -> u64 {
        (self.hold(pocket) / 4).max(need).max(1)
    }

    fn open(&mut self, pocket: &Arc<Pocket>, need: u64, round: Round<'_>, work: &mut Work) {
        let chunk = self.chunk(pocket, need);
        let Some(lot) = &mut self.lot else { return };
        let ready = lot.ready(pocket);
        if ready >= chunk.div_ceil(2).max(need) {
            return;
        }
        let amount = chunk.max(need.saturating_sub(ready)).min(MOST.saturating_sub(ready));
        let amount = lot.begin_opening(amount);
        if amount > 0 {
            work.records.push(chunk_record(pocket, lot, round.next()));
            work.opening.list.push(Opened { pocket: pocket.clone(), tag: lot.tag, amount });
        }
    }

    /// The record of a chunk is on disk (or, if not `kept`, will never be).
    pub(super) fn opened(&mut self, pocket: &Pocket, tag: Tag, amount: u64, kept: bool) {
        // Units of a lot that ended meanwhile were never opened, and went back with it.
        if let Some(lot) = self.lot.as_mut().filter(|lot| lot.tag == tag) {
            lot.end_opening(pocket, amount, kept);
            self.without = false;
        }
    }

    fn give_back(&mut self, pocket: &Pocket, hold: u64, keep: u64) -> bool {
        let surplus = hold.saturating_sub(keep);
        // A trickle is not worth a message, unless the pocket is to be emptied.
        let worth = surplus > 0 && (keep == 0 || surplus >= keep.div_ceil(4));
        if let Some(lot) = self.lot.as_mut().filter(|_| worth) {
            lot.give_back(pocket, surplus);
        }
        worth
    }

    fn ask(
        &mut self,
        pocket: &Pocket,
        want: u64,
        (need, waiting): (u64, u64),
        round: Round<'_>,
        work: &mut Work,
    ) {
        let seq = round.next();
        let lot = self.lot;
        self.asked = Some(Asked { seq, at: round.now, need, waiting });
        self.last_report = round.now;
        let epoch = lot.map_or(Epoch(0), |lot| lot.epoch);
        work.asks.push(Ask {
            holder: round.holder,
            account: pocket.id,
            seq,
            epoch,
            oldest: self.past.first().map_or(epoch, |past| past.epoch),
            used: lot.map_or(Used::default(), |lot| lot.used(pocket)),
            in_use: lot.map_or(0, |lot| lot.in_use(pocket)),
            want,
            need,
            debt: self.debt.told(),
        });
    }

    /// Takes in an answer. True if it is the one that was waited for.
    pub(super) fn receive(
        &mut self,
        pocket: &Arc<Pocket>,
        answer: &Answer,
        round: Round<'_>,
        work: &mut Work,
    ) -> bool {
        let Some(asked) = self.asked.filter(|asked| asked.seq == answer.seq) else {
            // An answer that was overtaken may still tell of a grant: it is this holder's, to spend or to give back.
            if let Some(lot) = self.lot.as_mut().filter(|lot| lot.epoch == answer.epoch) {
                lot.granted = lot.granted.max(answer.granted);
            }
            return false;
        };
        self.asked = None;
        self.debt.acknowledge(answer.debt);
        let refills_at = round.now.plus(Duration::from_millis(answer.refills_in_ms));
        self.advice = Some(Advice { at: round.now, cap: answer.cap, left: answer.left, refills_at });
        // Counted from the ask, which came before the control plane's moment: so it ends here no later than there.
        let until = asked.at.plus(Duration::from_millis(answer.usable_for_ms));
        let lease = Record::Lease { account: pocket.id, epoch: answer.epoch, granted: answer.granted };
        match &mut self.lot {
            Some(lot) if answer.epoch == lot.epoch => {
                self.acknowledged = answer.used;
                if answer.granted > lot.granted {
                    lot.granted = answer.granted;
                    pocket.set_usable_until(until.max(pocket.usable_until()));
                    work.records.push(lease);
                }
            }
            Some(lot) if answer.epoch < lot.epoch => {}
            _ if self.past.len() >= PAST_LOTS => {}
            _ => {
                self.retire(pocket);
                pocket.set_usable_until(until);
                self.lot = Some(Lot::new(answer, self.free_tag(), pocket));
                self.acknowledged = answer.used;
                work.records.push(lease);
            }
        }
        self.open(pocket, asked.need.max(asked.waiting), round, work);
        pocket.set_low((self.chunk(pocket, asked.need) / 2).max(1));
        if self.hold(pocket) < asked.need {
            self.without &= answer.left >= asked.need;
            // Calls began to wait after the ask was sent: they are to be seen to at once, not at the next beat.
            pocket.unmet.fetch_add(asked.waiting, AcqRel);
            pocket.need.fetch_max(asked.need, AcqRel);
        } else if pocket.need.load(Acquire) == 0 && !self.lot.is_some_and(|lot| lot.is_opening()) {
            // Enough is open already, or nobody asks for any: then nothing is to come that ends it.
            self.without = false;
        }
        true
    }

    /// The control plane will not answer the ask.
    pub(super) fn refused(&mut self, seq: u64) {
        if self.asked.is_some_and(|asked| asked.seq == seq) {
            self.asked = None;
            self.without = false;
        }
    }

    /// Ends the current lot; calls that are on their way still settle into it.
    fn retire(&mut self, pocket: &Pocket) {
        let free = pocket.retire();
        let Some(lot) = self.lot.take() else { return };
        let open = self.past.iter().filter(|past| !past.sealed).count();
        if let Some(oldest) = self.past.iter_mut().find(|past| !past.sealed).filter(|_| open >= OPEN_LOTS) {
            oldest.sealed = true;
        }
        self.past.push(lot.end(free));
    }

    /// A tag whose place among the counters no lot uses: of four places, three at most are taken.
    fn free_tag(&mut self) -> Tag {
        loop {
            self.next_tag = if self.next_tag >= DEBT - 1 { 1 } else { self.next_tag + 1 };
            if !self.past.iter().any(|past| past.in_the_way_of(self.next_tag)) {
                return self.next_tag;
            }
        }
    }

    pub(super) fn closed(&mut self, closed: &Closed) {
        if closed.open == 0 {
            self.past.retain(|past| past.epoch != closed.epoch);
        }
    }

    /// Whether nothing is lost when the pocket is forgotten: it holds nothing, and the control plane knows all that it knows.
    pub(super) fn empty(&self, pocket: &Pocket) -> bool {
        let told =
            self.lot.is_none_or(|lot| lot.used(pocket) == self.acknowledged && lot.in_use(pocket) == 0);
        told && !self.debt.unsaid() && self.hold(pocket) == 0 && self.past.is_empty() && self.asked.is_none()
    }

    /// The last word on everything, for a ledger that begins anew.
    pub(super) fn records(&self, pocket: &Pocket, round: Round<'_>) -> Vec<Record> {
        let account = pocket.id;
        let mut records = Vec::new();
        for past in &self.past {
            let spent = past.close(pocket, round.holder, account).spent;
            let (epoch, ceiling) = (past.epoch, past.ceiling());
            records.push(Record::Chunk { account, epoch, number: round.next(), spent, ceiling });
        }
        records.extend(self.lot.iter().map(|lot| chunk_record(pocket, lot, round.next())));
        if self.debt.for_the_ledger() > 0 {
            records.push(Record::Debt { account, debt: self.debt.for_the_ledger() });
        }
        records
    }

    /// The epoch whose units are held.
    pub(super) fn epoch(&self) -> Option<Epoch> {
        self.lot.map(|lot| lot.epoch)
    }
}

fn chunk_record(pocket: &Pocket, lot: &Lot, number: u64) -> Record {
    let (account, epoch) = (pocket.id, lot.epoch);
    Record::Chunk { account, epoch, number, spent: lot.used(pocket).spent, ceiling: lot.ceiling() }
}
