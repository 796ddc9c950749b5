//! `Keys`: create, rotate, revoke.

use portcullis_proto::admin::v1 as proto;
use portcullis_proto::admin::v1::keys_server::Keys as Service;
use tonic::{Request, Response, Status};

use super::authn::actor;
use super::resources::key_to_proto;
use crate::keys::Keys;

/// The service.
#[derive(Debug)]
pub(super) struct KeysService(pub(super) Keys);

#[tonic::async_trait]
impl Service for KeysService {
    async fn create_key(
        &self,
        request: Request<proto::CreateKeyRequest>,
    ) -> Result<Response<proto::CreateKeyResponse>, Status> {
        let by = actor(&request)?;
        let request = request.into_inner();
        let file = request.file.map(|file| (file.name, file.text));
        let (key, version) = self.0.create(&request.name, file, &by).await?;
        Ok(Response::new(proto::CreateKeyResponse { key: Some(key_to_proto(key)), version }))
    }

    async fn rotate_key(
        &self,
        request: Request<proto::RotateKeyRequest>,
    ) -> Result<Response<proto::RotateKeyResponse>, Status> {
        let by = actor(&request)?;
        let request = request.into_inner();
        let rotated = self.0.rotate(&request.name, request.grace_seconds, &by).await?;
        Ok(Response::new(proto::RotateKeyResponse {
            key: Some(key_to_proto(rotated.key)),
            old_until_unix_ms: rotated.old_until_unix_ms,
            version: rotated.version,
        }))
    }

    async fn revoke_key(
        &self,
        request: Request<proto::RevokeKeyRequest>,
    ) -> Result<Response<proto::RevokeKeyResponse>, Status> {
        let by = actor(&request)?;
        let request = request.into_inner();
        let version = self.0.revoke(&request.name, &by, &request.message).await?;
        Ok(Response::new(proto::RevokeKeyResponse { version }))
    }
}
