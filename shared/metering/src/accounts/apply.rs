//! Events made so. The only code that changes accounts; it decides nothing.

use std::sync::Arc;

use super::book::{Book, Line};
use super::command::Corrupt;
use super::event::Event;
use super::window::Window;
use super::{Account, Accounts, PAST_BOOKS, Voice};
use crate::id::{AccountId, Epoch, Holder};
use crate::message::Used;
use crate::time::Utc;

impl Accounts {
    /// Makes an event so, just decided or read from a journal.
    ///
    /// # Errors
    /// [`Corrupt`] if the event does not follow from the state; nothing has changed then.
    pub fn apply(&mut self, event: &Event) -> Result<(), Corrupt> {
        match event {
            Event::Born { plane, life } => {
                self.lives.insert(*plane, *life);
            }
            Event::Configured { account, terms, at } => {
                match self.accounts.get_mut(account).map(Arc::make_mut) {
                    Some(known) => {
                        known.terms = *terms;
                        known.clock = known.clock.max(*at);
                    }
                    None => {
                        self.accounts.insert(*account, Arc::new(Account::new(*account, *terms, *at)));
                    }
                }
            }
            Event::Opened { account, epoch, start, end, at } => {
                let known = self.known(*account, *at)?;
                let old = std::mem::replace(&mut known.current, Book::new(*epoch, *start, *end));
                if old.epoch != Epoch(0) {
                    known.past.push(old);
                }
                debug_assert!(known.past.len() <= PAST_BOOKS, "a book is dropped before one is opened");
            }
            Event::Dropped { account, epoch, .. } => {
                let known = self.known(*account, Utc(0))?;
                known.past.retain(|book| book.epoch != *epoch);
            }
            Event::Reported { account, epoch, holder, seq, used, at } => {
                self.known(*account, *at)?.settle(*account, *epoch, *holder, *used, *at)?;
                self.heard(*account, *holder, *seq)?;
            }
            Event::Ended { account, epoch, holder, used, at } => {
                let known = self.known(*account, *at)?;
                known.settle(*account, *epoch, *holder, *used, *at)?;
                if let Some(book) = known.book_mut(*epoch) {
                    book.fold(*holder);
                }
            }
            Event::Granted { account, epoch, holder, seq, granted, usable_until, at } => {
                let known = self.known(*account, *at)?;
                let book = known.book_mut(*epoch).ok_or(no_book(*account, *epoch))?;
                let line = Line { granted: *granted, usable_until: *usable_until, ..book.line(*holder) };
                book.set(*holder, line);
                self.heard(*account, *holder, *seq)?;
            }
            Event::WrittenOff { account, epoch, holder, at, .. } => {
                let known = self.known(*account, *at)?;
                let book = known.book_mut(*epoch).ok_or(no_book(*account, *epoch))?;
                let line = book.line(*holder);
                // A plane that only seems dead may spend what it holds until then.
                let counted = line.usable_until.max(*at);
                book.set(*holder, Line { written_off: Some(counted), ..line });
                if let Some(window) = &mut known.window {
                    window.add(*at, counted, signed(line.open()));
                }
            }
            Event::Indebted { account, holder, seq, debt, at } => {
                let known = self.known(*account, *at)?;
                let voice = known.voices.entry(*holder).or_default();
                let more = debt.saturating_sub(voice.debt);
                voice.debt = voice.debt.max(*debt);
                known.current.debt = known.current.debt.saturating_add(more);
                if let Some(window) = &mut known.window {
                    window.add(*at, *at, signed(more));
                }
                self.heard(*account, *holder, *seq)?;
            }
            Event::Silenced { account, holder } => {
                self.known(*account, Utc(0))?.voices.remove(holder);
            }
            Event::Adjusted { account, credit, at, .. } => {
                let known = self.known(*account, *at)?;
                known.current.adjusted = known.current.adjusted.saturating_add(*credit);
                if let Some(window) = &mut known.window {
                    window.add(*at, *at, credit.saturating_neg());
                }
            }
            Event::Reset { account, forgiven, at, .. } => {
                let known = self.known(*account, *at)?;
                known.current.adjusted = known.current.adjusted.saturating_add(*forgiven);
                if let Some(window) = &mut known.window {
                    window.clear();
                    let lines = known.current.lines.values();
                    for (line, counted) in lines.filter_map(|line| Some((line, line.written_off?))) {
                        window.add(*at, counted, signed(line.open()));
                    }
                }
            }
            Event::Overridden { account, by_override, at, .. } => {
                self.known(*account, *at)?.by_override = *by_override;
            }
            Event::Warned { account, epoch, at, .. } => {
                let known = self.known(*account, *at)?;
                known.book_mut(*epoch).ok_or(no_book(*account, *epoch))?.warned = Some(*at);
            }
            Event::Removed { account, .. } => {
                self.accounts.remove(account).ok_or(Corrupt::NoAccount(*account))?;
            }
        }
        Ok(())
    }

    fn known(&mut self, id: AccountId, at: Utc) -> Result<&mut Account, Corrupt> {
        let account = self.accounts.get_mut(&id).map(Arc::make_mut).ok_or(Corrupt::NoAccount(id))?;
        account.clock = account.clock.max(at);
        Ok(account)
    }

    fn heard(&mut self, id: AccountId, holder: Holder, seq: u64) -> Result<(), Corrupt> {
        if seq > 0 {
            let voice = self.known(id, Utc(0))?.voices.entry(holder).or_default();
            voice.seq = voice.seq.max(seq);
        }
        Ok(())
    }
}

impl Account {
    fn new(id: AccountId, terms: crate::terms::Terms, at: Utc) -> Self {
        Self {
            terms,
            by_override: None,
            clock: at,
            current: Book::new(Epoch(0), at, at),
            past: Vec::new(),
            window: id.rolling.then(|| Window::new(id.length.nominal_ms())),
            voices: std::collections::BTreeMap::<Holder, Voice>::new(),
        }
    }

    /// Writes down what a holder told. A line that had been written off is open again.
    fn settle(
        &mut self,
        id: AccountId,
        epoch: Epoch,
        holder: Holder,
        used: Used,
        at: Utc,
    ) -> Result<(), Corrupt> {
        let book = self.book_mut(epoch).ok_or(no_book(id, epoch))?;
        let before = book.line(holder);
        if used.total() > before.granted || used.max(before.used) != used {
            return Err(Corrupt::Overdrawn { holder, account: id });
        }
        book.set(holder, Line { used, written_off: None, ..before });
        if let Some(window) = &mut self.window {
            if let Some(counted) = before.written_off {
                window.take_back(counted, signed(before.open()));
            }
            let gone = |used: Used| used.spent.saturating_add(used.lost);
            window.add(at, at, signed(gone(used).saturating_sub(gone(before.used))));
        }
        Ok(())
    }
}

const fn no_book(account: AccountId, epoch: Epoch) -> Corrupt {
    Corrupt::NoBook { account, epoch }
}

fn signed(amount: u64) -> i64 {
    i64::try_from(amount).unwrap_or(i64::MAX)
}
