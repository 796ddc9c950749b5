use std::sync::Arc;

use proptest::prelude::*;
use serde_json::{Value, json};

use crate::circumstances::Circumstances;
use crate::compile::Snapshot;
use crate::decide::Target;
use crate::explain::{Decision, Question, explain};
use crate::fixture::{NOW, compile, enter, entry, hash, key, key_as, organisation, uid};
use crate::reach::{Bounds, compare};
use crate::resource::Uid;
use crate::snapshot::Entry;
use crate::view::{EndpointRef, View};
use crate::{Reason, SnapshotVersion};

const DESK: EndpointRef<'_> = EndpointRef::Bundle("desk");

/// The organisation with the bundle `desk`.
fn with_desk(tools: &Value, members: &Value, keys: Vec<Entry>) -> Result<Snapshot, String> {
    let desk = json!({ "uid": uid("desk"), "name": "desk", "tools": tools, "members": members });
    let mut entries = organisation();
    entries.push(entry("bundle", &desk));
    entries.extend(keys);
    compile(entries).map_err(|errors| errors.iter().map(ToString::to_string).collect::<Vec<_>>().join("\n"))
}

fn desk(tools: &Value) -> Snapshot {
    with_desk(tools, &json!({}), vec![key("k", "internal", &json!([{ "bundle": "desk" }]))]).unwrap()
}

/// `find` of crm as `look-up`, `search` of github in other words, and `odd name/with slash`, which has no exposed name.
fn rewritten() -> Snapshot {
    desk(&json!([
        { "server": "crm", "allow": ["find", "refund"], "prompts": ["greet"], "resources": ["crm://customers/*"],
          "rewrite": [{ "name": "find", "alias": "look-up", "title": "Look up", "description": "Finds \"one\" customer." }] },
        { "server": "github", "allow": ["search", "odd*", "create_issue"], "rewrite": [
            { "name": "search", "description": "Searches the issues." },
            { "name": "odd name/with slash", "alias": "odd" }] },
    ]))
}

fn names(view: &View) -> Vec<String> {
    view.tools().iter().map(|tool| tool.name.to_string()).collect()
}

fn found(snapshot: &Snapshot, endpoint: EndpointRef<'_>, name: &str) -> Result<String, Reason> {
    let (principal, view) = enter(snapshot, endpoint);
    let permit = snapshot
        .decide_tool(&principal, &view, name, &Circumstances::at(NOW))
        .map_err(|denial| denial.reason)?;
    let Target::Tool(tool) = permit.target() else { panic!("not a tool") };
    Ok(format!("{} of {}", tool.name, tool.server.name()))
}

#[test]
fn an_alias_is_the_whole_name_in_its_bundle_and_no_name_anywhere_else() {
    let snapshot = rewritten();
    let all = EndpointRef::All;
    let unknown = Err(Reason::ToolUnknown);
    for (endpoint, name, expected) in [
        (DESK, "look-up", Ok("find of crm")),
        (DESK, "odd", Ok("odd name/with slash of github")),
        // What is not renamed keeps its exposed name, its server's alias too.
        (DESK, "crm_refund", Ok("refund of crm")),
        (DESK, "github_search", Ok("search of github")),
        (DESK, "new-issue", Ok("create_issue of github")),
        // What the alias hides.
        (DESK, "crm_find", unknown),
        (DESK, "find", unknown),
        (DESK, "LOOK-UP", unknown),
        (DESK, "crm_delete_customer", Err(Reason::ToolNotGranted)),
        (all, "look-up", unknown),
        (all, "odd", unknown),
        (all, "crm_find", Ok("find of crm")),
        (EndpointRef::Server("crm"), "look-up", unknown),
        (EndpointRef::Server("crm"), "find", Ok("find of crm")),
    ] {
        let decided = found(&snapshot, endpoint, name);
        assert_eq!(decided.as_deref().map_err(|reason| *reason), expected, "{name} at {endpoint:?}");
        let explained = explain(&snapshot, &Question::tool("k", endpoint, name, NOW));
        assert_eq!(explained.reason, expected.err(), "{name} at {endpoint:?} explained");
    }
    assert_eq!(
        names(&enter(&snapshot, DESK).1),
        ["crm_refund", "github_search", "look-up", "new-issue", "odd"]
    );
    assert_eq!(names(&enter(&snapshot, EndpointRef::Server("crm")).1), ["find", "refund"]);
}

#[test]
fn explain_says_what_a_hidden_name_is_called_and_names_the_tool_as_the_upstream_does() {
    let snapshot = rewritten();
    let hidden = explain(&snapshot, &Question::tool("k", DESK, "crm_find", NOW));
    let last = hidden.steps.last().unwrap();
    assert!(last.detail.contains("calls this tool look-up"), "{}", last.detail);
    let explained = explain(&snapshot, &Question::tool("k", DESK, "look-up", NOW));
    assert_eq!((explained.decision, explained.tool.as_deref()), (Decision::Permit, Some("find")));
    assert_eq!(explained.server.unwrap().as_str(), "crm");
    assert_eq!(explained.rule.to_string(), "VirtualKey/k spec.grants[0]");
}

#[test]
fn a_rewrite_changes_the_words_of_its_tool_in_its_bundle_and_nothing_else() {
    let snapshot = rewritten();
    let list =
        |endpoint| -> Vec<Value> { serde_json::from_str(enter(&snapshot, endpoint).1.tools_json()).unwrap() };
    let shown = |endpoint, name: &str| list(endpoint).into_iter().find(|tool| tool["name"] == name).unwrap();
    let schema = json!({ "type": "object" });
    assert_eq!(
        shown(DESK, "look-up"),
        json!({ "name": "look-up", "title": "Look up", "description": "Finds \"one\" customer.", "inputSchema": schema })
    );
    assert_eq!(
        shown(DESK, "github_search"),
        json!({ "name": "github_search", "description": "Searches the issues.", "inputSchema": schema })
    );
    assert_eq!(shown(DESK, "crm_refund")["description"], "does refund");
    for (endpoint, name) in [(EndpointRef::All, "crm_find"), (EndpointRef::Server("crm"), "find")] {
        let untouched = json!({ "name": name, "description": "does find", "inputSchema": schema });
        assert_eq!(shown(endpoint, name), untouched, "{endpoint:?}");
    }
}

#[test]
fn the_tag_of_a_list_follows_the_words_of_its_tools() {
    let of = |rewrite: Value| {
        let tools = json!([{ "server": "crm", "allow": ["find"], "rewrite": [rewrite] }]);
        enter(&desk(&tools), DESK).1.tools_tag()
    };
    let base = of(json!({ "name": "find", "description": "a" }));
    assert_eq!(base, of(json!({ "name": "find", "description": "a" })));
    for other in [
        json!({ "name": "find", "description": "b" }),
        json!({ "name": "find", "title": "a" }),
        json!({ "name": "find", "description": "a", "title": "a" }),
        json!({ "name": "find", "description": "a", "alias": "x" }),
    ] {
        assert_ne!(base, of(other.clone()), "{other}");
    }
}

#[test]
fn two_tools_of_one_name_in_a_bundle_do_not_compile() {
    for (tools, expected) in [
        (
            json!([{ "server": "crm", "allow": ["*"], "rewrite": [
                { "name": "find", "alias": "x" }, { "name": "refund", "alias": "x" }] }]),
            "two names of tools in one bundle claim \"x\"",
        ),
        (
            json!([{ "server": "crm", "allow": ["*"], "rewrite": [{ "name": "find", "alias": "crm_refund" }] }]),
            "two names of tools in one bundle claim \"crm_refund\"",
        ),
        (
            json!([{ "server": "github", "allow": ["create_issue"] },
                { "server": "crm", "allow": ["*"], "rewrite": [{ "name": "find", "alias": "new-issue" }] }]),
            "two names of tools in one bundle claim \"new-issue\"",
        ),
        (
            json!([{ "server": "crm", "allow": ["*"], "rewrite": [{ "name": "find", "alias": "a b" }] }]),
            "no valid exposed name",
        ),
        (
            json!([{ "server": "crm", "allow": ["find"], "rewrite": [{ "name": "find", "alias": "a" }] },
                { "server": "crm", "allow": ["find"], "rewrite": [{ "name": "find", "alias": "b" }] }]),
            "find of crm is rewritten twice",
        ),
    ] {
        let errors = with_desk(&tools, &json!({}), vec![]).map(|_| ()).unwrap_err();
        assert!(errors.contains(expected), "{tools}\n{errors}");
    }
    // A name that another tool gave up, and one that the bundle does not hold, are free.
    desk(&json!([{ "server": "crm", "allow": ["find", "refund"], "rewrite": [
        { "name": "find", "alias": "crm_refund" }, { "name": "refund", "alias": "pay-back" }] }]));
    desk(
        &json!([{ "server": "crm", "allow": ["find"], "rewrite": [{ "name": "find", "alias": "new-issue" }] }]),
    );
}

#[test]
fn a_bundle_holds_the_prompts_and_resources_that_it_lists_and_its_grant_gives_them() {
    let snapshot = rewritten();
    let bare = desk(&json!([{ "server": "crm", "allow": ["*"] }]));
    for (snapshot, endpoint, prompt, resource) in [
        (&snapshot, DESK, Ok("VirtualKey/k spec.grants[0]"), Ok("VirtualKey/k spec.grants[0]")),
        (&snapshot, EndpointRef::All, Ok("VirtualKey/k spec.grants[0]"), Ok("VirtualKey/k spec.grants[0]")),
        (&bare, DESK, Err(Reason::ToolNotGranted), Err(Reason::ToolNotGranted)),
        (&bare, EndpointRef::All, Err(Reason::ToolNotGranted), Err(Reason::ToolNotGranted)),
    ] {
        let (principal, view) = enter(snapshot, endpoint);
        let at = Circumstances::at(NOW);
        let prompted = snapshot.decide_prompt(&principal, &view, "crm_greet", &at);
        let read = snapshot.decide_resource(&principal, &view, "crm", "crm://customers/1", &at);
        let of = |decided: Result<crate::Permit, crate::Denial>| {
            decided.map(|permit| permit.rule().to_string()).map_err(|denial| denial.reason)
        };
        assert_eq!(of(prompted), prompt.map(str::to_owned), "prompt at {endpoint:?}");
        assert_eq!(of(read), resource.map(str::to_owned), "resource at {endpoint:?}");
        let patterns: Vec<&str> = view.resource_patterns("crm").iter().map(|p| p.as_str()).collect();
        assert_eq!(patterns.is_empty(), resource.is_err(), "{patterns:?}");
    }
    assert!(enter(&snapshot, DESK).1.may_hold_prompts() && !enter(&bare, DESK).1.may_hold_prompts());
}

#[test]
fn what_is_granted_beside_a_bundle_is_not_in_it() {
    let tools =
        json!([{ "server": "crm", "allow": ["find"], "prompts": ["x*"], "resources": ["crm://a/*"] }]);
    let grants = json!([{ "server": "crm", "allow": ["*"], "prompts": ["*"], "resources": ["*"] }, { "bundle": "desk" }]);
    let snapshot = with_desk(&tools, &json!({}), vec![key("k", "internal", &grants)]).unwrap();
    let (principal, view) = enter(&snapshot, DESK);
    let at = Circumstances::at(NOW);
    let denied = snapshot.decide_prompt(&principal, &view, "crm_greet", &at).unwrap_err();
    assert_eq!(
        (denied.reason, denied.rule.to_string().as_str()),
        (Reason::ToolNotGranted, "ToolBundle/desk spec.tools")
    );
    let denied = snapshot.decide_resource(&principal, &view, "crm", "crm://b/1", &at).unwrap_err();
    assert_eq!(
        (denied.reason, denied.rule.to_string().as_str()),
        (Reason::ToolNotGranted, "ToolBundle/desk spec.tools")
    );
    let permit = snapshot.decide_resource(&principal, &view, "crm", "crm://a/1", &at).unwrap();
    assert_eq!(permit.rule().to_string(), "VirtualKey/k spec.grants[0]");
    assert!(snapshot.decide_resource(&principal, &view, "crm", "crm://a/../b", &at).is_err());
    let (principal, all) = enter(&snapshot, EndpointRef::All);
    assert!(snapshot.decide_resource(&principal, &all, "crm", "crm://b/1", &at).is_ok());
}

#[test]
fn keys_of_a_team_have_its_bundles_and_the_rule_says_so() {
    let tools = json!([{ "server": "crm", "allow": ["find"] }]);
    let other = entry("team", &json!({ "uid": uid("other"), "name": "other" }));
    let team = |name: &str| json!({ "team": name });
    let grant = json!([{ "bundle": "desk" }]);
    let keys = vec![
        other,
        key_as("k", "internal", &json!([]), &team("support-team")),
        key_as("both", "internal", &grant, &team("support-team")),
        key_as("stranger", "internal", &json!([]), &team("other")),
        key("alone", "internal", &json!([])),
        key_as("far", "island", &json!([]), &team("support-team")),
    ];
    let snapshot = with_desk(&tools, &json!({ "teams": ["support-team"] }), keys.clone()).unwrap();
    let rule = "ToolBundle/desk spec.members.teams[0]";
    for (key, endpoint, expected) in [
        ("k", DESK, Ok(rule)),
        ("k", EndpointRef::All, Ok(rule)),
        ("both", DESK, Ok("VirtualKey/both spec.grants[0]")),
        ("stranger", DESK, Err(Reason::UnknownEndpoint)),
        ("stranger", EndpointRef::All, Err(Reason::ToolNotGranted)),
        ("alone", DESK, Err(Reason::UnknownEndpoint)),
        // The zones are asked all the same.
        ("far", DESK, Err(Reason::ZoneDenied)),
    ] {
        let explained = explain(&snapshot, &Question::tool(key, endpoint, "crm_find", NOW));
        assert_eq!(explained.reason, expected.err(), "{key} at {endpoint:?}");
        if let Ok(rule) = expected {
            assert_eq!(explained.rule.to_string(), rule, "{key} at {endpoint:?}");
        }
        let principal = snapshot.authenticate(&hash(key), NOW).unwrap();
        let decided = snapshot
            .endpoint(&principal, endpoint)
            .and_then(|view| snapshot.decide_tool(&principal, &view, "crm_find", &Circumstances::at(NOW)));
        let decided = decided.map(|permit| permit.rule().to_string()).map_err(|denial| denial.reason);
        assert_eq!(decided, expected.map(str::to_owned), "{key} at {endpoint:?}");
    }
    let reached = explain(&snapshot, &Question::tool("k", DESK, "crm_find", NOW));
    let endpoint = reached.steps.iter().find(|step| step.detail.contains("/bundles/desk/mcp")).unwrap();
    assert_eq!(endpoint.rule.to_string(), rule);
    // Without the team nothing of it is left.
    let without = with_desk(&tools, &json!({}), keys).unwrap();
    let denied = explain(&without, &Question::tool("k", DESK, "crm_find", NOW));
    assert_eq!(denied.reason, Some(Reason::UnknownEndpoint));
}

#[test]
fn who_gains_by_a_team_is_known_before_and_after() {
    let tools = json!([{ "server": "crm", "allow": ["find"], "resources": ["crm://*"] }]);
    let keys = vec![key_as("k", "internal", &json!([]), &json!({ "team": "support-team" }))];
    let before = with_desk(&tools, &json!({}), keys.clone()).unwrap();
    let after = with_desk(&tools, &json!({ "teams": ["support-team"] }), keys).unwrap();
    let reach = after.who_can(crate::DefinitionKind::Tool, "crm_find", NOW).unwrap();
    let [one] = reach.items.as_slice() else { panic!("{reach:?}") };
    assert_eq!((one.caller.key.as_str(), one.via.as_deref()), ("k", Some("bundle desk")));
    assert_eq!(one.rule.to_string(), "ToolBundle/desk spec.members.teams[0]");
    let reached = after.what_can("k", NOW).unwrap().items;
    let told: Vec<(&str, bool)> = reached
        .iter()
        .map(|one| (&*one.thing.name, one.endpoints.contains_key("/bundles/desk/mcp")))
        .collect();
    assert_eq!(told, [("find", true), ("crm://*", true)]);
    let gains = compare(&before, &after, NOW, Bounds::FULL).gains;
    assert_eq!((gains.keys, gains.things), (1, 2));
    assert_eq!(compare(&after, &before, NOW, Bounds::FULL).losses, gains);
}

#[test]
fn a_bundle_names_teams_that_are_there() {
    let errors = with_desk(&json!([]), &json!({ "teams": ["nobody"] }), vec![]).map(|_| ()).unwrap_err();
    assert!(errors.contains("ToolBundle/desk: members.teams[0] names the Team \"nobody\""), "{errors}");
}

#[test]
fn keys_of_two_teams_with_equal_grants_share_only_what_is_equal() {
    let keys = vec![
        key_as("k", "internal", &json!([]), &json!({ "team": "support-team" })),
        key_as("k2", "internal", &json!([]), &json!({ "team": "support-team" })),
        key("none", "internal", &json!([])),
    ];
    let tools = json!([{ "server": "crm", "allow": ["find"] }]);
    let snapshot = with_desk(&tools, &json!({ "teams": ["support-team"] }), keys).unwrap();
    let view = |name: &str| {
        let principal = snapshot.authenticate(&hash(name), NOW).unwrap();
        snapshot.endpoint(&principal, EndpointRef::All).unwrap()
    };
    assert!(Arc::ptr_eq(&view("k"), &view("k2")));
    assert!(!Arc::ptr_eq(&view("k"), &view("none")) && view("none").tools().is_empty());
}

#[test]
fn the_entry_of_a_bundle_that_says_nothing_new_is_as_it_was() {
    let Some(Entry::Bundle(bundle)) = organisation().into_iter().find(|entry| entry.kind() == "bundle")
    else {
        panic!("no bundle")
    };
    let body = String::from_utf8(Entry::Bundle(bundle).encode()).unwrap();
    assert!(!body.contains("members") && !body.contains("rewrite") && !body.contains("prompts"), "{body}");
}

const TOOLS: &[(&str, &str)] = &[
    ("crm", "find"),
    ("crm", "refund"),
    ("crm", "waiting"),
    ("crm", "drifted"),
    ("github", "search"),
    ("github", "create_issue"),
    ("github", "odd name/with slash"),
    ("vault", "open"),
];

/// Members of a bundle, some of their tools under other names.
fn bundles() -> impl Strategy<Value = Value> {
    let tool = (any::<bool>(), any::<bool>(), any::<bool>());
    (proptest::collection::vec(tool, TOOLS.len()), any::<bool>(), any::<bool>()).prop_map(
        |(tools, prompts, resources)| {
            let member = |server: &str| {
                let of = || TOOLS.iter().zip(&tools).filter(move |((of, _), _)| *of == server);
                let allow: Vec<&str> =
                    of().filter(|(_, (held, ..))| *held).map(|((_, name), _)| *name).collect();
                let rewrite: Vec<Value> = of()
                    .filter(|(_, (held, ..))| *held)
                    .enumerate()
                    .map(|(at, ((_, name), (_, alias, words)))| {
                        let mut rewrite = json!({ "name": name });
                        if *alias {
                            rewrite["alias"] = json!(format!("{server}-{at}"));
                        }
                        if *words {
                            rewrite["description"] = json!("other words");
                        }
                        rewrite
                    })
                    .collect();
                let prompts = if prompts { vec!["*"] } else { vec![] };
                let resources = if resources { vec!["x://*"] } else { vec![] };
                json!({ "server": server, "allow": allow, "prompts": prompts, "resources": resources, "rewrite": rewrite })
            };
            json!([member("crm"), member("github"), member("vault")])
        },
    )
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(96))]

    #[test]
    fn a_bundle_lists_exactly_what_can_be_called_there_and_a_rewrite_never_changes_what_is_called(tools in bundles()) {
        let snapshot = desk(&tools);
        let (principal, view) = enter(&snapshot, DESK);
        let at = Circumstances::at(NOW);
        let mut asked: Vec<String> = names(&view);
        asked.extend(TOOLS.iter().map(|(server, name)| format!("{server}_{name}")));
        asked.extend(["crm", "github", "vault"].iter().flat_map(|server| (0..4).map(move |at| format!("{server}-{at}"))));
        asked.extend(["new-issue", "odd", "find"].map(str::to_owned));
        let listed = names(&view);
        for name in &asked {
            let decided = snapshot.decide_tool(&principal, &view, name, &at);
            prop_assert_eq!(listed.contains(name), decided.is_ok(), "{}", name);
            let explained = explain(&snapshot, &Question::tool("k", DESK, name, NOW));
            prop_assert_eq!(explained.reason, decided.as_ref().err().map(|denial| denial.reason));
        }
        // Each tool once, and each call reaches exactly what the list shows: the approved tool under the upstream's own name.
        let mut reached: Vec<(Uid, String)> = Vec::new();
        for shown in view.tools() {
            let permit = snapshot.decide_tool(&principal, &view, &shown.name, &at).unwrap();
            let Target::Tool(tool) = permit.target() else { panic!("not a tool") };
            prop_assert!(Arc::ptr_eq(tool, &shown.tool));
            let own = snapshot.definition(&tool.server.uid(), crate::DefinitionKind::Tool, &tool.name).unwrap();
            prop_assert!(Arc::ptr_eq(own, tool));
            prop_assert_eq!(permit.snapshot(), SnapshotVersion(7));
            reached.push((tool.server.uid(), tool.name.to_string()));
        }
        let all = reached.len();
        reached.sort();
        reached.dedup();
        prop_assert_eq!(reached.len(), all);
        for server in ["crm", "github", "vault"] {
            for uri in ["x://y", "y://x", "x://../y"] {
                let matched = view.resource_patterns(server).iter().any(|pattern| pattern.matches_uri(uri));
                let read = snapshot.decide_resource(&principal, &view, server, uri, &at).is_ok();
                prop_assert_eq!(matched, read, "{} of {}", uri, server);
            }
        }
        let prompts: Vec<&str> = view.prompts().iter().map(|prompt| &*prompt.name).collect();
        for name in ["crm_greet", "crm_draft", "greet"] {
            let decided = snapshot.decide_prompt(&principal, &view, name, &at).is_ok();
            prop_assert_eq!(prompts.contains(&name), decided, "prompt {}", name);
        }
    }
}
