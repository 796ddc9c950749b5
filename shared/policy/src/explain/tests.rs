use serde_json::json;
use serde_json::value::RawValue;

use super::*;
use crate::fixture::{NOW, compile, hash, key_as, organisation, with_keys};
use crate::snapshot::Entry;

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
        ("nobody", all, "crm_find", Some(Reason::Unauthenticated), "snapshot key"),
        ("gone", all, "crm_find", Some(Reason::KeyRevoked), "snapshot key"),
        ("late", all, "crm_find", Some(Reason::KeyExpired), "snapshot key"),
        ("poor", support, "crm_find", Some(Reason::UnknownEndpoint), "snapshot key endpoint"),
        ("k", all, "invented", Some(Reason::ToolUnknown), "snapshot key endpoint request load name"),
        (
            "poor",
            all,
            "crm_find",
            Some(Reason::ToolNotGranted),
            "snapshot key endpoint request load name grant",
        ),
        (
            "k",
            support,
            "vault_open",
            Some(Reason::ToolNotGranted),
            "snapshot key endpoint request load name grant bundle",
        ),
        (
            "k",
            all,
            "crm_waiting",
            Some(Reason::ToolNotApproved),
            "snapshot key endpoint request load name grant approval",
        ),
        (
            "k",
            all,
            "crm_drifted",
            Some(Reason::ToolQuarantined),
            "snapshot key endpoint request load name grant approval",
        ),
        (
            "k",
            all,
            "vault_open",
            Some(Reason::ZoneDenied),
            "snapshot key endpoint request load name grant approval stage zone",
        ),
        (
            "k",
            all,
            "github_secret_source",
            Some(Reason::ZoneDenied),
            "snapshot key endpoint request load name grant approval stage zone",
        ),
        (
            "k",
            all,
            "crm_find",
            None,
            "snapshot key endpoint request load name grant approval stage zone client BEYOND",
        ),
        (
            "k",
            support,
            "crm_find",
            None,
            "snapshot key endpoint request load name grant bundle approval stage zone client BEYOND",
        ),
    ] {
        let explained = explain(&snapshot, &Question::tool(key, endpoint, tool, NOW));
        let label = format!("{key} {endpoint:?} {tool}: {explained:?}");
        assert_eq!(explained.reason, reason, "{label}");
        assert_eq!(explained.decision == Decision::Permit, reason.is_none(), "{label}");
        let found: Vec<String> = explained
            .steps
            .iter()
            .map(|step| serde_json::to_value(step.step).unwrap().as_str().unwrap().to_owned())
            .collect();
        let beyond = "size record concurrency upstream timeout answer";
        assert_eq!(found.join(" "), steps.replace("BEYOND", beyond), "{label}");
        let (last, before) = explained.steps.split_last().unwrap();
        assert!(before.iter().all(|step| matches!(step.outcome, Outcome::Pass | Outcome::Live)), "{label}");
        assert_eq!(last.outcome == Outcome::Live, reason.is_none(), "{label}");
        assert_eq!(last.outcome == Outcome::Deny, reason.is_some(), "{label}");
        assert!(explained.steps.iter().all(|step| !step.detail.is_empty()), "{label}");
        // What decide says, on the way that a call takes.
        let decided = snapshot.authenticate(&hash(key), NOW).and_then(|principal| {
            let view = snapshot.endpoint(&principal, endpoint)?;
            snapshot.decide_tool(&principal, &view, tool, &Circumstances::at(NOW))
        });
        let (decided_reason, rule) = match decided {
            Ok(permit) => (None, permit.rule().clone()),
            Err(denial) => (Some(denial.reason), denial.rule),
        };
        assert_eq!((decided_reason, &rule), (reason, &explained.rule), "{label}");
    }
}

/// What a data plane meets ends the call where it meets it, and says what its record says.
#[test]
fn an_assumption_ends_the_call_at_its_step_unless_an_earlier_one_denies() {
    let grants = json!([{ "server": "crm", "allow": ["*"] }, { "server": "vault", "allow": ["*"] }]);
    let snapshot = with_keys(vec![
        key_as("k", "internal", &grants, &json!({})),
        key_as("gone", "internal", &grants, &json!({ "revoked": true })),
    ]);
    let ask = |key, tool, assume: &[Reason]| {
        explain(&snapshot, &Question { assume, ..Question::tool(key, EndpointRef::All, tool, NOW) })
    };
    for (reason, step, outcome, rule) in [
        (Reason::SnapshotStale, Step::Snapshot, Outcome::Deny, "Default snapshot"),
        (Reason::MalformedRequest, Step::Request, Outcome::Deny, "Default protocol"),
        (Reason::Overloaded, Step::Load, Outcome::Deny, "Default bounds"),
        (Reason::AuditUnavailable, Step::Record, Outcome::Deny, "TrustZone/internal spec.audit"),
        (
            Reason::ConcurrencyExceeded,
            Step::Concurrency,
            Outcome::Deny,
            "McpServer/crm spec.limits.concurrency",
        ),
        (Reason::UpstreamUnavailable, Step::Upstream, Outcome::Fail, "VirtualKey/k spec.grants[0]"),
        (Reason::UpstreamError, Step::Upstream, Outcome::Fail, "VirtualKey/k spec.grants[0]"),
        (Reason::UpstreamTimeout, Step::Timeout, Outcome::Fail, "McpServer/crm spec.limits.timeout"),
        (Reason::ResponseTooLarge, Step::Answer, Outcome::Fail, "McpServer/crm spec.limits.maxResponseBytes"),
        (Reason::Internal, Step::Answer, Outcome::Fail, "VirtualKey/k spec.grants[0]"),
    ] {
        let explained = ask("k", "crm_find", &[reason]);
        let last = explained.steps.last().unwrap();
        assert_eq!((last.step, last.outcome), (step, outcome), "{reason}: {explained:?}");
        assert_eq!(explained.reason, Some(reason));
        assert_eq!((explained.rule.to_string().as_str(), &last.rule), (rule, &explained.rule), "{reason}");
        let met = crate::live::met(reason, snapshot.server("crm").map(|server| &**server));
        assert_eq!(explained.decision, met.decision, "{reason}");
        assert_eq!(explained.rule, met.rule.unwrap_or(explained.rule.clone()), "{reason}");
    }
    assert_eq!(
        crate::live::REASONS.len(),
        13,
        "each of them is above, but for a person's denial, a rate limit and a budget, which have tests of their own"
    );
    // What comes first counts, whichever was named first.
    let both = [Reason::UpstreamTimeout, Reason::Overloaded];
    assert_eq!(ask("k", "crm_find", &both).reason, Some(Reason::Overloaded));
    assert_eq!(ask("gone", "crm_find", &both).reason, Some(Reason::KeyRevoked));
    assert_eq!(ask("gone", "crm_find", &[Reason::SnapshotStale]).reason, Some(Reason::SnapshotStale));
    assert_eq!(ask("k", "vault_open", &[Reason::UpstreamTimeout]).reason, Some(Reason::ZoneDenied));
    assert_eq!(ask("k", "vault_open", &[Reason::MalformedRequest]).reason, Some(Reason::MalformedRequest));
    // A reason of policy is not to be assumed; it has no effect.
    assert_eq!(ask("k", "crm_find", &[Reason::ZoneDenied]).reason, None);
}

#[test]
fn where_audit_is_best_effort_a_missing_place_denies_nothing() {
    let entries = organisation()
        .into_iter()
        .map(|entry| match entry {
            Entry::Zone(mut zone) => {
                zone.audit = crate::resource::AuditMode::BestEffort;
                Entry::Zone(zone)
            }
            entry => entry,
        })
        .chain([key_as("k", "internal", &json!([{ "server": "crm", "allow": ["*"] }]), &json!({}))]);
    let snapshot = compile(entries.collect()).unwrap();
    let assume = &[Reason::AuditUnavailable];
    let question = Question { assume, ..Question::tool("k", EndpointRef::All, "crm_find", NOW) };
    let explained = explain(&snapshot, &question);
    assert_eq!((explained.decision, explained.reason), (Decision::Permit, None), "{explained:?}");
    let record = explained.steps.iter().find(|step| step.step == Step::Record).unwrap();
    assert_eq!(
        (record.outcome, record.rule.to_string().as_str()),
        (Outcome::Pass, "TrustZone/internal spec.audit")
    );
}

#[test]
fn arguments_are_judged_by_the_size_that_the_server_takes() {
    let snapshot =
        with_keys(vec![key_as("k", "internal", &json!([{ "server": "crm", "allow": ["*"] }]), &json!({}))]);
    for (length, reason, outcome) in
        [(1 << 20, None, Outcome::Pass), ((1 << 20) + 1, Some(Reason::ArgumentsInvalid), Outcome::Deny)]
    {
        let text = format!("{{\"a\":\"{}\"}}", "x".repeat(length - 8));
        let arguments: &RawValue = serde_json::from_str(&text).unwrap();
        let circumstances = Circumstances { arguments: Some(arguments), ..Circumstances::at(NOW) };
        let question = Question { circumstances, ..Question::tool("k", EndpointRef::All, "crm_find", NOW) };
        let explained = explain(&snapshot, &question);
        assert_eq!(explained.reason, reason);
        let size = explained.steps.iter().find(|step| step.step == Step::Size).unwrap();
        assert_eq!(size.outcome, outcome);
        assert_eq!(size.rule.to_string(), "McpServer/crm spec.limits.maxRequestBytes");
        assert!(size.detail.contains(&length.to_string()), "{}", size.detail);
    }
}

#[test]
fn an_explanation_has_the_members_of_the_contract() {
    let snapshot = with_keys(vec![key_as("k", "internal", &json!([{ "bundle": "support" }]), &json!({}))]);
    let explained = explain(&snapshot, &Question::tool("k", EndpointRef::All, "crm_find", NOW));
    let json = serde_json::to_value(&explained).unwrap();
    assert_eq!(json["decision"], "permit");
    assert_eq!(json["reason"], serde_json::Value::Null);
    assert_eq!(json["rule"], "VirtualKey/k spec.grants[0]");
    assert_eq!(json["snapshotVersion"], 7);
    assert_eq!(
        (&json["steps"][0]["step"], &json["steps"][0]["outcome"]),
        (&json!("snapshot"), &json!("live"))
    );
    assert_eq!(json["steps"][6]["step"], "grant");
    assert_eq!(json["steps"][6]["outcome"], "pass");
    assert_eq!(json["steps"][6]["rule"], "VirtualKey/k spec.grants[0]");
    let denied = explain(&snapshot, &Question::tool("k", EndpointRef::All, "crm_waiting", NOW));
    assert_eq!(serde_json::to_value(&denied).unwrap()["reason"], "tool_not_approved");
    let prompt =
        Question { kind: DefinitionKind::Prompt, ..Question::tool("k", EndpointRef::All, "crm_greet", NOW) };
    let prompt = explain(&snapshot, &prompt);
    assert_eq!(prompt.reason, Some(Reason::ToolNotGranted));
}

#[test]
fn a_call_that_needs_a_person_is_explained_as_it_is_decided_after_all_that_denies_it_anyway() {
    let held = json!({ "approval": "per-call" });
    let definition = crate::fixture::approved(&json!({ "name": "pay" }));
    let mut entries = organisation();
    entries.push(crate::fixture::tool_as("crm", "pay", &definition, &held));
    entries.push(crate::fixture::tool_as("vault", "pay", &definition, &held));
    let send = crate::fixture::approved(&json!({ "name": "send" }));
    entries.push(crate::fixture::tool_as("crm", "send", &send, &json!({ "approval": "tier" })));
    let grants = json!([{ "server": "crm", "allow": ["*"] }, { "server": "vault", "allow": ["*"] }]);
    entries.push(key_as("k", "internal", &grants, &json!({})));
    let snapshot = compile(entries).unwrap();
    let rule = "McpServer/crm spec.tools.overrides[pay].approval";
    let zone = "TrustZone/island spec.reachableFrom";
    let audit = "TrustZone/internal spec.audit";
    for (tool, assume, reason, expected) in [
        ("crm_pay", vec![], Reason::ApprovalRequired, rule),
        ("crm_pay", vec![Reason::ApprovalDenied], Reason::ApprovalDenied, rule),
        ("crm_pay", vec![Reason::UpstreamTimeout], Reason::ApprovalRequired, rule),
        ("crm_pay", vec![Reason::ApprovalDenied, Reason::AuditUnavailable], Reason::AuditUnavailable, audit),
        ("crm_send", vec![], Reason::ApprovalRequired, "TierDefaults/bronze spec.tools.approval"),
        ("vault_pay", vec![Reason::ApprovalDenied], Reason::ZoneDenied, zone),
    ] {
        let question = Question { assume: &assume, ..Question::tool("k", EndpointRef::All, tool, NOW) };
        let explained = explain(&snapshot, &question);
        let label = format!("{tool} {assume:?}: {explained:?}");
        assert_eq!((explained.decision, explained.reason), (Decision::Deny, Some(reason)), "{label}");
        assert_eq!(explained.rule.to_string(), expected, "{label}");
        assert_eq!(explained.steps.last().unwrap().outcome, Outcome::Deny, "{label}");
    }
    for (asked, assume, reason) in [
        (Asked::Waits, vec![], Some(Reason::ApprovalRequired)),
        (Asked::Denied, vec![], Some(Reason::ApprovalDenied)),
        (Asked::Approved, vec![], None),
        (Asked::Approved, vec![Reason::ApprovalDenied], Some(Reason::ApprovalDenied)),
        (Asked::Approved, vec![Reason::UpstreamTimeout], Some(Reason::UpstreamTimeout)),
    ] {
        let question = Question::tool("k", EndpointRef::All, "crm_pay", NOW);
        let explained = explain(&snapshot, &Question { assume: &assume, asked: Some(asked), ..question });
        assert_eq!(explained.reason, reason, "{asked:?} {assume:?}: {explained:?}");
        let elsewhere = Question { name: "vault_pay", asked: Some(asked), ..question };
        assert_eq!(explain(&snapshot, &elsewhere).reason, Some(Reason::ZoneDenied), "{asked:?}");
    }
    let free = Question {
        assume: &[Reason::ApprovalDenied],
        ..Question::tool("k", EndpointRef::All, "crm_find", NOW)
    };
    assert_eq!(explain(&snapshot, &free).reason, None, "nobody is asked about it");
}
