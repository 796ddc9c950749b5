use portcullis_metering::{OnOutage, Rate};

use super::*;

fn terms(id: u128, amount: Amount) -> LimitTerms {
    LimitTerms {
        id: LimitId(Uuid::from_u128(id)),
        amount,
        server: None,
        tool: None,
        each: None,
        wait: Duration::ZERO,
        on_outage: OnOutage::Deny,
        at: 0,
    }
}

fn rate(id: u128, requests: u64) -> LimitTerms {
    terms(id, Amount::Rate(Rate { requests, per_ms: 1_000, burst: 1 }))
}

fn at(seconds: u64) -> Mono {
    Mono::from_millis(seconds * 1_000)
}

const V1: SnapshotVersion = SnapshotVersion(1);

fn find(limits: &Limits, terms: &LimitTerms, subject: u128, now: Mono) -> Result<Arc<Limit>, TooMany> {
    limits.find(terms, Uuid::from_u128(subject), V1, now)
}

#[test]
fn the_same_limit_of_the_same_subject_is_one_and_others_are_others() {
    let limits = Limits::default();
    let one = find(&limits, &rate(1, 5), 0, at(1)).unwrap();
    assert!(Arc::ptr_eq(&one, &find(&limits, &rate(1, 9), 0, at(1)).unwrap()));
    assert!(!Arc::ptr_eq(&one, &find(&limits, &rate(1, 5), 7, at(1)).unwrap()));
    find(&limits, &terms(2, Amount::Calls(3)), 0, at(1)).unwrap();
    assert_eq!(limits.counts(), (2, 1));
    assert_eq!(limits.fresh(at(1)).len(), 3, "asked for at once");
    assert_eq!(limits.fresh(at(1)).len(), 0);
    assert_eq!(limits.beat(at(2)).len(), 3);
}

#[test]
fn at_the_bound_idle_limits_make_room_and_busy_ones_do_not() {
    let limits = Limits::new(2);
    let busy = find(&limits, &terms(1, Amount::Calls(3)), 0, at(10)).unwrap();
    let inside = busy.enter(at(10)).unwrap();
    let idle = find(&limits, &rate(2, 5), 0, at(10)).unwrap();
    assert!(find(&limits, &rate(3, 5), 0, at(11)).is_err());
    assert!(!idle.is_gone());
    let third = find(&limits, &rate(3, 5), 0, at(60)).unwrap();
    assert!(idle.is_gone() && !busy.is_gone() && !third.is_gone());
    assert!(
        find(&limits, &rate(4, 5), 0, at(62)).is_err(),
        "one has a call under way, one was used just now"
    );
    drop(inside);
    find(&limits, &rate(4, 5), 0, at(64)).unwrap();
    assert!(busy.is_gone());
}

#[test]
fn a_limit_that_is_quiet_is_asked_for_less_often_and_forgotten_after_an_hour() {
    let limits = Limits::default();
    let limit = find(&limits, &rate(1, 5), 0, at(100)).unwrap();
    assert_eq!((0..4).map(|_| limits.beat(at(101)).len()).sum::<usize>(), 4);
    assert_eq!((0..8).map(|_| limits.beat(at(110)).len()).sum::<usize>(), 2);
    limit.take(at(120)).unwrap_err();
    assert_eq!((0..4).map(|_| limits.beat(at(121)).len()).sum::<usize>(), 4);
    limits.beat(at(120 + 3_700));
    assert!(limit.is_gone());
}

#[test]
fn terms_of_an_older_snapshot_do_not_come_back() {
    let limits = Limits::default();
    let (many, one) = (terms(1, Amount::Calls(10)), terms(1, Amount::Calls(1)));
    let limit = limits.find(&many, Uuid::nil(), SnapshotVersion(1), at(1)).unwrap();
    limits
        .find(&LimitTerms { on_outage: OnOutage::Allow, ..one }, Uuid::nil(), SnapshotVersion(2), at(1))
        .unwrap();
    limits.find(&many, Uuid::nil(), SnapshotVersion(1), at(1)).unwrap();
    // Its share lapsed, and the newer terms let everything pass.
    assert!(limit.enter(at(100)).is_ok());
}

#[test]
fn an_assignment_reaches_its_limit() {
    let limits = Limits::default();
    let limit = find(&limits, &terms(1, Amount::Calls(10)), 4, at(1)).unwrap();
    let (key, ask) = limits.fresh(at(1))[0];
    let assigned = Assignment { seq: ask.seq, serial: 1, share: 2, gift: 0, term_ms: 3_000 };
    limits.adopt(key, &assigned, at(1));
    limits.adopt((LimitId(Uuid::from_u128(99)), Uuid::nil()), &assigned, at(1));
    let (first, second) = (limit.enter(at(2)).unwrap(), limit.enter(at(2)).unwrap());
    assert!(limit.enter(at(2)).is_err());
    drop((first, second));
    assert!(limit.enter(at(5)).is_err(), "the term is over");
}
