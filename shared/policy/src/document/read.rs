//! From a tree to typed resources through serde, so that the types stay the one description of the shape; errors know the
//! path and the line of what they speak of.

use std::fmt;

use serde::de::{
    self, DeserializeSeed, Deserializer, EnumAccess, Expected, IntoDeserializer, MapAccess, SeqAccess,
    Unexpected, VariantAccess, Visitor,
};

use super::tree::{Member, Node, Tree};

/// The way from the root of a document to a value.
#[derive(Clone, Copy)]
pub(super) enum Path<'a> {
    Root,
    Key(&'a Path<'a>, &'a str),
    Index(&'a Path<'a>, usize),
}

/// `spec.grants[0].bundle`
impl fmt::Display for Path<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Path::Root => Ok(()),
            Path::Key(Path::Root, name) => f.write_str(name),
            Path::Key(parent, name) => write!(f, "{parent}.{name}"),
            Path::Index(parent, at) => write!(f, "{parent}[{at}]"),
        }
    }
}

/// What is wrong, and where.
#[derive(Debug)]
pub(super) struct ReadError {
    /// Empty for the root; `None` until the value that it speaks of is known.
    pub(super) path: Option<String>,
    pub(super) line: u32,
    pub(super) message: String,
    /// Whether it is about a member that nobody knows.
    pub(super) unknown: bool,
    /// A member below the path that the error speaks of: one that is unknown, or missing.
    member: Option<String>,
}

impl ReadError {
    fn new(message: String) -> Self {
        Self { path: None, line: 0, message, unknown: false, member: None }
    }

    /// Gives the error its place, unless something further inside did.
    fn at(mut self, path: &Path<'_>, node: &Node, line: u32) -> Self {
        if self.path.is_some() {
            return self;
        }
        self.line = line;
        let mut place = path.to_string();
        if let Some(member) = self.member.take() {
            if let Some(found) = node.get(&member) {
                self.line = found.line;
            }
            place = Path::Key(path, &member).to_string();
        }
        self.path = Some(place);
        self
    }
}

impl fmt::Display for ReadError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.message)
    }
}

impl std::error::Error for ReadError {}

/// What serde calls a type, as a person would.
fn wanted(expected: &dyn Expected) -> String {
    let text = expected.to_string();
    match text.as_str() {
        "a string" => "a text".to_owned(),
        "a sequence" => "a list".to_owned(),
        "a map" => "a mapping".to_owned(),
        "u8" | "u16" | "u32" | "u64" => "a whole number".to_owned(),
        _ if text.starts_with("struct ") || text.starts_with("enum ") => "a mapping of fields".to_owned(),
        _ => text,
    }
}

fn fields(names: &[&str]) -> String {
    if names.is_empty() { "nothing".to_owned() } else { names.join(", ") }
}

impl de::Error for ReadError {
    fn custom<T: fmt::Display>(message: T) -> Self {
        Self::new(message.to_string())
    }

    fn invalid_type(found: Unexpected<'_>, expected: &dyn Expected) -> Self {
        let wanted = wanted(expected);
        let found_as = match found {
            Unexpected::Bool(value) => value.to_string(),
            Unexpected::Unsigned(value) => value.to_string(),
            Unexpected::Signed(value) => value.to_string(),
            Unexpected::Float(value) => value.to_string(),
            Unexpected::Str(text) => format!("the text {:?}", text.chars().take(60).collect::<String>()),
            Unexpected::Unit | Unexpected::Option => "empty".to_owned(),
            Unexpected::Seq => "a list".to_owned(),
            Unexpected::Map => "a mapping".to_owned(),
            other => other.to_string(),
        };
        let scalar = matches!(
            found,
            Unexpected::Bool(_) | Unexpected::Unsigned(_) | Unexpected::Signed(_) | Unexpected::Float(_)
        );
        let hint = if scalar && wanted == "a text" {
            format!(": write \"{found_as}\" with quotes")
        } else {
            String::new()
        };
        Self::new(format!("this is {found_as}, but it must be {wanted}{hint}"))
    }

    fn unknown_field(field: &str, expected: &'static [&'static str]) -> Self {
        let mut error = Self::new(format!("no such field is known here; known are: {}", fields(expected)));
        error.member = Some(field.to_owned());
        error.unknown = true;
        error
    }

    fn unknown_variant(variant: &str, expected: &'static [&'static str]) -> Self {
        let variant: String = variant.chars().take(60).collect();
        Self::new(format!("{variant:?} is not known here; write one of: {}", fields(expected)))
    }

    fn missing_field(field: &'static str) -> Self {
        let mut error = Self::new("this field is required and missing".to_owned());
        error.member = Some(field.to_owned());
        error
    }
}

/// A value at its place.
#[derive(Clone, Copy)]
pub(super) struct At<'a> {
    pub(super) node: &'a Node,
    /// Where people look for it: the line of its name, or of the item.
    pub(super) line: u32,
    pub(super) path: &'a Path<'a>,
}

impl At<'_> {
    fn place<T>(&self, result: Result<T, ReadError>) -> Result<T, ReadError> {
        result.map_err(|error| error.at(self.path, self.node, self.line))
    }
}

impl<'de> Deserializer<'de> for At<'_> {
    type Error = ReadError;

    fn deserialize_any<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, ReadError> {
        let result = match &self.node.value {
            Tree::Null => visitor.visit_unit(),
            Tree::Bool(value) => visitor.visit_bool(*value),
            Tree::Number(number) => match (number.as_u64(), number.as_i64(), number.as_f64()) {
                (Some(value), _, _) => visitor.visit_u64(value),
                (None, Some(value), _) => visitor.visit_i64(value),
                (None, None, value) => visitor.visit_f64(value.unwrap_or(f64::NAN)),
            },
            Tree::Text(text) => visitor.visit_str(text),
            Tree::List(items) => visitor.visit_seq(Items { items, path: self.path }),
            Tree::Map(members) => visitor.visit_map(Members { members, next: None, path: self.path }),
        };
        self.place(result)
    }

    fn deserialize_option<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, ReadError> {
        match self.node.value {
            Tree::Null => self.place(visitor.visit_none()),
            _ => self.place(visitor.visit_some(self)),
        }
    }

    fn deserialize_newtype_struct<V: Visitor<'de>>(
        self,
        _: &'static str,
        visitor: V,
    ) -> Result<V::Value, ReadError> {
        self.place(visitor.visit_newtype_struct(self))
    }

    fn deserialize_enum<V: Visitor<'de>>(
        self,
        _: &'static str,
        variants: &'static [&'static str],
        visitor: V,
    ) -> Result<V::Value, ReadError> {
        let exactly_one = || {
            let message = format!("write exactly one of: {}", fields(variants));
            self.place(Err(ReadError::new(message)))
        };
        let result = match &self.node.value {
            Tree::Text(name) => visitor.visit_enum(Variant { name, content: None, whole: self }),
            Tree::Map(members) => match members.as_slice() {
                [member] => visitor.visit_enum(Variant {
                    name: &member.name,
                    content: Some(&member.value),
                    whole: self,
                }),
                _ => return exactly_one(),
            },
            _ => return exactly_one(),
        };
        self.place(result)
    }

    serde::forward_to_deserialize_any! {
        bool i8 i16 i32 i64 i128 u8 u16 u32 u64 u128 f32 f64 char str string bytes byte_buf
        unit unit_struct seq tuple tuple_struct map struct identifier ignored_any
    }
}

struct Items<'a> {
    items: &'a [(usize, Node)],
    path: &'a Path<'a>,
}

impl<'de> SeqAccess<'de> for Items<'_> {
    type Error = ReadError;

    fn next_element_seed<T: DeserializeSeed<'de>>(&mut self, seed: T) -> Result<Option<T::Value>, ReadError> {
        let Some(((at, node), rest)) = self.items.split_first() else { return Ok(None) };
        self.items = rest;
        let path = Path::Index(self.path, *at);
        let at = At { node, line: node.line, path: &path };
        at.place(seed.deserialize(at)).map(Some)
    }
}

struct Members<'a> {
    members: &'a [Member],
    next: Option<&'a Member>,
    path: &'a Path<'a>,
}

impl<'de> MapAccess<'de> for Members<'_> {
    type Error = ReadError;

    fn next_key_seed<K: DeserializeSeed<'de>>(&mut self, seed: K) -> Result<Option<K::Value>, ReadError> {
        let Some((member, rest)) = self.members.split_first() else { return Ok(None) };
        self.members = rest;
        self.next = Some(member);
        seed.deserialize(member.name.as_str().into_deserializer()).map(Some)
    }

    fn next_value_seed<V: DeserializeSeed<'de>>(&mut self, seed: V) -> Result<V::Value, ReadError> {
        let Some(member) = self.next.take() else {
            return Err(ReadError::new("a value was asked for before its name".to_owned()));
        };
        let path = Path::Key(self.path, &member.name);
        let at = At { node: &member.value, line: member.line, path: &path };
        at.place(seed.deserialize(at))
    }
}

struct Variant<'a> {
    name: &'a str,
    content: Option<&'a Node>,
    whole: At<'a>,
}

impl<'a, 'de> EnumAccess<'de> for Variant<'a> {
    type Error = ReadError;
    type Variant = Content<'a>;

    fn variant_seed<V: DeserializeSeed<'de>>(self, seed: V) -> Result<(V::Value, Content<'a>), ReadError> {
        let name: de::value::StrDeserializer<'_, ReadError> = self.name.into_deserializer();
        let variant = self.whole.place(seed.deserialize(name))?;
        Ok((variant, Content { name: self.name, node: self.content, whole: self.whole }))
    }
}

struct Content<'a> {
    name: &'a str,
    node: Option<&'a Node>,
    whole: At<'a>,
}

impl<'de> VariantAccess<'de> for Content<'_> {
    type Error = ReadError;

    fn unit_variant(self) -> Result<(), ReadError> {
        match self.node {
            None => Ok(()),
            Some(_) => self.whole.place(Err(ReadError::new(format!("write {} alone", self.name)))),
        }
    }

    fn newtype_variant_seed<T: DeserializeSeed<'de>>(self, seed: T) -> Result<T::Value, ReadError> {
        let Some(node) = self.node else {
            let message = format!("write {{ {}: {{ … }} }}", self.name);
            return self.whole.place(Err(ReadError::new(message)));
        };
        let path = Path::Key(self.whole.path, self.name);
        let at = At { node, line: node.line, path: &path };
        at.place(seed.deserialize(at))
    }

    fn tuple_variant<V: Visitor<'de>>(self, _: usize, visitor: V) -> Result<V::Value, ReadError> {
        self.struct_variant(&[], visitor)
    }

    fn struct_variant<V: Visitor<'de>>(
        self,
        _: &'static [&'static str],
        visitor: V,
    ) -> Result<V::Value, ReadError> {
        let Some(node) = self.node else {
            return self.whole.place(Err(ReadError::new(format!("{} needs a value", self.name))));
        };
        let path = Path::Key(self.whole.path, self.name);
        At { node, line: node.line, path: &path }.deserialize_any(visitor)
    }
}
