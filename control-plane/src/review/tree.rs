//! A definition as a tree, read for review: members in their order, and numbers as they were written, because two numbers
//! that a double cannot tell apart are two definitions.

use serde::de::{Deserializer as _, MapAccess, Visitor};
use serde_json::value::RawValue;

/// How deep a definition is read; canonical JSON, which is what is stored, is never deeper.
const MAX_DEPTH: usize = 64;

/// One JSON value.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Tree {
    /// Members, in the order of the text.
    Object(Vec<(String, Tree)>),
    /// Items.
    Array(Vec<Tree>),
    /// A string.
    Text(String),
    /// A number, `true`, `false` or `null`, as it was written.
    Literal(String),
}

/// The text is no JSON, or nested deeper than is read.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Unreadable;

impl Tree {
    /// Reads a text.
    pub(super) fn parse(json: &str) -> Result<Self, Unreadable> {
        let value: &RawValue = serde_json::from_str(json).map_err(|_| Unreadable)?;
        Self::read(value, 0)
    }

    fn read(value: &RawValue, depth: usize) -> Result<Self, Unreadable> {
        let text = value.get();
        if depth > MAX_DEPTH {
            return Err(Unreadable);
        }
        match text.as_bytes().first() {
            Some(b'{') => {
                let mut deserializer = serde_json::Deserializer::from_str(text);
                let members = deserializer.deserialize_map(Members).map_err(|_| Unreadable)?;
                let read = members.into_iter().map(|(name, value)| Ok((name, Self::read(value, depth + 1)?)));
                read.collect::<Result<_, _>>().map(Self::Object)
            }
            Some(b'[') => {
                let items: Vec<&RawValue> = serde_json::from_str(text).map_err(|_| Unreadable)?;
                let read = items.into_iter().map(|item| Self::read(item, depth + 1));
                read.collect::<Result<_, _>>().map(Self::Array)
            }
            Some(b'"') => serde_json::from_str(text).map(Self::Text).map_err(|_| Unreadable),
            _ => Ok(Self::Literal(text.to_owned())),
        }
    }

    /// A member of an object.
    pub(super) fn get(&self, name: &str) -> Option<&Self> {
        self.members().iter().find(|(member, _)| member == name).map(|(_, value)| value)
    }

    /// The members; none where it is no object.
    pub(super) fn members(&self) -> &[(String, Self)] {
        match self {
            Self::Object(members) => members,
            _ => &[],
        }
    }

    /// The items; none where it is no array.
    pub(super) fn items(&self) -> &[Self] {
        match self {
            Self::Array(items) => items,
            _ => &[],
        }
    }

    /// The string, where it is one.
    pub(super) fn text(&self) -> Option<&str> {
        match self {
            Self::Text(text) => Some(text),
            _ => None,
        }
    }

    /// The truth value, where it is one.
    pub(super) fn truth(&self) -> Option<bool> {
        match self {
            Self::Literal(text) if text == "true" => Some(true),
            Self::Literal(text) if text == "false" => Some(false),
            _ => None,
        }
    }

    /// The value as JSON text, with strings as they are: for people, who see it made visible.
    pub(super) fn written(&self) -> String {
        let mut out = String::new();
        self.write(&mut out);
        out
    }

    fn write(&self, out: &mut String) {
        match self {
            Self::Object(members) => {
                out.push('{');
                for (at, (name, value)) in members.iter().enumerate() {
                    out.push_str(if at == 0 { "" } else { ", " });
                    write_text(name, out);
                    out.push_str(": ");
                    value.write(out);
                }
                out.push('}');
            }
            Self::Array(items) => {
                out.push('[');
                for (at, item) in items.iter().enumerate() {
                    out.push_str(if at == 0 { "" } else { ", " });
                    item.write(out);
                }
                out.push(']');
            }
            Self::Text(text) => write_text(text, out),
            Self::Literal(text) => out.push_str(text),
        }
    }
}

fn write_text(text: &str, out: &mut String) {
    out.push('"');
    for character in text.chars() {
        if matches!(character, '"' | '\\') {
            out.push('\\');
        }
        out.push(character);
    }
    out.push('"');
}

struct Members;

impl<'de> Visitor<'de> for Members {
    type Value = Vec<(String, &'de RawValue)>;

    fn expecting(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
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

/// One step of a JSON Pointer (RFC 6901) added to a path.
pub(super) fn step(path: &str, name: &str) -> String {
    let mut out = String::with_capacity(path.len() + name.len() + 1);
    out.push_str(path);
    out.push('/');
    for character in name.chars() {
        match character {
            '~' => out.push_str("~0"),
            '/' => out.push_str("~1"),
            other => out.push(other),
        }
    }
    out
}
