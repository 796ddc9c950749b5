//! `x-mcp-header` annotations of a tool's input schema (2026-07-28, streamable HTTP, schema extension).

use http::header::HeaderName;
use serde_json::value::RawValue;

use super::PARAM_PREFIX;
use crate::object;

/// The annotation's keyword.
const KEYWORD: &str = "x-mcp-header";
/// Most annotations that one tool may have: each becomes a header of every call.
const MAX_PARAMS: usize = 64;
/// Deepest schema that is searched.
const MAX_DEPTH: usize = 64;

/// A parameter that a tool wants mirrored in a header.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct HeaderParam {
    /// The annotation's value: the part after `Mcp-Param-`, a field-name token.
    pub header: String,
    /// The chain of property names that leads to it in `arguments`.
    pub path: Vec<String>,
}

impl HeaderParam {
    /// The whole header's name; `None` only if `header` is no token, which [`header_params`] never gives.
    #[must_use]
    pub fn header_name(&self) -> Option<HeaderName> {
        HeaderName::from_bytes(format!("{PARAM_PREFIX}{}", self.header).as_bytes()).ok()
    }
}

/// A tool definition whose `x-mcp-header` annotations break the rules; clients must leave such a tool out.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("x-mcp-header: {0}")]
pub struct HeaderParamError(pub String);

/// The `x-mcp-header` annotations of an input schema, in the order of the document.
///
/// # Errors
/// If an annotation breaks a rule; the tool is then not to be offered over HTTP.
pub fn header_params(input_schema: &RawValue) -> Result<Vec<HeaderParam>, HeaderParamError> {
    // Almost no schema has one: then nothing is parsed. The keyword could hide behind an escape.
    if !input_schema.get().contains(KEYWORD) && !input_schema.get().contains('\\') {
        return Ok(Vec::new());
    }
    let mut search = Search { found: Vec::new(), path: Vec::new() };
    search.schema(input_schema, Reach::Root, 0)?;
    Ok(search.found)
}

/// How a schema is reached.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Reach {
    /// It is the input schema itself.
    Root,
    /// By `properties` alone.
    Properties,
    /// Through anything else: no annotation may stand here.
    Otherwise,
}

struct Search {
    found: Vec<HeaderParam>,
    path: Vec<String>,
}

impl Search {
    fn schema(&mut self, schema: &RawValue, reach: Reach, depth: usize) -> Result<(), HeaderParamError> {
        if depth > MAX_DEPTH {
            return Err(HeaderParamError("the schema is nested too deeply".to_owned()));
        }
        if !schema.get().starts_with('{') {
            return Ok(());
        }
        let members =
            object::members(schema).ok_or_else(|| HeaderParamError("a schema repeats a name".to_owned()))?;
        let deeper = depth + 1;
        for (keyword, value) in &members {
            match keyword.as_ref() {
                KEYWORD => {
                    let kind = members.iter().find(|(name, _)| name == "type").map(|(_, kind)| *kind);
                    self.annotation(value, kind, reach)?;
                }
                "properties" if reach != Reach::Otherwise => {
                    for (name, property) in object::members(value).unwrap_or_default() {
                        self.path.push(name.into_owned());
                        self.schema(property, Reach::Properties, deeper)?;
                        self.path.pop();
                    }
                }
                "properties" | "patternProperties" | "$defs" | "definitions" | "dependentSchemas" => {
                    for (_, inner) in object::members(value).unwrap_or_default() {
                        self.schema(inner, Reach::Otherwise, deeper)?;
                    }
                }
                "items"
                | "prefixItems"
                | "additionalItems"
                | "unevaluatedItems"
                | "contains"
                | "additionalProperties"
                | "unevaluatedProperties"
                | "propertyNames"
                | "oneOf"
                | "anyOf"
                | "allOf"
                | "not"
                | "if"
                | "then"
                | "else" => {
                    self.schema(value, Reach::Otherwise, deeper)?;
                    for inner in object::elements(value).unwrap_or_default() {
                        self.schema(inner, Reach::Otherwise, deeper)?;
                    }
                }
                // Other keywords hold data (`default`, `enum`, `const`, `examples`) or no schema at all.
                _ => {}
            }
        }
        Ok(())
    }

    fn annotation(
        &mut self,
        value: &RawValue,
        kind: Option<&RawValue>,
        reach: Reach,
    ) -> Result<(), HeaderParamError> {
        let refuse = |why: String| Err(HeaderParamError(why));
        let Some(header) = object::string(value) else {
            return refuse("an annotation is not a string".to_owned());
        };
        if header.is_empty() {
            return refuse("an annotation is empty".to_owned());
        }
        if !header.bytes().all(is_tchar) {
            return refuse(format!("{header:?} is no header name"));
        }
        if reach != Reach::Properties {
            return refuse(format!("{header} is not on a parameter that is reached by properties alone"));
        }
        if !kind.is_some_and(is_primitive) {
            return refuse(format!("{header} is on a parameter that is no string, integer or boolean"));
        }
        if self.found.iter().any(|other| other.header.eq_ignore_ascii_case(&header)) {
            return refuse(format!("{header} occurs twice"));
        }
        if self.found.len() == MAX_PARAMS {
            return refuse(format!("more than {MAX_PARAMS} annotations"));
        }
        self.found.push(HeaderParam { header: header.into_owned(), path: self.path.clone() });
        Ok(())
    }
}

/// `string`, `integer` or `boolean`, alone or as alternatives that may include `null`.
fn is_primitive(kind: &RawValue) -> bool {
    let is_one = |name: &str| matches!(name, "string" | "integer" | "boolean");
    if let Some(name) = object::string(kind) {
        return is_one(&name);
    }
    let names: Option<Vec<_>> =
        object::elements(kind).and_then(|kinds| kinds.into_iter().map(object::string).collect());
    names.is_some_and(|names| {
        names.iter().any(|name| is_one(name)) && names.iter().all(|name| is_one(name) || name == "null")
    })
}

/// RFC 9110, section 5.6.2.
fn is_tchar(byte: u8) -> bool {
    byte.is_ascii_alphanumeric() || b"!#$%&'*+-.^_`|~".contains(&byte)
}
