//! A rate limit over ten planes under a flood, in simulated time: what passes is the limit, within 2 %.
#![allow(
    clippy::unwrap_used,
    clippy::indexing_slicing,
    reason = "a test that goes wrong stops where it went wrong"
)]

use std::time::Duration;

use portcullis_metering::{Limiter, Mono, OnOutage, Rate, Shares};
use uuid::Uuid;

const PLANES: usize = 10;
const RATE: Rate = Rate { requests: 1_000, per_ms: 1_000, burst: 100 };

struct Fleet {
    shares: Shares,
    planes: Vec<Limiter>,
    passed: Vec<u64>,
}

impl Fleet {
    fn new() -> Self {
        Self {
            shares: Shares::new(RATE.units(), RATE.burst, Duration::from_secs(2), at(0), true),
            planes: (0..PLANES).map(|_| Limiter::new(RATE, OnOutage::Deny, at(0))).collect(),
            passed: vec![0; PLANES],
        }
    }

    /// One millisecond: planes beat in turn, four times a second, and `load` says how many requests come to each.
    fn tick(&mut self, now: u64, load: impl Fn(usize) -> usize) {
        for (number, plane) in self.planes.iter().enumerate() {
            if now % 250 == number as u64 * 25 {
                let ask = plane.beat(at(now));
                let id = Uuid::from_u128(number as u128);
                let assignment = self.shares.ask(at(now), id, &ask).unwrap();
                plane.adopt(at(now), &assignment);
                assert!(self.shares.in_hands() <= RATE.units(), "{} in hands", self.shares.in_hands());
            }
            self.passed[number] += (0..load(number)).filter(|_| plane.take(at(now)).is_ok()).count() as u64;
        }
    }

    fn take_passed(&mut self) -> u64 {
        self.passed.iter_mut().map(std::mem::take).sum()
    }
}

fn at(milliseconds: u64) -> Mono {
    Mono::from_millis(milliseconds)
}

fn within_2_percent(passed: u64, limit: u64) -> bool {
    passed * 100 >= limit * 98 && passed * 100 <= limit * 102
}

#[test]
fn ten_planes_under_a_flood_pass_the_limit_within_2_percent() {
    let mut fleet = Fleet::new();
    (0..2_000).for_each(|now| fleet.tick(now, |_| 2));
    let start = fleet.take_passed();
    assert!(start <= 2_000 + RATE.burst + PLANES as u64, "{start} in the first two seconds, burst included");
    (2_000..12_000).for_each(|now| fleet.tick(now, |_| 2));
    let passed = fleet.take_passed();
    println!("{passed} of 10000 passed in ten seconds");
    assert!(within_2_percent(passed, 10_000), "{passed} of 10000");
}

#[test]
fn one_plane_under_a_flood_may_use_nearly_all_of_the_limit() {
    let mut fleet = Fleet::new();
    let load = |plane: usize| if plane == 3 { 20 } else { 0 };
    (0..2_000).for_each(|now| fleet.tick(now, load));
    fleet.take_passed();
    (2_000..12_000).for_each(|now| fleet.tick(now, load));
    let passed = fleet.take_passed();
    println!("{passed} of 10000 passed in ten seconds");
    assert!(within_2_percent(passed, 10_000), "{passed} of 10000");
}

#[test]
fn a_flood_that_wanders_never_passes_more_than_the_limit_and_the_burst() {
    let mut fleet = Fleet::new();
    let mut worst = 0;
    for second in 0..20_u64 {
        let busy = (second * 7 % 10) as usize;
        let load = |plane: usize| if plane == busy { 20 } else { 0 };
        (second * 1_000..(second + 1) * 1_000).for_each(|now| fleet.tick(now, load));
        worst = worst.max(fleet.take_passed());
    }
    println!("at most {worst} passed in a second");
    assert!(worst <= 1_000 + RATE.burst + PLANES as u64, "{worst} in one second");
}

#[test]
fn a_plane_that_is_cut_off_takes_its_share_with_it_for_a_term_only() {
    let mut fleet = Fleet::new();
    (0..2_000).for_each(|now| fleet.tick(now, |_| 2));
    let gone = fleet.planes.pop().unwrap();
    fleet.take_passed();
    let mut alone = 0;
    for now in 2_000..12_000 {
        fleet.tick(now, |_| 2);
        alone += (0..2).filter(|_| gone.take(at(now)).is_ok()).count() as u64;
    }
    let passed = fleet.take_passed();
    println!("{passed} passed, and {alone} at the plane that was cut off");
    assert!(alone <= 200 + 10, "{alone} in a term of two seconds, at a tenth of the limit");
    assert!(within_2_percent(passed + alone, 10_000), "{}", passed + alone);
}
