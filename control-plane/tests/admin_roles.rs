//! Administrators: their tokens, what their roles allow, and that nobody gives what they do not have.

#![allow(clippy::unwrap_used, clippy::panic, reason = "a step that fails fails the test")]

mod admin_support;

use std::sync::atomic::Ordering;

use admin_support::{ControlPlane, START, TEN, apply_request, files_with};
use portcullis_proto::admin::v1 as proto;
use proto::access_client::AccessClient;
use proto::resources_client::ResourcesClient;
use proto::servers_client::ServersClient;
use tonic::{Code, Request, Status};

/// Somebody with a token of their own.
struct Person<'a> {
    plane: &'a ControlPlane,
    token: String,
}

impl<'a> Person<'a> {
    fn admin(plane: &'a ControlPlane) -> Self {
        Self { plane, token: plane.token() }
    }

    fn with<T>(&self, message: T) -> Request<T> {
        let mut request = Request::new(message);
        request.metadata_mut().insert("authorization", format!("Bearer {}", self.token).parse().unwrap());
        request
    }

    fn access(&self) -> AccessClient<tonic::transport::Channel> {
        AccessClient::new(self.plane.channel.clone())
    }

    async fn try_make(&self, name: &str, roles: &[&str], more: TokenOf<'_>) -> Result<Person<'a>, Status> {
        let request = proto::CreateAdminTokenRequest {
            name: name.to_owned(),
            roles: roles.iter().map(|role| (*role).to_owned()).collect(),
            lives_seconds: more.seconds,
            person: more.person.to_owned(),
        };
        let made = self.access().create_admin_token(self.with(request)).await?.into_inner();
        Ok(Person { plane: self.plane, token: made.token })
    }

    async fn make(&self, name: &str, roles: &[&str]) -> Person<'a> {
        self.try_make(name, roles, TokenOf::default()).await.unwrap()
    }

    async fn apply(&self, text: &str) -> Result<proto::ApplyResponse, Status> {
        let mut client = ResourcesClient::new(self.plane.channel.clone());
        client.apply(self.with(apply_request(text))).await.map(tonic::Response::into_inner)
    }

    async fn plan(&self, text: &str) -> Result<proto::ApplyResponse, Status> {
        let mut client = ResourcesClient::new(self.plane.channel.clone());
        let request = proto::ApplyRequest { dry_run: true, ..apply_request(text) };
        client.apply(self.with(request)).await.map(tonic::Response::into_inner)
    }

    async fn delete(&self, kind: &str, name: &str) -> Result<(), Status> {
        let mut client = ResourcesClient::new(self.plane.channel.clone());
        let request =
            proto::DeleteRequest { kind: kind.to_owned(), name: name.to_owned(), message: String::new() };
        client.delete(self.with(request)).await.map(drop)
    }

    async fn revoke(&self, name: &str) -> Result<(), Status> {
        let request = proto::RevokeAdminTokenRequest { name: name.to_owned() };
        self.access().revoke_admin_token(self.with(request)).await.map(drop)
    }

    async fn go(&self, server: &str, go: proto::ServerMove) -> Result<String, Status> {
        let message = String::new();
        let request = proto::MoveServerRequest { server: server.to_owned(), r#move: go.into(), message };
        let mut client = ServersClient::new(self.plane.channel.clone());
        client.move_server(self.with(request)).await.map(|moved| moved.into_inner().lifecycle)
    }

    async fn promote(&self, server: &str) -> Result<(), Status> {
        let request = proto::PromoteServerRequest { server: server.to_owned(), ..Default::default() };
        ServersClient::new(self.plane.channel.clone()).promote_server(self.with(request)).await.map(drop)
    }

    async fn who(&self) -> Result<proto::WhoAmIResponse, Status> {
        self.access().who_am_i(self.with(proto::WhoAmIRequest {})).await.map(tonic::Response::into_inner)
    }
}

#[derive(Default, Clone, Copy)]
struct TokenOf<'a> {
    seconds: u64,
    person: &'a str,
}

fn denied<T: std::fmt::Debug>(result: Result<T, Status>, told: &[&str]) {
    let status = result.unwrap_err();
    assert_eq!(status.code(), Code::PermissionDenied, "{status:?}");
    for told in told {
        assert!(status.message().contains(told), "{told} in {}", status.message());
    }
}

fn server(name: &str, zone: &str) -> String {
    format!(
        "apiVersion: portcullis/v1\nkind: McpServer\nmetadata: {{ name: {name}, labels: {{ team: a }} }}\n\
         spec: {{ transport: {{ streamableHttp: {{ url: \"http://127.0.0.1:1/mcp\" }} }}, zone: {zone} }}\n"
    )
}

fn role(name: &str, rules: &str) -> String {
    format!(
        "apiVersion: portcullis/v1\nkind: Role\nmetadata: {{ name: {name} }}\nspec: {{ rules: {rules} }}\n"
    )
}

fn binding(name: &str, subjects: &str, roles: &str) -> String {
    format!(
        "apiVersion: portcullis/v1\nkind: RoleBinding\nmetadata: {{ name: {name} }}\n\
         spec: {{ subjects: {subjects}, roles: {roles} }}\n"
    )
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_token_is_told_once_names_its_author_and_ends_when_it_expires_or_is_revoked() {
    let plane = ControlPlane::start().await;
    let admin = Person::admin(&plane);
    let first = admin.who().await.unwrap();
    assert_eq!((first.name.as_str(), first.roles.as_slice()), ("admin", ["admin".to_owned()].as_slice()));
    assert!(!first.rights.contains(&"payloads:read".to_owned()), "not even an admin reads payloads");

    let ada = TokenOf { person: "ada@example.com", seconds: 3600 };
    let ada = admin.try_make("ada-laptop", &["operator"], ada).await.unwrap();
    assert!(ada.token.starts_with("pca_"));
    assert!(files_with(plane.dir.path(), &ada.token).is_empty(), "the secret is kept nowhere");
    ada.apply(TEN).await.unwrap();
    let entry = plane.history("servers", "crm").await.remove(0);
    assert_eq!(entry.author, "ada@example.com/ada-laptop");
    let again = admin.try_make("ada-laptop", &["viewer"], TokenOf::default()).await.err().unwrap();
    assert_eq!(again.code(), Code::AlreadyExists);

    plane.now.store(START + 3_600_000, Ordering::SeqCst);
    assert_eq!(ada.who().await.unwrap_err().code(), Code::Unauthenticated);
    let bob = admin.make("bob", &["viewer"]).await;
    assert_eq!(bob.who().await.unwrap().person, "bob");
    denied(bob.revoke("ada-laptop").await, &["access:write"]);
    bob.revoke("bob").await.unwrap();
    assert_eq!(bob.who().await.unwrap_err().code(), Code::Unauthenticated);
    let tokens = admin.access().list_admin_tokens(admin.with(proto::ListAdminTokensRequest {})).await;
    let tokens = tokens.unwrap().into_inner().tokens;
    let states: Vec<_> = tokens.iter().map(|token| (token.name.as_str(), token.state.as_str())).collect();
    assert_eq!(states, [("ada-laptop", "expired"), ("admin", "live"), ("bob", "revoked")]);
    // A name that has ended may come back; it is another token.
    let bob = admin.make("bob", &["viewer"]).await;
    assert_eq!(bob.who().await.unwrap().name, "bob");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_role_allows_its_requests_and_a_limited_one_only_what_lies_within() {
    let plane = ControlPlane::start().await;
    let admin = Person::admin(&plane);
    admin.apply(TEN).await.unwrap();
    let viewer = admin.make("viewer-1", &["viewer"]).await;
    denied(
        viewer.apply(&server("new", "internal")).await,
        &["resources:write", "McpServer/new", "access:write"],
    );
    denied(viewer.delete("servers", "crm").await, &["resources:write"]);
    viewer.plan(&server("new", "internal")).await.unwrap();

    admin
        .apply(&role(
            "internal-servers",
            "[ { rights: [resources:write], kinds: [McpServer], zones: [internal] } ]",
        ))
        .await
        .unwrap();
    let limited = admin.make("limited", &["viewer", "internal-servers"]).await;
    limited.apply(&server("new", "internal")).await.unwrap();
    for (what, text) in [
        ("another zone", server("other", "vendor-saas")),
        ("out of the zone", server("new", "vendor-saas")),
        ("into the zone", server("github", "internal")),
        (
            "another kind",
            "apiVersion: portcullis/v1\nkind: Team\nmetadata: { name: t }\nspec: {}\n".to_owned(),
        ),
        ("a role", role("x", "[ { rights: [resources:read] } ]")),
    ] {
        let status = limited.apply(&text).await.err().unwrap_or_else(|| panic!("{what} was allowed"));
        assert_eq!(status.code(), Code::PermissionDenied, "{what}: {status:?}");
    }
    denied(limited.delete("bundles", "code").await, &["limit to other resources"]);
    limited.delete("servers", "new").await.unwrap();
    // A role that is taken back is gone at once.
    admin
        .apply(&role("internal-servers", "[ { rights: [resources:write], servers: [github] } ]"))
        .await
        .unwrap();
    denied(limited.apply(&server("new", "internal")).await, &["resources:write"]);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn whoever_applies_or_approves_may_stop_a_server_and_only_an_approver_opens_it() {
    use proto::ServerMove::{Resume, Retire, Suspend};
    let plane = ControlPlane::start().await;
    let admin = Person::admin(&plane);
    admin.apply(TEN).await.unwrap();
    let (operator, approver) = (admin.make("op", &["operator"]).await, admin.make("ap", &["approver"]).await);
    assert_eq!(operator.go("crm", Suspend).await.unwrap(), "suspended");
    denied(operator.go("crm", Resume).await, &["approvals:decide", "McpServer/crm"]);
    approver.go("crm", Resume).await.unwrap();
    approver.go("crm", Suspend).await.unwrap();
    denied(approver.go("crm", Retire).await, &["resources:write"]);
    denied(operator.promote("crm").await, &["approvals:decide"]);
    // An approver is let through to the room, which refuses for another reason.
    assert_eq!(approver.promote("crm").await.unwrap_err().code(), Code::FailedPrecondition);

    // A role for some servers moves these and no others.
    admin.apply(&role("github-only", "[ { rights: [approvals:decide], servers: [github] } ]")).await.unwrap();
    let limited = admin.make("limited", &["viewer", "github-only"]).await;
    limited.go("github", Suspend).await.unwrap();
    limited.go("github", Resume).await.unwrap();
    denied(limited.go("crm", Resume).await, &["limit to other resources"]);
    denied(limited.promote("crm").await, &["limit to other resources"]);
    denied(
        admin.make("vi", &["viewer"]).await.go("crm", Suspend).await,
        &["resources:write or approvals:decide"],
    );
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn nobody_gives_what_they_do_not_have_and_payloads_are_given_to_others_alone() {
    let plane = ControlPlane::start().await;
    let admin = Person::admin(&plane);
    admin.apply(&role("people", "[ { rights: [access:write, access:read] } ]")).await.unwrap();
    let clerk = admin.make("clerk", &["viewer", "people"]).await;
    for status in [
        clerk.try_make("x", &["admin"], TokenOf::default()).await.err().unwrap(),
        clerk.try_make("x", &["viewer", "operator"], TokenOf::default()).await.err().unwrap(),
        clerk.apply(&role("more", "[ { rights: [secrets:write] } ]")).await.unwrap_err(),
        clerk.apply(&binding("me", "[ { identity: clerk } ]", "[admin]")).await.unwrap_err(),
        // A binding to a role that the same apply makes.
        clerk
            .apply(&format!(
                "{}---\n{}",
                role("more", "[ { rights: [secrets:write] } ]"),
                binding("me", "[ { token: clerk } ]", "[more]")
            ))
            .await
            .unwrap_err(),
    ] {
        assert_eq!(status.code(), Code::PermissionDenied, "{status:?}");
        assert!(status.message().contains("nobody gives what they do not have"), "{}", status.message());
    }
    let helper = clerk.make("helper", &["viewer"]).await;
    // A token of somebody with more roles has them too.
    admin.apply(&binding("ada", "[ { identity: ada } ]", "[operator]")).await.unwrap();
    let of_ada = TokenOf { person: "ada", seconds: 0 };
    denied(clerk.try_make("ada-2", &["viewer"], of_ada).await.map(drop), &["does not have"]);
    let ada = admin.try_make("ada-2", &["viewer"], of_ada).await.unwrap();
    assert_eq!(ada.who().await.unwrap().roles, ["operator", "viewer"]);

    let reader = role("payload-reader", "[ { rights: [payloads:read] } ]");
    denied(clerk.apply(&reader).await, &["payloads:read"]);
    admin.apply(&reader).await.unwrap();
    denied(
        admin.apply(&binding("self", "[ { identity: admin } ]", "[payload-reader]")).await,
        &["payloads:read", "by their own hand"],
    );
    admin.apply(&binding("readers", "[ { token: helper } ]", "[payload-reader]")).await.unwrap();
    assert!(helper.who().await.unwrap().rights.contains(&"payloads:read".to_owned()));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_last_admin_stays() {
    let plane = ControlPlane::start().await;
    let admin = Person::admin(&plane);
    let refused = admin.revoke("admin").await.unwrap_err();
    assert_eq!(refused.code(), Code::FailedPrecondition);
    assert!(refused.message().contains("nobody would be left"), "{}", refused.message());
    // One that ends by itself is no replacement; one by a binding is, for as long as the binding is there.
    admin.try_make("soon", &["admin"], TokenOf { seconds: 3600, person: "" }).await.unwrap();
    assert_eq!(admin.revoke("admin").await.unwrap_err().code(), Code::FailedPrecondition);
    let eve = admin.make("eve", &["viewer"]).await;
    admin.apply(&binding("admins", "[ { identity: eve } ]", "[admin]")).await.unwrap();
    eve.revoke("admin").await.unwrap();
    assert_eq!(admin.who().await.unwrap_err().code(), Code::Unauthenticated);
    let refused = eve.delete("rolebindings", "admins").await.unwrap_err();
    assert_eq!(refused.code(), Code::FailedPrecondition, "{refused:?}");
    let refused = eve.apply(&binding("admins", "[ { identity: bob } ]", "[admin]")).await.unwrap_err();
    assert!(refused.message().contains("nobody would be left"), "{}", refused.message());
    assert_eq!(eve.revoke("eve").await.unwrap_err().code(), Code::FailedPrecondition);
    let refused = plane_problem(&eve, &binding("b", "[ { identity: bob } ]", "[nothing]")).await;
    assert!(refused.contains("there is no Role nothing"), "{refused}");
    let refused = plane_problem(&eve, &role("viewer", "[ { rights: [resources:read] } ]")).await;
    assert!(refused.contains("built in"), "{refused}");
    let refused = plane_problem(&eve, &role("r", "[ { rights: [resources:read], zones: [default] } ]")).await;
    assert!(refused.contains("cannot be limited"), "{refused}");
}

async fn plane_problem(person: &Person<'_>, text: &str) -> String {
    let status = person.apply(text).await.unwrap_err();
    assert_eq!(status.code(), Code::InvalidArgument, "{status:?}");
    status.message().to_owned()
}
