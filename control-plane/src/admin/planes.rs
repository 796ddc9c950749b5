//! The `Planes` service: who is connected, and the tokens with which planes connect.

use portcullis_policy::resource::Name;
use portcullis_proto::admin::v1 as proto;
use portcullis_proto::admin::v1::planes_server::{self, PlanesServer};
use tonic::{Request, Response, Status};

use super::authn::author;
use crate::registry::RegistryError;
use crate::store::Store;
use crate::stream::{PlaneInfo, PlaneTokenInfo, PlaneTokens, Planes, StoreHandle, TokenError, TokenScope};

/// The service over the room `stream`.
#[derive(Debug, Clone)]
pub struct PlanesService {
    store: StoreHandle,
    planes: Planes,
    tokens: PlaneTokens,
}

impl PlanesService {
    /// Lists these planes, makes and revokes these tokens.
    #[must_use]
    pub fn new(store: std::sync::Arc<dyn Store>, planes: Planes, tokens: PlaneTokens) -> Self {
        Self { store: StoreHandle(store), planes, tokens }
    }

    /// The service as a server takes it.
    #[must_use]
    pub fn into_server(self) -> PlanesServer<Self> {
        PlanesServer::new(self)
    }
}

#[tonic::async_trait]
impl planes_server::Planes for PlanesService {
    async fn list_planes(
        &self,
        request: Request<proto::ListPlanesRequest>,
    ) -> Result<Response<proto::ListPlanesResponse>, Status> {
        author(&request)?;
        let planes = self.planes.list(&self.store.state()).into_iter().map(plane_to_proto).collect();
        Ok(Response::new(proto::ListPlanesResponse { planes }))
    }

    async fn create_plane_token(
        &self,
        request: Request<proto::CreatePlaneTokenRequest>,
    ) -> Result<Response<proto::CreatePlaneTokenResponse>, Status> {
        let author = author(&request)?;
        let request = request.into_inner();
        let plane_name = match request.plane_name.as_str() {
            "" => None,
            name => {
                let named = name.parse::<Name>();
                Some(named.map_err(|error| RegistryError::invalid("--name", error.to_string()))?)
            }
        };
        let scope = TokenScope { plane_name, labels: request.labels.into_iter().collect() };
        let new = self.tokens.create(&author, scope).await?;
        Ok(Response::new(proto::CreatePlaneTokenResponse { id: new.id, token: new.text }))
    }

    async fn list_plane_tokens(
        &self,
        request: Request<proto::ListPlaneTokensRequest>,
    ) -> Result<Response<proto::ListPlaneTokensResponse>, Status> {
        author(&request)?;
        let tokens = self.tokens.list().into_iter().map(token_to_proto).collect();
        Ok(Response::new(proto::ListPlaneTokensResponse { tokens }))
    }

    async fn revoke_plane_token(
        &self,
        request: Request<proto::RevokePlaneTokenRequest>,
    ) -> Result<Response<proto::RevokePlaneTokenResponse>, Status> {
        let author = author(&request)?;
        self.tokens.revoke(&author, &request.into_inner().id).await?;
        Ok(Response::new(proto::RevokePlaneTokenResponse {}))
    }
}

impl From<TokenError> for Status {
    fn from(error: TokenError) -> Self {
        let message = error.to_string();
        match error {
            TokenError::Labels => Self::invalid_argument(message),
            TokenError::NotFound(_) => Self::not_found(message),
            TokenError::TooMany => Self::resource_exhausted(message),
            TokenError::NoRandomness => Self::internal(message),
            TokenError::Unavailable(_) => Self::unavailable(message),
        }
    }
}

fn plane_to_proto(plane: PlaneInfo) -> proto::Plane {
    proto::Plane {
        name: plane.name,
        labels: plane.labels.into_iter().collect(),
        connected: plane.connected,
        since_unix_ms: plane.since_unix_ms,
        snapshot_version: plane.snapshot_version,
        last_nack: plane.last_nack,
        software_version: plane.software_version,
        probes: plane.probes,
        mcp_url: plane.mcp_url,
        calls_total: plane.calls_total,
    }
}

fn token_to_proto(token: PlaneTokenInfo) -> proto::PlaneToken {
    proto::PlaneToken {
        id: token.id,
        labels: token.scope.labels.into_iter().collect(),
        plane_name: token.scope.plane_name.map(String::from).unwrap_or_default(),
        created_unix_ms: token.created_unix_ms,
        revoked: token.revoked,
    }
}
