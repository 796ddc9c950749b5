use serde_json::{Value, json};

use crate::check::{ResourceSet, check, warnings};
use crate::resource::{Name, Resource};

fn resource(kind: &str, name: &str, spec: &Value) -> Resource {
    Resource::from_json(
        &json!({ "apiVersion": "portcullis/v1", "kind": kind, "metadata": { "name": name }, "spec": spec }),
    )
    .unwrap()
}

/// Servers `crm` and `github`, which calls its `create` `new-issue`; teams `one` and `two`; keys `a` and `b` of team `one`.
fn with(bundle: &Value) -> ResourceSet {
    let server = |more: &Value| {
        let mut spec = json!({ "transport": { "streamableHttp": { "url": "https://mcp.example.com/mcp" } } });
        spec.as_object_mut().unwrap().extend(more.as_object().unwrap().clone());
        spec
    };
    let overrides = json!({ "tools": { "overrides": [{ "name": "create", "alias": "new-issue" }] } });
    let key = json!({ "principal": { "kind": "agent", "subject": "s" }, "team": "one" });
    [
        resource("McpServer", "crm", &server(&json!({}))),
        resource("McpServer", "github", &server(&overrides)),
        resource("Team", "one", &json!({})),
        resource("Team", "two", &json!({})),
        resource("VirtualKey", "a", &key),
        resource("VirtualKey", "b", &key),
        resource("ToolBundle", "desk", bundle),
    ]
    .into_iter()
    .collect()
}

fn tools(rewrite: &Value) -> Value {
    json!({ "tools": [{ "server": "crm", "allow": ["*"], "except": ["wipe"], "rewrite": rewrite },
        { "server": "github", "allow": ["create"] }] })
}

#[test]
fn rewrites_that_fit_have_no_findings() {
    for bundle in [
        tools(
            &json!([{ "name": "find", "alias": "look-up", "title": "Look up", "description": "One\n\tline." }]),
        ),
        // The name of a tool that the bundle does not hold, and one that its owner gave up here.
        json!({ "tools": [{ "server": "crm", "allow": ["*"], "rewrite": [{ "name": "find", "alias": "new-issue" }] }] }),
        json!({ "tools": [
            { "server": "crm", "allow": ["*"], "rewrite": [{ "name": "find", "alias": "new-issue" }] },
            { "server": "github", "allow": ["*"], "rewrite": [{ "name": "create", "alias": "file-issue" }] }] }),
        json!({ "tools": [{ "server": "github", "allow": ["*"], "rewrite": [{ "name": "create", "alias": "new-issue" }] }] }),
        json!({ "tools": [{ "server": "crm", "prompts": ["*"], "resources": ["crm://*"] }], "members": { "teams": ["one", "two"] } }),
    ] {
        assert_eq!(check(&with(&bundle)), vec![], "{bundle}");
    }
}

#[test]
fn each_rule_of_bundles_is_found_with_its_field() {
    let one = |rewrite: Value| tools(&json!([rewrite]));
    for (bundle, field, word) in [
        (one(json!({ "name": "wipe", "alias": "x" })), "spec.tools[0].rewrite[0].name", "does not hold"),
        (one(json!({ "name": "find" })), "spec.tools[0].rewrite[0]", "rewrites nothing"),
        (one(json!({ "name": "find", "alias": "a b" })), "spec.tools[0].rewrite[0].alias", "no exposed name"),
        (one(json!({ "name": "find", "alias": "" })), "spec.tools[0].rewrite[0].alias", "no exposed name"),
        (
            one(json!({ "name": "find", "alias": "a".repeat(65) })),
            "spec.tools[0].rewrite[0].alias",
            "no exposed name",
        ),
        (one(json!({ "name": "find", "title": "" })), "spec.tools[0].rewrite[0].title", "1 to 256"),
        (one(json!({ "name": "find", "title": "a\nb" })), "spec.tools[0].rewrite[0].title", "1 to 256"),
        (
            one(json!({ "name": "find", "description": "" })),
            "spec.tools[0].rewrite[0].description",
            "1 to 8192",
        ),
        (
            one(json!({ "name": "find", "description": "a\u{1b}[2J" })),
            "spec.tools[0].rewrite[0].description",
            "control",
        ),
        (
            one(json!({ "name": "find", "description": "a".repeat(8193) })),
            "spec.tools[0].rewrite[0].description",
            "1 to 8192",
        ),
        // Names are unique in a bundle, whatever its servers offer one day.
        (
            tools(&json!([{ "name": "a", "alias": "x" }, { "name": "b", "alias": "x" }])),
            "spec.tools[0].rewrite[1].alias",
            "spec.tools[0].rewrite[0].alias too",
        ),
        (
            tools(&json!([{ "name": "a", "alias": "x" }, { "name": "a", "title": "y" }])),
            "spec.tools[0].rewrite[1].name",
            "is rewritten by spec.tools[0].rewrite[0] too",
        ),
        (
            one(json!({ "name": "find", "alias": "github_x" })),
            "spec.tools[0].rewrite[0].alias",
            "begins with github_",
        ),
        (
            one(json!({ "name": "find", "alias": "new-issue" })),
            "spec.tools[0].rewrite[0].alias",
            "calls its create",
        ),
        (
            json!({ "tools": [{ "server": "crm", "prompts": [""] }] }),
            "spec.tools[0].prompts[0]",
            "empty pattern",
        ),
        (
            json!({ "tools": [{ "server": "crm", "resources": ["\u{1}"] }] }),
            "spec.tools[0].resources[0]",
            "control",
        ),
        (json!({ "members": { "teams": ["one", "nobody"] } }), "spec.members.teams[1]", "no Team nobody"),
        (json!({ "members": { "teams": ["one", "one"] } }), "spec.members.teams[1]", "twice"),
    ] {
        let found = check(&with(&bundle));
        let [finding] = found.as_slice() else { panic!("{bundle}: {found:?}") };
        assert_eq!(finding.field, field, "{bundle}");
        assert!(finding.message.contains(word), "{bundle}: {finding}");
    }
}

#[test]
fn nobody_has_a_bundle_silently() {
    let set = with(
        &json!({ "tools": [{ "server": "crm", "allow": ["*"] }], "members": { "teams": ["two", "one"] } }),
    );
    let told: Vec<String> = warnings(&set, &|_: &Name| None).iter().map(ToString::to_string).collect();
    assert_eq!(
        told,
        [
            "ToolBundle/desk: spec.members.teams[0]: every key of team two has this bundle without a grant that names it: none now",
            "ToolBundle/desk: spec.members.teams[1]: every key of team one has this bundle without a grant that names it: 2 now (a, b)",
            "VirtualKey/a: spec.team: as a key of team one it has ToolBundle/desk without a grant that names it (spec.members.teams[1])",
            "VirtualKey/b: spec.team: as a key of team one it has ToolBundle/desk without a grant that names it (spec.members.teams[1])",
        ]
    );
}

#[test]
fn a_rewrite_of_a_tool_that_nobody_saw_is_warned_about() {
    let set = with(&tools(&json!([{ "name": "find", "alias": "x" }, { "name": "serach", "alias": "y" }])));
    let known = |_: &Name| Some(vec!["find".to_owned(), "create".to_owned()]);
    let told: Vec<String> = warnings(&set, &known).iter().map(ToString::to_string).collect();
    assert_eq!(
        told,
        [
            "ToolBundle/desk: spec.tools[0].rewrite[1].name: crm has no serach: until it does, this rewrites nothing"
        ]
    );
}
