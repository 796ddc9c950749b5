//! What a tier gives, how stages begin, and that stops outlive a restart: as the API shows it and as it is published.
#![allow(clippy::unwrap_used, clippy::panic, clippy::indexing_slicing, reason = "a test fails by panicking")]

mod admin_support;

use admin_support::{Authorised, ControlPlane};
use portcullis_policy::snapshot::{Opening, ServerEntry};
use portcullis_proto::admin::v1 as proto;
use portcullis_proto::admin::v1::servers_client::ServersClient;
use serde_json::{Value, json};
use tonic::Code;

const CRM: &str = r#"
apiVersion: portcullis/v1
kind: McpServer
metadata: { name: crm }
spec: { transport: { streamableHttp: { url: "http://crm.internal/mcp" } }, tier: gold, limits: { concurrency: 3 } }
"#;
const POLICY: &str = r"
apiVersion: portcullis/v1
kind: RolloutPolicy
metadata: { name: careful }
spec: { sandbox: {}, limited: { percent: 5 } }
";

fn gold(spec: &str) -> String {
    format!("apiVersion: portcullis/v1\nkind: TierDefaults\nmetadata: {{ name: gold }}\nspec: {spec}\n")
}

fn servers(control: &ControlPlane) -> ServersClient<Authorised> {
    ServersClient::with_interceptor(control.channel.clone(), control.bearer())
}

/// The entry of `crm` as data planes get it.
fn entry(control: &ControlPlane) -> ServerEntry {
    let published = control.running().publisher().current().unwrap();
    published.snapshot.server("crm").unwrap().entry.as_ref().clone()
}

async fn status(control: &ControlPlane) -> Value {
    serde_json::from_str(&control.get("McpServer", "crm").await.status_json).unwrap()
}

async fn go(control: &ControlPlane, go: proto::ServerMove) -> Result<String, tonic::Status> {
    let request = proto::MoveServerRequest {
        server: "crm".to_owned(),
        r#move: go.into(),
        message: "it lies".to_owned(),
    };
    Ok(servers(control).move_server(request).await?.into_inner().lifecycle)
}

#[tokio::test]
async fn a_tier_gives_what_a_server_leaves_out_and_what_is_shown_is_what_is_published() {
    let control = ControlPlane::start().await;
    control.apply(CRM).await;
    assert_eq!(entry(&control).limits.timeout.to_string(), "30s");
    control.apply(&gold("{ limits: { timeout: 5s, concurrency: 9 }, tools: { newTools: ignore } }")).await;
    let limits = entry(&control).limits;
    assert_eq!((limits.timeout.to_string().as_str(), limits.concurrency), ("5s", 3));
    let effective = status(&control).await["details"]["effective"].clone();
    assert_eq!(effective["limits"]["timeout"], json!({ "value": "5s", "from": "TierDefaults/gold" }));
    assert_eq!(effective["limits"]["concurrency"], json!({ "value": 3, "from": "McpServer" }));
    assert_eq!(effective["limits"]["maxRequestBytes"]["from"], "built in");
    assert_eq!(effective["tools"]["newTools"], json!({ "value": "ignore", "from": "TierDefaults/gold" }));
    assert_eq!(effective["rollout"], json!({ "value": null, "from": "built in" }));
    let shown = control.get("McpServer", "crm").await.json;
    let shown: Value = serde_json::from_str(&shown).unwrap();
    assert_eq!(shown["spec"]["limits"], json!({ "concurrency": 3 }), "what was not written stays unwritten");

    // Without the resource all is as it is built in.
    control.delete("TierDefaults", "gold").await.unwrap();
    assert_eq!(entry(&control).limits.timeout.to_string(), "30s");
}

#[tokio::test]
async fn a_server_that_comes_under_a_policy_begins_at_its_first_stage_and_apply_warns_of_it() {
    let control = ControlPlane::start().await;
    control.apply(CRM).await;
    assert_eq!(entry(&control).opening, Opening::General);
    control.apply(POLICY).await;
    let own = CRM.replace("tier: gold,", "tier: gold, rollout: { policy: careful },");
    let applied = control.apply(&own).await;
    assert!(applied.warnings.iter().any(|warning| warning.message.contains("stage sandbox")), "{applied:?}");
    assert_eq!(entry(&control).opening, Opening::Sandbox);
    assert_eq!(status(&control).await["stage"], "sandbox");
    let refused = control.delete("RolloutPolicy", "careful").await.unwrap_err();
    assert!(refused.message().contains("McpServer/crm"), "{}", refused.message());
    // Out of it again, it is open to all; and through its tier in again.
    control.apply(CRM).await;
    assert_eq!(entry(&control).opening, Opening::General);
    control.apply(&gold("{ rollout: { policy: careful } }")).await;
    assert_eq!(entry(&control).opening, Opening::Sandbox);
    let refused = control.delete("RolloutPolicy", "careful").await.unwrap_err();
    assert!(refused.message().contains("TierDefaults/gold"), "{}", refused.message());
    // What waits is decided first, whatever the checks say.
    let request = proto::PromoteServerRequest { server: "crm".to_owned(), ..Default::default() };
    let refused = servers(&control).promote_server(request).await.unwrap_err();
    assert!(refused.message().contains("discovered"), "{}", refused.message());
}

#[tokio::test]
async fn who_stopped_a_server_is_in_its_history_and_a_restart_opens_nothing() {
    let control = ControlPlane::start().await;
    control.apply(CRM).await;
    assert_eq!(status(&control).await["lifecycle"], "discovered");
    let created = control.history("McpServer", "crm").await;
    assert_eq!((created.len(), created[0].changes.len()), (1, 1), "one change: {created:?}");
    assert_eq!(go(&control, proto::ServerMove::Suspend).await.unwrap(), "suspended");
    assert_eq!(entry(&control).opening, Opening::Suspended);
    let twice = go(&control, proto::ServerMove::Suspend).await.unwrap_err();
    assert_eq!(twice.code(), Code::FailedPrecondition, "{twice:?}");

    let version = control.snapshot().await.version;
    let control = control.restart().await;
    assert_eq!(control.snapshot().await.version, version, "the same snapshot has the same version");
    assert_eq!(entry(&control).opening, Opening::Suspended);
    let last = &control.history("McpServer", "crm").await[0];
    assert_eq!(last.message, "it lies");
    let change = &last.changes[0];
    assert_eq!((change.kind.as_str(), change.name.as_str()), ("McpServer", "crm"));
    let fields: Vec<_> =
        change.fields.iter().map(|f| (f.path.as_str(), f.before.as_str(), f.after.as_str())).collect();
    assert_eq!(fields, [("status.lifecycle", "\"discovered\"", "\"suspended\"")]);

    assert_eq!(go(&control, proto::ServerMove::Resume).await.unwrap(), "discovered");
    assert!(go(&control, proto::ServerMove::Resume).await.is_err(), "only what is suspended is resumed");
    assert_eq!(go(&control, proto::ServerMove::Retire).await.unwrap(), "retired");
    for next in [proto::ServerMove::Resume, proto::ServerMove::Suspend, proto::ServerMove::Retire] {
        assert!(go(&control, next).await.unwrap_err().message().contains("for good"), "{next:?}");
    }
    // Another resource of the name is another server.
    control.delete("McpServer", "crm").await.unwrap();
    control.apply(CRM).await;
    assert_eq!(status(&control).await["lifecycle"], "discovered");
    assert_eq!(entry(&control).opening, Opening::General);
    let unknown = proto::MoveServerRequest { server: "nope".to_owned(), ..Default::default() };
    assert!(servers(&control).move_server(unknown).await.is_err());
}
