//! How much a request carries for a server, and whether the server takes it: judged alike where it is enforced and where it is
//! explained.
//!
//! Counted is what the caller chose to send to the server, as the bytes that it wrote: `arguments`, and whatever else its
//! parameters hold. Not counted are the envelope and the name, which Portcullis reads and writes anew, and `_meta`, which
//! belongs to the protocol and has a bound of its own.

use std::borrow::Cow;
use std::fmt;

use serde::de::{Deserializer, Error as _, MapAccess, Visitor};
use serde_json::value::RawValue;

use crate::resource::Limits;

/// Bytes of `_meta` that every server takes. One whose `maxRequestBytes` is larger takes as many.
pub const MAX_META_BYTES: u64 = 64 << 10;

/// What a request carries for its server, in bytes.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Carried {
    /// Of `arguments` and all else but the name and `_meta`.
    pub bytes: u64,
    /// Of `_meta`.
    pub meta_bytes: u64,
}

impl Carried {
    /// Measures the parameters of a request. What is no object, or repeats a member, is counted whole.
    #[must_use]
    pub fn of_params(params: Option<&RawValue>) -> Self {
        let Some(params) = params else { return Self::default() };
        let mut text = serde_json::Deserializer::from_str(params.get());
        let measured = text.deserialize_map(Measure);
        measured.unwrap_or(Self { bytes: length(params.get()), meta_bytes: 0 })
    }

    /// Measures the parameters of a call that has nothing but a name and these arguments.
    #[must_use]
    pub fn of_arguments(arguments: &RawValue) -> Self {
        Self { bytes: length(arguments.get()), meta_bytes: 0 }
    }

    /// Whether a server with these limits takes it (`maxRequestBytes`).
    #[must_use]
    pub fn fits(self, limits: &Limits) -> bool {
        let max = limits.max_request_bytes.0;
        self.bytes <= max && self.meta_bytes <= max.max(MAX_META_BYTES)
    }
}

fn length(text: &str) -> u64 {
    text.len() as u64
}

struct Measure;

impl<'de> Visitor<'de> for Measure {
    type Value = Carried;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("an object")
    }

    fn visit_map<A: MapAccess<'de>>(self, mut members: A) -> Result<Carried, A::Error> {
        let mut carried = Carried::default();
        let (mut named, mut argued, mut described) = (false, false, false);
        let once = |seen: &mut bool| {
            if std::mem::replace(seen, true) {
                Err(A::Error::custom("a member is there twice"))
            } else {
                Ok(())
            }
        };
        while let Some((name, value)) = members.next_entry::<Cow<'de, str>, &'de RawValue>()? {
            let bytes = length(value.get());
            match &*name {
                "name" => once(&mut named)?,
                "arguments" => {
                    once(&mut argued)?;
                    carried.bytes += bytes;
                }
                "_meta" => {
                    once(&mut described)?;
                    carried.meta_bytes = bytes;
                }
                _ => carried.bytes += length(&name) + bytes,
            }
        }
        Ok(carried)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn carried(params: &str) -> (u64, u64) {
        let params: &RawValue = serde_json::from_str(params).unwrap();
        let carried = Carried::of_params(Some(params));
        (carried.bytes, carried.meta_bytes)
    }

    #[test]
    fn arguments_are_counted_as_they_were_written_and_the_envelope_is_not() {
        for (params, bytes, meta) in [
            (r#"{"name":"a","arguments":{"b": 1}}"#, 8, 0),
            (r#"{ "arguments" : {"b": 1} , "name" : "another and longer one" }"#, 8, 0),
            (r#"{"name":"a","arguments":{"\u0062":1},"_meta":{"c":2}}"#, 12, 7),
            (r#"{"name":"a"}"#, 0, 0),
            (r#"{"uri":"file:///a"}"#, 3 + 11, 0),
            (r#"{"name":"a","arguments":{},"requestState":"xyz"}"#, 2 + 12 + 5, 0),
            // Nobody forwards these; what cannot be told apart is counted whole.
            (r#"{"name":"a","name":"b"}"#, 23, 0),
            ("[1,2]", 5, 0),
        ] {
            assert_eq!(carried(params), (bytes, meta), "{params}");
        }
        assert_eq!(Carried::of_params(None), Carried::default());
        let arguments: &RawValue = serde_json::from_str(r#" {"b": 1} "#).unwrap();
        assert_eq!(Carried::of_arguments(arguments).bytes, 8, "as within the parameters above");
    }

    #[test]
    fn the_limit_is_the_last_size_that_fits() {
        let limits = Limits { max_request_bytes: crate::resource::ByteSize(10), ..Limits::default() };
        let fits = |bytes, meta_bytes| Carried { bytes, meta_bytes }.fits(&limits);
        assert!(fits(10, 0) && !fits(11, 0));
        assert!(fits(10, MAX_META_BYTES) && !fits(10, MAX_META_BYTES + 1));
        let wide = Limits { max_request_bytes: crate::resource::ByteSize(1 << 20), ..Limits::default() };
        assert!(Carried { bytes: 0, meta_bytes: 1 << 20 }.fits(&wide));
    }
}
