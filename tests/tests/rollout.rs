//! How a server is opened step by step, stopped, and ended.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing,
    reason = "steps of tests"
)]

use portcullis_proto::admin::v1 as api;
use portcullis_tests::admin::secret;
use portcullis_tests::patience::eventually;
use portcullis_tests::planes::{ControlOptions, DataPlane, PlaneOptions};
use portcullis_tests::{Caller, Portcullis, Upstream};
use serde_json::{Value, json};

const KEYS: usize = 12;

/// A server with a sandbox under a policy, keys of ordinary people, a canary, and a key for the sandbox.
fn organisation(server: &Upstream, twin: &Upstream) -> String {
    let key = |name: &str, more: &str| {
        format!(
            r#"
---
apiVersion: portcullis/v1
kind: VirtualKey
metadata: {{ name: {name} }}
spec: {{ principal: {{ kind: agent, subject: {name} }}, grants: [ {{ server: crm, allow: ["*"] }} ]{more} }}
"#
        )
    };
    let people: String = (0..KEYS).map(|at| key(&format!("person-{at}"), "")).collect();
    format!(
        r#"
apiVersion: portcullis/v1
kind: RolloutPolicy
metadata: {{ name: careful }}
spec:
  sandbox: {{ checks: {{ window: 3s, minCalls: 4, maxErrorRate: 10%, maxDenials: 0 }} }}
  limited: {{ keys: [canary], percent: 40, checks: {{ window: 1s }} }}
---
apiVersion: portcullis/v1
kind: McpServer
metadata: {{ name: crm }}
spec:
  transport: {{ streamableHttp: {{ url: "{}" }} }}
  sandbox: {{ transport: {{ streamableHttp: {{ url: "{}" }} }} }}
  rollout: {{ policy: careful }}
{people}{}{}"#,
        server.url,
        twin.url,
        key("canary", ""),
        key("lab", ", sandbox: true"),
    )
}

async fn may(caller: &Caller) -> bool {
    let answer = caller.call("crm_read", json!({})).await;
    assert!(answer.succeeded() || answer.code() == -32602, "{}", answer.text);
    let listed = caller.tools().await.contains(&"crm_read".to_owned());
    assert_eq!(listed, answer.succeeded(), "a list shows what may be called");
    listed
}

fn failed(answer: &api::PromoteServerResponse) -> Vec<&str> {
    answer.checks.iter().filter(|check| !check.passed).map(|check| check.name.as_str()).collect()
}

/// Goes on calling well until the server may move on.
async fn promoted(portcullis: &Portcullis, caller: &Caller) -> api::PromoteServerResponse {
    let found = eventually("the checks hold", async || {
        assert!(caller.call("crm_read", json!({})).await.succeeded());
        let answer = portcullis.admin.promote("crm").await.unwrap();
        answer.promoted.then_some(answer)
    });
    let answer = found.await.0;
    portcullis.settle().await;
    answer
}

#[tokio::test(flavor = "multi_thread")]
async fn a_server_is_opened_stage_by_stage_as_far_as_it_does_well() {
    // The twin speaks another revision than the server: nothing that is known of one is taken for the other.
    let (server, twin) =
        (Upstream::modern(&["read", "fail"]).await, Upstream::legacy(&["read", "fail"]).await);
    let mut portcullis = Portcullis::start_with(ControlOptions::default()).await;
    let applied = portcullis.admit(&organisation(&server, &twin), 4).await;
    let people: Vec<String> = (0..KEYS).map(|at| secret(&applied, &format!("person-{at}"))).collect();
    let (canary, lab) = (secret(&applied, "canary"), secret(&applied, "lab"));
    let at = |plane: &DataPlane, secret: &str| plane.modern("/mcp", secret);
    let status = portcullis.admin.status_of("McpServer", "crm").await;
    assert_eq!((&status["lifecycle"], &status["stage"]), (&json!("approved"), &json!("sandbox")), "{status}");

    // At the stage sandbox only the key that asks for it is let in, and it meets the twin alone.
    let sandboxed = at(&portcullis.plane, &lab);
    assert!(may(&sandboxed).await);
    assert!(!may(&at(&portcullis.plane, &canary)).await);
    let refused = at(&portcullis.plane, &people[0]).call("crm_read", json!({})).await;
    assert!(refused.text.contains("Unknown tool"), "{}", refused.text);
    let record = portcullis.plane.record(refused.request_id()).await;
    assert_eq!(record.reason.unwrap().code(), "tool_not_approved");
    assert_eq!(record.rule.as_deref(), Some("McpServer/crm status.stage"));
    let explained = portcullis.admin.explain("person-0", "crm_read", "/mcp").await;
    assert_eq!(explained["steps"].as_array().unwrap().last().unwrap()["step"], "stage", "{explained}");
    assert!(twin.calls() > 0);
    assert_eq!(server.calls(), 0, "nothing but the twin is met");

    // Calls that fail keep it there, with their number; calls that do well let it go on.
    for _ in 0..6 {
        assert!(!sandboxed.call("crm_fail", json!({})).await.succeeded());
    }
    let told = eventually("the failures are told", async || {
        let answer = portcullis.admin.promote("crm").await.unwrap();
        assert!(!answer.promoted);
        failed(&answer).contains(&"errorRate").then_some(answer)
    });
    let told = told.await.0;
    let rate = told.checks.iter().find(|check| check.name == "errorRate").unwrap();
    assert!(rate.measured.contains("6 tool_error") && rate.required.contains("10%"), "{rate:?}");
    let answer = promoted(&portcullis, &sandboxed).await;
    assert_eq!((answer.from.as_str(), answer.to.as_str()), ("sandbox", "limited"));
    let stage = |explained: &Value| {
        let steps = explained["steps"].as_array().unwrap();
        let step = steps.iter().find(|step| step["step"] == "stage").unwrap();
        (step["resource"]["version"].as_u64().unwrap(), step["stateVersion"].as_u64().unwrap())
    };
    let (document, before) = stage(&explained);
    let explained = portcullis.admin.explain("canary", "crm_read", "/mcp").await;
    let promotion = portcullis.admin.snapshot().await.version;
    assert!(before < promotion, "{before} {promotion}");
    assert_eq!(stage(&explained), (document, promotion), "the document is as it was: {explained}");

    // A share of principals, the same on another plane and after a restart, beside the one that is named.
    let (_, token) = portcullis.control.admin.plane_token().await;
    let options = PlaneOptions::new("plane-b", &portcullis.control.url, &token);
    let mut other = DataPlane::start(options.clone()).await;
    other.enforces(portcullis.plane.version()).await;
    let mut chosen = Vec::new();
    for (at_, secret) in people.iter().enumerate() {
        let inside = may(&at(&portcullis.plane, secret)).await;
        assert_eq!(inside, may(&at(&other, secret)).await, "person-{at_}");
        chosen.push(inside);
    }
    other.stop().await;
    let other = DataPlane::start(options).await;
    other.enforces(portcullis.plane.version()).await;
    for (inside, secret) in chosen.iter().zip(&people) {
        assert_eq!(*inside, may(&at(&other, secret)).await);
    }
    assert!(may(&at(&portcullis.plane, &canary)).await);
    assert!(may(&sandboxed).await);
    assert!(server.calls() > 0, "the others meet the server itself");
    let (of_server, of_twin) = (server.calls(), twin.calls());
    assert!(sandboxed.call("crm_read", json!({})).await.succeeded());
    assert_eq!((server.calls(), twin.calls()), (of_server, of_twin + 1), "the sandbox stays the sandbox");

    // Then everybody.
    promoted(&portcullis, &at(&portcullis.plane, &canary)).await;
    for secret in &people {
        assert!(may(&at(&portcullis.plane, secret)).await);
    }
    let refused = portcullis.admin.promote("crm").await.unwrap_err();
    assert!(refused.message().contains("none after it"), "{}", refused.message());
    portcullis.plane.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn after_a_restart_of_the_control_plane_nothing_moves_on_until_the_window_is_whole_or_somebody_forces_it()
 {
    let (server, twin) = (Upstream::legacy(&["read"]).await, Upstream::legacy(&["read"]).await);
    let mut portcullis = Portcullis::start_with(ControlOptions::default()).await;
    let text = organisation(&server, &twin).replace("window: 3s, minCalls: 4", "window: 1h");
    portcullis.admit(&text, 3).await;
    let dir = std::sync::Arc::clone(&portcullis.control.dir);
    let listen = portcullis.control.addr;
    portcullis.control.stop().await;
    let options = ControlOptions { dir, listen, ..ControlOptions::default() };
    portcullis.control = portcullis_tests::planes::ControlPlane::start(options).await;
    let admin = portcullis.control.admin.clone();
    let answer = admin.promote("crm").await.unwrap();
    assert!(!answer.promoted);
    assert_eq!(failed(&answer), ["window"], "{answer:?}");

    let force = |message: &str| api::PromoteServerRequest {
        server: "crm".to_owned(),
        to: "general".to_owned(),
        force: true,
        message: message.to_owned(),
    };
    assert!(admin.servers().promote_server(force("")).await.is_err(), "who forces says why");
    let answer = admin.servers().promote_server(force("the release cannot wait")).await.unwrap().into_inner();
    assert!(answer.promoted && answer.to == "general");
    let status = admin.status_of("McpServer", "crm").await;
    assert_eq!((&status["stage"], &status["details"]["stageForced"]), (&json!("general"), &json!(true)));
    let request = api::HistoryRequest {
        kind: "McpServer".to_owned(),
        name: "crm".to_owned(),
        limit: 1,
        ..Default::default()
    };
    let history = admin.resources().history(request).await.unwrap().into_inner().entries;
    assert_eq!(history[0].message, "the release cannot wait");
    assert!(history[0].changes[0].fields.iter().any(|field| field.path == "status.forced"), "{history:?}");
}

#[tokio::test(flavor = "multi_thread")]
async fn under_a_rule_a_wider_policy_waits_for_others_and_nobody_forces_a_server_on_alone() {
    let (server, twin) = (Upstream::legacy(&["read"]).await, Upstream::legacy(&["read"]).await);
    let portcullis = Portcullis::start().await;
    let admin = &portcullis.admin;
    let text = organisation(&server, &twin).replace("window: 3s, minCalls: 4", "window: 1h");
    portcullis.admit(&text, 3).await;
    let rule = |more: &str| {
        format!(
            "{{ apiVersion: portcullis/v1, kind: ApprovalRule, metadata: {{ name: rollouts }}, spec: {{ match: {{ changes: \
             [rollout-opening], servers: [crm] }}, approvers: [ {{ role: admin }} ]{more} }} }}"
        )
    };
    admin.apply(&rule("")).await;
    let force = || api::PromoteServerRequest {
        server: "crm".to_owned(),
        to: "general".to_owned(),
        force: true,
        message: "the release cannot wait".to_owned(),
    };
    let stage = async || admin.status_of("McpServer", "crm").await["stage"].as_str().unwrap().to_owned();
    for more in ["", ", required: 2, fourEyes: false"] {
        admin.apply(&rule(more)).await;
        let refused = admin.servers().promote_server(force()).await.unwrap_err();
        assert_eq!(refused.code(), tonic::Code::FailedPrecondition, "{refused:?}");
        assert!(refused.message().contains("ApprovalRule/rollouts"), "{}", refused.message());
    }
    // What it names nobody else for, is for them alone.
    admin.apply(&rule(", fourEyes: false").replace("role: admin", "identity: anna")).await;
    let refused = admin.servers().promote_server(force()).await.unwrap_err();
    assert_eq!(refused.code(), tonic::Code::PermissionDenied, "{refused:?}");
    assert_eq!(stage().await, "sandbox");

    // A policy that asks for less waits, and is what somebody else approved.
    admin.apply(&rule("")).await;
    let policy = |checks: &str| {
        format!(
            "{{ apiVersion: portcullis/v1, kind: RolloutPolicy, metadata: {{ name: careful }}, spec: {{ sandbox: {{ checks: \
             {{ {checks} }} }}, limited: {{ keys: [canary], percent: 40, checks: {{ window: 1s }} }} }} }}"
        )
    };
    let proposed = admin.apply(&policy("window: 1s, noDrift: false")).await.proposal.unwrap();
    assert_eq!(proposed.changes, ["rollout-opening"], "{proposed:?}");
    let still = admin.promote("crm").await.unwrap();
    assert!(!still.promoted && still.checks.iter().any(|check| check.required.contains("1h")), "{still:?}");
    let own =
        api::DecideRequest { ids: vec![proposed.id.clone()], approve: true, ..api::DecideRequest::default() };
    assert!(admin.approvals().decide(own.clone()).await.is_err(), "who proposed it does not count");
    let request = api::CreateAdminTokenRequest {
        name: "second".to_owned(),
        roles: vec!["admin".to_owned()],
        ..api::CreateAdminTokenRequest::default()
    };
    let second = admin.access().create_admin_token(request).await.unwrap().into_inner().token;
    let second = portcullis_tests::admin::Admin::new(&portcullis.control.url, &second, None);
    second.decide(own).await;
    eventually("the new checks hold", async || admin.promote("crm").await.unwrap().promoted.then_some(()))
        .await;
    assert_eq!(stage().await, "limited");
    // What tightens needs nobody, and where the rule leaves it to one, one may force it.
    assert!(admin.apply(&policy("window: 1s")).await.proposal.is_none());
    admin.apply(&rule(", fourEyes: false")).await;
    assert!(admin.servers().promote_server(force()).await.unwrap().into_inner().promoted);
    assert_eq!(stage().await, "general");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_suspended_server_is_closed_at_once_and_a_retired_one_for_good() {
    let server = Upstream::legacy(&["read"]).await;
    let portcullis = Portcullis::start().await;
    let text = format!(
        r#"
apiVersion: portcullis/v1
kind: McpServer
metadata: {{ name: crm }}
spec: {{ transport: {{ streamableHttp: {{ url: "{}" }} }} }}
---
apiVersion: portcullis/v1
kind: VirtualKey
metadata: {{ name: bot }}
spec: {{ principal: {{ kind: agent, subject: bot }}, grants: [ {{ server: crm, allow: ["*"] }} ] }}
"#,
        server.url
    );
    let applied = portcullis.admin.apply(&text).await;
    let lifecycle = async || {
        portcullis.admin.status_of("McpServer", "crm").await["lifecycle"].as_str().unwrap().to_owned()
    };
    portcullis.admin.awaits(3).await;
    assert_eq!(lifecycle().await, "pending");
    portcullis.admin.approve_all().await;
    portcullis.settle().await;
    assert_eq!(lifecycle().await, "approved");
    let bot = portcullis.plane.modern("/mcp", &secret(&applied, "bot"));
    assert!(may(&bot).await);

    for (go, is, open) in [
        (api::ServerMove::Suspend, "suspended", false),
        (api::ServerMove::Resume, "approved", true),
        (api::ServerMove::Retire, "retired", false),
    ] {
        assert_eq!(portcullis.admin.go("crm", go).await.unwrap(), is);
        portcullis.settle().await;
        assert_eq!(may(&bot).await, open, "{is}");
        assert_eq!(lifecycle().await, is);
    }
    let explained = portcullis.admin.explain("bot", "crm_read", "/mcp").await;
    assert_eq!(explained["reason"], "tool_not_approved");
    assert_eq!(explained["rule"], "McpServer/crm status.lifecycle");
    let refused = portcullis.admin.go("crm", api::ServerMove::Resume).await.unwrap_err();
    assert!(refused.message().contains("for good"), "{}", refused.message());
    // The same document again changes nothing; only another resource is another server.
    portcullis.apply(&text).await;
    assert!(!may(&bot).await);
}

/// Asks until exactly these checks fail.
async fn held_by(portcullis: &Portcullis, checks: &[&str]) -> api::PromoteServerResponse {
    let found = eventually("these checks fail", async || {
        let answer = portcullis.admin.promote("crm").await.unwrap();
        assert!(!answer.promoted, "{answer:?}");
        (failed(&answer) == checks).then_some(answer)
    });
    found.await.0
}

fn measured<'a>(answer: &'a api::PromoteServerResponse, name: &str) -> &'a str {
    &answer.checks.iter().find(|check| check.name == name).unwrap().measured
}

#[tokio::test(flavor = "multi_thread")]
async fn a_denial_in_the_window_and_a_definition_that_drifted_each_keep_a_server_where_it_is() {
    let server = Upstream::legacy(&["read", "write"]).await;
    let portcullis = Portcullis::start().await;
    let text = format!(
        r#"
apiVersion: portcullis/v1
kind: Team
metadata: {{ name: pilots }}
spec: {{}}
---
apiVersion: portcullis/v1
kind: RolloutPolicy
metadata: {{ name: careful }}
spec: {{ limited: {{ teams: [pilots], checks: {{ window: 3s, maxDenials: 0 }} }} }}
---
apiVersion: portcullis/v1
kind: McpServer
metadata: {{ name: crm }}
spec: {{ transport: {{ streamableHttp: {{ url: "{}" }} }}, rollout: {{ policy: careful }} }}
---
apiVersion: portcullis/v1
kind: VirtualKey
metadata: {{ name: pilot }}
spec: {{ principal: {{ kind: agent, subject: pilot }}, team: pilots, grants: [ {{ server: crm, allow: [read] }} ] }}
---
apiVersion: portcullis/v1
kind: VirtualKey
metadata: {{ name: other }}
spec: {{ principal: {{ kind: agent, subject: other }}, grants: [ {{ server: crm, allow: [read] }} ] }}
"#,
        server.url
    );
    let applied = portcullis.admit(&text, 3).await;
    let [pilot, other] =
        ["pilot", "other"].map(|name| portcullis.plane.modern("/mcp", &secret(&applied, name)));
    assert!(may(&pilot).await);
    assert!(!may(&other).await, "another team");

    // What the stage itself refuses is no denial that counts; what a grant refuses is.
    assert_eq!(pilot.call("crm_write", json!({})).await.code(), -32602);
    let held = held_by(&portcullis, &["denials"]).await;
    assert_eq!(measured(&held, "denials"), "1: 1 tool_not_granted");

    // When the window is past it, a definition that differs from its pin holds the server alone.
    let changed =
        json!({"name": "write", "description": "Writes anything.", "inputSchema": {"type": "object"}});
    server.set_tools(vec![portcullis_tests::upstream::tool("read"), changed]);
    portcullis.admin.awaits(1).await;
    let held = held_by(&portcullis, &["drift"]).await;
    assert_eq!(measured(&held, "drift"), "tool \"write\"");
    portcullis.admin.approve_all().await;
    promoted(&portcullis, &pilot).await;
    assert!(may(&other).await);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_tier_says_how_tools_are_treated_and_how_much_is_taken_and_is_edited_like_any_resource() {
    let server = Upstream::legacy(&["read"]).await;
    let portcullis = Portcullis::start().await;
    let gold = |changed: &str, bytes: &str| {
        format!(
            "apiVersion: portcullis/v1\nkind: TierDefaults\nmetadata: {{ name: gold }}\n\
             spec: {{ tools: {{ newTools: approve, changedTools: {changed} }}, limits: {{ maxRequestBytes: {bytes} }} }}\n"
        )
    };
    let text = format!(
        r#"{}
---
apiVersion: portcullis/v1
kind: McpServer
metadata: {{ name: crm }}
spec: {{ transport: {{ streamableHttp: {{ url: "{}" }} }}, tier: gold }}
---
apiVersion: portcullis/v1
kind: VirtualKey
metadata: {{ name: bot }}
spec: {{ principal: {{ kind: agent, subject: bot }}, grants: [ {{ server: crm, allow: ["*"] }} ] }}
"#,
        gold("keep-pinned", "1KiB"),
        server.url
    );
    let applied = portcullis.apply(&text).await;
    let bot = portcullis.plane.modern("/mcp", &secret(&applied, "bot"));
    eventually("the tool needs nobody", async || may(&bot).await.then_some(())).await;
    assert_eq!(portcullis.admin.waiting().await.len(), 0);
    let large = json!({ "text": "x".repeat(4_000) });
    let refused = bot.call("crm_read", large.clone()).await;
    assert_eq!(
        portcullis.plane.record(refused.request_id()).await.reason.unwrap().code(),
        "arguments_invalid"
    );

    // A change waits for a person, and the approved definition is served on, until the tier says otherwise.
    let changed =
        json!({"name": "read", "description": "Reads anything.", "inputSchema": {"type": "object"}});
    server.set_tools(vec![changed]);
    portcullis.admin.awaits(1).await;
    assert!(may(&bot).await);
    portcullis.apply(&gold("quarantine", "1MiB")).await;
    assert!(!may(&bot).await);
    portcullis.admin.approve_all().await;
    portcullis.settle().await;
    assert!(bot.call("crm_read", large).await.succeeded());
}
