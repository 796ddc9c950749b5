//! `Servers`: suspend, resume, retire, promote.

use portcullis_policy::resource::Stage;
use portcullis_proto::admin::v1 as proto;
use portcullis_proto::admin::v1::servers_server::Servers as Service;
use tonic::{Request, Response, Status};

use super::authn::actor;
use crate::registry::RegistryError;
use crate::rollout::{Check, Move, Promotion, Rollout};

/// The service.
#[derive(Debug)]
pub(super) struct ServersService(pub(super) Rollout);

#[tonic::async_trait]
impl Service for ServersService {
    async fn move_server(
        &self,
        request: Request<proto::MoveServerRequest>,
    ) -> Result<Response<proto::MoveServerResponse>, Status> {
        let by = actor(&request)?;
        let request = request.into_inner();
        let go = match request.r#move() {
            proto::ServerMove::Suspend => Move::Suspend,
            proto::ServerMove::Resume => Move::Resume,
            proto::ServerMove::Retire => Move::Retire,
            proto::ServerMove::Unspecified => {
                return Err(RegistryError::invalid("move", "say suspend, resume or retire").into());
            }
        };
        let (lifecycle, version) = self.0.go(&request.server, go, &by, &request.message).await?;
        let lifecycle = lifecycle.as_str().to_owned();
        Ok(Response::new(proto::MoveServerResponse { lifecycle, version }))
    }

    async fn promote_server(
        &self,
        request: Request<proto::PromoteServerRequest>,
    ) -> Result<Response<proto::PromoteServerResponse>, Status> {
        let by = actor(&request)?;
        let request = request.into_inner();
        let to = match request.to.as_str() {
            "" => None,
            text => Some(Stage::parse(text).filter(|stage| *stage != Stage::Sandbox).ok_or_else(|| {
                RegistryError::invalid("--to", "a server is promoted to limited or general")
            })?),
        };
        let promotion = Promotion { to, force: request.force, message: request.message };
        let done = self.0.promote(&request.server, promotion, &by).await?;
        Ok(Response::new(proto::PromoteServerResponse {
            promoted: done.promoted,
            from: done.from.as_str().to_owned(),
            to: done.to.as_str().to_owned(),
            checks: done.checks.into_iter().map(check_to_proto).collect(),
            version: done.version,
        }))
    }
}

fn check_to_proto(check: Check) -> proto::StageCheck {
    proto::StageCheck {
        name: check.name.to_owned(),
        measured: check.measured,
        required: check.required,
        passed: check.passed,
    }
}
