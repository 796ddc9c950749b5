//! A document as a tree of values that remember their lines. YAML is read into it within bounds. JSON is YAML here, but a
//! file whose name ends in `.json` must be one JSON value first; several documents are a list `{"items": […]}` there.

use std::fmt;

use serde::de::{Deserialize, Deserializer, IgnoredAny, MapAccess, SeqAccess, Visitor};
use serde_json::Number;
use serde_saphyr::Spanned;
use serde_saphyr::options::DuplicateKeyPolicy;

use super::{Problem, SourceFile};

/// The largest file, in bytes.
pub const MAX_FILE_BYTES: usize = 8 << 20;
/// How many documents one call may read.
pub const MAX_DOCUMENTS: usize = 10_000;
/// How deep a document may be nested.
const MAX_DEPTH: usize = 64;
/// How many values a file may hold.
const MAX_NODES: usize = 2_000_000;

/// A value and the line that it begins on; 0 when it comes from no file.
#[derive(Debug, Clone)]
pub(super) struct Node {
    pub(super) line: u32,
    pub(super) value: Tree,
}

/// A value.
#[derive(Debug, Clone)]
pub(super) enum Tree {
    Null,
    Bool(bool),
    Number(Number),
    Text(String),
    /// Each item with its place, which it keeps when the order changes.
    List(Vec<(usize, Node)>),
    Map(Vec<Member>),
}

/// A member of a mapping.
#[derive(Debug, Clone)]
pub(super) struct Member {
    pub(super) name: String,
    pub(super) line: u32,
    pub(super) value: Node,
}

impl Node {
    /// A member of a mapping.
    pub(super) fn get(&self, name: &str) -> Option<&Member> {
        match &self.value {
            Tree::Map(members) => members.iter().find(|member| member.name == name),
            _ => None,
        }
    }

    /// Takes a member out of a mapping.
    pub(super) fn take(&mut self, name: &str) -> Option<Member> {
        let Tree::Map(members) = &mut self.value else { return None };
        let at = members.iter().position(|member| member.name == name)?;
        Some(members.remove(at))
    }

    pub(super) fn text(&self) -> Option<&str> {
        match &self.value {
            Tree::Text(text) => Some(text),
            _ => None,
        }
    }

    /// A tree without lines.
    pub(super) fn from_json(value: &serde_json::Value) -> Self {
        use serde_json::Value;
        let value = match value {
            Value::Null => Tree::Null,
            Value::Bool(value) => Tree::Bool(*value),
            Value::Number(number) => Tree::Number(number.clone()),
            Value::String(text) => Tree::Text(text.clone()),
            Value::Array(items) => Tree::List(items.iter().map(Self::from_json).enumerate().collect()),
            Value::Object(members) => Tree::Map(
                members
                    .iter()
                    .map(|(name, value)| Member {
                        name: name.clone(),
                        line: 0,
                        value: Self::from_json(value),
                    })
                    .collect(),
            ),
        };
        Self { line: 0, value }
    }
}

/// Reads all documents of a file.
pub(super) fn read(file: &SourceFile<'_>) -> Result<Vec<Node>, Problem> {
    let problem = |line: u32, message: String| Problem {
        file: file.name.to_owned(),
        line,
        resource: String::new(),
        field: String::new(),
        message,
    };
    if file.text.len() > MAX_FILE_BYTES {
        let limit = MAX_FILE_BYTES >> 20;
        return Err(problem(0, format!("the file is larger than {limit} MiB: divide it")));
    }
    if file.name.ends_with(".json") {
        // JSON is read as the YAML that it is, which allows more than JSON does.
        serde_json::from_str::<IgnoredAny>(file.text).map_err(|error| {
            let line = u32::try_from(error.line()).unwrap_or(u32::MAX);
            let message = error.to_string();
            let message = message.rfind(" at line ").and_then(|at| message.get(..at)).unwrap_or(&message);
            problem(line, format!("not readable as JSON: {message}"))
        })?;
    }
    serde_saphyr::from_multiple_with_options(file.text, options()).map_err(|error| {
        let line = error.location().map_or(0, line_of);
        problem(line, format!("not readable as YAML or JSON: {}", in_our_words(&error)))
    })
}

/// The message without its own words for the place, which the problem names, and for the library's options.
fn in_our_words(error: &serde_saphyr::Error) -> String {
    if let serde_saphyr::Error::DuplicateMappingKey { key, .. } = error.without_snippet() {
        let key = key.as_deref().unwrap_or_default();
        return format!("the member {key:?} stands twice in one mapping");
    }
    let message = error.without_snippet().to_string();
    let first = message.lines().next().unwrap_or_default();
    first.rfind(" at line ").and_then(|at| first.get(..at)).unwrap_or(first).to_owned()
}

fn options() -> serde_saphyr::Options {
    serde_saphyr::options! {
        budget: serde_saphyr::budget! {
            max_documents: MAX_DOCUMENTS,
            max_depth: MAX_DEPTH,
            flow_nesting_limit: MAX_DEPTH,
            max_nodes: MAX_NODES,
            max_events: MAX_NODES * 2,
            max_anchors: 1_000,
            max_aliases: 10_000,
            max_merge_keys: 1_000,
            max_recorded_anchor_events: 100_000,
        },
        duplicate_keys: DuplicateKeyPolicy::Error,
        alias_limits: serde_saphyr::alias_limits! {
            max_total_replayed_events: 100_000,
            max_replay_stack_depth: 8,
        },
        strict_booleans: true,
        reject_unsupported_tags: true,
        emit_comments: false,
        with_snippet: false,
    }
}

fn line_of(location: serde_saphyr::Location) -> u32 {
    u32::try_from(location.line()).unwrap_or(u32::MAX)
}

impl<'de> Deserialize<'de> for Node {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let spanned = Spanned::<Tree>::deserialize(deserializer)?;
        Ok(Self { line: line_of(spanned.referenced), value: spanned.value })
    }
}

impl<'de> Deserialize<'de> for Tree {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_any(TreeVisitor)
    }
}

struct TreeVisitor;

impl<'de> Visitor<'de> for TreeVisitor {
    type Value = Tree;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a value")
    }

    fn visit_unit<E>(self) -> Result<Tree, E> {
        Ok(Tree::Null)
    }

    fn visit_none<E>(self) -> Result<Tree, E> {
        Ok(Tree::Null)
    }

    fn visit_some<D: Deserializer<'de>>(self, deserializer: D) -> Result<Tree, D::Error> {
        Tree::deserialize(deserializer)
    }

    fn visit_bool<E>(self, value: bool) -> Result<Tree, E> {
        Ok(Tree::Bool(value))
    }

    fn visit_i64<E>(self, value: i64) -> Result<Tree, E> {
        Ok(Tree::Number(value.into()))
    }

    fn visit_u64<E>(self, value: u64) -> Result<Tree, E> {
        Ok(Tree::Number(value.into()))
    }

    fn visit_f64<E: serde::de::Error>(self, value: f64) -> Result<Tree, E> {
        Number::from_f64(value).map(Tree::Number).ok_or_else(|| E::custom("not a finite number"))
    }

    fn visit_str<E>(self, text: &str) -> Result<Tree, E> {
        Ok(Tree::Text(text.to_owned()))
    }

    fn visit_string<E>(self, text: String) -> Result<Tree, E> {
        Ok(Tree::Text(text))
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut items: A) -> Result<Tree, A::Error> {
        let mut list = Vec::new();
        while let Some(item) = items.next_element()? {
            list.push((list.len(), item));
        }
        Ok(Tree::List(list))
    }

    fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Tree, A::Error> {
        let mut members = Vec::new();
        while let Some((name, value)) = map.next_entry::<Spanned<String>, Node>()? {
            members.push(Member { name: name.value, line: line_of(name.referenced), value });
        }
        Ok(Tree::Map(members))
    }
}
