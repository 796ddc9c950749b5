use serde_json::json;

use super::*;
use crate::store::Object;

fn object(kind: &str, name: &str, spec: &Value) -> Object {
    Object {
        kind: kind.into(),
        name: name.into(),
        uid: portcullis_policy::resource::Uid(uuid::Uuid::new_v4()),
        version: 1,
        created_version: 1,
        body: json!({ "apiVersion": "portcullis/v1", "kind": kind, "metadata": { "name": name }, "spec": spec }),
    }
}

fn rule(name: &str, matches: &Value, required: u32) -> Object {
    let spec = json!({ "match": matches, "approvers": [{ "role": "approver" }], "required": required });
    object("ApprovalRule", name, &spec)
}

fn book(rules: Vec<Object>) -> Rulebook {
    Rulebook::of(&State::new(1, rules))
}

fn crm() -> Matter {
    let server = object(
        "McpServer",
        "crm",
        &json!({
            "transport": { "streamableHttp": { "url": "http://crm.internal/mcp" } },
            "zone": "internal",
            "tier": "gold",
            "dataClasses": ["customer-data"],
            "tools": { "overrides": [{ "name": "pay", "dataClasses": ["payments"] }] },
        }),
    );
    Matter::of_server(&server)
}

#[test]
fn the_most_specific_rule_counts_then_the_stricter_one_then_the_first_by_name() {
    let found = |rules: Vec<Object>| {
        book(rules).rule(&crm().class(ChangeClass::New)).map(|rule| rule.name.as_str().to_owned())
    };
    let all = || rule("all", &json!({}), 9);
    let zone = || rule("zone", &json!({ "zones": ["internal"] }), 1);
    let both = || rule("both", &json!({ "zones": ["internal"], "tiers": ["gold"] }), 1);
    assert_eq!(found(vec![all(), zone(), both()]).as_deref(), Some("both"));
    assert_eq!(found(vec![all(), zone()]).as_deref(), Some("zone"));
    assert_eq!(
        found(vec![zone(), rule("a-zone", &json!({ "servers": ["crm"] }), 2)]).as_deref(),
        Some("a-zone")
    );
    assert_eq!(found(vec![zone(), rule("a", &json!({ "servers": ["crm"] }), 1)]).as_deref(), Some("a"));
    assert_eq!(found(vec![]), None);
}

#[test]
fn every_criterion_that_is_given_must_fit() {
    for (matches, class, fits) in [
        (json!({}), ChangeClass::New, true),
        (json!({}), ChangeClass::Identity, true),
        (json!({}), ChangeClass::ZoneMapping, false),
        (json!({}), ChangeClass::Call, false),
        (json!({ "changes": ["call"] }), ChangeClass::Call, true),
        (json!({ "changes": ["proposal"] }), ChangeClass::Call, false),
        (json!({ "changes": ["call"] }), ChangeClass::New, false),
        (json!({ "changes": ["changed"] }), ChangeClass::New, false),
        (json!({ "changes": ["new", "changed"] }), ChangeClass::New, true),
        (json!({ "changes": ["zone-mapping"] }), ChangeClass::ZoneMapping, true),
        (json!({ "changes": ["proposal"] }), ChangeClass::ZoneOpening, true),
        (json!({ "changes": ["proposal"] }), ChangeClass::New, false),
        (json!({ "zones": ["internal"] }), ChangeClass::New, true),
        (json!({ "zones": ["vendor"] }), ChangeClass::New, false),
        (json!({ "servers": ["erp"] }), ChangeClass::New, false),
        (json!({ "tiers": ["silver", "gold"] }), ChangeClass::New, true),
        (json!({ "environments": ["prod"] }), ChangeClass::New, true),
        (json!({ "environments": ["dev"] }), ChangeClass::New, false),
        (json!({ "dataClasses": ["payments"] }), ChangeClass::New, true),
        (json!({ "dataClasses": ["public"] }), ChangeClass::New, false),
        (json!({ "zones": ["internal"], "tiers": ["bronze"] }), ChangeClass::New, false),
    ] {
        let book = book(vec![rule("r", &matches, 1)]);
        assert_eq!(book.rule(&crm().class(class)).is_some(), fits, "{matches} {class}");
    }
}

#[test]
fn only_a_definition_that_says_that_it_only_reads_is_approved_by_itself() {
    let spec = json!({ "approvers": [{ "role": "approver" }], "autoApprove": { "readOnlyHint": true } });
    let with = book(vec![object("ApprovalRule", "auto", &spec)]);
    let with = with.rule(&crm().class(ChangeClass::New)).unwrap();
    let without = book(vec![rule("plain", &json!({}), 1)]);
    let without = without.rule(&crm().class(ChangeClass::New)).unwrap();
    for (definition, alone) in [
        (json!({ "annotations": { "readOnlyHint": true } }), true),
        (json!({ "annotations": { "readOnlyHint": true, "destructiveHint": true } }), false),
        (json!({ "annotations": { "readOnlyHint": false } }), false),
        (json!({ "annotations": { "readOnlyHint": "true" } }), false),
        (json!({ "readOnlyHint": true }), false),
        (json!({}), false),
    ] {
        let risk = Risk::default();
        assert_eq!(with.approves_by_itself(&definition.to_string(), risk), alone, "{definition}");
        assert!(!without.approves_by_itself(&definition.to_string(), risk));
    }
    assert!(!with.approves_by_itself("not JSON", Risk::default()));
}

#[test]
fn what_the_review_rates_worse_than_a_rule_accepts_is_not_approved_by_itself() {
    let rule = |auto: Value| {
        let spec = json!({ "approvers": [{ "role": "approver" }], "autoApprove": auto });
        book(vec![object("ApprovalRule", "auto", &spec)])
    };
    let found = [None, Some(Severity::Info), Some(Severity::Warn), Some(Severity::High)];
    let reads = json!({ "annotations": { "readOnlyHint": true } }).to_string();
    for (auto, definition, expected) in [
        (json!({ "risk": "none" }), "{}", [true, false, false, false]),
        (json!({ "risk": "info" }), "{}", [true, true, false, false]),
        (json!({ "risk": "warn" }), "{}", [true, true, true, false]),
        // All conditions must hold.
        (json!({ "risk": "info", "readOnlyHint": true }), "{}", [false; 4]),
        (json!({ "risk": "info", "readOnlyHint": true }), reads.as_str(), [true, true, false, false]),
        // A document of an older version, which nobody checks again: no condition approves nothing.
        (json!({ "readOnlyHint": false }), "{}", [false; 4]),
    ] {
        let book = rule(auto.clone());
        let rule = book.rule(&crm().class(ChangeClass::New)).unwrap();
        let decided = found.map(|highest| rule.approves_by_itself(definition, Risk { highest, findings: 1 }));
        assert_eq!(decided, expected, "{auto} {definition}");
    }
}
