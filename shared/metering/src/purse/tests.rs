use super::*;
use crate::accounts::{Accounts, Command, Totals};
use crate::id::{Epoch, Level, Unit};
use crate::message::{Ask, Close};
use crate::period::{FiscalMonth, Length};
use crate::terms::{PerMille, Terms};
use crate::time::Utc;
use uuid::Uuid;

const NOON: u64 = 1_795_219_200_000;
const CALL: Price = Price { calls: 1, micro_usd: 0 };

fn charge(level: Level, unit: Unit, limit: u64) -> Charge {
    let account = AccountId {
        level,
        owner: Uuid::from_u128(level as u128 + 1),
        unit,
        length: Length::Minute,
        rolling: false,
    };
    Charge { account, limit, on_outage: OnOutage::Deny }
}

fn calls(limit: u64) -> Charge {
    charge(Level::Team, Unit::Calls, limit)
}

/// One plane and one control plane, a wire between them that may be cut, and one true time.
struct Pair {
    accounts: Accounts,
    purse: Purse,
    now: u64,
    cut: bool,
    ledger: Vec<Record>,
    asks: Vec<Ask>,
    closes: Vec<Close>,
}

impl Pair {
    fn new(charges: &[Charge]) -> Self {
        let mut accounts = Accounts::default();
        for Charge { account, limit, .. } in charges.iter().copied() {
            let terms = Terms { limit, warn_at: None, fiscal_month: FiscalMonth::JANUARY };
            for event in accounts.decide(Utc(NOON), &Command::Configure { account, terms }).unwrap() {
                accounts.apply(&event).unwrap();
            }
        }
        let holder = Holder { plane: Uuid::from_u128(99), life: 1 };
        let ledger = vec![Record::Life { plane: holder.plane, life: 1 }];
        let purse = Purse::new(holder, Settings::default());
        Self { accounts, purse, now: 1_000, cut: false, ledger, asks: Vec::new(), closes: Vec::new() }
    }

    fn mono(&self) -> Mono {
        Mono::from_millis(self.now)
    }

    /// Does what the purse wants done, and all that follows.
    fn work(&mut self, work: Work) {
        let mut todo = vec![work];
        while let Some(work) = todo.pop() {
            self.ledger.extend(work.records);
            work.opening.commit();
            self.asks.extend(&work.asks);
            self.closes.extend(&work.closes);
            if self.cut {
                continue;
            }
            let wall = Utc(NOON + self.now);
            for ask in work.asks {
                self.command(&Command::Ask { ask, fleet: 1 });
                todo.push(self.purse.receive(&self.accounts.answer(wall, &ask, 1).unwrap(), self.mono()));
            }
            for close in work.closes {
                self.command(&Command::Close(close));
                self.purse.closed(&self.accounts.closed(&close));
            }
        }
    }

    fn command(&mut self, command: &Command) {
        for event in self.accounts.decide(Utc(NOON + self.now), command).unwrap() {
            self.accounts.apply(&event).unwrap();
            self.accounts.check().unwrap();
        }
    }

    fn urgent(&mut self) {
        let work = self.purse.urgent(self.mono());
        self.work(work);
    }

    fn beat(&mut self, milliseconds: u64) {
        for _ in 0..milliseconds / 250 {
            self.now += 250;
            let work = self.purse.beat(self.mono());
            self.work(work);
        }
    }

    /// Reserves, and waits for the lease if it must.
    fn pay(&mut self, tab: &Arc<Tab>, price: Price) -> Result<Reservation, Denied> {
        match self.purse.reserve(tab, price, self.mono()) {
            Err(Denied { why: Why::Empty, .. }) => {
                self.urgent();
                self.purse.reserve(tab, price, self.mono())
            }
            outcome => outcome,
        }
    }

    fn totals(&self, charge: &Charge) -> Totals {
        self.accounts.statement(Utc(NOON + self.now), charge.account).unwrap().totals
    }
}

#[test]
fn a_call_is_paid_from_the_lease_and_the_difference_comes_back() {
    let money = charge(Level::Key, Unit::MicroUsd, 1_000);
    let mut pair = Pair::new(&[calls(10), money]);
    let tab = pair.purse.tab(&[money, calls(10)], pair.mono()).unwrap();
    let price = Price { calls: 1, micro_usd: 400 };
    pair.pay(&tab, price).unwrap().settle(Price { calls: 1, micro_usd: 150 });
    let second = pair.pay(&tab, price).unwrap();
    let third = pair.pay(&tab, price).unwrap();
    let denied = pair.pay(&tab, price).unwrap_err();
    assert_eq!(
        (denied.account, denied.why),
        (money.account, Why::Exhausted),
        "150 are spent and 800 reserved"
    );
    assert_eq!(denied.retry_after, Duration::from_secs(59), "the minute is a second old");
    second.release();
    third.settle(Price { calls: 1, micro_usd: 9_999 });
    pair.beat(10_000);
    assert_eq!(pair.totals(&money).spent, 550, "no more than was reserved is paid");
    assert_eq!(pair.totals(&calls(10)).spent, 2);
    assert_eq!((pair.totals(&money).held, pair.totals(&calls(10)).held), (0, 0), "idle, it gives all back");
}

#[test]
fn all_levels_pay_or_none_and_the_first_that_cannot_is_named() {
    let (team, key, tool) =
        (calls(5), charge(Level::Key, Unit::Calls, 2), charge(Level::Tool, Unit::Calls, 1));
    let mut pair = Pair::new(&[team, key, tool]);
    let tab = pair.purse.tab(&[tool, key, team], pair.mono()).unwrap();
    pair.pay(&tab, CALL).unwrap().settle(CALL);
    assert_eq!(pair.asks.len(), 3, "all three are asked for at once");
    let denied = pair.pay(&tab, CALL).unwrap_err();
    assert_eq!(denied.account, tool.account);
    let both = pair.purse.tab(&[key, team], pair.mono()).unwrap();
    pair.pay(&both, CALL).unwrap().settle(CALL);
    let denied = pair.pay(&tab, CALL).unwrap_err();
    assert_eq!(denied.account, key.account, "the key comes before the tool");
    pair.beat(10_000);
    assert_eq!(
        [team, key, tool].map(|charge| pair.totals(&charge).spent),
        [2, 2, 1],
        "what failed cost nothing on any level"
    );
}

#[test]
fn nothing_is_spent_before_the_ledger_has_it_on_disk() {
    let mut pair = Pair::new(&[calls(1_000)]);
    let tab = pair.purse.tab(&[calls(1_000)], pair.mono()).unwrap();
    let now = pair.mono();
    pair.purse.reserve(&tab, CALL, now).unwrap_err();
    let ask = pair.purse.urgent(now).asks[0];
    pair.command(&Command::Ask { ask, fleet: 1 });
    let answer = pair.accounts.answer(Utc(NOON + pair.now), &ask, 1).unwrap();
    let work = pair.purse.receive(&answer, now);
    assert!(matches!(
        work.records[..],
        [Record::Lease { granted: 1, .. }, Record::Chunk { spent: 0, ceiling: 1, .. }]
    ));
    assert_eq!(pair.purse.reserve(&tab, CALL, now).unwrap_err().why, Why::Empty, "the disk has not said so");
    drop(work);
    assert!(pair.purse.reserve(&tab, CALL, now).is_err(), "the disk failed");
    let work = pair.purse.urgent(now);
    assert!(matches!(work.records[..], [Record::Chunk { ceiling: 1, .. }]), "it is tried again: {work:?}");
    work.opening.commit();
    pair.purse.reserve(&tab, CALL, now).unwrap().settle(CALL);
}

#[test]
fn a_reservation_that_is_dropped_is_spent_whole() {
    let mut pair = Pair::new(&[calls(10)]);
    let tab = pair.purse.tab(&[calls(10)], pair.mono()).unwrap();
    drop(pair.pay(&tab, CALL).unwrap());
    pair.beat(10_000);
    assert_eq!(pair.totals(&calls(10)).spent, 1);
}

#[test]
fn units_are_usable_until_their_period_ends_counted_from_the_ask() {
    let mut pair = Pair::new(&[calls(100)]);
    let tab = pair.purse.tab(&[calls(100)], pair.mono()).unwrap();
    let now = pair.mono();
    pair.purse.reserve(&tab, CALL, now).unwrap_err();
    let ask = pair.purse.urgent(now).asks[0];
    pair.now += 400;
    pair.command(&Command::Ask { ask, fleet: 1 });
    let answer = pair.accounts.answer(Utc(NOON + pair.now), &ask, 1).unwrap();
    assert_eq!(answer.usable_for_ms, 58_600);
    pair.purse.receive(&answer, pair.mono()).opening.commit();
    let last = Mono::from_millis(1_000 + 58_600);
    assert!(pair.purse.reserve(&tab, CALL, last).is_err(), "at that moment the next period may have begun");
    pair.purse.reserve(&tab, CALL, Mono(last.0 - 1)).unwrap().settle(CALL);
}

#[test]
fn a_call_that_outlasts_its_period_is_settled_in_it() {
    let mut pair = Pair::new(&[calls(100)]);
    let tab = pair.purse.tab(&[calls(100)], pair.mono()).unwrap();
    let (long, free) = (pair.pay(&tab, CALL).unwrap(), pair.pay(&tab, CALL).unwrap());
    pair.now += 60_000;
    pair.beat(500);
    let next = pair.pay(&tab, CALL).unwrap();
    assert_eq!(pair.purse.epoch(calls(100).account), Some(Epoch(2)));
    long.settle(CALL);
    free.release();
    next.settle(CALL);
    pair.beat(10_000);
    let books: Vec<Totals> = pair.accounts.books(Level::Team).map(|(_, book)| book.totals).collect();
    assert_eq!(
        books.iter().map(|totals| (totals.spent, totals.held)).collect::<Vec<_>>(),
        [(1, 0), (1, 0)],
        "{books:?}"
    );
}

#[test]
fn calls_that_outlast_many_periods_do_not_stop_the_account() {
    let mut pair = Pair::new(&[calls(100)]);
    let tab = pair.purse.tab(&[calls(100)], pair.mono()).unwrap();
    let mut under_way = Vec::new();
    for _ in 0..12 {
        under_way.push(pair.pay(&tab, CALL).unwrap());
        pair.now += 60_000;
        pair.beat(500);
    }
    under_way.drain(..).for_each(Reservation::release);
    pair.beat(10_000);
    let spent: u64 = pair.accounts.books(Level::Team).map(|(_, book)| book.totals.spent).sum();
    assert!(spent <= 4, "of the last periods, those that were sealed count as spent: {spent}");
    assert_eq!(pair.totals(&calls(100)).held, 0);
}

#[test]
fn an_idle_account_is_forgotten_without_losing_a_unit() {
    let mut pair = Pair::new(&[calls(1_000)]);
    for round in 1..4 {
        let tab = pair.purse.tab(&[calls(1_000)], pair.mono()).unwrap();
        pair.pay(&tab, CALL).unwrap().settle(CALL);
        pair.beat(8_000);
        assert_eq!(pair.purse.accounts(), 1, "a tab refers to it");
        drop(tab);
        pair.beat(2_000);
        assert_eq!(pair.purse.accounts(), 0);
        let totals = pair.totals(&calls(1_000));
        assert_eq!((totals.spent, totals.held, totals.written_off), (round, 0, 0));
    }
}

#[test]
fn an_account_that_owes_or_holds_is_not_forgotten() {
    let owing = Charge { on_outage: OnOutage::Allow, ..calls(1_000) };
    let mut pair = Pair::new(&[owing]);
    pair.cut = true;
    pair.purse.cut_off();
    let tab = pair.purse.tab(&[owing], pair.mono()).unwrap();
    pair.pay(&tab, CALL).unwrap().settle(CALL);
    drop(tab);
    pair.beat(30_000);
    assert_eq!(pair.purse.accounts(), 1, "nobody was told of the debt");
    pair.cut = false;
    pair.beat(10_000);
    assert_eq!(pair.purse.accounts(), 0);
    assert_eq!(pair.accounts.statement(Utc(NOON + pair.now), owing.account).unwrap().debt, 1);
}

#[test]
fn an_outage_ends_for_each_account_when_its_own_ask_is_answered() {
    let of = |level, on_outage| Charge { on_outage, ..charge(level, Unit::Calls, 100) };
    let charges = [of(Level::Team, OnOutage::Allow), of(Level::Key, OnOutage::Deny)];
    let mut pair = Pair::new(&charges);
    let [trusted, strict] = charges.map(|charge| pair.purse.tab(&[charge], pair.mono()).unwrap());
    let now = pair.mono();
    pair.purse.cut_off();
    let reserve = |purse: &Purse, tab| purse.reserve(tab, CALL, now).map(|paid| paid.settle(CALL));
    reserve(&pair.purse, &trusted).unwrap();
    assert_eq!(reserve(&pair.purse, &strict).unwrap_err().why, Why::Outage);
    // The other account is answered first.
    let work = pair.purse.urgent(now);
    let (ours, others) = work.asks.iter().copied().partition(|ask| ask.account == charges[0].account);
    pair.work(Work { asks: others, ..Work::default() });
    assert!(!pair.purse.is_cut_off(now));
    reserve(&pair.purse, &strict).unwrap();
    reserve(&pair.purse, &trusted).unwrap();
    assert_eq!(pair.purse.debts(), 2);
    // With its own answer, what is leased is spent, and then nothing is owed.
    pair.work(Work { asks: ours, ..Work::default() });
    let held = pair.purse.holding(charges[0].account);
    assert!(held > 0);
    for _ in 0..held {
        reserve(&pair.purse, &trusted).unwrap();
    }
    assert_eq!(reserve(&pair.purse, &trusted).unwrap_err().why, Why::Empty);
    assert_eq!(pair.purse.debts(), 2);
}

#[test]
fn an_answer_that_finds_enough_in_hand_ends_an_outage_too() {
    let charge = Charge { on_outage: OnOutage::Allow, ..calls(100) };
    let mut pair = Pair::new(&[charge]);
    let tab = pair.purse.tab(&[charge], pair.mono()).unwrap();
    let first = pair.pay(&tab, CALL).unwrap();
    pair.cut = true;
    pair.purse.cut_off();
    pair.pay(&tab, CALL).unwrap().settle(CALL);
    assert_eq!(pair.purse.debts(), 1, "the only unit was in use");
    // It comes back unspent, and then nobody needs another.
    first.settle(Price::default());
    pair.beat(1_000);
    pair.cut = false;
    pair.beat(20_000);
    assert_eq!(pair.purse.holding(charge.account), 0, "all was given back");
    let outcome = pair.purse.reserve(&tab, CALL, pair.mono());
    assert_eq!(outcome.unwrap_err().why, Why::Empty, "no outage, no debt");
    assert_eq!(pair.purse.debts(), 1);
}

#[test]
fn a_call_that_waits_is_counted_once() {
    let mut pair = Pair::new(&[calls(100_000)]);
    let tab = pair.purse.tab(&[calls(100_000)], pair.mono()).unwrap();
    let now = pair.mono();
    assert_eq!(pair.purse.reserve(&tab, CALL, now).unwrap_err().why, Why::Empty);
    for _ in 0..500 {
        assert_eq!(pair.purse.reserve_again(&tab, CALL, now).unwrap_err().why, Why::Empty);
    }
    let work = pair.purse.urgent(now);
    assert_eq!((work.asks[0].want, work.asks[0].need), (1, 1));
    pair.work(work);
    pair.purse.reserve_again(&tab, CALL, now).unwrap().settle(CALL);
}

#[test]
fn what_was_owed_in_an_outage_is_owed_no_more_once_the_budget_is_known_to_be_used_up() {
    let charge = Charge { on_outage: OnOutage::Allow, ..calls(3) };
    let mut pair = Pair::new(&[charge]);
    let tab = pair.purse.tab(&[charge], pair.mono()).unwrap();
    pair.cut = true;
    pair.purse.cut_off();
    for _ in 0..5 {
        pair.pay(&tab, CALL).unwrap().settle(CALL);
    }
    pair.cut = false;
    pair.beat(3_000);
    for _ in 0..3 {
        pair.pay(&tab, CALL).map(|paid| paid.settle(CALL)).ok();
    }
    for _ in 0..3 {
        assert_eq!(pair.pay(&tab, CALL).unwrap_err().why, Why::Exhausted);
        pair.beat(1_000);
    }
    assert_eq!(pair.purse.debts(), 5);
}

#[test]
fn without_a_control_plane_the_terms_decide_after_the_lease_is_spent() {
    let share = OnOutage::Share(PerMille::try_from(100).unwrap());
    for (on_outage, passes) in [(OnOutage::Deny, 0), (share, 10), (OnOutage::Allow, 500)] {
        let charge = Charge { on_outage, ..calls(100) };
        let mut pair = Pair::new(&[charge]);
        let tab = pair.purse.tab(&[charge], pair.mono()).unwrap();
        pair.pay(&tab, CALL).unwrap().settle(CALL);
        pair.beat(250);
        let held = pair.purse.holding(charge.account);
        pair.cut = true;
        for _ in 0..held {
            pair.pay(&tab, CALL).unwrap().settle(CALL);
        }
        assert_eq!(pair.pay(&tab, CALL).unwrap_err().why, Why::Empty, "it may still be answered");
        pair.now += 3_500;
        let passed = (0..500).filter(|_| pair.pay(&tab, CALL).map(|paid| paid.settle(CALL)).is_ok()).count();
        assert_eq!(passed, passes, "{on_outage:?}");
        pair.beat(250);
        pair.cut = false;
        pair.beat(5_000);
        let statement = pair.accounts.statement(Utc(NOON + pair.now), charge.account).unwrap();
        assert_eq!(statement.debt, passes as u64, "{on_outage:?}");
        assert_eq!(statement.totals.spent, held + 1);
        let recorded = pair.ledger.iter().rev().find_map(|record| match record {
            Record::Debt { debt, .. } => Some(*debt),
            _ => None,
        });
        assert_eq!(recorded.unwrap_or(0), passes as u64);
    }
}

#[test]
fn a_flood_of_waiting_calls_is_one_ask() {
    let mut pair = Pair::new(&[calls(100_000)]);
    let tab = pair.purse.tab(&[calls(100_000)], pair.mono()).unwrap();
    for _ in 0..50 {
        pair.purse.reserve(&tab, CALL, pair.mono()).unwrap_err();
    }
    pair.urgent();
    assert_eq!(pair.asks.len(), 1);
    let held: Vec<_> = (0..50).map(|_| pair.purse.reserve(&tab, CALL, pair.mono()).unwrap()).collect();
    held.into_iter().for_each(|paid| paid.settle(CALL));
}

#[test]
fn it_asks_ahead_of_need_under_steady_load() {
    let mut pair = Pair::new(&[calls(1_000_000)]);
    let tab = pair.purse.tab(&[calls(1_000_000)], pair.mono()).unwrap();
    let mut waited = 0;
    for call in 0..5_000 {
        let paid = pair.purse.reserve(&tab, CALL, pair.mono()).or_else(|_| {
            waited += 1;
            pair.pay(&tab, CALL)
        });
        let paid = paid.unwrap();
        if paid.runs_low() {
            pair.urgent();
        }
        paid.settle(CALL);
        if call % 50 == 49 {
            pair.beat(250);
        }
    }
    assert!(waited <= 2, "{waited} of 5,000 calls waited");
}

#[test]
fn accounts_and_levels_have_a_bound() {
    let holder = Holder { plane: Uuid::from_u128(1), life: 1 };
    let purse = Purse::new(holder, Settings { max_accounts: 2, ..Settings::default() });
    let of = |owner: u128| {
        let charge = calls(1);
        Charge { account: AccountId { owner: Uuid::from_u128(owner), ..charge.account }, ..charge }
    };
    let tab = purse.tab(&[of(1), of(2), of(1)], Mono(0)).unwrap();
    assert_eq!(purse.tab(&[of(3)], Mono(0)).unwrap_err(), Full);
    assert!(purse.tab(&[of(2)], Mono(0)).is_ok());
    drop(tab);
    let many: Vec<Charge> = (0..25).map(of).collect();
    assert_eq!(purse.tab(&many, Mono(0)).unwrap_err(), Full);
}

#[test]
fn a_crash_writes_off_the_open_chunk_and_nothing_else() {
    let mut pair = Pair::new(&[calls(10_000)]);
    let tab = pair.purse.tab(&[calls(10_000)], pair.mono()).unwrap();
    for _ in 0..200 {
        pair.pay(&tab, CALL).unwrap().settle(CALL);
    }
    let open = pair.totals(&calls(10_000));
    let mut recovery = recover(Uuid::nil(), pair.ledger.clone()).unwrap();
    assert_eq!(recovery.holder, Holder { plane: Uuid::from_u128(99), life: 2 });
    let line = recovery.over[0].lines[0];
    assert!(line.spent <= 200 && line.ceiling >= 200, "{line:?}");
    let once_more: Vec<Record> = pair.purse.records();
    assert_eq!(
        recover(Uuid::nil(), once_more).unwrap().over[0].lines[0].ceiling,
        line.ceiling,
        "a new file says the same"
    );
    recovery.witness(1, calls(10_000).account, Epoch(1), 200);
    pair.command(&Command::Over(recovery.over[0].clone()));
    let totals = pair.totals(&calls(10_000));
    assert_eq!((totals.spent, totals.held), (200, 0));
    assert_eq!(totals.written_off, line.ceiling - 200);
    assert!(totals.written_off <= open.granted / 4, "{totals:?}");
}

#[test]
fn a_ledger_tells_of_every_life_that_was_not_settled() {
    let plane = Uuid::from_u128(5);
    let account = calls(1).account;
    let chunk = |number, spent, ceiling| Record::Chunk { account, epoch: Epoch(3), number, spent, ceiling };
    let life = |life| Record::Life { plane, life };
    let records = [
        life(1),
        chunk(1, 0, 5),
        life(2),
        chunk(2, 3, 9),
        chunk(1, 0, 17),
        Record::Debt { account, debt: 4 },
        life(3),
        Record::Settled { life: 1 },
    ];
    let recovery = recover(Uuid::nil(), records).unwrap();
    assert_eq!(recovery.holder, Holder { plane, life: 4 });
    let told: Vec<_> =
        recovery.over.iter().map(|over| (over.holder.life, over.lines.len(), over.debts.len())).collect();
    assert_eq!(told, [(2, 1, 1), (3, 0, 0)]);
    assert_eq!((recovery.over[0].lines[0].spent, recovery.over[0].lines[0].ceiling), (3, 9));
    assert_eq!(recover(plane, []).unwrap().holder, Holder { plane, life: 1 });
    assert_eq!(recover(plane, [chunk(1, 0, 1)]), Err(Disordered { life: 0 }));
    assert_eq!(recover(plane, [life(2), life(2)]), Err(Disordered { life: 2 }));
    for record in records {
        let written = serde_json::to_string(&record).unwrap();
        assert_eq!(serde_json::from_str::<Record>(&written).unwrap(), record);
    }
}

#[test]
fn answers_to_others_or_to_older_asks_change_nothing_that_matters() {
    let mut pair = Pair::new(&[calls(100)]);
    let tab = pair.purse.tab(&[calls(100)], pair.mono()).unwrap();
    pair.pay(&tab, CALL).unwrap().settle(CALL);
    let ask = pair.asks[0];
    let answer = pair.accounts.answer(Utc(NOON + pair.now), &ask, 1).unwrap();
    let held = pair.purse.holding(calls(100).account);
    let stranger = Answer { holder: Holder { plane: Uuid::nil(), life: 1 }, granted: 90, ..answer };
    assert!(pair.purse.receive(&stranger, pair.mono()).is_empty());
    assert!(pair.purse.receive(&answer, pair.mono()).is_empty(), "it was answered before");
    assert_eq!(pair.purse.holding(calls(100).account), held);
}

#[test]
fn threads_never_spend_more_than_is_held_and_lose_nothing() {
    let money = charge(Level::Key, Unit::MicroUsd, 4_000_000);
    let pair = Pair::new(&[calls(20_000), money]);
    let tab = pair.purse.tab(&[calls(20_000), money], pair.mono()).unwrap();
    let paid = AtomicU64::new(0);
    let cost = AtomicU64::new(0);
    let mut pair = pair;
    let now = pair.mono();
    let accounts = Mutex::new(std::mem::take(&mut pair.accounts));
    let purse = &pair.purse;
    std::thread::scope(|scope| {
        for thread in 0..4_u64 {
            let (tab, paid, cost, accounts) = (&tab, &paid, &cost, &accounts);
            scope.spawn(move || {
                let serve = |work: Work| {
                    let mut todo = vec![work];
                    while let Some(work) = todo.pop() {
                        work.opening.commit();
                        for ask in work.asks {
                            let mut accounts = lock(accounts);
                            let wall = Utc(NOON + 1_000);
                            // An ask that another thread's overtook on the way may be told of a state that moved on.
                            for event in accounts.decide(wall, &Command::Ask { ask, fleet: 1 }).unwrap() {
                                accounts.apply(&event).unwrap();
                            }
                            let answer = accounts.answer(wall, &ask, 1).unwrap();
                            drop(accounts);
                            todo.push(purse.receive(&answer, now));
                        }
                    }
                };
                let mut denied = 0;
                for call in 0..20_000_u64 {
                    match purse.reserve(tab, Price { calls: 1, micro_usd: 300 }, now) {
                        Ok(reservation) => {
                            let price = Price { calls: 1, micro_usd: (call * 7 + thread * 13) % 301 };
                            paid.fetch_add(1, Ordering::Relaxed);
                            cost.fetch_add(price.micro_usd, Ordering::Relaxed);
                            let low = reservation.runs_low();
                            reservation.settle(price);
                            if low {
                                serve(purse.urgent(now));
                            }
                        }
                        Err(_) if denied < 2_000 => {
                            denied += 1;
                            serve(purse.urgent(now));
                        }
                        Err(_) => break,
                    }
                }
            });
        }
    });
    let (paid, cost) = (paid.into_inner(), cost.into_inner());
    assert!((1_000..=20_000).contains(&paid), "{paid} calls paid");
    assert!(cost <= 4_000_000, "{cost} spent");
    let mut pair = Pair { accounts: accounts.into_inner().unwrap(), ..pair };
    pair.beat(10_000);
    assert_eq!(
        pair.totals(&calls(20_000)),
        Totals { held: 0, written_off: 0, spent: paid, ..pair.totals(&calls(20_000)) }
    );
    assert_eq!(pair.totals(&money), Totals { held: 0, written_off: 0, spent: cost, ..pair.totals(&money) });
}

#[test]
fn what_a_settlement_tells_is_what_a_recovery_may_believe() {
    let money = charge(Level::Key, Unit::MicroUsd, 10_000);
    let mut pair = Pair::new(&[calls(100), money]);
    let tab = pair.purse.tab(&[calls(100), money], pair.mono()).unwrap();
    let price = |micro_usd| Price { calls: 1, micro_usd };
    let mut told = Vec::new();
    for call in 1..=3_u64 {
        pair.pay(&tab, price(50))
            .unwrap()
            .settle_with(price(call), |spent| told.push((spent.place, spent.epoch, spent.spent)));
    }
    assert_eq!(
        told,
        [
            (0, Epoch(1), 1),
            (1, Epoch(1), 1),
            (0, Epoch(1), 2),
            (1, Epoch(1), 3),
            (0, Epoch(1), 3),
            (1, Epoch(1), 6)
        ]
    );
    told.clear();
    // A call that outlasts its period is told of the epoch that paid.
    let long = pair.pay(&tab, price(50)).unwrap();
    pair.now += 60_000;
    pair.beat(500);
    pair.pay(&tab, price(50))
        .unwrap()
        .settle_with(price(9), |spent| told.push((spent.place, spent.epoch, spent.spent)));
    long.settle_with(price(4), |spent| told.push((spent.place, spent.epoch, spent.spent)));
    assert_eq!(told, [(0, Epoch(2), 1), (1, Epoch(2), 9), (0, Epoch(1), 4), (1, Epoch(1), 10)]);
    // What costs nothing, and debt, proves nothing.
    pair.pay(&tab, price(50)).unwrap().settle_with(Price::default(), |spent| panic!("{spent:?}"));
}

#[test]
fn figures_tell_what_is_held_and_whether_anybody_is_there() {
    let mut pair = Pair::new(&[calls(1_000)]);
    let tab = pair.purse.tab(&[calls(1_000)], pair.mono()).unwrap();
    pair.pay(&tab, CALL).unwrap().settle(CALL);
    let held = pair.purse.holding(calls(1_000).account);
    assert_eq!(pair.purse.held().into_iter().collect::<Vec<_>>(), [((Level::Team, Unit::Calls), held)]);
    assert!(!pair.purse.is_cut_off(pair.mono()));
    pair.purse.cut_off();
    assert!(pair.purse.is_cut_off(pair.mono()));
}

#[test]
fn a_plane_that_leaves_gives_back_everything_and_its_ledger_says_so() {
    let mut pair = Pair::new(&[calls(1_000)]);
    let tab = pair.purse.tab(&[calls(1_000)], pair.mono()).unwrap();
    pair.pay(&tab, CALL).unwrap().settle(CALL);
    let under_way = pair.pay(&tab, CALL).unwrap();
    let work = pair.purse.leave(pair.mono());
    pair.work(work);
    let totals = pair.totals(&calls(1_000));
    assert_eq!((totals.spent, totals.held), (1, 1), "one call is under way");
    let line = recover(Uuid::nil(), pair.purse.records()).unwrap().over[0].lines[0];
    assert_eq!((line.spent, line.ceiling), (1, 2));
    drop(under_way);
}

#[test]
fn what_is_in_hand_and_not_open_yet_is_not_exhausted() {
    let mut pair = Pair::new(&[calls(100)]);
    let tab = pair.purse.tab(&[calls(100)], pair.mono()).unwrap();
    for call in 0..100 {
        pair.pay(&tab, CALL).unwrap_or_else(|denied| panic!("call {call}: {denied:?}")).settle(CALL);
    }
    assert_eq!(pair.pay(&tab, CALL).unwrap_err().why, Why::Exhausted);
}
