//! Lists as JSON text: each definition under another name, in a bundle's words where it has some, and nothing else of it touched.

use std::fmt;
use std::sync::Arc;

use serde::de::{Deserializer as _, MapAccess, Visitor};
use serde_json::value::RawValue;

use crate::compile::model::Definition;
use crate::resource::ToolRewrite;

/// A JSON array of definitions, each with the name that it has there, and what it says there instead of its own words.
pub(crate) fn definitions<'a>(
    found: impl Iterator<Item = (&'a str, &'a Definition, Option<&'a ToolRewrite>)>,
) -> Arc<str> {
    let mut out = String::from("[");
    for (name, definition, rewrite) in found {
        if out.len() > 1 {
            out.push(',');
        }
        let title = rewrite.and_then(|rewrite| rewrite.title.as_deref());
        let description = rewrite.and_then(|rewrite| rewrite.description.as_deref());
        if name == &*definition.name && title.is_none() && description.is_none() {
            out.push_str(definition.definition.get());
        } else {
            let words = [("name", Some(name)), ("title", title), ("description", description)];
            reworded(definition.definition.get(), &words, &mut out);
        }
    }
    out.push(']');
    out.into()
}

/// The object with some of its texts replaced, or added behind the others. Compile made sure that a definition is an object with
/// a string `name`, so the empty arm is not reached.
fn reworded(definition: &str, words: &[(&str, Option<&str>)], out: &mut String) {
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
        match words.iter().find_map(|(word, text)| text.filter(|_| word == member)) {
            Some(text) => quote(text, out),
            None => out.push_str(value.get()),
        }
    }
    for (word, text) in words {
        let Some(text) = text.filter(|_| !members.iter().any(|(member, _)| member == word)) else { continue };
        out.push(',');
        quote(word, out);
        out.push(':');
        quote(text, out);
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
