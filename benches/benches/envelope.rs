//! What reading one call costs: a `tools/call` of 1.3 KB with arguments and `_meta`, parsed and rewritten for an upstream.
#![allow(clippy::unwrap_used, reason = "a benchmark fails loudly")]

use std::hint::black_box;

use criterion::{Criterion, criterion_group, criterion_main};
use portcullis_mcp::edit::{Edit, edit_params};
use portcullis_mcp::{Message, parse};

fn envelope(c: &mut Criterion) {
    let arguments = format!("{{\"text\":\"{}\"}}", "x".repeat(1000));
    let call = portcullis_benches::call("bench_kilobyte", "", &arguments).unwrap();
    c.bench_function("parse a tools/call of 1.3 KB", |b| b.iter(|| parse(black_box(&call.body)).is_ok()));
    let Ok(Message::Request { params, .. }) = parse(&call.body) else { return };
    c.bench_function("rewrite its name", |b| {
        b.iter(|| edit_params(params.raw, &[("name", Edit::Set("\"kilobyte\""))], &[]).is_ok());
    });
}

criterion_group!(benches, envelope);
criterion_main!(benches);
