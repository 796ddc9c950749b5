use serde_json::{Value, json, value::RawValue};

use super::*;
use crate::Reason;
use crate::circumstances::{ClientHint, Era};
use crate::compile::Snapshot;
use crate::explain::{Decision, Question, explain};
use crate::fixture::{NOW, client, compile, entry, hash, key_as, organisation, uid};
use crate::rule::DefinitionKind;
use crate::snapshot::Entry;
use crate::view::EndpointRef;

const SAMPLE: &str = "forbid(principal, action == Action::\"call\", resource == Tool::\"crm/refund\") unless { principal in Team::\"support-team\" };";

fn policy(name: &str, mode: &str, cedar: &str) -> Entry {
    let spec = json!({ "mode": mode, "cedar": cedar });
    entry("policy", &json!({ "uid": uid(&format!("policy {name}")), "name": name, "spec": spec }))
}

/// The organisation with keys `k`, of the team, and `other`, of none.
fn with(more: Vec<Entry>) -> Snapshot {
    compile(entries(more)).unwrap()
}

fn entries(more: Vec<Entry>) -> Vec<Entry> {
    let grants = json!([{ "server": "crm", "allow": ["*"], "prompts": ["*"], "resources": ["*"] }, { "server": "github", "allow": ["*"] }]);
    let keys = [
        key_as("k", "internal", &grants, &json!({ "team": "support-team" })),
        key_as("other", "internal", &grants, &json!({})),
    ];
    organisation().into_iter().chain(keys).chain(more).collect()
}

fn raw(json: &str) -> Box<RawValue> {
    RawValue::from_string(json.to_owned()).unwrap()
}

/// What a call comes to: `permit`, or the reason and the rule; and the policies that would have denied.
fn decided(snapshot: &Snapshot, key: &str, tool: &str, with: &Circumstances<'_>) -> (String, Vec<String>) {
    let principal = snapshot.authenticate(&hash(key), NOW).unwrap();
    let view = snapshot.endpoint(&principal, EndpointRef::All).unwrap();
    let names = |names: &[Name]| names.iter().map(ToString::to_string).collect();
    match snapshot.decide_tool(&principal, &view, tool, with) {
        Ok(permit) => ("permit".to_owned(), names(permit.shadow())),
        Err(denial) => (format!("{} {}", denial.reason, denial.rule), names(&denial.shadow)),
    }
}

fn listed(snapshot: &Snapshot, key: &str, with: &Circumstances<'_>) -> Vec<String> {
    let principal = snapshot.authenticate(&hash(key), NOW).unwrap();
    let view = snapshot.endpoint(&principal, EndpointRef::All).unwrap();
    let seen = snapshot.seen(&principal, &view, with);
    seen.tools().iter().map(|tool| tool.name.to_string()).collect()
}

fn now<'a>() -> Circumstances<'a> {
    Circumstances::at(NOW)
}

#[test]
fn a_policy_decides_and_lists_agree() {
    let snapshot = with(vec![policy("refunds", "enforce", SAMPLE)]);
    let denied = "policy_denied AccessPolicy/refunds spec.cedar";
    for (key, tool, expected) in [
        ("k", "crm_refund", "permit"),
        ("other", "crm_refund", denied),
        ("k", "crm_find", "permit"),
        ("other", "crm_find", "permit"),
        ("other", "github_search", "permit"),
    ] {
        assert_eq!(decided(&snapshot, key, tool, &now()).0, expected, "{key} {tool}");
        let listed = listed(&snapshot, key, &now()).iter().any(|name| name == tool);
        assert_eq!(listed, expected == "permit", "{key} {tool}");
    }
}

#[test]
fn what_grants_deny_is_denied_by_them_whatever_policies_say() {
    let all = policy("nothing", "enforce", "forbid(principal, action, resource);");
    let snapshot = with(vec![all]);
    let (outcome, _) = decided(&snapshot, "k", "vault_open", &now());
    assert!(outcome.starts_with("tool_not_granted"), "{outcome}");
    assert_eq!(
        decided(&snapshot, "k", "crm_find", &now()).0,
        "policy_denied AccessPolicy/nothing spec.cedar"
    );
    assert_eq!(listed(&snapshot, "k", &now()), Vec::<String>::new());
}

#[test]
fn a_shadow_is_recorded_with_what_it_would_have_denied_and_enforces_nothing() {
    let all = "forbid(principal, action, resource);";
    let snapshot = with(vec![policy("a-shadow", "shadow", all), policy("refunds", "enforce", SAMPLE)]);
    assert_eq!(
        decided(&snapshot, "k", "crm_refund", &now()),
        ("permit".to_owned(), vec!["a-shadow".to_owned()])
    );
    let (outcome, shadow) = decided(&snapshot, "other", "crm_refund", &now());
    assert_eq!(
        (&*outcome, shadow),
        ("policy_denied AccessPolicy/refunds spec.cedar", vec!["a-shadow".to_owned()])
    );
    assert!(listed(&snapshot, "k", &now()).contains(&"crm_refund".to_owned()));
}

#[test]
fn arguments_decide_calls_and_leave_lists_alone() {
    let cedar = "forbid(principal, action == Action::\"call\", resource == Tool::\"crm/refund\") when { context.arguments has amount && context.arguments.amount > 100 };";
    let snapshot = with(vec![policy("big", "enforce", cedar)]);
    for (arguments, expected) in [
        (r#"{"amount":100}"#, "permit"),
        (r#"{"amount":101}"#, "policy_denied AccessPolicy/big spec.cedar"),
        (r#"{"amount":"1"}"#, "policy_denied AccessPolicy/big spec.cedar"),
        ("{}", "permit"),
    ] {
        let arguments = raw(arguments);
        let with = Circumstances { arguments: Some(&arguments), ..now() };
        assert_eq!(decided(&snapshot, "k", "crm_refund", &with).0, expected, "{arguments}");
    }
    assert_eq!(decided(&snapshot, "k", "crm_refund", &now()).0, "policy_denied AccessPolicy/big spec.cedar");
    assert!(listed(&snapshot, "k", &now()).contains(&"crm_refund".to_owned()));
}

#[test]
fn networks_eras_clients_and_hints_are_read() {
    let only = |condition: &str| {
        policy(
            "p",
            "enforce",
            &format!(
                "forbid(principal, action == Action::\"call\", resource == Tool::\"crm/find\") unless {{ {condition} }};"
            ),
        )
    };
    let ide = client(
        "ides",
        &json!({ "match": { "clientInfo": [{ "name": "ide-*" }] }, "deny": { "servers": ["vault"] } }),
    );
    let from = |text: &str| Circumstances { network: Some(text.parse().unwrap()), ..now() };
    let hint = |name| Circumstances { client: Some(ClientHint { name, version: None }), ..now() };
    let in_era = |era| Circumstances { era: Some(era), ..now() };
    for (condition, with_it, without) in [
        ("context.network.isInRange(ip(\"10.0.0.0/8\"))", from("10.1.1.1"), from("11.1.1.1")),
        ("context.network.isInRange(ip(\"10.0.0.0/8\"))", from("::ffff:10.1.1.1"), now()),
        ("context.era == \"modern\"", in_era(Era::Modern), in_era(Era::Legacy)),
        ("context.clients.contains(Client::\"ides\")", hint("ide-x"), hint("shell")),
        ("context.environment == \"prod\"", now(), now()),
    ] {
        let snapshot = with(vec![only(condition), ide.clone()]);
        assert_eq!(decided(&snapshot, "k", "crm_find", &with_it).0, "permit", "{condition}");
        assert!(listed(&snapshot, "k", &with_it).contains(&"crm_find".to_owned()), "{condition}");
        if condition.contains("environment") {
            continue;
        }
        assert!(decided(&snapshot, "k", "crm_find", &without).0.starts_with("policy_denied"), "{condition}");
        assert!(!listed(&snapshot, "k", &without).contains(&"crm_find".to_owned()), "{condition}");
    }
}

#[test]
fn prompts_and_resources_are_asked_about_too() {
    let snapshot = with(vec![
        policy(
            "p",
            "enforce",
            "forbid(principal, action == Action::\"get_prompt\", resource == Prompt::\"crm/greet\");",
        ),
        policy(
            "r",
            "enforce",
            "forbid(principal, action == Action::\"read_resource\", resource in Server::\"crm\") when { resource.name like \"file:///secret/*\" };",
        ),
    ]);
    let principal = snapshot.authenticate(&hash("k"), NOW).unwrap();
    let view = snapshot.endpoint(&principal, EndpointRef::All).unwrap();
    let denied = snapshot.decide_prompt(&principal, &view, "crm_greet", &now()).unwrap_err();
    assert_eq!(denied.rule.to_string(), "AccessPolicy/p spec.cedar");
    let read = |uri| snapshot.decide_resource(&principal, &view, "crm", uri, &now());
    assert_eq!(read("file:///secret/a").unwrap_err().rule.to_string(), "AccessPolicy/r spec.cedar");
    assert!(read("file:///open/a").is_ok());
    assert!(snapshot.seen(&principal, &view, &now()).prompts().is_empty());
}

#[test]
fn explain_shows_the_step_with_what_shadows_would_have_done_and_what_is_not_known() {
    let big = "forbid(principal, action == Action::\"call\", resource == Tool::\"crm/refund\") when { context.arguments has amount && context.arguments.amount > 100 };";
    let snapshot = with(vec![
        policy("big", "enforce", big),
        policy("refunds", "enforce", SAMPLE),
        policy("watch", "shadow", "forbid(principal, action, resource in Server::\"crm\");"),
    ]);
    let asked = |key, tool, arguments: Option<&RawValue>| {
        let mut question = Question::tool(key, EndpointRef::All, tool, NOW);
        question.circumstances.arguments = arguments;
        let told = explain(&snapshot, &question);
        let step = serde_json::to_value(&told.steps).unwrap();
        let step =
            step.as_array().unwrap().iter().find(|step| step["step"] == "conditions").cloned().unwrap();
        (told, step)
    };
    let (told, step) = asked("k", "crm_find", None);
    assert_eq!((told.decision, &step["outcome"]), (Decision::Permit, &json!("pass")));
    assert_eq!(
        step["detail"],
        "none of watch forbids it; in shadow mode, and so not enforced, these would: watch"
    );
    let (told, step) = asked("k", "crm_refund", None);
    assert_eq!((told.decision, &step["outcome"]), (Decision::Permit, &json!("live")));
    assert_eq!(step["detail"], "big, refunds, watch read what is not known of the call: arguments");
    let (told, step) = asked("other", "crm_refund", None);
    assert_eq!((told.reason, &step["detail"]), (Some(Reason::PolicyDenied), &json!("refunds forbids it")));
    let (told, step) = asked("k", "crm_refund", Some(&raw(r#"{"amount":"x"}"#)));
    assert_eq!(told.rule.to_string(), "AccessPolicy/big spec.cedar");
    assert_eq!(
        step["detail"],
        "big cannot be evaluated, and denies: the argument amount must be a whole number of 64 bits"
    );
    let (told, step) = asked("other", "github_search", None);
    assert_eq!((told.decision, &step["detail"]), (Decision::Permit, &json!("no policy can apply")));
}

#[test]
fn who_can_and_plans_tell_keys_apart_where_policies_do() {
    let old = with(vec![]);
    let new = with(vec![policy("refunds", "enforce", SAMPLE)]);
    let who = new.who_can(DefinitionKind::Tool, "crm_refund", NOW).unwrap();
    let names = |keys: &[crate::reach::WhoReaches]| {
        keys.iter().map(|who| who.caller.key.to_string()).collect::<Vec<_>>()
    };
    assert_eq!((names(&who.items), names(&who.denied)), (vec!["k".to_owned()], vec!["other".to_owned()]));
    assert_eq!(who.denied[0].rule.to_string(), "AccessPolicy/refunds spec.cedar");
    let what = new.what_can("other", NOW).unwrap();
    assert!(!serde_json::to_string(&what.items).unwrap().contains("refund"));
    let difference = crate::reach::compare(&old, &new, NOW, crate::reach::Bounds::FULL);
    assert_eq!((difference.losses.keys, difference.losses.things, difference.gains.keys), (1, 1, 0));
    assert_eq!(difference.keys[0].keys[0].as_str(), "other");
    assert!(crate::reach::compare(&new, &new, NOW, crate::reach::Bounds::FULL).is_empty());
    let looser = with(vec![policy("refunds", "shadow", SAMPLE)]);
    assert_eq!(crate::reach::compare(&new, &looser, NOW, crate::reach::Bounds::FULL).gains.keys, 1);
}

#[test]
fn a_snapshot_with_a_policy_that_cannot_be_read_or_names_nobody_is_none() {
    for (entry, says) in [
        (
            policy("p", "enforce", "permit(principal, action, resource);"),
            "AccessPolicy/p: line 1, column 1 of the text: permit is not for a policy",
        ),
        (
            policy("p", "shadow", "forbid(principal, action, resource) when { nobody };"),
            "AccessPolicy/p: line 1, column 44",
        ),
        (
            policy("p", "enforce", "forbid(principal in Team::\"gone\", action, resource);"),
            "AccessPolicy/p: cedar names the Team \"gone\"",
        ),
        (
            policy("p", "enforce", "forbid(principal, action, resource == Tool::\"gone/t\");"),
            "AccessPolicy/p: cedar names the McpServer \"gone\"",
        ),
        (
            policy("p", "enforce", "forbid(principal in Customer::\"gone\", action, resource);"),
            "AccessPolicy/p: cedar names the Customer \"gone\"",
        ),
    ] {
        let errors: Vec<String> =
            compile(entries(vec![entry])).unwrap_err().iter().map(ToString::to_string).collect();
        assert!(errors.iter().any(|error| error.starts_with(says)), "{says}: {errors:?}");
    }
}

#[test]
fn hints_of_a_definition_are_booleans_or_none() {
    let of = |annotations: Value| hints(&json!({ "name": "t", "annotations": annotations }).to_string());
    assert_eq!(
        of(json!({ "readOnlyHint": true, "destructiveHint": "no" })),
        Annotations { read_only: Some(true), ..Annotations::default() }
    );
    assert_eq!(of(json!([])), Annotations::default());
    assert_eq!(hints("{\"name\":\"t\"}"), Annotations::default());
}
