//! Lists as JSON text: each definition under another name, and nothing else of it touched.

use std::fmt;
use std::sync::Arc;

use serde::de::{Deserializer as _, MapAccess, Visitor};
use serde_json::value::RawValue;

use crate::compile::model::Definition;

/// A JSON array of definitions.
pub(crate) fn definitions<'a>(found: impl Iterator<Item = (&'a str, &'a Definition)>) -> Arc<str> {
    let mut out = String::from("[");
    for (name, definition) in found {
        if out.len() > 1 {
            out.push(',');
        }
        if name == &*definition.name {
            out.push_str(definition.definition.get());
        } else {
            renamed(definition.definition.get(), name, &mut out);
        }
    }
    out.push(']');
    out.into()
}

/// Compile made sure that a definition is an object with a string `name`, so the empty arm is not reached.
fn renamed(definition: &str, name: &str, out: &mut String) {
    let Ok(members) = members(definition) else {
        out.push_str("{}");
        return;
    };
    out.push('{');
    for (at, (member, value)) in members.iter().enumerate() {
        if at > 0 {
            out.push(',');
        }
        quote(member, out);
        out.push(':');
        if member == "name" { quote(name, out) } else { out.push_str(value.get()) }
    }
    out.push('}');
}

fn quote(text: &str, out: &mut String) {
    // A string always serialises.
    out.push_str(&serde_json::to_string(text).unwrap_or_else(|_| "\"\"".to_owned()));
}

/// The members of a JSON object in their order, their values untouched.
pub(crate) fn members(object: &str) -> Result<Vec<(String, &RawValue)>, serde_json::Error> {
    serde_json::Deserializer::from_str(object).deserialize_map(Members)
}

struct Members;

impl<'de> Visitor<'de> for Members {
    type Value = Vec<(String, &'de RawValue)>;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("an object")
    }

    fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Self::Value, A::Error> {
        let mut members = Vec::new();
        while let Some(member) = map.next_entry()? {
            members.push(member);
        }
        Ok(members)
    }
}
