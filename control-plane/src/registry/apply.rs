//! Applying documents: parsed, judged as a set, turned into operations; nothing is stored unless all of it can be.

use std::collections::BTreeMap;
use std::sync::Arc;

use portcullis_policy::check::{self, Finding, ResourceSet};
use portcullis_policy::compile::CompileError;
use portcullis_policy::document::{self, Located, Problem, SourceFile};
use portcullis_policy::resource::{Kind, Name, Right, Spec, Uid};

use super::proposals::{self, Proposed};
use super::references::{label, secrets};
use super::stages;
use super::{
    Applied, ChangeKind, MAX_RESOURCES_PER_KIND, Registry, RegistryError, ResourceChange, diff, effect,
    given, rewrites,
};
use crate::catalog;
use crate::governance::{Actor, Rulebook, Touched, authorise, with_authors};
use crate::objects::{KeyMaterial, NewKey, Parsed};
use crate::publish::{Decision, TransactError};
use crate::store::{Op, State};

/// What to apply.
#[derive(Debug, Clone)]
pub struct ApplyInput {
    /// Name and text of each file.
    pub files: Vec<(String, String)>,
    /// Judge and tell, change nothing.
    pub dry_run: bool,
    /// Why, for the history.
    pub message: String,
    /// Who.
    pub by: Actor,
    /// In a dry run: tell by name all that gains and loses, as far as an answer holds it.
    pub full: bool,
    /// There must be one document: a new `VirtualKey` of this name.
    pub only_new_key: Option<Name>,
}

impl ApplyInput {
    /// Files of an author, to be applied.
    #[must_use]
    pub fn new(files: Vec<(String, String)>, by: Actor) -> Self {
        Self { files, dry_run: false, message: String::new(), by, full: false, only_new_key: None }
    }
}

/// What a decision to apply answers.
struct Answer {
    changes: Vec<ResourceChange>,
    keys: Vec<NewKey>,
    warnings: Vec<Problem>,
    proposed: Option<Proposed>,
}

pub(super) async fn apply(registry: &Registry, input: ApplyInput) -> Result<Applied, RegistryError> {
    let message = Registry::message(&input.message)?.to_owned();
    let documents = parse(input.files, input.only_new_key.clone()).await?;
    let known_secrets: Vec<Name> = registry.vault.secrets().into_iter().map(|secret| secret.name).collect();
    let judged = Arc::clone(&documents);
    let clock = registry.clock.clone();
    let (dry_run, only_new) = (input.dry_run, input.only_new_key.is_some());
    let (by, author) = (input.by.clone(), input.by.author().to_owned());
    let said = message.clone();
    let decide = move |state: &State, parsed: &mut Parsed| {
        if only_new
            && let Some(key) = judged.iter().map(|document| &document.resource).find(|key| exists(state, key))
        {
            return Err(RegistryError::Exists(label(key.kind(), key.name())));
        }
        let now = clock.now_unix_ms();
        let mut decision = decide(state, parsed, &judged, &known_secrets, now, dry_run)?;
        // A dry run is a question: nobody needs the right to do what they ask about.
        if !dry_run {
            let write = if only_new { Right::KeysWrite } else { Right::ResourcesWrite };
            authorise(state, &by, write, &touched(state, &decision.ops), now)?;
        }
        let touched = touched(state, &decision.ops);
        let mut needed = proposals::needs(state, &Rulebook::of(state), &touched);
        if let (Some(needed), false) = (&mut needed, dry_run) {
            decision.ops = proposals::keep(state, &touched, needed, by.author(), &said, now)?;
        } else {
            let beside = with_authors(state, &decision.ops, by.author());
            decision.ops.extend(beside);
        }
        decision.answer.proposed = needed;
        Ok(decision)
    };
    let refused = |error| match error {
        TransactError::Compile(errors) => RegistryError::Invalid(compile_problems(errors, &documents)),
        error => error.into(),
    };
    let (version, answer, effect) = if dry_run {
        let rehearsed = registry.publisher.rehearse(decide).await.map_err(refused)?;
        effect::told(rehearsed, &registry.clock, input.full).await?
    } else {
        let (version, answer) =
            registry.publisher.transact(&author, &message, decide).await.map_err(refused)?;
        (version, answer, None)
    };
    let Answer { changes, keys, warnings, proposed } = answer;
    Ok(Applied { version, changes, keys, warnings, effect, proposed })
}

/// The resources that operations change.
pub(super) fn touched<'a>(state: &'a State, ops: &'a [Op]) -> Vec<Touched<'a>> {
    let of = |op: &'a Op| {
        let (kind, name) = op.key();
        let kind = Kind::ALL.iter().copied().find(|known| known.as_str() == &**kind)?;
        let after = match op {
            Op::Put { body, .. } => Some(body),
            Op::Delete { .. } => None,
        };
        let before = state.get(kind.as_str(), name).map(|object| &object.body);
        Some(Touched { kind, name, before, after })
    };
    ops.iter().filter_map(of).collect()
}

/// Reads the documents, on a thread that may take its time: there may be many megabytes of them.
pub(super) async fn parse(
    files: Vec<(String, String)>,
    only_new_key: Option<Name>,
) -> Result<Arc<[Located]>, RegistryError> {
    let read = tokio::task::spawn_blocking(move || {
        let sources: Vec<SourceFile<'_>> =
            files.iter().map(|(name, text)| SourceFile { name, text }).collect();
        let documents = document::parse(&sources).map_err(RegistryError::Invalid)?;
        if documents.is_empty() {
            return Err(no_documents(&files));
        }
        if let Some(name) = &only_new_key {
            one_key(&documents, name, &files)?;
        }
        Ok(documents.into())
    });
    read.await.map_err(|error| RegistryError::Internal(error.to_string()))?
}

/// Whoever applies means something by it: an empty file is more likely a mistake than a wish for nothing.
fn no_documents(files: &[(String, String)]) -> RegistryError {
    let problem = |name: &str| Problem {
        file: String::new(),
        line: 0,
        resource: String::new(),
        field: String::new(),
        message: format!("no documents in {name}"),
    };
    if files.is_empty() {
        return RegistryError::invalid("", "no files were given");
    }
    RegistryError::Invalid(files.iter().map(|(name, _)| problem(name)).collect())
}

fn exists(state: &State, resource: &portcullis_policy::resource::Resource) -> bool {
    state.get(resource.kind().as_str(), resource.name().as_str()).is_some()
}

/// The file of `key create` holds the one key that was named.
fn one_key(documents: &[Located], name: &Name, files: &[(String, String)]) -> Result<(), RegistryError> {
    let problem = match documents {
        [only] if only.resource.kind() != Kind::VirtualKey => {
            only.problem("kind", "key create takes one VirtualKey and nothing else")
        }
        [only] if only.resource.name() != name => {
            only.problem("metadata.name", format!("the key to create is named {name}"))
        }
        [_] => return Ok(()),
        [_, second, ..] => second.problem("", "key create takes one VirtualKey and nothing else"),
        [] => return Err(no_documents(files)),
    };
    Err(RegistryError::Invalid(vec![problem]))
}

fn decide(
    state: &State,
    parsed: &mut Parsed,
    documents: &[Located],
    known_secrets: &[Name],
    now_unix_ms: u64,
    dry_run: bool,
) -> Result<Decision<Answer>, RegistryError> {
    let others: Vec<Problem> =
        documents.iter().flat_map(|document| given::problems(state, document)).collect();
    if !others.is_empty() {
        return Err(RegistryError::Invalid(others));
    }
    // The set after the apply. The store's own part is put back whatever happens: it is kept for the next judgement.
    let set = parsed.of(state)?;
    let before: Vec<_> = documents.iter().map(|document| set.insert(document.resource.clone())).collect();
    let found = check::check(set);
    let stages = stages::first_stages(set);
    let mut warned = if found.is_empty() {
        warnings(state, set, documents, known_secrets, now_unix_ms)
    } else {
        Vec::new()
    };
    for (document, before) in documents.iter().zip(before) {
        match before {
            Some(resource) => drop(set.insert(resource)),
            None => drop(set.remove(document.resource.kind(), document.resource.name())),
        }
    }
    if !found.is_empty() {
        return Err(RegistryError::Invalid(located(found, documents)));
    }
    let mut steps = Steps { state, dry_run, ops: Vec::new(), keys: Vec::new(), new: BTreeMap::new() };
    let mut changes = Vec::with_capacity(documents.len());
    for document in documents {
        changes.push(steps.step(document)?);
    }
    let Steps { mut ops, keys, .. } = steps;
    let moved = stages::moved(state, &stages, &ops, now_unix_ms);
    ops.extend(moved.ops()?);
    for (server, stage) in &moved.begun {
        // Its own document says so, or that of its tier.
        let own = place(documents, Kind::McpServer, server);
        let of_tier = || documents.iter().find(|one| one.resource.kind() == Kind::TierDefaults);
        if let Some(document) = own.or_else(of_tier) {
            let message = format!(
                "McpServer/{server} begins at the stage {stage}: who is not let in there loses it until it is promoted"
            );
            warned.push(document.problem("spec.rollout", message));
        }
    }
    Ok(Decision { ops, answer: Answer { changes, keys, warnings: warned, proposed: None }, dry_run })
}

/// The operations of documents that a proposal holds, judged as those of an apply.
pub(super) fn judge(
    state: &State,
    parsed: &mut Parsed,
    documents: &[Located],
    now_unix_ms: u64,
) -> Result<Vec<Op>, RegistryError> {
    // Secrets that are not set are only warned about.
    Ok(decide(state, parsed, documents, &[], now_unix_ms, false)?.ops)
}

/// Documents become operations.
struct Steps<'a> {
    state: &'a State,
    dry_run: bool,
    ops: Vec<Op>,
    keys: Vec<NewKey>,
    new: BTreeMap<Kind, usize>,
}

impl Steps<'_> {
    fn step(&mut self, document: &Located) -> Result<ResourceChange, RegistryError> {
        let resource = &document.resource;
        let (kind, name) = (resource.kind(), resource.name());
        let after = resource.to_json();
        let present = self.state.get(kind.as_str(), name.as_str());
        let (change, uid, fields) = match present {
            Some(object) if object.body == after => (ChangeKind::Unchanged, object.uid, Vec::new()),
            Some(object) => {
                (ChangeKind::Changed, object.uid, diff::documents(Some(&object.body), Some(&after)))
            }
            None if given::is_built_in(document) => {
                (ChangeKind::Unchanged, Uid(uuid::Uuid::nil()), Vec::new())
            }
            None => {
                self.has_place(document)?;
                (ChangeKind::Created, Uid(uuid::Uuid::new_v4()), diff::documents(None, Some(&after)))
            }
        };
        if change != ChangeKind::Unchanged {
            let (kind, name) = (kind.as_str().into(), name.as_str().into());
            self.ops.push(Op::Put { kind, name, uid, body: after });
            self.ops.extend(rewrites::op(self.state, uid, &resource.spec));
        }
        if change == ChangeKind::Created && kind == Kind::VirtualKey {
            let (key, hash) = NewKey::generate(name, uid)?;
            let put = KeyMaterial::new(name.clone(), hash).put(uid);
            self.ops.push(put.map_err(|error| RegistryError::Internal(error.to_string()))?);
            if !self.dry_run {
                self.keys.push(key);
            }
        }
        // What a dry run would create has no uid: it is made when it comes into being.
        let uid = (!self.dry_run || change != ChangeKind::Created).then_some(uid);
        let (kind, name) = (kind.as_str().to_owned(), name.as_str().to_owned());
        Ok(ResourceChange { change, kind, name, uid, fields })
    }

    fn has_place(&mut self, document: &Located) -> Result<(), RegistryError> {
        let kind = document.resource.kind();
        let new = self.new.entry(kind).or_default();
        *new += 1;
        if self.state.count(kind.as_str()).saturating_add(*new) <= MAX_RESOURCES_PER_KIND {
            return Ok(());
        }
        let message = format!("there are {MAX_RESOURCES_PER_KIND} of this kind, which is the most");
        Err(RegistryError::Invalid(vec![document.problem("kind", message)]))
    }
}

/// Findings with file and line where a document of this apply is meant; others are named alone.
fn located(findings: Vec<Finding>, documents: &[Located]) -> Vec<Problem> {
    findings
        .into_iter()
        .map(|finding| match place(documents, finding.kind, &finding.name) {
            Some(document) => document.problem(&finding.field, finding.message),
            None => Problem {
                file: String::new(),
                line: 0,
                resource: label(finding.kind, &finding.name),
                field: finding.field,
                message: finding.message,
            },
        })
        .collect()
}

fn place<'a>(documents: &'a [Located], kind: Kind, name: &Name) -> Option<&'a Located> {
    documents.iter().find(|document| document.resource.kind() == kind && document.resource.name() == name)
}

/// What is worth a second look in the documents of this apply.
fn warnings(
    state: &State,
    set: &ResourceSet,
    documents: &[Located],
    known_secrets: &[Name],
    now_unix_ms: u64,
) -> Vec<Problem> {
    let known_tools = |server: &Name| {
        let object = state.get(Kind::McpServer.as_str(), server.as_str())?;
        catalog::known_tools(state, &object.uid)
    };
    let mut found: Vec<Problem> = check::warnings(set, &known_tools)
        .into_iter()
        .filter_map(|finding| {
            let document = place(documents, finding.kind, &finding.name)?;
            Some(document.problem(&finding.field, finding.message))
        })
        .collect();
    for document in documents {
        if let Spec::ToolBundle(bundle) = &document.resource.spec {
            let uid = state.get(Kind::ToolBundle.as_str(), document.resource.name().as_str()).map(|o| o.uid);
            let standing = rewrites::standing(state, uid.as_ref(), bundle).into_iter();
            found.extend(standing.filter_map(|one| Some(document.problem(&one.field, one.warning?))));
        }
        if let Spec::VirtualKey(key) = &document.resource.spec
            && let Some(end) = key.expires_at
            && u64::try_from(end.timestamp_millis()).unwrap_or(0) <= now_unix_ms
        {
            let message = "this is in the past: the key opens nothing";
            found.push(document.problem("spec.expiresAt", message));
        }
        for (field, name) in
            secrets(&document.resource).into_iter().filter(|(_, name)| !known_secrets.contains(name))
        {
            let message = format!(
                "secret {name} is not set: calls fail with upstream_unavailable until `portcullis secret set {name}`"
            );
            found.push(document.problem(field, message));
        }
    }
    found
}

/// What the compiler refuses, with the place of the document that it names where there is one.
fn compile_problems(errors: Vec<CompileError>, documents: &[Located]) -> Vec<Problem> {
    errors
        .into_iter()
        .map(|error| {
            let message = error.to_string();
            let (label, field) = match &error {
                CompileError::Dangling { from, field, .. } => (from.clone(), field.clone()),
                CompileError::Duplicate { second, .. } => (second.clone(), String::new()),
                CompileError::Invalid { entry, .. } => (entry.clone(), String::new()),
                CompileError::More(_) => (String::new(), String::new()),
            };
            let named = |document: &&Located| {
                self::label(document.resource.kind(), document.resource.name()) == label
            };
            match documents.iter().find(named) {
                Some(document) => document.problem(&field, message),
                None => Problem { file: String::new(), line: 0, resource: label, field, message },
            }
        })
        .collect()
}
