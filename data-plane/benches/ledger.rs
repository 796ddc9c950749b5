//! What the record of a call costs: a place reserved, the record written into it.
#![allow(missing_docs, clippy::unwrap_used, reason = "a benchmark that fails says so")]

use std::borrow::Cow;
use std::hint::black_box;
use std::sync::Arc;

use criterion::{Criterion, criterion_group, criterion_main};
use portcullis_data_plane::ledger::{
    AuditRecord, Decision, KeyFacts, LatencySplit, Outcome, PrincipalFacts, Sizes, Spool, SpoolConfig,
    UpstreamFacts,
};
use portcullis_policy::resource::{PrincipalKind, Uid};
use uuid::Uuid;

fn record() -> AuditRecord {
    AuditRecord {
        request_id: Uuid::now_v7(),
        time: chrono::Utc::now(),
        method: Cow::Borrowed("tools/call"),
        endpoint: Cow::Borrowed("/mcp"),
        era: Cow::Borrowed("modern"),
        decision: Decision::Permit,
        reason: None,
        rule: Some("VirtualKey/support-bot spec.grants[0]".to_owned()),
        shadow: Vec::new(),
        approval: None,
        snapshot_version: 7,
        principal: PrincipalFacts { kind: PrincipalKind::Agent, subject: Arc::from("support-bot") },
        key: KeyFacts { name: "support-bot".parse().unwrap(), uid: Uid(Uuid::now_v7()) },
        team: Some("support-team".parse().unwrap()),
        customer: Some("acme".parse().unwrap()),
        server: Some("github".parse().unwrap()),
        zone: Some("vendor-saas".parse().unwrap()),
        tool: Some(Arc::from("search_issues")),
        prompt: None,
        resource: None,
        exposed_name: Some(Arc::from("github_search_issues")),
        client_hint: Some(Arc::from("claude-code")),
        latency_micros: LatencySplit { total: 1200, decide: 1, upstream: 1100 },
        bytes: Sizes { request: 512, response: 1024 },
        upstream: Some(UpstreamFacts { status: Some(200), era: Some(Cow::Borrowed("modern")) }),
        outcome: Outcome::Ok,
        cost_micro_usd: None,
        spent: None,
        trace_id: Some("0af7651916cd43dd8448eb211c80319c".to_owned()),
        span_id: Some("b7ad6b7169203331".to_owned()),
        truncated: Vec::new(),
    }
}

fn ledger(criterion: &mut Criterion) {
    let dir = tempfile::tempdir().unwrap();
    let config = SpoolConfig { max_total_bytes: 256 * 1024 * 1024, ..SpoolConfig::default() };
    let spool = Spool::open(dir.path(), config).unwrap();
    let record = record();
    criterion.bench_function("ledger reserve and give back", |bench| {
        bench.iter(|| drop(black_box(spool.reserve().unwrap())));
    });
    criterion.bench_function("ledger reserve and write", |bench| {
        bench.iter(|| spool.reserve().unwrap().write(black_box(&record)).unwrap());
    });
}

criterion_group!(benches, ledger);
criterion_main!(benches);
