//! An ask: what the holder tells is written down, and what it wants is granted as far as it goes.

use super::book::Book;
use super::command::Refusal;
use super::event::Event;
use super::{Account, Accounts, MAX_LINES, left, size};
use crate::id::{AccountId, Epoch};
use crate::message::{Ask, Used};
use crate::time::Utc;

impl Accounts {
    pub(super) fn decide_ask(&self, now: Utc, ask: &Ask, fleet: u32) -> Result<Vec<Event>, Refusal> {
        let mut events = Vec::new();
        self.hear(ask.holder, &mut events)?;
        let account = self.get(ask.account)?;
        let now = now.max(account.clock);
        let voice = account.voices.get(&ask.holder).copied().unwrap_or_default();
        let overtaken = ask.seq <= voice.seq;
        let fresh = account.turn(ask.account, now, &mut events);
        let book = fresh.as_ref().unwrap_or(&account.current);
        // What the account will be after the events so far; kept up to date as more are added.
        let mut line = book.line(ask.holder);
        let mut held = i128::from(book.totals.held);
        let mut used = if fresh.is_some() { 0 } else { account.used(now) };

        if let Some(told) = account.told(ask, overtaken)? {
            if ask.epoch == book.epoch {
                if line.written_off.is_some() {
                    held += i128::from(line.open());
                    used -= i128::from(line.open());
                }
                held -= i128::from(told.total() - line.used.total());
                used += i128::from(told.spent - line.used.spent) + i128::from(told.lost - line.used.lost);
                line.used = told;
                line.written_off = None;
            }
            events.push(Event::Reported {
                account: ask.account,
                epoch: ask.epoch,
                holder: ask.holder,
                seq: ask.seq,
                used: told,
                at: now,
            });
        }
        for past in account.books().filter(|past| past.epoch < ask.oldest) {
            if let Some(line) = past.lines.get(&ask.holder) {
                let used = Used { returned: line.used.returned.saturating_add(line.open()), ..line.used };
                let (account, holder) = (ask.account, ask.holder);
                events.push(Event::Ended { account, epoch: past.epoch, holder, used, at: now });
            }
        }
        if ask.debt > voice.debt {
            used += i128::from(ask.debt - voice.debt);
            let (account, holder, debt) = (ask.account, ask.holder, ask.debt);
            events.push(Event::Indebted { account, holder, seq: ask.seq, debt, at: now });
        }

        let limit = account.limit(now);
        let in_use = if ask.epoch == book.epoch { ask.in_use } else { 0 };
        let free = line.open().saturating_sub(in_use);
        let more = size::grant(ask.want, ask.need, free, limit, left(limit, used, held), fleet);
        if more > 0 && !overtaken && line.written_off.is_none() {
            if book.lines.len() >= MAX_LINES && !book.lines.contains_key(&ask.holder) {
                events.push(book.make_room(ask.account, now).ok_or(Refusal::TooManyHolders)?);
            }
            let usable_until =
                if ask.account.rolling { now.plus(ask.account.length.nominal_ms()) } else { book.end };
            events.push(Event::Granted {
                account: ask.account,
                epoch: book.epoch,
                holder: ask.holder,
                seq: ask.seq,
                granted: line.granted.saturating_add(more),
                usable_until,
                at: now,
            });
        }
        events.extend(account.warning(ask, now, book.epoch, book.warned, used, limit));
        Ok(events)
    }
}

impl Account {
    /// What an ask tells that was not known, as totals; `None` if nothing.
    fn told(&self, ask: &Ask, overtaken: bool) -> Result<Option<Used>, Refusal> {
        let impossible = Refusal::Impossible { holder: ask.holder, account: ask.account };
        let line = self.book(ask.epoch).and_then(|book| book.lines.get(&ask.holder));
        let Some(line) = line else {
            // The book or the line was let go because nothing was open: what is told is old.
            return Ok(None);
        };
        let used = ask.used.max(line.used);
        if used.total() > line.granted {
            return Err(impossible);
        }
        // An overtaken ask is no sign of life.
        let reopens = line.written_off.is_some() && !overtaken;
        Ok((used != line.used || reopens).then_some(used))
    }

    fn warning(
        &self,
        ask: &Ask,
        now: Utc,
        epoch: Epoch,
        warned: Option<Utc>,
        used: i128,
        limit: u64,
    ) -> Option<Event> {
        let threshold = self.terms.warn_at?.of(limit);
        let again = ask.account.rolling.then(|| ask.account.length.nominal_ms());
        let due = warned.is_none_or(|last| again.is_some_and(|pause| now.since(last) >= pause));
        let used = u64::try_from(used).ok().filter(|used| due && *used >= threshold)?;
        Some(Event::Warned { account: ask.account, epoch, used, limit, at: now })
    }
}

impl Book {
    /// Writes off for good what a holder held that is taken for dead, to make room for another; `None` if all are alive.
    fn make_room(&self, account: AccountId, at: Utc) -> Option<Event> {
        let (holder, line) = self.lines.iter().find(|(_, line)| line.written_off.is_some())?;
        let used = Used { lost: line.used.lost.saturating_add(line.open()), ..line.used };
        Some(Event::Ended { account, epoch: self.epoch, holder: *holder, used, at })
    }
}
