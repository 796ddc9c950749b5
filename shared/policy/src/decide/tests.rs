use serde_json::{Value, json};

use super::*;
use crate::fixture::{NOW, enter, hash, key, key_as, organisation, with_grants, with_keys};
use crate::view::EndpointRef;

type Row<'a> = (Value, EndpointRef<'a>, &'a str, Result<&'a str, (Reason, &'a str)>);

/// Who may what: grants, endpoint, name, and the rule that permits or the reason and the rule that deny.
#[test]
fn tools_are_decided_as_the_table_says() {
    let all = EndpointRef::All;
    let support = EndpointRef::Bundle("support");
    let crm = EndpointRef::Server("crm");
    let everything = json!([{ "server": "crm", "allow": ["*"] }, { "server": "github", "allow": ["*"] },
        { "server": "vault", "allow": ["*"] }, { "bundle": "support" }]);
    let grant = |grant: Value| json!([grant]);
    let table: Vec<Row<'_>> = vec![
        // What is granted.
        (everything.clone(), all, "crm_find", Ok("VirtualKey/k spec.grants[0]")),
        (everything.clone(), all, "github_search", Ok("VirtualKey/k spec.grants[1]")),
        (everything.clone(), all, "new-issue", Ok("VirtualKey/k spec.grants[1]")),
        (everything.clone(), support, "crm_refund", Ok("VirtualKey/k spec.grants[0]")),
        (everything.clone(), crm, "find", Ok("VirtualKey/k spec.grants[0]")),
        (grant(json!({ "bundle": "support" })), all, "crm_find", Ok("VirtualKey/k spec.grants[0]")),
        (
            grant(json!({ "server": "crm", "allow": ["f*d"] })),
            all,
            "crm_find",
            Ok("VirtualKey/k spec.grants[0]"),
        ),
        // What nothing is called.
        (everything.clone(), all, "crm_nothing", Err((Reason::ToolUnknown, "Default closed"))),
        (everything.clone(), all, "", Err((Reason::ToolUnknown, "Default closed"))),
        (everything.clone(), all, "find", Err((Reason::ToolUnknown, "Default closed"))),
        (everything.clone(), all, "CRM_find", Err((Reason::ToolUnknown, "Default closed"))),
        (everything.clone(), all, "github_create_issue", Err((Reason::ToolUnknown, "Default closed"))),
        (everything.clone(), all, "github_odd name/with slash", Err((Reason::ToolUnknown, "Default closed"))),
        (everything.clone(), crm, "crm_find", Err((Reason::ToolUnknown, "Default closed"))),
        (everything.clone(), crm, "search", Err((Reason::ToolUnknown, "Default closed"))),
        // What is not granted.
        (json!([]), all, "crm_find", Err((Reason::ToolNotGranted, "VirtualKey/k spec.grants"))),
        (
            grant(json!({ "server": "crm", "allow": [] })),
            all,
            "crm_find",
            Err((Reason::ToolNotGranted, "VirtualKey/k spec.grants")),
        ),
        (
            grant(json!({ "server": "crm", "except": ["refund"] })),
            all,
            "crm_find",
            Err((Reason::ToolNotGranted, "VirtualKey/k spec.grants")),
        ),
        (
            grant(json!({ "server": "crm", "allow": ["*"], "except": ["fi?d"] })),
            all,
            "crm_find",
            Err((Reason::ToolNotGranted, "VirtualKey/k spec.grants")),
        ),
        (
            grant(json!({ "server": "crm", "allow": ["find"] })),
            all,
            "github_search",
            Err((Reason::ToolNotGranted, "VirtualKey/k spec.grants")),
        ),
        (
            grant(json!({ "bundle": "support" })),
            all,
            "crm_delete_customer",
            Err((Reason::ToolNotGranted, "VirtualKey/k spec.grants")),
        ),
        // A prompt's grant is none of a tool.
        (
            grant(json!({ "server": "crm", "prompts": ["*"], "resources": ["*"] })),
            all,
            "crm_find",
            Err((Reason::ToolNotGranted, "VirtualKey/k spec.grants")),
        ),
        // What the bundle does not hold, though it is granted.
        (
            everything.clone(),
            support,
            "crm_delete_customer",
            Err((Reason::ToolNotGranted, "ToolBundle/support spec.tools")),
        ),
        (
            everything.clone(),
            support,
            "vault_open",
            Err((Reason::ToolNotGranted, "ToolBundle/support spec.tools")),
        ),
        // What is not approved; not granted comes first.
        (
            everything.clone(),
            all,
            "crm_waiting",
            Err((Reason::ToolNotApproved, "McpServer/crm tools/waiting")),
        ),
        (
            everything.clone(),
            all,
            "crm_drifted",
            Err((Reason::ToolQuarantined, "McpServer/crm tools/drifted")),
        ),
        (everything.clone(), crm, "drifted", Err((Reason::ToolQuarantined, "McpServer/crm tools/drifted"))),
        (
            grant(json!({ "server": "crm", "allow": ["find"] })),
            all,
            "crm_waiting",
            Err((Reason::ToolNotGranted, "VirtualKey/k spec.grants")),
        ),
        // What the zones forbid.
        (
            everything.clone(),
            all,
            "vault_open",
            Err((Reason::ZoneDenied, "TrustZone/island spec.reachableFrom")),
        ),
        (
            everything.clone(),
            all,
            "github_secret_source",
            Err((Reason::ZoneDenied, "TrustZone/vendor spec.allowedDataClasses")),
        ),
    ];
    for (grants, endpoint, name, expected) in table {
        let snapshot = with_grants(&grants);
        let (principal, view) = enter(&snapshot, endpoint);
        let decided = snapshot.decide_tool(&principal, &view, name, &Circumstances::at(NOW));
        let found = match &decided {
            Ok(permit) => Ok(permit.rule().to_string()),
            Err(denial) => Err((denial.reason, denial.rule.to_string())),
        };
        let expected = expected.map(str::to_owned).map_err(|(reason, rule)| (reason, rule.to_owned()));
        assert_eq!(found, expected, "{name} at {endpoint:?} with {grants}");
        match decided {
            Ok(permit) => {
                assert_eq!(permit.snapshot().0, 7);
                assert_eq!(permit.principal().key_name.as_str(), "k");
                assert!(
                    matches!(permit.target(), Target::Tool(tool) if tool.server.uid() == permit.server().uid())
                );
            }
            Err(denial) => assert_eq!(denial.snapshot.0, 7),
        }
    }
}

#[test]
fn a_denial_names_what_was_found_and_nothing_else() {
    let snapshot = with_grants(&json!([{ "server": "vault", "allow": ["*"] }]));
    let (principal, view) = enter(&snapshot, EndpointRef::All);
    let denied = snapshot.decide_tool(&principal, &view, "vault_open", &Circumstances::at(NOW)).unwrap_err();
    assert_eq!(denied.server.unwrap().as_str(), "vault");
    assert_eq!(denied.tool.as_deref(), Some("open"));
    assert_eq!(denied.zone.unwrap().as_str(), "island");
    let unknown = snapshot.decide_tool(&principal, &view, "invented", &Circumstances::at(NOW)).unwrap_err();
    assert_eq!((unknown.server, unknown.tool, unknown.zone), (None, None, None));
}

#[test]
fn prompts_are_decided_like_tools() {
    let all = EndpointRef::All;
    for (grants, endpoint, name, expected) in [
        (json!([{ "server": "crm", "prompts": ["*"] }]), all, "crm_greet", Ok(())),
        (json!([{ "server": "crm", "prompts": ["*"] }]), EndpointRef::Server("crm"), "greet", Ok(())),
        (json!([{ "server": "crm", "allow": ["*"] }]), all, "crm_greet", Err(Reason::ToolNotGranted)),
        (json!([{ "server": "crm", "prompts": ["*"] }]), all, "crm_draft", Err(Reason::ToolNotApproved)),
        (json!([{ "server": "crm", "prompts": ["*"] }]), all, "crm_find", Err(Reason::ToolUnknown)),
        (
            json!([{ "server": "crm", "prompts": ["*"] }, { "bundle": "support" }]),
            EndpointRef::Bundle("support"),
            "crm_greet",
            Err(Reason::ToolNotGranted),
        ),
    ] {
        let snapshot = with_grants(&grants);
        let (principal, view) = enter(&snapshot, endpoint);
        let decided = snapshot.decide_prompt(&principal, &view, name, &Circumstances::at(NOW));
        if let Ok(permit) = &decided {
            assert!(matches!(permit.target(), Target::Prompt(prompt) if &*prompt.name == "greet"));
        }
        assert_eq!(decided.map(|_| ()).map_err(|denial| denial.reason), expected, "{name} with {grants}");
    }
}

#[test]
fn resources_are_decided_by_the_patterns_of_the_grants() {
    let grants = json!([
        { "server": "crm", "resources": ["crm://customers/*", "crm://about"] },
        { "server": "vault", "resources": ["*"] },
        { "bundle": "support" },
    ]);
    let snapshot = with_grants(&grants);
    let all = EndpointRef::All;
    for (endpoint, server, uri, expected) in [
        (all, "crm", "crm://customers/1", Ok(())),
        (all, "crm", "crm://about", Ok(())),
        (EndpointRef::Server("crm"), "crm", "crm://about", Ok(())),
        (all, "crm", "crm://other", Err(Reason::ToolNotGranted)),
        (all, "crm", "crm://customers/../other", Err(Reason::ToolNotGranted)),
        (all, "crm", "crm://customers/%2e%2E/other", Err(Reason::ToolNotGranted)),
        (all, "crm", "crm://customers/a%2fb", Err(Reason::ToolNotGranted)),
        (all, "github", "crm://about", Err(Reason::ToolNotGranted)),
        (all, "nobody", "crm://about", Err(Reason::ToolUnknown)),
        (all, "vault", "vault://x", Err(Reason::ZoneDenied)),
        (EndpointRef::Server("crm"), "vault", "vault://x", Err(Reason::ToolNotGranted)),
        (EndpointRef::Bundle("support"), "crm", "crm://about", Err(Reason::ToolNotGranted)),
    ] {
        let (principal, view) = enter(&snapshot, endpoint);
        let decided = snapshot.decide_resource(&principal, &view, server, uri, &Circumstances::at(NOW));
        if let Ok(permit) = &decided {
            assert!(matches!(permit.target(), Target::Resource { uri: kept } if &**kept == uri));
            assert_eq!(permit.rule().to_string(), "VirtualKey/k spec.grants[0]");
        }
        assert_eq!(decided.map(|_| ()).map_err(|denial| denial.reason), expected, "{uri} of {server}");
    }
}

#[test]
fn a_server_may_be_spoken_to_when_anything_of_it_is_granted_and_its_zone_allows() {
    let grants = json!([{ "server": "crm", "resources": ["x"] }, { "server": "vault", "allow": ["*"] },
        { "bundle": "support" }]);
    let snapshot = with_grants(&grants);
    let all = EndpointRef::All;
    for (endpoint, server, expected) in [
        (all, "crm", Ok("VirtualKey/k spec.grants[0]")),
        (all, "github", Ok("VirtualKey/k spec.grants[2]")),
        (EndpointRef::Bundle("support"), "github", Ok("VirtualKey/k spec.grants[2]")),
        (EndpointRef::Server("crm"), "crm", Ok("VirtualKey/k spec.grants[0]")),
        (EndpointRef::Server("crm"), "github", Err(Reason::ToolNotGranted)),
        (all, "vault", Err(Reason::ZoneDenied)),
        (EndpointRef::Bundle("support"), "vault", Err(Reason::ToolNotGranted)),
        (all, "nobody", Err(Reason::ToolUnknown)),
    ] {
        let (principal, view) = enter(&snapshot, endpoint);
        let decided = snapshot.decide_server(&principal, &view, server, &Circumstances::at(NOW));
        let found = decided.map(|permit| permit.rule().to_string()).map_err(|denial| denial.reason);
        assert_eq!(found, expected.map(str::to_owned), "{server} at {endpoint:?}");
    }
}

#[test]
fn an_endpoint_that_no_grant_reaches_is_as_unknown_as_one_that_is_not_there() {
    let snapshot = with_grants(&json!([{ "server": "crm", "allow": ["find"] }, { "server": "github" }]));
    let principal = snapshot.authenticate(&hash("k"), NOW).unwrap();
    let refused = |endpoint| snapshot.endpoint(&principal, endpoint).unwrap_err();
    let missing = refused(EndpointRef::Bundle("nowhere"));
    assert_eq!(missing.reason, Reason::UnknownEndpoint);
    // It is there, but not granted: not even its tools that other grants name open it.
    assert_eq!(refused(EndpointRef::Bundle("support")), missing);
    assert_eq!(refused(EndpointRef::Server("vault")), missing);
    // A grant that grants nothing reaches nothing.
    assert_eq!(refused(EndpointRef::Server("github")), missing);
    assert!(snapshot.endpoint(&principal, EndpointRef::Server("crm")).is_ok());
    assert!(snapshot.endpoint(&principal, EndpointRef::All).is_ok());
}

#[test]
fn a_bundle_grant_reaches_the_servers_of_the_bundle_with_its_tools_alone() {
    let snapshot = with_grants(&json!([{ "bundle": "support" }]));
    let (principal, view) = enter(&snapshot, EndpointRef::Server("crm"));
    assert!(snapshot.decide_tool(&principal, &view, "refund", &Circumstances::at(NOW)).is_ok());
    let denied =
        snapshot.decide_tool(&principal, &view, "delete_customer", &Circumstances::at(NOW)).unwrap_err();
    assert_eq!(denied.reason, Reason::ToolNotGranted);
}

#[test]
fn keys_are_known_by_hash_in_time_and_until_revoked() {
    let time = |ms: u64| chrono::DateTime::from_timestamp_millis(i64::try_from(ms).unwrap()).unwrap();
    let grants = json!([{ "server": "crm", "allow": ["*"] }]);
    let more = |more: Value| vec![key_as("k", "internal", &grants, &more)];
    let old = hash("rotated away");
    for (keys, presented, expected) in [
        (more(json!({})), hash("k"), Ok(())),
        (more(json!({})), hash("other"), Err((Reason::Unauthenticated, "Default closed"))),
        (more(json!({ "secrets": [] })), hash("k"), Err((Reason::Unauthenticated, "Default closed"))),
        (more(json!({ "expiresAt": time(NOW + 1) })), hash("k"), Ok(())),
        (
            more(json!({ "expiresAt": time(NOW) })),
            hash("k"),
            Err((Reason::KeyExpired, "VirtualKey/k spec.expiresAt")),
        ),
        (
            more(json!({ "expiresAt": "1960-01-01T00:00:00Z" })),
            hash("k"),
            Err((Reason::KeyExpired, "VirtualKey/k spec.expiresAt")),
        ),
        (
            more(json!({ "revoked": true })),
            hash("k"),
            Err((Reason::KeyRevoked, "VirtualKey/k status.revoked")),
        ),
        (
            more(json!({ "revoked": true, "expiresAt": time(NOW) })),
            hash("k"),
            Err((Reason::KeyRevoked, "VirtualKey/k status.revoked")),
        ),
        (
            more(json!({ "secrets": [{ "hash": hash("k") }, { "hash": old, "until": time(NOW + 1) }] })),
            old,
            Ok(()),
        ),
        (
            more(json!({ "secrets": [{ "hash": hash("k") }, { "hash": old, "until": time(NOW) }] })),
            old,
            Err((Reason::KeyExpired, "VirtualKey/k spec.expiresAt")),
        ),
        (
            more(json!({ "secrets": [{ "hash": hash("k") }, { "hash": old, "until": time(NOW) }] })),
            hash("k"),
            Ok(()),
        ),
    ] {
        let label = format!("{keys:?}");
        let snapshot = with_keys(keys);
        let found = snapshot.authenticate(&presented, NOW);
        let found = found.map(|_| ()).map_err(|denial| (denial.reason, denial.rule.to_string()));
        assert_eq!(found, expected.map_err(|(reason, rule)| (reason, rule.to_owned())), "{label}");
    }
}

#[test]
fn a_principal_carries_team_and_customer() {
    let more = json!({ "team": "support-team" });
    let snapshot = with_keys(vec![key_as("k", "internal", &json!([]), &more)]);
    let principal = snapshot.authenticate(&hash("k"), NOW).unwrap();
    assert_eq!(principal.team.as_ref().unwrap().as_str(), "support-team");
    assert_eq!(principal.customer.as_ref().unwrap().as_str(), "acme");
    assert_eq!(&*principal.subject, "k");
}

#[test]
fn a_key_that_expires_while_a_stream_is_open_is_refused_on_it() {
    let time = chrono::DateTime::from_timestamp_millis(i64::try_from(NOW + 1_000).unwrap()).unwrap();
    let grants = json!([{ "server": "crm", "allow": ["*"] }]);
    let snapshot = with_keys(vec![key_as("k", "internal", &grants, &json!({ "expiresAt": time }))]);
    let (principal, view) = enter(&snapshot, EndpointRef::All);
    assert!(snapshot.decide_tool(&principal, &view, "crm_find", &Circumstances::at(NOW + 999)).is_ok());
    let denied =
        snapshot.decide_tool(&principal, &view, "crm_find", &Circumstances::at(NOW + 1_000)).unwrap_err();
    assert_eq!(denied.reason, Reason::KeyExpired);
}

#[test]
fn principals_and_views_of_an_older_snapshot_are_judged_by_the_newer_one() {
    let old = with_grants(&json!([{ "server": "crm", "allow": ["*"] }]));
    let (principal, view) = enter(&old, EndpointRef::All);
    assert!(old.decide_tool(&principal, &view, "crm_find", &Circumstances::at(NOW)).is_ok());
    let decide = |snapshot: &Snapshot| {
        snapshot
            .decide_tool(&principal, &view, "crm_find", &Circumstances::at(NOW))
            .map(|_| ())
            .map_err(|denial| denial.reason)
    };
    // The grant is gone.
    assert_eq!(decide(&with_grants(&json!([]))), Err(Reason::ToolNotGranted));
    // The key is revoked, or deleted, or another key has its name now.
    let revoked =
        key_as("k", "internal", &json!([{ "server": "crm", "allow": ["*"] }]), &json!({ "revoked": true }));
    assert_eq!(decide(&with_keys(vec![revoked])), Err(Reason::KeyRevoked));
    assert_eq!(decide(&with_keys(vec![])), Err(Reason::Unauthenticated));
    let uid = crate::fixture::uid("another");
    let other =
        key_as("k", "internal", &json!([{ "server": "crm", "allow": ["*"] }]), &json!({ "uid": uid }));
    assert_eq!(decide(&with_keys(vec![other])), Err(Reason::Unauthenticated));
    // Nothing changed for it: the permit is the new snapshot's.
    let same =
        with_grants(&json!([{ "server": "crm", "allow": ["*"] }, { "server": "github", "allow": ["*"] }]));
    let permit = same.decide_tool(&principal, &view, "github_search", &Circumstances::at(NOW)).unwrap();
    assert!(!Arc::ptr_eq(permit.principal(), &principal));
    // An endpoint that is no longer reached.
    let bundled = with_grants(&json!([{ "bundle": "support" }]));
    let (principal, view) = enter(&bundled, EndpointRef::Bundle("support"));
    let denied = old.decide_tool(&principal, &view, "crm_find", &Circumstances::at(NOW)).unwrap_err();
    assert_eq!(denied.reason, Reason::UnknownEndpoint);
}

#[test]
fn an_exception_that_cannot_be_read_leaves_out_everything() {
    let snapshot = with_grants(&json!([{ "server": "crm", "allow": ["*"], "except": [""] }]));
    let (principal, view) = enter(&snapshot, EndpointRef::All);
    let denied = snapshot.decide_tool(&principal, &view, "crm_find", &Circumstances::at(NOW)).unwrap_err();
    assert_eq!(denied.reason, Reason::ToolNotGranted);
}

#[test]
fn the_audit_mode_of_the_servers_zone_is_in_the_permit() {
    let mut entries = organisation();
    let Some(crate::Entry::Zone(zone)) = entries.first_mut() else { panic!("the first entry is a zone") };
    zone.audit = crate::resource::AuditMode::BestEffort;
    entries.push(key("k", "internal", &json!([{ "bundle": "support" }])));
    let snapshot = crate::fixture::compile(entries).unwrap();
    let (principal, view) = enter(&snapshot, EndpointRef::All);
    let audit =
        |name: &str| snapshot.decide_tool(&principal, &view, name, &Circumstances::at(NOW)).unwrap().audit();
    assert_eq!(audit("crm_find"), crate::resource::AuditMode::BestEffort);
    assert_eq!(audit("github_search"), crate::resource::AuditMode::Required);
}

/// A call that a person has to approve is held back, and goes through where one approved exactly this definition of the tool.
#[test]
fn a_call_that_needs_a_person_is_held_back_last_of_all_and_its_tool_is_listed() {
    let definition = crate::fixture::approved(&json!({ "name": "pay" }));
    let held = json!({ "approval": "per-call" });
    let mut entries = organisation();
    entries.push(crate::fixture::tool_as("crm", "pay", &definition, &held));
    entries.push(crate::fixture::tool_as("vault", "pay", &definition, &held));
    for by in ["server", "tier"] {
        let definition = crate::fixture::approved(&json!({ "name": by }));
        entries.push(crate::fixture::tool_as("crm", by, &definition, &json!({ "approval": by })));
    }
    entries.push(key(
        "k",
        "internal",
        &json!([{ "server": "crm", "allow": ["*"] }, { "server": "vault", "allow": ["*"] }]),
    ));
    let snapshot = crate::fixture::compile(entries).unwrap();
    let (principal, view) = enter(&snapshot, EndpointRef::All);
    let pin = view.tools().iter().find(|tool| &*tool.name == "crm_pay").expect("it is listed").tool.pin;
    let other = hash("another definition");
    let rule = "McpServer/crm spec.tools.overrides[pay].approval";
    for (tool, released, expected) in [
        ("crm_pay", None, Err((Reason::ApprovalRequired, rule))),
        ("crm_pay", Some(&other), Err((Reason::ApprovalRequired, rule))),
        ("crm_pay", Some(&pin), Ok(())),
        ("crm_server", None, Err((Reason::ApprovalRequired, "McpServer/crm spec.tools.approval"))),
        ("crm_tier", None, Err((Reason::ApprovalRequired, "TierDefaults/bronze spec.tools.approval"))),
        ("crm_find", None, Ok(())),
        ("crm_find", Some(&pin), Ok(())),
        ("vault_pay", None, Err((Reason::ZoneDenied, "TrustZone/island spec.reachableFrom"))),
        ("vault_pay", Some(&pin), Err((Reason::ZoneDenied, "TrustZone/island spec.reachableFrom"))),
    ] {
        let circumstances = Circumstances { released, ..Circumstances::at(NOW) };
        let decided = snapshot.decide_tool(&principal, &view, tool, &circumstances);
        let decided = decided.map(drop).map_err(|denial| (denial.reason, denial.rule.to_string()));
        let expected = expected.map_err(|(reason, rule): (_, &str)| (reason, rule.to_owned()));
        assert_eq!(decided, expected, "{tool} {released:?}");
    }
}
