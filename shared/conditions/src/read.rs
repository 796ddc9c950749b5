//! From a policy's text to its statements; or to everything that is wrong with it, each with its place.
//!
//! Policies narrow what grants gave, so that `forbid` is all there is. What could never apply, or could not be evaluated for
//! the reasons that validation knows, is refused here rather than found out by a caller.

use std::collections::HashMap;
use std::str::FromStr as _;
use std::sync::Arc;

use cedar_policy::pst::{self, Clause};
use cedar_policy::{
    Effect, EntityUid, PolicyId, PolicySet, Schema, SchemaFragment, ValidationMode, ValidationWarning,
    Validator,
};
use miette::Diagnostic;

use crate::problem::Problem;
use crate::reads::{self, Reads};
use crate::shape::Shape;
use crate::source::Source;
use crate::vocabulary::Vocabulary;

/// How long the text of one policy may be, in bytes.
pub(crate) const MAX_TEXT: usize = 64 * 1024;

/// How many statements one policy may have.
pub(crate) const MAX_STATEMENTS: usize = 64;

/// How many problems of one policy are told.
const MAX_PROBLEMS: usize = 20;

/// The annotations that a statement may carry: words for people.
const ANNOTATIONS: [&str; 2] = ["id", "description"];

/// One `forbid`.
#[derive(Debug)]
pub(crate) struct Statement {
    /// The number of its policy, in the order of names.
    pub(crate) policy: usize,
    /// Cedar's own form, under the statement's number.
    pub(crate) cedar: cedar_policy::Policy,
    pub(crate) clauses: Vec<Clause>,
    pub(crate) reads: Reads,
    /// The entities that it names.
    pub(crate) mentions: Vec<EntityUid>,
}

/// Validators by the shape of arguments that they know: most policies read none.
pub(crate) struct Validators<'a> {
    vocabulary: &'a Vocabulary,
    by_shape: HashMap<String, Arc<Validator>>,
}

/// How many validators are kept while policies are read.
const MAX_VALIDATORS: usize = 256;

impl<'a> Validators<'a> {
    pub(crate) fn new(vocabulary: &'a Vocabulary) -> Self {
        Self { vocabulary, by_shape: HashMap::new() }
    }

    fn of(&mut self, shape: &Shape) -> Result<Arc<Validator>, String> {
        let arguments = shape.schema();
        let key = arguments.to_string();
        if let Some(known) = self.by_shape.get(&key) {
            return Ok(Arc::clone(known));
        }
        let fragment = serde_json::json!({
            "": { "commonTypes": { "Arguments": arguments }, "entityTypes": {}, "actions": {} }
        });
        let fragment = SchemaFragment::from_json_value(fragment).map_err(|error| error.to_string())?;
        let fragments = [self.vocabulary.schema.clone(), fragment];
        let schema = Schema::from_schema_fragments(fragments).map_err(|error| error.to_string())?;
        let validator = Arc::new(Validator::new(schema));
        if self.by_shape.len() >= MAX_VALIDATORS {
            self.by_shape.clear();
        }
        self.by_shape.insert(key, Arc::clone(&validator));
        Ok(validator)
    }
}

/// Reads the text of one policy.
///
/// # Errors
/// What is wrong with it.
pub(crate) fn policy(
    number: usize,
    source: Source<'_>,
    validators: &mut Validators<'_>,
) -> Result<Vec<Statement>, Vec<Problem>> {
    if source.text.len() > MAX_TEXT {
        let message = format!("the text has {} bytes; {MAX_TEXT} are allowed", source.text.len());
        return Err(vec![source.problem(0, message)]);
    }
    source.simple().map_err(|problem| vec![problem])?;
    let set = PolicySet::from_str(source.text).map_err(|errors| {
        errors.iter().take(MAX_PROBLEMS).map(|error| diagnosed(source, 0, error)).collect::<Vec<_>>()
    })?;
    if let Some(template) = set.templates().next() {
        let slot = template.slots().next().map_or_else(String::new, |slot| format!(" with {slot}"));
        let message = format!("a template{slot} cannot be filled in: name the entity itself");
        return Err(vec![source.problem(source.statement(order(template.id())), message)]);
    }
    let mut policies: Vec<&cedar_policy::Policy> = set.policies().collect();
    policies.sort_by_key(|policy| order(policy.id()));
    if policies.is_empty() {
        return Err(vec![
            source.problem(0, "there is no statement: write forbid(principal, action, resource) …;"),
        ]);
    }
    if policies.len() > MAX_STATEMENTS {
        let message = format!("{} statements; {MAX_STATEMENTS} are allowed in one policy", policies.len());
        return Err(vec![source.problem(source.statement(MAX_STATEMENTS), message)]);
    }
    let mut statements = Vec::with_capacity(policies.len());
    let mut problems = Vec::new();
    for policy in policies {
        match statement(number, source, policy, validators) {
            Ok(statement) => statements.push(statement),
            Err(found) => problems.extend(found),
        }
    }
    problems.truncate(MAX_PROBLEMS);
    if problems.is_empty() { Ok(statements) } else { Err(problems) }
}

fn statement(
    number: usize,
    source: Source<'_>,
    policy: &cedar_policy::Policy,
    validators: &mut Validators<'_>,
) -> Result<Statement, Vec<Problem>> {
    let order = order(policy.id());
    let start = source.statement(order);
    let one = |offset: usize, message: String| vec![source.problem(offset, message)];
    if policy.effect() == Effect::Permit {
        let message = "permit is not for a policy: grants of keys permit. Write what is not allowed: forbid(…) unless { … }";
        return Err(one(start, message.to_owned()));
    }
    if let Some((name, _)) = policy.annotations().find(|(name, _)| !ANNOTATIONS.contains(name)) {
        let message = format!(
            "the annotation @{name} means nothing here: @id and @description are for people, the mode stands beside the text"
        );
        return Err(one(source.annotation(name), message));
    }
    let clauses = match policy.to_pst() {
        Ok(pst::Policy::Static(policy)) => policy.body().clauses().clone(),
        Ok(pst::Policy::Linked(_)) => return Err(one(start, "a linked template is no statement".to_owned())),
        Err(error) => return Err(one(start, error.to_string())),
    };
    let (reads, misread) = reads::of_clauses(&clauses);
    if !misread.is_empty() {
        let problem =
            |misread: reads::Misread| source.problem(source.word(order, misread.of), misread.message);
        return Err(misread.into_iter().map(problem).collect());
    }
    let validator = validators.of(&reads.shape).map_err(|error| one(start, error))?;
    validate(source, start, policy, &validator)?;
    let mentions = policy.entity_literals();
    Ok(Statement { policy: number, cedar: policy.clone(), clauses, reads, mentions })
}

fn validate(
    source: Source<'_>,
    start: usize,
    policy: &cedar_policy::Policy,
    validator: &Validator,
) -> Result<(), Vec<Problem>> {
    let set = PolicySet::from_policies([policy.clone()])
        .map_err(|error| vec![source.problem(start, error.to_string())])?;
    let result = validator.validate(&set, ValidationMode::Strict);
    let errors = result.validation_errors().map(|error| diagnosed(source, start, error));
    let warnings = result.validation_warnings().filter_map(|warning| {
        let message = match warning {
            ValidationWarning::ImpossiblePolicy(_) | ValidationWarning::InvalidActionApplication(_) => {
                "this can never apply to any request: what it asks for cannot hold, so that it would forbid nothing"
            }
            ValidationWarning::BidiCharsInString(_) | ValidationWarning::BidiCharsInIdentifier(_) => {
                "there are characters that turn the direction of writing, so that the text reads otherwise than it is meant: remove them"
            }
            _ => return None,
        };
        Some(source.problem(start, message))
    });
    let mut problems: Vec<Problem> = errors.collect();
    if problems.is_empty() {
        problems.extend(warnings);
    }
    // One mistake is told once, not for each action that it is one for.
    problems.sort_by(|one, other| {
        (one.line, one.column, &one.message).cmp(&(other.line, other.column, &other.message))
    });
    problems.dedup_by_key(|problem| (problem.line, problem.column));
    if problems.is_empty() { Ok(()) } else { Err(problems) }
}

/// Cedar counts the statements of a text: `policy0`, `policy1`, …
fn order(id: &PolicyId) -> usize {
    let id: &str = id.as_ref();
    id.strip_prefix("policy").and_then(|number| number.parse().ok()).unwrap_or(0)
}

/// What Cedar says of a text, at the place that it names.
fn diagnosed(source: Source<'_>, start: usize, error: &(impl Diagnostic + ?Sized)) -> Problem {
    let at = error.labels().and_then(|mut labels| labels.next());
    let offset = at.as_ref().map_or(start, miette::LabeledSpan::offset);
    let mut message = error.to_string();
    // Cedar's own number of the statement tells an author nothing.
    if let Some(rest) = message.strip_prefix("for policy `")
        && let Some((_, rest)) = rest.split_once("`, ")
    {
        message = rest.to_owned();
    }
    if let Some(label) = at.as_ref().and_then(|at| at.label())
        && !label.is_empty()
    {
        message = format!("{message} ({label})");
    }
    let of_some_actions = |name: &str| message.starts_with(&format!("attribute `{name}` in context for"));
    if of_some_actions("arguments") || of_some_actions("annotations") {
        message.push_str(
            ": what the context holds depends on the action, so name it, as in action == Action::\"call\"",
        );
    } else if let Some(help) = error.help() {
        message = format!("{message}: {help}");
    }
    source.problem(offset, message)
}
