//! Members of a raw object, found without building a tree.

use std::borrow::Cow;

use serde_json::value::RawValue;

use crate::raw;
use crate::scan::{Fault, Scanner, Trust};

/// The members of an object in their order; `None` if `raw` is no object or repeats a name.
#[must_use]
pub fn members(raw: &RawValue) -> Option<Vec<(Cow<'_, str>, &RawValue)>> {
    let mut found = Vec::new();
    let mut scanner = Scanner::new(raw.get(), usize::MAX, Trust::Json);
    scanner
        .object(|scanner, name, _| {
            let value = raw::borrowed(scanner.value()?).ok_or(Fault::Syntax)?;
            found.push((name.decode()?, value));
            Ok::<_, Fault>(())
        })
        .ok()?;
    Some(found)
}

/// One member of an object; `None` if `raw` is no object, repeats a name, or has no such member.
#[must_use]
pub fn member<'a>(raw: &'a RawValue, name: &str) -> Option<&'a RawValue> {
    let mut found = None;
    let mut scanner = Scanner::new(raw.get(), usize::MAX, Trust::Json);
    scanner
        .object(|scanner, this, _| {
            let value = scanner.value()?;
            if this.decode()? == name {
                found = Some(value);
            }
            Ok::<_, Fault>(())
        })
        .ok()?;
    found.and_then(raw::borrowed)
}

/// The text of a string member of an object whose names are known to be unique, because Portcullis judged or wrote it: nothing
/// behind that member is looked at.
#[must_use]
pub fn text_of_known<'a>(raw: &'a RawValue, name: &str) -> Option<Cow<'a, str>> {
    let mut found = None;
    let mut scanner = Scanner::new(raw.get(), usize::MAX, Trust::Json);
    // The error is the way out.
    let _ = scanner.object(|scanner, this, _| {
        let value = scanner.value()?;
        if this.decode()? == name {
            found = Some(value);
            return Err(Fault::Duplicate);
        }
        Ok(())
    });
    Scanner::new(found?, 0, Trust::Json).string().ok()?.decode().ok()
}

/// The elements of an array; `None` if `raw` is none.
#[must_use]
pub fn elements(raw: &RawValue) -> Option<Vec<&RawValue>> {
    serde_json::from_str(raw.get()).ok()
}

/// The text of a JSON string, borrowed when nothing is escaped; `None` if `raw` is no string, or one that is no Unicode text.
#[must_use]
pub fn string(raw: &RawValue) -> Option<Cow<'_, str>> {
    Scanner::new(raw.get(), 0, Trust::Json).string().ok()?.decode().ok()
}

/// The text as a JSON string, quoted and escaped.
#[must_use]
pub fn quoted(text: &str) -> String {
    let mut out = String::with_capacity(text.len() + 2);
    push_quoted(&mut out, text);
    out
}

/// [`quoted`], appended.
pub fn push_quoted(out: &mut String, text: &str) {
    out.push('"');
    let mut plain = text;
    while let Some(at) = plain.bytes().position(|byte| matches!(byte, b'"' | b'\\' | 0..=0x1f)) {
        let (before, rest) = plain.split_at(at);
        out.push_str(before);
        let mut rest = rest.chars();
        match rest.next() {
            Some('"') => out.push_str("\\\""),
            Some('\\') => out.push_str("\\\\"),
            Some('\n') => out.push_str("\\n"),
            Some('\r') => out.push_str("\\r"),
            Some('\t') => out.push_str("\\t"),
            Some(control) => {
                const HEX: [char; 16] =
                    ['0', '1', '2', '3', '4', '5', '6', '7', '8', '9', 'a', 'b', 'c', 'd', 'e', 'f'];
                let code = u32::from(control) as usize;
                out.push_str("\\u00");
                out.extend([HEX.get(code >> 4), HEX.get(code & 15)].into_iter().flatten());
            }
            None => {}
        }
        plain = rest.as_str();
    }
    out.push_str(plain);
    out.push('"');
}

/// A raw value made of one string.
#[must_use]
pub fn raw_string(text: &str) -> Box<RawValue> {
    raw::owned(quoted(text)).unwrap_or_default()
}

#[cfg(test)]
mod tests;
