//! Raw JSON without a second validation: text that this crate's scanner has accepted becomes a `RawValue` as it is.

use serde_json::value::RawValue;

/// The text as a raw value. The text must be one valid JSON value without surrounding white space.
pub(crate) fn borrowed(text: &str) -> Option<&RawValue> {
    serde_json::from_str(text).ok()
}

/// Likewise, owned.
pub(crate) fn owned(text: String) -> Option<Box<RawValue>> {
    RawValue::from_string(text).ok()
}
