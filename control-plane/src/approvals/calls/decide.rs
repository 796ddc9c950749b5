//! People decide single calls: each by the rule that is about it, all that are named or none.

use portcullis_policy::resource::Right;

use super::stored::{CallState, Decided, StoredCall};
use super::{Bench, Calls, HeldCall, find};
use crate::approvals::{ApprovalError, MAX_MESSAGE, Refusal, transact_error};
use crate::catalog::Verdict;
use crate::governance::{Actor, Ballot, Identity};
use crate::store::{Op, State, transact};

/// How many calls one decision may name.
const MAX_IDS: usize = 100;

impl Calls {
    /// Approves or denies calls, all in one transaction or none. Answers with the calls as they are now and the store's version.
    /// What was approved and has not gone through yet may be denied, and the other way round.
    ///
    /// # Errors
    /// See [`ApprovalError`].
    pub async fn decide(
        &self,
        by: &Actor,
        ids: &[String],
        approve: bool,
        message: &str,
    ) -> Result<(Vec<HeldCall>, u64), ApprovalError> {
        if message.chars().count() > MAX_MESSAGE {
            return Err(ApprovalError::Invalid(format!("a message has at most {MAX_MESSAGE} characters")));
        }
        if ids.is_empty() || ids.len() > MAX_IDS {
            return Err(ApprovalError::Invalid(format!("name 1 to {MAX_IDS} calls")));
        }
        let clock = &self.0.clock;
        let said = message.trim();
        let line = match said {
            "" if approve => "approve a call",
            "" => "deny a call",
            said => said,
        };
        let made = transact(&*self.0.store, by.author(), line, clock.now_unix_ms(), |state| {
            let now = clock.now_unix_ms();
            let identity = by.judged(state, now)?;
            let verdict = Verdict { by: by.author().to_owned(), unix_ms: now, message: said.to_owned() };
            let ops = ids.iter().map(|id| one(state, identity.as_ref(), id, approve, &verdict));
            Ok((ops.collect::<Result<Vec<_>, _>>()?.into_iter().flatten().collect(), ()))
        });
        let (state, ()) = made.await.map_err(transact_error)?;
        self.forget_payloads(&state);
        let now = clock.now_unix_ms();
        let shown = ids.iter().map(|id| find(&state, id).map(|(_, call)| self.shown(&state, call, now)));
        Ok((shown.collect::<Result<_, _>>()?, state.version))
    }
}

/// What one decision about one call does; nothing where it is decided so already.
fn one(
    state: &State,
    by: Option<&Identity>,
    id: &str,
    approve: bool,
    verdict: &Verdict,
) -> Result<Option<Op>, ApprovalError> {
    let refuse = |message: String| ApprovalError::Refused(vec![Refusal { id: id.to_owned(), message }]);
    let (object, mut call) = find(state, id)?;
    let bench = Bench::of(state, &call.server, &call.server_uid);
    let what = format!("decide a call of {:?} of server {}", call.tool, call.server);
    if let Some(by) = by {
        by.must_have(Right::ApprovalsDecide, &bench.scope, &what).map_err(ApprovalError::Denied)?;
    }
    match (call.state(bench.rule(), verdict.unix_ms), approve) {
        (CallState::Approved, true) | (CallState::Denied, false) => return Ok(None),
        (CallState::Used, _) => {
            return Err(refuse(format!(
                "{id} was approved and went through already: it cannot be decided again"
            )));
        }
        (CallState::Expired, _) => {
            return Err(refuse(format!("{id} waited for too long: the caller has to ask again")));
        }
        (CallState::Pending | CallState::Approved | CallState::Denied, _) => {}
    }
    match ballot(state, &call, &bench, by, approve, verdict).map_err(refuse)? {
        Ballot::Open => call.vote(verdict.clone()),
        Ballot::Carried(by) => {
            call.votes.clear();
            call.decided = Some(Decided { approved: approve, verdict: Verdict { by, ..verdict.clone() } });
        }
    }
    let op = call.put(object.uid);
    op.map(Some).ok_or_else(|| ApprovalError::Invalid("the call cannot be stored".to_owned()))
}

/// What one more decision comes to. Four eyes are never those of the principal that asked.
fn ballot(
    state: &State,
    call: &StoredCall,
    bench: &Bench,
    by: Option<&Identity>,
    approve: bool,
    verdict: &Verdict,
) -> Result<Ballot, String> {
    let (Some(rule), Some(by)) = (bench.rule(), by) else {
        return Ok(Ballot::Carried(verdict.by.clone()));
    };
    if !approve {
        rule.must_name(by)?;
        return Ok(Ballot::Carried(verdict.by.clone()));
    }
    let votes = call.votes.iter().map(|vote| vote.by.as_str());
    rule.vote(state, by, votes, std::slice::from_ref(&call.principal), verdict.unix_ms)
}
