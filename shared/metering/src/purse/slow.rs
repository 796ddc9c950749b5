//! What a pocket knows behind its lock: its lots, what it asked for, and how much it would like to hold.

use std::sync::Arc;
use std::sync::atomic::Ordering::AcqRel;

use super::pocket::{DEBT, MOST, Pocket, Tag};
use super::record::Record;
use super::work::{Opened, Work};
use super::{Charge, Settings};
use crate::id::{Epoch, Holder};
use crate::message::{Answer, Ask, Close, Closed, Used};
use crate::terms::OnOutage;
use crate::time::{Mono, nanos};

/// Earlier epochs in which calls may still be on their way.
const OPEN_LOTS: usize = 3;
/// Earlier epochs that wait for the control plane to note how they ended; with so many, no new one is begun.
const PAST_LOTS: usize = 16;

#[derive(Debug)]
pub(super) struct Slow {
    lot: Option<Lot>,
    /// Oldest first.
    past: Vec<Past>,
    next_tag: u16,
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
    pub(super) debt: Debt,
}

/// What this life holds of one epoch.
#[derive(Debug, Clone, Copy)]
struct Lot {
    epoch: Epoch,
    tag: Tag,
    granted: u64,
    /// What had become of the units before this pocket was made.
    base: Used,
    /// What the pocket's counter of spending said when the lot came.
    spent_before: u64,
    /// Units opened for spending, less those taken back.
    opened: u64,
    /// Units whose opening is on its way to the disk.
    opening: u64,
    /// Given back.
    returned: u64,
}

#[derive(Debug, Clone, Copy)]
struct Past {
    epoch: Epoch,
    tag: Tag,
    spent_base: u64,
    spent_before: u64,
    /// Units that were opened, less those that came back.
    opened: u64,
    /// Calls that outlasted three periods count as having spent the most that they could.
    sealed: bool,
}

impl Past {
    fn spent(&self, pocket: &Pocket) -> u64 {
        if self.sealed {
            self.opened
        } else {
            pocket.spent(self.tag).saturating_sub(self.spent_before).min(self.opened)
        }
    }
}

#[derive(Debug, Clone, Copy)]
struct Asked {
    seq: u64,
    at: Mono,
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

/// What passed without a lease.
#[derive(Debug, Clone, Copy, Default)]
pub(super) struct Debt {
    /// What this life had let pass before this pocket was made; unknown until the first answer.
    base: Option<u64>,
    total: u64,
    in_use: u64,
    /// Of the share: since when, and how much of it.
    since: Mono,
    of_share: u64,
    recorded: u64,
    acknowledged: u64,
}

impl Debt {
    pub(super) fn settle(&mut self, taken: u64, cost: u64) {
        self.in_use = self.in_use.saturating_sub(taken);
        self.total = self.total.saturating_add(cost);
        self.of_share = self.of_share.saturating_sub(taken.saturating_sub(cost));
    }

    fn told(&self) -> u64 {
        self.base.map_or(0, |base| base.saturating_add(self.total))
    }
}

impl Lot {
    fn spent(&self, pocket: &Pocket) -> u64 {
        pocket.spent(self.tag).saturating_sub(self.spent_before).min(self.opened)
    }

    fn used(&self, pocket: &Pocket) -> Used {
        Used {
            spent: self.base.spent.saturating_add(self.spent(pocket)),
            lost: self.base.lost,
            returned: self.base.returned.saturating_add(self.returned),
        }
    }

    /// Units in the lease that are not open for spending.
    fn vault(&self) -> u64 {
        let gone = self.base.total().saturating_add(self.opened).saturating_add(self.opening);
        self.granted.saturating_sub(gone.saturating_add(self.returned))
    }

    fn in_use(&self, pocket: &Pocket) -> u64 {
        let free = pocket.free();
        self.opened.saturating_sub(self.spent(pocket)).saturating_sub(free)
    }
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
            debt: Debt { since: now, ..Debt::default() },
        }
    }

    pub(super) const fn set_terms(&mut self, charge: &Charge) {
        self.limit = charge.limit;
        self.on_outage = charge.on_outage;
    }

    /// Whether units with this tag are still counted here.
    pub(super) fn knows(&self, tag: Tag) -> bool {
        self.lot.is_some_and(|lot| lot.tag == tag)
            || self.past.iter().any(|past| !past.sealed && past.tag == tag)
    }

    /// Units that come back to a lot that is no longer the current one, or became so a moment ago.
    pub(super) fn put_back_late(&mut self, tag: Tag, amount: u64, pocket: &Pocket) {
        if let Some(past) = self.past.iter_mut().find(|past| !past.sealed && past.tag == tag) {
            past.opened = past.opened.saturating_sub(amount);
        } else if self.lot.is_some_and(|lot| lot.tag == tag) {
            pocket.open(tag, amount);
        }
    }

    /// When the control plane said that so much is not left, until when that holds; `None` if it may be otherwise by now.
    pub(super) fn exhausted(&self, amount: u64, now: Mono, settings: &Settings) -> Option<Mono> {
        let advice =
            self.advice.filter(|advice| advice.left < amount && now.since(advice.at) <= settings.beat)?;
        (advice.refills_at > now).then_some(advice.refills_at)
    }

    /// Lets units pass without a lease, if the terms of an outage say so.
    pub(super) fn owe(&mut self, amount: u64, now: Mono, period_ms: u64) -> Option<Tag> {
        match self.on_outage {
            OnOutage::Deny => return None,
            OnOutage::Share(part) => {
                if now.since(self.debt.since).as_millis() >= u128::from(period_ms) {
                    self.debt.since = now;
                    self.debt.of_share = self.debt.in_use;
                }
                let share = self.debt.of_share.saturating_add(amount);
                if share > part.of(self.limit) {
                    return None;
                }
                self.debt.of_share = share;
            }
            OnOutage::Allow => {}
        }
        self.debt.in_use = self.debt.in_use.saturating_add(amount);
        Some(DEBT)
    }

    /// Sees to the pocket: opens a chunk, asks, gives back, closes. `beat` is true at the regular beat, where demand is measured.
    pub(super) fn tend(
        &mut self,
        pocket: &Arc<Pocket>,
        now: Mono,
        beat: bool,
        holder: Holder,
        seq: &mut impl FnMut() -> u64,
        settings: &Settings,
        work: &mut Work,
    ) {
        let unmet = pocket.unmet.swap(0, AcqRel);
        let need = pocket.need.swap(0, AcqRel).max(self.asked.map_or(0, |asked| asked.need));
        if unmet > 0 {
            self.last_use = now;
        }
        if beat {
            self.measure(pocket, now, settings);
        }
        // Demand that outruns what is held doubles it, until the next beat measures.
        if unmet > 0 && self.asked.is_none() {
            self.want = self.want.saturating_mul(2).max(unmet).max(need);
        }
        if let Some(asked) = &mut self.asked {
            asked.need = asked.need.max(need);
            asked.waiting = asked.waiting.saturating_add(unmet);
        }
        self.lapse(pocket, now);
        self.open(pocket, need.max(unmet), work);
        let hold = self.hold(pocket);
        let cap = self.advice.map_or(u64::MAX, |advice| advice.cap);
        let want = self.want.min(cap).max(need);
        let waiting = self.asked.is_some_and(|asked| now.since(asked.at) < settings.retry);
        let idle = now.since(self.last_use) >= settings.idle;
        // An account that is used up is asked for at the beat, however many calls knock meanwhile.
        let used_up = !beat && self.exhausted(need.max(1), now, settings).is_some();
        if !waiting && !used_up {
            let told = self.lot.map_or(self.acknowledged, |lot| lot.used(pocket));
            let quiet = now.since(self.last_report);
            let silent = quiet >= settings.report;
            // A grant whose answer was lost is found by asking now and then.
            let long_silent = quiet >= settings.report.saturating_mul(10);
            let unsaid = told != self.acknowledged || self.debt.told() != self.debt.acknowledged;
            if hold < need || (hold < want.div_ceil(2) && !idle) {
                self.ask(pocket, now, want, (need, unmet), (holder, seq()), work);
            } else if beat
                && self.give_back(
                    pocket,
                    hold,
                    if idle { 0 } else { want.saturating_mul(2).min(cap.max(need)) },
                )
            {
                self.ask(pocket, now, 0, (0, 0), (holder, seq()), work);
            } else if beat && ((silent && (unsaid || !idle)) || long_silent || self.asked.is_some()) {
                self.ask(pocket, now, 0, (0, 0), (holder, seq()), work);
            }
        }
        if beat {
            self.closings(pocket, holder, work);
            if self.debt.told() != self.debt.recorded {
                self.debt.recorded = self.debt.told();
                work.records.push(Record::Debt { account: pocket.id, debt: self.debt.recorded });
            }
        }
        pocket.set_low((self.chunk(pocket, need) / 2).max(1));
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
        self.lot.map_or(0, |lot| pocket.free().saturating_add(lot.opening).saturating_add(lot.vault()))
    }

    /// How much one chunk opens: a quarter of what is held, at least what the calls need that wait.
    fn chunk(&self, pocket: &Pocket, need: u64) -> u64 {
        (self.hold(pocket) / 4).max(need).max(1)
    }

    /// Units whose time is over are given back; the epoch is closed when the control plane names the next one.
    fn lapse(&mut self, pocket: &Pocket, now: Mono) {
        if let Some(lot) = &mut self.lot
            && now >= pocket.usable_until()
        {
            let free = pocket.shut(u64::MAX);
            lot.opened = lot.opened.saturating_sub(free);
            lot.returned = lot.returned.saturating_add(lot.vault());
        }
    }

    fn open(&mut self, pocket: &Arc<Pocket>, need: u64, work: &mut Work) {
        let chunk = self.chunk(pocket, need);
        let Some(lot) = &mut self.lot else { return };
        let ready = pocket.free().saturating_add(lot.opening);
        if ready >= chunk.div_ceil(2).max(need) {
            return;
        }
        let amount = chunk.max(need.saturating_sub(ready)).min(lot.vault()).min(MOST.saturating_sub(ready));
        if amount == 0 {
            return;
        }
        lot.opening = lot.opening.saturating_add(amount);
        let spent = lot.used(pocket).spent;
        let ceiling = lot.base.spent.saturating_add(lot.opened).saturating_add(lot.opening);
        work.records.push(Record::Chunk { account: pocket.id, epoch: lot.epoch, spent, ceiling });
        work.opening.list.push(Opened { pocket: pocket.clone(), tag: lot.tag, amount });
    }

    /// The record of a chunk is on disk (or, if not `kept`, will never be).
    pub(super) fn opened(&mut self, pocket: &Pocket, tag: Tag, amount: u64, kept: bool) {
        // Units of a lot that ended meanwhile were never opened, and went back with it.
        if let Some(lot) = self.lot.as_mut().filter(|lot| lot.tag == tag) {
            lot.opening = lot.opening.saturating_sub(amount);
            if kept {
                lot.opened = lot.opened.saturating_add(amount);
                pocket.open(tag, amount);
            }
        }
    }

    fn give_back(&mut self, pocket: &Pocket, hold: u64, keep: u64) -> bool {
        let Some(lot) = &mut self.lot else { return false };
        let surplus = hold.saturating_sub(keep);
        // A trickle is not worth a message, unless the pocket is to be emptied.
        if surplus == 0 || (keep > 0 && surplus < keep.div_ceil(4)) {
            return false;
        }
        let from_vault = surplus.min(lot.vault());
        let from_chunk = pocket.shut(surplus.saturating_sub(from_vault));
        lot.opened = lot.opened.saturating_sub(from_chunk);
        lot.returned = lot.returned.saturating_add(from_vault).saturating_add(from_chunk);
        true
    }

    fn ask(
        &mut self,
        pocket: &Pocket,
        now: Mono,
        want: u64,
        (need, waiting): (u64, u64),
        (holder, seq): (Holder, u64),
        work: &mut Work,
    ) {
        let lot = self.lot;
        self.asked = Some(Asked { seq, at: now, need, waiting });
        self.last_report = now;
        work.asks.push(Ask {
            holder,
            account: pocket.id,
            seq,
            epoch: lot.map_or(Epoch(0), |lot| lot.epoch),
            oldest: self.past.first().map(|past| past.epoch).or(lot.map(|lot| lot.epoch)).unwrap_or_default(),
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
        now: Mono,
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
        self.acknowledged = answer.used;
        let base = *self.debt.base.get_or_insert(answer.debt);
        self.debt.acknowledged = answer.debt.max(base);
        let refills_at = now.plus(std::time::Duration::from_millis(answer.refills_in_ms));
        self.advice = Some(Advice { at: now, cap: answer.cap, left: answer.left, refills_at });
        // Counted from the ask, which came before the control plane's moment: so it ends here no later than there.
        let until = asked.at.plus(std::time::Duration::from_millis(answer.usable_for_ms));
        match &mut self.lot {
            Some(lot) if answer.epoch < lot.epoch => {}
            Some(lot) if answer.epoch == lot.epoch => {
                if answer.granted > lot.granted {
                    lot.granted = answer.granted;
                    pocket.set_usable_until(until.max(pocket.usable_until()));
                    work.records.push(Record::Lease {
                        account: pocket.id,
                        epoch: lot.epoch,
                        granted: lot.granted,
                    });
                }
            }
            _ if self.past.len() >= PAST_LOTS => {}
            _ => {
                self.retire(pocket);
                pocket.set_usable_until(until);
                let tag = self.tag();
                self.lot = Some(Lot {
                    epoch: answer.epoch,
                    tag,
                    granted: answer.granted,
                    base: answer.used,
                    spent_before: pocket.spent(tag),
                    opened: 0,
                    opening: 0,
                    returned: 0,
                });
                work.records.push(Record::Lease {
                    account: pocket.id,
                    epoch: answer.epoch,
                    granted: answer.granted,
                });
            }
        }
        self.open(pocket, asked.need.max(asked.waiting), work);
        pocket.set_low((self.chunk(pocket, asked.need) / 2).max(1));
        if self.hold(pocket) < asked.need {
            // Calls began to wait after the ask was sent: they are to be seen to at once, not at the next beat.
            pocket.unmet.fetch_add(asked.waiting, AcqRel);
            pocket.need.fetch_max(asked.need, AcqRel);
        }
        true
    }

    /// The control plane will not answer the ask.
    pub(super) fn refused(&mut self, seq: u64) {
        if self.asked.is_some_and(|asked| asked.seq == seq) {
            self.asked = None;
        }
    }

    /// Ends the current lot; calls that are on their way still settle into it.
    fn retire(&mut self, pocket: &Pocket) {
        let free = pocket.retire();
        let Some(lot) = self.lot.take() else { return };
        let open = self.past.iter().filter(|past| !past.sealed).count();
        if open >= OPEN_LOTS
            && let Some(oldest) = self.past.iter_mut().find(|past| !past.sealed)
        {
            // Its place among the counters is needed.
            oldest.sealed = true;
        }
        self.past.push(Past {
            epoch: lot.epoch,
            tag: lot.tag,
            spent_base: lot.base.spent,
            spent_before: lot.spent_before,
            opened: lot.opened.saturating_sub(free),
            sealed: false,
        });
    }

    /// A tag whose place among the four counters no lot uses.
    fn tag(&mut self) -> Tag {
        loop {
            self.next_tag = if self.next_tag >= DEBT - 1 { 1 } else { self.next_tag + 1 };
            if !self.past.iter().any(|past| !past.sealed && past.tag % 4 == self.next_tag % 4) {
                return self.next_tag;
            }
        }
    }

    fn closings(&self, pocket: &Pocket, holder: Holder, work: &mut Work) {
        for past in &self.past {
            let spent = past.spent(pocket);
            work.closes.push(Close {
                holder,
                account: pocket.id,
                epoch: past.epoch,
                spent: past.spent_base.saturating_add(spent),
                in_use: past.opened.saturating_sub(spent),
            });
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
        let debt = self.debt.in_use == 0 && self.debt.total == 0
            || self.debt.base.is_some() && self.debt.told() == self.debt.acknowledged;
        told && debt && self.hold(pocket) == 0 && self.past.is_empty() && self.asked.is_none()
    }

    /// The last word on everything, for a ledger that begins anew.
    pub(super) fn records(&self, pocket: &Pocket) -> Vec<Record> {
        let account = pocket.id;
        let mut records = Vec::new();
        for past in &self.past {
            let spent = past.spent_base;
            let ceiling = spent.saturating_add(past.opened);
            records.push(Record::Chunk { account, epoch: past.epoch, spent, ceiling });
        }
        if let Some(lot) = &self.lot {
            let ceiling = lot.base.spent.saturating_add(lot.opened).saturating_add(lot.opening);
            records.push(Record::Chunk { account, epoch: lot.epoch, spent: lot.used(pocket).spent, ceiling });
        }
        if self.debt.told() > 0 {
            records.push(Record::Debt { account, debt: self.debt.told() });
        }
        records
    }

    /// The epoch whose units are held.
    pub(super) fn epoch(&self) -> Option<Epoch> {
        self.lot.map(|lot| lot.epoch)
    }
}
