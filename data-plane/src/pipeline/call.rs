//! One request that goes to one upstream: `tools/call`, `prompts/get`, `resources/read`, completion, subscriptions.

use std::borrow::Cow;
use std::sync::Arc;

use http::HeaderMap;
use portcullis_mcp::respond::{self, Answer};
use portcullis_mcp::{Edit, EditError, Method, edit, headers, object};
use portcullis_policy::resource::AuditMode;
use portcullis_policy::{Denial, Permit, Reason, Server, Target, live};
use serde_json::value::RawValue;

use super::bill::Bill;
use super::context::{Admitted, Client, Request};
use super::course::{Course, answer_of};
use super::flight::Flight;
use super::held::{Held, HeldRequest, Leave};
use super::limited::Limited;
use super::record::{Recorder, audit_of};
use super::relay::{Frame, Interrupt, Interrupted, Relay};
use super::standing::{Arguments, Claim, Standing};
use super::tokens;
use super::{Answered, MAX_IN_FLIGHT, Pipeline};
use crate::ledger::Outcome;
use crate::upstream::{Call, Caller, ExchangeBody, mirrored_in};

/// What a caller's transport adds to a request.
#[derive(Debug, Default)]
pub struct Carried<'a> {
    /// The request's headers, for modern callers: parameters mirrored there must agree.
    pub headers: Option<&'a HeaderMap>,
    /// What cancels the call, for legacy callers.
    pub cancel: Option<tokio_util::sync::CancellationToken>,
}

/// Why a request went no further.
enum Stop {
    Denied(Denial),
    /// A limit of the server, known before it is asked.
    Limited(Box<Limited>),
    /// An answer of the protocol's own, beside the table: recorded as a refusal of what was asked.
    Malformed(Answer),
}

impl From<Denial> for Stop {
    fn from(denial: Denial) -> Self {
        Self::Denied(denial)
    }
}

impl Pipeline {
    /// Serves one request, from its decision to its record.
    pub async fn call(
        &self,
        admitted: Arc<Admitted>,
        client: Arc<Client>,
        request: Request,
        carried: Carried<'_>,
    ) -> Answered {
        let Some(flight) = Flight::begin(self.metrics(), MAX_IN_FLIGHT) else {
            return Answered::Reply(self.overloaded(&admitted, &client, &request));
        };
        let request = Arc::new(request);
        let decided = self.decide(&admitted, &client, &request).await;
        let prepared = decided.and_then(|(leave, claim)| {
            let params = self.prepare(&admitted, leave.permit(), &client, &request, carried.headers)?;
            Ok((leave, claim, params))
        });
        let (leave, claim, params) = match prepared {
            Ok(prepared) => prepared,
            Err(stop) => return Answered::Reply(self.refuse(&admitted, &client, &request, stop)),
        };
        let audit = leave.permit().audit();
        let begun = Recorder::begin(self.spool(), self.metrics(), audit, &admitted, &client, &request);
        let Ok(mut recorder) = begun else {
            self.metrics().denied(Reason::AuditUnavailable);
            return Answered::Reply(answer_of(&admitted, &client, &request, Reason::AuditUnavailable, None));
        };
        recorder.permitted(leave.permit());
        recorder.decided();
        let (permit, released, entered) = match leave {
            Leave::Free(permit) => (permit, None, None),
            Leave::Held(held) => {
                let of =
                    HeldRequest { admitted: &admitted, client: &client, request: &request, claim: &claim };
                match Box::pin(self.release(*held, of, params.as_deref(), &mut recorder)).await {
                    Ok((permit, released, entered)) => (permit, Some(released), entered),
                    Err(refusal) => return Answered::Reply(refusal.settle(recorder)),
                }
            }
        };
        let interrupt = Interrupt {
            cancel: carried.cancel,
            abort: self.abort().clone(),
            standing: Standing::new(self.live(), self.clock(), &admitted, claim),
        };
        let server = Arc::clone(permit.server());
        let mut caller = client.caller(&admitted);
        let own_trace = recorder.traceparent();
        let told = client.says_so && own_trace.is_none();
        caller.traceparent = own_trace.or(caller.traceparent);
        let call = Call { method: Cow::Borrowed(request.method.as_str()), params, told, caller };
        let local = answered_here(&request, &server);
        let bill = Bill::of(&permit, &request, entered);
        let mut course = Course {
            pipeline: self.clone(),
            admitted,
            client,
            request,
            server,
            audit,
            recorder: Some(recorder),
            bill,
            released,
            _flight: flight,
        };
        if local {
            return Answered::Reply(course.done());
        }
        // In a box, and so is what it waits for: a future is moved whole through every room that it is made in.
        Box::pin(dispatch(course, permit, call, interrupt)).await
    }

    /// Resolves what is named and decides it. Only a resource at an aggregate may need to ask upstreams who offers it.
    async fn decide(
        &self,
        admitted: &Arc<Admitted>,
        client: &Arc<Client>,
        request: &Arc<Request>,
    ) -> Result<(Leave, Claim), Stop> {
        let now = self.clock().unix_ms();
        let (snapshot, principal, view) = (&admitted.snapshot, &admitted.principal, &admitted.view);
        let prompt_or_uri = match request.method {
            Method::CompletionComplete => reference(request)?,
            Method::ToolsCall | Method::PromptsGet => {
                Reference::Name(request.name.clone().ok_or_else(|| missing(request, "name"))?)
            }
            _ => Reference::Uri(request.uri.clone().ok_or_else(|| missing(request, "uri"))?),
        };
        let circumstances = admitted.circumstances(now, request.arguments());
        let arguments = Arguments(Arc::clone(request));
        match (request.method, prompt_or_uri) {
            (Method::ToolsCall, Reference::Name(name)) => {
                match snapshot.decide_tool(principal, view, &name, &circumstances) {
                    Ok(permit) => Ok((Leave::Free(permit), Claim::Tool(name, arguments, None))),
                    Err(denial) if denial.reason == Reason::ApprovalRequired => {
                        let (held, pin) = Held::of(admitted, denial, &name, &circumstances)?;
                        Ok((Leave::Held(held), Claim::Tool(name, arguments, Some(Box::new(pin)))))
                    }
                    Err(denial) => Err(denial.into()),
                }
            }
            (_, Reference::Name(name)) => {
                let permit = snapshot.decide_prompt(principal, view, &name, &circumstances)?;
                Ok((Leave::Free(permit), Claim::Prompt(name, arguments)))
            }
            (_, Reference::Uri(uri)) => {
                let server = Box::pin(self.locate(admitted, client, &uri)).await?;
                let permit =
                    snapshot.decide_resource(principal, view, server.as_str(), &uri, &circumstances)?;
                Ok((Leave::Free(permit), Claim::Resource(server.to_string(), uri)))
            }
        }
    }

    /// The parameters as the upstream gets them, judged by what is known now that the server is.
    fn prepare(
        &self,
        admitted: &Admitted,
        permit: &Permit,
        client: &Client,
        request: &Request,
        headers: Option<&HeaderMap>,
    ) -> Result<Option<Box<RawValue>>, Stop> {
        if let Some(limited) = Limited::by_size(admitted, permit, request.params.as_deref()) {
            return Err(Stop::Limited(Box::new(limited)));
        }
        let (upstream_name, header_params) = match permit.target() {
            Target::Tool(tool) => (Some(&tool.name), tool.header_params.as_slice()),
            Target::Prompt(prompt) => (Some(&prompt.name), [].as_slice()),
            Target::Resource { .. } | Target::Server => (None, [].as_slice()),
        };
        if let Some(headers) = headers
            && !header_params.is_empty()
        {
            headers::check_params(headers, &mirrored_in(header_params), request.arguments()).map_err(
                |fault| Stop::Malformed(respond::header_mismatch(client.era, Some(&request.id), &fault)),
            )?;
        }
        self.rewrite(admitted, permit, request, upstream_name.map(|name| &**name))
    }

    /// Exposed names become the upstream's, sealed state becomes its own; every other byte stays.
    fn rewrite(
        &self,
        admitted: &Admitted,
        permit: &Permit,
        request: &Request,
        upstream_name: Option<&str>,
    ) -> Result<Option<Box<RawValue>>, Stop> {
        let (state, own) = match &request.request_state {
            None => (None, false),
            Some(_) if self.own_state(admitted, permit, request).is_some() => (None, true),
            Some(token) => (Some(self.inner_state(admitted, permit, request, token)?), false),
        };
        let renamed = match upstream_name.filter(|name| request.name.as_deref() != Some(name)) {
            Some(name) if request.method == Method::CompletionComplete => rename_reference(request, name)?,
            Some(name) => request.renamed(name),
            None => request.params.clone(),
        };
        let edited = match (renamed, state) {
            (Some(params), Some(state)) => {
                edit::edit_raw(&params, &[("requestState", Edit::Set(&state))]).map(Some)
            }
            // The state was ours, and so is the answer to what we asked.
            (Some(params), None) if own => {
                let ours = [("requestState", Edit::Remove), ("inputResponses", Edit::Remove)];
                edit::edit_raw(&params, &ours).map(Some)
            }
            (params, _) => return Ok(params),
        };
        edited.map_err(|fault| unreadable(request, fault))
    }

    fn inner_state(
        &self,
        admitted: &Admitted,
        permit: &Permit,
        request: &Request,
        token: &str,
    ) -> Result<String, Stop> {
        let scope = tokens::StateScope::of(self, admitted, permit.server(), request);
        let secrets = self.secrets().load();
        let inner = tokens::open_state(&secrets.sealer, scope, token);
        inner.map(|inner| object::quoted(&inner)).ok_or_else(|| {
            Stop::Malformed(respond::invalid_params(
                Some(&request.id),
                "requestState is not one that was given for this request, or it is too old",
                true,
            ))
        })
    }

    /// Records that a stream was opened which no single upstream call stands behind.
    ///
    /// # Errors
    /// The answer, when its record cannot be kept.
    pub(crate) fn record_opened(
        &self,
        admitted: &Arc<Admitted>,
        client: &Client,
        request: &Request,
    ) -> Result<(), Answer> {
        let refused = |reason| answer_of(admitted, client, request, reason, None);
        let audit = audit_of(admitted, None);
        let mut recorder = Recorder::begin(self.spool(), self.metrics(), audit, admitted, client, request)
            .map_err(|_| refused(Reason::AuditUnavailable))?;
        recorder.decided();
        recorder.settle(Outcome::Ok, None).map_err(|_| refused(Reason::AuditUnavailable))
    }

    /// Turns away a request for which there is no room. It is recorded where there is a place for that, and turned away alike
    /// where there is none.
    pub(super) fn overloaded(&self, admitted: &Admitted, client: &Client, request: &Request) -> Answer {
        let denial = live::denial(Reason::Overloaded, admitted.snapshot.version(), None);
        let answer = answer_of(admitted, client, request, Reason::Overloaded, None);
        let audit = AuditMode::BestEffort;
        match Recorder::begin(self.spool(), self.metrics(), audit, admitted, client, request) {
            Ok(mut recorder) => {
                recorder.decided();
                recorder.sent(answer.body.len());
                let _ = recorder.deny(&denial);
            }
            Err(_) => self.metrics().denied(Reason::Overloaded),
        }
        answer
    }

    /// Answers a request that goes no further, and records it.
    fn refuse(&self, admitted: &Arc<Admitted>, client: &Client, request: &Request, stop: Stop) -> Answer {
        let (denial, answer) = match stop {
            Stop::Denied(denial) => {
                let answer = answer_of(admitted, client, request, denial.reason, None);
                (denial, answer)
            }
            Stop::Limited(limited) => {
                let answer = limited.answer(admitted, client, request);
                (limited.denial, answer)
            }
            Stop::Malformed(answer) => {
                (live::denial(Reason::MalformedRequest, admitted.snapshot.version(), None), answer)
            }
        };
        let audit = audit_of(admitted, denial.zone.as_ref());
        match Recorder::begin(self.spool(), self.metrics(), audit, admitted, client, request) {
            Ok(mut recorder) => {
                recorder.decided();
                recorder.sent(answer.body.len());
                match recorder.deny(&denial) {
                    // Nothing was done, so that nothing but the refusal itself is lost; it stands all the same.
                    Ok(()) | Err(_) => answer,
                }
            }
            Err(_) => {
                self.metrics().denied(Reason::AuditUnavailable);
                answer_of(admitted, client, request, Reason::AuditUnavailable, None)
            }
        }
    }
}

/// Subscriptions of legacy callers at modern servers are kept here: such servers are told by `subscriptions/listen`.
fn answered_here(request: &Request, server: &Server) -> bool {
    let subscription = matches!(request.method, Method::ResourcesSubscribe | Method::ResourcesUnsubscribe);
    subscription && server.entry.observed.as_ref().is_some_and(|seen| seen.modern)
}

/// Sends a permitted call and waits for the first piece of its answer.
async fn dispatch(mut course: Course, permit: Permit, call: Call, mut interrupt: Interrupt) -> Answered {
    if course.bill.is_due(&permit, &course.request) {
        let (pipeline, request) = (course.pipeline.clone(), Arc::clone(&course.request));
        let entered = tokio::select! {
            biased;
            entered = pipeline.metering().enter(&permit, request.asked()) => entered,
            interrupted = interrupt.wait() => return interrupted_before(course, interrupted),
        };
        match entered {
            Ok(entered) => course.bill.entered(entered),
            Err(refused) => {
                let limited = Limited::by_meter(&course.admitted, &course.server, *refused);
                return Answered::Reply(course.limited(&limited));
            }
        }
    }
    course.bill.sent();
    if let Some(recorder) = &mut course.recorder {
        recorder.dispatched();
    }
    let upstreams = course.pipeline.upstreams().clone();
    let exchange = tokio::select! {
        biased;
        exchange = Box::pin(upstreams.request(permit.with(call))) => exchange,
        interrupted = interrupt.wait() => return interrupted_before(course, interrupted),
    };
    let exchange = match exchange {
        Ok(exchange) => exchange,
        // What ends a call may end its upstream session first, and the call with an error of that.
        Err(_) if interrupt.is_cancelled() => return Answered::Cancelled,
        Err(error) => {
            course.give_back(&error);
            return Answered::Reply(match Limited::by_upstream(&course.admitted, &course.server, &error) {
                Some(limited) => course.limited(&limited),
                None => course.fail(&error),
            });
        }
    };
    if let Some(recorder) = &mut course.recorder {
        recorder.upstream(exchange.http_status, Some(exchange.era.as_str()));
    }
    match exchange.body {
        ExchangeBody::Json(json) => Answered::Reply(course.conclude(&json, exchange.era)),
        ExchangeBody::Stream(events) => {
            let mut relay = Relay::new(course, events, exchange.era, exchange.session, interrupt);
            match Box::pin(relay.next()).await {
                // An answer without anything before it stays plain JSON, however large it is.
                Some(Frame::Last(answer)) => Answered::Reply(answer),
                Some(Frame::Idle) => Answered::Relay(Box::new(relay)),
                Some(frame) => {
                    relay.give_back(frame);
                    Answered::Relay(Box::new(relay))
                }
                None => Answered::Cancelled,
            }
        }
    }
}

fn interrupted_before(mut course: Course, interrupted: Interrupted) -> Answered {
    match interrupted {
        Interrupted::Cancelled => Answered::Cancelled,
        Interrupted::Denied(denial) => Answered::Reply(course.deny(&denial)),
    }
}

/// What completion is asked for, and what else is named.
enum Reference {
    Name(String),
    Uri(String),
}

/// `ref` of `completion/complete`: a prompt by name or a resource by URI template.
fn reference(request: &Request) -> Result<Reference, Stop> {
    let reference = request.params.as_deref().and_then(|params| object::member(params, "ref"));
    let text = |name| {
        let member = reference.and_then(|reference| object::member(reference, name));
        member.and_then(object::string).map(Cow::into_owned)
    };
    let found = match text("type").as_deref() {
        Some("ref/prompt") => text("name").map(Reference::Name),
        Some("ref/resource") => text("uri").map(Reference::Uri),
        _ => None,
    };
    found.ok_or_else(|| missing(request, "ref"))
}

fn rename_reference(request: &Request, name: &str) -> Result<Option<Box<RawValue>>, Stop> {
    let Some(params) = request.params.as_deref() else { return Ok(None) };
    let Some(reference) = object::member(params, "ref") else { return Ok(Some(params.to_owned())) };
    let edited = edit::edit_raw(reference, &[("name", Edit::Set(&object::quoted(name)))])
        .and_then(|reference| edit::edit_raw(params, &[("ref", Edit::Set(reference.get()))]));
    edited.map(Some).map_err(|fault| unreadable(request, fault))
}

fn missing(request: &Request, member: &str) -> Stop {
    let message = format!("{} needs params.{member}", request.method.as_str());
    Stop::Malformed(respond::invalid_params(Some(&request.id), &message, false))
}

fn unreadable(request: &Request, fault: EditError) -> Stop {
    Stop::Malformed(respond::invalid_params(Some(&request.id), &format!("params: {fault}"), false))
}

impl Client {
    /// The caller as upstreams are told of it.
    pub(crate) fn caller(&self, admitted: &Admitted) -> Caller {
        Caller {
            principal: admitted.principal.key_uid,
            client_session: self.session,
            era: self.era,
            protocol_version: self.version.clone(),
            client_info: self.info.clone(),
            capabilities: self.capabilities.clone(),
            log_level: self.log_level.clone(),
            traceparent: self.trace.parent.clone(),
            tracestate: self.trace.state.clone(),
        }
    }
}

/// Ends well or badly, for requests that have no course.
pub(super) const fn outcome_of(failed: Option<Reason>) -> Outcome {
    if failed.is_some() { Outcome::Error } else { Outcome::Ok }
}
