//! What each request of the administrators' API needs, in one table, judged before a handler runs.
//!
//! The table knows requests, not what they are about: where a right is limited to some resources, the handler's room judges
//! that in the transaction itself. A test walks the services and fails for a request without an entry; at run time such a
//! request is refused.

use std::sync::Arc;
use std::task::{Context, Poll};

use portcullis_policy::resource::Right;
use tonic::Status;
use tonic::body::Body;
use tonic::codegen::{BoxFuture, Service};
use tonic::server::NamedService;

use crate::governance::Identity;

/// Each request with the rights of which it needs one, maybe limited. None at all: who asks need only be known.
pub(super) const TABLE: &[(&str, &[Right])] = &[
    ("Access/CreateAdminToken", &[Right::AccessWrite]),
    ("Access/ListAdminTokens", &[Right::AccessRead]),
    // Everybody may end their own token; of others `governance` asks for more.
    ("Access/RevokeAdminToken", &[]),
    ("Access/WhoAmI", &[]),
    ("Approvals/ListApprovals", &[Right::ApprovalsRead]),
    ("Approvals/GetApproval", &[Right::ApprovalsRead]),
    ("Approvals/Decide", &[Right::ApprovalsDecide]),
    ("Approvals/Reopen", &[Right::ApprovalsDecide, Right::ResourcesWrite]),
    ("Keys/CreateKey", &[Right::KeysWrite]),
    ("Keys/RotateKey", &[Right::KeysWrite]),
    ("Keys/RevokeKey", &[Right::KeysWrite]),
    ("Planes/ListPlanes", &[Right::PlanesRead]),
    ("Planes/CreatePlaneToken", &[Right::PlanesWrite]),
    ("Planes/ListPlaneTokens", &[Right::PlanesRead]),
    ("Planes/RevokePlaneToken", &[Right::PlanesWrite]),
    ("Policy/Explain", &[Right::PolicyRead]),
    ("Policy/GetSnapshot", &[Right::PolicyRead]),
    ("Reach/WhoCan", &[Right::PolicyRead]),
    ("Reach/WhatCan", &[Right::PolicyRead]),
    // A plan that tells, beside what it would change, how often calls that it would change were made.
    ("Reach/Replay", &[Right::PolicyRead]),
    // A dry run is a question; what is applied is judged resource by resource.
    ("Resources/Apply", &[Right::ResourcesWrite, Right::AccessWrite, Right::PolicyRead]),
    // As an apply: a dry run is a question.
    ("Resources/Rollback", &[Right::ResourcesWrite, Right::AccessWrite, Right::PolicyRead]),
    ("Resources/Get", &[Right::ResourcesRead]),
    ("Resources/List", &[Right::ResourcesRead]),
    ("Resources/Watch", &[Right::ResourcesRead]),
    ("Resources/Delete", &[Right::ResourcesWrite, Right::AccessWrite]),
    ("Resources/History", &[Right::HistoryRead]),
    // To stop one, or to open it again: the room judges which, by what the server is.
    ("Servers/MoveServer", &[Right::ResourcesWrite, Right::ApprovalsDecide]),
    ("Servers/PromoteServer", &[Right::ApprovalsDecide]),
    ("Usage/ListUsage", &[Right::UsageRead]),
    ("Usage/CountUsage", &[Right::UsageRead]),
    ("Usage/ResetUsage", &[Right::UsageWrite]),
    ("Usage/AdjustUsage", &[Right::UsageWrite]),
    ("Secrets/SetSecret", &[Right::SecretsWrite]),
    ("Secrets/ListSecrets", &[Right::SecretsRead]),
    ("Secrets/DeleteSecret", &[Right::SecretsWrite]),
];

/// The package of every service in the table, as it stands in a path.
const PACKAGE: &str = "/portcullis.admin.v1.";

/// What a request of this path needs; none when the table does not know it.
fn needs(path: &str) -> Option<&'static [Right]> {
    let request = path.strip_prefix(PACKAGE)?;
    TABLE.iter().find(|(known, _)| *known == request).map(|(_, rights)| *rights)
}

fn judge(identity: Option<&Arc<Identity>>, path: &str) -> Result<(), Status> {
    let Some(identity) = identity else {
        return Err(Status::unauthenticated("an administrator's token is required"));
    };
    let Some(rights) = needs(path) else {
        return Err(Status::permission_denied(format!("{path} is no request that anybody may make")));
    };
    if identity.has_one_of(rights) {
        return Ok(());
    }
    let request = path.strip_prefix(PACKAGE).unwrap_or(path);
    Err(Status::permission_denied(identity.denied(rights, request)))
}

/// A service behind the table. Who asks is known by then: [`Authn`](super::Authn) stands before it.
#[derive(Debug, Clone)]
pub(super) struct Guarded<S>(pub(super) S);

impl<S> Service<http::Request<Body>> for Guarded<S>
where
    S: Service<http::Request<Body>, Response = http::Response<Body>>,
    S::Future: Send + 'static,
    S::Error: Send + 'static,
{
    type Response = http::Response<Body>;
    type Error = S::Error;
    type Future = BoxFuture<Self::Response, Self::Error>;

    fn poll_ready(&mut self, cx: &mut Context<'_>) -> Poll<Result<(), Self::Error>> {
        self.0.poll_ready(cx)
    }

    fn call(&mut self, request: http::Request<Body>) -> Self::Future {
        match judge(request.extensions().get(), request.uri().path()) {
            Ok(()) => Box::pin(self.0.call(request)),
            Err(refused) => Box::pin(std::future::ready(Ok(refused.into_http()))),
        }
    }
}

impl<S: NamedService> NamedService for Guarded<S> {
    const NAME: &'static str = S::NAME;
}

#[cfg(test)]
mod tests;
