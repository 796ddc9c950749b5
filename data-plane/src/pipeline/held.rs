//! A call that a person has to approve, between its decision and its dispatch: asked of the control plane when nothing else stands
//! in its way and the place of its record is taken. An approval that is used up here lets exactly one call go.

use std::time::Duration;

use bytes::Bytes;
use portcullis_mcp::respond::held::{LinkAnswer, approval_by_link, link_answer};
use portcullis_mcp::respond::{self, Answer, Asked, Detail};
use portcullis_mcp::{Edit, Era, Method, edit, object};
use portcullis_policy::{Circumstances, Denial, Permit, Reason, Target};
use portcullis_proto::config::v1::{CallArgument, CallAsk};
use portcullis_seal::{Fingerprint, canonical_json, random, sha256};
use serde::{Deserialize, Serialize};
use serde_json::value::RawValue;
use tokio::time::{Instant, sleep};

use super::Pipeline;
use super::capability::Needed;
use super::context::{Admitted, Client, Request};
use super::limited::Limited;
use super::record::Recorder;
use super::standing::{Claim, judge};
use super::tokens;
use crate::metering::{Entered, Held as Metered, Refused};
use crate::sync::{Released, Unanswered, Verdict};

/// The largest input that is told, in bytes: a person reads no more, and the control plane keeps no more.
const MAX_TOLD: usize = 16 << 10;
/// How many arguments are told of without their values, and how much of a name.
const MAX_ARGUMENTS: usize = 32;
const MAX_NAME: usize = 64;
/// How long a call waits here for a person whose client said that the link was opened, and how often it looks.
const WAIT: Duration = Duration::from_secs(20);
const LOOK: Duration = Duration::from_secs(1);
/// When to try again that found no control plane, in milliseconds.
const AWAY_RETRY_MS: u64 = 5_000;

/// The leave that a decision gives.
pub(super) enum Leave {
    /// It may go.
    Free(Permit),
    /// It may go once a person approved it.
    Held(Box<Held>),
}

impl Leave {
    /// The permit, to prepare by. It lets nothing go that is held.
    pub(super) const fn permit(&self) -> &Permit {
        match self {
            Self::Free(permit) => permit,
            Self::Held(held) => &held.permit,
        }
    }
}

/// A call that is held back: with the permit that it would have, which nothing but a release gives away.
pub(super) struct Held {
    permit: Permit,
    denial: Denial,
    pin: Fingerprint,
}

impl Held {
    /// Of a call that was denied for want of an approval: everything else permits it.
    pub(super) fn of(
        admitted: &Admitted,
        denial: Denial,
        name: &str,
        circumstances: &Circumstances<'_>,
    ) -> Result<(Box<Self>, Fingerprint), Denial> {
        let (snapshot, view) = (&admitted.snapshot, &admitted.view);
        let Some(pin) = snapshot.pin(view, name) else { return Err(denial) };
        let circumstances = Circumstances { released: Some(&pin), ..*circumstances };
        let permit = snapshot.decide_tool(&admitted.principal, view, name, &circumstances)?;
        Ok((Box::new(Self { permit, denial, pin }), pin))
    }
}

/// The request that is held back.
#[derive(Clone, Copy)]
pub(super) struct HeldRequest<'a> {
    pub(super) admitted: &'a Admitted,
    pub(super) client: &'a Client,
    pub(super) request: &'a Request,
    /// What it claims once it is released.
    pub(super) claim: &'a Claim,
}

/// A held call that does not go now.
pub(super) struct Refusal {
    denial: Denial,
    answer: Answer,
}

impl Refusal {
    /// Records it. Nothing was done, so that nothing but the refusal itself is lost; it stands all the same.
    pub(super) fn settle(self, mut recorder: Recorder) -> Answer {
        recorder.sent(self.answer.body.len());
        let _ = recorder.deny(&self.denial);
        self.answer
    }
}

/// The link that a client was given, as it comes back sealed in the state of its retry.
#[derive(Deserialize, Serialize)]
pub(super) struct Link {
    id: String,
    url: String,
}

impl Pipeline {
    /// Asks whether a held call may go now, and uses the approval up for it, which is to be given back where the call never
    /// reaches its server. `params` are those that the server would get.
    ///
    /// # Errors
    /// What the caller gets instead.
    pub(super) async fn release(
        &self,
        held: Held,
        of: HeldRequest<'_>,
        params: Option<&RawValue>,
        recorder: &mut Recorder,
    ) -> Result<(Permit, Released, Option<Entered>), Refusal> {
        let Held { permit, denial, pin } = held;
        let refuse = |answer| Refusal { denial: denial.clone(), answer };
        let Some(ask) = params.and_then(|params| ask(&permit, pin, of, params)) else {
            let words =
                "This call needs a person's approval, and its arguments cannot be told to one. Change them.";
            return Err(refuse(of.told(Reason::ApprovalRequired, Some(words), None)));
        };
        let own = self.own_state(of.admitted, &permit, of.request);
        let answer = of.request.params.as_deref().and_then(link_answer);
        let opened = match (own, answer) {
            // Who did not open the link wants no call now, whatever became of it.
            (Some(link), Some(LinkAnswer::Declined)) => {
                recorder.approval(&link.id, None);
                return Err(refuse(of.in_words(&link.url)));
            }
            (Some(_), Some(LinkAnswer::Accepted)) => true,
            (_, None) | (None, Some(_)) => false,
        };
        let (verdict, metered) = self.verdict(of, &permit, ask, opened).await?;
        match verdict {
            Ok(Verdict::Released(released)) => {
                recorder.approval(released.id(), Some(released.approved_by()));
                // Time has passed since it was decided. The approval is used up either way.
                match self.still(of) {
                    Ok(()) => Ok((permit, released, metered.and_then(Metered::go))),
                    Err(denial) => Err(of.denied(denial)),
                }
            }
            Ok(Verdict::Waits { id, url }) => {
                recorder.approval(&id, None);
                Err(refuse(self.waits(of, &permit, &id, &url)))
            }
            Ok(Verdict::Denied { id }) => {
                recorder.approval(&id, None);
                let denial = Denial { reason: Reason::ApprovalDenied, ..denial };
                Err(Refusal { denial, answer: of.told(Reason::ApprovalDenied, None, None) })
            }
            Ok(Verdict::Refused(why)) => {
                let words = format!("This call needs a person's approval first. {why}");
                Err(refuse(of.told(Reason::ApprovalRequired, Some(&words), None)))
            }
            Err(unanswered) => {
                tracing::warn!(%unanswered, "a call that needs a person's approval is held back");
                let words = "This call needs a person's approval, and nobody can be asked for it at the moment. Try again later.";
                let detail = Detail {
                    sentence: Some(words),
                    retry_after_ms: Some(AWAY_RETRY_MS),
                    ..Detail::default()
                };
                Err(refuse(of.answer(Reason::ApprovalRequired, &detail)))
            }
        }
    }

    /// The control plane's word. Where the link was opened, somebody may be deciding now: it is waited for, a while, as long as the
    /// call would be permitted.
    ///
    /// What meters the call has let it pass before an approval is used up, so that none is wasted on a budget that is; and it is given
    /// back at once where nothing is: a call that waits for a person debits nothing.
    async fn verdict(
        &self,
        of: HeldRequest<'_>,
        permit: &Permit,
        ask: CallAsk,
        opened: bool,
    ) -> Result<(Result<Verdict, Unanswered>, Option<Metered>), Refusal> {
        let until = Instant::now() + WAIT;
        let seat = if opened { self.calls().seat() } else { None };
        loop {
            let metered = self.metering().hold(permit, of.request.asked()).await;
            let metered = metered.map_err(|refused| of.limited(permit, *refused))?;
            let verdict = self.calls().ask(ask.clone()).await;
            if matches!(verdict, Ok(Verdict::Released(_))) {
                return Ok((verdict, metered));
            }
            drop(metered);
            let waits = matches!(verdict, Ok(Verdict::Waits { .. })) && seat.is_some();
            if !waits || Instant::now() >= until || self.abort().is_cancelled() {
                return Ok((verdict, None));
            }
            tokio::select! {
                () = sleep(LOOK) => {}
                () = self.abort().cancelled() => {}
            }
            self.still(of).map_err(|denial| of.denied(denial))?;
        }
    }

    /// Whether what is in force now would permit it, released.
    fn still(&self, of: HeldRequest<'_>) -> Result<(), Denial> {
        let snapshot = self.live().load();
        let snapshot = snapshot.as_ref().unwrap_or(&of.admitted.snapshot);
        judge(snapshot, of.admitted, of.claim, self.clock().unix_ms())
    }

    /// What the caller gets while nobody decided.
    fn waits(&self, of: HeldRequest<'_>, permit: &Permit, id: &str, url: &str) -> Answer {
        let by_link = of.client.era == Era::Modern && Needed::LINK.is_declared(&of.client.capabilities);
        let link = Link { id: id.to_owned(), url: url.to_owned() };
        let Some(state) = by_link.then(|| self.seal_link(of, permit, &link)).flatten() else {
            return of.in_words(url);
        };
        let name = of.request.name.as_deref().unwrap_or_default();
        let message = format!(
            "A person has to approve this call of {name}. Open the link to decide it, or give it to somebody who may; go on when it \
             is approved."
        );
        let request_id = of.admitted.arrival.request_id.to_string();
        approval_by_link(&of.request.id, &of.asked(&request_id), url, &message, &state)
    }

    fn seal_link(&self, of: HeldRequest<'_>, permit: &Permit, link: &Link) -> Option<String> {
        let scope = tokens::StateScope::of(self, of.admitted, permit.server(), of.request);
        let inner = serde_json::to_string(link).ok()?;
        tokens::seal_held(&self.secrets().load().sealer, scope, &inner).ok()
    }

    /// The state of a held call that a request brings back; none for one of its server's.
    pub(super) fn own_state(&self, admitted: &Admitted, permit: &Permit, request: &Request) -> Option<Link> {
        let token = request.request_state.as_deref().filter(|_| request.method == Method::ToolsCall)?;
        let scope = tokens::StateScope::of(self, admitted, permit.server(), request);
        let inner = tokens::open_held(&self.secrets().load().sealer, scope, token)?;
        serde_json::from_str(&inner).ok()
    }
}

impl<'a> HeldRequest<'a> {
    fn asked(self, request_id: &'a str) -> Asked<'a> {
        Asked {
            era: self.client.era,
            id: Some(&self.request.id),
            subject: self.request.subject(),
            request_id,
        }
    }

    fn answer(self, reason: Reason, detail: &Detail<'_>) -> Answer {
        let request_id = self.admitted.arrival.request_id.to_string();
        respond::deny(reason, &self.asked(&request_id), detail)
    }

    /// What meters it does not let it pass.
    fn limited(self, permit: &Permit, refused: Refused) -> Refusal {
        let limited = Limited::by_meter(self.admitted, permit.server(), refused);
        let answer = limited.answer(self.admitted, self.client, self.request);
        Refusal { denial: limited.denial, answer }
    }

    /// What is in force now denies it.
    fn denied(self, denial: Denial) -> Refusal {
        let answer = self.told(denial.reason, None, None);
        Refusal { denial, answer }
    }

    /// The answer for a client that opens no links, or whose user did not.
    fn in_words(self, url: &str) -> Answer {
        let words = format!(
            "This call needs a person's approval first. Ask the user to have it approved at {url} and then call the tool again with \
             the same arguments."
        );
        self.told(Reason::ApprovalRequired, Some(&words), Some(url))
    }

    fn told(self, reason: Reason, sentence: Option<&str>, approval_url: Option<&str>) -> Answer {
        self.answer(reason, &Detail { sentence, approval_url, ..Detail::default() })
    }
}

/// What the control plane is asked; none for input that has no canonical form, or without randomness.
fn ask(permit: &Permit, pin: Fingerprint, of: HeldRequest<'_>, params: &RawValue) -> Option<CallAsk> {
    let Target::Tool(tool) = permit.target() else { return None };
    let principal = permit.principal();
    let input = input(params)?;
    let (arguments, more_arguments) = told(&input);
    let input_json =
        if input.len() <= MAX_TOLD { Bytes::copy_from_slice(input.as_bytes()) } else { Bytes::new() };
    Some(CallAsk {
        use_id: Bytes::copy_from_slice(&random::<16>().ok()?),
        key: principal.key_name.to_string(),
        key_uid: principal.key_uid.to_string(),
        principal_kind: principal.kind.as_str().to_owned(),
        principal_subject: principal.subject.to_string(),
        server: permit.server().name().to_string(),
        server_uid: permit.server().uid().to_string(),
        tool: tool.name.to_string(),
        pin: Bytes::copy_from_slice(pin.as_bytes()),
        input_sha256: Bytes::copy_from_slice(&sha256(input.as_bytes())),
        input_bytes: input.len() as u64,
        input_json,
        arguments,
        more_arguments,
        request_id: Bytes::copy_from_slice(of.admitted.arrival.request_id.as_bytes()),
    })
}

/// All that the server would get of the caller's choice, in canonical JSON: the parameters but for the name and `_meta`. No
/// arguments at all are the same as an empty object.
fn input(params: &RawValue) -> Option<String> {
    let mut edits = vec![("name", Edit::Remove), ("_meta", Edit::Remove)];
    if object::member(params, "arguments").is_none_or(|arguments| arguments.get() == "null") {
        edits.push(("arguments", Edit::Set("{}")));
    }
    let edited = edit::edit_raw(params, &edits).ok()?;
    canonical_json(edited.get().as_bytes()).ok()
}

/// The arguments, and what else there is, without values.
fn told(input: &str) -> (Vec<CallArgument>, u32) {
    let members = |raw: &RawValue, prefix: &str| -> Vec<CallArgument> {
        let found = object::members(raw).unwrap_or_default();
        found.into_iter().map(|(name, value)| argument(&format!("{prefix}{name}"), value)).collect()
    };
    let Ok(input) = serde_json::from_str::<&RawValue>(input) else { return (Vec::new(), 0) };
    let mut all = object::member(input, "arguments").map(|raw| members(raw, "")).unwrap_or_default();
    all.extend(members(input, "params.").into_iter().filter(|one| one.name != "params.arguments"));
    let more = all.len().saturating_sub(MAX_ARGUMENTS);
    all.truncate(MAX_ARGUMENTS);
    (all, u32::try_from(more).unwrap_or(u32::MAX))
}

fn argument(name: &str, value: &RawValue) -> CallArgument {
    let kind = match value.get().as_bytes().first() {
        Some(b'{') => "object",
        Some(b'[') => "array",
        Some(b'"') => "string",
        Some(b't' | b'f') => "boolean",
        Some(b'n') => "null",
        _ => "number",
    };
    CallArgument {
        name: name.chars().take(MAX_NAME).collect(),
        kind: kind.to_owned(),
        bytes: value.get().len() as u64,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn of(params: &str) -> Option<String> {
        input(serde_json::from_str(params).unwrap())
    }

    #[test]
    fn the_order_and_the_spaces_of_arguments_do_not_matter_and_all_else_that_is_sent_does() {
        let same = of(r#"{"name":"pay","arguments":{"to":"a","amount":1.0}}"#).unwrap();
        assert_eq!(same, r#"{"arguments":{"amount":1.0,"to":"a"}}"#);
        for params in [
            r#"{"arguments": {"amount": 1.0, "to": "a"}, "name": "pay", "_meta": {"x": 1}}"#,
            r#"{"name":"crm_pay","arguments":{"to":"\u0061","amount":1.0}}"#,
        ] {
            assert_eq!(of(params).as_deref(), Some(&*same), "{params}");
        }
        for params in [
            r#"{"name":"pay","arguments":{"to":"a","amount":2.0}}"#,
            r#"{"name":"pay","arguments":{"to":"a","amount":"1.0"}}"#,
            r#"{"name":"pay","arguments":{"to":"a"}}"#,
            r#"{"name":"pay","arguments":{"to":"a","amount":1.0},"inputResponses":{"x":{"action":"accept"}}}"#,
            r#"{"name":"pay","arguments":{"to":"a","amount":1.0},"requestState":"s"}"#,
            r#"{"name":"pay","arguments":{"to":"a","amount":1.0},"task":{}}"#,
        ] {
            assert_ne!(of(params).as_deref(), Some(&*same), "{params}");
        }
        let nothing = of(r#"{"name":"pay"}"#);
        assert_eq!(nothing, of(r#"{"name":"pay","arguments":{}}"#));
        assert_eq!(nothing, of(r#"{"name":"pay","arguments":null}"#));
        assert_eq!(of(r#"{"name":"pay","arguments":{"a":{"b":1,"b":2}}}"#), None, "it has no one meaning");
    }

    #[test]
    fn arguments_are_told_by_name_kind_and_size_alone() {
        let long = "n".repeat(100);
        let input = format!(
            r#"{{"arguments":{{"a":"secret","b":[1,2],"c":true,"d":null,"e":-1.5,"f":{{}},"{long}":1}},"inputResponses":{{"x":1}}}}"#
        );
        let (arguments, more) = told(&input);
        let told: Vec<String> =
            arguments.iter().map(|one| format!("{} {} {}", one.name, one.kind, one.bytes)).collect();
        let cut = format!("{} number 1", "n".repeat(MAX_NAME));
        assert_eq!(
            told,
            [
                "a string 8",
                "b array 5",
                "c boolean 4",
                "d null 4",
                "e number 4",
                "f object 2",
                &cut,
                "params.inputResponses object 7"
            ]
        );
        assert_eq!(more, 0);
        let many: Vec<String> = (0..40).map(|at| format!("\"k{at}\":{at}")).collect();
        let (arguments, more) = super::told(&format!(r#"{{"arguments":{{{}}}}}"#, many.join(",")));
        assert_eq!((arguments.len(), more), (MAX_ARGUMENTS, 8));
    }
}
