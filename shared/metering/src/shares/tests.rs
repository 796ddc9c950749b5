use super::*;

const TERM: Duration = Duration::from_secs(2);

fn at(milliseconds: u64) -> Mono {
    Mono::from_millis(milliseconds)
}

fn plane(number: u128) -> Uuid {
    Uuid::from_u128(number)
}

/// A plane that keeps to what it was assigned, at once.
#[derive(Default, Clone, Copy)]
struct Keeper {
    serial: u64,
    holding: u64,
}

impl Keeper {
    fn ask(&mut self, shares: &mut Shares, now: Mono, id: u128, demand: u64) -> u64 {
        let ask = ShareAsk { seq: 1, serial: self.serial, holding: self.holding, demand };
        let assignment = shares.ask(now, plane(id), &ask).unwrap();
        (self.serial, self.holding) = (assignment.serial, assignment.share);
        assert!(shares.in_hands() <= shares.limit, "{} of {} in hands", shares.in_hands(), shares.limit);
        self.holding
    }
}

#[test]
fn one_plane_alone_has_the_whole_limit_and_its_burst_once() {
    let mut shares = Shares::new(1_000, 5, TERM, at(0), true);
    let ask = |seq, serial, holding| ShareAsk { seq, serial, holding, demand: 1 };
    let first = shares.ask(at(0), plane(1), &ask(1, 0, 0)).unwrap();
    assert_eq!((first.share, first.gift, first.seq), (1_000, 5_000, 1));
    let again = shares.ask(at(100), plane(1), &ask(2, first.serial, first.share)).unwrap();
    assert_eq!(
        (again.share, again.gift, again.serial),
        (1_000, 0, first.serial),
        "nothing changed, nothing is given twice"
    );
}

#[test]
fn a_share_is_given_to_another_only_when_its_holder_lets_go_of_it() {
    let mut shares = Shares::new(1_000, 0, TERM, at(0), true);
    let (mut one, mut other) = (Keeper::default(), Keeper::default());
    assert_eq!(one.ask(&mut shares, at(0), 1, 1_000), 1_000);
    assert_eq!(other.ask(&mut shares, at(10), 2, 1_000), 0, "the first plane holds it all");
    assert_eq!(one.ask(&mut shares, at(20), 1, 1_000), 500);
    assert_eq!(
        other.ask(&mut shares, at(30), 2, 1_000),
        0,
        "the first plane was told, but did not say that it knows"
    );
    assert_eq!(one.ask(&mut shares, at(40), 1, 1_000), 500);
    assert_eq!(other.ask(&mut shares, at(50), 2, 1_000), 500);
}

#[test]
fn a_share_that_is_not_renewed_comes_back_after_its_term_and_not_before() {
    let mut shares = Shares::new(1_000, 0, TERM, at(0), true);
    let (mut gone, mut other) = (Keeper::default(), Keeper::default());
    gone.ask(&mut shares, at(0), 1, 1_000);
    assert_eq!(other.ask(&mut shares, at(2_000), 2, 1_000), 0);
    assert_eq!(other.ask(&mut shares, at(2_032), 2, 1_000), 1_000);
}

#[test]
fn after_a_restart_planes_keep_what_they_hold_and_get_no_more_for_a_term() {
    let mut shares = Shares::new(1_000, 100, TERM, at(0), false);
    let mut known = Keeper { serial: 7, holding: 600 };
    let mut other = Keeper::default();
    assert_eq!(other.ask(&mut shares, at(0), 2, 1_000), 0);
    assert!(known.ask(&mut shares, at(10), 1, 1_000) <= 600);
    assert!(known.serial > 7, "numbers go on where they were");
    for beat in 1..20 {
        known.ask(&mut shares, at(beat * 250), 1, 1_000);
        other.ask(&mut shares, at(beat * 250 + 10), 2, 1_000);
    }
    assert_eq!((known.holding, other.holding), (500, 500));
}

#[test]
fn shares_follow_demand_within_a_second() {
    let mut shares = Shares::new(10_000, 0, TERM, at(0), true);
    let mut planes = [Keeper::default(); 10];
    let mut beat = |now: u64, busy: usize| {
        let mut held = Vec::new();
        for (number, keeper) in planes.iter_mut().enumerate() {
            let demand = if number == busy { 20_000 } else { 0 };
            held.push(keeper.ask(&mut shares, at(now + number as u64), number as u128, demand));
        }
        held
    };
    for turn in 0..8 {
        beat(turn * 250, 0);
    }
    assert!(beat(2_000, 0)[0] > 9_800);
    for turn in 1..4 {
        beat(2_000 + turn * 250, 9);
    }
    let held = beat(3_000, 9);
    assert!(held[9] > 9_800, "a second after the load moved: {held:?}");
}

#[test]
fn what_does_not_divide_goes_to_the_busiest() {
    let mut shares = Shares::new(8, 0, TERM, at(0), true);
    let mut planes = [Keeper::default(); 10];
    for turn in 0..12 {
        for (number, keeper) in planes.iter_mut().enumerate() {
            keeper.ask(&mut shares, at(turn * 250), number as u128, number as u64 / 5);
        }
    }
    let held: Vec<u64> = planes.iter().map(|keeper| keeper.holding).collect();
    assert_eq!(held.iter().sum::<u64>(), 8, "{held:?}");
    assert!(held[5..].iter().all(|share| *share >= 1), "{held:?}");
}

#[test]
fn an_overtaken_ask_does_not_bring_back_what_was_let_go() {
    let mut shares = Shares::new(1_000, 0, TERM, at(0), true);
    let (mut one, mut other) = (Keeper::default(), Keeper::default());
    one.ask(&mut shares, at(0), 1, 1_000);
    let before = one;
    other.ask(&mut shares, at(10), 2, 1_000);
    one.ask(&mut shares, at(20), 1, 1_000);
    one.ask(&mut shares, at(30), 1, 1_000);
    other.ask(&mut shares, at(40), 2, 1_000);
    let late = ShareAsk { seq: 9, serial: before.serial, holding: before.holding, demand: 1_000 };
    let told = shares.ask(at(50), plane(1), &late).unwrap();
    assert!(told.share <= 500 && shares.in_hands() <= 1_000);
}
