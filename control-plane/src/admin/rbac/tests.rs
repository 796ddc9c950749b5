use std::collections::BTreeSet;

use prost::Message as _;

use super::*;
use crate::governance::Rights;
use crate::store::State;

/// The part of a `FileDescriptorSet` that names requests: files (1), their package (2) and services (6), names (1) and methods
/// (2) of these.
#[derive(Clone, PartialEq, prost::Message)]
struct Files {
    #[prost(message, repeated, tag = "1")]
    file: Vec<FileOf>,
}

#[derive(Clone, PartialEq, prost::Message)]
struct FileOf {
    #[prost(string, tag = "2")]
    package: String,
    #[prost(message, repeated, tag = "6")]
    service: Vec<ServiceOf>,
}

#[derive(Clone, PartialEq, prost::Message)]
struct ServiceOf {
    #[prost(string, tag = "1")]
    name: String,
    #[prost(message, repeated, tag = "2")]
    method: Vec<MethodOf>,
}

#[derive(Clone, PartialEq, prost::Message)]
struct MethodOf {
    #[prost(string, tag = "1")]
    name: String,
}

#[test]
fn every_request_of_the_api_has_one_entry_and_no_entry_is_without_a_request() {
    let files = Files::decode(portcullis_proto::DESCRIPTORS).unwrap();
    let mut requests = BTreeSet::new();
    for file in files.file.iter().filter(|file| file.package == "portcullis.admin.v1") {
        for service in &file.service {
            requests.extend(service.method.iter().map(|method| format!("{}/{}", service.name, method.name)));
        }
    }
    assert!(requests.len() > 20, "{requests:?}");
    let entries: BTreeSet<String> = TABLE.iter().map(|(request, _)| (*request).to_owned()).collect();
    assert_eq!(entries.len(), TABLE.len(), "an entry is there twice");
    let without: Vec<_> = requests.difference(&entries).collect();
    assert!(without.is_empty(), "without an entry in the table of rights: {without:?}");
    let stale: Vec<_> = entries.difference(&requests).collect();
    assert!(stale.is_empty(), "entries without a request: {stale:?}");
}

fn with(role: &str) -> Arc<Identity> {
    Arc::new(Identity {
        token: "ada-laptop".to_owned(),
        uid: portcullis_policy::resource::Uid(uuid::Uuid::nil()),
        person: "ada".to_owned(),
        roles: BTreeSet::from([role.to_owned()]),
        rights: Rights::of_roles(&State::default(), [role]),
        expires_unix_ms: None,
    })
}

#[test]
fn a_role_may_make_its_requests_and_learns_which_right_another_one_needs() {
    for (role, request, allowed) in [
        ("viewer", "Resources/List", true),
        ("viewer", "Resources/Apply", true),
        ("viewer", "Resources/Delete", false),
        ("viewer", "Approvals/Decide", false),
        ("operator", "Keys/CreateKey", true),
        ("operator", "Approvals/Decide", false),
        ("operator", "Access/CreateAdminToken", false),
        ("approver", "Approvals/Decide", true),
        ("approver", "Secrets/SetSecret", false),
        ("operator", "Servers/MoveServer", true),
        ("operator", "Servers/PromoteServer", false),
        ("approver", "Servers/MoveServer", true),
        ("approver", "Servers/PromoteServer", true),
        ("viewer", "Servers/MoveServer", false),
        ("auditor", "Access/ListAdminTokens", true),
        ("auditor", "Keys/RotateKey", false),
        ("admin", "Access/CreateAdminToken", true),
        ("nothing", "Access/WhoAmI", true),
        ("nothing", "Resources/List", false),
    ] {
        let judged = judge(Some(&with(role)), &format!("/portcullis.admin.v1.{request}"));
        assert_eq!(judged.is_ok(), allowed, "{role} {request}");
    }
    let refused = judge(Some(&with("viewer")), "/portcullis.admin.v1.Approvals/Decide").unwrap_err();
    assert_eq!(refused.code(), tonic::Code::PermissionDenied);
    for told in ["ada/ada-laptop", "approvals:decide", "access:write"] {
        assert!(refused.message().contains(told), "{}", refused.message());
    }
    let unlisted = judge(Some(&with("admin")), "/portcullis.admin.v1.Access/NewThing").unwrap_err();
    assert_eq!(unlisted.code(), tonic::Code::PermissionDenied);
    assert_eq!(
        judge(None, "/portcullis.admin.v1.Access/WhoAmI").unwrap_err().code(),
        tonic::Code::Unauthenticated
    );
}
