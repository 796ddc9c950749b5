//! Going back: a new version that equals an old one, as far as what is gone for good allows.
//!
//! Documents become what they were, and approvals that were given since are taken back where they serve what was not served
//! then. Stages that servers reached since, and suspensions that were lifted since, are taken back likewise. What never comes
//! back: hashes of keys, revocations that would be undone, denials and stops that would be, and uids: a resource that was deleted
//! since comes into being anew, a key with a new secret, a server with nothing approved.

mod past;

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use portcullis_policy::check::{self, ResourceSet};
use portcullis_policy::document::Problem;
use portcullis_policy::resource::{Effective, Kind, Name, Resource, Right, Spec, Uid};
use serde_json::Value;

use super::apply::touched;
use super::references::{label, secrets};
use super::remove::companions;
use super::{
    Applied, ChangeKind, Registry, RegistryError, ResourceChange, diff, effect, proposals, rewrites, stages,
};
use crate::catalog::{self, DEFINITION, StoredDefinition};
use crate::governance::{Actor, Rulebook, authorise, with_authors};
use crate::objects::{KeyMaterial, NewKey, Parsed};
use crate::publish::{Decision, TransactError};
use crate::store::{Object, Op, State};
use past::{Past, Then};

/// How often a rollback is worked out again when others changed the store meanwhile.
const MAX_ATTEMPTS: usize = 16;

/// Where to go back to.
#[derive(Debug, Clone)]
pub struct RollbackInput {
    /// The version of the store.
    pub version: u64,
    /// Who.
    pub by: Actor,
    /// Why, for the history.
    pub message: String,
    /// Judge and tell, change nothing.
    pub dry_run: bool,
    /// In a dry run: tell by name all that gains and loses, as far as an answer holds it.
    pub full: bool,
}

/// What a decision to go back answers.
#[derive(Debug, Default)]
struct Answer {
    changes: Vec<ResourceChange>,
    keys: Vec<NewKey>,
}

pub(super) async fn rollback(registry: &Registry, input: RollbackInput) -> Result<Applied, RegistryError> {
    let version = input.version;
    let message = match Registry::message(&input.message)? {
        "" => format!("roll back to version {version}"),
        message => format!("{message} (rollback to version {version})"),
    };
    for _ in 0..MAX_ATTEMPTS {
        let past = Arc::new(Past::of(&*registry.store, version).await?);
        let secrets: BTreeSet<Name> = registry.vault.secrets().into_iter().map(|known| known.name).collect();
        let dry_run = input.dry_run;
        let (by, clock) = (input.by.clone(), registry.clock.clone());
        let now_unix_ms = registry.clock.now_unix_ms();
        let decide = move |state: &State, parsed: &mut Parsed| {
            if state.version != past.seen_at {
                return Err(RegistryError::Busy);
            }
            let mut decision = decide(state, parsed, &past, &secrets, now_unix_ms, dry_run)?;
            if !dry_run {
                let touched = touched(state, &decision.ops);
                authorise(state, &by, Right::ResourcesWrite, &touched, clock.now_unix_ms())?;
                // It takes back more than documents, and so cannot wait as a proposal.
                if let Some(needed) = proposals::needs(state, &Rulebook::of(state), &touched) {
                    let classes: Vec<&str> = needed.classes.iter().map(|class| class.as_str()).collect();
                    return Err(RegistryError::Refused(format!(
                        "this rollback needs approval ({}, ApprovalRule/{}): apply the documents that it is about, which keeps \
                         them as a proposal, and roll back the rest when that is approved",
                        classes.join(", "),
                        needed.rules.join(", ")
                    )));
                }
                let beside = with_authors(state, &decision.ops, by.author());
                decision.ops.extend(beside);
            }
            Ok(decision)
        };
        let refused = |error| match error {
            TransactError::Compile(errors) => {
                let problems =
                    errors.iter().map(|error| problem(version, String::new(), "", error.to_string()));
                RegistryError::Invalid(problems.collect())
            }
            error => error.into(),
        };
        let outcome = if dry_run {
            match registry.publisher.rehearse(decide).await {
                Ok(rehearsed) => effect::told(rehearsed, &registry.clock, input.full).await,
                Err(error) => Err(refused(error)),
            }
        } else {
            let transacted = registry.publisher.transact(input.by.author(), &message, decide).await;
            transacted.map(|(version, answer)| (version, answer, None)).map_err(refused)
        };
        match outcome {
            Err(RegistryError::Busy) => {}
            Err(error) => return Err(error),
            Ok((version, Answer { changes, keys }, effect)) => {
                return Ok(Applied { version, changes, keys, warnings: Vec::new(), effect, proposed: None });
            }
        }
    }
    Err(RegistryError::Busy)
}

fn problem(version: u64, resource: String, field: &str, message: String) -> Problem {
    let message = format!("version {version} cannot be brought back: {message}");
    Problem { file: String::new(), line: 0, resource, field: field.to_owned(), message }
}

fn decide(
    state: &State,
    parsed: &mut Parsed,
    past: &Past,
    secrets: &BTreeSet<Name>,
    now_unix_ms: u64,
    dry_run: bool,
) -> Result<Decision<Answer>, RegistryError> {
    let mut way = Way {
        state,
        past,
        secrets,
        dry_run,
        set: parsed.of(state)?.clone(),
        ops: Vec::new(),
        answer: Answer::default(),
        problems: Vec::new(),
        gone: BTreeSet::new(),
    };
    for (kind, name, then) in past.resources() {
        way.resource(kind, name, then)?;
    }
    if way.problems.is_empty() {
        let found = check::check(&way.set).into_iter();
        let found = found.map(|finding| {
            let resource = label(finding.kind, &finding.name);
            problem(past.version, resource, &finding.field, finding.message)
        });
        way.problems.extend(found);
    }
    if !way.problems.is_empty() {
        return Err(RegistryError::Invalid(way.problems));
    }
    way.definitions()?;
    // What comes anew, or under a policy, begins; of all others what was opened since is closed again.
    let stages = stages::first_stages(&way.set);
    let mut moved = stages::moved(state, &stages, &way.ops, now_unix_ms);
    moved.close_again(state, &stages, &way.ops, |uid, name| past.server_state(uid, name), now_unix_ms);
    way.answer.changes.extend(moved.changes(state));
    way.ops.extend(moved.ops()?);
    Ok(Decision { ops: way.ops, answer: way.answer, dry_run })
}

/// The way back, resource by resource.
struct Way<'a> {
    state: &'a State,
    past: &'a Past,
    secrets: &'a BTreeSet<Name>,
    dry_run: bool,
    /// What results.
    set: ResourceSet,
    ops: Vec<Op>,
    answer: Answer,
    problems: Vec<Problem>,
    /// Uids that go.
    gone: BTreeSet<Uid>,
}

impl Way<'_> {
    fn resource(&mut self, kind: Kind, name: &str, then: Option<&Then>) -> Result<(), RegistryError> {
        let now = self.state.get(kind.as_str(), name);
        match (then, now) {
            (None, None) => Ok(()),
            (None, Some(object)) => {
                self.end(kind, object);
                self.ops.push(Op::Delete { kind: kind.as_str().into(), name: name.into() });
                let resource = name.parse::<Name>();
                resource.iter().for_each(|name| drop(self.set.remove(kind, name)));
                self.tell(ChangeKind::Deleted, kind, name, Some(object.uid), Some(&object.body), None);
                Ok(())
            }
            // Whatever its uid: it says the same, and who holds it keeps it.
            (Some(then), Some(object)) if then.body == object.body => Ok(()),
            (Some(then), now) => self.bring_back(kind, name, then, now),
        }
    }

    fn bring_back(
        &mut self,
        kind: Kind,
        name: &str,
        then: &Then,
        now: Option<&Arc<Object>>,
    ) -> Result<(), RegistryError> {
        let version = self.past.version;
        let named = format!("{kind}/{name}");
        let resource = match Resource::from_json(&then.body) {
            Ok(resource) => resource,
            Err(detail) => {
                let message = format!("what it was then is refused now: {detail}");
                self.problems.push(problem(version, named, "", message));
                return Ok(());
            }
        };
        for (field, secret) in
            secrets(&resource).into_iter().filter(|(_, secret)| !self.secrets.contains(*secret))
        {
            let message = format!(
                "it refers to secret {secret}, which is gone: set it with `portcullis secret set {secret}`"
            );
            self.problems.push(problem(version, named.clone(), field, message));
        }
        // A name under another uid is another thing: what was there goes, and what comes is new.
        let same = now.filter(|object| object.uid == then.uid);
        if let (Some(object), None) = (now, same) {
            self.end(kind, object);
        }
        let uid = same.map_or_else(|| Uid(uuid::Uuid::new_v4()), |object| object.uid);
        let resource_name = resource.name().clone();
        self.ops.extend(rewrites::op(self.state, uid, &resource.spec));
        drop(self.set.insert(resource));
        let (object_kind, object_name) = (kind.as_str().into(), name.into());
        self.ops.push(Op::Put { kind: object_kind, name: object_name, uid, body: then.body.clone() });
        if same.is_none() && kind == Kind::VirtualKey {
            let (key, hash) = NewKey::generate(&resource_name, uid)?;
            let put = KeyMaterial::new(resource_name, hash).put(uid);
            self.ops.push(put.map_err(|error| RegistryError::Internal(error.to_string()))?);
            if !self.dry_run {
                self.answer.keys.push(key);
            }
        }
        let change = if same.is_some() { ChangeKind::Changed } else { ChangeKind::Created };
        // What a dry run would create has no uid: it is made when it comes into being.
        let told = Some(uid).filter(|_| same.is_some() || !self.dry_run);
        self.tell(change, kind, name, told, same.map(|object| &object.body), Some(&then.body));
        Ok(())
    }

    /// What belongs to a resource alone goes with it.
    fn end(&mut self, kind: Kind, object: &Object) {
        self.gone.insert(object.uid);
        self.ops.extend(companions(self.state, kind, object.uid));
    }

    fn tell(
        &mut self,
        change: ChangeKind,
        kind: Kind,
        name: &str,
        uid: Option<Uid>,
        before: Option<&Value>,
        after: Option<&Value>,
    ) {
        let fields = diff::documents(before, after);
        let kind = kind.as_str().to_owned();
        self.answer.changes.push(ResourceChange { change, kind, name: name.to_owned(), uid, fields });
    }

    /// Approvals of servers that stay.
    fn definitions(&mut self) -> Result<(), RegistryError> {
        let servers: BTreeMap<Uid, &Arc<Object>> = self
            .state
            .list(Kind::McpServer.as_str())
            .filter(|object| !self.gone.contains(&object.uid))
            .map(|object| (object.uid, object))
            .collect();
        for (name, then) in self.past.definitions() {
            let Some(object) = self.state.get(DEFINITION, name) else { continue };
            let Some(mut stored) = read(&object.body) else { continue };
            let Some(server) = servers.get(&stored.server) else { continue };
            let Ok(server_name) = server.name.parse::<Name>() else { continue };
            let Some(Spec::McpServer(spec)) =
                self.set.get(Kind::McpServer, &server_name).map(|resource| &resource.spec)
            else {
                continue;
            };
            let then = then.and_then(|then| read(&then.body));
            let pin = |stored: &StoredDefinition| {
                stored.approved.as_ref().map(|approved| format!("\"{}\"", approved.pin))
            };
            let before = pin(&stored);
            let rules = Effective::of(spec, stages::tier_of(&self.set, spec)).rules(spec);
            if !stored.return_to(then.as_ref(), &rules) {
                continue;
            }
            let after = pin(&stored);
            self.ops.extend(catalog::write_definition(&stored, object.uid));
            self.answer.changes.push(ResourceChange {
                change: ChangeKind::Changed,
                kind: DEFINITION.to_owned(),
                name: format!("{server_name}/{}/{}", stored.kind.as_str(), stored.name),
                uid: Some(object.uid),
                fields: vec![diff::FieldChange { path: "approved.pin".to_owned(), before, after }],
            });
        }
        Ok(())
    }
}

fn read(body: &Value) -> Option<StoredDefinition> {
    serde::Deserialize::deserialize(body).ok()
}
