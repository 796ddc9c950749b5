use super::*;

const LIMIT: Uuid = Uuid::from_u128(7);
const LATER: Mono = Mono::from_millis(10_000);

fn id(number: u128) -> Uuid {
    Uuid::from_u128(number)
}

fn wanting(demand: u64) -> ShareAsk {
    ShareAsk { seq: 1, serial: 0, holding: 0, demand }
}

/// In the units of a rate: 100 requests, 10 of them at once.
fn known(limits: &Limits, apart: bool) {
    limits.set_all([(LIMIT, 100_000, 10, apart)].into_iter());
}

#[test]
fn a_limit_that_does_not_exist_lends_nothing() {
    let limits = Limits::default();
    known(&limits, false);
    for (limit, subject) in [(id(8), None), (LIMIT, Some(id(1)))] {
        let assigned = limits.ask_at(LATER, id(1), (limit, subject), &wanting(5));
        assert_eq!((assigned.share, assigned.gift, assigned.term_ms), (0, 0, 0));
    }
    known(&limits, true);
    let assigned = limits.ask_at(LATER, id(1), (LIMIT, None), &wanting(5));
    assert_eq!((assigned.share, assigned.term_ms), (0, 0), "each subject has its own");
}

#[test]
fn a_burst_is_given_out_only_of_a_limit_that_is_new_since_the_start() {
    let limits = Limits::default();
    // There when the process began: planes may have used its burst just before.
    known(&limits, false);
    let assigned = limits.ask_at(LATER, id(1), (LIMIT, None), &wanting(1_000));
    assert_eq!((assigned.share, assigned.gift), (100_000, 0));
    let new = id(8);
    limits.set_all([(LIMIT, 100_000, 10, false), (new, 100_000, 10, false)].into_iter());
    let assigned = limits.ask_at(LATER, id(1), (new, None), &wanting(1_000));
    assert_eq!((assigned.share, assigned.gift), (100_000, 10_000));
    // Gone and back, it is not new.
    limits.set_all([(LIMIT, 100_000, 10, false)].into_iter());
    limits.set_all([(LIMIT, 100_000, 10, false), (new, 100_000, 10, true)].into_iter());
    let assigned = limits.ask_at(LATER, id(1), (new, Some(id(3))), &wanting(1_000));
    assert_eq!(assigned.gift, 0);
}

#[test]
fn where_no_plane_ever_was_every_limit_is_new_at_once() {
    let limits = Limits::after(true);
    known(&limits, false);
    let assigned = limits.ask_at(Mono::from_millis(1), id(1), (LIMIT, None), &wanting(1_000));
    assert_eq!((assigned.share, assigned.gift), (100_000, 10_000));
}

#[test]
fn for_a_term_after_the_start_nobody_gets_more_than_it_says_that_it_holds() {
    let limits = Limits::default();
    known(&limits, false);
    let early = Mono::from_millis(100);
    let assigned =
        limits.ask_at(early, id(1), (LIMIT, None), &ShareAsk { holding: 30_000, ..wanting(90_000) });
    assert_eq!(assigned.share, 30_000);
    let assigned = limits.ask_at(early, id(2), (LIMIT, None), &wanting(90_000));
    assert_eq!(assigned.share, 0);
    // A subject that is first heard of later need not wait: nobody can hold a part of its bucket.
    let apart = id(9);
    limits.set_all([(apart, 5, 0, true)].into_iter());
    assert_eq!(limits.ask_at(LATER, id(2), (apart, Some(id(1))), &wanting(5)).share, 5);
}

#[test]
fn buckets_are_bounded_and_go_only_when_their_term_is_over() {
    let limits = Limits::with_room(2);
    known(&limits, true);
    let ask = |ms, subject| {
        let bucket = (LIMIT, Some(id(subject)));
        limits.ask_at(Mono::from_millis(ms), id(1), bucket, &wanting(1_000)).share
    };
    assert_eq!(ask(10_000, 1), 100_000);
    assert_eq!(ask(10_500, 2), 100_000);
    assert_eq!(ask(11_000, 3), 0, "both are lent");
    // The first is asked for again, so that the second is the one to go.
    assert_eq!(ask(13_000, 1), 100_000);
    assert_eq!(ask(14_100, 3), 100_000);
    assert_eq!(limits.buckets(), 2);
    assert_eq!(ask(14_200, 2), 0);
}

#[test]
fn a_changed_limit_holds_from_the_next_ask_on() {
    let limits = Limits::default();
    known(&limits, false);
    assert_eq!(limits.ask_at(LATER, id(1), (LIMIT, None), &wanting(1_000)).share, 100_000);
    limits.set_all([(LIMIT, 40_000, 10, false)].into_iter());
    assert_eq!(limits.ask_at(LATER, id(1), (LIMIT, None), &wanting(1_000)).share, 40_000);
}
