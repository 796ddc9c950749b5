//! Members of a raw object, found without building a tree.

use std::borrow::Cow;

use serde_json::value::RawValue;

/// The members of an object in their order; `None` if `raw` is no object or repeats a name.
#[must_use]
pub fn members(raw: &RawValue) -> Option<Vec<(Cow<'_, str>, &RawValue)>> {
    let _ = raw;
    todo!()
}

/// One member of an object; `None` if `raw` is no object, repeats a name, or has no such member.
#[must_use]
pub fn member<'a>(raw: &'a RawValue, name: &str) -> Option<&'a RawValue> {
    let _ = (raw, name);
    todo!()
}

/// The text of a JSON string, borrowed when nothing is escaped.
#[must_use]
pub fn string(raw: &RawValue) -> Option<Cow<'_, str>> {
    let _ = raw;
    todo!()
}

/// The text as a JSON string, quoted and escaped.
#[must_use]
pub fn quoted(text: &str) -> String {
    let _ = text;
    todo!()
}
