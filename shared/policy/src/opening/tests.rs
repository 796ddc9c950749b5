use serde_json::{Value, json};

use super::*;
use crate::compile::Snapshot;
use crate::explain::{Question, explain};
use crate::fixture::{NOW, bundle, compile, entry, hash, key_as, tool, uid, zone};
use crate::replay::{Again, RecordedCall, RecordedKind};
use crate::snapshot::Entry;
use crate::view::EndpointRef;
use crate::{Circumstances, DefinitionKind, Reason};

fn server(more: &Value) -> Entry {
    let mut body = json!({ "uid": uid("crm"), "name": "crm", "zone": "internal",
        "transport": { "streamableHttp": { "url": "http://crm:8080/mcp" } },
        "hosting": "self", "environment": "prod", "tier": "bronze", "dataClasses": [], "auth": { "none": {} },
        "limits": { "timeout": "30s", "maxRequestBytes": "1MiB", "maxResponseBytes": "4MiB", "concurrency": 64 } });
    body.as_object_mut().unwrap().extend(more.as_object().unwrap().clone());
    entry("server", &body)
}

/// Keys `plain`, `pilot` (of the team `pilots`), `named` and `sandboxed`, all with a grant of `crm`.
fn world(more: &Value) -> Snapshot {
    let grants = json!([{ "server": "crm", "allow": ["*"], "resources": ["*"] }, { "bundle": "all" }]);
    let key = |name: &str, more: Value| key_as(name, "internal", &grants, &more);
    compile(vec![
        zone("internal", &[], &["*"]),
        entry("team", &json!({ "uid": uid("pilots"), "name": "pilots" })),
        server(more),
        tool("crm", "find"),
        bundle("all", &json!([{ "server": "crm", "allow": ["*"] }])),
        key("plain", json!({})),
        key("pilot", json!({ "team": "pilots" })),
        key("named", json!({})),
        key("sandboxed", json!({ "sandbox": true })),
    ])
    .unwrap()
}

/// Who may call the tool. Lists, calls, the server itself, its resources, `explain`, what is known of reach and what is recorded must
/// agree.
fn reach(snapshot: &Snapshot) -> Vec<&'static str> {
    let mut found = Vec::new();
    for name in ["plain", "pilot", "named", "sandboxed"] {
        let principal = snapshot.authenticate(&hash(name), NOW).unwrap();
        let mut answers = Vec::new();
        for (endpoint, tool) in [
            (EndpointRef::All, "crm_find"),
            (EndpointRef::Bundle("all"), "crm_find"),
            (EndpointRef::Server("crm"), "find"),
        ] {
            let view = snapshot.endpoint(&principal, endpoint).unwrap();
            answers.push(!view.tools().is_empty());
            answers.push(!view.servers().is_empty());
            answers.push(snapshot.decide_tool(&principal, &view, tool, &Circumstances::at(NOW)).is_ok());
            answers.push(snapshot.decide_server(&principal, &view, "crm", &Circumstances::at(NOW)).is_ok());
            if endpoint == EndpointRef::All {
                answers.push(
                    snapshot
                        .decide_resource(&principal, &view, "crm", "a:b", &Circumstances::at(NOW))
                        .is_ok(),
                );
                answers.push(!view.resource_patterns("crm").is_empty());
            }
            let explained = explain(snapshot, &Question::tool(name, endpoint, tool, NOW));
            answers.push(explained.reason.is_none());
            let recorded = RecordedCall {
                key: name.to_owned(),
                key_uid: uid(&format!("key {name}")),
                endpoint: view.endpoint().to_string(),
                kind: RecordedKind::Tool,
                name: tool.to_owned(),
                server: Some("crm".to_owned()),
                unix_ms: NOW,
                era: None,
                plane: None,
                denied: None,
                released: false,
            };
            answers.push(snapshot.decide_again(&recorded) == Again::Permit);
        }
        let who = snapshot.who_can(DefinitionKind::Tool, "crm_find", NOW).unwrap();
        answers.push(who.items.iter().any(|one| one.caller.key.as_str() == name));
        answers.push(!snapshot.what_can(name, NOW).unwrap().items.is_empty());
        assert!(answers.windows(2).all(|pair| pair[0] == pair[1]), "{name}: {answers:?}");
        if answers[0] {
            found.push(name);
        }
    }
    found
}

#[test]
fn each_stage_lets_in_those_before_it_and_more() {
    let limited = json!({ "opening": { "limited": { "teams": ["pilots"], "keys": ["named"] } } });
    for (more, expected) in [
        (json!({}), vec!["plain", "pilot", "named", "sandboxed"]),
        (json!({ "opening": "sandbox" }), vec!["sandboxed"]),
        (limited, vec!["pilot", "named", "sandboxed"]),
        (json!({ "opening": { "limited": {} } }), vec!["sandboxed"]),
        (
            json!({ "opening": { "limited": { "percent": 100 } } }),
            vec!["plain", "pilot", "named", "sandboxed"],
        ),
        (json!({ "opening": "suspended" }), vec![]),
        (json!({ "opening": "retired" }), vec![]),
    ] {
        assert_eq!(reach(&world(&more)), expected, "{more}");
    }
}

#[test]
fn a_bundle_of_the_team_leads_to_a_server_that_is_open_for_some_like_a_grant() {
    let with = |limited: Value| {
        let ours = json!({ "uid": uid("ours"), "name": "ours", "tools": [{ "server": "crm", "allow": ["*"] }],
            "members": { "teams": ["pilots"] } });
        let key = |name: &str, more: Value| key_as(name, "internal", &json!([]), &more);
        let snapshot = compile(vec![
            zone("internal", &[], &["*"]),
            entry("team", &json!({ "uid": uid("pilots"), "name": "pilots" })),
            server(&json!({ "opening": { "limited": limited } })),
            tool("crm", "find"),
            entry("bundle", &ours),
            key("pilot", json!({ "team": "pilots" })),
            key("other", json!({})),
        ])
        .unwrap();
        let reached = snapshot.who_can(DefinitionKind::Tool, "crm_find", NOW).unwrap().items;
        reached.into_iter().map(|one| one.caller.key.to_string()).collect::<Vec<_>>()
    };
    assert_eq!(with(json!({ "teams": ["pilots"] })), ["pilot"]);
    assert_eq!(with(json!({ "percent": 100 })), ["pilot"]);
    assert!(with(json!({ "keys": ["other"] })).is_empty());
}

#[test]
fn who_is_not_let_in_is_denied_by_the_stage_or_the_lifecycle_as_if_nothing_were_approved() {
    for (more, rule, words) in [
        (json!({ "opening": "sandbox" }), "McpServer/crm status.stage", "ask for the sandbox"),
        (
            json!({ "opening": { "limited": { "percent": 1, "teams": ["pilots"] } } }),
            "McpServer/crm status.stage",
            "pilots",
        ),
        (json!({ "opening": "suspended" }), "McpServer/crm status.lifecycle", "suspended"),
        (json!({ "opening": "retired" }), "McpServer/crm status.lifecycle", "retired"),
    ] {
        let snapshot = world(&more);
        let question = Question::tool("plain", EndpointRef::All, "crm_find", NOW);
        let explained = explain(&snapshot, &question);
        assert_eq!(explained.reason, Some(Reason::ToolNotApproved), "{more}");
        assert_eq!(explained.rule.to_string(), rule, "{more}");
        let last = explained.steps.last().unwrap();
        assert_eq!(serde_json::to_value(last.step).unwrap(), "stage");
        assert!(last.detail.contains(words), "{}", last.detail);
    }
}

#[test]
fn a_share_of_principals_is_the_same_every_time_and_about_as_large_as_asked() {
    // Written down, so that no later version moves anybody.
    let place = |at: u32| hundredth(uid(&format!("key {at}")), uid("crm"));
    let first: Vec<u8> = (0..6).map(place).collect();
    assert_eq!(first, [26, 29, 85, 18, 58, 26]);
    let inside = (0..10_000).filter(|at| place(*at) < 10).count();
    assert!((850..1150).contains(&inside), "{inside} of 10000 for 10 percent");
    let elsewhere = (0..10_000)
        .filter(|at| place(*at) < 10 && hundredth(uid(&format!("key {at}")), uid("github")) < 10)
        .count();
    assert!(elsewhere < 200, "the same principals must not go first everywhere: {elsewhere}");
}

#[test]
fn who_is_in_at_a_share_stays_in_when_it_grows() {
    let keys: Vec<String> = (0..60).map(|at| format!("key-{at}")).collect();
    let inside = |percent: u8| -> Vec<String> {
        let grants = json!([{ "bundle": "all" }]);
        let mut entries = vec![
            zone("internal", &[], &["*"]),
            server(&json!({ "opening": { "limited": { "percent": percent } } })),
            tool("crm", "find"),
            bundle("all", &json!([{ "server": "crm", "allow": ["*"] }])),
        ];
        entries.extend(keys.iter().map(|name| key_as(name, "internal", &grants, &json!({}))));
        let snapshot = compile(entries).unwrap();
        let permitted = |name: &&String| {
            let principal = snapshot.authenticate(&hash(name), NOW).unwrap();
            let view = snapshot.endpoint(&principal, EndpointRef::All).unwrap();
            snapshot.decide_tool(&principal, &view, "crm_find", &Circumstances::at(NOW)).is_ok()
        };
        keys.iter().filter(permitted).cloned().collect()
    };
    let (few, many) = (inside(20), inside(60));
    assert!(
        !few.is_empty() && few.len() < many.len() && many.len() < keys.len(),
        "{} {}",
        few.len(),
        many.len()
    );
    assert!(few.iter().all(|key| many.contains(key)));
}

#[test]
fn a_sandbox_key_takes_the_sandbox_and_nothing_that_is_kept_of_the_server_itself() {
    let sandbox = json!({ "sandbox": { "transport": { "streamableHttp": { "url": "http://crm-sandbox:8080/mcp" } } },
        "auth": { "header": { "name": "Authorization", "valueFrom": { "secret": "crm" } } } });
    let snapshot = world(&sandbox);
    let url = |name: &str| {
        let principal = snapshot.authenticate(&hash(name), NOW).unwrap();
        let view = snapshot.endpoint(&principal, EndpointRef::Server("crm")).unwrap();
        let tool = snapshot.decide_tool(&principal, &view, "find", &Circumstances::at(NOW)).unwrap();
        let whole = snapshot.decide_server(&principal, &view, "crm", &Circumstances::at(NOW)).unwrap();
        let resource =
            snapshot.decide_resource(&principal, &view, "crm", "a:b", &Circumstances::at(NOW)).unwrap();
        for permit in [&whole, &resource] {
            assert_eq!(permit.server().uid(), tool.server().uid(), "one caller, one way");
        }
        assert_eq!(view.servers().first().unwrap().uid(), tool.server().uid());
        (serde_json::to_value(&tool.server().entry.transport).unwrap(), std::sync::Arc::clone(tool.server()))
    };
    let (ordinary, server) = url("plain");
    let (twin, sandbox) = url("sandboxed");
    assert_eq!(ordinary["streamableHttp"]["url"], "http://crm:8080/mcp");
    assert_eq!(twin["streamableHttp"]["url"], "http://crm-sandbox:8080/mcp");
    assert_ne!(server.uid(), sandbox.uid());
    assert_eq!(sandbox.registered_uid(), server.uid());
    assert!(sandbox.is_sandbox() && !server.is_sandbox());
    assert_eq!(
        sandbox.entry.auth,
        crate::resource::Auth::default(),
        "the server's credential stays with the server"
    );
    assert_eq!(snapshot.server_by_uid(&sandbox.uid()).unwrap().uid(), sandbox.uid());
    assert_eq!(snapshot.servers().count(), 1);
}

#[test]
fn without_a_sandbox_a_sandbox_key_takes_the_ordinary_way() {
    let snapshot = world(&json!({ "opening": "sandbox" }));
    let principal = snapshot.authenticate(&hash("sandboxed"), NOW).unwrap();
    let view = snapshot.endpoint(&principal, EndpointRef::All).unwrap();
    let permit = snapshot.decide_tool(&principal, &view, "crm_find", &Circumstances::at(NOW)).unwrap();
    assert!(!permit.server().is_sandbox());
}

#[test]
fn a_stage_that_names_nobody_there_does_not_compile() {
    let compiled = |opening: Value| {
        let entries =
            vec![zone("internal", &[], &["*"]), server(&json!({ "opening": { "limited": opening } }))];
        compile(entries).unwrap_err().iter().map(ToString::to_string).collect::<Vec<_>>().join("; ")
    };
    assert!(compiled(json!({ "teams": ["ghosts"] })).contains("Team \"ghosts\""));
    assert!(compiled(json!({ "keys": ["ghost"] })).contains("VirtualKey \"ghost\""));
}
