//! Metering in a simulated world: one control plane and up to a hundred data planes, where everything goes wrong that may. After every
//! step the books add up and nothing is overshot; when all is quiet, what was spent is in the books to the unit.
//!
//! `METERING_SEEDS=10000 cargo test -p portcullis-metering --test simulation` runs more seeds, `METERING_SEED=7` runs one.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing,
    clippy::print_stdout,
    reason = "a test that goes wrong stops where it went wrong, and says with which seed"
)]

mod chance;
mod control;
mod plan;
mod plane;
mod trouble;
mod truth;
mod world;

use portcullis_metering::{Length, Level, Unit};

use chance::Chance;
use plan::{Plan, account};
use world::World;

fn run(seed: u64) -> World {
    let plan = Plan::drawn(&mut Chance::new(seed ^ 0xa5a5_a5a5));
    let mut world = World::new(seed, plan);
    world.run();
    world.control.accounts.check().unwrap();
    world.truth.agrees_with(&world.control.accounts);
    world
}

fn number(name: &str) -> Option<u64> {
    std::env::var(name).ok().map(|text| text.parse().expect("a number of seeds"))
}

#[test]
fn nothing_is_overshot_or_lost_whatever_goes_wrong() {
    let seeds = match number("METERING_SEED") {
        Some(seed) => seed..seed + 1,
        None => 0..number("METERING_SEEDS").unwrap_or(200),
    };
    let next = std::sync::atomic::AtomicU64::new(seeds.start);
    let sums = std::sync::Mutex::new((0_u64, 0_u64, 0_u64));
    std::thread::scope(|scope| {
        let worker = || {
            loop {
                let seed = next.fetch_add(1, std::sync::atomic::Ordering::Relaxed);
                if seed >= seeds.end {
                    break;
                }
                let result = std::panic::catch_unwind(|| run(seed));
                let world =
                    result.unwrap_or_else(|_| panic!("seed {seed} fails: run it with METERING_SEED={seed}"));
                let mut sums = sums.lock().unwrap();
                *sums = (sums.0 + world.steps_done, sums.1 + world.paid, sums.2 + world.denied);
            }
        };
        let other = scope.spawn(worker);
        worker();
        other.join().unwrap();
    });
    let (steps, paid, denied) = *sums.lock().unwrap();
    println!("seeds {seeds:?}: {steps} steps, {paid} calls paid, {denied} denied");
    assert!(seeds.end - seeds.start < 100 || (paid > 0 && denied > 0), "nothing happened");
}

#[test]
fn the_same_seed_is_the_same_run() {
    for seed in [1, 2, 3] {
        let (one, other) = (run(seed), run(seed));
        assert_eq!((one.trace, one.paid, one.denied), (other.trace, other.paid, other.denied));
    }
    assert_ne!(run(4).trace, run(5).trace);
}

/// Ten planes, of which the busiest has half of the load, on one budget; nothing goes wrong.
fn skewed(seed: u64, limit: u64) -> (u64, u64, u64) {
    let calls = account(Level::Customer, 1, Unit::Calls, Length::Day, false);
    let plan = Plan {
        planes: 10,
        busy_ms: 600_000,
        rates: vec![500, 200, 100, 50, 50, 40, 30, 20, 5, 1],
        crashes: 0,
        partitions: 0,
        lost: 0,
        repeated: 0,
        late: 0,
        operators: false,
        accounts: vec![(calls, limit)],
        routes: vec![vec![0]],
        beat_ms: 250,
        until_denied: true,
    };
    let mut world = World::new(seed, plan);
    world.run();
    (world.truth.spent(calls), world.denied, world.waited)
}

#[test]
fn at_least_97_percent_is_spent_before_anybody_is_denied() {
    for limit in [10_000, 30_000] {
        for seed in 0..4 {
            let (spent, denied, waited) = skewed(seed, limit);
            println!("limit {limit}, seed {seed}: {spent} spent before the first denial, {waited} waits");
            assert!(denied > 0, "the budget was never used up");
            assert!(
                spent * 100 >= limit * 97,
                "only {spent} of {limit} were spent before somebody was denied"
            );
        }
    }
}
