//! `Access`: administrators' tokens, and who the caller is.

use portcullis_proto::admin::v1 as proto;
use portcullis_proto::admin::v1::access_server::Access as Service;
use tonic::{Code, Request, Response, Status};

use super::authn::identity;
use super::status::one_problem;
use crate::governance::{AccessError, AdminTokenInfo, AdminTokens, TokenRequest, TokensError};

/// The service.
#[derive(Debug)]
pub(super) struct AccessService(pub(super) AdminTokens);

#[tonic::async_trait]
impl Service for AccessService {
    async fn create_admin_token(
        &self,
        request: Request<proto::CreateAdminTokenRequest>,
    ) -> Result<Response<proto::CreateAdminTokenResponse>, Status> {
        let by = identity(&request)?;
        let request = request.into_inner();
        let wanted = TokenRequest {
            name: request.name,
            roles: request.roles,
            lives_seconds: Some(request.lives_seconds).filter(|seconds| *seconds > 0),
            person: Some(request.person).filter(|person| !person.is_empty()),
        };
        let made = self.0.create(&by, &wanted).await?;
        Ok(Response::new(proto::CreateAdminTokenResponse {
            info: Some(to_proto(made.info)),
            token: made.text,
        }))
    }

    async fn list_admin_tokens(
        &self,
        _: Request<proto::ListAdminTokensRequest>,
    ) -> Result<Response<proto::ListAdminTokensResponse>, Status> {
        let tokens = self.0.list().into_iter().map(to_proto).collect();
        Ok(Response::new(proto::ListAdminTokensResponse { tokens }))
    }

    async fn revoke_admin_token(
        &self,
        request: Request<proto::RevokeAdminTokenRequest>,
    ) -> Result<Response<proto::RevokeAdminTokenResponse>, Status> {
        let by = identity(&request)?;
        self.0.revoke(&by, &request.into_inner().name).await?;
        Ok(Response::new(proto::RevokeAdminTokenResponse {}))
    }

    async fn who_am_i(
        &self,
        request: Request<proto::WhoAmIRequest>,
    ) -> Result<Response<proto::WhoAmIResponse>, Status> {
        let who = identity(&request)?;
        Ok(Response::new(proto::WhoAmIResponse {
            name: who.token.clone(),
            person: who.person.clone(),
            author: who.author(),
            roles: who.roles.iter().cloned().collect(),
            rights: who.rights.list().iter().map(|right| right.as_str().to_owned()).collect(),
            expires_unix_ms: who.expires_unix_ms.unwrap_or(0),
        }))
    }
}

fn to_proto(info: AdminTokenInfo) -> proto::AdminToken {
    let state = match (info.token.revoked, info.live) {
        (true, _) => "revoked",
        (false, false) => "expired",
        (false, true) => "live",
    };
    proto::AdminToken {
        name: info.name,
        person: info.token.person.unwrap_or_default(),
        roles: info.token.roles.iter().map(|role| role.as_str().to_owned()).collect(),
        bound_roles: info.bound_roles,
        created_unix_ms: info.token.created_unix_ms,
        expires_unix_ms: info.token.expires_unix_ms.unwrap_or(0),
        state: state.to_owned(),
    }
}

impl From<AccessError> for Status {
    fn from(error: AccessError) -> Self {
        match error {
            AccessError::Denied(message) => Self::permission_denied(message),
            AccessError::Refused(message) => one_problem(Code::FailedPrecondition, "", message),
        }
    }
}

impl From<TokensError> for Status {
    fn from(error: TokensError) -> Self {
        let message = error.to_string();
        match error {
            TokensError::Invalid(field, message) => one_problem(Code::InvalidArgument, field, message),
            TokensError::NotFound(_) => Self::not_found(message),
            TokensError::Exists(_) => Self::already_exists(message),
            TokensError::Access(error) => error.into(),
            TokensError::TooMany => one_problem(Code::FailedPrecondition, "", message),
            TokensError::NoRandomness => Self::internal(message),
            TokensError::Unavailable(_) => Self::unavailable(message),
        }
    }
}
