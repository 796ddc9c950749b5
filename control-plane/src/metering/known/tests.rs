use portcullis_metering::accounts::Command;
use portcullis_metering::{AccountId, Ask, Epoch, FiscalMonth, Length, Level, Terms, Unit, Used};

use super::*;

const NOW: Utc = Utc(1_800_000_000_000);

fn birth(plane: u128) -> Birth {
    let holder = Holder { plane: Uuid::from_u128(plane), life: 1 };
    Birth { holder, nonce: Uuid::from_u128(plane), name: "*".to_owned() }
}

/// As many planes as are remembered; the one with the lowest id was born first.
fn full() -> Books {
    let mut books = Books::default();
    for plane in 1..=MAX_PLANES as u128 {
        let since = Utc(NOW.0 + u64::try_from(plane).unwrap());
        let known = Plane {
            name: "*".to_owned(),
            life: 1,
            nonce: Uuid::from_u128(plane),
            unsettled: BTreeSet::new(),
            since,
        };
        books.planes.insert(Uuid::from_u128(plane), known);
    }
    books
}

/// Grants a plane a unit.
fn grant(books: &mut Books, plane: u128) {
    let (level, unit, length) = (Level::Team, Unit::Calls, Length::Day);
    let account = AccountId { level, owner: Uuid::from_u128(1), unit, length, rolling: false };
    let terms = Terms { limit: 100, warn_at: None, fiscal_month: FiscalMonth::JANUARY };
    let ask = Ask {
        holder: birth(plane).holder,
        account,
        seq: 1,
        epoch: Epoch(0),
        oldest: Epoch(0),
        used: Used::default(),
        in_use: 0,
        want: 1,
        need: 1,
        debt: 0,
    };
    for command in [Command::Configure { account, terms }, Command::Ask { ask, fleet: 1 }] {
        for event in books.accounts.decide(NOW, &command).unwrap() {
            books.accounts.apply(&event).unwrap();
        }
    }
}

#[test]
fn the_oldest_that_is_gone_and_holds_nothing_makes_room() {
    let mut books = full();
    // The first is in conversation, the second holds something.
    grant(&mut books, 2);
    let live = |plane| plane == Uuid::from_u128(1);
    let newcomer = birth(1 << 100);
    let facts = books.introduce(&newcomer, NOW, live).unwrap();
    assert_eq!(facts[0], Fact::Forgotten { plane: Uuid::from_u128(3) });
    facts.iter().for_each(|fact| books.apply(fact).unwrap());
    assert_eq!(books.planes.len(), MAX_PLANES);
    assert!(books.planes.contains_key(&newcomer.holder.plane));
    // Who is known needs no room.
    assert_eq!(books.introduce(&birth(9), NOW, |_| true), Ok(vec![]));
}

#[test]
fn where_nobody_may_be_forgotten_the_newcomer_is_refused() {
    assert_eq!(full().introduce(&birth(1 << 100), NOW, |_| true), Err(Stranger::TooMany));
}

#[test]
fn lives_that_do_not_settle_are_bounded() {
    let mut books = Books::default();
    for life in 1..=MAX_UNSETTLED as u32 + 10 {
        let holder = Holder { life, ..birth(1).holder };
        for fact in books.introduce(&Birth { holder, ..birth(1) }, NOW, |_| false).unwrap() {
            books.apply(&fact).unwrap();
        }
    }
    let unsettled = &books.planes.values().next().unwrap().unsettled;
    assert_eq!(unsettled.len(), MAX_UNSETTLED);
    assert_eq!(unsettled.first(), Some(&10));
}
