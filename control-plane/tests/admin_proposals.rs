//! Changes that need approval themselves: kept as proposals, and made when those agree whom a rule names.

#![allow(
    clippy::unwrap_used,
    clippy::panic,
    clippy::indexing_slicing,
    reason = "a step that fails fails the test"
)]

mod admin_support;

use std::sync::atomic::Ordering;

use admin_support::{ControlPlane, START, TEN, apply_request, json};
use portcullis_proto::admin::v1 as proto;
use proto::access_client::AccessClient;
use proto::approvals_client::ApprovalsClient;
use proto::resources_client::ResourcesClient;
use tonic::{Code, Request, Status};

struct Person<'a>(&'a ControlPlane, String);

impl<'a> Person<'a> {
    fn with<T>(&self, message: T) -> Request<T> {
        let mut request = Request::new(message);
        request.metadata_mut().insert("authorization", format!("Bearer {}", self.1).parse().unwrap());
        request
    }

    async fn make(&self, name: &str, person: &str, roles: &[&str]) -> Person<'a> {
        let request = proto::CreateAdminTokenRequest {
            name: name.to_owned(),
            roles: roles.iter().map(|role| (*role).to_owned()).collect(),
            lives_seconds: 0,
            person: person.to_owned(),
        };
        let mut client = AccessClient::new(self.0.channel.clone());
        let made = client.create_admin_token(self.with(request)).await.unwrap().into_inner();
        Person(self.0, made.token)
    }

    async fn apply(&self, text: &str, dry_run: bool) -> Result<proto::ApplyResponse, Status> {
        let mut client = ResourcesClient::new(self.0.channel.clone());
        let request = proto::ApplyRequest { dry_run, ..apply_request(text) };
        client.apply(self.with(request)).await.map(tonic::Response::into_inner)
    }

    /// The id of the proposal that an apply is kept as.
    async fn propose(&self, text: &str) -> String {
        let applied = self.apply(text, false).await.unwrap();
        applied.proposal.unwrap_or_else(|| panic!("it was made at once")).id
    }

    async fn delete(&self, kind: &str, name: &str) -> Result<proto::DeleteResponse, Status> {
        let mut client = ResourcesClient::new(self.0.channel.clone());
        let request =
            proto::DeleteRequest { kind: kind.to_owned(), name: name.to_owned(), message: String::new() };
        client.delete(self.with(request)).await.map(tonic::Response::into_inner)
    }

    fn approvals(&self) -> ApprovalsClient<tonic::transport::Channel> {
        ApprovalsClient::new(self.0.channel.clone())
    }

    async fn decide(&self, id: &str, approve: bool) -> Result<proto::Approval, Status> {
        let request = proto::DecideRequest {
            ids: vec![id.to_owned()],
            approve,
            message: "seen".to_owned(),
            ..proto::DecideRequest::default()
        };
        let decided = self.approvals().decide(self.with(request)).await?.into_inner();
        Ok(decided.approvals[0].clone())
    }

    async fn listed(&self) -> Vec<proto::Approval> {
        let request = proto::ListApprovalsRequest::default();
        let listed = self.approvals().list_approvals(self.with(request)).await.unwrap().into_inner();
        listed.approvals.into_iter().filter(|one| one.kind == "proposal").collect()
    }

    async fn show(&self, id: &str) -> proto::GetApprovalResponse {
        let request = proto::GetApprovalRequest { id: id.to_owned() };
        self.approvals().get_approval(self.with(request)).await.unwrap().into_inner()
    }
}

fn refused<T: std::fmt::Debug>(result: Result<T, Status>, told: &str) {
    let status = result.unwrap_err();
    assert_eq!(status.code(), Code::FailedPrecondition, "{status:?}");
    assert!(status.message().contains(told), "{told} in {}", status.message());
}

const RULE: &str = r#"
apiVersion: portcullis/v1
kind: ApprovalRule
metadata: { name: openings }
spec: { match: { changes: [zone-mapping, zone-opening, exposure-limits] }, approvers: [ { role: approver } ], required: 2, expiresAfter: 7d }
"#;

fn crm(zone: &str, more: &str) -> String {
    format!(
        "apiVersion: portcullis/v1\nkind: McpServer\nmetadata: {{ name: crm, labels: {{ region: eu }} }}\n\
         spec: {{ transport: {{ streamableHttp: {{ url: \"http://127.0.0.1:1/mcp\" }} }}, zone: {zone}{more} }}\n"
    )
}

struct House<'a> {
    admin: Person<'a>,
    ada: Person<'a>,
    bob: Person<'a>,
    cyd: Person<'a>,
}

async fn house(plane: &ControlPlane) -> House<'_> {
    let admin = Person(plane, plane.token());
    admin.apply(TEN, false).await.unwrap();
    admin.apply(RULE, false).await.unwrap();
    let ada = admin.make("ada-ops", "ada", &["operator", "approver"]).await;
    let bob = admin.make("bob", "", &["approver"]).await;
    let cyd = admin.make("cyd", "", &["approver"]).await;
    House { admin, ada, bob, cyd }
}

async fn zone_of_crm(plane: &ControlPlane) -> String {
    json(&plane.get("servers", "crm").await.json)["spec"]["zone"].as_str().unwrap().to_owned()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_server_moves_only_when_two_others_agree() {
    let plane = ControlPlane::start().await;
    let House { admin, ada, bob, cyd } = house(&plane).await;
    let plan = ada.apply(&crm("vendor-saas", ""), true).await.unwrap().proposal.unwrap();
    assert_eq!((plan.id.as_str(), plan.required), ("", 2));
    assert!(ada.listed().await.is_empty(), "a plan keeps nothing");

    let before = plane.snapshot().await.version;
    let id = ada.propose(&crm("vendor-saas", "")).await;
    assert_eq!(zone_of_crm(&plane).await, "internal", "it is not in force");
    assert_eq!(plane.snapshot().await.digest, plane.snapshot().await.digest);
    let waiting = ada.listed().await.remove(0);
    assert_eq!((waiting.name.as_str(), waiting.server.as_str()), ("McpServer/crm", "crm"));
    assert_eq!((waiting.change.as_str(), waiting.rule.as_str()), ("zone-mapping", "openings"));
    assert_eq!((waiting.proposed_by.as_str(), waiting.proposed_message.as_str()), ("ada/ada-ops", "because"));
    let shown = ada.show(&id).await.proposed_changes.remove(0);
    let field = &shown.fields[0];
    assert_eq!((field.path.as_str(), field.after.as_str()), ("spec.zone", "\"vendor-saas\""));

    refused(ada.decide(&id, true).await, "four eyes");
    refused(admin.decide(&id, true).await, "none of them");
    let one = bob.decide(&id, true).await.unwrap();
    assert_eq!((one.state.as_str(), one.approved_by.as_slice()), ("pending", ["bob".to_owned()].as_slice()));
    refused(bob.decide(&id, true).await, "1 more");
    assert_eq!(zone_of_crm(&plane).await, "internal");
    let two = cyd.decide(&id, true).await.unwrap();
    assert_eq!((two.state.as_str(), two.decided_by.as_str()), ("approved", "bob, cyd"));
    assert_eq!(zone_of_crm(&plane).await, "vendor-saas");
    assert!(plane.snapshot().await.version > before);
    let entry = plane.history("servers", "crm").await.remove(0);
    assert_eq!(entry.author, "cyd");
    assert!(entry.message.contains(&id) && entry.message.contains("ada/ada-ops"), "{}", entry.message);
    refused(cyd.decide(&id, false).await, "was approved by");
    // What loosens nothing needs nobody.
    assert!(ada.apply(&crm("vendor-saas", ", environment: dev"), false).await.unwrap().proposal.is_none());
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_changed_meanwhile_expired_or_was_denied_is_not_made() {
    let plane = ControlPlane::start().await;
    let House { admin, ada, bob, cyd } = house(&plane).await;
    let stale = ada.propose(&crm("vendor-saas", "")).await;
    bob.decide(&stale, true).await.unwrap();
    ada.apply(&crm("internal", ", environment: dev"), false).await.unwrap();
    refused(cyd.decide(&stale, true).await, "changed since");

    let denied = ada.propose(&crm("internal", ", limits: { maxResponseBytes: 8MiB }")).await;
    assert_eq!(bob.decide(&denied, false).await.unwrap().state, "denied");
    refused(cyd.decide(&denied, true).await, "was denied by bob");

    let late = ada.propose(&crm("internal", ", limits: { concurrency: 65 }")).await;
    plane.now.store(START + 7 * 24 * 3_600_000, Ordering::SeqCst);
    refused(cyd.decide(&late, true).await, "too long");
    let state = |id: &str, listed: &[proto::Approval]| {
        listed.iter().find(|one| one.id == id).map(|one| one.state.clone())
    };
    let listed = ada.listed().await;
    assert_eq!(state(&late, &listed).as_deref(), Some("expired"));
    assert_eq!(state(&denied, &listed), None);
    assert_eq!(zone_of_crm(&plane).await, "internal");
    let missing = cyd.decide("p-nothing", true).await.unwrap_err();
    assert_eq!(missing.code(), Code::NotFound);
    drop(admin);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_rules_themselves_are_governed_once_a_rule_says_so() {
    let plane = ControlPlane::start().await;
    let House { admin, bob, cyd, .. } = house(&plane).await;
    let access = "apiVersion: portcullis/v1\nkind: ApprovalRule\nmetadata: { name: access }\n\
                  spec: { match: { changes: [access] }, approvers: [ { identity: bob }, { identity: cyd } ] }\n";
    admin.apply(access, false).await.unwrap();
    let deleted = admin.delete("approvalrules", "openings").await.unwrap().proposal.unwrap();
    plane.get("approvalrules", "openings").await;
    let other = admin.delete("approvalrules", "access").await.unwrap().proposal.unwrap();
    refused(admin.decide(&other.id, true).await, "none of them");
    assert_eq!(cyd.decide(&other.id, false).await.unwrap().state, "denied");
    assert_eq!(bob.decide(&deleted.id, true).await.unwrap().state, "approved");
    assert_eq!(plane.try_get("approvalrules", "openings").await.unwrap_err().code(), Code::NotFound);
    // A key's secret is for its author alone: it does not wait for somebody else.
    let binding = "apiVersion: portcullis/v1\nkind: RoleBinding\nmetadata: { name: b }\n\
                   spec: { subjects: [ { identity: bob } ], roles: [viewer] }\n---\n";
    let key = "apiVersion: portcullis/v1\nkind: VirtualKey\nmetadata: { name: new }\n\
               spec: { principal: { kind: agent, subject: new } }\n";
    refused(admin.apply(&format!("{binding}{key}"), false).await, "apart from the rest");
}
