use super::*;

const PER_SECOND: Rate = Rate { requests: 50, per_ms: 1_000, burst: 100 };

fn at(milliseconds: u64) -> Mono {
    Mono::from_millis(1_000_000 + milliseconds)
}

fn assigned(limiter: &Limiter, now: Mono, serial: u64, share: u64, gift: u64, term_ms: u64) {
    let ask = limiter.beat(now);
    limiter.adopt(now, &Assignment { seq: ask.seq, serial, share, gift, term_ms });
}

fn count(limiter: &Limiter, from: u64, to: u64, each: usize) -> usize {
    (from..to)
        .flat_map(|now| (0..each).map(move |_| now))
        .filter(|now| limiter.take(at(*now)).is_ok())
        .count()
}

#[test]
fn a_burst_passes_at_once_and_the_rate_after_it() {
    let limiter = Limiter::new(PER_SECOND, OnOutage::Deny, at(0));
    assigned(&limiter, at(0), 1, PER_SECOND.units(), 100_000, 60_000);
    assert_eq!(count(&limiter, 0, 1, 1_000), 100);
    let limited = limiter.take(at(0)).unwrap_err();
    assert_eq!(limited, Limited { retry_after: Duration::from_millis(20), outage: false });
    assert!(limiter.take(at(19)).is_err() && limiter.take(at(20)).is_ok());
    assert_eq!(count(&limiter, 21, 10_021, 3), 500);
}

#[test]
fn a_share_is_paced_by_its_part_and_grows_empty() {
    let limiter = Limiter::new(PER_SECOND, OnOutage::Deny, at(0));
    assigned(&limiter, at(0), 1, PER_SECOND.units() / 5, 0, 60_000);
    assert_eq!(
        count(&limiter, 0, 1_001, 3),
        1 + 10,
        "it starts with its first request and brings ten a second"
    );
    assigned(&limiter, at(1_001), 2, PER_SECOND.units(), 0, 60_000);
    assert_eq!(count(&limiter, 1_001, 1_020, 3), 0, "what it grew by holds nothing yet");
    assert_eq!(count(&limiter, 1_020, 11_002, 3), 500);
}

#[test]
fn tokens_stay_when_the_share_or_the_rate_changes() {
    let limiter = Limiter::new(PER_SECOND, OnOutage::Deny, at(0));
    assigned(&limiter, at(0), 1, PER_SECOND.units(), 59_000, 60_000);
    limiter.set_rate(Rate { requests: 25, ..PER_SECOND }, OnOutage::Deny, at(0));
    assert_eq!(count(&limiter, 0, 1, 1_000), 60);
    assigned(&limiter, at(4_000), 2, 25_000, 0, 60_000);
    assert_eq!(count(&limiter, 4_000, 4_001, 1_000), 100, "100 in four seconds at 25 a second");
}

#[test]
fn the_same_assignment_twice_gives_its_burst_once() {
    let limiter = Limiter::new(PER_SECOND, OnOutage::Deny, at(0));
    assigned(&limiter, at(0), 1, PER_SECOND.units(), 4_000, 60_000);
    assert_eq!(count(&limiter, 0, 1, 100), 5);
    assigned(&limiter, at(0), 1, PER_SECOND.units(), 4_000, 60_000);
    assert_eq!(count(&limiter, 0, 1, 100), 0);
}

#[test]
fn before_it_heard_anything_one_request_passes() {
    let limiter = Limiter::new(PER_SECOND, OnOutage::Deny, at(0));
    assert_eq!(count(&limiter, 0, 999, 2), 1);
    assert!(limiter.take(at(1_000)).unwrap_err().outage);
}

#[test]
fn a_lapsed_share_does_as_its_terms_say() {
    let share = OnOutage::Share(crate::terms::PerMille::try_from(100).unwrap());
    for (terms, expected) in [(OnOutage::Deny, 0), (share, 10 + 49), (OnOutage::Allow, 30_000)] {
        let limiter = Limiter::new(PER_SECOND, terms, at(0));
        assigned(&limiter, at(0), 1, PER_SECOND.units(), 0, 1_000);
        assert_eq!(count(&limiter, 1_000, 11_000, 3), expected, "{terms:?}");
        assert_eq!(limiter.take_owed(), expected as u64);
        assert_eq!(limiter.take_owed(), 0);
    }
}

#[test]
fn what_another_limit_stopped_is_given_back() {
    let limiter = Limiter::new(PER_SECOND, OnOutage::Deny, at(0));
    assigned(&limiter, at(0), 1, PER_SECOND.units(), 0, 60_000);
    assert!(limiter.take(at(0)).is_ok());
    limiter.give_back();
    assert!(limiter.take(at(0)).is_ok() && limiter.take(at(0)).is_err());
}

#[test]
fn odd_rates_are_never_exceeded() {
    for (requests, per_ms) in [(7, 1_000), (3, 60_000), (999_983, 1_000), (1, 3_600_000)] {
        let rate = Rate { requests, per_ms, burst: 1 };
        let limiter = Limiter::new(rate, OnOutage::Deny, at(0));
        assigned(&limiter, at(0), 1, rate.units(), 0, u64::MAX / 2_000_000);
        let step = (per_ms * 1_000_000 / requests).max(1) / 3 + 1;
        let (mut passed, mut now) = (0_u64, at(0));
        for _ in 0..30_000 {
            passed += u64::from(limiter.take(now).is_ok());
            now = Mono(now.0 + step);
        }
        let most =
            (u128::from(30_000 * step) * u128::from(requests)).div_ceil(u128::from(per_ms) * 1_000_000);
        assert!(u128::from(passed) <= most, "{rate:?}: {passed} of {most}");
        assert!(u128::from(passed) * 100 >= most * 65, "{rate:?}: only {passed} of {most}");
    }
}

#[test]
fn threads_together_pass_no_more_than_one() {
    let limiter = Limiter::new(PER_SECOND, OnOutage::Deny, at(0));
    assigned(&limiter, at(0), 1, PER_SECOND.units(), 100_000, 60_000);
    let passed = AtomicU64::new(0);
    std::thread::scope(|scope| {
        for _ in 0..4 {
            scope.spawn(|| {
                for now in 0..1_000 {
                    passed.fetch_add(u64::from(limiter.take(at(now)).is_ok()), Relaxed);
                }
            });
        }
    });
    assert!(passed.load(Relaxed) <= 150, "{passed:?}");
}
