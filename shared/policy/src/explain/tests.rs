use serde_json::json;

use super::*;
use crate::fixture::{NOW, hash, key_as, with_keys};

/// Every reason that `decide` can give for a tool, with the key, endpoint and name that lead to it.
#[test]
fn every_reason_is_explained_as_it_is_decided_with_the_step_that_failed() {
    let everything = json!([{ "server": "crm", "allow": ["*"] }, { "server": "github", "allow": ["*"] },
        { "server": "vault", "allow": ["*"] }, { "bundle": "support" }]);
    let snapshot = with_keys(vec![
        key_as("k", "internal", &everything, &json!({})),
        key_as("poor", "internal", &json!([]), &json!({})),
        key_as("gone", "internal", &everything, &json!({ "revoked": true })),
        key_as("late", "internal", &everything, &json!({ "expiresAt": "2020-01-01T00:00:00Z" })),
    ]);
    let all = EndpointRef::All;
    let support = EndpointRef::Bundle("support");
    for (key, endpoint, tool, reason, steps) in [
        ("nobody", all, "crm_find", Some(Reason::Unauthenticated), "key"),
        ("gone", all, "crm_find", Some(Reason::KeyRevoked), "key"),
        ("late", all, "crm_find", Some(Reason::KeyExpired), "key"),
        ("poor", support, "crm_find", Some(Reason::UnknownEndpoint), "key endpoint"),
        ("k", all, "invented", Some(Reason::ToolUnknown), "key endpoint name"),
        ("poor", all, "crm_find", Some(Reason::ToolNotGranted), "key endpoint name grant"),
        ("k", support, "vault_open", Some(Reason::ToolNotGranted), "key endpoint name grant bundle"),
        ("k", all, "crm_waiting", Some(Reason::ToolNotApproved), "key endpoint name grant approval"),
        ("k", all, "crm_drifted", Some(Reason::ToolQuarantined), "key endpoint name grant approval"),
        ("k", all, "vault_open", Some(Reason::ZoneDenied), "key endpoint name grant approval zone"),
        ("k", all, "github_secret_source", Some(Reason::ZoneDenied), "key endpoint name grant approval zone"),
        ("k", all, "crm_find", None, "key endpoint name grant approval zone"),
        ("k", support, "crm_find", None, "key endpoint name grant bundle approval zone"),
    ] {
        let explained = explain(&snapshot, key, endpoint, tool, NOW);
        let label = format!("{key} {endpoint:?} {tool}: {explained:?}");
        assert_eq!(explained.reason, reason, "{label}");
        assert_eq!(explained.decision == Decision::Permit, reason.is_none(), "{label}");
        let found: Vec<String> = explained
            .steps
            .iter()
            .map(|step| serde_json::to_value(step.step).unwrap().as_str().unwrap().to_owned())
            .collect();
        assert_eq!(found.join(" "), steps, "{label}");
        let (last, before) = explained.steps.split_last().unwrap();
        assert!(before.iter().all(|step| step.outcome == Outcome::Pass), "{label}");
        assert_eq!(last.outcome == Outcome::Pass, reason.is_none(), "{label}");
        assert!(explained.steps.iter().all(|step| !step.detail.is_empty()), "{label}");
        // What decide says, on the way that a call takes.
        let decided = snapshot.authenticate(&hash(key), NOW).and_then(|principal| {
            let view = snapshot.endpoint(&principal, endpoint)?;
            snapshot.decide_tool(&principal, &view, tool, NOW)
        });
        let (decided_reason, rule) = match decided {
            Ok(permit) => (None, permit.rule().clone()),
            Err(denial) => (Some(denial.reason), denial.rule),
        };
        assert_eq!((decided_reason, &rule), (reason, &explained.rule), "{label}");
    }
}

#[test]
fn an_explanation_has_the_members_of_the_contract() {
    let snapshot = with_keys(vec![key_as("k", "internal", &json!([{ "bundle": "support" }]), &json!({}))]);
    let explained = explain(&snapshot, "k", EndpointRef::All, "crm_find", NOW);
    let json = serde_json::to_value(&explained).unwrap();
    assert_eq!(json["decision"], "permit");
    assert_eq!(json["reason"], serde_json::Value::Null);
    assert_eq!(json["rule"], "VirtualKey/k spec.grants[0]");
    assert_eq!(json["snapshotVersion"], 7);
    assert_eq!(json["steps"][3]["step"], "grant");
    assert_eq!(json["steps"][3]["outcome"], "pass");
    assert_eq!(json["steps"][3]["rule"], "VirtualKey/k spec.grants[0]");
    let denied = explain(&snapshot, "k", EndpointRef::All, "crm_waiting", NOW);
    assert_eq!(serde_json::to_value(&denied).unwrap()["reason"], "tool_not_approved");
    let prompt =
        explain_definition(&snapshot, "k", EndpointRef::All, DefinitionKind::Prompt, "crm_greet", NOW);
    assert_eq!(prompt.reason, Some(Reason::ToolNotGranted));
}
