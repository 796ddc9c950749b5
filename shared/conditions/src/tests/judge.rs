//! Policies × requests, with what comes of them.

use super::{agent, call, enforce, one, refund};
use crate::{
    Annotations, CallFacts, Cause, Compiled, Mode, Outcome, Policy, PrincipalFacts, TargetFacts, TargetKind,
};

fn outcome(
    compiled: &Compiled,
    caller: &PrincipalFacts<'_>,
    target: &TargetFacts<'_>,
    call: &CallFacts<'_>,
) -> Outcome {
    let (caller, target) = (compiled.caller(caller), compiled.target(target));
    compiled.slice(&caller, &target).map_or_else(Outcome::default, |slice| slice.judge(call))
}

fn listed(compiled: &Compiled, caller: &PrincipalFacts<'_>, target: &TargetFacts<'_>) -> bool {
    let (caller, target) = (compiled.caller(caller), compiled.target(target));
    // Neither is known when a list is made.
    let call = CallFacts { now_unix_ms: u64::MAX, arguments: Some("no JSON"), ..call() };
    compiled.slice(&caller, &target).is_none_or(|slice| slice.foresee(&call).denied.is_none())
}

/// What an enforced policy denies, and why: `Some(None)` that it forbids, `Some(Some(…))` that it cannot be evaluated.
fn denied(outcome: &Outcome) -> Option<Option<&str>> {
    outcome.denied.as_ref().map(|denied| match &denied.cause {
        Cause::Forbids => None,
        Cause::Unevaluable(why) => Some(&**why),
    })
}

#[test]
fn the_contracts_sample_lets_in_the_team_and_nobody_else() {
    let sample = "forbid(principal, action == Action::\"call\", resource == Tool::\"crm/refund\") unless { principal in Team::\"support-team\" };";
    let compiled = one(sample);
    let (team, others) = (agent(), PrincipalFacts { team: Some("sales"), ..agent() });
    let (refund, other) = (refund(), TargetFacts { name: "find", ..refund() });
    let prompt = TargetFacts { kind: TargetKind::Prompt, ..refund };
    let cases = [
        (team, refund, false),
        (others, refund, true),
        (PrincipalFacts { team: None, ..others }, refund, true),
        (others, other, false),
        (others, prompt, false),
        (others, TargetFacts { server: "crm2", ..refund }, false),
    ];
    for (caller, target, denies) in cases {
        let found = outcome(&compiled, &caller, &target, &call());
        assert_eq!(denied(&found), denies.then_some(None), "{caller:?} {target:?}");
        assert_eq!(
            listed(&compiled, &caller, &target),
            !denies,
            "a list and a call agree: {caller:?} {target:?}"
        );
    }
}

#[test]
fn every_fact_can_be_read() {
    let holds = [
        "principal == Principal::\"agent/support-bot\"",
        "principal in Key::\"support-bot-key\"",
        "principal in Team::\"support-team\"",
        "principal in Customer::\"acme\"",
        "principal in Zone::\"internal\"",
        "principal in Group::\"on-call\"",
        "principal in [Team::\"x\", Team::\"support-team\"]",
        "principal.kind == \"agent\" && principal.subject == \"support-bot\"",
        "principal has team && principal.team == \"support-team\"",
        "principal has customer && principal.customer == \"acme\"",
        "principal.groups.contains(\"on-call\")",
        "principal.zone == resource.zone",
        "resource == Tool::\"crm/refund\"",
        "resource in Server::\"crm\"",
        "resource in Zone::\"internal\"",
        "resource in DataClass::\"customer-data\"",
        "resource.name like \"ref*\" && resource.server == \"crm\"",
        "resource.hosting == \"self\" && resource.tier == \"gold\"",
        "resource.dataClasses.contains(\"customer-data\")",
        "context.environment == \"prod\"",
        "context.time == datetime(\"2026-11-20T14:30:00Z\")",
        "context.hour == 14 && context.minute == 30 && context.weekday == 5",
        "context.network.isInRange(ip(\"10.0.0.0/8\"))",
        "context.era == \"modern\"",
        "context.clients.contains(Client::\"assistant\")",
        "!context.annotations.readOnlyHint && context.annotations.destructiveHint",
        "!context.annotations.idempotentHint && context.annotations.openWorldHint",
    ];
    for condition in holds {
        let when =
            one(&format!("forbid(principal, action == Action::\"call\", resource) when {{ {condition} }};"));
        assert_eq!(denied(&outcome(&when, &agent(), &refund(), &call())), Some(None), "{condition}");
        let unless = one(&format!(
            "forbid(principal, action == Action::\"call\", resource) unless {{ {condition} }};"
        ));
        assert_eq!(denied(&outcome(&unless, &agent(), &refund(), &call())), None, "{condition}");
    }
}

#[test]
fn a_tools_own_hints_are_read_as_it_gives_them() {
    let compiled = one(
        "forbid(principal, action == Action::\"call\", resource) unless { context.annotations.readOnlyHint };",
    );
    let hinted = |read_only| TargetFacts {
        annotations: Annotations { read_only, ..Annotations::default() },
        ..refund()
    };
    for (hint, denies) in [(Some(true), false), (Some(false), true), (None, true)] {
        let found = outcome(&compiled, &agent(), &hinted(hint), &call());
        assert_eq!(found.denied.is_some(), denies, "{hint:?}");
    }
}

#[test]
fn arguments_decide_and_what_cannot_be_read_denies() {
    let cedar = "forbid(principal, action == Action::\"call\", resource == Tool::\"crm/refund\") when { context.arguments has amount && context.arguments.amount > 100 };";
    let compiled = one(cedar);
    let not_whole = Some(Some("the argument amount must be a whole number of 64 bits"));
    let cases = [
        (Some(r#"{"amount": 100}"#), None),
        (Some(r#"{"amount": 100.0}"#), None),
        (Some(r#"{"amount": 101}"#), Some(None)),
        (Some(r#"{"amount": 1.01e2}"#), Some(None)),
        (Some("{}"), None),
        (Some(r#"{"other": "101"}"#), None),
        (Some(r#"{"amount": "50"}"#), not_whole),
        (Some(r#"{"amount": 50.5}"#), not_whole),
        (Some(r#"{"amount": null}"#), not_whole),
        (Some(r#"{"amount": 99999999999999999999}"#), not_whole),
        (None, Some(Some("it reads the arguments, which are not known"))),
    ];
    for (arguments, expected) in cases {
        let call = CallFacts { arguments, ..call() };
        assert_eq!(denied(&outcome(&compiled, &agent(), &refund(), &call)), expected, "{arguments:?}");
    }
    for arguments in ["[]", "nonsense", r#"{"amount":1,"amount":200}"#] {
        let call = CallFacts { arguments: Some(arguments), ..call() };
        let found = outcome(&compiled, &agent(), &refund(), &call);
        assert!(matches!(denied(&found), Some(Some(_))), "{arguments}");
    }
}

#[test]
fn a_policy_that_cannot_be_evaluated_denies_and_is_only_recorded_in_shadow() {
    let cases = [
        "forbid(principal, action, resource) when { 9223372036854775807 + context.hour > 0 };",
        "forbid(principal, action, resource) unless { context.network.isLoopback() };",
        "forbid(principal, action, resource) when { context has network && context.network.isLoopback() };",
        "forbid(principal, action, resource) when { context.era == \"legacy\" };",
    ];
    let bare = CallFacts { network: None, era: None, ..call() };
    for cedar in cases {
        let found = outcome(&one(cedar), &agent(), &refund(), &bare);
        assert!(matches!(denied(&found), Some(Some(_))), "{cedar}: {found:?}");
        let shadow = Compiled::new(&[Policy { name: "p", cedar, mode: Mode::Shadow }]).unwrap();
        let found = outcome(&shadow, &agent(), &refund(), &bare);
        assert_eq!(found.denied, None, "{cedar}");
        assert!(
            matches!(found.shadow.as_slice(), [one] if matches!(one.cause, Cause::Unevaluable(_))),
            "{cedar}"
        );
    }
}

#[test]
fn the_first_by_name_is_named_and_shadows_are_all_recorded() {
    let all = "forbid(principal, action, resource);";
    let compiled = Compiled::new(&[
        enforce("b", all),
        Policy { name: "z", cedar: all, mode: Mode::Shadow },
        enforce("a", all),
        Policy { name: "c", cedar: all, mode: Mode::Shadow },
        Policy {
            name: "d",
            cedar: "forbid(principal, action, resource) when { context.hour == 3 };",
            mode: Mode::Shadow,
        },
    ])
    .unwrap();
    let found = outcome(&compiled, &agent(), &refund(), &call());
    assert_eq!(found.denied.as_ref().map(|denied| &*denied.policy), Some("a"));
    assert_eq!(found.shadow.iter().map(|denied| &*denied.policy).collect::<Vec<_>>(), ["c", "z"]);
}

#[test]
fn policies_that_expect_different_types_of_one_argument_do_not_disturb_each_other() {
    let compiled = Compiled::new(&[
        enforce("long", "forbid(principal, action == Action::\"call\", resource) when { context.arguments has a && context.arguments.a > 5 };"),
        Policy { name: "text", mode: Mode::Shadow, cedar: "forbid(principal, action == Action::\"call\", resource) when { context.arguments has a && context.arguments.a == \"x\" };" },
        Policy { name: "there", mode: Mode::Shadow, cedar: "forbid(principal, action == Action::\"call\", resource) when { context.arguments has a };" },
    ])
    .unwrap();
    let of = |arguments| {
        let found =
            outcome(&compiled, &agent(), &refund(), &CallFacts { arguments: Some(arguments), ..call() });
        let shadow: Vec<(String, bool)> =
            found.shadow.iter().map(|it| (it.policy.to_string(), it.cause == Cause::Forbids)).collect();
        (found.denied.map(|it| it.cause == Cause::Forbids), shadow)
    };
    let named = |name: &str, forbids| (name.to_owned(), forbids);
    assert_eq!(of(r#"{"a": 6}"#), (Some(true), vec![named("text", false), named("there", true)]));
    assert_eq!(of(r#"{"a": 5}"#), (None, vec![named("text", false), named("there", true)]));
    assert_eq!(of(r#"{"a": "x"}"#), (Some(false), vec![named("text", true), named("there", true)]));
    assert_eq!(of("{}"), (None, vec![]));
}

#[test]
fn several_statements_are_one_policy() {
    let compiled = one(
        "forbid(principal, action, resource in Server::\"crm\") when { context.hour == 3 };\n@id(\"second\") forbid(principal in Team::\"support-team\", action, resource);",
    );
    let found = outcome(&compiled, &agent(), &refund(), &call());
    assert_eq!(found.denied.map(|denied| denied.policy.to_string()).as_deref(), Some("p"));
    assert_eq!(found.shadow, []);
}

#[test]
fn prompts_and_resources_have_actions_of_their_own() {
    let compiled = one(
        "forbid(principal, action == Action::\"get_prompt\", resource) when { context.arguments has lang && context.arguments.lang == \"xx\" };
         forbid(principal, action == Action::\"read_resource\", resource) when { resource.name like \"file:///secret/*\" };",
    );
    let prompt = TargetFacts { kind: TargetKind::Prompt, name: "greet", ..refund() };
    let resource = |name| TargetFacts { kind: TargetKind::Resource, name, ..refund() };
    let in_xx = CallFacts { arguments: Some(r#"{"lang":"xx"}"#), ..call() };
    let without = CallFacts { arguments: None, ..call() };
    assert_eq!(denied(&outcome(&compiled, &agent(), &prompt, &in_xx)), Some(None));
    assert_eq!(denied(&outcome(&compiled, &agent(), &prompt, &call())), None);
    assert_eq!(denied(&outcome(&compiled, &agent(), &resource("file:///secret/a"), &without)), Some(None));
    assert_eq!(denied(&outcome(&compiled, &agent(), &resource("file:///open/a"), &without)), None);
    assert_eq!(denied(&outcome(&compiled, &agent(), &refund(), &in_xx)), None);
}

#[test]
fn an_ipv4_address_is_one_whatever_socket_it_came_by() {
    let compiled =
        one("forbid(principal, action, resource) unless { context.network.isInRange(ip(\"10.0.0.0/8\")) };");
    for (network, denies) in
        [("10.0.0.1", false), ("::ffff:10.0.0.1", false), ("11.0.0.1", true), ("::1", true)]
    {
        let call = CallFacts { network: Some(network.parse().unwrap()), ..call() };
        assert_eq!(outcome(&compiled, &agent(), &refund(), &call).denied.is_some(), denies, "{network}");
    }
}

#[test]
fn a_list_hides_what_no_arguments_and_no_time_could_permit() {
    let cases = [
        ("when { context.hour < 8 }", true),
        ("when { context.arguments has a }", true),
        ("unless { principal in Team::\"sales\" && context.hour > 8 }", false),
        ("unless { principal in Team::\"support-team\" && context.hour > 8 }", true),
        ("when { principal in Team::\"support-team\" || context.hour > 8 }", false),
        ("when { principal in Team::\"sales\" || context.hour > 8 }", true),
        ("when { context.hour > 8 && principal in Team::\"support-team\" }", true),
        ("when { context.hour > 8 || principal in Team::\"support-team\" }", false),
        (
            "unless { context.arguments has a && context.arguments.a == 1 && principal.kind == \"human\" }",
            false,
        ),
        ("when { if context.hour > 8 then principal.kind == \"agent\" else true }", false),
        (
            "when { if context.hour > 8 then principal.kind == \"agent\" else principal.kind == \"human\" }",
            true,
        ),
        ("when { if principal.kind == \"agent\" then context.hour > 8 else true }", true),
        ("when { principal.kind == \"agent\" } unless { context.hour > 8 }", true),
        (
            "when { principal.kind == \"agent\" } unless { context.hour > 8 && principal.kind == \"human\" }",
            false,
        ),
        ("when { principal.kind == \"agent\" }", false),
        ("when { principal.kind == \"human\" }", true),
    ];
    for (clauses, shown) in cases {
        let compiled = one(&format!("forbid(principal, action == Action::\"call\", resource) {clauses};"));
        assert_eq!(listed(&compiled, &agent(), &refund()), shown, "{clauses}");
    }
}

#[test]
fn a_shadow_hides_nothing_from_a_list_and_what_cannot_be_evaluated_does() {
    let cedar = "forbid(principal, action, resource);";
    let shadow = Compiled::new(&[Policy { name: "p", cedar, mode: Mode::Shadow }]).unwrap();
    assert!(listed(&shadow, &agent(), &refund()));
    let compiled = one("forbid(principal, action, resource) unless { context.network.isLoopback() };");
    let (caller, target) = (compiled.caller(&agent()), compiled.target(&refund()));
    let slice = compiled.slice(&caller, &target).unwrap();
    assert!(slice.foresee(&CallFacts { network: None, ..call() }).denied.is_some());
    assert!(
        slice.foresee(&CallFacts { network: Some("127.0.0.1".parse().unwrap()), ..call() }).denied.is_none()
    );
}
