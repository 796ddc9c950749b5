//! A policy in Cedar decides calls by team and by arguments, a shadow is recorded and enforces nothing, and what cannot be meant is
//! refused with its place.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing,
    reason = "steps of tests"
)]

use portcullis_policy::Reason;
use portcullis_tests::admin::secret;
use portcullis_tests::planes::ControlOptions;
use portcullis_tests::{Portcullis, Upstream};
use serde_json::json;

const DOCUMENTS: &str = r#"
apiVersion: portcullis/v1
kind: McpServer
metadata: { name: crm }
spec: { transport: { streamableHttp: { url: "CRM" } } }
---
apiVersion: portcullis/v1
kind: Team
metadata: { name: support-team }
spec: {}
---
apiVersion: portcullis/v1
kind: VirtualKey
metadata: { name: support }
spec: { principal: { kind: agent, subject: support }, team: support-team, grants: [ { server: crm, allow: ["*"] } ] }
---
apiVersion: portcullis/v1
kind: VirtualKey
metadata: { name: sales }
spec: { principal: { kind: agent, subject: sales }, grants: [ { server: crm, allow: ["*"] } ] }
---
apiVersion: portcullis/v1
kind: AccessPolicy
metadata: { name: refunds }
spec:
  mode: enforce
  cedar: |
    forbid(principal, action == Action::"call", resource == Tool::"crm/refund")
    unless { principal in Team::"support-team" };
    forbid(principal, action == Action::"call", resource == Tool::"crm/refund")
    when { context.arguments has amount && context.arguments.amount > 100 };
---
apiVersion: portcullis/v1
kind: AccessPolicy
metadata: { name: watch-lookups }
spec: { mode: shadow, cedar: 'forbid(principal, action == Action::"call", resource in Server::"crm") unless { resource.name == "refund" };' }
"#;

#[tokio::test(flavor = "multi_thread")]
async fn policies_decide_by_team_and_arguments_and_shadows_are_recorded() {
    let crm = Upstream::modern(&["lookup", "refund"]).await;
    let portcullis = Portcullis::start_tuned(ControlOptions::default(), |_| {}).await;
    let applied = portcullis.admit(&DOCUMENTS.replace("CRM", &crm.url), 1 + 2).await;
    let plane = &portcullis.plane;
    let (support, sales) = (secret(&applied, "support"), secret(&applied, "sales"));
    for modern in [true, false] {
        let support =
            if modern { plane.modern("/mcp", &support) } else { plane.legacy("/mcp", &support).open().await };
        let sales =
            if modern { plane.modern("/mcp", &sales) } else { plane.legacy("/mcp", &sales).open().await };
        assert_eq!(support.tools().await, ["crm_lookup", "crm_refund"]);
        assert_eq!(sales.tools().await, ["crm_lookup"]);
        for (caller, tool, arguments, denied) in [
            (&support, "crm_refund", json!({ "amount": 100 }), false),
            (&support, "crm_refund", json!({}), false),
            (&support, "crm_refund", json!({ "amount": 101 }), true),
            (&support, "crm_refund", json!({ "amount": "1" }), true),
            (&sales, "crm_refund", json!({ "amount": 1 }), true),
            (&support, "crm_lookup", json!({ "amount": 101 }), false),
            (&sales, "crm_lookup", json!({}), false),
        ] {
            let label = format!("modern {modern}: {tool} {arguments}");
            let before = crm.calls();
            let answer = caller.call(tool, arguments).await;
            let record = plane.record(answer.request_id()).await;
            assert_eq!(crm.calls() - before, usize::from(!denied), "{label}");
            assert_eq!(record.reason, denied.then_some(Reason::PolicyDenied), "{label}: {record:?}");
            if denied {
                assert_eq!(answer.reason(), "policy_denied", "{label}");
                assert_eq!(record.rule.as_deref(), Some("AccessPolicy/refunds spec.cedar"), "{label}");
            }
            let shadow: Vec<&str> = record.shadow.iter().map(|name| &**name).collect();
            let watched: &[&str] = if tool == "crm_lookup" { &["watch-lookups"] } else { &[] };
            assert_eq!(shadow, watched, "{label}");
        }
    }
    let told = portcullis.admin.explain("sales", "crm_refund", "/mcp").await;
    assert_eq!(
        (&told["reason"], &told["rule"]),
        (&json!("policy_denied"), &json!("AccessPolicy/refunds spec.cedar"))
    );
    let told = portcullis.admin.explain("support", "crm_refund", "/mcp").await;
    assert_eq!(told["decision"], "permit", "{told}");

    // Enforced, the shadow denies at once.
    let watch = DOCUMENTS.split("---\n").last().unwrap().replace("mode: shadow", "mode: enforce");
    portcullis.apply(&watch).await;
    let caller = plane.modern("/mcp", &support);
    assert_eq!(caller.tools().await, ["crm_refund"]);
    assert_eq!(caller.call("crm_lookup", json!({})).await.reason(), "policy_denied");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_policy_that_cannot_be_meant_is_refused_with_its_place_and_what_one_names_stays() {
    let crm = Upstream::modern(&["refund"]).await;
    let portcullis = Portcullis::start_tuned(ControlOptions::default(), |_| {}).await;
    portcullis.admit(&DOCUMENTS.replace("CRM", &crm.url), 1 + 1).await;
    for (cedar, words) in [
        (
            "permit(principal, action, resource);",
            "AccessPolicy/p: spec.cedar: line 1, column 1 of the text: permit is not for a policy",
        ),
        (
            "forbid(principal, action, resource)\\nwhen { context.houre == 1 };",
            "line 2, column 8 of the text",
        ),
        ("forbid(principal in Team::\\\"nobody\\\", action, resource);", "there is no Team nobody"),
    ] {
        let text = format!(
            "apiVersion: portcullis/v1\nkind: AccessPolicy\nmetadata: {{ name: p }}\nspec: {{ cedar: \"{cedar}\" }}\n"
        );
        let refused = portcullis.admin.try_apply(&text).await.unwrap_err();
        assert!(refused.message().contains(words), "{cedar}: {}", refused.message());
    }
    let request = portcullis_proto::admin::v1::DeleteRequest {
        kind: "Team".to_owned(),
        name: "support-team".to_owned(),
        message: String::new(),
    };
    portcullis.admin.delete("VirtualKey", "support").await;
    let refused = portcullis.admin.resources().delete(request).await.unwrap_err();
    assert!(refused.message().contains("AccessPolicy/refunds"), "{}", refused.message());
}
