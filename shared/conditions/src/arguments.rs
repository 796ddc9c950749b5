//! From the JSON that a caller sent to Cedar values: only the members that policies read, in the types that they expect.
//!
//! Nothing is guessed and nothing is dropped. A member in another form than a policy expects stays *there* (for those who
//! only ask whether it is), and every policy that looks at it is told so, and denies.

use std::borrow::Cow;
use std::fmt;

use cedar_policy::RestrictedExpression;
use serde::de::{Deserializer as _, IgnoredAny, MapAccess, Visitor};
use serde_json::value::RawValue;

use crate::number;
use crate::shape::{Node, Scalar, Shape};

/// How many items of a list are looked at. A longer one cannot be evaluated.
const MAX_ITEMS: usize = 4096;

/// How many bytes of a text are looked at. A longer one cannot be evaluated.
const MAX_TEXT: usize = 64 * 1024;

/// The values that policies read.
#[derive(Debug, Default)]
pub(crate) struct Arguments {
    /// The record, by its members.
    pub(crate) members: Vec<(String, RestrictedExpression)>,
    /// What came in another form than a policy expects.
    pub(crate) mismatches: Vec<Mismatch>,
}

/// One member in another form than expected.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Mismatch {
    pub(crate) path: Vec<String>,
    pub(crate) expected: String,
}

impl fmt::Display for Mismatch {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "the argument {} must be {}", self.path.join("."), self.expected)
    }
}

/// Reads the members of a shape.
///
/// # Errors
/// A sentence, when the text is no JSON object or names one of the members twice.
pub(crate) fn read(json: &str, shape: &Shape) -> Result<Arguments, String> {
    let mut found = Arguments::default();
    let members = members(json, shape).map_err(|error| format!("the arguments cannot be read: {error}"))?;
    let mut path = Vec::new();
    for (name, node, raw) in members {
        path.push(name.to_owned());
        let value = value(raw, node, &mut path, &mut found.mismatches);
        path.pop();
        found.members.push((name.to_owned(), value));
    }
    Ok(found)
}

/// A value of the expected type; or, when it is none, `true`, which says that it is there, and a mismatch.
fn value(
    raw: &RawValue,
    node: &Node,
    path: &mut Vec<String>,
    mismatches: &mut Vec<Mismatch>,
) -> RestrictedExpression {
    let fits = match node {
        Node::Present => return RestrictedExpression::new_bool(true),
        Node::Scalar(of) => scalar(raw.get(), *of),
        Node::Set(of) => set(raw.get(), *of),
        Node::Record(shape) => record(raw.get(), shape, path, mismatches),
    };
    fits.unwrap_or_else(|| {
        mismatches.push(Mismatch { path: path.clone(), expected: node.expected() });
        RestrictedExpression::new_bool(true)
    })
}

fn record(
    json: &str,
    shape: &Shape,
    path: &mut Vec<String>,
    mismatches: &mut Vec<Mismatch>,
) -> Option<RestrictedExpression> {
    let mut fields = Vec::new();
    for (name, node, raw) in members(json, shape).ok()? {
        path.push(name.to_owned());
        let value = value(raw, node, path, mismatches);
        path.pop();
        fields.push((name.to_owned(), value));
    }
    RestrictedExpression::new_record(fields).ok()
}

fn set(json: &str, of: Option<Scalar>) -> Option<RestrictedExpression> {
    let items: Vec<&RawValue> = serde_json::from_str(json).ok()?;
    if items.len() > MAX_ITEMS {
        return None;
    }
    let items = items.into_iter().map(|item| match of {
        Some(of) => scalar(item.get(), of),
        // Only whether there are any: their texts stand for them.
        None => Some(RestrictedExpression::new_string(item.get().to_owned())),
    });
    Some(RestrictedExpression::new_set(items.collect::<Option<Vec<_>>>()?))
}

fn scalar(json: &str, of: Scalar) -> Option<RestrictedExpression> {
    match of {
        Scalar::Bool => serde_json::from_str(json).ok().map(RestrictedExpression::new_bool),
        Scalar::Long => number::whole(json).map(RestrictedExpression::new_long),
        Scalar::Decimal => number::decimal(json).map(RestrictedExpression::new_decimal),
        Scalar::Text => text(json).map(RestrictedExpression::new_string),
        Scalar::Ip => of_text(json, "ip"),
        Scalar::Datetime => of_text(json, "datetime"),
        Scalar::Duration => of_text(json, "duration"),
    }
}

fn text(json: &str) -> Option<String> {
    if json.len() > MAX_TEXT {
        return None;
    }
    serde_json::from_str(json).ok()
}

/// A value that Cedar makes of a text, if it is one of that kind.
fn of_text(json: &str, function: &str) -> Option<RestrictedExpression> {
    let text = text(json)?;
    let value = match function {
        "ip" => RestrictedExpression::new_ip(text),
        "datetime" => RestrictedExpression::new_datetime(text),
        _ => RestrictedExpression::new_duration(text),
    };
    // Cedar looks at the text when the value is put into a context: one bad value must not spoil the others.
    cedar_policy::Context::from_pairs([(String::new(), value.clone())]).ok()?;
    Some(value)
}

/// The members of an object that a shape names, in the order in which they came.
fn members<'a, 's>(
    json: &'a str,
    shape: &'s Shape,
) -> Result<Vec<(&'s str, &'s Node, &'a RawValue)>, serde_json::Error> {
    let mut reader = serde_json::Deserializer::from_str(json);
    let found = reader.deserialize_map(Wanted { shape })?;
    reader.end()?;
    Ok(found)
}

struct Wanted<'s> {
    shape: &'s Shape,
}

#[derive(serde::Deserialize)]
struct Key<'a>(#[serde(borrow)] Cow<'a, str>);

impl<'de, 's> Visitor<'de> for Wanted<'s> {
    type Value = Vec<(&'s str, &'s Node, &'de RawValue)>;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("an object")
    }

    fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Self::Value, A::Error> {
        let mut found: Self::Value = Vec::with_capacity(self.shape.members.len());
        while let Some(Key(name)) = map.next_key()? {
            let Some((name, node)) = self.shape.members.get_key_value(&*name) else {
                map.next_value::<IgnoredAny>()?;
                continue;
            };
            if found.iter().any(|(other, ..)| *other == name) {
                return Err(serde::de::Error::custom(format_args!("{name:?} is there twice")));
            }
            found.push((name, node, map.next_value()?));
        }
        Ok(found)
    }
}

#[cfg(test)]
mod tests;
