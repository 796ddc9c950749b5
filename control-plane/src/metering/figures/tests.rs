use portcullis_metering::accounts::Command;
use portcullis_metering::{AccountId, Ask, Epoch, FiscalMonth, Holder, Length, Terms, Used, Utc};
use uuid::Uuid;

use super::*;

#[test]
fn sums_are_of_present_periods_by_level_and_unit() {
    let mut books = Books::default();
    let mut now = Utc(1_800_000_000_000);
    let mut carry_out = |now: Utc, command: &Command| {
        for event in books.accounts.decide(now, command).unwrap() {
            books.accounts.apply(&event).unwrap();
        }
    };
    let terms = Terms { limit: 6_400, warn_at: None, fiscal_month: FiscalMonth::JANUARY };
    let account = |owner: u128, unit| AccountId {
        level: Level::Key,
        owner: Uuid::from_u128(owner),
        unit,
        length: Length::Day,
        rolling: false,
    };
    let ask = |account, seq, want| Command::Ask {
        ask: Ask {
            holder: Holder { plane: Uuid::from_u128(1), life: 1 },
            account,
            seq,
            epoch: Epoch(0),
            oldest: Epoch(0),
            used: Used::default(),
            in_use: 0,
            want,
            need: 0,
            debt: 0,
        },
        fleet: 1,
    };
    for (owner, unit) in [(1, Unit::Calls), (2, Unit::Calls), (3, Unit::MicroUsd)] {
        carry_out(now, &Command::Configure { account: account(owner, unit), terms });
    }
    carry_out(now, &ask(account(1, Unit::Calls), 1, 50));
    // In another period the units of the first do not count any more.
    now = now.plus(24 * 3_600_000);
    carry_out(now, &ask(account(1, Unit::Calls), 2, 30));
    carry_out(now, &ask(account(2, Unit::Calls), 3, 20));
    let sums = sums_of(&books);
    let calls = Sum { budgets: 2, granted: 50, held: 50, ..Sum::default() };
    assert_eq!(sums.get(&(Level::Key, Unit::Calls)), Some(&calls));
    assert_eq!(sums.get(&(Level::Key, Unit::MicroUsd)), Some(&Sum { budgets: 1, ..Sum::default() }));
    assert_eq!(sums.len(), 2);
}
