//! Canonical JSON after RFC 8785 (JCS), with one exception: numbers keep the text that they were written with.
//!
//! Why the exception: a fingerprint must change when *anything* changes, and must never make two different definitions
//! equal. Numbers that a double cannot hold (a default of `9007199254740993`) would become equal to their neighbours under
//! JCS. Keeping the text makes `1.0` and `1` two things, which costs at most one more approval.

use std::fmt;

use serde::de::{Deserializer as _, Error as _, MapAccess, Visitor};
use serde_json::value::RawValue;

/// How deep a document may be nested.
const MAX_DEPTH: usize = 64;

/// The text has no canonical form: it is no JSON, holds a member twice, or is nested deeper than 64.
#[derive(Debug, thiserror::Error)]
#[error("no canonical form: {0}")]
pub struct CanonicalError(#[from] serde_json::Error);

/// The canonical form of a JSON text: members sorted by UTF-16 code units, no white space, strings escaped the one way.
///
/// # Errors
/// See [`CanonicalError`].
pub fn canonical_json(json: &[u8]) -> Result<String, CanonicalError> {
    let value: &RawValue = serde_json::from_slice(json)?;
    let mut out = String::with_capacity(json.len());
    write_value(value, 0, &mut out)?;
    Ok(out)
}

/// The canonical form of a value.
///
/// # Errors
/// When the value does not serialise, and see [`CanonicalError`].
pub fn to_canonical_json<T: serde::Serialize + ?Sized>(value: &T) -> Result<String, CanonicalError> {
    canonical_json(&serde_json::to_vec(value)?)
}

fn write_value(value: &RawValue, depth: usize, out: &mut String) -> Result<(), serde_json::Error> {
    if depth > MAX_DEPTH {
        return Err(serde_json::Error::custom(format_args!("nested deeper than {MAX_DEPTH}")));
    }
    let text = value.get();
    match text.as_bytes().first() {
        Some(b'{') => write_object(text, depth, out),
        Some(b'[') => {
            let items: Vec<&RawValue> = serde_json::from_str(text)?;
            write_sequence(out, ('[', ']'), &items, |item, out| write_value(item, depth + 1, out))
        }
        Some(b'"') => {
            let string: String = serde_json::from_str(text)?;
            write_string(&string, out)
        }
        // Numbers, true, false, null: their own text.
        _ => {
            out.push_str(text);
            Ok(())
        }
    }
}

fn write_object(text: &str, depth: usize, out: &mut String) -> Result<(), serde_json::Error> {
    let Members(mut members) = serde_json::Deserializer::from_str(text).deserialize_map(MembersVisitor)?;
    members.sort_by(|(a, _), (b, _)| a.encode_utf16().cmp(b.encode_utf16()));
    if let Some(name) = members.windows(2).find_map(|pair| match pair {
        [(a, _), (b, _)] if a == b => Some(a),
        _ => None,
    }) {
        return Err(serde_json::Error::custom(format_args!("member {name:?} stands twice in one object")));
    }
    write_sequence(out, ('{', '}'), &members, |(name, value), out| {
        write_string(name, out)?;
        out.push(':');
        write_value(value, depth + 1, out)
    })
}

fn write_sequence<T>(
    out: &mut String,
    (open, close): (char, char),
    items: &[T],
    mut write: impl FnMut(&T, &mut String) -> Result<(), serde_json::Error>,
) -> Result<(), serde_json::Error> {
    out.push(open);
    for (at, item) in items.iter().enumerate() {
        if at > 0 {
            out.push(',');
        }
        write(item, out)?;
    }
    out.push(close);
    Ok(())
}

/// serde_json escapes as RFC 8785 asks: short escapes where there are any, `\u00xx` for other controls, nothing else.
fn write_string(string: &str, out: &mut String) -> Result<(), serde_json::Error> {
    out.push_str(&serde_json::to_string(string)?);
    Ok(())
}

struct Members<'a>(Vec<(String, &'a RawValue)>);

struct MembersVisitor;

impl<'de> Visitor<'de> for MembersVisitor {
    type Value = Members<'de>;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("an object")
    }

    fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Self::Value, A::Error> {
        let mut members = Vec::new();
        while let Some(member) = map.next_entry()? {
            members.push(member);
        }
        Ok(Members(members))
    }
}

#[cfg(test)]
mod tests;
