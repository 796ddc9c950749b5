use portcullis_policy::resource::Name;
use serde_json::json;

use super::*;

fn rule(rights: &[Right], limits: &serde_json::Value) -> RoleRule {
    let mut value = limits.clone();
    value["rights"] = json!(rights);
    serde_json::from_value(value).unwrap()
}

fn server(zone: &str, team: &str) -> Scope {
    let document =
        json!({ "metadata": { "name": "crm", "labels": { "team": team } }, "spec": { "zone": zone } });
    Scope::of(Kind::McpServer, &document)
}

#[test]
fn every_limit_of_a_rule_must_fit_and_what_is_not_known_fits_none() {
    use Right::ResourcesWrite as Write;
    for (limits, scope, allowed) in [
        (json!({}), server("internal", "a"), true),
        (json!({ "kinds": ["McpServer"] }), server("internal", "a"), true),
        (json!({ "kinds": ["ToolBundle"] }), server("internal", "a"), false),
        (json!({ "zones": ["internal"] }), server("internal", "a"), true),
        (json!({ "zones": ["other"] }), server("internal", "a"), false),
        (json!({ "servers": ["crm"] }), server("internal", "a"), true),
        (json!({ "servers": ["erp"] }), server("internal", "a"), false),
        (json!({ "labels": { "team": "a" } }), server("internal", "a"), true),
        (json!({ "labels": { "team": "b" } }), server("internal", "a"), false),
        (json!({ "labels": { "team": "a" }, "zones": ["other"] }), server("internal", "a"), false),
        (json!({ "zones": ["internal"] }), Scope::of(Kind::Team, &json!({})), false),
        (json!({ "zones": ["default"] }), Scope::of(Kind::McpServer, &json!({ "spec": {} })), true),
        (json!({ "zones": ["internal"] }), Scope::default(), false),
    ] {
        let rights = Rights::of_rules(vec![rule(&[Write], &limits)]);
        assert_eq!(rights.allows(Write, &scope), allowed, "{limits} {scope:?}");
        assert!(rights.has(Write) && !rights.has(Right::KeysWrite));
    }
}

#[test]
fn a_rule_lies_within_another_only_where_it_reaches_nothing_more() {
    use Right::ResourcesWrite as Write;
    for (inner, outer, within) in [
        (json!({}), json!({}), true),
        (json!({ "zones": ["a"] }), json!({}), true),
        (json!({}), json!({ "zones": ["a"] }), false),
        (json!({ "zones": ["a"] }), json!({ "zones": ["a", "b"] }), true),
        (json!({ "zones": ["a", "c"] }), json!({ "zones": ["a", "b"] }), false),
        (json!({ "zones": ["a"] }), json!({ "zones": ["a"], "kinds": ["McpServer"] }), false),
        (json!({ "labels": { "x": "1", "y": "2" } }), json!({ "labels": { "x": "1" } }), true),
        (json!({ "labels": { "x": "1" } }), json!({ "labels": { "x": "1", "y": "2" } }), false),
        (json!({ "servers": ["s"] }), json!({ "zones": ["a"] }), false),
    ] {
        let lacks = Rights::of_rules(vec![rule(&[Write], &outer)])
            .lacks(&Rights::of_rules(vec![rule(&[Write], &inner)]));
        assert_eq!(lacks.is_none(), within, "{inner} in {outer}");
    }
    let viewer = Rights::of_roles(&State::default(), ["viewer"]);
    let admin = Rights::of_roles(&State::default(), ["admin"]);
    assert_eq!(admin.lacks(&viewer), None);
    assert!(viewer.lacks(&admin).is_some());
}

#[test]
fn no_built_in_role_reads_payloads_and_an_unknown_role_gives_nothing() {
    for role in BuiltInRole::ALL {
        let rights = Rights::of_roles(&State::default(), [role.as_str()]);
        assert!(!rights.has(Right::PayloadsRead), "{role:?}");
        assert!(rights.has(Right::ResourcesRead), "{role:?}");
        assert!(role.as_str().parse::<Name>().is_ok());
    }
    assert!(Rights::of_roles(&State::default(), ["gone"]).list().is_empty());
}
