//! Rewriting single members of a JSON object while every other byte stays as it was.
//!
//! What was judged must be what is forwarded: a tree that is written out again would change numbers, escapes and order.

use std::borrow::Cow;

use serde_json::value::RawValue;

use crate::names;
use crate::object::push_quoted;
use crate::raw;
use crate::scan::{Fault, Scanner, Trust};

/// Deepest text that is read without being known to be JSON.
const MAX_DEPTH: usize = 128;

/// What becomes of one member.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Edit<'a> {
    /// Its value becomes this JSON text; the member is appended if the object does not have it.
    Set(&'a str),
    /// It goes, if it is there.
    Remove,
}

/// Why an object was not rewritten.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum EditError {
    /// The text to rewrite is no JSON object, or deeper than 128 levels.
    #[error("not a JSON object")]
    NotAnObject,
    /// A name occurs more than once in it.
    #[error("a member name is repeated")]
    DuplicateName,
    /// A value to set is not JSON.
    #[error("the new value is not JSON")]
    BadValue,
}

impl From<Fault> for EditError {
    fn from(fault: Fault) -> Self {
        match fault {
            Fault::Syntax | Fault::Depth => Self::NotAnObject,
            Fault::Duplicate => Self::DuplicateName,
        }
    }
}

/// Rewrites members of an object; bytes outside the edited members stay verbatim. Of two edits of one name the first holds.
///
/// # Errors
/// If `raw` is no object, repeats a name, or a new value is not JSON.
pub fn edit_object(raw: &str, edits: &[(&str, Edit<'_>)]) -> Result<String, EditError> {
    check_values(edits)?;
    Object::read(raw).map(|object| object.edited(edits))
}

/// [`edit_object`] from raw value to raw value, without validating what is known to be JSON again.
///
/// # Errors
/// As [`edit_object`].
pub fn edit_raw(raw: &RawValue, edits: &[(&str, Edit<'_>)]) -> Result<Box<RawValue>, EditError> {
    check_values(edits)?;
    raw::owned(Object::of_raw(raw.get())?.edited(edits)).ok_or(EditError::NotAnObject)
}

/// Edits members of `params` and members of `params._meta` at once; absent `params` and `_meta` are made when something is set
/// in them, and a `_meta` that the edits leave empty goes.
///
/// # Errors
/// As [`edit_object`]; also when `_meta` is there and no object.
pub fn edit_params(
    params: Option<&RawValue>,
    edits: &[(&str, Edit<'_>)],
    meta: &[(&str, Edit<'_>)],
) -> Result<Option<Box<RawValue>>, EditError> {
    check_values(edits)?;
    check_values(meta)?;
    let object = Object::of_raw(params.map_or("{}", RawValue::get))?;
    let old_meta = Object::of_raw(object.get(names::META).filter(|old| *old != "null").unwrap_or("{}"))?;
    let new_meta = old_meta.edited(meta);

    let mut all: Vec<(&str, Edit<'_>)> = Vec::with_capacity(edits.len() + 1);
    all.extend(edits.iter().filter(|(name, _)| *name != names::META));
    if !old_meta.would_be_empty(meta) {
        all.push((names::META, Edit::Set(&new_meta)));
    } else if !old_meta.members.is_empty() {
        all.push((names::META, Edit::Remove));
    }
    if params.is_none() && object.would_be_empty(&all) {
        return Ok(None);
    }
    raw::owned(object.edited(&all)).map(Some).ok_or(EditError::NotAnObject)
}

fn check_values(edits: &[(&str, Edit<'_>)]) -> Result<(), EditError> {
    let is_json = |text: &str| {
        let mut scanner = Scanner::new(text, MAX_DEPTH, Trust::Upstream);
        scanner.value().and_then(|_| scanner.end()).is_ok()
    };
    let good = edits.iter().all(|(_, edit)| match edit {
        Edit::Set(value) => is_json(value),
        Edit::Remove => true,
    });
    if good { Ok(()) } else { Err(EditError::BadValue) }
}

/// An object's text, and where its members stand in it, in order: several questions for one scan.
pub(crate) struct Object<'a> {
    text: &'a str,
    members: Vec<Member<'a>>,
}

struct Member<'a> {
    name: Cow<'a, str>,
    /// Where the name's opening quote is.
    start: usize,
    value_start: usize,
    end: usize,
}

impl<'a> Object<'a> {
    /// From text that is not known to be JSON.
    pub(crate) fn read(text: &'a str) -> Result<Self, EditError> {
        Self::scan(text, Scanner::new(text, MAX_DEPTH, Trust::Upstream))
    }

    /// From the text of a raw value.
    pub(crate) fn of_raw(text: &'a str) -> Result<Self, EditError> {
        Self::scan(text, Scanner::new(text, usize::MAX, Trust::Json))
    }

    fn scan(text: &'a str, mut scanner: Scanner<'a>) -> Result<Self, EditError> {
        let mut members = Vec::with_capacity(8);
        scanner.object(|scanner, name, start| {
            scanner.peek();
            let value_start = scanner.at();
            scanner.value()?;
            members.push(Member { name: name.decode()?, start, value_start, end: scanner.at() });
            Ok::<_, Fault>(())
        })?;
        scanner.end()?;
        Ok(Self { text, members })
    }

    /// The text of a member's value.
    pub(crate) fn get(&self, name: &str) -> Option<&'a str> {
        let member = self.members.iter().find(|member| member.name == name)?;
        self.text.get(member.value_start..member.end)
    }

    fn would_be_empty(&self, edits: &[(&str, Edit<'_>)]) -> bool {
        !edits.iter().any(|(_, edit)| matches!(edit, Edit::Set(_)))
            && self.members.iter().all(|member| edit_of(edits, &member.name) == Some(Edit::Remove))
    }

    /// The text with these edits, whose values must be JSON.
    pub(crate) fn edited(&self, edits: &[(&str, Edit<'_>)]) -> String {
        let text = self.text;
        let piece = |start: usize, end: usize| text.get(start..end).unwrap_or_default();
        let added: usize = edits
            .iter()
            .map(|(name, edit)| name.len() + 8 + if let Edit::Set(value) = edit { value.len() } else { 0 })
            .sum();
        let mut out = String::with_capacity(text.len() + added);
        let first =
            self.members.first().map_or_else(|| text.find('{').map_or(0, |at| at + 1), |member| member.start);
        let last = self.members.last().map_or(first, |member| member.end);
        out.push_str(piece(0, first));

        let mut previous_end = None;
        let mut any = false;
        for member in &self.members {
            let edit = edit_of(edits, &member.name);
            if edit != Some(Edit::Remove) {
                if any {
                    // What stood before this member: a comma and its white space.
                    out.push_str(piece(previous_end.unwrap_or(first), member.start));
                }
                any = true;
                if let Some(Edit::Set(value)) = edit {
                    out.push_str(piece(member.start, member.value_start));
                    out.push_str(value);
                } else {
                    out.push_str(piece(member.start, member.end));
                }
            }
            previous_end = Some(member.end);
        }

        for (at, (name, edit)) in edits.iter().enumerate() {
            let Edit::Set(value) = edit else { continue };
            let is_member = self.members.iter().any(|member| member.name == *name);
            let is_second =
                edits.get(..at).is_some_and(|before| before.iter().any(|(other, _)| other == name));
            if !is_member && !is_second {
                if any {
                    out.push(',');
                }
                any = true;
                push_quoted(&mut out, name);
                out.push(':');
                out.push_str(value);
            }
        }
        out.push_str(piece(last, text.len()));
        out
    }
}

fn edit_of<'a>(edits: &[(&str, Edit<'a>)], name: &str) -> Option<Edit<'a>> {
    edits.iter().find(|(this, _)| *this == name).map(|(_, edit)| *edit)
}

#[cfg(test)]
mod tests;
