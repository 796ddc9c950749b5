//! What one decision costs: a key with 200 granted tools among 10,000 keys and 10,000 tools. The goal is under 1 µs from the
//! hash of the key and the bytes of the name to the permit.
#![allow(clippy::panic, reason = "a bench that cannot be set up ends")]
#![allow(missing_docs, reason = "criterion's macros make public items without any")]

mod organisation;

use std::hint::black_box;
use std::sync::Arc;

use criterion::{BatchSize, Criterion, criterion_group, criterion_main};
use organisation::{NOW, Size, compile, entries, key_hash, names};
use portcullis_policy::{Circumstances, EndpointRef};

const SIZE: Size = Size { servers: 100, tools_per_server: 100, keys: 10_000 };
/// The key that asks.
const KEY: usize = 4_321;

fn decide(c: &mut Criterion) {
    let snapshot = compile(entries(SIZE, 1));
    let hash = key_hash(KEY);
    let (granted, other) = names(KEY, SIZE);
    let Ok(principal) = snapshot.authenticate(&hash, NOW) else { panic!("the key is there") };
    let Ok(view) = snapshot.endpoint(&principal, EndpointRef::All) else { panic!("the endpoint is there") };
    assert_eq!(view.tools().len(), 200);
    let mut group = c.benchmark_group("decide");
    group.bench_function("hash_to_permit", |b| {
        b.iter(|| {
            let principal = snapshot.authenticate(black_box(&hash), NOW)?;
            let view = snapshot.endpoint(&principal, EndpointRef::All)?;
            snapshot.decide_tool(&principal, &view, black_box(&granted), &Circumstances::at(NOW))
        });
    });
    group.bench_function("permit", |b| {
        b.iter(|| snapshot.decide_tool(&principal, &view, black_box(&granted), &Circumstances::at(NOW)));
    });
    group.bench_function("not_granted", |b| {
        b.iter(|| snapshot.decide_tool(&principal, &view, black_box(&other), &Circumstances::at(NOW)));
    });
    group.bench_function("unknown", |b| {
        b.iter(|| {
            snapshot.decide_tool(
                &principal,
                &view,
                black_box("nothing_has_this_name"),
                &Circumstances::at(NOW),
            )
        });
    });
    // Different keys in turn, so that not all of it is in the nearest cache.
    let hashes: Vec<_> = (0..SIZE.keys).map(|key| (key_hash(key), names(key, SIZE).0)).collect();
    for (hash, name) in &hashes {
        let permit = snapshot.authenticate(hash, NOW).and_then(|principal| {
            let view = snapshot.endpoint(&principal, EndpointRef::All)?;
            snapshot.decide_tool(&principal, &view, name, &Circumstances::at(NOW))
        });
        assert!(permit.is_ok());
    }
    let mut turn = hashes.iter().cycle();
    group.bench_function("hash_to_permit_of_all_keys", |b| {
        b.iter_batched(
            || turn.next(),
            |next| {
                let (hash, name) = next?;
                let principal = snapshot.authenticate(hash, NOW).ok()?;
                let view = snapshot.endpoint(&principal, EndpointRef::All).ok()?;
                snapshot.decide_tool(&principal, &view, name, &Circumstances::at(NOW)).ok()
            },
            BatchSize::SmallInput,
        );
    });
    group.finish();
    let Ok(token) = portcullis_policy::secret::generate_key() else { panic!("there is randomness") };
    let text: Arc<str> = token.text.as_str().into();
    c.bench_function("token/hash", |b| b.iter(|| portcullis_policy::secret::key_hash(black_box(&text))));
}

criterion_group!(benches, decide);
criterion_main!(benches);
