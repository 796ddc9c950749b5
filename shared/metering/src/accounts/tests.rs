use super::*;
use crate::id::Unit;
use crate::message::{Over, OverDebt, OverLine, Used};
use crate::period::{FiscalMonth, Length};
use crate::terms::PerMille;

/// 2026-11-21T00:00:00Z.
const NOON: u64 = 1_795_219_200_000;
const MINUTE: u64 = 60_000;

fn account(length: Length, rolling: bool) -> AccountId {
    AccountId { level: Level::Key, owner: Uuid::from_u128(7), unit: Unit::Calls, length, rolling }
}

fn terms(limit: u64) -> Terms {
    Terms { limit, warn_at: PerMille::try_from(800).ok(), fiscal_month: FiscalMonth::JANUARY }
}

fn holder(plane: u128, life: u32) -> Holder {
    Holder { plane: Uuid::from_u128(plane), life }
}

fn spent(spent: u64) -> Used {
    Used { spent, ..Used::default() }
}

/// Accounts with one account, a clock, and all events so far.
struct Desk {
    accounts: Accounts,
    journal: Vec<Event>,
    now: u64,
    id: AccountId,
    seq: u64,
}

impl Desk {
    fn new(length: Length, rolling: bool, limit: u64) -> Self {
        let id = account(length, rolling);
        let mut desk = Self { accounts: Accounts::default(), journal: Vec::new(), now: NOON, id, seq: 0 };
        desk.run(Command::Configure { account: id, terms: terms(limit) });
        desk
    }

    fn try_run(&mut self, command: &Command) -> Result<Vec<Event>, Refusal> {
        let events = self.accounts.decide(Utc(self.now), command)?;
        for event in &events {
            self.accounts.apply(event).unwrap();
            self.accounts.check().unwrap();
        }
        self.journal.extend(events.iter().cloned());
        Ok(events)
    }

    fn run(&mut self, command: Command) -> Vec<Event> {
        self.try_run(&command).unwrap()
    }

    fn blank(&mut self, holder: Holder) -> Ask {
        self.seq += 1;
        let (account, seq) = (self.id, self.seq);
        let (epoch, oldest) = (Epoch(1), Epoch(0));
        Ask {
            holder,
            account,
            seq,
            epoch,
            oldest,
            used: Used::default(),
            in_use: 0,
            want: 0,
            need: 0,
            debt: 0,
        }
    }

    /// Asks as the only plane of the fleet; the total that is granted by then.
    fn send(&mut self, ask: Ask) -> Answer {
        self.run(Command::Ask { ask, fleet: 1 });
        self.accounts.answer(Utc(self.now), &ask, 1).unwrap()
    }

    fn need(&mut self, holder: Holder, need: u64, used: Used) -> Answer {
        let ask = Ask { need, want: need, used, ..self.blank(holder) };
        self.send(ask)
    }

    fn statement(&self) -> Statement {
        self.accounts.statement(Utc(self.now), self.id).unwrap()
    }

    fn totals(&self) -> Totals {
        self.statement().totals
    }
}

fn totals(granted: u64, spent: u64, held: u64, returned: u64, written_off: u64) -> Totals {
    Totals { granted, spent, held, returned, written_off }
}

#[test]
fn a_lease_is_debited_once_however_often_it_is_asked_for() {
    let mut desk = Desk::new(Length::Day, false, 1_000);
    let ask = Ask { need: 100, ..desk.blank(holder(1, 1)) };
    let first = desk.send(ask);
    assert_eq!((first.granted, first.left, first.epoch), (100, 900, Epoch(1)));
    assert_eq!(first.usable_for_ms, 24 * 60 * MINUTE);
    assert_eq!(desk.send(ask), first, "a repeated ask");
    let empty_handed = Ask { need: 50, used: spent(100), ..desk.blank(holder(1, 1)) };
    assert_eq!(desk.send(empty_handed).granted, 150);
    assert_eq!(desk.send(ask).granted, 150, "an ask that was overtaken");
    assert_eq!(desk.totals(), totals(150, 100, 50, 0, 0));
}

#[test]
fn a_grant_whose_answer_was_lost_is_in_the_next_answer() {
    let mut desk = Desk::new(Length::Day, false, 1_000);
    desk.need(holder(1, 1), 100, Used::default());
    let again = desk.need(holder(1, 1), 100, Used::default());
    assert_eq!(again.granted, 100, "it wants to have a hundred in hand, and has them");
}

#[test]
fn nothing_is_granted_beyond_the_limit() {
    let mut desk = Desk::new(Length::Day, false, 100);
    assert_eq!(desk.need(holder(1, 1), 60, Used::default()).granted, 60);
    let short = desk.need(holder(2, 1), 60, Used::default());
    assert_eq!((short.granted, short.left), (0, 40), "less than it needs would lie idle");
    assert_eq!(desk.need(holder(2, 1), 40, Used::default()).granted, 40);
    let none = desk.need(holder(3, 1), 1, Used::default());
    assert_eq!((none.granted, none.left, none.refills_in_ms), (0, 0, 24 * 60 * MINUTE));
}

#[test]
fn units_that_are_given_back_can_be_granted_again() {
    let mut desk = Desk::new(Length::Day, false, 100);
    desk.need(holder(1, 1), 100, Used::default());
    desk.need(holder(1, 1), 0, Used { spent: 10, lost: 0, returned: 90 });
    assert_eq!(desk.need(holder(2, 1), 90, Used::default()).granted, 90);
    assert_eq!(desk.totals(), totals(190, 10, 90, 90, 0));
}

#[test]
fn a_holder_that_claims_more_than_it_was_granted_is_not_believed() {
    let mut desk = Desk::new(Length::Day, false, 100);
    desk.need(holder(1, 1), 10, Used::default());
    let ask = Ask { used: spent(11), ..desk.blank(holder(1, 1)) };
    let refused = desk.try_run(&Command::Ask { ask, fleet: 1 });
    assert!(matches!(refused, Err(Refusal::Impossible { .. })), "{refused:?}");
    let close = Close { holder: holder(1, 1), account: desk.id, epoch: Epoch(1), spent: 5, in_use: 6 };
    assert!(matches!(desk.try_run(&Command::Close(close)), Err(Refusal::Impossible { .. })));
    assert_eq!(desk.totals(), totals(10, 0, 10, 0, 0));
}

#[test]
fn reports_that_cross_leave_the_later_state() {
    let mut desk = Desk::new(Length::Day, false, 100);
    desk.need(holder(1, 1), 50, Used::default());
    let earlier = Ask { used: spent(5), ..desk.blank(holder(1, 1)) };
    let later = Ask { used: Used { spent: 9, lost: 0, returned: 20 }, ..desk.blank(holder(1, 1)) };
    desk.send(later);
    desk.send(earlier);
    assert_eq!(desk.totals(), totals(50, 9, 21, 20, 0));
}

#[test]
fn a_period_ends_by_the_calendar_and_the_old_one_can_still_be_settled() {
    let mut desk = Desk::new(Length::Minute, false, 100);
    desk.need(holder(1, 1), 100, Used::default());
    desk.now += MINUTE;
    let next = desk.need(holder(1, 1), 30, spent(70));
    assert_eq!((next.epoch, next.granted, next.left), (Epoch(2), 30, 70));
    let close = Close { holder: holder(1, 1), account: desk.id, epoch: Epoch(1), spent: 80, in_use: 3 };
    desk.run(Command::Close(close));
    assert_eq!(desk.accounts.closed(&close).open, 3);
    let close = Close { spent: 82, in_use: 0, ..close };
    desk.run(Command::Close(close));
    assert_eq!(desk.accounts.closed(&close).open, 0);
    assert_eq!(desk.run(Command::Close(close)), [], "once more");
    let books: Vec<Totals> = desk.accounts.books(Level::Key).map(|(_, book)| book.totals).collect();
    assert_eq!(books, [totals(100, 82, 0, 18, 0), totals(30, 0, 30, 0, 0)]);
}

#[test]
fn what_a_holder_does_not_know_of_an_old_period_is_given_back() {
    let mut desk = Desk::new(Length::Minute, false, 100);
    desk.need(holder(1, 1), 100, Used::default());
    desk.now += MINUTE;
    let ask = Ask { epoch: Epoch(2), oldest: Epoch(2), ..desk.blank(holder(1, 1)) };
    desk.send(ask);
    let (_, old) = desk.accounts.books(Level::Key).next().unwrap();
    assert_eq!(old.totals, totals(100, 0, 0, 100, 0));
}

#[test]
fn old_periods_are_forgotten_with_what_was_still_held_written_off() {
    let mut desk = Desk::new(Length::Minute, false, 100);
    desk.need(holder(1, 1), 10, Used::default());
    for _ in 0..4 {
        desk.now += MINUTE;
        desk.need(holder(2, 1), 1, Used::default());
    }
    let dropped = Event::Dropped { account: desk.id, epoch: Epoch(1), totals: totals(10, 0, 0, 0, 10) };
    assert!(desk.journal.contains(&dropped), "{:?}", desk.journal);
    assert_eq!(desk.accounts.books(Level::Key).count(), 4);
}

#[test]
fn a_clock_that_is_set_back_does_not_bring_back_a_period() {
    let mut desk = Desk::new(Length::Minute, false, 100);
    desk.now += MINUTE;
    desk.need(holder(1, 1), 100, Used::default());
    desk.now -= 30_000;
    let answer = desk.need(holder(2, 1), 1, Used::default());
    assert_eq!((answer.epoch, answer.left), (Epoch(2), 0));
    assert!(answer.usable_for_ms <= MINUTE && answer.refills_in_ms <= MINUTE);
}

#[test]
fn a_dead_holder_is_written_off_and_reclaimed_when_it_is_heard_again() {
    let mut desk = Desk::new(Length::Day, false, 100);
    desk.need(holder(1, 1), 40, Used::default());
    let written_off = desk.run(Command::WriteOff(holder(1, 1)));
    assert!(matches!(written_off[..], [Event::WrittenOff { amount: 40, .. }]), "{written_off:?}");
    assert_eq!(desk.totals(), totals(40, 0, 0, 0, 40));
    assert_eq!(desk.statement().left, 60, "it counts as used");
    assert_eq!(desk.run(Command::WriteOff(holder(1, 1))), [], "once");
    let heard = desk.need(holder(1, 1), 0, Used { spent: 15, lost: 0, returned: 5 });
    assert_eq!(heard.left, 65);
    assert_eq!(desk.totals(), totals(40, 15, 20, 5, 0));
}

#[test]
fn a_life_that_is_over_loses_what_was_open_and_gives_back_the_rest() {
    let mut desk = Desk::new(Length::Day, false, 1_000);
    desk.need(holder(1, 1), 100, Used::default());
    desk.need(holder(1, 1), 0, spent(30));
    desk.run(Command::WriteOff(holder(1, 1)));
    // Its ledger has an older count of what was spent, and a chunk that was open to 50.
    let line = OverLine { account: desk.id, epoch: Epoch(1), spent: 20, ceiling: 50 };
    let over = Over { holder: holder(1, 1), lines: vec![line], debts: vec![] };
    desk.run(Command::Over(over.clone()));
    assert_eq!(desk.totals(), totals(100, 30, 0, 50, 20));
    assert_eq!(desk.run(Command::Over(over)), [], "once more");
    let late = Ask { need: 5, ..desk.blank(holder(1, 1)) };
    assert_eq!(desk.try_run(&Command::Ask { ask: late, fleet: 1 }), Err(Refusal::DeadLife(holder(1, 1))));
    assert_eq!(desk.need(holder(1, 2), 5, Used::default()).granted, 5);
}

#[test]
fn a_lease_that_the_ledger_never_saw_comes_back_whole() {
    let mut desk = Desk::new(Length::Day, false, 1_000);
    desk.need(holder(1, 1), 100, Used::default());
    desk.run(Command::Over(Over { holder: holder(1, 1), lines: vec![], debts: vec![] }));
    assert_eq!(desk.totals(), totals(100, 0, 0, 100, 0));
    for life in [0, u32::MAX] {
        let over = Over { holder: holder(1, life), lines: vec![], debts: vec![] };
        assert_eq!(desk.try_run(&Command::Over(over)), Err(Refusal::NoLife(holder(1, life))));
    }
}

#[test]
fn debt_is_charged_once_to_the_period_in_which_it_is_told() {
    let mut desk = Desk::new(Length::Minute, false, 100);
    let ask = Ask { debt: 30, ..desk.blank(holder(1, 1)) };
    assert_eq!(desk.send(ask).debt, 30);
    let ask = Ask { debt: 50, ..desk.blank(holder(1, 1)) };
    desk.send(ask);
    assert_eq!((desk.statement().debt, desk.statement().left), (50, 50));
    desk.now += MINUTE;
    let owed = OverDebt { account: desk.id, debt: 60 };
    let over = Over { holder: holder(1, 1), lines: vec![], debts: vec![owed] };
    desk.need(holder(2, 1), 1, Used::default());
    desk.run(Command::Over(over.clone()));
    desk.run(Command::Over(over));
    assert_eq!((desk.statement().debt, desk.statement().left), (10, 89));
}

#[test]
fn people_can_override_adjust_and_reset_and_it_is_recorded() {
    let mut desk = Desk::new(Length::Day, false, 100);
    desk.need(holder(1, 1), 100, Used::default());
    desk.need(holder(1, 1), 0, spent(90));
    let (reason, by) = ("launch".to_owned(), "ada".to_owned());
    let account = desk.id;
    let until = Utc(NOON + MINUTE);
    let by_override = Some(Override { limit: 150, until });
    desk.run(Command::Override { account, by_override, reason: reason.clone(), by: by.clone() });
    assert_eq!((desk.statement().limit, desk.statement().left), (150, 50));
    desk.now += MINUTE;
    assert_eq!((desk.statement().limit, desk.statement().left), (100, 0), "it ends by itself");
    desk.run(Command::Adjust { account, credit: 20, reason: reason.clone(), by: by.clone() });
    assert_eq!(desk.statement().left, 20);
    desk.run(Command::Adjust { account, credit: -5, reason: reason.clone(), by: by.clone() });
    assert_eq!(desk.statement().left, 15);
    desk.run(Command::Reset { account, reason: reason.clone(), by: by.clone() });
    assert_eq!((desk.statement().used, desk.statement().left), (0, 90), "ten are still held");
    let said =
        |event: &Event| serde_json::to_string(event).unwrap().contains(r#""reason":"launch","by":"ada""#);
    assert_eq!(desk.journal.iter().filter(|event| said(event)).count(), 4);
    let long = Command::Reset { account, reason: "x".repeat(2_000), by };
    assert_eq!(desk.try_run(&long), Err(Refusal::TooLong));
}

#[test]
fn the_warning_comes_once_in_a_period() {
    let mut desk = Desk::new(Length::Minute, false, 100);
    let warned =
        |desk: &Desk| desk.journal.iter().filter(|event| matches!(event, Event::Warned { .. })).count();
    desk.need(holder(1, 1), 100, Used::default());
    desk.need(holder(1, 1), 0, spent(79));
    assert_eq!(warned(&desk), 0);
    desk.need(holder(1, 1), 0, spent(80));
    desk.need(holder(1, 1), 0, spent(90));
    assert_eq!(warned(&desk), 1);
    desk.now += MINUTE;
    desk.need(holder(1, 1), 100, Used::default());
    let ask = Ask { epoch: Epoch(2), used: spent(95), ..desk.blank(holder(1, 1)) };
    desk.send(ask);
    assert_eq!(warned(&desk), 2);
}

#[test]
fn other_terms_keep_what_was_used_and_another_uid_inherits_nothing() {
    let mut desk = Desk::new(Length::Day, false, 100);
    desk.need(holder(1, 1), 60, Used::default());
    let account = desk.id;
    desk.run(Command::Configure { account, terms: terms(50) });
    assert_eq!(desk.statement().left, 0, "a lower limit takes nothing back, and grants nothing");
    desk.run(Command::Configure { account, terms: terms(80) });
    assert_eq!(desk.statement().left, 20);
    assert_eq!(desk.run(Command::Configure { account, terms: terms(80) }), [], "the same terms");
    let removed = desk.run(Command::Remove { account });
    assert_eq!(removed, [Event::Removed { account, totals: totals(60, 0, 0, 0, 60) }]);
    let ask = desk.blank(holder(1, 1));
    assert_eq!(desk.try_run(&Command::Ask { ask, fleet: 1 }), Err(Refusal::UnknownAccount(account)));
    desk.id = AccountId { owner: Uuid::from_u128(8), ..account };
    desk.run(Command::Configure { account: desk.id, terms: terms(80) });
    assert_eq!(desk.statement().left, 80);
}

#[test]
fn another_fiscal_year_holds_from_the_next_period_on() {
    let mut desk = Desk::new(Length::Quarter, false, 100);
    let (before, day) = (desk.statement().end, 24 * 60 * MINUTE);
    let fiscal_month = FiscalMonth::try_from(2).unwrap();
    desk.run(Command::Configure { account: desk.id, terms: Terms { fiscal_month, ..terms(100) } });
    assert_eq!(desk.statement().end, before);
    desk.now = before.0;
    desk.need(holder(1, 1), 1, Used::default());
    assert_eq!(
        desk.statement().end,
        Utc(before.0 + 31 * day),
        "from January to the end of a quarter that began in November"
    );
}

#[test]
fn a_rolling_period_forgets_what_is_a_period_old_and_not_before() {
    let mut desk = Desk::new(Length::Minute, true, 100);
    desk.need(holder(1, 1), 100, Used::default());
    desk.now += 10_000;
    desk.need(holder(1, 1), 0, spent(60));
    assert_eq!(desk.statement().left, 0, "forty are held");
    desk.now += 59_000;
    assert_eq!(desk.statement().left, 0);
    desk.now += 2_000;
    assert_eq!(desk.statement().left, 60);
    let refill = desk.need(holder(1, 1), 0, spent(100));
    assert_eq!((refill.left, refill.epoch), (60, Epoch(1)));
    assert!((MINUTE..MINUTE + 1_000).contains(&refill.refills_in_ms), "{refill:?}");
}

#[test]
fn what_a_dead_holder_held_leaves_a_rolling_period_only_after_it_can_be_spent_no_more() {
    let mut desk = Desk::new(Length::Minute, true, 100);
    desk.need(holder(1, 1), 40, Used::default());
    desk.now += 5_000;
    desk.run(Command::WriteOff(holder(1, 1)));
    desk.now = NOON + 2 * MINUTE - 1;
    assert_eq!(desk.statement().left, 60);
    desk.now += 2_000;
    assert_eq!(desk.statement().left, 100);
    // Heard again within the time, it takes back its place.
    let mut desk = Desk::new(Length::Minute, true, 100);
    desk.need(holder(1, 1), 40, Used::default());
    desk.run(Command::WriteOff(holder(1, 1)));
    assert_eq!(desk.need(holder(1, 1), 0, Used { spent: 10, lost: 0, returned: 30 }).left, 90);
}

#[test]
fn leases_are_small_when_little_is_left_and_larger_under_load() {
    // (want, need, free, limit, left, fleet) → grant
    let table = [
        ((5, 0, 0, 100_000, 100_000, 10), 5),
        ((1_000, 0, 0, 100_000, 100_000, 10), 156),
        ((1_000, 0, 100, 100_000, 100_000, 10), 56),
        ((1_000, 0, 0, 100_000, 1_000, 10), 50),
        ((1_000, 0, 0, 100_000, 7, 10), 1),
        ((1_000, 500, 0, 100_000, 100_000, 10), 500),
        ((1_000, 500, 0, 100_000, 499, 10), 0),
        ((0, 0, 0, 100_000, 100_000, 10), 0),
        ((1_000, 1, 0, 100, 100, 10), 1),
        ((u64::MAX, 1, 0, u64::MAX, u64::MAX, 0), 1 << 46),
    ];
    for ((want, need, free, limit, left, fleet), expected) in table {
        assert_eq!(
            size::grant(want, need, free, limit, left, fleet),
            expected,
            "{want} {need} {free} {limit} {left} {fleet}"
        );
    }
    for fleet in 1..=100 {
        let limit = 1_000 * u64::from(fleet);
        assert!(
            size::cap(limit, limit, fleet) * u64::from(fleet) * 100 <= limit * 3,
            "more than 3 % idle over {fleet} planes"
        );
    }
}

#[test]
fn the_journal_alone_makes_the_same_state_and_both_survive_json() {
    let mut desk = Desk::new(Length::Minute, true, 1_000);
    desk.need(holder(1, 1), 100, Used::default());
    desk.need(holder(1, 1), 50, spent(100));
    desk.run(Command::WriteOff(holder(1, 1)));
    desk.now += MINUTE;
    let ask = Ask { debt: 3, ..desk.blank(holder(2, 1)) };
    desk.send(ask);
    desk.run(Command::Adjust { account: desk.id, credit: -3, reason: String::new(), by: String::new() });
    let mut again = Accounts::default();
    for event in &desk.journal {
        let written = serde_json::to_string(event).unwrap();
        again.apply(&serde_json::from_str(&written).unwrap()).unwrap();
    }
    assert_eq!(again, desk.accounts);
    let written = serde_json::to_string(&desk.accounts).unwrap();
    assert_eq!(serde_json::from_str::<Accounts>(&written).unwrap(), desk.accounts);
}

#[test]
fn a_journal_that_does_not_follow_is_refused() {
    let mut desk = Desk::new(Length::Day, false, 100);
    desk.need(holder(1, 1), 10, Used::default());
    let (account, at) = (desk.id, Utc(NOON));
    let (epoch, holder) = (Epoch(1), holder(1, 1));
    let overdrawn = Event::Reported { account, epoch, holder, seq: 9, used: spent(11), at };
    assert_eq!(desk.accounts.apply(&overdrawn), Err(Corrupt::Overdrawn { holder, account }));
    let no_book = Event::Reported { account, epoch: Epoch(9), holder, seq: 9, used: spent(1), at };
    assert_eq!(desk.accounts.apply(&no_book), Err(Corrupt::NoBook { account, epoch: Epoch(9) }));
    let other = AccountId { unit: Unit::MicroUsd, ..account };
    assert_eq!(
        desk.accounts.apply(&Event::Removed { account: other, totals: totals(0, 0, 0, 0, 0) }),
        Err(Corrupt::NoAccount(other))
    );
    desk.accounts.check().unwrap();
}

#[test]
fn holders_that_are_taken_for_dead_make_room_for_others() {
    let mut desk = Desk::new(Length::Day, false, 1_000_000);
    for plane in 0..MAX_LINES as u128 {
        let ask = Ask { need: 2, ..desk.blank(holder(plane, 1)) };
        let events = desk.accounts.decide(Utc(desk.now), &Command::Ask { ask, fleet: 1 }).unwrap();
        events.iter().for_each(|event| desk.accounts.apply(event).unwrap());
    }
    let ask = Ask { need: 2, ..desk.blank(holder(u128::MAX, 1)) };
    assert_eq!(desk.try_run(&Command::Ask { ask, fleet: 1 }), Err(Refusal::TooManyHolders));
    desk.run(Command::WriteOff(holder(5, 1)));
    desk.send(ask);
    assert_eq!(desk.totals().written_off, 2);
    assert_eq!(desk.totals().granted, 2 * (MAX_LINES as u64 + 1));
}

#[test]
fn a_reset_forgives_nothing_that_a_plane_may_still_spend() {
    for rolling in [false, true] {
        let mut desk = Desk::new(Length::Day, rolling, 100);
        desk.need(holder(1, 1), 40, Used::default());
        desk.need(holder(2, 1), 30, Used::default());
        desk.need(holder(2, 1), 0, spent(30));
        desk.run(Command::WriteOff(holder(1, 1)));
        desk.run(Command::Reset { account: desk.id, reason: String::new(), by: String::new() });
        assert_eq!((desk.statement().used, desk.statement().left), (40, 60), "rolling: {rolling}");
        desk.need(holder(1, 1), 0, Used { spent: 15, lost: 0, returned: 25 });
        assert_eq!((desk.statement().used, desk.statement().left), (15, 85), "rolling: {rolling}");
    }
}
