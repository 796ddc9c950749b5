//! The fields that differ between two documents, a path each: what `plan`, `apply` and `history` show.

use serde_json::Value;

/// One difference.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct FieldChange {
    /// The path, as in messages: `spec.grants[0].allow`.
    pub path: String,
    /// The value before, as JSON; none when there was none.
    pub before: Option<String>,
    /// The value after, as JSON; none when there is none.
    pub after: Option<String>,
}

/// What differs between two resource documents. Of one that comes or goes: what its `metadata` and `spec` hold.
#[must_use]
pub fn documents(before: Option<&Value>, after: Option<&Value>) -> Vec<FieldChange> {
    let mut changes = Vec::new();
    for part in ["metadata", "spec"] {
        let member = |document: Option<&Value>| document.and_then(|value| value.get(part)).cloned();
        let empty = || Value::Object(serde_json::Map::new());
        let (before, after) = (member(before).unwrap_or_else(empty), member(after).unwrap_or_else(empty));
        walk(part, Some(&before), Some(&after), &mut changes);
    }
    // The name is what the change is about; it never differs.
    changes.retain(|change| change.path != "metadata.name");
    changes
}

/// What differs between two values under a path.
#[must_use]
pub fn values(path: &str, before: Option<&Value>, after: Option<&Value>) -> Vec<FieldChange> {
    let mut changes = Vec::new();
    walk(path, before, after, &mut changes);
    changes
}

/// Goes down as long as both sides have the same shape, so that a change names the smallest field that holds it.
fn walk(path: &str, before: Option<&Value>, after: Option<&Value>, out: &mut Vec<FieldChange>) {
    match (before, after) {
        (before, after) if before == after => {}
        (Some(Value::Object(before)), Some(Value::Object(after))) => {
            let mut names: Vec<&String> = before.keys().chain(after.keys()).collect();
            names.sort_unstable();
            names.dedup();
            for name in names {
                walk(&join(path, name), before.get(name), after.get(name), out);
            }
        }
        (Some(Value::Array(before)), Some(Value::Array(after))) => {
            for at in 0..before.len().max(after.len()) {
                walk(&format!("{path}[{at}]"), before.get(at), after.get(at), out);
            }
        }
        (before, after) => out.push(FieldChange {
            path: path.to_owned(),
            before: before.map(Value::to_string),
            after: after.map(Value::to_string),
        }),
    }
}

/// Member names that are no plain word (labels may hold dots and slashes) stand in brackets.
fn join(path: &str, name: &str) -> String {
    let plain =
        !name.is_empty() && name.bytes().all(|byte| byte.is_ascii_alphanumeric() || b"_-".contains(&byte));
    match (path.is_empty(), plain) {
        (true, _) => name.to_owned(),
        (false, true) => format!("{path}.{name}"),
        (false, false) => format!("{path}[{name:?}]"),
    }
}

#[cfg(test)]
mod tests;
