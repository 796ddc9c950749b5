use proptest::prelude::*;
use serde_json::{Value, json};

use super::*;
use crate::circumstances::Circumstances;
use crate::explain::Question;
use crate::fixture::{
    NOW, approved, bundle, compile, definition, enter, entry, hash, key, key_as, organisation, server, tool,
    tool_as, uid, with_grants, zone,
};
use crate::view::{EndpointRef, View};

fn with(more: Vec<Entry>) -> Result<Snapshot, String> {
    compile(organisation().into_iter().chain(more).collect())
        .map_err(|errors| errors.iter().map(ToString::to_string).collect::<Vec<_>>().join("\n"))
}

#[test]
fn what_does_not_fit_together_is_refused_and_named() {
    let alias = |name: &str, alias: &str| {
        tool_as("crm", name, &approved(&json!({ "name": name })), &json!({ "alias": alias }))
    };
    for (more, expected) in [
        (zone("z", &["nowhere"], &[]), "TrustZone/z: reachableFrom[0] names the TrustZone \"nowhere\""),
        (server("s", "nowhere", &[]), "McpServer/s: zone names the TrustZone \"nowhere\""),
        (tool("nobody", "t"), "tool t: server names the McpServer"),
        (
            entry("team", &json!({ "uid": uid("t"), "name": "t", "customer": "nobody" })),
            "Team/t: customer names the Customer \"nobody\"",
        ),
        (
            bundle("b", &json!([{ "server": "nobody", "allow": ["*"] }])),
            "ToolBundle/b: tools[0].server names the McpServer \"nobody\"",
        ),
        (key("k", "nowhere", &json!([])), "VirtualKey/k: zone names the TrustZone \"nowhere\""),
        (
            key_as("k", "internal", &json!([]), &json!({ "team": "nobody" })),
            "VirtualKey/k: team names the Team \"nobody\"",
        ),
        (
            key("k", "internal", &json!([{ "bundle": "support" }, { "bundle": "nothing" }])),
            "VirtualKey/k: grants[1].bundle names the ToolBundle \"nothing\"",
        ),
        (
            key("k", "internal", &json!([{ "server": "nobody", "allow": ["*"] }])),
            "VirtualKey/k: grants[0].server names the McpServer \"nobody\"",
        ),
        (zone("internal", &[], &[]), "two zone names claim \"internal\""),
        (server("crm", "internal", &[]), "two server names claim \"crm\""),
        (tool("crm", "find"), "two names at one server claim \"find\""),
        (alias("a", "new-issue"), "two exposed tool names claim \"new-issue\""),
        (alias("a", "github_search"), "two exposed tool names claim \"github_search\""),
        (alias("a", "not valid"), "tool a of crm: its alias \"not valid\" is no valid exposed name"),
        (
            tool_as("crm", "a", &approved(&json!({ "name": "b" })), &json!({})),
            "tool a of crm: its definition names itself \"b\"",
        ),
        (
            tool_as("crm", "a", &approved(&json!({ "title": "a" })), &json!({})),
            "its definition needs exactly one member \"name\"",
        ),
        (tool_as("crm", "a", &approved(&json!(["a"])), &json!({})), "its definition is no JSON object"),
        (bundle("support", &json!([])), "two bundle names claim \"support\""),
        (entry("customer", &json!({ "uid": uid("team"), "name": "other" })), "two uids claim"),
    ] {
        let label = format!("{more:?}");
        let errors = with(vec![more]).map(|_| ()).unwrap_err();
        assert!(errors.contains(expected), "{label}\n{errors}\nlacks: {expected}");
    }
    let twice = vec![
        key("a", "internal", &json!([])),
        key_as("b", "internal", &json!([]), &json!({ "secrets": [{ "hash": hash("a") }] })),
    ];
    assert!(with(twice).unwrap_err().contains("two key hashes claim"));
    let named_twice = vec![
        key("a", "internal", &json!([])),
        key_as("a", "internal", &json!([]), &json!({ "uid": uid("x"), "secrets": [] })),
    ];
    assert!(with(named_twice).unwrap_err().contains("two key names claim \"a\""));
}

#[test]
fn more_errors_than_anyone_reads_are_counted() {
    let keys = (0..150).map(|at| key(&format!("k{at}"), "nowhere", &json!([]))).collect();
    let errors = compile(keys).map(|_| ()).unwrap_err();
    assert_eq!(errors.len(), 101);
    assert_eq!(errors.last(), Some(&CompileError::More(50)));
}

#[test]
fn the_default_zone_is_there_without_an_entry() {
    let snapshot = compile(vec![
        server("s", "default", &["anything"]),
        tool("s", "t"),
        key("k", "default", &json!([{ "server": "s", "allow": ["*"] }])),
    ])
    .unwrap();
    let (principal, view) = enter(&snapshot, EndpointRef::All);
    assert!(snapshot.decide_tool(&principal, &view, "s_t", &Circumstances::at(NOW)).is_ok());
}

#[test]
fn a_tool_without_a_valid_exposed_name_is_served_at_its_server_alone_and_reported() {
    let snapshot = with_grants(&json!([{ "server": "github", "allow": ["*"] }]));
    assert!(snapshot.reports().iter().any(|report| report.contains("odd name/with slash")));
    let (_, all) = enter(&snapshot, EndpointRef::All);
    assert!(!names(&all).iter().any(|name| name.contains("odd")));
    let (principal, own) = enter(&snapshot, EndpointRef::Server("github"));
    assert!(names(&own).contains(&"odd name/with slash".to_owned()));
    assert!(snapshot.decide_tool(&principal, &own, "odd name/with slash", &Circumstances::at(NOW)).is_ok());
}

#[test]
fn a_tool_with_broken_header_annotations_is_left_out_over_http_and_kept_on_stdio() {
    let broken = json!({ "name": "t", "inputSchema": { "properties": { "a": { "type": "number", "x-mcp-header": "A" } } } });
    let http = vec![
        server("s", "default", &[]),
        tool_as("s", "t", &approved(&broken), &json!({})),
        key("k", "default", &json!([{ "server": "s", "allow": ["*"] }])),
    ];
    let snapshot = compile(http.clone()).unwrap();
    assert!(snapshot.reports().iter().any(|report| report.contains("tool t of s is left out")));
    let (principal, view) = enter(&snapshot, EndpointRef::All);
    assert!(names(&view).is_empty());
    let denied = snapshot.decide_tool(&principal, &view, "s_t", &Circumstances::at(NOW)).unwrap_err();
    assert_eq!(denied.reason, crate::Reason::ToolNotApproved);
    let mut stdio = http;
    let Some(Entry::Server(server)) = stdio.first_mut() else { panic!("the first entry is the server") };
    Arc::make_mut(server).transport = serde_json::from_value(json!({ "stdio": { "command": "x" } })).unwrap();
    let snapshot = compile(stdio).unwrap();
    let (_, view) = enter(&snapshot, EndpointRef::All);
    assert_eq!(names(&view), ["s_t"]);
}

fn names(view: &View) -> Vec<String> {
    view.tools().iter().map(|tool| tool.name.to_string()).collect()
}

#[test]
fn lists_show_names_of_the_endpoint_in_their_order_and_nothing_that_may_not_be_called() {
    let grants = json!([{ "server": "crm", "allow": ["*"], "prompts": ["*"] }, { "bundle": "support" },
        { "server": "vault", "allow": ["*"] }]);
    let snapshot = with_grants(&grants);
    let list = |endpoint| names(&enter(&snapshot, endpoint).1);
    assert_eq!(
        list(EndpointRef::All),
        ["crm_delete_customer", "crm_find", "crm_refund", "github_search", "new-issue"]
    );
    assert_eq!(
        list(EndpointRef::Bundle("support")),
        ["crm_find", "crm_refund", "github_search", "new-issue"]
    );
    assert_eq!(list(EndpointRef::Server("crm")), ["delete_customer", "find", "refund"]);
    assert_eq!(list(EndpointRef::Server("vault")), Vec::<String>::new());
    let (_, view) = enter(&snapshot, EndpointRef::All);
    let servers: Vec<&str> = view.servers().iter().map(|server| server.name().as_str()).collect();
    assert_eq!(servers, ["crm", "github"]);
    let prompts: Vec<&str> = view.prompts().iter().map(|prompt| &*prompt.name).collect();
    assert_eq!(prompts, ["crm_greet"]);
}

#[test]
fn rendered_definitions_differ_in_the_name_alone() {
    let raw = r#"{"_meta":{"x/y":9007199254740993},"annotations":{"a":1.0},"description":"\u00e9\n","name":"t","x":[{"name":"t"}]}"#;
    let body = format!(
        r#"{{"server":"{}","name":"t","state":{{"approved":{{"pin":"{}","definition":{raw}}}}}}}"#,
        uid("s"),
        hash("pin")
    );
    let tool = Entry::decode("tool", body.as_bytes()).unwrap();
    let entries = vec![
        server("s", "default", &[]),
        tool,
        key("k", "default", &json!([{ "server": "s", "allow": ["*"] }])),
    ];
    let snapshot = compile(entries).unwrap();
    let (_, own) = enter(&snapshot, EndpointRef::Server("s"));
    assert_eq!(&**own.tools_json(), format!("[{raw}]"));
    let (_, all) = enter(&snapshot, EndpointRef::All);
    assert_eq!(&**all.tools_json(), format!("[{}]", raw.replace(r#","name":"t","#, r#","name":"s_t","#)));
    assert!(Arc::ptr_eq(all.tools_json(), all.tools_json()), "it is rendered once");
}

#[test]
fn views_are_shared_between_keys_with_equal_grants_and_zone() {
    let grants = json!([{ "bundle": "support" }]);
    let snapshot = crate::fixture::with_keys(vec![
        key("a", "internal", &grants),
        key("b", "internal", &grants),
        key("c", "island", &grants),
    ]);
    let view = |name: &str| {
        let principal = snapshot.authenticate(&hash(name), NOW).unwrap();
        snapshot.endpoint(&principal, EndpointRef::All).unwrap()
    };
    assert!(Arc::ptr_eq(&view("a"), &view("b")));
    assert!(!Arc::ptr_eq(&view("a"), &view("c")));
    assert_eq!(names(&view("c")), Vec::<String>::new());
}

#[test]
fn no_view_keeps_its_snapshot_alive() {
    let snapshot = with_grants(&json!([{ "bundle": "support" }]));
    let (principal, view) = enter(&snapshot, EndpointRef::Bundle("support"));
    let _ = view.tools();
    let access = Arc::downgrade(&principal.access);
    drop((principal, snapshot));
    assert!(access.upgrade().is_none(), "only the view is left");
    assert!(!view.tools().is_empty());
}

#[test]
fn tags_change_when_and_only_when_their_list_does() {
    let base =
        with_grants(&json!([{ "server": "crm", "allow": ["find"], "prompts": ["*"], "resources": ["a"] }]));
    let tags = |snapshot: &Snapshot| {
        let (_, view) = enter(snapshot, EndpointRef::All);
        (view.tools_tag(), view.prompts_tag(), view.resources_tag(), view.fingerprint())
    };
    let (tools, prompts, resources, whole) = tags(&base);
    let same = with_grants(
        &json!([{ "server": "crm", "allow": ["f*d"], "prompts": ["greet"], "resources": ["a"] }]),
    );
    assert_eq!(tags(&same), (tools, prompts, resources, whole));
    let more = with_grants(
        &json!([{ "server": "crm", "allow": ["find", "refund"], "prompts": ["*"], "resources": ["a"] }]),
    );
    assert_ne!(tags(&more).0, tools);
    assert_eq!(tags(&more).1, prompts);
    assert_ne!(tags(&more).3, whole);
    let other =
        with_grants(&json!([{ "server": "crm", "allow": ["find"], "prompts": [], "resources": ["b"] }]));
    assert_eq!(tags(&other).0, tools);
    assert_ne!(tags(&other).1, prompts);
    assert_ne!(tags(&other).2, resources);
    // A definition that was approved anew under the same name.
    let mut entries = organisation();
    entries.retain(|entry| !matches!(entry, Entry::Tool(tool) if tool.name == "find"));
    entries.push(definition(
        "tool",
        "crm",
        "find",
        &approved(&json!({ "name": "find", "title": "new" })),
        &json!({}),
    ));
    entries.push(key("k", "internal", &json!([{ "server": "crm", "allow": ["find"] }])));
    assert_ne!(tags(&compile(entries).unwrap()).0, tools);
}

const PATTERNS: &[&str] =
    &["*", "find", "re*", "?????", "search", "create_issue", "*_*", "waiting", "open", "x"];
const SERVERS: &[&str] = &["crm", "github", "vault"];

fn patterns() -> impl Strategy<Value = Vec<&'static str>> {
    proptest::collection::vec(proptest::sample::select(PATTERNS), 0..4)
}

fn grants() -> impl Strategy<Value = Vec<Value>> {
    let server = (proptest::sample::select(SERVERS), patterns(), patterns(), patterns()).prop_map(
        |(server, allow, except, prompts)| {
            json!({ "server": server, "allow": allow, "except": except, "prompts": prompts, "resources": ["*"] })
        },
    );
    let bundle =
        proptest::sample::select(&["support", "empty"][..]).prop_map(|name| json!({ "bundle": name }));
    proptest::collection::vec(prop_oneof![3 => server, 1 => bundle], 0..5)
}

/// Every name that anything could be asked by.
fn all_names() -> Vec<String> {
    let mut names = vec!["new-issue".to_owned(), "invented".to_owned()];
    for entry in organisation() {
        if let Entry::Tool(tool) | Entry::Prompt(tool) = &entry {
            names.push(tool.name.clone());
            names.extend(SERVERS.iter().map(|server| format!("{server}_{}", tool.name)));
        }
    }
    names
}

fn endpoints() -> impl Iterator<Item = EndpointRef<'static>> {
    let bundles = ["support", "empty"].into_iter().map(EndpointRef::Bundle);
    std::iter::once(EndpointRef::All)
        .chain(bundles)
        .chain(SERVERS.iter().map(|name| EndpointRef::Server(name)))
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(96))]

    #[test]
    fn a_list_shows_exactly_what_a_call_is_permitted(grants in grants(), zone in proptest::sample::select(&["internal", "vendor", "island"][..])) {
        let snapshot = crate::fixture::with_keys(vec![key("k", zone, &json!(grants))]);
        let principal = snapshot.authenticate(&hash("k"), NOW).unwrap();
        for endpoint in endpoints() {
            let Ok(view) = snapshot.endpoint(&principal, endpoint) else { continue };
            let listed = names(&view);
            let prompts: Vec<String> = view.prompts().iter().map(|prompt| prompt.name.to_string()).collect();
            for name in all_names() {
                let tool = snapshot.decide_tool(&principal, &view, &name, &Circumstances::at(NOW));
                prop_assert_eq!(listed.contains(&name), tool.is_ok(), "{} at {:?}", name, endpoint);
                let prompt = snapshot.decide_prompt(&principal, &view, &name, &Circumstances::at(NOW));
                prop_assert_eq!(prompts.contains(&name), prompt.is_ok(), "prompt {} at {:?}", name, endpoint);
                let explained = crate::explain::explain(&snapshot, &Question::tool("k", endpoint, &name, NOW));
                match tool {
                    Ok(permit) => {
                        prop_assert_eq!(explained.reason, None);
                        prop_assert_eq!(&explained.rule, permit.rule());
                    }
                    Err(denial) => {
                        prop_assert_eq!(explained.reason, Some(denial.reason));
                        prop_assert_eq!(&explained.rule, &denial.rule);
                    }
                }
            }
            for server in SERVERS {
                let shown = view.servers().iter().any(|shown| shown.name() == *server);
                let spoken = snapshot.decide_server(&principal, &view, server, &Circumstances::at(NOW)).is_ok();
                prop_assert_eq!(shown, spoken);
                let matched = view.resource_patterns(server).iter().any(|pattern| pattern.matches_uri("x://y"));
                let read = snapshot.decide_resource(&principal, &view, server, "x://y", &Circumstances::at(NOW)).is_ok();
                prop_assert_eq!(matched, read);
            }
        }
    }

    #[test]
    fn a_grant_taken_away_never_adds_anything(grants in grants(), gone in any::<prop::sample::Index>()) {
        let before = with_grants(&json!(grants));
        let mut fewer = grants;
        if !fewer.is_empty() {
            fewer.remove(gone.index(fewer.len()));
        }
        let after = with_grants(&json!(fewer));
        let (old, new) = (before.authenticate(&hash("k"), NOW).unwrap(), after.authenticate(&hash("k"), NOW).unwrap());
        for endpoint in endpoints() {
            let Ok(view) = after.endpoint(&new, endpoint) else { continue };
            let wider = before.endpoint(&old, endpoint);
            prop_assert!(wider.is_ok(), "{:?} came into reach", endpoint);
            let wider = names(&wider.unwrap());
            for name in names(&view) {
                prop_assert!(wider.contains(&name), "{} appeared at {:?}", name, endpoint);
            }
        }
    }

    #[test]
    fn the_order_of_entries_means_nothing(order in Just((0..organisation().len()).collect::<Vec<_>>()).prop_shuffle()) {
        let grants = json!([{ "bundle": "support" }, { "server": "github", "allow": ["*"], "prompts": ["*"] }]);
        let shuffled = |order: &[usize]| {
            let mut entries: Vec<Option<Entry>> = organisation().into_iter().map(Some).collect();
            let mut entries: Vec<Entry> = order.iter().map(|at| entries[*at].take().unwrap()).collect();
            entries.insert(0, key("k", "internal", &grants));
            compile(entries).unwrap()
        };
        let straight: Vec<usize> = (0..order.len()).collect();
        let (one, two) = (shuffled(&straight), shuffled(&order));
        prop_assert_eq!(one.reports(), two.reports());
        for endpoint in endpoints() {
            let seen = |snapshot: &Snapshot| {
                let principal = snapshot.authenticate(&hash("k"), NOW).unwrap();
                snapshot.endpoint(&principal, endpoint).map(|view| (view.tools_json().to_string(), view.fingerprint())).ok()
            };
            prop_assert_eq!(seen(&one), seen(&two));
        }
    }
}
