//! What each side may be told that the other can do, so that nobody counts on what does not pass here.

use std::borrow::Cow;

use super::TranslateError;
use crate::edit::{Edit, Object};
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
    let object = Object::read(raw)?;
    let mut edits: Vec<_> =
        gone.iter().filter(|name| object.get(name).is_some()).map(|name| (*name, Edit::Remove)).collect();
    let kept = match object.get("extensions") {
        Some(extensions) if to == Era::Modern && extensions.starts_with('{') => {
            let extensions = Object::of_raw(extensions)?;
            let has_tasks = extensions.get(TASKS_EXTENSION).is_some();
            has_tasks.then(|| extensions.edited(&[(TASKS_EXTENSION, Edit::Remove)]))
        }
        Some(_) => {
            edits.push(("extensions", Edit::Remove));
            None
        }
        None => None,
    };
    if let Some(kept) = &kept {
        edits.push(("extensions", Edit::Set(kept)));
    }
    if edits.is_empty() { Ok(Cow::Borrowed(raw)) } else { Ok(Cow::Owned(object.edited(&edits))) }
}
