//! Members of a raw object, found without building a tree.

use std::borrow::Cow;

use serde_json::value::RawValue;

use crate::raw;
use crate::scan::{Fault, Scanner, Trust, plain_run};

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
    let [found] = pick(raw, [name])?;
    found
}

/// Some members of an object, in one pass; `None` if `raw` is no object or repeats a name.
#[must_use]
pub fn pick<'a, const N: usize>(raw: &'a RawValue, names: [&str; N]) -> Option<[Option<&'a RawValue>; N]> {
    let mut found = [None; N];
    let mut scanner = Scanner::new(raw.get(), usize::MAX, Trust::Json);
    scanner
        .object(|scanner, this, _| {
            let value = scanner.value()?;
            let this = this.decode()?;
            if let Some((_, place)) = names.iter().zip(&mut found).find(|(name, _)| **name == this) {
                *place = Some(raw::borrowed(value).ok_or(Fault::Syntax)?);
            }
            Ok::<_, Fault>(())
        })
        .ok()?;
    Some(found)
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

/// What text is appended to.
pub trait Sink {
    /// Appends it.
    fn push_str(&mut self, text: &str);
}

impl Sink for String {
    fn push_str(&mut self, text: &str) {
        Self::push_str(self, text);
    }
}

impl Sink for Vec<u8> {
    fn push_str(&mut self, text: &str) {
        self.extend_from_slice(text.as_bytes());
    }
}

/// [`quoted`], appended.
pub fn push_quoted(out: &mut impl Sink, text: &str) {
    out.push_str("\"");
    let mut plain = text;
    loop {
        let (before, rest) = plain.split_at(plain_run(plain.as_bytes()));
        out.push_str(before);
        let mut rest = rest.chars();
        let Some(escaped) = rest.next() else { break };
        match escaped {
            '"' => out.push_str("\\\""),
            '\\' => out.push_str("\\\\"),
            '\n' => out.push_str("\\n"),
            '\r' => out.push_str("\\r"),
            '\t' => out.push_str("\\t"),
            control => {
                const HEX: [&str; 16] =
                    ["0", "1", "2", "3", "4", "5", "6", "7", "8", "9", "a", "b", "c", "d", "e", "f"];
                let code = u32::from(control) as usize;
                out.push_str("\\u00");
                for digit in [HEX.get(code >> 4), HEX.get(code & 15)].into_iter().flatten() {
                    out.push_str(digit);
                }
            }
        }
        plain = rest.as_str();
    }
    out.push_str("\"");
}

/// A raw value made of one string.
#[must_use]
pub fn raw_string(text: &str) -> Box<RawValue> {
    raw::owned(quoted(text)).unwrap_or_default()
}

#[cfg(test)]
mod tests;
