//! Commands turned into events. Nothing changes here, and nothing is said before the events are on disk.

use std::collections::BTreeMap;

use super::book::Book;
use super::command::{Command, Refusal};
use super::event::Event;
use super::{Account, Accounts, MAX_TEXT, PAST_BOOKS};
use crate::id::{AccountId, Epoch, Holder};
use crate::message::{Close, Over, Used};
use crate::time::Utc;

impl Accounts {
    /// What follows from a command: events for the journal, in the order in which they are to be applied. None, if nothing changes.
    ///
    /// `now` is the control plane's own clock; should it have been set back, the latest moment that an account has seen counts.
    ///
    /// # Errors
    /// [`Refusal`], with nothing to be recorded.
    pub fn decide(&self, now: Utc, command: &Command) -> Result<Vec<Event>, Refusal> {
        match command {
            Command::Configure { account, terms } => {
                let known = self.accounts.get(account);
                if known.is_some_and(|known| known.terms == *terms) {
                    return Ok(Vec::new());
                }
                let at = known.map_or(now, |known| now.max(known.clock));
                let mut events = vec![Event::Configured { account: *account, terms: *terms, at }];
                if known.is_none() {
                    let (start, end) = period(*account, at, terms.fiscal_month);
                    events.push(Event::Opened { account: *account, epoch: Epoch(1), start, end, at });
                }
                Ok(events)
            }
            Command::Remove { account } => {
                let totals = self.get(*account)?.current.closing();
                Ok(vec![Event::Removed { account: *account, totals }])
            }
            Command::Ask { ask, fleet } => self.decide_ask(now, ask, *fleet),
            Command::Close(close) => self.decide_close(now, close),
            Command::Over(over) => self.decide_over(now, over),
            Command::WriteOff(holder) => Ok(self.decide_write_off(now, *holder)),
            Command::Override { account, by_override, reason, by } => {
                let (_, at, mut events) = self.person(now, *account, reason, by)?;
                events.push(Event::Overridden {
                    account: *account,
                    by_override: *by_override,
                    reason: reason.clone(),
                    by: by.clone(),
                    at,
                });
                Ok(events)
            }
            Command::Adjust { account, credit, reason, by } => {
                let (book, at, mut events) = self.person(now, *account, reason, by)?;
                events.push(Event::Adjusted {
                    account: *account,
                    epoch: book.epoch,
                    credit: *credit,
                    reason: reason.clone(),
                    by: by.clone(),
                    at,
                });
                Ok(events)
            }
            Command::Reset { account, reason, by } => {
                let (book, at, mut events) = self.person(now, *account, reason, by)?;
                let known = self.get(*account)?;
                let used = if book.epoch == known.current.epoch { known.forgivable(at) } else { 0 };
                events.push(Event::Reset {
                    account: *account,
                    epoch: book.epoch,
                    forgiven: i64::try_from(used).unwrap_or(i64::MAX),
                    reason: reason.clone(),
                    by: by.clone(),
                    at,
                });
                Ok(events)
            }
        }
    }

    pub(super) fn get(&self, id: AccountId) -> Result<&Account, Refusal> {
        self.accounts.get(&id).map(|account| &**account).ok_or(Refusal::UnknownAccount(id))
    }

    /// What a person's command begins with: the current period, the moment, and the turn of the period if one is due.
    fn person(
        &self,
        now: Utc,
        id: AccountId,
        reason: &str,
        by: &str,
    ) -> Result<(Book, Utc, Vec<Event>), Refusal> {
        if reason.len() > MAX_TEXT || by.len() > MAX_TEXT {
            return Err(Refusal::TooLong);
        }
        let account = self.get(id)?;
        let now = now.max(account.clock);
        let mut events = Vec::new();
        let fresh = account.turn(id, now, &mut events);
        Ok((fresh.unwrap_or_else(|| account.current.clone()), now, events))
    }

    /// A plane may be heard in its latest life only; a new life is noted.
    pub(super) fn hear(&self, holder: Holder, events: &mut Vec<Event>) -> Result<(), Refusal> {
        let known = self.lives.get(&holder.plane).copied().unwrap_or(0);
        if holder.life < known {
            return Err(Refusal::DeadLife(holder));
        }
        if holder.life > known {
            events.push(Event::Born { plane: holder.plane, life: holder.life });
        }
        Ok(())
    }

    fn decide_close(&self, now: Utc, close: &Close) -> Result<Vec<Event>, Refusal> {
        let mut events = Vec::new();
        self.hear(close.holder, &mut events)?;
        let account = self.get(close.account)?;
        let at = now.max(account.clock);
        let Some(book) = account.book(close.epoch) else { return Ok(events) };
        let Some(line) = book.lines.get(&close.holder) else { return Ok(events) };
        let impossible = Refusal::Impossible { holder: close.holder, account: close.account };
        let kept = line.used.lost.saturating_add(close.spent).saturating_add(close.in_use);
        let returned = line.granted.checked_sub(kept).ok_or(impossible)?;
        let used = Used { spent: close.spent, returned, ..line.used }.max(line.used);
        if used.total() > line.granted {
            return Err(impossible);
        }
        let (account, epoch, holder) = (close.account, close.epoch, close.holder);
        if used.total() == line.granted {
            events.push(Event::Ended { account, epoch, holder, used, at });
        } else if used != line.used || line.written_off.is_some() {
            events.push(Event::Reported { account, epoch, holder, seq: 0, used, at });
        }
        Ok(events)
    }

    fn decide_over(&self, now: Utc, over: &Over) -> Result<Vec<Event>, Refusal> {
        let holder = over.holder;
        let next = Holder { life: holder.life.checked_add(1).ok_or(Refusal::NoLife(holder))?, ..holder };
        if holder.life == 0 {
            return Err(Refusal::NoLife(holder));
        }
        let mut events = Vec::new();
        // Sent by the next life, or a later one: this one is granted nothing any more.
        let first = self.lives.get(&holder.plane).copied().unwrap_or(0) < next.life;
        if first {
            events.push(Event::Born { plane: next.plane, life: next.life });
        }
        let (debts, lines) = told(over);
        for (id, account) in &self.accounts {
            let at = now.max(account.clock);
            let voice = account.voices.get(&holder);
            let owed = debts.get(id).copied();
            // A voice is forgotten once its life is known to be over: a repetition is not charged again.
            let charged = voice.map(|voice| voice.debt).or(first.then_some(0));
            if let Some(debt) = owed.filter(|debt| charged.is_some_and(|charged| *debt > charged)) {
                events.push(Event::Indebted { account: *id, holder, seq: 0, debt, at });
            }
            for book in account.books() {
                let Some(line) = book.lines.get(&holder) else { continue };
                let (spent, ceiling) = lines.get(&(*id, book.epoch)).copied().unwrap_or_default();
                // What the holder had given back before it died it cannot have spent.
                let most = line.granted.saturating_sub(line.used.returned).saturating_sub(line.used.lost);
                let spent = spent.max(line.used.spent).min(most);
                let lost = line.used.lost.saturating_add(ceiling.min(most).saturating_sub(spent));
                let returned = line.granted.saturating_sub(spent).saturating_sub(lost);
                let used = Used { spent, lost, returned };
                events.push(Event::Ended { account: *id, epoch: book.epoch, holder, used, at });
            }
            if voice.is_some() {
                events.push(Event::Silenced { account: *id, holder });
            }
        }
        Ok(events)
    }

    fn decide_write_off(&self, now: Utc, holder: Holder) -> Vec<Event> {
        let mut events = Vec::new();
        for (id, account) in &self.accounts {
            for book in account.books() {
                let Some(line) = book.lines.get(&holder) else { continue };
                if line.written_off.is_none() && line.open() > 0 {
                    let (epoch, at) = (book.epoch, now.max(account.clock));
                    events.push(Event::WrittenOff { account: *id, epoch, holder, amount: line.open(), at });
                }
            }
        }
        events
    }
}

impl Account {
    /// The new book, if the current period is over; with the events that open it and drop the oldest.
    pub(super) fn turn(&self, id: AccountId, now: Utc, events: &mut Vec<Event>) -> Option<Book> {
        if now < self.current.end {
            return None;
        }
        if let Some(oldest) = self.past.first().filter(|_| self.past.len() >= PAST_BOOKS) {
            events.push(Event::Dropped { account: id, epoch: oldest.epoch, totals: oldest.closing() });
        }
        let (start, end) = period(id, now, self.terms.fiscal_month);
        // Periods never overlap, also when the fiscal year was moved.
        let start = start.max(self.current.end);
        let epoch = self.current.epoch.next();
        events.push(Event::Opened { account: id, epoch, start, end, at: now });
        Some(Book::new(epoch, start, end))
    }
}

type Debts = BTreeMap<AccountId, u64>;
type Lines = BTreeMap<(AccountId, Epoch), (u64, u64)>;

/// What is told of an earlier life, by account; of what is told twice the larger. There may be as many lines as accounts.
fn told(over: &Over) -> (Debts, Lines) {
    let (mut debts, mut lines) = (Debts::new(), Lines::new());
    for owed in &over.debts {
        let debt = debts.entry(owed.account).or_default();
        *debt = owed.debt.max(*debt);
    }
    for told in &over.lines {
        let (spent, ceiling) = lines.entry((told.account, told.epoch)).or_default();
        (*spent, *ceiling) = (told.spent.max(*spent), told.ceiling.max(*ceiling));
    }
    (debts, lines)
}

/// The period of an account that holds a moment; a rolling account has one that never ends.
fn period(id: AccountId, at: Utc, fiscal: crate::period::FiscalMonth) -> (Utc, Utc) {
    if id.rolling { (at, Utc::NEVER) } else { id.length.around(at, fiscal) }
}
