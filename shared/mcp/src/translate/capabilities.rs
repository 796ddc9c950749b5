//! What each side may be told that the other can do, so that nobody counts on what does not pass here.

use std::borrow::Cow;

use super::{TranslateError, member};
use crate::edit::{Edit, edit_object};
use crate::revision::Era;

/// The extension under which 2026-07-28 has tasks.
const TASKS_EXTENSION: &str = "io.modelcontextprotocol/tasks";

/// A client's capabilities as an upstream of era `to` is told them.
///
/// Across eras nothing is offered that a server would ask its client for (elicitation, sampling, roots), since such requests do
/// not cross. Tasks are offered to nobody: their methods do not pass.
///
/// # Errors
/// If it is no object.
pub fn client_capabilities(raw: &str, from: Era, to: Era) -> Result<Cow<'_, str>, TranslateError> {
    let mut gone = vec!["tasks"];
    if from != to {
        gone.extend(["elicitation", "sampling", "roots"]);
    }
    without(raw, &gone, to)
}

/// A server's capabilities as a client of era `to` is told them: without tasks, whose methods do not pass.
///
/// # Errors
/// If it is no object.
pub fn server_capabilities(raw: &str, to: Era) -> Result<Cow<'_, str>, TranslateError> {
    without(raw, &["tasks"], to)
}

/// Without these members, without extensions for a legacy peer, and without the tasks extension for a modern one.
fn without<'a>(raw: &'a str, gone: &[&str], to: Era) -> Result<Cow<'a, str>, TranslateError> {
    let mut edits = Vec::with_capacity(gone.len() + 1);
    for name in gone {
        if member(raw, name)?.is_some() {
            edits.push((*name, Edit::Remove));
        }
    }
    let extensions = match member(raw, "extensions")? {
        Some(_) if to == Era::Legacy => Some(None),
        Some(extensions) if member(extensions.get(), TASKS_EXTENSION)?.is_some() => {
            Some(Some(edit_object(extensions.get(), &[(TASKS_EXTENSION, Edit::Remove)])?))
        }
        _ => None,
    };
    if let Some(extensions) = &extensions {
        edits.push(("extensions", extensions.as_deref().map_or(Edit::Remove, Edit::Set)));
    }
    if edits.is_empty() { Ok(Cow::Borrowed(raw)) } else { Ok(Cow::Owned(edit_object(raw, &edits)?)) }
}
