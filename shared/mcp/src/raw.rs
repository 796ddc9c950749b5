//! Raw JSON without a second validation: text that this crate's scanner has accepted becomes a `RawValue` as it is.
//!
//! `RawValue` can only be made by deserialising, and `serde_json`'s own ways of doing so scan the text once more. Handing it the
//! text through a deserialiser of ours costs nothing. Should `serde_json` ever ask in another way, the text is
//! deserialised in full: slower, and as right.

use std::fmt;

use serde::de::value::{BorrowedStrDeserializer, Error};
use serde::de::{
    Deserialize, DeserializeSeed, Deserializer, Error as _, IntoDeserializer, MapAccess, Visitor,
};
use serde::forward_to_deserialize_any;
use serde_json::value::RawValue;

/// The text as a raw value. The text must be one JSON value, accepted by the scanner, without surrounding white space.
pub(crate) fn borrowed(text: &str) -> Option<&RawValue> {
    <&RawValue>::deserialize(Accepted(|| BorrowedStrDeserializer::<Error>::new(text)))
        .ok()
        .or_else(|| serde_json::from_str(text).ok())
}

/// Likewise, owned.
pub(crate) fn owned(mut text: String) -> Option<Box<RawValue>> {
    <Box<RawValue>>::deserialize(Accepted(|| std::mem::take(&mut text).into_deserializer()))
        .ok()
        .or_else(|| RawValue::from_string(text).ok())
}

/// Text that was accepted, in the shape in which `RawValue` asks for it: a map of one entry, named as it asks. The text is
/// fetched only when it is asked for so.
struct Accepted<F>(F);

impl<'de, D: Deserializer<'de, Error = Error>, F: FnOnce() -> D> Deserializer<'de> for Accepted<F> {
    type Error = Error;

    fn deserialize_any<V: Visitor<'de>>(self, _: V) -> Result<V::Value, Error> {
        Err(Error::custom(NotRaw))
    }

    fn deserialize_newtype_struct<V: Visitor<'de>>(
        self,
        name: &'static str,
        visitor: V,
    ) -> Result<V::Value, Error> {
        visitor.visit_map(Entry { name: Some(name), text: Some(self.0) })
    }

    forward_to_deserialize_any! {
        bool i8 i16 i32 i64 i128 u8 u16 u32 u64 u128 f32 f64 char str string bytes byte_buf option unit unit_struct seq
        tuple tuple_struct map struct enum identifier ignored_any
    }
}

struct Entry<F> {
    name: Option<&'static str>,
    text: Option<F>,
}

impl<'de, D: Deserializer<'de, Error = Error>, F: FnOnce() -> D> MapAccess<'de> for Entry<F> {
    type Error = Error;

    fn next_key_seed<K: DeserializeSeed<'de>>(&mut self, seed: K) -> Result<Option<K::Value>, Error> {
        self.name.take().map(|name| seed.deserialize(BorrowedStrDeserializer::new(name))).transpose()
    }

    fn next_value_seed<V: DeserializeSeed<'de>>(&mut self, seed: V) -> Result<V::Value, Error> {
        self.text.take().ok_or_else(|| Error::custom(NotRaw)).and_then(|text| seed.deserialize(text()))
    }
}

struct NotRaw;

impl fmt::Display for NotRaw {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("only raw values are made here")
    }
}

#[cfg(test)]
mod tests;
