//! Every string of a definition that a model may read, with its place: poison does not only stand in descriptions.

use super::tree::{Tree, step};

/// What a string is there for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Role {
    /// The definition's own name, or the name of a parameter, argument or other member that its author chose.
    Name,
    /// A title or description, or a server's instructions: prose.
    Prose,
    /// A default, a constant, or one of a choice.
    Value,
    /// An example or a pattern.
    Sample,
    /// A link or an image.
    Link,
    /// Anything else.
    Other,
}

/// One string.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Text<'a> {
    pub(super) path: String,
    pub(super) role: Role,
    pub(super) text: &'a str,
}

/// The members that specifications name: their names say nothing of an author's intent.
const KNOWN: &[&str] = &[
    "name",
    "title",
    "description",
    "inputSchema",
    "outputSchema",
    "annotations",
    "icons",
    "_meta",
    "type",
    "properties",
    "required",
    "items",
    "enum",
    "const",
    "default",
    "examples",
    "pattern",
    "format",
    "additionalProperties",
    "anyOf",
    "oneOf",
    "allOf",
    "not",
    "$ref",
    "$defs",
    "$schema",
    "$id",
    "definitions",
    "arguments",
    "instructions",
    "serverInfo",
    "version",
    "src",
    "mimeType",
    "sizes",
    "readOnlyHint",
    "destructiveHint",
    "idempotentHint",
    "openWorldHint",
    "minimum",
    "maximum",
    "minLength",
    "maxLength",
    "minItems",
    "maxItems",
    "uniqueItems",
    "websiteUrl",
    "execution",
    "taskSupport",
    "theme",
];

/// All strings, names of members among them, in the order of the text.
pub(super) fn texts(tree: &Tree) -> Vec<Text<'_>> {
    let mut out = Vec::new();
    walk(tree, "", Role::Other, &mut out);
    out
}

fn walk<'a>(tree: &'a Tree, path: &str, role: Role, out: &mut Vec<Text<'a>>) {
    match tree {
        Tree::Literal(_) => {}
        Tree::Text(text) => out.push(Text { path: path.to_owned(), role, text }),
        Tree::Array(items) => {
            for (at, item) in items.iter().enumerate() {
                walk(item, &step(path, &at.to_string()), role, out);
            }
        }
        Tree::Object(members) => {
            // What stands in `properties` is named by the author, whatever it is called.
            let chosen = ["properties", "$defs", "definitions", "patternProperties"]
                .iter()
                .any(|group| path.strip_suffix(group).is_some_and(|before| before.ends_with('/')));
            for (name, value) in members {
                let below = step(path, name);
                if chosen || !KNOWN.contains(&name.as_str()) {
                    out.push(Text { path: below.clone(), role: Role::Name, text: name });
                }
                // In a default all is a value; elsewhere a member says what it is.
                let inherited = matches!(role, Role::Value | Role::Sample).then_some(role);
                let of_member =
                    if chosen { Role::Other } else { inherited.unwrap_or_else(|| of(path, name)) };
                walk(value, &below, of_member, out);
            }
        }
    }
}

fn of(path: &str, member: &str) -> Role {
    match member {
        "name" if path.is_empty() || path.starts_with("/arguments/") => Role::Name,
        "description" | "title" | "instructions" | "$comment" | "summary" => Role::Prose,
        "default" | "const" | "enum" => Role::Value,
        "examples" | "example" | "pattern" => Role::Sample,
        "src" | "websiteUrl" | "$schema" | "$id" | "$ref" => Role::Link,
        _ => Role::Other,
    }
}
