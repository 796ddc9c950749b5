//! The control plane's side: accounts, what was granted of them, and what became of it.
//!
//! A pure state machine. [`Accounts::decide`] turns a command into events without changing anything; the caller puts the events on disk;
//! [`Accounts::apply`] makes them so; only then is an answer read from the state and sent. A crash between any two of these loses
//! nothing that anybody was told.

mod apply;
mod ask;
mod book;
mod command;
mod decide;
mod event;
mod size;
mod window;

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use serde::{Deserialize, Serialize};
use uuid::Uuid;

pub use book::{Book, Line, Totals};
pub use command::{Command, Corrupt, Refusal, Unsound};
pub use event::Event;

use crate::id::{AccountId, Epoch, Holder, Level};
use crate::message::{Answer, Ask, Close, Closed};
use crate::terms::{Override, Terms};
use crate::time::Utc;
use window::Window;

/// Periods that are kept after they ended, so that late holders can settle.
const PAST_BOOKS: usize = 3;
/// Holders with open lines in one book.
const MAX_LINES: usize = 4_096;
/// The length of a reason or a name, in bytes, that a command may carry into the journal.
const MAX_TEXT: usize = 1_024;

/// Every account, and the lives of the planes. A clone shares the accounts, and costs little; each is copied when one of both changes it.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Accounts {
    #[serde(with = "crate::pairs")]
    accounts: BTreeMap<AccountId, Arc<Account>>,
    lives: BTreeMap<Uuid, u32>,
}

/// One account.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
struct Account {
    terms: Terms,
    by_override: Option<Override>,
    /// The latest moment of any event: time never runs backwards, whatever the machine's clock does.
    clock: Utc,
    current: Book,
    /// Oldest first.
    past: Vec<Book>,
    /// Of a rolling account.
    window: Option<Window>,
    #[serde(with = "crate::pairs")]
    voices: BTreeMap<Holder, Voice>,
}

/// What was last heard of a holder.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
struct Voice {
    seq: u64,
    debt: u64,
}

/// How an account stands: for `usage` and for metrics.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Statement {
    /// The current epoch.
    pub epoch: Epoch,
    /// When its period ends.
    pub end: Utc,
    /// The limit that holds now, an override included.
    pub limit: u64,
    /// Used, written off and owed in the period, less credit.
    pub used: i64,
    /// What can still be granted.
    pub left: u64,
    /// What passed without a lease.
    pub debt: u64,
    /// Where the granted units of the period are.
    pub totals: Totals,
}

impl Accounts {
    /// How an account stands; `None` if there is none.
    #[must_use]
    pub fn statement(&self, now: Utc, account: AccountId) -> Option<Statement> {
        let account = self.accounts.get(&account)?;
        let now = now.max(account.clock);
        let used = i64::try_from(account.used(now)).unwrap_or(i64::MAX);
        Some(Statement {
            epoch: account.current.epoch,
            end: account.current.end,
            limit: account.limit(now),
            used,
            left: account.left(now),
            debt: account.current.debt,
            totals: account.current.totals,
        })
    }

    /// Every account, in the order of levels.
    pub fn ids(&self) -> impl Iterator<Item = AccountId> + '_ {
        self.accounts.keys().copied()
    }

    /// Every account with the book of its present period, in the order of levels.
    pub fn present(&self) -> impl Iterator<Item = (AccountId, &Book)> + '_ {
        self.accounts.iter().map(|(id, account)| (*id, &account.current))
    }

    /// Every account of one level, with its books: the current one last.
    pub fn books(&self, level: Level) -> impl Iterator<Item = (AccountId, &Book)> + '_ {
        let of = self.accounts.iter().filter(move |(id, _)| id.level == level);
        of.flat_map(|(id, account)| account.books().map(|book| (*id, book)))
    }

    /// The answer to an ask, read from the state after the events of the ask are on disk and applied; the same for a repeated one.
    /// `None` if there is no such account.
    #[must_use]
    pub fn answer(&self, now: Utc, ask: &Ask, fleet: u32) -> Option<Answer> {
        let account = self.accounts.get(&ask.account)?;
        let now = now.max(account.clock);
        let line = account.current.line(ask.holder);
        Some(Answer {
            holder: ask.holder,
            account: ask.account,
            seq: ask.seq,
            epoch: account.current.epoch,
            granted: line.granted,
            used: line.used,
            usable_for_ms: line.usable_until.since(now),
            cap: size::cap(account.limit(now), account.left(now), fleet),
            left: account.left(now),
            refills_in_ms: account.refills(now).since(now),
            debt: account.voices.get(&ask.holder).map_or(0, |voice| voice.debt),
        })
    }

    /// The answer to a closing, read after its events are on disk and applied.
    #[must_use]
    pub fn closed(&self, close: &Close) -> Closed {
        let book = self.accounts.get(&close.account).and_then(|account| account.book(close.epoch));
        let open = book.map_or(0, |book| book.line(close.holder).open());
        Closed { holder: close.holder, account: close.account, epoch: close.epoch, open }
    }

    /// Whether all units of every account and period are where they must be: `granted = spent + held + returned + written off`, for the
    /// totals and for the lines under them.
    ///
    /// # Errors
    /// The first book that does not add up.
    pub fn check(&self) -> Result<(), Unsound> {
        self.accounts.keys().try_for_each(|id| self.check_one(*id))
    }

    /// The same for one account.
    ///
    /// # Errors
    /// The first of its books that does not add up.
    pub fn check_one(&self, id: AccountId) -> Result<(), Unsound> {
        let books = self.accounts.get(&id).into_iter().flat_map(|account| account.books());
        for book in books {
            if !book.adds_up() {
                return Err(Unsound { account: id, epoch: book.epoch, totals: book.totals });
            }
        }
        Ok(())
    }

    /// The terms of an account, and the override that stands in it, over or not.
    #[must_use]
    pub fn terms(&self, account: AccountId) -> Option<(Terms, Option<Override>)> {
        self.accounts.get(&account).map(|account| (account.terms, account.by_override))
    }

    /// Every holder in whose hands anything is, in any account and period, but for what was written off.
    #[must_use]
    pub fn holders(&self) -> BTreeSet<Holder> {
        let lines = self.accounts.values().flat_map(|account| account.books()).flat_map(|book| &book.lines);
        lines
            .filter(|(_, line)| line.open() > 0 && line.written_off.is_none())
            .map(|(holder, _)| *holder)
            .collect()
    }

    /// Whether a plane has a line in any account and period: something may still come back of it.
    #[must_use]
    pub fn knows(&self, plane: Uuid) -> bool {
        let (first, last) = (Holder { plane, life: 0 }, Holder { plane, life: u32::MAX });
        let mut books = self.accounts.values().flat_map(|account| account.books());
        books.any(|book| book.lines.range(first..=last).any(|(_, line)| line.open() > 0))
    }

    /// All that planes hold of the current period.
    #[must_use]
    pub fn held(&self, account: AccountId) -> u64 {
        self.accounts.get(&account).map_or(0, |account| account.current.totals.held)
    }
}

impl Account {
    fn books(&self) -> impl Iterator<Item = &Book> {
        self.past.iter().chain(std::iter::once(&self.current))
    }

    fn book(&self, epoch: Epoch) -> Option<&Book> {
        self.books().find(|book| book.epoch == epoch)
    }

    fn book_mut(&mut self, epoch: Epoch) -> Option<&mut Book> {
        self.past.iter_mut().chain(std::iter::once(&mut self.current)).find(|book| book.epoch == epoch)
    }

    fn limit(&self, now: Utc) -> u64 {
        match self.by_override {
            Some(other) if now < other.until => other.limit,
            _ => self.terms.limit,
        }
    }

    /// What counts against the limit beside what is held.
    fn used(&self, now: Utc) -> i128 {
        match &self.window {
            Some(window) => window.used(now),
            None => {
                let book = &self.current;
                i128::from(book.totals.spent) + i128::from(book.totals.written_off) + i128::from(book.debt)
                    - i128::from(book.adjusted)
            }
        }
    }

    /// What a reset forgives: all but what a holder that is taken for dead may still spend.
    fn forgivable(&self, now: Utc) -> i128 {
        let lines = self.current.lines.values().filter(|line| line.written_off.is_some());
        self.used(now) - lines.map(|line| i128::from(line.open())).sum::<i128>()
    }

    fn left(&self, now: Utc) -> u64 {
        left(self.limit(now), self.used(now), i128::from(self.current.totals.held))
    }

    fn refills(&self, now: Utc) -> Utc {
        match &self.window {
            Some(window) => window.next_leaves(now).unwrap_or(now),
            None => self.current.end,
        }
    }
}

/// What can still be granted of a limit.
fn left(limit: u64, used: i128, held: i128) -> u64 {
    u64::try_from(i128::from(limit).saturating_sub(used).saturating_sub(held).max(0)).unwrap_or(u64::MAX)
}

#[cfg(test)]
mod tests;
