//! One call between its dispatch and its end: what the upstream answers becomes what the caller gets, and is recorded.

use std::borrow::Cow;
use std::sync::Arc;

use bytes::Bytes;
use http::StatusCode;
use portcullis_mcp::respond::{self, Answer, Asked, Detail, Subject};
use portcullis_mcp::translate::{self, TranslateError};
use portcullis_mcp::{Edit, Era, Message, Method, edit_object, message, object, parse_upstream};
use portcullis_policy::resource::AuditMode;
use portcullis_policy::{Denial, Reason, Server};
use serde::Deserialize;
use serde_json::value::RawValue;

use super::Pipeline;
use super::bill::Bill;
use super::capability::Needed;
use super::context::{Admitted, Client, Request};
use super::flight::Flight;
use super::limited::Limited;
use super::record::Recorder;
use super::tokens::{self, StateScope};
use crate::ledger::Outcome;
use crate::metering::Ended;
use crate::sync::Released;
use crate::upstream::UpstreamError;

/// A call that was dispatched.
#[derive(Debug)]
pub(super) struct Course {
    pub(super) pipeline: Pipeline,
    pub(super) admitted: Arc<Admitted>,
    pub(super) client: Arc<Client>,
    pub(super) request: Arc<Request>,
    pub(super) server: Arc<Server>,
    /// What the call needs of its record.
    pub(super) audit: AuditMode,
    pub(super) recorder: Option<Recorder>,
    pub(super) bill: Bill,
    /// The approval that was used up for it, where it needed one.
    pub(super) released: Option<Released>,
    pub(super) _flight: Flight,
}

impl Drop for Course {
    /// A call that is given up: what became of it at its server nobody knows.
    fn drop(&mut self) {
        self.bill.pay(Ended::Unknown, self.recorder.as_mut());
    }
}

/// How a call ended, before it is recorded.
struct Ending {
    answer: Answer,
    outcome: Outcome,
    reason: Option<Reason>,
    paid: Ended,
}

/// What is read of a result. Everything else is passed on unread.
struct ResultFacts<'a> {
    is_error: Option<&'a RawValue>,
    result_type: Option<&'a RawValue>,
    request_state: Option<&'a RawValue>,
    input_requests: Option<&'a RawValue>,
}

impl<'a> ResultFacts<'a> {
    /// `None` where a member is there twice: what the caller would read is then anyone's guess.
    fn of(result: &'a RawValue) -> Option<Self> {
        let names = ["isError", "resultType", "requestState", "inputRequests"];
        let found = object::pick(result, names)?;
        let [is_error, result_type, request_state, input_requests] =
            found.map(|value| value.filter(|value| value.get() != "null"));
        Some(Self { is_error, result_type, request_state, input_requests })
    }
}

impl Course {
    /// The upstream's response, as the caller gets it.
    pub(super) fn conclude(&mut self, json: &Bytes, from: Era) -> Answer {
        let ending = match parse_upstream(json) {
            Ok(Message::Response { outcome: Ok(result), .. }) => self.with_result(result, from),
            Ok(Message::Response { outcome: Err(error), .. }) => self.with_error(error, from),
            _ => self.failed(Reason::UpstreamError, "The server's answer is no valid JSON-RPC response."),
        };
        self.settle(ending)
    }

    /// It is done without the upstream.
    pub(super) fn done(&mut self) -> Answer {
        let answer = ok(message::result(&self.request.id, "{}"));
        self.settle(Ending { answer, outcome: Outcome::Ok, reason: None, paid: Ended::Unsent })
    }

    /// The upstream gave nothing usable.
    pub(super) fn fail(&mut self, error: &UpstreamError) -> Answer {
        if let Some(recorder) = &mut self.recorder
            && (error.http_status.is_some() || error.reached)
        {
            recorder.upstream(error.http_status, None);
        }
        let paid = if error.reached { Ended::Unknown } else { Ended::Unsent };
        let ending = Ending { paid, ..self.failed(error.reason, &error.message) };
        if error.reached { self.settle(ending) } else { self.settle_undone(ending) }
    }

    /// What a person approved did not happen: where that is certain, the approval is good for one call again.
    pub(super) fn give_back(&mut self, error: &UpstreamError) {
        if let Some(released) = self.released.take_if(|_| error.untouched) {
            self.pipeline.calls().give_back(released);
        }
    }

    /// The server asked its client for something that this caller cannot be asked for.
    pub(super) fn fail_unanswerable(&mut self, method: &str) -> Answer {
        let sentence = format!(
            "The server {} asked its client for {method}, which cannot be passed on to this client.",
            self.server.name()
        );
        let ending = self.failed(Reason::UpstreamError, &sentence);
        self.settle(ending)
    }

    /// A new snapshot, or time, denied what was permitted.
    pub(super) fn deny(&mut self, denial: &Denial) -> Answer {
        let answer = match denial.reason {
            // The credential itself is over: the caller learns what a new request would tell it.
            Reason::Unauthenticated | Reason::KeyExpired | Reason::KeyRevoked | Reason::UnknownEndpoint => {
                let era = self.client.era;
                let request_id = self.request_id();
                let asked = Asked {
                    era,
                    id: Some(&self.request.id),
                    subject: Subject::Other,
                    request_id: &request_id,
                };
                respond::deny(denial.reason, &asked, &Detail::default())
            }
            reason => self.answer_of(reason, None),
        };
        self.denied(denial, answer)
    }

    fn denied(&mut self, denial: &Denial, answer: Answer) -> Answer {
        self.bill.pay(Ended::Unknown, self.recorder.as_mut());
        match self.recorder.take() {
            Some(mut recorder) => {
                recorder.sent(answer.body.len());
                if recorder.deny(denial).is_err() { self.unrecorded(answer) } else { answer }
            }
            None => answer,
        }
    }

    /// A limit refused it: nothing was sent.
    pub(super) fn limited(&mut self, limited: &Limited) -> Answer {
        self.bill.pay(Ended::Unsent, None);
        let answer = limited.answer(&self.admitted, &self.client, &self.request);
        if let Some(mut recorder) = self.recorder.take() {
            recorder.sent(answer.body.len());
            // Nothing was done, so that nothing but the refusal itself is lost; it stands all the same.
            let _ = recorder.deny(&limited.denial);
        }
        answer
    }

    fn with_result(&self, result: &RawValue, from: Era) -> Ending {
        let method = self.request.method;
        let Some(facts) = ResultFacts::of(result) else {
            return self.failed(Reason::UpstreamError, INVALID_RESULT);
        };
        if from == Era::Modern
            && self.client.era == Era::Modern
            && is_text(facts.result_type, "input_required")
        {
            return self.with_input_required(result, &facts);
        }
        match translate::result(method.as_str(), result.get(), from, self.client.era) {
            Ok(text) => {
                let is_error =
                    method == Method::ToolsCall && facts.is_error.is_some_and(|value| value.get() == "true");
                let outcome = if is_error { Outcome::ToolError } else { Outcome::Ok };
                let paid = Ended::Answered { told: self.bill.told(result), error: is_error };
                Ending { answer: ok(message::result(&self.request.id, &text)), outcome, reason: None, paid }
            }
            Err(TranslateError::InputRequired) => {
                let asked = asked_methods(facts.input_requests).join(" and ");
                self.failed(
                    Reason::UpstreamError,
                    &format!(
                        "The server {} needs input from the client ({asked}), which this client's protocol revision cannot give.",
                        self.server.name()
                    ),
                )
            }
            Err(TranslateError::Malformed(_) | TranslateError::UnknownResultType) => {
                self.failed(Reason::UpstreamError, INVALID_RESULT)
            }
        }
    }

    /// A modern server asks a modern client: its state travels sealed.
    fn with_input_required(&self, result: &RawValue, facts: &ResultFacts<'_>) -> Ending {
        if !self.request.method.may_require_input() {
            return self.failed(Reason::UpstreamError, "The server asked for input where it must not.");
        }
        let paid = Ended::Answered { told: self.bill.told(result), error: false };
        for (method, params) in requests(facts.input_requests) {
            match Needed::of(&method, params) {
                Some(needed) if needed.is_declared(&self.client.capabilities) => {}
                Some(needed) => {
                    let answer = respond::missing_capability(&self.request.id, &needed.as_json());
                    return Ending { answer, outcome: Outcome::Error, reason: None, paid };
                }
                None => {
                    return self
                        .failed(Reason::UpstreamError, "The server asked for an unknown kind of input.");
                }
            }
        }
        let Some(state) = facts.request_state else {
            return Ending {
                answer: ok(message::result(&self.request.id, result.get())),
                outcome: Outcome::Ok,
                reason: None,
                paid,
            };
        };
        let sealed = object::string(state).and_then(|inner| {
            let secrets = self.pipeline.secrets().load();
            let scope = StateScope::of(&self.pipeline, &self.admitted, &self.server, &self.request);
            tokens::seal_state(&secrets.sealer, scope, &inner).ok()
        });
        let edited = sealed.and_then(|token| {
            edit_object(result.get(), &[("requestState", Edit::Set(&object::quoted(&token)))]).ok()
        });
        match edited {
            Some(text) => Ending {
                answer: ok(message::result(&self.request.id, &text)),
                outcome: Outcome::Ok,
                reason: None,
                paid,
            },
            None => self.failed(Reason::Internal, "The state of this call cannot be sealed now."),
        }
    }

    fn with_error(&self, error: &RawValue, from: Era) -> Ending {
        if from == Era::Modern && self.client.era == Era::Legacy && code_of(error.get()) == NEEDS_CAPABILITY {
            return self.failed(
                Reason::UpstreamError,
                &format!(
                    "The server {} needs to ask the client for something, which this client's protocol revision cannot give here.",
                    self.server.name()
                ),
            );
        }
        let translated = translate::error(self.request.method.as_str(), error.get(), from, self.client.era);
        let Ok(text) = translated else {
            return self.failed(Reason::UpstreamError, "The server's error is not valid JSON-RPC.");
        };
        let status = respond::status_of_error(self.client.era, code_of(&text));
        let body = message::raw_error(Some(&self.request.id), &text);
        let answer = Answer { status, body, retry_after: None, www_authenticate: None };
        let paid = Ended::Answered { told: None, error: true };
        Ending { answer, outcome: Outcome::Error, reason: None, paid }
    }

    fn failed(&self, reason: Reason, sentence: &str) -> Ending {
        Ending {
            answer: self.answer_of(reason, Some(sentence)),
            outcome: Outcome::Error,
            reason: Some(reason),
            paid: Ended::Unknown,
        }
    }

    fn answer_of(&self, reason: Reason, sentence: Option<&str>) -> Answer {
        answer_of(&self.admitted, &self.client, &self.request, reason, sentence)
    }

    fn request_id(&self) -> String {
        self.admitted.arrival.request_id.to_string()
    }

    fn settle(&mut self, ending: Ending) -> Answer {
        let (answer, recorded) = self.record(ending);
        if recorded { answer } else { self.unrecorded(answer) }
    }

    /// The same for a call that never reached the server: without a record nothing is lost but the failure, which stands.
    fn settle_undone(&mut self, ending: Ending) -> Answer {
        self.record(ending).0
    }

    fn record(&mut self, ending: Ending) -> (Answer, bool) {
        self.bill.pay(ending.paid, self.recorder.as_mut());
        let Some(mut recorder) = self.recorder.take() else { return (ending.answer, true) };
        recorder.sent(ending.answer.body.len());
        if let Some(reason) = ending.reason {
            recorder.met(reason, Some(&self.server));
        }
        let recorded = recorder.settle(ending.outcome, ending.reason).is_ok();
        (ending.answer, recorded)
    }

    fn unrecorded(&self, answer: Answer) -> Answer {
        match self.audit {
            AuditMode::BestEffort => answer,
            AuditMode::Required => respond::record_failed(&self.request.id),
        }
    }
}

const INVALID_RESULT: &str = "The server's result is not valid MCP.";

/// A modern server's error when a request needs what the client did not declare (2026-07-28, error codes). Across eras that is
/// what nobody can declare.
const NEEDS_CAPABILITY: i64 = -32021;

/// The table's answer for a request.
pub(super) fn answer_of(
    admitted: &Admitted,
    client: &Client,
    request: &Request,
    reason: Reason,
    sentence: Option<&str>,
) -> Answer {
    let request_id = admitted.arrival.request_id.to_string();
    let asked =
        Asked { era: client.era, id: Some(&request.id), subject: request.subject(), request_id: &request_id };
    respond::deny(reason, &asked, &Detail { sentence, ..Detail::default() })
}

impl Request {
    /// What the table needs to know of it.
    pub(super) fn subject(&self) -> Subject<'_> {
        match (self.method, &self.name, &self.uri) {
            (Method::ToolsCall, Some(name), _) => Subject::Tool(name),
            (Method::PromptsGet, Some(name), _) => Subject::Prompt(name),
            (
                Method::ResourcesRead | Method::ResourcesSubscribe | Method::ResourcesUnsubscribe,
                _,
                Some(uri),
            ) => Subject::Resource(uri),
            _ => Subject::Other,
        }
    }
}

/// HTTP 200 with a JSON body.
pub(super) fn ok(body: Vec<u8>) -> Answer {
    Answer { status: StatusCode::OK, body, retry_after: None, www_authenticate: None }
}

fn code_of(error: &str) -> i64 {
    #[derive(Deserialize)]
    struct Code {
        code: i64,
    }
    serde_json::from_str::<Code>(error).map_or(0, |error| error.code)
}

fn is_text(raw: Option<&RawValue>, text: &str) -> bool {
    raw.and_then(object::string).is_some_and(|value| value == text)
}

fn requests(input_requests: Option<&RawValue>) -> Vec<(Cow<'_, str>, Option<&RawValue>)> {
    let members = input_requests.and_then(object::members).unwrap_or_default();
    members
        .into_iter()
        .map(|(_, request)| {
            let method = object::member(request, "method").and_then(object::string).unwrap_or_default();
            (method, object::member(request, "params"))
        })
        .collect()
}

fn asked_methods(input_requests: Option<&RawValue>) -> Vec<Cow<'_, str>> {
    requests(input_requests).into_iter().map(|(method, _)| method).collect()
}
