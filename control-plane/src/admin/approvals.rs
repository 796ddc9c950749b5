//! The `Approvals` service: lists and decides what waits for a person.

use std::time::Duration;

use portcullis_policy::document::Problem;
use portcullis_policy::resource::{ChangeClass, Kind, Right};
use portcullis_proto::admin::v1 as proto;
use portcullis_proto::admin::v1::approvals_server::{self, ApprovalsServer};
use tokio::time::timeout;
use tonic::{Code, Request, Response, Status};

use super::authn::{actor, author, identity};
use super::resources::change_to_proto;
use super::status::with_problems;
use crate::approvals::calls::{self, Calls, HeldCall, HeldCallDetail};
use crate::approvals::{Approval, ApprovalError, ApprovalFilter, Approvals, Decision, Selection};
use crate::governance::Actor;
use crate::publish::Publisher;
use crate::registry::{ID_PREFIX, Proposal, Registry, ResourceChange};
use crate::review::Severity;

/// How long an answer waits for the snapshot that holds the decision. The decision itself is stored by then.
const PUBLISH_WAIT: Duration = Duration::from_secs(10);

/// The service over the room of the same name.
#[derive(Debug, Clone)]
pub struct ApprovalsService {
    approvals: Approvals,
    calls: Calls,
    registry: Registry,
    publisher: Publisher,
}

impl ApprovalsService {
    /// Decides with these approvals; answers when what was decided is published.
    #[must_use]
    pub fn new(approvals: Approvals, calls: Calls, registry: Registry, publisher: Publisher) -> Self {
        Self { approvals, calls, registry, publisher }
    }

    /// The service as a server takes it.
    #[must_use]
    pub fn into_server(self) -> ApprovalsServer<Self> {
        ApprovalsServer::new(self)
    }
}

#[tonic::async_trait]
impl approvals_server::Approvals for ApprovalsService {
    async fn list_approvals(
        &self,
        request: Request<proto::ListApprovalsRequest>,
    ) -> Result<Response<proto::ListApprovalsResponse>, Status> {
        author(&request)?;
        let request = request.into_inner();
        let filter = ApprovalFilter { server: given(request.server), all: request.all };
        let of_server = |one: &proto::Approval| filter.server.as_ref().is_none_or(|name| one.server == *name);
        let proposals = self.registry.proposals(filter.all).into_iter().map(proposal_to_proto);
        let definitions = self.approvals.list(&filter)?;
        let calls = self.calls.list(filter.server.as_deref(), filter.all);
        let calls = calls.into_iter().map(|call| call_to_proto(&call));
        let definitions = definitions.into_iter().map(to_proto);
        let approvals = calls.chain(proposals.filter(of_server)).chain(definitions).collect();
        Ok(Response::new(proto::ListApprovalsResponse { approvals }))
    }

    async fn get_approval(
        &self,
        request: Request<proto::GetApprovalRequest>,
    ) -> Result<Response<proto::GetApprovalResponse>, Status> {
        let by = identity(&request)?;
        let id = request.into_inner().id;
        if id.starts_with(calls::ID_PREFIX) {
            let detail = self.calls.get(&id, by.rights.has(Right::PayloadsRead))?;
            return Ok(Response::new(proto::GetApprovalResponse {
                approval: Some(call_to_proto(&detail.call)),
                call: Some(held_to_proto(detail)),
                ..proto::GetApprovalResponse::default()
            }));
        }
        if id.starts_with(ID_PREFIX) {
            let mut proposal = self.registry.proposal(&id)?;
            let changes = std::mem::take(&mut proposal.changes);
            let approval = Some(described(proposal, &changes));
            let proposed_changes = changes.into_iter().map(change_to_proto).collect();
            return Ok(Response::new(proto::GetApprovalResponse {
                approval,
                proposed_changes,
                ..proto::GetApprovalResponse::default()
            }));
        }
        let detail = self.approvals.get(&id)?;
        let review_json = detail.review.as_ref().map(serde_json::to_string).transpose();
        Ok(Response::new(proto::GetApprovalResponse {
            approval: Some(to_proto(detail.approval)),
            definition_json: detail.definition.unwrap_or_default(),
            approved_definition_json: detail.approved_definition.unwrap_or_default(),
            proposed_changes: Vec::new(),
            call: None,
            review_json: review_json
                .map_err(|error| Status::internal(error.to_string()))?
                .unwrap_or_default(),
        }))
    }

    async fn decide(
        &self,
        request: Request<proto::DecideRequest>,
    ) -> Result<Response<proto::DecideResponse>, Status> {
        let by = actor(&request)?;
        let request = request.into_inner();
        if request.ids.iter().any(|id| id.starts_with(calls::ID_PREFIX)) {
            return self.decide_calls(&by, &request).await;
        }
        if request.ids.iter().any(|id| id.starts_with(ID_PREFIX)) {
            return self.decide_proposal(&by, request).await;
        }
        let selection = match (request.ids.is_empty(), request.all_pending) {
            (false, false) if request.server.is_empty() => Selection::Ids(request.ids),
            (true, true) => Selection::AllPending { server: given(request.server) },
            _ => {
                return Err(Status::invalid_argument(
                    "name the approvals to decide by their ids, or all that wait: --all, of one server with --server NAME",
                ));
            }
        };
        let decision = Decision { selection, approve: request.approve, message: request.message };
        let (approvals, version) = self.approvals.decide(&by, &decision).await?;
        // It is stored either way: an answer that is late is better than none.
        let _ = timeout(PUBLISH_WAIT, self.publisher.reached(version)).await;
        let approvals = approvals.into_iter().map(to_proto).collect();
        Ok(Response::new(proto::DecideResponse { approvals, version }))
    }

    async fn reopen(
        &self,
        request: Request<proto::ReopenRequest>,
    ) -> Result<Response<proto::ReopenResponse>, Status> {
        let by = actor(&request)?;
        let ids = request.into_inner().ids;
        if ids.iter().any(|id| id.starts_with(ID_PREFIX)) {
            return Err(Status::invalid_argument(
                "a proposal is not opened again: propose it anew, by applying it",
            ));
        }
        if ids.iter().any(|id| id.starts_with(calls::ID_PREFIX)) {
            return Err(Status::invalid_argument(
                "a call is not opened again: the caller asks again by calling again",
            ));
        }
        let (approvals, version) = self.approvals.reopen(&by, &ids).await?;
        let approvals = approvals.into_iter().map(to_proto).collect();
        Ok(Response::new(proto::ReopenResponse { approvals, version }))
    }
}

impl ApprovalsService {
    /// A call is let through by a decision about it and nothing else: none is among what is decided all at once.
    async fn decide_calls(
        &self,
        by: &Actor,
        request: &proto::DecideRequest,
    ) -> Result<Response<proto::DecideResponse>, Status> {
        if request.all_pending || !request.ids.iter().all(|id| id.starts_with(calls::ID_PREFIX)) {
            return Err(Status::invalid_argument(
                "calls are decided apart from all else: name their ids alone",
            ));
        }
        let decided = self.calls.decide(by, &request.ids, request.approve, &request.message).await;
        let (calls, version) = decided?;
        let approvals = calls.iter().map(call_to_proto).collect();
        Ok(Response::new(proto::DecideResponse { approvals, version }))
    }

    /// A proposal changes what is in force for everybody: each is decided by itself.
    async fn decide_proposal(
        &self,
        by: &Actor,
        request: proto::DecideRequest,
    ) -> Result<Response<proto::DecideResponse>, Status> {
        let [id] = request.ids.as_slice() else {
            return Err(Status::invalid_argument("a proposal is decided by itself: name one id"));
        };
        let decided = self.registry.decide_proposal(by, id, request.approve, &request.message).await;
        let (proposal, version) = decided?;
        let _ = timeout(PUBLISH_WAIT, self.publisher.reached(version)).await;
        Ok(Response::new(proto::DecideResponse { approvals: vec![proposal_to_proto(proposal)], version }))
    }
}

impl From<ApprovalError> for Status {
    fn from(error: ApprovalError) -> Self {
        let message = error.to_string();
        match error {
            ApprovalError::Invalid(_) => Self::invalid_argument(message),
            ApprovalError::Denied(_) => Self::permission_denied(message),
            ApprovalError::NotFound(_) => Self::not_found(message),
            ApprovalError::Refused(refusals) => {
                let problems: Vec<Problem> = refusals
                    .into_iter()
                    .map(|refusal| Problem {
                        file: String::new(),
                        line: 0,
                        resource: refusal.id,
                        field: String::new(),
                        message: refusal.message,
                    })
                    .collect();
                with_problems(Code::FailedPrecondition, message, &problems)
            }
            ApprovalError::Busy => Self::aborted(message),
            ApprovalError::Unavailable(_) => Self::unavailable(message),
        }
    }
}

fn proposal_to_proto(mut proposal: Proposal) -> proto::Approval {
    let changes = std::mem::take(&mut proposal.changes);
    described(proposal, &changes)
}

/// A proposal among the approvals: what it changes stands where a definition's name does.
fn described(proposal: Proposal, changes: &[ResourceChange]) -> proto::Approval {
    let name = match changes {
        [] => String::new(),
        [first, rest @ ..] => {
            let more = if rest.is_empty() { String::new() } else { format!(" and {} more", rest.len()) };
            format!("{}/{}{more}", first.kind, first.name)
        }
    };
    let server = match changes {
        [only] if only.kind == Kind::McpServer.as_str() => only.name.clone(),
        _ => String::new(),
    };
    let verdict = proposal.verdict.unwrap_or_default();
    let classes: Vec<&str> = proposal.needs.classes.iter().map(|class| class.as_str()).collect();
    proto::Approval {
        id: proposal.id,
        kind: "proposal".to_owned(),
        server,
        name,
        change: classes.join(","),
        state: proposal.state.to_owned(),
        fingerprint: proposal.fingerprint.to_string(),
        opened_unix_ms: proposal.created_unix_ms,
        decided_by: verdict.by,
        decided_unix_ms: verdict.unix_ms,
        message: verdict.message,
        rule: proposal.needs.rules.join(","),
        required: proposal.needs.required,
        approvers: proposal.needs.approvers,
        approved_by: proposal.approved_by,
        expires_unix_ms: proposal.expires_unix_ms,
        risk: None,
        proposed_by: proposal.author,
        proposed_message: proposal.message,
    }
}

/// A call among the approvals: the tool stands where a definition's name does.
fn call_to_proto(call: &HeldCall) -> proto::Approval {
    let verdict = call.verdict.clone().unwrap_or_default();
    let needs = call.needs.clone().map_or_else(proto::Approval::default, |needs| proto::Approval {
        rule: needs.rule,
        required: needs.required,
        approvers: needs.approvers,
        approved_by: needs.approved_by,
        ..proto::Approval::default()
    });
    proto::Approval {
        id: call.id.clone(),
        kind: "call".to_owned(),
        server: call.server.clone(),
        name: call.tool.clone(),
        change: ChangeClass::Call.as_str().to_owned(),
        state: call.state.as_str().to_owned(),
        fingerprint: call.binding.to_string(),
        opened_unix_ms: call.opened_unix_ms,
        decided_by: verdict.by,
        decided_unix_ms: verdict.unix_ms,
        message: verdict.message,
        proposed_by: call.caller.clone(),
        expires_unix_ms: call.expires_unix_ms,
        ..needs
    }
}

fn held_to_proto(detail: HeldCallDetail) -> proto::HeldCall {
    let HeldCallDetail { call, input } = detail;
    let (used_by, used_unix_ms) = call.used.unwrap_or_default();
    let (input, withheld) = match input {
        Ok(input) => (String::from_utf8_lossy(&input).into_owned(), ""),
        Err(why) => (String::new(), why),
    };
    let arguments = call.arguments.into_iter();
    proto::HeldCall {
        key: call.key,
        principal_kind: call.principal_kind,
        principal_subject: call.principal,
        pin: call.pin.to_string(),
        input_sha256: call.input_sha256.to_string(),
        input_bytes: call.input_bytes,
        arguments: arguments
            .map(|argument| proto::HeldArgument {
                name: argument.name,
                kind: argument.kind,
                bytes: argument.bytes,
            })
            .collect(),
        more_arguments: call.more_arguments,
        input_json: input,
        withheld: withheld.to_owned(),
        url: call.url,
        used_by,
        used_unix_ms,
        request_id: call.request_id,
    }
}

fn given(text: String) -> Option<String> {
    Some(text).filter(|text| !text.is_empty())
}

fn to_proto(approval: Approval) -> proto::Approval {
    let verdict = approval.verdict.unwrap_or_default();
    let needs = approval.needs.map_or_else(proto::Approval::default, |needs| proto::Approval {
        rule: needs.rule,
        required: needs.required,
        approvers: needs.approvers,
        approved_by: needs.approved_by,
        expires_unix_ms: needs.expires_unix_ms,
        ..proto::Approval::default()
    });
    proto::Approval {
        id: approval.id,
        kind: approval.kind.as_str().to_owned(),
        server: approval.server,
        name: approval.name,
        change: approval.change.as_str().to_owned(),
        state: approval.state.as_str().to_owned(),
        fingerprint: approval.fingerprint.to_string(),
        opened_unix_ms: approval.opened_unix_ms,
        decided_by: verdict.by,
        decided_unix_ms: verdict.unix_ms,
        message: verdict.message,
        risk: approval.risk.map(|risk| proto::Risk {
            highest: risk.highest.map_or("", Severity::as_str).to_owned(),
            findings: u32::try_from(risk.findings).unwrap_or(u32::MAX),
        }),
        ..needs
    }
}
