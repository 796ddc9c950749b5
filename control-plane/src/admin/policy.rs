//! `Policy`: why a call is or is not permitted, and what is in force.

use std::net::IpAddr;
use std::sync::Arc;

use portcullis_policy::explain::{Explanation, Question, explain};
use portcullis_policy::resource::Right;
use portcullis_policy::view::EndpointRef;
use portcullis_policy::{Circumstances, ClientHint, DefinitionKind, Era, Reason, Snapshot, live};
use portcullis_proto::admin::v1 as proto;
use portcullis_proto::admin::v1::policy_server::Policy;
use serde_json::value::RawValue;
use tonic::{Request, Response, Status};

use super::authn::{author, identity};
use super::explained::with_versions;
use crate::approvals::calls::{Calls, HeldCall};
use crate::clock::Clock;
use crate::publish::Publisher;
use crate::registry::RegistryError;
use crate::store::Store;
use crate::stream::Planes;

/// The largest arguments, in bytes: a data plane reads no larger body.
const MAX_ARGUMENTS: usize = 16 << 20;

/// The service.
pub(super) struct PolicyService {
    publisher: Publisher,
    store: Arc<dyn Store>,
    clock: Clock,
    planes: Planes,
    calls: Calls,
}

impl std::fmt::Debug for PolicyService {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("PolicyService").finish_non_exhaustive()
    }
}

impl PolicyService {
    /// Answers from what is published.
    #[must_use]
    pub(super) const fn new(
        publisher: Publisher,
        store: Arc<dyn Store>,
        clock: Clock,
        planes: Planes,
        calls: Calls,
    ) -> Self {
        Self { publisher, store, clock, planes, calls }
    }

    /// What became of exactly this call, where it is explained as one that a person has to approve.
    fn known(
        &self,
        snapshot: &Snapshot,
        question: &Question<'_>,
        explained: &Explanation,
    ) -> Option<HeldCall> {
        let arguments = question.circumstances.arguments?;
        if explained.reason != Some(Reason::ApprovalRequired) {
            return None;
        }
        let principal = snapshot.key_by_name(question.key)?;
        let server = snapshot.server(explained.server.as_ref()?.as_str())?;
        let tool = snapshot.definition(&server.uid(), question.kind, explained.tool.as_ref()?)?;
        self.calls.known(principal, tool, arguments)
    }
}

#[tonic::async_trait]
impl Policy for PolicyService {
    async fn explain(
        &self,
        request: Request<proto::ExplainRequest>,
    ) -> Result<Response<proto::ExplainResponse>, Status> {
        let by = identity(&request)?;
        let request = request.into_inner();
        let assume = assumed(&request.assume)?;
        let plane = match request.plane.as_str() {
            "" => None,
            name => Some(self.planes.labels(name).ok_or_else(|| {
                let name: String = name.chars().take(80).collect();
                Status::from(RegistryError::NotFound(format!("the data plane {name}")))
            })?),
        };
        let question = Question {
            key: &request.key,
            endpoint: endpoint(&request.endpoint)?,
            kind: DefinitionKind::Tool,
            name: &request.tool,
            assume: &assume,
            asked: None,
            circumstances: Circumstances {
                arguments: arguments(&request.arguments_json)?,
                network: network(&request.network)?,
                era: era(&request.era)?,
                client: client(&request.client_name, &request.client_version)?,
                plane: plane.as_ref(),
                ..Circumstances::at(self.clock.now_unix_ms())
            },
        };
        let published =
            self.publisher.current().ok_or_else(|| Status::unavailable("nothing is published yet"))?;
        let mut explanation = explain(&published.snapshot, &question);
        let call = self.known(&published.snapshot, &question, &explanation);
        if let Some(call) = &call {
            explanation = explain(&published.snapshot, &Question { asked: call.asked(), ..question });
        }
        // What waits is for those to see who may look at approvals.
        let call = call.filter(|_| by.rights.has(Right::ApprovalsRead));
        let explained = with_versions(&self.store.state(), &explanation, call.as_ref())
            .map_err(|error| Status::internal(error.to_string()))?;
        Ok(Response::new(proto::ExplainResponse { json: explained.to_string() }))
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

/// Reads arguments, whose bytes stay as they were written. What is no object would be refused before any rule.
fn arguments(json: &str) -> Result<Option<&RawValue>, Status> {
    let refuse = |message: &str| Err(RegistryError::invalid("--arguments", message).into());
    if json.is_empty() {
        return Ok(None);
    }
    if json.len() > MAX_ARGUMENTS {
        return refuse("arguments have at most 16 MiB: a data plane reads no larger request");
    }
    match serde_json::from_str::<&RawValue>(json) {
        Ok(raw) if raw.get().starts_with('{') => Ok(Some(raw)),
        _ => refuse("arguments are one JSON object"),
    }
}

/// Reads the caller's address, where one is given.
fn network(text: &str) -> Result<Option<IpAddr>, Status> {
    if text.is_empty() {
        return Ok(None);
    }
    let message = "this is no network address: write one, such as 10.1.2.3 or 2001:db8::1";
    text.parse().map(Some).map_err(|_| RegistryError::invalid("--network", message).into())
}

/// Reads how the caller speaks, where it is given.
fn era(text: &str) -> Result<Option<Era>, Status> {
    match text {
        "" => Ok(None),
        "modern" => Ok(Some(Era::Modern)),
        "legacy" => Ok(Some(Era::Legacy)),
        _ => Err(RegistryError::invalid("--era", "an era is modern or legacy").into()),
    }
}

/// Reads what the caller's program says of itself, where it is given.
fn client<'a>(name: &'a str, version: &'a str) -> Result<Option<ClientHint<'a>>, Status> {
    match (name, version) {
        ("", "") => Ok(None),
        ("", _) => Err(RegistryError::invalid("--client", "a version stands beside a name").into()),
        (name, version) => Ok(Some(ClientHint { name, version: (!version.is_empty()).then_some(version) })),
    }
}

/// Reads what the data plane is taken to meet.
fn assumed(codes: &[String]) -> Result<Vec<Reason>, Status> {
    let read = |code: &String| {
        live::reason(code).ok_or_else(|| {
            let known: Vec<&str> = live::REASONS.iter().map(|reason| reason.code()).collect();
            let message =
                format!("{code:?} cannot be assumed. What only a data plane knows can: {}", known.join(", "));
            Status::from(RegistryError::invalid("--assume", message))
        })
    };
    codes.iter().map(read).collect()
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
        assert!(arguments("").unwrap().is_none());
        assert_eq!(arguments(" {\"a\": 1}\n").unwrap().unwrap().get(), r#"{"a": 1}"#);
        for wrong in ["[]", "1", "{", "null"] {
            assert!(arguments(wrong).is_err(), "{wrong}");
        }
    }

    #[test]
    fn what_is_known_of_a_caller_is_read_or_refused() {
        assert_eq!(network("").unwrap(), None);
        assert_eq!(network("10.1.2.3").unwrap(), Some(IpAddr::from([10, 1, 2, 3])));
        assert_eq!(era("").unwrap(), None);
        assert_eq!(era("legacy").unwrap(), Some(Era::Legacy));
        assert_eq!(client("", "").unwrap(), None);
        assert_eq!(client("ide", "").unwrap(), Some(ClientHint { name: "ide", version: None }));
        assert_eq!(client("ide", "1").unwrap(), Some(ClientHint { name: "ide", version: Some("1") }));
        assert!(network("10.0.0.0/8").is_err() && era("Modern").is_err() && client("", "1").is_err());
    }

    #[test]
    fn only_what_a_data_plane_alone_knows_can_be_assumed() {
        let words = |codes: &[&str]| codes.iter().map(|code| (*code).to_owned()).collect::<Vec<_>>();
        let read = assumed(&words(&["upstream_timeout", "overloaded"])).unwrap();
        assert_eq!(read, [Reason::UpstreamTimeout, Reason::Overloaded]);
        for wrong in ["zone_denied", "arguments_invalid", "rate_limited", "nonsense", ""] {
            let refused = assumed(&words(&["overloaded", wrong])).unwrap_err();
            assert_eq!(refused.code(), tonic::Code::InvalidArgument, "{wrong}");
            assert!(refused.message().contains("concurrency_exceeded, upstream_unavailable"), "{refused}");
        }
    }
}
