//! Slicing: as if every policy had been evaluated, at the price of those that can apply.

use std::sync::Arc;

use proptest::prelude::*;

use super::{agent, call, enforce, one, refund};
use crate::{CallFacts, Cause, Compiled, Mode, Policy, PrincipalFacts, TargetFacts, TargetKind};

#[test]
fn nothing_is_evaluated_where_no_scope_meets() {
    let compiled = one("forbid(principal, action == Action::\"call\", resource == Tool::\"crm/other\");");
    assert!(compiled.slice(&compiled.caller(&agent()), &compiled.target(&refund())).is_none());
    let none = Compiled::new(&[]).unwrap();
    assert!(none.is_empty());
    assert!(none.slice(&none.caller(&agent()), &none.target(&refund())).is_none());
}

#[test]
fn arguments_are_not_looked_at_unless_a_policy_of_the_slice_reads_them() {
    let reads = "forbid(principal, action == Action::\"call\", resource == Tool::\"crm/other\") when { context.arguments has a };";
    let plain = "forbid(principal, action, resource) when { principal.kind == \"human\" };";
    let compiled = Compiled::new(&[enforce("reads", reads), enforce("plain", plain)]).unwrap();
    let caller = compiled.caller(&agent());
    let broken = CallFacts { arguments: Some("{\"a\": 1, nonsense"), ..call() };
    let slice = compiled.slice(&caller, &compiled.target(&refund())).unwrap();
    assert!(!slice.reads_arguments());
    assert_eq!(slice.judge(&broken).denied, None, "nobody read the broken text");
    let other = compiled.target(&TargetFacts { name: "other", ..refund() });
    let slice = compiled.slice(&caller, &other).unwrap();
    assert!(slice.reads_arguments());
    assert!(slice.judge(&broken).denied.is_some(), "and here somebody did");
    assert_eq!(slice.policies().collect::<Vec<_>>(), [("plain", Mode::Enforce), ("reads", Mode::Enforce)]);
}

#[test]
fn a_pair_is_made_once_and_resources_are_not_kept() {
    let compiled = one("forbid(principal, action, resource) when { context.hour == 3 };");
    let caller = compiled.caller(&agent());
    let tool = compiled.target(&refund());
    let first = compiled.slice(&caller, &tool).unwrap();
    assert!(Arc::ptr_eq(&first, &compiled.slice(&caller, &tool).unwrap()));
    let resource = TargetFacts { kind: TargetKind::Resource, name: "file:///a", ..refund() };
    let _ = compiled.slice(&caller, &compiled.target(&resource)).unwrap();
    assert_eq!(compiled.kept(), 1);
}

#[test]
fn a_principal_of_another_snapshot_is_denied() {
    let (ours, theirs) =
        (one("forbid(principal, action, resource);"), one("forbid(principal, action, resource);"));
    let slice = ours.slice(&theirs.caller(&agent()), &ours.target(&refund())).unwrap();
    let denied = slice.judge(&call()).denied.unwrap();
    assert!(matches!(denied.cause, Cause::Unevaluable(_)));
    assert!(slice.foresee(&call()).denied.is_some());
}

const TEAMS: [&str; 3] = ["a", "b", "support-team"];
const SERVERS: [&str; 3] = ["crm", "git", "hr"];
const ZONES: [&str; 2] = ["internal", "vendor"];

fn principal_scope() -> impl Strategy<Value = String> {
    prop_oneof![
        Just("principal".to_owned()),
        Just("principal is Principal".to_owned()),
        (0..3_usize).prop_map(|at| format!("principal in Team::\"{}\"", TEAMS[at])),
        (0..2_usize).prop_map(|at| format!("principal in Zone::\"{}\"", ZONES[at])),
        (0..3_usize).prop_map(|at| format!("principal is Principal in Key::\"key-{at}\"")),
        (0..3_usize).prop_map(|at| format!("principal == Principal::\"agent/bot-{at}\"")),
    ]
}

fn resource_scope() -> impl Strategy<Value = String> {
    prop_oneof![
        Just("resource".to_owned()),
        Just("resource is Tool".to_owned()),
        (0..3_usize).prop_map(|at| format!("resource in Server::\"{}\"", SERVERS[at])),
        (0..2_usize).prop_map(|at| format!("resource in Zone::\"{}\"", ZONES[at])),
        (0..3_usize).prop_map(|at| format!("resource is Tool in Server::\"{}\"", SERVERS[at])),
        (0..3_usize).prop_map(|at| format!("resource is Tool in DataClass::\"class-{at}\"")),
        (0..3_usize, 0..2_usize)
            .prop_map(|(server, tool)| format!("resource == Tool::\"{}/t{tool}\"", SERVERS[server])),
    ]
}

fn clause() -> impl Strategy<Value = &'static str> {
    prop_oneof![
        Just(""),
        Just("when { context.hour == 14 }"),
        Just("when { context.hour == 15 }"),
        Just("unless { principal has team && principal.team == \"a\" }"),
        Just("when { context.arguments has n && context.arguments.n > 3 }"),
        Just("when { context.arguments has n && context.arguments.n == \"x\" }"),
    ]
}

/// A scope as its head, and the same said in conditions, which no index can slice by.
fn statement() -> impl Strategy<Value = (String, String)> {
    (principal_scope(), resource_scope(), clause()).prop_map(|(principal, resource, clause)| {
        let sliced = format!("forbid({principal}, action == Action::\"call\", {resource}) {clause};");
        let condition = |scope: &str, name: &str| if scope == name { "true".to_owned() } else { scope.to_owned() };
        let (principal, resource) = (condition(&principal, "principal"), condition(&resource, "resource"));
        let whole = format!(
            "forbid(principal, action == Action::\"call\", resource) when {{ ({principal}) && ({resource}) }} {clause};"
        );
        (sliced, whole)
    })
}

fn verdicts(
    compiled: &Compiled,
    caller: &PrincipalFacts<'_>,
    target: &TargetFacts<'_>,
    call: &CallFacts<'_>,
) -> Vec<String> {
    let slice = compiled.slice(&compiled.caller(caller), &compiled.target(target));
    let outcome = slice.map(|slice| slice.judge(call)).unwrap_or_default();
    outcome
        .shadow
        .into_iter()
        .filter(|it| it.cause == Cause::Forbids)
        .map(|it| it.policy.to_string())
        .collect()
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 24, ..ProptestConfig::default() })]

    #[test]
    fn slicing_finds_what_evaluating_every_policy_finds(
        statements in prop::collection::vec(statement(), 1..12),
        (team, zone, number) in (0..3_usize, 0..2_usize, 0..3_usize),
        (server, tool, of_zone, class) in (0..3_usize, 0..2_usize, 0..2_usize, 0..3_usize),
        arguments in prop_oneof![Just("{}"), Just(r#"{"n":4}"#), Just(r#"{"n":"x"}"#)],
    ) {
        let names: Vec<String> = (0..statements.len()).map(|at| format!("p{at:02}")).collect();
        let compile = |of: fn(&(String, String)) -> &str| {
            let policies: Vec<Policy<'_>> = names.iter().zip(&statements)
                .map(|(name, pair)| Policy { name, cedar: of(pair), mode: Mode::Shadow }).collect();
            Compiled::new(&policies).unwrap()
        };
        let (sliced, whole) = (compile(|pair| &pair.0), compile(|pair| &pair.1));
        let (subject, key) = (format!("bot-{number}"), format!("key-{number}"));
        let caller = PrincipalFacts { subject: &subject, key: &key, team: Some(TEAMS[team]), zone: ZONES[zone], ..agent() };
        let (name, class) = (format!("t{tool}"), format!("class-{class}"));
        let classes = [class.as_str()];
        let target = TargetFacts { server: SERVERS[server], name: &name, zone: ZONES[of_zone], data_classes: &classes, ..refund() };
        let call = CallFacts { arguments: Some(arguments), ..call() };
        prop_assert_eq!(verdicts(&sliced, &caller, &target, &call), verdicts(&whole, &caller, &target, &call));
    }

    #[test]
    fn what_a_list_hides_no_time_and_no_arguments_permit(
        (first, second) in (clause(), clause()),
        joined in prop_oneof![Just("&&"), Just("||")],
        negated in any::<bool>(),
        hour in 0..24_u64,
        arguments in prop_oneof![Just("{}"), Just(r#"{"n":4}"#), Just(r#"{"n":"x"}"#)],
    ) {
        let inner = |clause: &str| clause.split_once('{').map_or("principal.kind == \"agent\"", |(_, rest)| rest.trim_end_matches('}')).to_owned();
        let not = if negated { "!" } else { "" };
        let cedar = format!(
            "forbid(principal, action == Action::\"call\", resource) when {{ {not}(({}) {joined} ({})) }};", inner(first), inner(second)
        );
        // Some combinations cannot be meant, which is another test's affair.
        if let Ok(compiled) = Compiled::new(&[enforce("p", &cedar)]) {
            let slice = compiled.slice(&compiled.caller(&agent()), &compiled.target(&refund())).unwrap();
            if slice.foresee(&call()).denied.is_some() {
                let call = CallFacts { now_unix_ms: hour * 3_600_000, arguments: Some(arguments), ..call() };
                prop_assert!(slice.judge(&call).denied.is_some(), "{} at {} with {}", cedar, hour, arguments);
            }
        }
    }
}
