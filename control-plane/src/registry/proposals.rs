//! Proposals: applies and deletes that open what was closed, kept until those agree whom an approval rule names.
//!
//! A proposal holds the documents before and after. It is judged when it is made and again when it is approved; what it was
//! made against must not have changed meanwhile, so that people get exactly what they read.

use std::sync::Arc;

use portcullis_policy::document::Located;
use portcullis_policy::resource::{ChangeClass, Kind, Name, Right, Uid};
use portcullis_seal::{Fingerprint, sha256};
use serde::{Deserialize, Serialize};
use serde_json::Value;

use super::{ChangeKind, Registry, RegistryError, ResourceChange};
use super::{apply, diff, remove};
use crate::catalog::Verdict;
use crate::governance::{
    Actor, Ballot, Identity, Rule, Rulebook, Scope, Touched, authorise, governed, person_of, with_authors,
};
use crate::objects::Parsed;
use crate::publish::Decision;
use crate::store::{Object, Op, State};

/// The kind of the objects that hold a [`StoredProposal`]; their name is the proposal's id.
pub const PROPOSAL: &str = "Proposal";
/// What every id begins with.
pub const ID_PREFIX: &str = "p-";
/// How many proposals may wait.
pub const MAX_WAITING: usize = 500;
/// How many decided ones are kept to be looked at.
const MAX_DECIDED: usize = 200;
/// How many approvals of one proposal are kept while more are needed.
const MAX_VOTES: usize = 64;
/// How large one may be, in bytes of its JSON: a store keeps no larger object.
const MAX_BYTES: usize = 900 << 10;

/// The body of a `Proposal` object.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, rename_all = "camelCase")]
pub(super) struct StoredProposal {
    author: String,
    message: String,
    created_unix_ms: u64,
    /// What kinds of change need the approval.
    classes: Vec<ChangeClass>,
    targets: Vec<Target>,
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    votes: Vec<Verdict>,
    /// Whether it was approved, and by whom; absent while it waits.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    decided: Option<Decided>,
}

#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, rename_all = "camelCase")]
struct Decided {
    approved: bool,
    verdict: Verdict,
}

/// One resource that it changes.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, rename_all = "camelCase")]
struct Target {
    kind: Kind,
    name: Name,
    /// The uid and version that it was made against, and the document; absent where there was nothing.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    before: Option<Before>,
    /// The document that is to be; absent where it is to go.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    after: Option<Value>,
}

#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, rename_all = "camelCase")]
struct Before {
    uid: Uid,
    version: u64,
    document: Value,
}

/// What an author is told whose change was kept as a proposal.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Proposed {
    /// Its id; empty in a dry run.
    pub id: String,
    /// What kinds of change need the approval.
    pub classes: Vec<ChangeClass>,
    /// The approval rules that are about it.
    pub rules: Vec<String>,
    /// Whom they let approve.
    pub approvers: Vec<String>,
    /// How many different people it takes.
    pub required: u32,
}

/// A proposal as people look at it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Proposal {
    /// Its id.
    pub id: String,
    /// Who proposed it, as history names them.
    pub author: String,
    /// Why.
    pub message: String,
    /// When, milliseconds since the Unix epoch.
    pub created_unix_ms: u64,
    /// What it would change, field by field.
    pub changes: Vec<ResourceChange>,
    /// "pending", "expired", "approved" or "denied".
    pub state: &'static str,
    /// Of the documents.
    pub fingerprint: Fingerprint,
    /// Who decided, when and why.
    pub verdict: Option<Verdict>,
    /// What it takes now; the classes as they were when it was made.
    pub needs: Proposed,
    /// Who approved so far.
    pub approved_by: Vec<String>,
    /// When it will have waited for too long, milliseconds since the Unix epoch; 0 when never.
    pub expires_unix_ms: u64,
}

/// What rules say of changes: none when they need nobody.
pub(super) fn needs(state: &State, book: &Rulebook, touched: &[Touched<'_>]) -> Option<Proposed> {
    let governed = governed(state, book, touched);
    let required = governed.iter().map(|one| one.rule.spec.required).max()?;
    let mut told = Proposed {
        id: String::new(),
        classes: Vec::new(),
        rules: Vec::new(),
        approvers: Vec::new(),
        required,
    };
    for one in governed {
        add(&mut told.classes, one.class);
        add(&mut told.rules, one.rule.name.as_str().to_owned());
        one.rule.approvers().into_iter().for_each(|approver| add(&mut told.approvers, approver));
    }
    Some(told)
}

fn add<T: PartialEq>(list: &mut Vec<T>, item: T) {
    if !list.contains(&item) {
        list.push(item);
    }
}

/// The operations that keep a change as a proposal instead of making it.
pub(super) fn keep(
    state: &State,
    touched: &[Touched<'_>],
    needs: &mut Proposed,
    author: &str,
    message: &str,
    now_unix_ms: u64,
) -> Result<Vec<Op>, RegistryError> {
    let mut targets = Vec::with_capacity(touched.len());
    for change in touched {
        if change.kind == Kind::VirtualKey && change.before.is_none() {
            return Err(RegistryError::Refused(format!(
                "{} need approval, and VirtualKey/{} would come into being with it, whose secret only its author may see: \
                 apply the key apart from the rest",
                listed(&needs.classes),
                change.name
            )));
        }
        let name = change
            .name
            .parse()
            .map_err(|_| RegistryError::Internal("a resource without a name".to_owned()))?;
        let before = state.get(change.kind.as_str(), change.name).map(|object| Before {
            uid: object.uid,
            version: object.version,
            document: object.body.clone(),
        });
        targets.push(Target { kind: change.kind, name, before, after: change.after.cloned() });
    }
    let id = uuid::Uuid::new_v4();
    needs.id = format!("{ID_PREFIX}{}", id.simple().to_string().get(..20).unwrap_or_default());
    let stored = StoredProposal {
        author: author.to_owned(),
        message: message.to_owned(),
        created_unix_ms: now_unix_ms,
        classes: needs.classes.clone(),
        targets,
        votes: Vec::new(),
        decided: None,
    };
    let mut ops = make_room(state, now_unix_ms)?;
    ops.push(put(&needs.id, Uid(id), &stored)?);
    Ok(ops)
}

fn listed(classes: &[ChangeClass]) -> String {
    classes.iter().map(|class| class.as_str()).collect::<Vec<_>>().join(", ")
}

fn put(id: &str, uid: Uid, stored: &StoredProposal) -> Result<Op, RegistryError> {
    let body = serde_json::to_value(stored).map_err(|error| RegistryError::Internal(error.to_string()))?;
    if body.to_string().len() > MAX_BYTES {
        return Err(RegistryError::Refused(
            "this needs approval and is too much to be kept for it: apply it in parts".to_owned(),
        ));
    }
    Ok(Op::Put { kind: PROPOSAL.into(), name: id.into(), uid, body })
}

/// Forgets the oldest decided and expired ones where there are too many.
fn make_room(state: &State, now_unix_ms: u64) -> Result<Vec<Op>, RegistryError> {
    let book = Rulebook::of(state);
    let (mut over, mut waiting) = (Vec::new(), 0_usize);
    for object in state.list(PROPOSAL) {
        let Some(stored) = read(object) else { continue };
        let open = stored.decided.is_none() && !stored.judge(state, &book).is_expired(now_unix_ms);
        if open { waiting += 1 } else { over.push(object) }
    }
    if waiting >= MAX_WAITING {
        return Err(RegistryError::Refused(format!(
            "{MAX_WAITING} proposals wait, which is the most: decide some first"
        )));
    }
    over.sort_by_key(|object| object.version);
    let excess = over.len().saturating_sub(MAX_DECIDED);
    let gone = over.into_iter().take(excess);
    Ok(gone.map(|object| Op::Delete { kind: PROPOSAL.into(), name: Arc::clone(&object.name) }).collect())
}

fn read(object: &Object) -> Option<StoredProposal> {
    StoredProposal::deserialize(&object.body).ok()
}

/// The rules that are about a proposal now, and when it will have waited for too long.
struct Bench<'a> {
    rules: Vec<&'a Rule>,
    classes: Vec<ChangeClass>,
    expires_unix_ms: Option<u64>,
}

impl Bench<'_> {
    fn is_expired(&self, now_unix_ms: u64) -> bool {
        self.expires_unix_ms.is_some_and(|end| now_unix_ms >= end)
    }
}

impl StoredProposal {
    fn touched(&self) -> Vec<Touched<'_>> {
        fn of(target: &Target) -> Touched<'_> {
            let Target { kind, name, before, after } = target;
            let before = before.as_ref().map(|before: &Before| &before.document);
            Touched { kind: *kind, name: name.as_str(), before, after: after.as_ref() }
        }
        self.targets.iter().map(of).collect()
    }

    fn judge<'a>(&self, state: &State, book: &'a Rulebook) -> Bench<'a> {
        let mut bench = Bench { rules: Vec::new(), classes: Vec::new(), expires_unix_ms: None };
        for one in governed(state, book, &self.touched()) {
            add(&mut bench.classes, one.class);
            if !bench.rules.iter().any(|rule| rule.name == one.rule.name) {
                let expires = one.rule.expires_unix_ms(self.created_unix_ms);
                bench.expires_unix_ms = [bench.expires_unix_ms, expires].into_iter().flatten().min();
                bench.rules.push(one.rule);
            }
        }
        bench
    }

    /// What changed since it was made, in a sentence; none when nothing did.
    fn is_stale(&self, state: &State) -> Option<String> {
        self.targets.iter().find_map(|target| {
            let now = state.get(target.kind.as_str(), target.name.as_str()).map(|object| (object.uid, object.version));
            let then = target.before.as_ref().map(|before| (before.uid, before.version));
            if now == then {
                return None;
            }
            let at = |what: Option<(Uid, u64)>| {
                what.map_or_else(|| "did not exist".to_owned(), |(_, version)| format!("was at version {version}"))
            };
            let now = now.map_or_else(|| "is gone".to_owned(), |(_, version)| format!("is at version {version}"));
            Some(format!(
                "{}/{} changed since this was proposed: it {} then and {now}. Look at it again and propose it anew, by applying it",
                target.kind,
                target.name,
                at(then)
            ))
        })
    }

    fn shown(&self, id: &str, state: &State, book: &Rulebook, now_unix_ms: u64) -> Proposal {
        let bench = self.judge(state, book);
        let left_out = [self.author.clone()];
        let mut approved_by: Vec<String> = Vec::new();
        for rule in &bench.rules {
            let votes = self.votes.iter().map(|vote| vote.by.as_str());
            for vote in rule.count(state, votes, &left_out, now_unix_ms) {
                add(&mut approved_by, vote.to_owned());
            }
        }
        let mut needs = Proposed {
            id: id.to_owned(),
            classes: self.classes.clone(),
            rules: Vec::new(),
            approvers: Vec::new(),
            required: bench.rules.iter().map(|rule| rule.spec.required).max().unwrap_or(0),
        };
        for rule in &bench.rules {
            add(&mut needs.rules, rule.name.as_str().to_owned());
            rule.approvers().into_iter().for_each(|approver| add(&mut needs.approvers, approver));
        }
        let state = match &self.decided {
            Some(decided) if decided.approved => "approved",
            Some(_) => "denied",
            None if bench.is_expired(now_unix_ms) => "expired",
            None => "pending",
        };
        let documents: Vec<Option<&Value>> =
            self.targets.iter().map(|target| target.after.as_ref()).collect();
        let text = serde_json::to_vec(&(&self.author, self.created_unix_ms, documents)).unwrap_or_default();
        Proposal {
            id: id.to_owned(),
            author: self.author.clone(),
            message: self.message.clone(),
            created_unix_ms: self.created_unix_ms,
            changes: self.targets.iter().map(Target::change).collect(),
            state,
            fingerprint: Fingerprint::from_bytes(sha256(&text)),
            verdict: self.decided.as_ref().map(|decided| decided.verdict.clone()),
            needs,
            approved_by,
            expires_unix_ms: bench.expires_unix_ms.unwrap_or(0),
        }
    }
}

impl Target {
    fn change(&self) -> ResourceChange {
        let before = self.before.as_ref().map(|before| &before.document);
        let change = match (before, &self.after) {
            (_, None) => ChangeKind::Deleted,
            (None, Some(_)) => ChangeKind::Created,
            (Some(_), Some(_)) => ChangeKind::Changed,
        };
        ResourceChange {
            change,
            kind: self.kind.as_str().to_owned(),
            name: self.name.as_str().to_owned(),
            uid: self.before.as_ref().map(|before| before.uid),
            fields: diff::documents(before, self.after.as_ref()),
        }
    }
}

/// The proposals, those that wait first, then the newest. Decided ones only where `all` are asked for.
pub(super) fn list(registry: &Registry, all: bool) -> Vec<Proposal> {
    let (state, now) = (registry.store.state(), registry.clock.now_unix_ms());
    let book = Rulebook::of(&state);
    let mut found: Vec<Proposal> = state
        .list(PROPOSAL)
        .filter_map(|object| {
            let stored = read(object).filter(|stored| all || stored.decided.is_none())?;
            Some(stored.shown(&object.name, &state, &book, now))
        })
        .collect();
    found.sort_by_key(|one| (one.verdict.is_some(), std::cmp::Reverse(one.created_unix_ms)));
    found
}

/// One proposal.
pub(super) fn get(registry: &Registry, id: &str) -> Result<Proposal, RegistryError> {
    let (state, now) = (registry.store.state(), registry.clock.now_unix_ms());
    let stored = state.get(PROPOSAL, id).and_then(|object| read(object)).ok_or_else(|| missing(id))?;
    Ok(stored.shown(id, &state, &Rulebook::of(&state), now))
}

fn missing(id: &str) -> RegistryError {
    RegistryError::NotFound(format!("the proposal {}", id.chars().take(80).collect::<String>()))
}

/// Approves or denies a proposal. The last approval that it takes makes the change, in the same transaction.
pub(super) async fn decide(
    registry: &Registry,
    by: &Actor,
    id: &str,
    approve: bool,
    message: &str,
) -> Result<(Proposal, u64), RegistryError> {
    let said = Registry::message(message)?.trim().to_owned();
    let object = registry.store.state().get(PROPOSAL, id).cloned().ok_or_else(|| missing(id))?;
    let stored = read(&object).ok_or_else(|| missing(id))?;
    let documents = documents(&stored, id).await?;
    let (clock, asks, name) = (registry.clock.clone(), by.clone(), id.to_owned());
    let verb = if approve { "approve" } else { "deny" };
    let mut line = format!("{verb} proposal {id} of {}", stored.author);
    for text in [&said, &stored.message].into_iter().filter(|text| !text.is_empty()) {
        line.push_str(": ");
        line.push_str(text);
    }
    let line: String = line.chars().take(super::MAX_MESSAGE_BYTES / 4).collect();
    let decide = move |state: &State, parsed: &mut Parsed| {
        let object = state.get(PROPOSAL, &name).ok_or_else(|| missing(&name))?;
        let mut stored = read(object).ok_or_else(|| missing(&name))?;
        let now = clock.now_unix_ms();
        if let Some(decided) = &stored.decided {
            if decided.approved == approve {
                return Ok(Decision { ops: Vec::new(), answer: (), dry_run: false });
            }
            let how = if decided.approved { "approved" } else { "denied" };
            return Err(RegistryError::Refused(format!(
                "the proposal {name} was {how} by {} already: to change what it is about, apply",
                decided.verdict.by
            )));
        }
        let identity = asks.judged(state, now)?;
        let verdict = Verdict { by: asks.author().to_owned(), unix_ms: now, message: said.clone() };
        let mut ops = Vec::new();
        match stored.vote(state, identity.as_ref(), &name, approve, now)? {
            Ballot::Open => {
                stored.votes.push(verdict);
                let over = stored.votes.len().saturating_sub(MAX_VOTES);
                stored.votes.drain(..over);
            }
            Ballot::Carried(by) => {
                if approve {
                    ops = stored.ops(state, parsed, &documents, now)?;
                    // Nobody may be left without an admin by a proposal either.
                    authorise(state, &Actor::trusted(&by), Right::ResourcesWrite, &stored.touched(), now)?;
                    ops.extend(with_authors(state, &ops, &stored.author));
                }
                stored.votes.clear();
                stored.decided = Some(Decided { approved: approve, verdict: Verdict { by, ..verdict } });
            }
        }
        ops.push(put(&name, object.uid, &stored)?);
        Ok(Decision { ops, answer: (), dry_run: false })
    };
    let (version, ()) = registry.publisher.transact(by.author(), &line, decide).await?;
    Ok((get(registry, id)?, version))
}

/// The documents that are to be, read as an apply reads them.
async fn documents(stored: &StoredProposal, id: &str) -> Result<Arc<[Located]>, RegistryError> {
    let items: Vec<&Value> = stored.targets.iter().filter_map(|target| target.after.as_ref()).collect();
    if items.is_empty() {
        return Ok(Arc::from([]));
    }
    let text = serde_json::json!({ "items": items }).to_string();
    apply::parse(vec![(format!("proposal {id}"), text)], None).await
}

impl StoredProposal {
    /// What one more decision comes to.
    fn vote(
        &self,
        state: &State,
        by: Option<&Identity>,
        id: &str,
        approve: bool,
        now_unix_ms: u64,
    ) -> Result<Ballot, RegistryError> {
        let Some(by) = by else { return Ok(Ballot::Carried("system".to_owned())) };
        let what = format!("decide the proposal {id}");
        for change in self.touched() {
            for document in [change.before, change.after].into_iter().flatten() {
                by.must_have(Right::ApprovalsDecide, &Scope::of(change.kind, document), &what)
                    .map_err(RegistryError::Denied)?;
            }
        }
        let book = Rulebook::of(state);
        let bench = self.judge(state, &book);
        if !approve {
            let named = bench.rules.iter().find_map(|rule| rule.must_name(by).err());
            let own = person_of(&self.author) == by.person;
            let some = bench.rules.iter().any(|rule| rule.names(by));
            return match named {
                Some(refused) if !own && !some => Err(RegistryError::Refused(refused)),
                _ => Ok(Ballot::Carried(by.author())),
            };
        }
        if let Some(stale) = self.is_stale(state) {
            return Err(RegistryError::Refused(stale));
        }
        if bench.is_expired(now_unix_ms) {
            return Err(RegistryError::Refused(format!(
                "the proposal {id} waited for too long: propose it anew, by applying it"
            )));
        }
        self.count(state, by, &bench.rules, now_unix_ms)
    }

    /// Every rule that is about it has to be carried; an approval counts for each rule that names who gives it.
    fn count(
        &self,
        state: &State,
        by: &Identity,
        rules: &[&Rule],
        now_unix_ms: u64,
    ) -> Result<Ballot, RegistryError> {
        let left_out = [self.author.clone()];
        let votes = || self.votes.iter().map(|vote| vote.by.as_str());
        let (mut counts, mut carried, mut refused) = (rules.is_empty(), true, None);
        for rule in rules {
            match rule.vote(state, by, votes(), &left_out, now_unix_ms) {
                Ok(Ballot::Carried(_)) => counts = true,
                Ok(Ballot::Open) => (counts, carried) = (true, false),
                Err(why) => {
                    let so_far = rule.count(state, votes(), &left_out, now_unix_ms).len() as u64;
                    carried &= so_far >= u64::from(rule.spec.required);
                    refused.get_or_insert(why);
                }
            }
        }
        if let (false, Some(why)) = (counts, refused) {
            return Err(RegistryError::Refused(why));
        }
        if !carried {
            return Ok(Ballot::Open);
        }
        let mut all: Vec<String> = Vec::new();
        for rule in rules {
            for vote in rule.count(state, votes(), &left_out, now_unix_ms) {
                add(&mut all, vote.to_owned());
            }
        }
        add(&mut all, by.author());
        Ok(Ballot::Carried(all.join(", ")))
    }

    /// The operations that make the change, judged as an apply or a delete judges them.
    fn ops(
        &self,
        state: &State,
        parsed: &mut Parsed,
        documents: &[Located],
        now_unix_ms: u64,
    ) -> Result<Vec<Op>, RegistryError> {
        let mut ops = match documents {
            [] => Vec::new(),
            documents => apply::judge(state, parsed, documents, now_unix_ms)?,
        };
        for target in self.targets.iter().filter(|target| target.after.is_none()) {
            ops.extend(remove::ops(state, parsed, target.kind, &target.name, now_unix_ms)?);
        }
        Ok(ops)
    }
}
