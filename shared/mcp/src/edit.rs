//! Rewriting single members of a JSON object while every other byte stays as it was.

use serde_json::value::RawValue;

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
    /// A name to edit occurs more than once.
    #[error("a member name is repeated")]
    DuplicateName,
    /// A value to set is not JSON.
    #[error("the new value is not JSON")]
    BadValue,
}

/// Rewrites members of an object; bytes outside the edited members stay verbatim.
///
/// # Errors
/// If `raw` is no object, repeats a name, or a new value is not JSON.
pub fn edit_object(raw: &str, edits: &[(&str, Edit<'_>)]) -> Result<String, EditError> {
    let _ = (raw, edits);
    todo!()
}

/// [`edit_object`] from raw value to raw value, without validating the outcome again.
///
/// # Errors
/// As [`edit_object`].
pub fn edit_raw(raw: &RawValue, edits: &[(&str, Edit<'_>)]) -> Result<Box<RawValue>, EditError> {
    let _ = (raw, edits);
    todo!()
}

/// Edits members of `params` and members of `params._meta` at once; absent `params` and `_meta` are made when something
/// is set in them, and a `_meta` that the edits leave empty goes.
///
/// # Errors
/// As [`edit_object`]; also when `_meta` is there and no object.
pub fn edit_params(
    params: Option<&RawValue>,
    edits: &[(&str, Edit<'_>)],
    meta: &[(&str, Edit<'_>)],
) -> Result<Option<Box<RawValue>>, EditError> {
    let _ = (params, edits, meta);
    todo!()
}
