use std::sync::Arc;

use portcullis_policy::resource::Uid;
use serde_json::{Value, json};

use super::*;
use crate::store::Object;

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
    opened(&State::default(), &[touched])
}

fn opened(state: &State, touched: &[Touched<'_>]) -> Vec<&'static str> {
    let all = touched.iter().flat_map(|change| openings(state, touched, change));
    all.map(|(_, class)| class.as_str()).collect()
}

#[test]
fn only_what_opens_a_server_is_named() {
    let held = |tool: &str| json!({ "tools": { "overrides": [{ "name": tool, "approval": "per-call" }] } });
    let all = || json!({ "tools": { "approval": "per-call" } });
    let all_but = |tool: &str| json!({ "tools": { "approval": "per-call", "overrides": [{ "name": tool, "approval": "none" }] } });
    let limits = |bytes: &str| json!({ "limits": { "maxResponseBytes": bytes } });
    let of_one = |more: Value| {
        let mut one = json!({ "name": "pay" });
        one.as_object_mut().unwrap().extend(more.as_object().unwrap().clone());
        json!({ "tools": { "overrides": [one] } })
    };
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
        (json!({}), of_one(json!({ "zone": "b" })), vec!["zone-mapping"]),
        (of_one(json!({ "zone": "b" })), of_one(json!({ "zone": "c" })), vec!["zone-mapping"]),
        (of_one(json!({ "zone": "b" })), json!({}), vec!["zone-mapping"]),
        (json!({}), of_one(json!({ "zone": "default" })), vec![]),
        (of_one(json!({})), of_one(json!({ "alias": "x" })), vec![]),
        (json!({}), held("pay"), vec![]),
        (held("pay"), held("pay"), vec![]),
        (held("pay"), json!({}), vec!["approval-mode"]),
        (
            held("pay"),
            json!({ "tools": { "overrides": [{ "name": "pay", "approval": "none" }] } }),
            vec!["approval-mode"],
        ),
        (held("pay"), held("refund"), vec!["approval-mode"]),
        (all(), all(), vec![]),
        (json!({}), all(), vec![]),
        (all(), json!({}), vec!["approval-mode"]),
        (all(), held("pay"), vec!["approval-mode"]),
        (held("pay"), all(), vec![]),
        (all(), json!({ "tools": { "approval": "none" } }), vec!["approval-mode"]),
        (all(), all_but("pay"), vec!["approval-mode"]),
        (all_but("pay"), all_but("pay"), vec![]),
        (all_but("pay"), all_but("refund"), vec!["approval-mode"]),
        (all_but("pay"), all(), vec![]),
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
fn a_zone_opens_with_more_of_what_it_lets_in_or_less_audit() {
    let networks = |ranges: &[&str]| json!({ "callerNetworks": ranges });
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
        (json!({ "callerNetworks": ["10.0.0.0/8"] }), json!({}), true),
        (json!({}), json!({ "callerNetworks": ["10.0.0.0/8"] }), false),
        (networks(&["10.0.0.0/8"]), networks(&["10.0.0.0/8", "192.168.0.0/16"]), true),
        (networks(&["10.1.0.0/16"]), networks(&["10.0.0.0/8"]), true),
        (networks(&["10.0.0.0/8", "192.168.0.0/16"]), networks(&["10.1.0.0/16"]), false),
        (json!({ "allowedEras": ["modern"] }), json!({ "allowedEras": ["modern", "legacy"] }), true),
        (json!({ "allowedEras": ["modern"] }), json!({ "allowedEras": ["legacy"] }), true),
        (json!({ "allowedEras": ["modern"] }), json!({}), true),
        (json!({ "allowedEras": ["modern", "legacy"] }), json!({ "allowedEras": ["modern"] }), false),
        (json!({}), json!({ "allowedEras": ["modern"] }), false),
        (json!({ "allowedHosting": ["self"] }), json!({ "allowedHosting": ["self", "vendor"] }), true),
        (json!({ "allowedHosting": ["self"] }), json!({}), true),
        (json!({ "servedBy": [{ "region": "eu" }] }), json!({}), true),
        (json!({ "servedBy": [{ "region": "eu" }] }), json!({ "servedBy": [{ "region": "us" }] }), true),
        (
            json!({ "servedBy": [{ "region": "eu", "tier": "a" }] }),
            json!({ "servedBy": [{ "region": "eu" }] }),
            true,
        ),
        (
            json!({ "servedBy": [{ "region": "eu" }] }),
            json!({ "servedBy": [{ "region": "eu", "tier": "a" }] }),
            false,
        ),
        (json!({}), json!({ "servedBy": [{ "region": "eu" }] }), false),
        (json!({ "allowedHosting": ["self", "vendor"] }), json!({ "allowedHosting": ["self"] }), false),
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

#[test]
fn what_a_tier_gives_opens_the_servers_that_leave_it_to_their_tier() {
    let tier = |spec: &Value| document("TierDefaults", "gold", spec);
    let of = |name: &str, more: &Value| {
        let body = server_with(more);
        let kind = Kind::McpServer.as_str().into();
        Object {
            kind,
            name: name.into(),
            uid: Uid(uuid::Uuid::new_v4()),
            version: 1,
            created_version: 1,
            body,
        }
    };
    let gold = json!({ "tier": "gold" });
    let own = json!({ "tier": "gold", "tools": { "newTools": "require-approval" }, "limits": { "concurrency": 64 } });
    let mut state = State::default();
    for object in [of("leaves-it", &gold), of("says-it", &own), of("bronze", &json!({}))] {
        state.insert(Arc::new(object));
    }
    let loose = tier(&json!({ "tools": { "newTools": "approve" }, "limits": { "concurrency": 100 } }));
    let strict = tier(&json!({ "tools": { "newTools": "ignore" }, "limits": { "concurrency": 1 } }));
    let change = |before, after| Touched { kind: Kind::TierDefaults, name: "gold", before, after };
    let both = vec!["exposure-limits", "approval-mode"];
    for (before, after, expected) in [
        (None, Some(&loose), both.clone()),
        (Some(&strict), None, vec!["exposure-limits"]),
        (Some(&loose), Some(&strict), vec![]),
        (None, Some(&strict), vec![]),
        (Some(&strict), Some(&loose), both.clone()),
    ] {
        assert_eq!(opened(&state, &[change(before, after)]), expected, "{before:?} -> {after:?}");
    }
    // Calls that the tier holds are freed where the server leaves it to the tier.
    let held = tier(&json!({ "tools": { "approval": "per-call" } }));
    let free = tier(&json!({ "tools": { "approval": "none" } }));
    for (before, after, expected) in [
        (None, Some(&held), vec![]),
        (Some(&held), Some(&free), vec!["approval-mode"; 2]),
        (Some(&held), None, vec!["approval-mode"; 2]),
        (Some(&free), None, vec![]),
    ] {
        assert_eq!(opened(&state, &[change(before, after)]), expected, "{before:?} -> {after:?}");
    }
    let own = json!({ "tier": "gold", "tools": { "approval": "per-call" } });
    let (left, says) = (server_with(&gold), server_with(&own));
    let own = |before, after| Touched { kind: Kind::McpServer, name: "leaves-it", before, after };
    let of_server = |touched: &[Touched<'_>]| {
        let found = touched.iter().flat_map(|change| openings(&state, touched, change));
        found.filter(|(matter, _)| matter.servers[0].as_str() == "leaves-it").count()
    };
    let frees = change(Some(&held), None);
    assert_eq!(
        of_server(&[frees, own(Some(&left), Some(&says))]),
        0,
        "the server holds them itself from now on"
    );
    assert_eq!(of_server(&[frees, own(Some(&left), Some(&left))]), 1);
    // The server that moves to the tier in the same apply is told once.
    let (was, is) = (server_with(&json!({})), server_with(&gold));
    let moves = Touched { kind: Kind::McpServer, name: "bronze", before: Some(&was), after: Some(&is) };
    let only = |touched: &[Touched<'_>]| {
        let found = touched.iter().flat_map(|change| openings(&state, touched, change));
        found.map(|(matter, class)| (matter.servers[0].to_string(), class.as_str())).collect::<Vec<_>>()
    };
    let expected = ["leaves-it", "bronze"]
        .map(|name| both.iter().map(|class| (name.to_owned(), *class)).collect::<Vec<_>>());
    assert_eq!(only(&[change(None, Some(&loose)), moves]), expected.concat());
    assert!(only(&[moves]).is_empty(), "without defaults all tiers are alike");
}

#[test]
fn an_enforced_policy_is_loosened_by_whatever_makes_it_say_or_do_something_else() {
    let policy =
        |mode: &str, cedar: &str| document("AccessPolicy", "p", &json!({ "mode": mode, "cedar": cedar }));
    let (one, other) =
        ("forbid(principal, action, resource);", "forbid(principal, action == Action::\"call\", resource);");
    for (before, after, loosens) in [
        (policy("enforce", one), Some(policy("shadow", one)), true),
        (policy("enforce", one), Some(policy("enforce", other)), true),
        (policy("enforce", one), None, true),
        (policy("enforce", one), Some(policy("enforce", one)), false),
        (policy("shadow", one), Some(policy("enforce", one)), false),
        (policy("shadow", one), Some(policy("shadow", other)), false),
        (policy("shadow", one), None, false),
    ] {
        let told = found(Kind::AccessPolicy, "p", Some(&before), after.as_ref());
        assert_eq!(told, if loosens { vec!["policy-loosening"] } else { vec![] }, "{before} -> {after:?}");
    }
    assert!(found(Kind::AccessPolicy, "p", None, Some(&policy("enforce", one))).is_empty());
}

/// Who is let in, and what is asked before it is left, each as a change of a policy and whether it opens a server at its stages
/// sandbox and limited.
#[test]
fn a_rollout_policy_opens_with_more_callers_a_stage_less_or_less_asked() {
    let both = |sandbox: Value, limited: Value| json!({ "sandbox": sandbox, "limited": limited });
    let limited = |limited: Value| both(json!({}), limited);
    let checks = |checks: Value| limited(json!({ "percent": 10, "checks": checks }));
    let asked = json!({ "window": "10m", "minCalls": 20, "maxErrorRate": "1%", "maxDenials": 5 });
    let but = |name: &str, value: Value| {
        let mut one = asked.clone();
        one[name] = value;
        if one[name].is_null() {
            one.as_object_mut().unwrap().remove(name);
        }
        checks(one)
    };
    let all = checks(asked.clone());
    for (before, after, opens) in [
        (all.clone(), all.clone(), [false, false]),
        (limited(json!({ "teams": ["a"] })), limited(json!({ "teams": ["a", "b"] })), [true, true]),
        (limited(json!({ "teams": ["a", "b"] })), limited(json!({ "teams": ["a"] })), [false, false]),
        (limited(json!({ "keys": ["a"] })), limited(json!({ "keys": ["b"] })), [true, true]),
        (limited(json!({ "percent": 10 })), limited(json!({ "percent": 11 })), [true, true]),
        (limited(json!({ "percent": 10 })), limited(json!({ "percent": 9 })), [false, false]),
        (limited(json!({ "keys": ["a"] })), limited(json!({ "keys": ["a"], "percent": 1 })), [true, true]),
        (limited(json!({ "keys": ["a"], "percent": 1 })), limited(json!({ "keys": ["a"] })), [false, false]),
        // A stage that is left out is a step less; one that is there now a step more, but for who waits at it.
        (all.clone(), json!({ "sandbox": {} }), [true, true]),
        (all.clone(), json!({ "limited": { "percent": 10, "checks": asked } }), [true, true]),
        (json!({ "sandbox": {} }), all.clone(), [false, true]),
        (json!({ "sandbox": {} }), json!({ "sandbox": {} }), [false, false]),
        // What is asked.
        (all.clone(), but("window", json!("9m")), [true, true]),
        (all.clone(), but("window", json!("11m")), [true, true]),
        (
            but("minCalls", json!(null)),
            checks(json!({ "window": "11m", "maxErrorRate": "1%", "maxDenials": 5 })),
            [false, false],
        ),
        (all.clone(), but("minCalls", json!(19)), [true, true]),
        (all.clone(), but("minCalls", json!(21)), [false, false]),
        (all.clone(), but("minCalls", json!(null)), [true, true]),
        (but("minCalls", json!(null)), all.clone(), [false, false]),
        (all.clone(), but("maxErrorRate", json!("1.01%")), [true, true]),
        (all.clone(), but("maxErrorRate", json!("0.5%")), [false, false]),
        (all.clone(), but("maxErrorRate", json!(null)), [true, true]),
        (all.clone(), but("maxDenials", json!(6)), [true, true]),
        (all.clone(), but("maxDenials", json!(0)), [false, false]),
        (all.clone(), but("maxDenials", json!(null)), [true, true]),
        (all.clone(), but("noDrift", json!(false)), [true, true]),
        (but("noDrift", json!(false)), all.clone(), [false, false]),
        (both(json!({ "checks": asked }), json!({})), limited(json!({})), [true, true]),
        (limited(json!({})), both(json!({ "checks": asked }), json!({})), [false, false]),
    ] {
        for (stage, opens) in ["sandbox", "limited", "general"].into_iter().zip([opens[0], opens[1], false]) {
            let told = rollout_of(stage, Some(&before), Some(&after));
            let expected = if opens { vec!["rollout-opening"] } else { vec![] };
            assert_eq!(told, expected, "at {stage}: {before} -> {after}");
        }
    }
}

fn object(kind: &str, name: &str, body: Value) -> Arc<Object> {
    let uid = Uid(uuid::Uuid::new_v4());
    Arc::new(Object { kind: kind.into(), name: name.into(), uid, version: 1, created_version: 1, body })
}

/// A server of this document that has come to a stage.
fn at_stage(stage: &str, server: Value) -> State {
    let mut state = State::default();
    let server = object("McpServer", "crm", server);
    let reached = json!({ "server": "crm", "lifecycle": "approved", "sinceUnixMs": 1,
        "stage": { "stage": stage, "sinceUnixMs": 1 } });
    state.insert(object(crate::objects::SERVER_STATE, &server.uid.to_string(), reached));
    state.insert(server);
    state
}

/// What is told of a change of the policy `p`, of a server that has it itself.
fn rollout_of(stage: &str, before: Option<&Value>, after: Option<&Value>) -> Vec<&'static str> {
    let policy = |spec: Option<&Value>| spec.map(|spec| document("RolloutPolicy", "p", spec));
    let (before, after) = (policy(before), policy(after));
    let mut state = at_stage(stage, server_with(&json!({ "rollout": { "policy": "p" } })));
    state.insert(object("RolloutPolicy", "p", before.clone().unwrap()));
    let kind = Kind::RolloutPolicy;
    opened(&state, &[Touched { kind, name: "p", before: before.as_ref(), after: after.as_ref() }])
}

#[test]
fn a_server_opens_with_another_policy_or_none_its_own_or_its_tiers() {
    let policies = |state: &mut State| {
        for (name, percent) in [("narrow", 5), ("wide", 50)] {
            let spec = json!({ "limited": { "percent": percent } });
            state.insert(object("RolloutPolicy", name, document("RolloutPolicy", name, &spec)));
        }
    };
    let own = |policy: &str| match policy {
        "" => server_with(&json!({ "tier": "gold" })),
        policy => server_with(&json!({ "tier": "gold", "rollout": { "policy": policy } })),
    };
    let gold = |policy: &str| match policy {
        "" => document("TierDefaults", "gold", &json!({})),
        policy => document("TierDefaults", "gold", &json!({ "rollout": { "policy": policy } })),
    };
    for (before, after, opens) in [
        ("narrow", "wide", true),
        ("narrow", "", true),
        ("wide", "narrow", false),
        ("", "narrow", false),
        ("wide", "wide", false),
    ] {
        let expected = if opens { vec!["rollout-opening"] } else { vec![] };
        // By itself.
        let (was, is) = (own(before), own(after));
        let mut state = at_stage("limited", was.clone());
        policies(&mut state);
        let change = Touched { kind: Kind::McpServer, name: "crm", before: Some(&was), after: Some(&is) };
        assert_eq!(opened(&state, &[change]), expected, "{before} -> {after}");
        // By its tier.
        let (was, is) = (gold(before), gold(after));
        let mut state = at_stage("limited", own(""));
        policies(&mut state);
        state.insert(object("TierDefaults", "gold", was.clone()));
        let change = Touched { kind: Kind::TierDefaults, name: "gold", before: Some(&was), after: Some(&is) };
        assert_eq!(opened(&state, &[change]), expected, "tier {before} -> {after}");
        // Of another tier, it is not concerned.
        let mut state = at_stage("limited", server_with(&json!({})));
        policies(&mut state);
        assert!(opened(&state, &[change]).is_empty(), "another tier {before} -> {after}");
    }
    // A policy that its tier gives, in the same apply as the tier that gives it.
    let mut state = at_stage("sandbox", own(""));
    policies(&mut state);
    let (was, is) = (gold("narrow"), gold("new"));
    state.insert(object("TierDefaults", "gold", was.clone()));
    let new = document("RolloutPolicy", "new", &json!({ "limited": { "percent": 6 } }));
    let tier = Touched { kind: Kind::TierDefaults, name: "gold", before: Some(&was), after: Some(&is) };
    let policy = Touched { kind: Kind::RolloutPolicy, name: "new", before: None, after: Some(&new) };
    assert!(opened(&state, &[tier, policy]).contains(&"rollout-opening"));
    // Nobody is under it: it opens nothing.
    let mut state = State::default();
    policies(&mut state);
    assert!(opened(&state, &[policy]).is_empty());
}
