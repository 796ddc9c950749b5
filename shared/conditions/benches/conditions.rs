//! What conditions cost a call: a thousand policies of which five can apply, and none that can.
#![allow(clippy::unwrap_used, reason = "a bench that cannot be set up has nothing to measure")]

use std::hint::black_box;

use criterion::{Criterion, criterion_group, criterion_main};
use portcullis_conditions::{
    Annotations, CallFacts, Compiled, Mode, Policy, PrincipalFacts, TargetFacts, TargetKind,
};

/// Conditions of the five that can apply: membership, time, network, a hint and an argument.
const FIVE: [&str; 5] = [
    "unless { principal in Team::\"support-team\" }",
    "when { context.hour < 1 }",
    "unless { context.network.isInRange(ip(\"10.0.0.0/8\")) }",
    "when { context.annotations.readOnlyHint }",
    "when { context.arguments has amount && context.arguments.amount > 1000 }",
];

fn policies() -> Vec<(String, String)> {
    let policy = |at: usize| {
        let (tool, clause) = match FIVE.get(at) {
            Some(clause) => ("crm/refund".to_owned(), *clause),
            None => (format!("server-{}/tool-{at}", at % 50), "unless { principal in Team::\"platform\" }"),
        };
        let head = format!("principal, action == Action::\"call\", resource == Tool::\"{tool}\"");
        (format!("policy-{at:04}"), format!("forbid({head}) {clause};"))
    };
    (0..1000).map(policy).collect()
}

fn conditions(criterion: &mut Criterion) {
    let texts = policies();
    let policy = |(name, cedar): &'static (String, String)| Policy { name, cedar, mode: Mode::Enforce };
    let texts: &'static [(String, String)] = texts.leak();
    let policies: Vec<Policy<'_>> = texts.iter().map(policy).collect();
    let compiled = Compiled::new(&policies).unwrap();
    let caller_facts = PrincipalFacts {
        kind: "agent",
        subject: "support-bot",
        key: "support-bot",
        team: Some("support-team"),
        customer: Some("acme"),
        zone: "internal",
        groups: &[],
    };
    let target_facts = TargetFacts {
        kind: TargetKind::Tool,
        server: "crm",
        name: "refund",
        zone: "internal",
        data_classes: &["customer-data"],
        environment: "prod",
        hosting: "self",
        tier: "gold",
        annotations: Annotations::default(),
    };
    let caller = compiled.caller(&caller_facts);
    let target = compiled.target(&target_facts);
    let free = compiled.target(&TargetFacts { name: "find", ..target_facts });
    let call = CallFacts {
        now_unix_ms: 1_795_185_000_000,
        network: Some([10, 1, 2, 3].into()),
        era: Some("modern"),
        clients: &[],
        arguments: Some(
            r#"{"order":"A-1","amount":250,"reason":"the parcel came late and the box was open"}"#,
        ),
    };

    criterion.bench_function("judge a call to which 5 of 1000 policies can apply", |bench| {
        bench
            .iter(|| compiled.slice(black_box(&caller), black_box(&target)).unwrap().judge(black_box(&call)));
    });
    criterion.bench_function("list a tool to which 5 of 1000 policies can apply", |bench| {
        bench.iter(|| {
            compiled.slice(black_box(&caller), black_box(&target)).unwrap().foresee(black_box(&call))
        });
    });
    criterion.bench_function("find that none of 1000 policies can apply", |bench| {
        bench.iter(|| compiled.slice(black_box(&caller), black_box(&free)).is_none());
    });
    criterion.bench_function("make a principal, a tool and their slice of 5 policies", |bench| {
        bench.iter(|| {
            let (caller, target) = (compiled.caller(&caller_facts), compiled.target(&target_facts));
            compiled.slice(&caller, &target).is_some()
        });
    });
    let mut group = criterion.benchmark_group("compile");
    group.sample_size(10);
    group
        .bench_function("1000 policies", |bench| bench.iter(|| Compiled::new(black_box(&policies)).unwrap()));
}

criterion_group!(benches, conditions);
criterion_main!(benches);
