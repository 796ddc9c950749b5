//! How budgets stand, for people: the present period, and the ended ones that are kept.

use std::collections::{BTreeMap, BTreeSet};

use portcullis_metering::accounts::{Book, Totals};
use portcullis_metering::{AccountId, Level, Utc};

use super::books::Books;

/// How one budget stands in one period.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Standing {
    /// Its first moment.
    pub(crate) start: Utc,
    /// The first moment after it; none of a rolling one.
    pub(crate) end: Option<Utc>,
    /// Whether it is the present one.
    pub(crate) current: bool,
    /// The limit that holds; 0 of an ended period.
    pub(crate) limit: u64,
    /// What counts against it.
    pub(crate) used: i64,
    /// What can still be granted.
    pub(crate) left: u64,
    /// What passed without a lease.
    pub(crate) debt: u64,
    /// Credit that people gave, or took.
    pub(crate) adjusted: i64,
    /// Where the granted units are.
    pub(crate) totals: Totals,
}

impl Books {
    /// How these accounts stand, each with the present period first. Accounts that do not exist are left out.
    pub(crate) fn standings(
        &self,
        now: Utc,
        wanted: &BTreeSet<AccountId>,
    ) -> BTreeMap<AccountId, Vec<Standing>> {
        let mut found: BTreeMap<AccountId, Vec<Standing>> = BTreeMap::new();
        for level in [Level::Customer, Level::Team, Level::Key, Level::Server, Level::Tool] {
            if !wanted.iter().any(|account| account.level == level) {
                continue;
            }
            for (account, book) in self.accounts.books(level).filter(|(account, _)| wanted.contains(account))
            {
                found.entry(account).or_default().push(past(account, book));
            }
        }
        for (account, standings) in &mut found {
            // The books come oldest first, the one in use last.
            standings.reverse();
            self.present(now, *account, standings);
        }
        found
    }

    /// Says of the first standing that it is the present one. Where its period is over, and nobody has asked since, the present one
    /// is still unused.
    fn present(&self, now: Utc, account: AccountId, standings: &mut Vec<Standing>) {
        let (Some(statement), Some((terms, by_override))) =
            (self.accounts.statement(now, account), self.accounts.terms(account))
        else {
            return;
        };
        let Some(newest) = standings.first_mut() else { return };
        if account.rolling || now < statement.end {
            newest.current = true;
            (newest.limit, newest.used, newest.left) = (statement.limit, statement.used, statement.left);
            return;
        }
        let (start, end) = account.length.around(now, terms.fiscal_month);
        let limit = by_override.filter(|other| now < other.until).map_or(terms.limit, |other| other.limit);
        standings.insert(
            0,
            Standing {
                start: start.max(statement.end),
                end: Some(end),
                current: true,
                limit,
                used: 0,
                left: limit,
                debt: 0,
                adjusted: 0,
                totals: Totals::default(),
            },
        );
    }
}

fn past(account: AccountId, book: &Book) -> Standing {
    let counted = i128::from(book.totals.spent) + i128::from(book.totals.written_off) + i128::from(book.debt)
        - i128::from(book.adjusted);
    Standing {
        start: book.start,
        end: (!account.rolling).then_some(book.end),
        current: false,
        limit: 0,
        used: i64::try_from(counted).unwrap_or(i64::MAX),
        left: 0,
        debt: book.debt,
        adjusted: book.adjusted,
        totals: book.totals,
    }
}
