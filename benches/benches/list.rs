//! What a list costs: from memory, when it is rendered for the first time, and what a new snapshot costs to compile.
#![allow(clippy::panic, reason = "a bench that cannot be set up ends")]
#![allow(missing_docs, reason = "criterion's macros make public items without any")]

mod organisation;

use std::hint::black_box;
use std::time::{Duration, Instant};

use criterion::{Criterion, criterion_group, criterion_main};
use organisation::{NOW, Size, compile, entries, key_hash, names};
use portcullis_policy::EndpointRef;

const SIZE: Size = Size { servers: 100, tools_per_server: 100, keys: 10_000 };
const LARGE: Size = Size { servers: 1_000, tools_per_server: 30, keys: 100_000 };

fn list(c: &mut Criterion) {
    let all = entries(SIZE, 1);
    let snapshot = compile(all.clone());
    let Ok(principal) = snapshot.authenticate(&key_hash(1), NOW) else { panic!("the key is there") };
    let Ok(view) = snapshot.endpoint(&principal, EndpointRef::All) else { panic!("the endpoint is there") };
    // Some tool of the list, so that the names of the organisation and the list are one.
    let (granted, _) = names(1, SIZE);
    assert!(view.tools_json().contains(&granted));
    let mut group = c.benchmark_group("list");
    group.bench_function("from_memory", |b| b.iter(|| black_box(&view).tools_json().len()));
    let mut keys = (0..SIZE.keys).cycle();
    group.sample_size(20).bench_function("first_of_200_tools", |b| {
        b.iter_custom(|times| {
            let mut took = Duration::ZERO;
            let mut fresh = compile(all.clone());
            for at in 0..times {
                if at > 0 && at.is_multiple_of(SIZE.keys as u64) {
                    fresh = compile(all.clone());
                }
                let Ok(principal) = fresh.authenticate(&key_hash(keys.next().unwrap_or(0)), NOW) else {
                    continue;
                };
                let begun = Instant::now();
                let Ok(view) = fresh.endpoint(&principal, EndpointRef::All) else { continue };
                black_box(view.tools_json());
                took += begun.elapsed();
            }
            took
        });
    });
    group.finish();
    let mut group = c.benchmark_group("compile");
    group.sample_size(10);
    for (label, size, keys_per_grants) in
        [("10k_keys_10k_tools", SIZE, 100), ("100k_keys_1k_servers_30k_tools", LARGE, 100)]
    {
        let entries = entries(size, keys_per_grants);
        group.bench_function(label, |b| {
            b.iter_custom(|times| {
                (0..times)
                    .map(|_| {
                        let entries = entries.clone();
                        let begun = Instant::now();
                        let snapshot = compile(entries);
                        let took = begun.elapsed();
                        drop(black_box(snapshot));
                        took
                    })
                    .sum()
            });
        });
    }
    group.finish();
}

criterion_group!(benches, list);
criterion_main!(benches);
