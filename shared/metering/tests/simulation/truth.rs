//! What was really spent, seen by nobody inside: a call counts its maximum from the moment it may go out, and its cost once it is known.
//! A call whose plane died counts its maximum for ever.

use std::collections::{BTreeMap, VecDeque};

use portcullis_metering::accounts::Accounts;
use portcullis_metering::{AccountId, Epoch, Level};

#[derive(Debug, Default)]
pub(crate) struct Truth {
    spent: BTreeMap<(AccountId, Epoch), u64>,
    /// The highest limit that ever held in an epoch.
    limits: BTreeMap<AccountId, u64>,
    rolling: BTreeMap<AccountId, VecDeque<(u64, u64, u64)>>,
}

impl Truth {
    pub(crate) fn may_spend(&mut self, account: AccountId, limit: u64) {
        let known = self.limits.entry(account).or_default();
        *known = limit.max(*known);
    }

    pub(crate) fn charge(
        &mut self,
        now_ms: u64,
        call: u64,
        account: AccountId,
        epoch: Epoch,
        amount: u64,
        slack_ms: u64,
    ) {
        let limit = self.limits[&account];
        if account.rolling {
            let window = account.length.nominal_ms() - slack_ms;
            let seen = self.rolling.entry(account).or_default();
            seen.push_back((now_ms, call, amount));
            while seen.front().is_some_and(|(at, ..)| at + window <= now_ms) {
                seen.pop_front();
            }
            let sum: u64 = seen.iter().map(|(_, _, amount)| amount).sum();
            assert!(sum <= limit, "{account}: {sum} of {limit} in the last {window} ms");
            *self.spent.entry((account, epoch)).or_default() += amount;
        } else {
            let spent = self.spent.entry((account, epoch)).or_default();
            *spent += amount;
            assert!(*spent <= limit, "{account} in {epoch:?}: {spent} of {limit}");
        }
    }

    pub(crate) fn settle(&mut self, call: u64, account: AccountId, epoch: Epoch, reserved: u64, cost: u64) {
        *self.spent.get_mut(&(account, epoch)).unwrap() -= reserved - cost;
        let seen = self.rolling.get_mut(&account).into_iter().flatten();
        for (_, _, amount) in seen.filter(|(_, number, _)| *number == call) {
            *amount = cost;
        }
    }

    pub(crate) fn spent(&self, account: AccountId) -> u64 {
        self.spent.iter().filter(|((of, _), _)| *of == account).map(|(_, spent)| spent).sum()
    }

    /// When all is quiet: what the books say was spent was spent, and what was spent is in the books, as spent or as written off.
    pub(crate) fn agrees_with(&self, accounts: &Accounts) {
        for level in [Level::Customer, Level::Team, Level::Key, Level::Server, Level::Tool] {
            for (account, book) in accounts.books(level) {
                let spent = self.spent.get(&(account, book.epoch)).copied().unwrap_or(0);
                let books = book.totals;
                assert!(books.spent <= spent, "{account}: {books:?}, but only {spent} was spent");
                assert!(
                    spent <= books.spent + books.written_off,
                    "{account}: {books:?}, but {spent} was spent"
                );
                assert_eq!(books.held, 0, "{account}: {books:?} when all is quiet");
            }
        }
    }
}
