//! What cannot be meant is refused, with its place.

use super::{agent, call, enforce, refund};
use crate::Compiled;

fn refused(cedar: &str) -> Vec<(u32, u32, String)> {
    match Compiled::new(&[enforce("p", cedar)]) {
        Ok(_) => Vec::new(),
        Err(problems) => problems.into_iter().map(|it| (it.line, it.column, it.message)).collect(),
    }
}

#[test]
fn each_mistake_is_named_with_its_line_and_column() {
    let cases = [
        ("", (1, 1), "there is no statement"),
        ("// nothing", (1, 1), "there is no statement"),
        ("forbid(principal, action, resource)", (1, 36), "unexpected end of input"),
        (
            "forbid(principal, action, resource);\nforbid(principal, action, resource) when { 1 + };",
            (2, 48),
            "unexpected token",
        ),
        ("forbid(principal, action, resource) when { nobody };", (1, 44), "nobody"),
        (
            "// permit(x)\n@id(\"permit\")\npermit(principal, action, resource);",
            (3, 1),
            "permit is not for a policy",
        ),
        (
            "forbid(principal, action, resource);\n  permit(principal, action, resource);",
            (2, 3),
            "forbid(…) unless",
        ),
        ("forbid(principal == ?principal, action, resource);", (1, 1), "template"),
        ("@mode(\"shadow\") forbid(principal, action, resource);", (1, 2), "@mode means nothing here"),
        ("forbid(principal in Taem::\"x\", action, resource);", (1, 21), "unrecognized entity type `Taem`"),
        (
            "forbid(principal, action == Action::\"cal\", resource);",
            (1, 29),
            "unrecognized action `Action::\"cal\"`",
        ),
        (
            "forbid(principal, action, resource) when { principal.teem == \"x\" };",
            (1, 44),
            "attribute `teem`",
        ),
        (
            "forbid(principal, action, resource) when { principal.team == \"x\" };",
            (1, 44),
            "presence with `e has team",
        ),
        ("forbid(principal, action, resource) when { context.houre == 1 };", (1, 44), "attribute `houre`"),
        (
            "forbid(principal, action, resource) when { context.hour == \"1\" };",
            (1, 44),
            "the types Long and String are not compatible",
        ),
        (
            "forbid(principal, action, resource) when { context.annotations.readOnlyHint };",
            (1, 44),
            "annotations",
        ),
        (
            "forbid(principal, action == Action::\"call\", resource)\nwhen {\n  context.arguments.amount > 3\n};",
            (3, 3),
            "testing for the attribute's presence",
        ),
        (
            "forbid(principal, action == Action::\"call\", resource) when { context.arguments has a && context.arguments.a > 3 && context.arguments.a == \"x\" };",
            (1, 116),
            "not compatible",
        ),
        ("forbid(principal, action, resource) when {\n context == {} };", (2, 2), "the context as a whole"),
        (
            "forbid(principal, action, resource) when { ip(principal.subject).isLoopback() };",
            (1, 44),
            "literal",
        ),
        ("forbid(principal, action == Action::\"call\", resource is Prompt);", (1, 1), "never apply"),
        ("forbid(principal in Server::\"x\", action, resource);", (1, 1), "never apply"),
        (
            "forbid(principal, action, resource) when { principal.kind == \"a\u{202e}b\" };",
            (1, 1),
            "direction of writing",
        ),
    ];
    let mut wrong = Vec::new();
    for (cedar, (line, column), says) in cases {
        let found = refused(cedar);
        let fits = match found.as_slice() {
            [one] => one.2.contains(says) && (one.0, one.1) == (line, column),
            _ => false,
        };
        if !fits {
            wrong.push(format!("{cedar}: {found:?}"));
        }
    }
    assert!(
        wrong.is_empty(),
        "{}",
        wrong.join(
            "
"
        )
    );
}

#[test]
fn problems_of_all_policies_are_told_in_the_order_given() {
    let policies = [
        enforce("b", "permit(principal, action, resource);"),
        enforce("fine", "forbid(principal, action, resource);"),
        enforce(
            "a",
            "forbid(principal, action, resource) when { 1 };\nforbid(principal, action, resource) when { \"x\" };",
        ),
    ];
    let problems = Compiled::new(&policies).unwrap_err();
    let places: Vec<(&str, u32)> = problems.iter().map(|it| (&*it.policy, it.line)).collect();
    assert_eq!(places, [("b", 1), ("a", 1), ("a", 2)]);
}

#[test]
fn texts_and_statements_are_bounded() {
    let statement = "forbid(principal, action, resource);";
    assert!(refused(&statement.repeat(64)).is_empty());
    assert!(refused(&statement.repeat(65)).iter().any(|(.., says)| says.contains("64 are allowed")));
    let long = format!("// {}\n{statement}", "x".repeat(64 * 1024));
    assert!(refused(&long).iter().any(|(.., says)| says.contains("65536 are allowed")));
}

#[test]
fn a_text_too_deep_to_read_is_refused_and_ends_nothing_else() {
    let condition = |condition: &str| {
        format!("forbid(principal, action == Action::\"call\", resource) when {{ {condition} }};")
    };
    let cases = [
        format!("{}true{}", "(".repeat(20_000), ")".repeat(20_000)),
        "[".repeat(20_000),
        format!("true{}", " || true".repeat(5_000)),
        format!("1{} > 0", " + 1".repeat(9_000)),
        format!("context.arguments{}", ".a".repeat(20_000)),
        format!("context has arguments{}", ".a".repeat(20_000)),
        format!("{}true", "if true then true else ".repeat(1_000)),
        "!".repeat(20_000),
    ];
    for case in cases {
        let found = refused(&condition(&case));
        assert!(matches!(found.as_slice(), [(1, _, message)] if message.contains("may")), "{found:?}");
    }
}

#[test]
fn what_is_just_simple_enough_is_read_and_evaluated_on_a_small_stack() {
    let condition = |condition: &str| {
        format!("forbid(principal, action == Action::\"call\", resource) when {{ {condition} }};")
    };
    let cases = [
        format!("{}context.hour == 3{}", "(".repeat(28), ")".repeat(28)),
        format!("context.hour == 3{}", " || context.hour == 4".repeat(42)),
        format!("context.hour == 3{}", " && context.hour != 4".repeat(42)),
        format!("context.hour{} > 0", " + 1".repeat(31)),
        format!("{}context.hour == 3", "if context.hour > 3 then true else ".repeat(32)),
        format!("context has arguments{}", ".a".repeat(15)),
    ];
    let small = std::thread::Builder::new().stack_size(2 * 1024 * 1024);
    let run = move || {
        for case in cases {
            let compiled =
                Compiled::new(&[enforce("p", &condition(&case))]).unwrap_or_else(|found| panic!("{found:?}"));
            let slice = compiled.slice(&compiled.caller(&agent()), &compiled.target(&refund())).unwrap();
            let _ = (slice.judge(&call()), slice.foresee(&call()));
        }
    };
    small.spawn(run).unwrap().join().unwrap();
}

#[test]
fn what_a_policy_names_can_be_checked() {
    let cedar = "forbid(principal in Team::\"a\", action, resource in Server::\"s\") unless { principal in Zone::\"z\" };";
    let compiled = Compiled::new(&[enforce("p", cedar)]).unwrap();
    let mut named: Vec<(&str, &str, &str)> =
        compiled.mentions().map(|it| (it.policy, it.kind, it.id)).collect();
    named.sort_unstable();
    assert_eq!(named, [("p", "Server", "s"), ("p", "Team", "a"), ("p", "Zone", "z")]);
}
