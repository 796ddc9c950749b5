use std::str::FromStr as _;

use super::*;

fn read(condition: &str) -> (Reads, Vec<Misread>) {
    let text = format!("forbid(principal, action, resource) when {{ {condition} }};");
    let policy = cedar_policy::Policy::from_str(&text).unwrap();
    let cedar_policy::pst::Policy::Static(policy) = policy.to_pst().unwrap() else { panic!("not static") };
    of_clauses(policy.body().clauses())
}

#[test]
fn each_part_of_the_context_is_found_wherever_it_stands() {
    let none = Parts::default();
    let cases = [
        ("principal.kind == \"agent\"", none),
        ("context.time > datetime(\"2026-01-01\")", Parts { time: true, ..none }),
        ("if context.hour < 8 then true else false", Parts { clock: true, ..none }),
        ("!(context.weekday == 6) || context.minute == 1", Parts { clock: true, ..none }),
        ("[1, 2].contains(context.hour)", Parts { clock: true, ..none }),
        ("{a: context.environment}.a == \"prod\"", Parts { environment: true, ..none }),
        ("context.network.isLoopback()", Parts { network: true, ..none }),
        ("context has network", Parts { network: true, ..none }),
        ("context.era like \"mod*\"", Parts { era: true, ..none }),
        ("context.clients.contains(Client::\"x\")", Parts { clients: true, ..none }),
        ("context.annotations.readOnlyHint", Parts { annotations: true, ..none }),
        ("context has arguments.amount", Parts { arguments: true, ..none }),
        ("context.arguments has amount", Parts { arguments: true, ..none }),
    ];
    for (condition, parts) in cases {
        let (reads, misread) = read(condition);
        assert_eq!(reads.parts, parts, "{condition}");
        assert!(misread.is_empty(), "{condition}: {misread:?}");
    }
}

#[test]
fn the_types_of_arguments_follow_from_how_they_are_read() {
    let scalar = Node::Scalar;
    let cases = [
        ("context.arguments has a", Node::Present),
        ("context.arguments.a > 5", scalar(Scalar::Long)),
        ("5 >= context.arguments.a", scalar(Scalar::Long)),
        ("context.arguments.a + 1 == 2", scalar(Scalar::Long)),
        ("context.arguments.a == \"x\"", scalar(Scalar::Text)),
        ("context.arguments.a != 4", scalar(Scalar::Long)),
        ("context.arguments.a like \"*x\"", scalar(Scalar::Text)),
        ("context.arguments.a", scalar(Scalar::Bool)),
        ("!context.arguments.a", scalar(Scalar::Bool)),
        ("context.arguments.a.lessThan(decimal(\"1.5\"))", scalar(Scalar::Decimal)),
        ("context.arguments.a.isInRange(ip(\"10.0.0.0/8\"))", scalar(Scalar::Ip)),
        ("context.arguments.a < datetime(\"2026-01-01\")", scalar(Scalar::Datetime)),
        ("context.time > context.arguments.a", scalar(Scalar::Datetime)),
        ("context.time.durationSince(context.arguments.a) > duration(\"1h\")", scalar(Scalar::Datetime)),
        ("context.arguments.a > duration(\"1h\")", scalar(Scalar::Duration)),
        ("context.arguments.a == principal.subject", scalar(Scalar::Text)),
        ("context.arguments.a == resource.tier", scalar(Scalar::Text)),
        ("context.arguments.a.contains(\"x\")", Node::Set(Some(Scalar::Text))),
        ("context.arguments.a.contains(3)", Node::Set(Some(Scalar::Long))),
        ("context.arguments.a.containsAny([\"x\"])", Node::Set(Some(Scalar::Text))),
        ("[\"x\", \"y\"].contains(context.arguments.a)", scalar(Scalar::Text)),
        ("principal.groups.contains(context.arguments.a)", scalar(Scalar::Text)),
        ("context.arguments.a.isEmpty()", Node::Set(None)),
        ("context.arguments.b == context.arguments.a && context.arguments.b > 4", scalar(Scalar::Long)),
        ("context.arguments.a == context.arguments.b", scalar(Scalar::Text)),
    ];
    for (condition, node) in cases {
        let (reads, misread) = read(condition);
        assert!(misread.is_empty(), "{condition}: {misread:?}");
        assert_eq!(reads.shape.get(&["a"]), Some(&node), "{condition}");
    }
    let (reads, _) = read("context.arguments.a.b.c == 3 && context.arguments has \"d e\"");
    assert_eq!(reads.shape.get(&["a", "b", "c"]), Some(&Node::Scalar(Scalar::Long)));
    assert_eq!(reads.shape.get(&["d e"]), Some(&Node::Present));
}

#[test]
fn readings_that_cannot_be_followed_are_refused_with_a_sentence() {
    let cases = [
        ("context == {}", "the context as a whole"),
        ("[context].contains({a: 1})", "the context as a whole"),
        ("context.arguments == {a: 1}", "the arguments as a whole"),
        ("(if true then context else context).hour == 3", "the context as a whole"),
        ("(if true then context.arguments else context.arguments).a == 3", "the arguments as a whole"),
        ("principal in context.arguments.team", "arguments hold neither"),
        ("context.arguments.team == Team::\"x\"", "arguments hold neither"),
        ("context.arguments.a == 1 && context.arguments.a.b == 1", "both as an object and as a plain value"),
    ];
    for (condition, says) in cases {
        let (_, misread) = read(condition);
        assert!(misread.iter().any(|misread| misread.message.contains(says)), "{condition}: {misread:?}");
    }
}
