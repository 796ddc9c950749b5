//! What metering adds to a call: four levels reserved and settled, alone and with all threads on the same accounts; a rate limit; and
//! what a lease costs the control plane.
#![allow(missing_docs, reason = "criterion's macros make public items without any")]
#![allow(clippy::unwrap_used, reason = "a bench that cannot be set up has nothing to measure")]

use std::hint::black_box;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use criterion::{Criterion, criterion_group, criterion_main};
use portcullis_metering::accounts::{Accounts, Command};
use portcullis_metering::purse::{Charge, Price, Purse, Settings, Tab};
use portcullis_metering::{
    AccountId, Ask, CallMark, Epoch, FiscalMonth, Holder, Length, Level, Limiter, Mono, OnOutage, Rate,
    Repeats, Terms, Unit, Used, Utc,
};
use uuid::Uuid;

const LIMIT: u64 = 1 << 52;

fn charge(level: Level, owner: u128, unit: Unit) -> Charge {
    let account =
        AccountId { level, owner: Uuid::from_u128(owner), unit, length: Length::Day, rolling: false };
    Charge { account, limit: LIMIT, on_outage: OnOutage::Deny }
}

fn terms() -> Terms {
    Terms { limit: LIMIT, warn_at: None, fiscal_month: FiscalMonth::JANUARY }
}

/// A purse whose four accounts hold more than any bench spends.
fn filled() -> (Purse, Arc<Tab>, Mono) {
    let charges = [
        charge(Level::Customer, 1, Unit::MicroUsd),
        charge(Level::Team, 2, Unit::Calls),
        charge(Level::Key, 3, Unit::MicroUsd),
        charge(Level::Tool, 4, Unit::Calls),
    ];
    let wall = Utc(1_795_219_200_000);
    let mut accounts = Accounts::default();
    let now = Mono::from_millis(1_000);
    let holder = Holder { plane: Uuid::from_u128(9), life: 1 };
    let purse = Purse::new(holder, Settings::default());
    let tab = purse.tab(&charges, now).unwrap();
    for Charge { account, .. } in charges {
        let configure = Command::Configure { account, terms: terms() };
        accounts.decide(wall, &configure).unwrap().iter().for_each(|event| accounts.apply(event).unwrap());
    }
    let much = 1 << 44;
    assert!(purse.reserve(&tab, Price { calls: much, micro_usd: much }, now).is_err());
    loop {
        let work = purse.urgent(now);
        work.opening.commit();
        for ask in work.asks {
            let command = Command::Ask { ask, fleet: 1 };
            accounts.decide(wall, &command).unwrap().iter().for_each(|event| accounts.apply(event).unwrap());
            purse.receive(&accounts.answer(wall, &ask, 1).unwrap(), now).opening.commit();
        }
        match purse.reserve(&tab, Price { calls: much, micro_usd: much }, now) {
            Ok(reservation) => break reservation.release(),
            Err(_) => continue,
        }
    }
    (purse, tab, now)
}

fn call(purse: &Purse, tab: &Arc<Tab>, now: Mono) {
    let reservation = purse.reserve(tab, Price { calls: 1, micro_usd: 250 }, now).unwrap();
    black_box(&reservation);
    reservation.settle(Price { calls: 1, micro_usd: 200 });
}

fn spend(criterion: &mut Criterion) {
    let (purse, tab, now) = filled();
    criterion
        .bench_function("four levels reserved and settled", |bench| bench.iter(|| call(&purse, &tab, now)));

    let stop = AtomicBool::new(false);
    std::thread::scope(|scope| {
        scope.spawn(|| {
            while !stop.load(Ordering::Relaxed) {
                call(&purse, &tab, now);
            }
        });
        criterion.bench_function("four levels, another thread on the same accounts", |bench| {
            bench.iter(|| call(&purse, &tab, now));
        });
        stop.store(true, Ordering::Relaxed);
    });

    let rate = Rate { requests: 1_000_000_000, per_ms: 1_000, burst: 1_000_000 };
    let limiter = Limiter::new(rate, OnOutage::Allow, now);
    let ask = limiter.beat(now);
    let assignment = portcullis_metering::Assignment {
        seq: ask.seq,
        serial: 1,
        share: rate.units(),
        gift: 0,
        term_ms: u64::MAX / 2_000_000,
    };
    limiter.adopt(now, &assignment);
    let mut later = now;
    criterion.bench_function("one rate limit", |bench| {
        bench.iter(|| {
            later = Mono(later.0 + 20);
            black_box(limiter.take(later)).unwrap();
        });
    });

    let repeats = Repeats::new(65_536);
    let mut mark = 0_u64;
    criterion.bench_function("one look of the loop breaker", |bench| {
        bench.iter(|| {
            mark = mark.wrapping_add(0x9e37_79b9_7f4a_7c15);
            black_box(repeats.count(CallMark(mark), 10, std::time::Duration::from_secs(60), now)).unwrap();
        });
    });
}

/// One lease after another for a hundred planes: decided, applied, answered; the disk is not in it.
fn lease(criterion: &mut Criterion) {
    let wall = Utc(1_795_219_200_000);
    let mut accounts = Accounts::default();
    let account = charge(Level::Customer, 1, Unit::Calls).account;
    let configure = Command::Configure { account, terms: terms() };
    accounts.decide(wall, &configure).unwrap().iter().for_each(|event| accounts.apply(event).unwrap());
    let mut number = 0_u64;
    criterion.bench_function("one lease of a hundred planes", |bench| {
        bench.iter(|| {
            let (visit, plane) = (number / 100, number % 100);
            number += 1;
            let holder = Holder { plane: Uuid::from_u128(u128::from(plane)), life: 1 };
            let used = Used { spent: visit * 1_000, ..Used::default() };
            let ask = Ask {
                holder,
                account,
                seq: number,
                epoch: Epoch(1),
                oldest: Epoch(1),
                used,
                in_use: 0,
                want: 1_000,
                need: 1,
                debt: 0,
            };
            let events = accounts.decide(wall, &Command::Ask { ask, fleet: 100 }).unwrap();
            events.iter().for_each(|event| accounts.apply(event).unwrap());
            black_box(accounts.answer(wall, &ask, 100));
        });
    });
    accounts.check().unwrap();
}

criterion_group!(benches, spend, lease);
criterion_main!(benches);
