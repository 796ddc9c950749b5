//! `Policy`: why a call is or is not permitted, and what is in force.

use portcullis_policy::explain::explain;
use portcullis_policy::view::EndpointRef;
use portcullis_proto::admin::v1 as proto;
use portcullis_proto::admin::v1::policy_server::Policy;
use tonic::{Request, Response, Status};

use super::authn::author;
use crate::clock::Clock;
use crate::publish::Publisher;
use crate::registry::RegistryError;

/// The largest arguments, in bytes.
const MAX_ARGUMENTS: usize = 1 << 20;

/// The service.
#[derive(Debug)]
pub(super) struct PolicyService {
    publisher: Publisher,
    clock: Clock,
}

impl PolicyService {
    /// Answers from what is published.
    #[must_use]
    pub(super) const fn new(publisher: Publisher, clock: Clock) -> Self {
        Self { publisher, clock }
    }
}

#[tonic::async_trait]
impl Policy for PolicyService {
    async fn explain(
        &self,
        request: Request<proto::ExplainRequest>,
    ) -> Result<Response<proto::ExplainResponse>, Status> {
        author(&request)?;
        let request = request.into_inner();
        let endpoint = endpoint(&request.endpoint)?;
        arguments(&request.arguments_json)?;
        let published =
            self.publisher.current().ok_or_else(|| Status::unavailable("nothing is published yet"))?;
        let now = self.clock.now_unix_ms();
        let explanation = explain(&published.snapshot, &request.key, endpoint, &request.tool, now);
        let json =
            serde_json::to_string(&explanation).map_err(|error| Status::internal(error.to_string()))?;
        Ok(Response::new(proto::ExplainResponse { json }))
    }

    async fn get_snapshot(
        &self,
        request: Request<proto::GetSnapshotRequest>,
    ) -> Result<Response<proto::GetSnapshotResponse>, Status> {
        author(&request)?;
        let published =
            self.publisher.current().ok_or_else(|| Status::unavailable("nothing is published yet"))?;
        let entries = published.counts().into_iter().map(|(kind, count)| (kind.to_owned(), count));
        Ok(Response::new(proto::GetSnapshotResponse {
            version: published.header.version.0,
            digest: published.header.digest.to_hex(),
            built_unix_ms: published.header.built_unix_ms,
            entries: entries.collect(),
            key_id: published.key_id.to_string(),
            reports: published.reports.clone(),
        }))
    }
}

/// Reads an endpoint's path.
fn endpoint(path: &str) -> Result<EndpointRef<'_>, Status> {
    let parts: Vec<&str> = path.trim_start_matches('/').split('/').collect();
    match parts.as_slice() {
        [""] | ["mcp"] => Ok(EndpointRef::All),
        ["bundles", name, "mcp"] => Ok(EndpointRef::Bundle(name)),
        ["servers", name, "mcp"] => Ok(EndpointRef::Server(name)),
        _ => Err(RegistryError::invalid(
            "--endpoint",
            "an endpoint is /mcp, /bundles/NAME/mcp or /servers/NAME/mcp",
        )
        .into()),
    }
}

/// No rule of this version looks at arguments; what is no object would be refused before any rule.
fn arguments(json: &str) -> Result<(), Status> {
    let refuse = |message: &str| Err(RegistryError::invalid("--arguments", message).into());
    if json.is_empty() {
        return Ok(());
    }
    if json.len() > MAX_ARGUMENTS {
        return refuse("arguments have at most 1 MiB");
    }
    match serde_json::from_str::<serde_json::Map<String, serde_json::Value>>(json) {
        Ok(_) => Ok(()),
        Err(_) => refuse("arguments are one JSON object"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn endpoints_are_read_as_the_contract_writes_them() {
        assert_eq!(endpoint("").unwrap(), EndpointRef::All);
        assert_eq!(endpoint("/mcp").unwrap(), EndpointRef::All);
        assert_eq!(endpoint("/bundles/support/mcp").unwrap(), EndpointRef::Bundle("support"));
        assert_eq!(endpoint("/servers/crm/mcp").unwrap(), EndpointRef::Server("crm"));
        for wrong in ["/servers", "/servers/crm", "/servers/a/b/mcp", "/mcp/", "x"] {
            assert_eq!(endpoint(wrong).unwrap_err().code(), tonic::Code::InvalidArgument, "{wrong}");
        }
    }

    #[test]
    fn arguments_are_an_object_or_absent() {
        assert!(arguments("").is_ok());
        assert!(arguments(r#"{"a": 1}"#).is_ok());
        for wrong in ["[]", "1", "{", "null"] {
            assert!(arguments(wrong).is_err(), "{wrong}");
        }
    }
}
