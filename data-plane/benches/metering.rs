//! What metering adds to a call: its meter found, everything that applies taken, and settled. The bar is 300 ns for four budgets.
#![allow(
    missing_docs,
    clippy::unwrap_used,
    clippy::indexing_slicing,
    reason = "a benchmark that fails says so"
)]

#[path = "../tests/common/mod.rs"]
mod common;
#[path = "../tests/leases_fake/mod.rs"]
mod leases_fake;

use std::hint::black_box;
use std::time::{Duration, Instant};

use criterion::{Criterion, criterion_group, criterion_main};
use futures_util::FutureExt as _;
use leases_fake::{FakeLeases, Known, Plane};
use portcullis_data_plane::metering::{Asked, Ended, Metering};
use portcullis_policy::circumstances::Circumstances;
use portcullis_policy::{EndpointRef, Permit, Snapshot};
use serde_json::{Value, json};

const NOW: u64 = 1_800_000_000_000;

fn snapshot(said: bool, more: bool) -> Snapshot {
    let budgets = json!([{ "calls": 1_000_000_000_000_u64, "period": "1y" }]);
    let mut key = json!({ "budgets": budgets });
    if more {
        key["rateLimits"] = json!([{ "requests": 1_000_000_000, "per": "1s" }]);
        key["concurrency"] = json!([{ "calls": 1_000 }]);
        key["loopBreaker"] = json!({ "calls": 10_000, "within": "1s" });
    }
    let own = |body: &Value| if said { body.clone() } else { json!({}) };
    let server =
        json!({ "own": { "budgets": budgets }, "tools": { "echo": { "own": { "budgets": budgets } } } });
    leases_fake::world::policy("http://127.0.0.1:9/mcp")
        .metering("team", "sales", &own(&json!({ "budgets": budgets })))
        .metering("key", "bot", &own(&key))
        .metering("server", "crm", &own(&server))
        .compile(1)
}

fn permit(snapshot: &Snapshot) -> Permit {
    let hash = portcullis_policy::secret::key_hash(&common::policy::secret("bot")).unwrap();
    let principal = snapshot.authenticate(&hash, NOW).unwrap();
    let view = snapshot.endpoint(&principal, EndpointRef::All).unwrap();
    snapshot.decide_tool(&principal, &view, "crm_echo", &Circumstances::at(NOW)).unwrap()
}

fn call(metering: &Metering, permit: &Permit, asked: Asked<'_>) -> bool {
    let entered = metering.enter(permit, asked).now_or_never();
    match entered {
        Some(Ok(Some(entered))) => {
            drop(black_box(entered.settle(Ended::Answered { told: None, error: false })));
            true
        }
        Some(Ok(None)) => true,
        Some(Err(_)) | None => false,
    }
}

/// So many calls that passed; those that found the lease empty are made again, and their time counts.
fn calls(metering: &Metering, permit: &Permit, many: u64) -> Duration {
    let began = Instant::now();
    let mut passed = 0;
    while passed < many {
        let number = passed.to_string();
        let asked = Asked { method: "tools/call", name: &number, arguments: None };
        passed += u64::from(call(metering, permit, asked));
    }
    began.elapsed()
}

fn metering(criterion: &mut Criterion) {
    let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(1).enable_all().build().unwrap();
    let _inside = runtime.enter();
    for (name, said, more) in [
        ("metering: nothing applies", false, false),
        ("metering: four budgets", true, false),
        ("metering: four budgets, a rate, calls at once, a loop breaker", true, true),
    ] {
        let snapshot = snapshot(said, more);
        let known = Known::new();
        known.take(&snapshot);
        let (dir, spool) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
        let (_leases, plane) = runtime.block_on(async {
            let leases = FakeLeases::start(&known).await;
            let plane = Plane::start_on(
                &portcullis_data_plane::metering::MonoClock::machine(),
                dir.path(),
                spool.path(),
                leases.addr,
            );
            plane.linked().await;
            (leases, plane)
        });
        let (metering, one, other) = (plane.metering.clone(), permit(&snapshot), permit(&snapshot));
        // Leases grow with demand.
        calls(&metering, &one, 2_000_000);
        criterion.bench_function(name, |bench| bench.iter_custom(|many| calls(&metering, &one, many)));
        criterion.bench_function(&format!("{name}; on two threads"), |bench| {
            bench.iter_custom(|many| {
                std::thread::scope(|scope| {
                    let beside = scope.spawn(|| calls(&metering, &other, many));
                    calls(&metering, &one, many).max(beside.join().unwrap())
                })
            });
        });
    }
}

criterion_group!(benches, metering);
criterion_main!(benches);
