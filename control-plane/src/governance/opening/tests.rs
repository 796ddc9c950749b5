use serde_json::{Value, json};

use super::*;

fn document(kind: &str, name: &str, spec: &Value) -> Value {
    json!({ "apiVersion": "portcullis/v1", "kind": kind, "metadata": { "name": name }, "spec": spec })
}

fn server_with(more: &Value) -> Value {
    let mut spec = json!({ "transport": { "streamableHttp": { "url": "http://crm.internal/mcp" } } });
    spec.as_object_mut().unwrap().extend(more.as_object().unwrap().clone());
    document("McpServer", "crm", &spec)
}

fn found(kind: Kind, name: &str, before: Option<&Value>, after: Option<&Value>) -> Vec<&'static str> {
    let touched = Touched { kind, name, before, after };
    classes(&touched).into_iter().map(ChangeClass::as_str).collect()
}

#[test]
fn only_what_opens_a_server_is_named() {
    let held = |tool: &str| json!({ "tools": { "overrides": [{ "name": tool, "approval": "per-call" }] } });
    let limits = |bytes: &str| json!({ "limits": { "maxResponseBytes": bytes } });
    for (before, after, expected) in [
        (json!({}), json!({}), vec![]),
        (json!({ "zone": "a" }), json!({ "zone": "b" }), vec!["zone-mapping"]),
        (json!({}), json!({ "zone": "default" }), vec![]),
        (limits("1MiB"), limits("2MiB"), vec!["exposure-limits"]),
        (limits("2MiB"), limits("1MiB"), vec![]),
        (json!({}), json!({ "tools": { "newTools": "approve" } }), vec!["approval-mode"]),
        (json!({ "tools": { "newTools": "approve" } }), json!({ "tools": { "newTools": "ignore" } }), vec![]),
        (json!({}), json!({ "tools": { "changedTools": "keep-pinned" } }), vec!["approval-mode"]),
        (json!({ "tools": { "changedTools": "approve" } }), json!({}), vec![]),
        (json!({}), json!({ "dataClasses": ["public"] }), vec![]),
        (json!({}), held("pay"), vec![]),
        (held("pay"), held("pay"), vec![]),
        (held("pay"), json!({}), vec!["approval-mode"]),
        (
            held("pay"),
            json!({ "tools": { "overrides": [{ "name": "pay", "approval": "none" }] } }),
            vec!["approval-mode"],
        ),
        (held("pay"), held("refund"), vec!["approval-mode"]),
    ] {
        let (before, after) = (server_with(&before), server_with(&after));
        let told = found(Kind::McpServer, "crm", Some(&before), Some(&after));
        assert_eq!(told, expected, "{before} -> {after}");
    }
    assert!(
        found(Kind::McpServer, "crm", None, Some(&server_with(&json!({})))).is_empty(),
        "its tools wait anyway"
    );
}

#[test]
fn a_zone_opens_with_more_zones_more_classes_or_less_audit() {
    let zone = |spec: &Value| document("TrustZone", "z", spec);
    for (before, after, opens) in [
        (json!({}), json!({}), false),
        (json!({}), json!({ "reachableFrom": ["a"] }), true),
        (json!({ "reachableFrom": ["a", "b"] }), json!({ "reachableFrom": ["b"] }), false),
        (json!({ "allowedDataClasses": ["a"] }), json!({ "allowedDataClasses": ["a", "b"] }), true),
        (json!({ "allowedDataClasses": ["a"] }), json!({ "allowedDataClasses": ["*"] }), true),
        (json!({ "allowedDataClasses": ["*"] }), json!({ "allowedDataClasses": ["a"] }), false),
        (json!({}), json!({ "audit": "best-effort" }), true),
        (json!({ "audit": "best-effort" }), json!({}), false),
    ] {
        let (before, after) = (zone(&before), zone(&after));
        let told = found(Kind::TrustZone, "z", Some(&before), Some(&after));
        assert_eq!(!told.is_empty(), opens, "{before} -> {after}");
    }
    let closed = document("TrustZone", "default", &json!({}));
    assert!(found(Kind::TrustZone, "default", None, Some(&closed)).is_empty());
    assert_eq!(
        found(Kind::TrustZone, "default", Some(&closed), None),
        ["zone-opening"],
        "the built-in one allows all"
    );
}
