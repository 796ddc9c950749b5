//! The whole way over real connections: a server is applied, a plane probes it, a person approves, and the plane is handed
//! what was approved.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing,
    reason = "a test fails by panicking"
)]

mod admin_support;
mod catalog_support;
mod stream_support;

use std::time::{Duration, Instant};

use admin_support::{Authorised, ControlPlane, problems};
use catalog_support::{report, tool};
use portcullis_policy::resource::Uid;
use portcullis_proto::admin::v1 as admin;
use portcullis_proto::admin::v1::approvals_client::ApprovalsClient;
use portcullis_proto::admin::v1::planes_client::PlanesClient;
use portcullis_proto::config::v1::attach_request::Message as Said;
use portcullis_seal::{PlaneToken, PublicKey};
use serde_json::Value;
use stream_support::{FakePlane, hello, open};
use tonic::{Code, Status};

const CRM: &str = r#"
apiVersion: portcullis/v1
kind: McpServer
metadata: { name: crm }
spec: { transport: { streamableHttp: { url: "http://127.0.0.1:1/mcp" } }, tools: { overrides: [ { name: search, alias: find } ] } }
"#;

fn approvals(control: &ControlPlane) -> ApprovalsClient<Authorised> {
    ApprovalsClient::with_interceptor(control.channel.clone(), control.bearer())
}

fn planes(control: &ControlPlane) -> PlanesClient<Authorised> {
    PlanesClient::with_interceptor(control.channel.clone(), control.bearer())
}

async fn waiting(control: &ControlPlane) -> Vec<admin::Approval> {
    let request = admin::ListApprovalsRequest::default();
    approvals(control).list_approvals(request).await.unwrap().into_inner().approvals
}

async fn decide(
    control: &ControlPlane,
    request: admin::DecideRequest,
) -> Result<admin::DecideResponse, Status> {
    approvals(control).decide(request).await.map(tonic::Response::into_inner)
}

async fn plane(control: &ControlPlane, name: &str) -> (FakePlane, PublicKey) {
    let request = admin::CreatePlaneTokenRequest { plane_name: name.to_owned(), ..Default::default() };
    let token = planes(control).create_plane_token(request).await.unwrap().into_inner().token;
    let token: PlaneToken = token.parse().unwrap();
    let plane = open(control.running().grpc_addr, Some(&token.secret_text)).await.unwrap();
    plane.say(Said::Hello(hello(name))).await;
    (plane.welcomed().await, token.public_key)
}

/// What the next snapshot of which this holds says of the tool `search`.
async fn search(plane: &mut FakePlane, key: &PublicKey, holds: impl Fn(&Value) -> bool) -> (u64, Value) {
    loop {
        let received = plane.snapshot_signed(key).await;
        plane.ack(&received).await;
        let body = received.entries.iter().find(|(kind, id, _)| kind == "tool" && id.ends_with("/search"));
        let body = body.map_or(Value::Null, |(_, _, body)| serde_json::from_slice(body).unwrap());
        if holds(&body) {
            return (received.version, body);
        }
    }
}

async fn until<T>(mut look: impl AsyncFnMut() -> Option<T>) -> T {
    let give_up = Instant::now() + Duration::from_secs(20);
    loop {
        if let Some(found) = look().await {
            return found;
        }
        assert!(Instant::now() < give_up, "it never came to be so");
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
}

#[tokio::test]
async fn a_tool_is_applied_probed_approved_enforced_and_quarantined_when_it_changes() {
    let control = ControlPlane::start().await;
    let (mut plane, key) = plane(&control, "eu-1").await;
    let crm: Uid = control.apply(CRM).await.changes[0].uid.parse().unwrap();
    plane.assigned(|probe| probe.probe_now == [crm.to_string()]).await;
    plane.say(Said::ProbeReport(report(crm, &[tool("search", "a"), tool("other", "o")]))).await;
    let listed = until(async || Some(waiting(&control).await).filter(|listed| listed.len() == 3)).await;
    let told: Vec<_> =
        listed.iter().map(|one| (one.kind.as_str(), one.name.as_str(), one.change.as_str())).collect();
    assert_eq!(told, [("tool", "other", "new"), ("tool", "search", "new"), ("identity", "crm", "new")]);
    search(&mut plane, &key, |body| body["state"] == "pending").await;

    let id = listed[1].id.clone();
    let shown = approvals(&control)
        .get_approval(admin::GetApprovalRequest { id: id.clone() })
        .await
        .unwrap()
        .into_inner();
    assert!(
        shown.definition_json.contains("\"description\":\"a\"") && shown.approved_definition_json.is_empty()
    );
    let message = "looked at it".to_owned();
    let decided = decide(
        &control,
        admin::DecideRequest { ids: vec![id.clone()], approve: true, message, ..Default::default() },
    )
    .await
    .unwrap();
    assert_eq!(
        (decided.approvals[0].state.as_str(), decided.approvals[0].decided_by.as_str()),
        ("approved", "admin")
    );
    assert!(control.snapshot().await.version >= decided.version, "answered when it is published");
    let (version, body) = search(&mut plane, &key, |body| body["state"]["approved"].is_object()).await;
    assert_eq!(
        (&body["alias"], &body["state"]["approved"]["pin"]),
        (&"find".into(), &listed[1].fingerprint.as_str().into())
    );
    until(async || {
        let listed =
            planes(&control).list_planes(admin::ListPlanesRequest {}).await.unwrap().into_inner().planes;
        (listed[0].snapshot_version == version && listed[0].probes == ["crm"]).then_some(())
    })
    .await;

    plane.say(Said::ProbeReport(report(crm, &[tool("search", "evil"), tool("other", "o")]))).await;
    search(&mut plane, &key, |body| body["state"] == "quarantined").await;
    // What was on the screen is not what is there now.
    let stale = decide(
        &control,
        admin::DecideRequest { ids: vec![listed[0].id.clone(), id], approve: true, ..Default::default() },
    )
    .await;
    assert_eq!(
        stale.unwrap().approvals.len(),
        2,
        "the pinned one is approved already, and stays quarantined"
    );
    let changed = waiting(&control).await.into_iter().find(|one| one.change == "changed").unwrap();
    plane.say(Said::ProbeReport(report(crm, &[tool("search", "worse"), tool("other", "o")]))).await;
    until(async || waiting(&control).await.iter().all(|one| one.id != changed.id).then_some(())).await;
    let refused = decide(
        &control,
        admin::DecideRequest { ids: vec![changed.id.clone()], approve: true, ..Default::default() },
    )
    .await
    .unwrap_err();
    assert_eq!(refused.code(), Code::FailedPrecondition);
    let problem = problems(&refused).remove(0);
    assert!(problem.resource == changed.id && problem.message.contains("changed since"), "{problem:?}");
    let described: Value = serde_json::from_str(&control.get("McpServer", "crm").await.status_json).unwrap();
    assert!(described.to_string().contains("\"quarantined\":1"), "{described}");
}

#[tokio::test]
async fn a_new_tool_of_a_trusted_server_is_enforced_within_a_second_of_its_report() {
    let control = ControlPlane::start().await;
    let (mut plane, key) = plane(&control, "eu-1").await;
    let trusted = CRM.replace("tools: {", "tools: { newTools: approve,");
    let crm: Uid = control.apply(&trusted).await.changes[0].uid.parse().unwrap();
    plane.assigned(|probe| !probe.server_uids.is_empty()).await;
    plane.say(Said::ProbeReport(report(crm, &[]))).await;
    let began = Instant::now();
    plane.say(Said::ProbeReport(report(crm, &[tool("search", "a")]))).await;
    search(&mut plane, &key, |body| body["state"]["approved"].is_object()).await;
    assert!(began.elapsed() < Duration::from_secs(1), "{:?}", began.elapsed());
}

#[tokio::test]
async fn plane_tokens_are_made_listed_and_revoked_over_the_api() {
    let control = ControlPlane::start().await;
    let (mut plane, _) = plane(&control, "eu-1").await;
    let tokens = planes(&control)
        .list_plane_tokens(admin::ListPlaneTokensRequest {})
        .await
        .unwrap()
        .into_inner()
        .tokens;
    assert_eq!((tokens.len(), tokens[0].plane_name.as_str(), tokens[0].revoked), (1, "eu-1", false));
    let id = tokens[0].id.clone();
    planes(&control).revoke_plane_token(admin::RevokePlaneTokenRequest { id }).await.unwrap();
    assert_eq!(plane.end().await.code(), Code::Unauthenticated);
    let missing =
        planes(&control).revoke_plane_token(admin::RevokePlaneTokenRequest { id: "pt-0".to_owned() }).await;
    assert_eq!(missing.unwrap_err().code(), Code::NotFound);
    let bad = admin::CreatePlaneTokenRequest { plane_name: "EU".to_owned(), ..Default::default() };
    assert_eq!(planes(&control).create_plane_token(bad).await.unwrap_err().code(), Code::InvalidArgument);
}

#[tokio::test]
async fn decisions_that_name_nothing_or_two_things_are_refused() {
    let control = ControlPlane::start().await;
    for request in [
        admin::DecideRequest::default(),
        admin::DecideRequest { ids: vec!["a-0".to_owned()], all_pending: true, ..Default::default() },
        admin::DecideRequest { ids: vec!["a-0".to_owned()], server: "crm".to_owned(), ..Default::default() },
    ] {
        assert_eq!(decide(&control, request).await.unwrap_err().code(), Code::InvalidArgument);
    }
    let all = admin::DecideRequest { all_pending: true, server: "gone".to_owned(), ..Default::default() };
    assert_eq!(decide(&control, all).await.unwrap_err().code(), Code::NotFound);
    let unknown = admin::DecideRequest { ids: vec!["a-0".to_owned()], ..Default::default() };
    assert_eq!(decide(&control, unknown).await.unwrap_err().code(), Code::FailedPrecondition);
    let anonymous = ApprovalsClient::new(control.channel.clone())
        .list_approvals(admin::ListApprovalsRequest::default())
        .await;
    assert_eq!(anonymous.unwrap_err().code(), Code::Unauthenticated);
    let attached = open(control.running().grpc_addr, Some(&control.token())).await.map(|_| ());
    assert_eq!(
        attached.unwrap_err().code(),
        Code::Unauthenticated,
        "an administrator's token admits no plane"
    );
}
