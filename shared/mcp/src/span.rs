//! Where a value stands within another: found by the one pass that judged a message, and good for every copy of it.

use serde_json::value::RawValue;

use crate::raw;

/// The stretch of a value's text that another value is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Span {
    start: usize,
    end: usize,
}

impl Span {
    /// Where `inner` stands in `outer`; `None` if it is no piece of that very text.
    #[must_use]
    pub fn of(inner: &RawValue, outer: &RawValue) -> Option<Self> {
        let start = inner.get().as_ptr().addr().checked_sub(outer.get().as_ptr().addr())?;
        let end = start.checked_add(inner.get().len())?;
        (end <= outer.get().len()).then_some(Self { start, end })
    }

    /// The value there, in the text that this was found in or in a copy of it.
    #[must_use]
    pub fn value(self, outer: &RawValue) -> Option<&RawValue> {
        raw::borrowed(outer.get().get(self.start..self.end)?)
    }

    /// A copy of that text with another value there, whose text is quoted here; every other byte stays.
    #[must_use]
    pub fn with_string(self, outer: &RawValue, text: &str) -> Option<Box<RawValue>> {
        let outer = outer.get();
        let mut out = String::with_capacity(outer.len() + text.len() + 2);
        out.push_str(outer.get(..self.start)?);
        crate::object::push_quoted(&mut out, text);
        out.push_str(outer.get(self.end..)?);
        raw::owned(out)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::object::member;

    fn raw(text: &str) -> Box<RawValue> {
        RawValue::from_string(text.to_owned()).unwrap()
    }

    #[test]
    fn a_span_finds_its_value_in_a_copy() {
        let object = raw(r#"{"a":1, "name":"caf\u00e9" ,"b":[2]}"#);
        let copy = object.clone();
        for (name, text) in [("a", "1"), ("name", r#""caf\u00e9""#), ("b", "[2]")] {
            let span = Span::of(member(&object, name).unwrap(), &object).unwrap();
            assert_eq!(span.value(&copy).unwrap().get(), text);
        }
    }

    #[test]
    fn another_string_takes_its_place_and_nothing_else_changes() {
        let object = raw(r#"{"a":1, "name":"caf\u00e9" ,"b":[2]}"#);
        let span = Span::of(member(&object, "name").unwrap(), &object).unwrap();
        let renamed = span.with_string(&object, "a \"b\"").unwrap();
        assert_eq!(renamed.get(), r#"{"a":1, "name":"a \"b\"" ,"b":[2]}"#);
    }

    #[test]
    fn what_stands_elsewhere_has_no_span() {
        let (object, other) = (raw(r#"{"a":1}"#), raw(r#"{"a":1}"#));
        assert_eq!(Span::of(member(&other, "a").unwrap(), &object), None);
        assert_eq!(Span::of(&object, member(&object, "a").unwrap()), None);
    }
}
