//! Approvals: the decisions that people owe, and make.
//!
//! An approval is no object of its own. It is a view of one stored definition and one fingerprint of it, and its id names
//! both: a definition that changes while somebody reads it has another id, so that nobody approves what they did not see.

pub mod calls;
mod find;
mod vote;

use std::collections::BTreeSet;
use std::sync::Arc;

use portcullis_policy::resource::Kind;
use portcullis_seal::Fingerprint;
use serde::Serialize;

use crate::catalog::{DefinitionKind, StoredDefinition, Verdict, advance, names, write_definition};
use crate::clock::Clock;
use crate::governance::{AccessError, Actor, Identity};
use crate::review::{Review, Risk};
use crate::store::{CommitError, Op, State, Store, TransactError, transact};

use find::{Candidate, Meaning};
use vote::{Desk, Objection, Step};

/// How many approvals one decision may name.
pub const MAX_IDS: usize = 30_000;
/// The longest message of a decision, in characters.
pub const MAX_MESSAGE: usize = 4_000;

/// What was decided so far.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum ApprovalState {
    /// It waits.
    Pending,
    /// It waited for too long by the rule that is about it: it has to be opened again.
    Expired,
    /// It was approved, by a person or a rule.
    Approved,
    /// It was denied.
    Denied,
}

impl ApprovalState {
    /// The state as the API spells it.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Pending => "pending",
            Self::Expired => "expired",
            Self::Approved => "approved",
            Self::Denied => "denied",
        }
    }
}

/// What is to be approved.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum ApprovalChange {
    /// Nothing of this name is approved.
    New,
    /// Another definition of this name is approved.
    Changed,
}

impl ApprovalChange {
    /// The change as the API spells it.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::New => "new",
            Self::Changed => "changed",
        }
    }
}

/// One decision that a person owes, or made.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Approval {
    /// Names one definition of one server exactly.
    pub id: String,
    /// What it is.
    pub kind: DefinitionKind,
    /// The server's name.
    pub server: String,
    /// The definition's name; the server's for an identity.
    pub name: String,
    /// New, or changed.
    pub change: ApprovalChange,
    /// What was decided.
    pub state: ApprovalState,
    /// Of what was seen.
    pub fingerprint: Fingerprint,
    /// Since when it is offered, milliseconds since the Unix epoch; 0 when it is offered no longer.
    pub opened_unix_ms: u64,
    /// Who decided, when and why; absent while it waits.
    pub verdict: Option<Verdict>,
    /// What the review found when it was seen first; absent where nobody looked, and of what is offered no longer.
    pub risk: Option<Risk>,
    /// What it takes to approve it; absent where no rule is about it, and once it is decided.
    pub needs: Option<Box<Needs>>,
}

/// What an approval rule asks for.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Needs {
    /// The `ApprovalRule`.
    pub rule: String,
    /// How many different people.
    pub required: u32,
    /// Whom it lets approve: `role NAME`, or a person.
    pub approvers: Vec<String>,
    /// Who approved so far, as history names them.
    pub approved_by: Vec<String>,
    /// When it will have waited for too long, milliseconds since the Unix epoch; 0 when never.
    pub expires_unix_ms: u64,
}

/// One approval with its definitions.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ApprovalDetail {
    /// The approval.
    pub approval: Approval,
    /// What the server offers now, in canonical JSON; `None` when it offers it no longer.
    pub definition: Option<String>,
    /// What is approved now, in canonical JSON.
    pub approved_definition: Option<String>,
    /// What a person reads before deciding: of what is offered against what is approved; where these are the same, or one of
    /// them is not there, of the one that is. `None` where neither is.
    pub review: Option<Review>,
}

/// Which approvals to list.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct ApprovalFilter {
    /// Only of this server.
    pub server: Option<String>,
    /// Decided ones too.
    pub all: bool,
}

/// Which approvals to decide.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Selection {
    /// These: 1 to [`MAX_IDS`].
    Ids(Vec<String>),
    /// All that wait.
    AllPending {
        /// Only of this server.
        server: Option<String>,
    },
}

/// What to decide.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Decision {
    /// Of which.
    pub selection: Selection,
    /// Approve when true, deny when false.
    pub approve: bool,
    /// Why, for the history: at most [`MAX_MESSAGE`] characters.
    pub message: String,
}

/// One id that cannot be decided, and why.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Refusal {
    /// The id.
    pub id: String,
    /// What is wrong and what would be right.
    pub message: String,
}

/// Why nothing was decided.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum ApprovalError {
    /// The request makes no sense.
    #[error("{0}")]
    Invalid(String),
    /// Who asked lacks a right: somebody else may have it.
    #[error("{0}")]
    Denied(String),
    /// There is nothing of this name.
    #[error("{0}")]
    NotFound(String),
    /// These ids cannot be decided; nothing was, of the others neither.
    #[error("{}", first(.0))]
    Refused(Vec<Refusal>),
    /// Others kept changing the same store; trying again helps.
    #[error("too many changes at once; nothing was decided, try again")]
    Busy,
    /// The store's fault; nothing was decided.
    #[error("the store is unavailable: {0}")]
    Unavailable(String),
}

fn first(refusals: &[Refusal]) -> String {
    match refusals {
        [] => "nothing to decide".to_owned(),
        [only] => only.message.clone(),
        [first, rest @ ..] => format!("{} (and {} more)", first.message, rest.len()),
    }
}

/// Lists and decides.
#[derive(Clone)]
pub struct Approvals {
    store: Arc<dyn Store>,
    clock: Clock,
}

impl std::fmt::Debug for Approvals {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Approvals").finish_non_exhaustive()
    }
}

impl Approvals {
    /// The approvals of this store.
    #[must_use]
    pub fn new(store: Arc<dyn Store>, clock: Clock) -> Self {
        Self { store, clock }
    }

    /// The approvals, those that wait first, then by server, kind and name.
    ///
    /// # Errors
    /// When the filter names a server that does not exist.
    pub fn list(&self, filter: &ApprovalFilter) -> Result<Vec<Approval>, ApprovalError> {
        let state = self.store.state();
        must_exist(&state, filter.server.as_deref())?;
        let mut desk = Desk::new(&state, self.clock.now_unix_ms());
        let mut approvals = Vec::new();
        for candidate in find::candidates(&state, filter.server.as_deref()) {
            for mut approval in candidate.approvals() {
                if filter.all || approval.state == ApprovalState::Pending {
                    desk.tell(&candidate, &mut approval);
                    approvals.push(approval);
                }
            }
        }
        approvals.sort_by(|a, b| {
            (a.state, &a.server, a.kind, &a.name, &a.id).cmp(&(b.state, &b.server, b.kind, &b.name, &b.id))
        });
        Ok(approvals)
    }

    /// One approval with its definitions.
    ///
    /// # Errors
    /// When the id names nothing, or something that is offered no longer.
    pub fn get(&self, id: &str) -> Result<ApprovalDetail, ApprovalError> {
        let state = self.store.state();
        let ids = BTreeSet::from([id]);
        for candidate in find::candidates(&state, None) {
            if let Some((_, meaning)) = candidate.meanings(&ids).pop() {
                return match meaning {
                    Meaning::Superseded(message) => Err(ApprovalError::NotFound(message)),
                    Meaning::Approval(mut approval) => Ok(ApprovalDetail {
                        definition: candidate.stored.offered_definition().map(str::to_owned),
                        approved_definition: candidate
                            .stored
                            .approved
                            .as_ref()
                            .map(|approved| approved.definition.clone()),
                        review: candidate.review(&names(&state)),
                        approval: {
                            Desk::new(&state, self.clock.now_unix_ms()).tell(&candidate, &mut approval);
                            approval
                        },
                    }),
                };
            }
        }
        Err(ApprovalError::NotFound(unknown(id)))
    }

    /// Decides, all in one transaction or nothing. Answers with the approvals as they are now and the store's version.
    ///
    /// # Errors
    /// See [`ApprovalError`].
    pub async fn decide(
        &self,
        by: &Actor,
        decision: &Decision,
    ) -> Result<(Vec<Approval>, u64), ApprovalError> {
        if decision.message.chars().count() > MAX_MESSAGE {
            return Err(ApprovalError::Invalid(format!("a message has at most {MAX_MESSAGE} characters")));
        }
        if let Selection::Ids(ids) = &decision.selection
            && (ids.is_empty() || ids.len() > MAX_IDS)
        {
            return Err(ApprovalError::Invalid(format!(
                "name 1 to {MAX_IDS} approvals, or decide all that wait"
            )));
        }
        let now = self.clock.now_unix_ms();
        let verdict =
            Verdict { by: by.author().to_owned(), unix_ms: now, message: decision.message.trim().to_owned() };
        let message = match verdict.message.as_str() {
            "" if decision.approve => "approve",
            "" => "deny",
            message => message,
        };
        let (state, decided) = transact(&*self.store, by.author(), message, now, |state| {
            let identity = by.judged(state, now)?;
            let selected = select(state, &decision.selection, decision.approve)?;
            let all = matches!(decision.selection, Selection::AllPending { .. });
            let mut desk = Desk::new(state, now);
            let Outcome { mut ops, decided, changed } =
                decide(&mut desk, identity.as_ref(), selected, all, decision.approve, &verdict)?;
            let servers: BTreeSet<_> = changed.iter().map(|stored| stored.server).collect();
            for server in servers {
                let of_it: Vec<_> = changed.iter().filter(|stored| stored.server == server).collect();
                ops.extend(advance(state, &server, &of_it, true, now));
            }
            Ok((ops, decided))
        })
        .await
        .map_err(transact_error)?;
        Ok((decided, state.version))
    }

    /// Opens again what waited for too long; the approvals that it had are void. All of them, or none.
    ///
    /// # Errors
    /// See [`ApprovalError`].
    pub async fn reopen(&self, by: &Actor, ids: &[String]) -> Result<(Vec<Approval>, u64), ApprovalError> {
        let now = self.clock.now_unix_ms();
        let (state, opened) = transact(&*self.store, by.author(), "open again", now, |state| {
            let identity = by.judged(state, now)?;
            let mut desk = Desk::new(state, now);
            let (mut ops, mut opened) = (Vec::new(), Vec::new());
            for (mut candidate, fingerprints) in select_ids(state, ids, true)? {
                for fingerprint in fingerprints {
                    let Some(mut approval) = candidate.approval(&fingerprint) else { continue };
                    desk.may_reopen(identity.as_ref(), &approval)
                        .map_err(|objection| objection.alone(&approval.id))?;
                    desk.tell(&candidate, &mut approval);
                    if approval.state == ApprovalState::Expired {
                        candidate.stored.votes.clear();
                        candidate.stored.reopened_unix_ms = Some(now);
                        ops.extend(write_definition(&candidate.stored, candidate.uid));
                        approval.state = ApprovalState::Pending;
                        desk.tell(&candidate, &mut approval);
                    }
                    opened.push(approval);
                }
            }
            Ok((ops, opened))
        })
        .await
        .map_err(transact_error)?;
        Ok((opened, state.version))
    }
}

/// What is decided: definitions, each with the fingerprints that were named.
type Selected = Vec<(Candidate, Vec<Fingerprint>)>;

fn select(state: &State, selection: &Selection, approve: bool) -> Result<Selected, ApprovalError> {
    match selection {
        Selection::AllPending { server } => {
            must_exist(state, server.as_deref())?;
            let waiting = find::candidates(state, server.as_deref()).into_iter().filter_map(|candidate| {
                let fingerprint = candidate.waiting()?;
                Some((candidate, vec![fingerprint]))
            });
            Ok(waiting.collect())
        }
        Selection::Ids(ids) => select_ids(state, ids, approve),
    }
}

fn select_ids(state: &State, ids: &[String], approve: bool) -> Result<Selected, ApprovalError> {
    let mut open: BTreeSet<&str> = ids.iter().map(String::as_str).collect();
    let mut selected = Vec::new();
    let mut refusals = Vec::new();
    for candidate in find::candidates(state, None) {
        let mut fingerprints = Vec::new();
        for (id, meaning) in candidate.meanings(&open) {
            open.remove(id.as_str());
            match meaning {
                Meaning::Superseded(message) => refusals.push(Refusal { id, message }),
                Meaning::Approval(approval) => match candidate.refuses(&approval, approve) {
                    Some(message) => refusals.push(Refusal { id, message }),
                    None => fingerprints.push(approval.fingerprint),
                },
            }
        }
        if !fingerprints.is_empty() {
            selected.push((candidate, fingerprints));
        }
        if open.is_empty() {
            break;
        }
    }
    refusals.extend(open.into_iter().map(|id| Refusal { id: id.to_owned(), message: unknown(id) }));
    if refusals.is_empty() { Ok(selected) } else { Err(ApprovalError::Refused(refusals)) }
}

/// What a decision comes to: what is to be stored, what was decided, and the definitions as they are then.
struct Outcome {
    ops: Vec<Op>,
    decided: Vec<Approval>,
    changed: Vec<StoredDefinition>,
}

/// Decides what was selected, each thing by the rule that is about it. Of all that wait those are left out that who asks cannot
/// decide; of what is named everything must be decided.
fn decide(
    desk: &mut Desk<'_>,
    by: Option<&Identity>,
    selected: Selected,
    all: bool,
    approve: bool,
    verdict: &Verdict,
) -> Result<Outcome, ApprovalError> {
    let (mut ops, mut decided, mut objections) = (Vec::new(), Vec::new(), Vec::new());
    let mut changed = Vec::new();
    for (mut candidate, fingerprints) in selected {
        let before = candidate.stored.clone();
        for fingerprint in &fingerprints {
            let Some(mut approval) = candidate.approval(fingerprint) else { continue };
            desk.tell(&candidate, &mut approval);
            match desk.judge(by, &candidate, &approval, approve, verdict) {
                Ok(Step::Decided(verdict)) => candidate.decide(*fingerprint, approve, &verdict),
                Ok(Step::Vote(verdict)) => candidate.vote(verdict),
                Ok(Step::Nothing) => {}
                Err(objection) => {
                    objections.push((approval.id, objection));
                    continue;
                }
            }
            if let Some(mut approval) = candidate.approval(fingerprint) {
                desk.tell(&candidate, &mut approval);
                decided.push(approval);
            }
        }
        if candidate.stored != before {
            ops.extend(write_definition(&candidate.stored, candidate.uid));
            changed.push(candidate.stored);
        }
    }
    if objections.is_empty() || (all && !decided.is_empty()) {
        return Ok(Outcome { ops, decided, changed });
    }
    match objections.iter().find(|(_, objection)| objection.denied) {
        Some((_, objection)) => Err(ApprovalError::Denied(objection.message.clone())),
        None => Err(ApprovalError::Refused(
            objections
                .into_iter()
                .map(|(id, objection)| Refusal { id, message: objection.message })
                .collect(),
        )),
    }
}

impl Objection {
    /// The objection to the only thing that was asked.
    fn alone(self, id: &str) -> ApprovalError {
        if self.denied {
            return ApprovalError::Denied(self.message);
        }
        ApprovalError::Refused(vec![Refusal { id: id.to_owned(), message: self.message }])
    }
}

impl From<AccessError> for ApprovalError {
    fn from(error: AccessError) -> Self {
        match error {
            AccessError::Denied(why) | AccessError::Refused(why) => Self::Denied(why),
        }
    }
}

fn transact_error(error: TransactError<ApprovalError>) -> ApprovalError {
    match error {
        TransactError::Refused(refused) => refused,
        TransactError::Contended => ApprovalError::Busy,
        TransactError::Store(CommitError::Invalid(why)) => {
            ApprovalError::Invalid(format!("too much for one decision ({why}); decide fewer at once"))
        }
        TransactError::Store(error) => ApprovalError::Unavailable(error.to_string()),
    }
}

fn must_exist(state: &State, server: Option<&str>) -> Result<(), ApprovalError> {
    match server {
        Some(name) if state.get(Kind::McpServer.as_str(), name).is_none() => {
            Err(ApprovalError::NotFound(format!("there is no McpServer/{name}")))
        }
        _ => Ok(()),
    }
}

fn unknown(id: &str) -> String {
    let id: String = id.chars().take(80).collect();
    format!("there is no approval {id:?}; `approvals list` shows those that wait")
}
