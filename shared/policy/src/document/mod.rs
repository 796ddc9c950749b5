//! Text to resources: YAML or JSON, several documents to a file, every problem with its file, line and field.
//!
//! The way: text to a tree with lines (`tree`), tree to typed resources (`read`, `resource`), with what this version
//! does not enforce named on the way (`known`).

mod known;
mod read;
mod resource;
mod tree;

use std::collections::HashMap;
use std::fmt;
use std::sync::Arc;

use serde_json::json;

use crate::resource::{API_VERSION, Kind, Name, Resource, Spec, Uid};
use tree::{Node, Tree};

pub use tree::{MAX_DOCUMENTS, MAX_FILE_BYTES};

/// More problems than these are counted, not named.
const MAX_PROBLEMS: usize = 1_000;

/// A file to read: its name is only for messages.
#[derive(Debug, Clone, Copy)]
pub struct SourceFile<'a> {
    /// The name, for messages.
    pub name: &'a str,
    /// What it holds.
    pub text: &'a str,
}

/// What is wrong at one place. Prints as `file:line: Kind/name: spec.x: message`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Problem {
    /// The file.
    pub file: String,
    /// The line, from 1; 0 when there is none to name.
    pub line: u32,
    /// `Kind/name`, as far as they could be read; may be empty.
    pub resource: String,
    /// The field, such as `spec.grants[0].bundle`; may be empty.
    pub field: String,
    /// A sentence that says what is wrong and what would be right.
    pub message: String,
}

impl fmt::Display for Problem {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if !self.file.is_empty() {
            write!(f, "{}", self.file)?;
            if self.line > 0 {
                write!(f, ":{}", self.line)?;
            }
            f.write_str(": ")?;
        }
        for part in [&self.resource, &self.field].into_iter().filter(|part| !part.is_empty()) {
            write!(f, "{part}: ")?;
        }
        f.write_str(&self.message)
    }
}

/// A resource with the place that it was read from.
#[derive(Debug, Clone)]
pub struct Located {
    /// The resource.
    pub resource: Resource,
    /// The file.
    pub file: Arc<str>,
    /// The line that the document begins on.
    pub line: u32,
    /// `metadata.uid`, where it is given: the document means the resource with this uid and no other.
    pub given_uid: Option<Uid>,
    /// `metadata.version`, where it is given: the document was made from this version of the resource.
    pub given_version: Option<u64>,
    /// The lines of its fields, by their paths.
    lines: HashMap<Box<str>, u32>,
}

impl Located {
    fn new((resource, given): (Resource, resource::Given), file: &Arc<str>, document: &Node) -> Self {
        let mut lines = HashMap::new();
        collect_lines(document, &read::Path::Root, &mut lines);
        let resource::Given { uid: given_uid, version: given_version } = given;
        Self { resource, file: Arc::clone(file), line: document.line, given_uid, given_version, lines }
    }

    /// The line of a field, or of the nearest thing around it that is written down.
    #[must_use]
    pub fn line_of(&self, field: &str) -> u32 {
        let mut field = field;
        loop {
            if let Some(line) = self.lines.get(field) {
                return *line;
            }
            match field.rfind(['.', '[']).and_then(|at| field.get(..at)) {
                Some(outer) => field = outer,
                None => return self.line,
            }
        }
    }

    /// A problem with a field of this resource, at the field's line or that of the nearest thing around it.
    #[must_use]
    pub fn problem(&self, field: &str, message: impl Into<String>) -> Problem {
        Problem {
            file: self.file.to_string(),
            line: self.line_of(field),
            resource: format!("{}/{}", self.resource.kind(), self.resource.name()),
            field: field.to_owned(),
            message: message.into(),
        }
    }
}

fn collect_lines(node: &Node, path: &read::Path<'_>, lines: &mut HashMap<Box<str>, u32>) {
    match &node.value {
        Tree::Map(members) => {
            for member in members {
                let path = read::Path::Key(path, &member.name);
                lines.insert(path.to_string().into(), member.line);
                collect_lines(&member.value, &path, lines);
            }
        }
        Tree::List(items) => {
            for (at, item) in items {
                let path = read::Path::Index(path, *at);
                lines.insert(path.to_string().into(), item.line);
                collect_lines(item, &path, lines);
            }
        }
        _ => {}
    }
}

/// The documents of one: itself, those of a list `{items: […]}` as `get` prints it, or none where nothing is written.
fn documents_of(mut document: Node) -> Result<Vec<Node>, resource::Fault> {
    if matches!(document.value, Tree::Null) {
        return Ok(Vec::new());
    }
    if document.get("kind").is_some() {
        return Ok(vec![document]);
    }
    let Some(items) = document.take("items") else { return Ok(vec![document]) };
    if let Tree::Map(members) = &document.value
        && let Some(other) = members.first()
    {
        let field = other.name.chars().take(80).collect();
        let message = "a list has items and nothing else".to_owned();
        return Err(resource::Fault { line: other.line, field, message });
    }
    match items.value.value {
        Tree::List(items) => Ok(items.into_iter().map(|(_, item)| item).collect()),
        _ => Err(resource::Fault {
            line: items.line,
            field: "items".to_owned(),
            message: "it must be a list of documents".to_owned(),
        }),
    }
}

fn at_fault(file: &SourceFile<'_>, resource: String, fault: resource::Fault) -> Problem {
    let resource::Fault { line, field, message } = fault;
    Problem { file: file.name.to_owned(), line, resource, field, message }
}

/// Reads every document of every file. A document may be a list `{items: […]}`, and may hold what `get` shows beside the
/// resource: `metadata.uid`, `metadata.version` and `status`.
///
/// # Errors
/// All problems of all documents, up to a bound; nothing is to be applied then.
pub fn parse(files: &[SourceFile<'_>]) -> Result<Vec<Located>, Vec<Problem>> {
    let mut found: Vec<Located> = Vec::new();
    let mut problems = Vec::new();
    let mut first: HashMap<(Kind, Name), usize> = HashMap::new();
    let mut documents = 0_usize;
    for file in files {
        let trees = match tree::read(file) {
            Ok(trees) => match trees.into_iter().map(documents_of).collect::<Result<Vec<_>, _>>() {
                Ok(trees) => trees.concat(),
                Err(fault) => {
                    problems.push(at_fault(file, String::new(), fault));
                    continue;
                }
            },
            Err(problem) => {
                problems.push(problem);
                continue;
            }
        };
        documents += trees.len();
        if documents > MAX_DOCUMENTS {
            let message = format!("these are more than {MAX_DOCUMENTS} documents: apply them in parts");
            let (resource, field) = (String::new(), String::new());
            problems.push(Problem { file: file.name.to_owned(), line: 0, resource, field, message });
            break;
        }
        let name: Arc<str> = file.name.into();
        for document in &trees {
            match resource::read_written(document) {
                Ok(read) => {
                    let located = Located::new(read, &name, document);
                    let key = (located.resource.kind(), located.resource.name().clone());
                    let other = first.get(&key).and_then(|at| found.get(*at));
                    if let Some(other) = other {
                        let place = format!("{}:{}", other.file, other.line_of("metadata.name"));
                        problems.push(located.problem(
                            "metadata.name",
                            format!("this resource is written twice; the other one is at {place}"),
                        ));
                    } else {
                        first.insert(key, found.len());
                        found.push(located);
                    }
                }
                Err(faults) => {
                    let label = resource::label(document);
                    problems.extend(faults.into_iter().map(|fault| at_fault(file, label.clone(), fault)));
                }
            }
        }
    }
    if problems.is_empty() {
        return Ok(found);
    }
    if problems.len() > MAX_PROBLEMS {
        let more = problems.len() - MAX_PROBLEMS;
        problems.truncate(MAX_PROBLEMS);
        if let Some(last) = problems.last_mut() {
            last.message.push_str(&format!("; and {more} more problems"));
        }
    }
    Err(problems)
}

impl Resource {
    /// Its kind.
    #[must_use]
    pub const fn kind(&self) -> Kind {
        self.spec.kind()
    }

    /// Its name.
    #[must_use]
    pub const fn name(&self) -> &Name {
        &self.metadata.name
    }

    /// As it is written: `apiVersion`, `kind`, `metadata`, `spec`.
    #[must_use]
    pub fn to_json(&self) -> serde_json::Value {
        let spec = match &self.spec {
            Spec::TrustZone(spec) => json!(spec),
            Spec::Customer(spec) => json!(spec),
            Spec::Team(spec) => json!(spec),
            Spec::RolloutPolicy(spec) => json!(spec),
            Spec::TierDefaults(spec) => json!(spec),
            Spec::McpServer(spec) => json!(spec),
            Spec::ToolBundle(spec) => json!(spec),
            Spec::VirtualKey(spec) => json!(spec),
            Spec::Role(spec) => json!(spec),
            Spec::RoleBinding(spec) => json!(spec),
            Spec::ApprovalRule(spec) => json!(spec),
            Spec::Client(spec) => json!(spec),
            Spec::AccessPolicy(spec) => json!(spec),
        };
        json!({
            "apiVersion": API_VERSION,
            "kind": self.kind().as_str(),
            "metadata": json!(self.metadata),
            "spec": spec,
        })
    }

    /// Reads what [`Resource::to_json`] made, by the same rules as a document.
    ///
    /// # Errors
    /// A sentence that names the fields and says what is wrong with each.
    pub fn from_json(value: &serde_json::Value) -> Result<Self, String> {
        resource::read(&Node::from_json(value)).map_err(|faults| {
            let say = |fault: resource::Fault| match fault.field.as_str() {
                "" => fault.message,
                field => format!("{field}: {}", fault.message),
            };
            faults.into_iter().map(say).collect::<Vec<_>>().join("; ")
        })
    }
}

#[cfg(test)]
mod tests;
