//! Which arguments of a tool are mirrored into HTTP headers, read once from its approved `inputSchema`.
//!
//! After MCP 2026-07-28, basic/transports/streamable-http, "Schema Extension". The schema is walked by its keywords, so that
//! a property *named* `x-mcp-header`, or one inside `default` or `examples`, is no annotation.

use std::collections::HashSet;

use serde_json::{Map, Value};

/// The annotation.
const ANNOTATION: &str = "x-mcp-header";
/// How deep a schema may be nested.
const MAX_DEPTH: usize = 64;
/// How many arguments of one tool may be mirrored.
const MAX_PARAMS: usize = 64;

/// One argument that is mirrored into `Mcp-Param-{header}`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct HeaderParam {
    /// What follows `Mcp-Param-`: an HTTP token, unique within the tool whatever its case.
    pub header: String,
    /// The members that lead from `arguments` to the value, outermost first; never empty.
    pub path: Vec<String>,
    /// What the value is.
    pub kind: ParamKind,
}

/// What a mirrored argument is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ParamKind {
    /// A string.
    String,
    /// An integer between −2⁵³+1 and 2⁵³−1.
    Integer,
    /// A boolean.
    Boolean,
}

const MAPS_OF_SCHEMAS: &[&str] = &["patternProperties", "$defs", "definitions", "dependentSchemas"];
const SCHEMAS: &[&str] = &[
    "items",
    "additionalProperties",
    "additionalItems",
    "unevaluatedProperties",
    "unevaluatedItems",
    "contains",
    "propertyNames",
    "contentSchema",
    "not",
    "if",
    "then",
    "else",
    "prefixItems",
    "allOf",
    "anyOf",
    "oneOf",
];

/// Reads the annotations of a definition.
///
/// # Errors
/// A sentence that says which annotation breaks which rule. Such a tool must not be offered over Streamable HTTP.
pub fn header_params(definition: &str) -> Result<Vec<HeaderParam>, String> {
    if !definition.contains(ANNOTATION) {
        return Ok(Vec::new());
    }
    let Ok(Value::Object(definition)) = serde_json::from_str(definition) else {
        return Err("the definition is no JSON object".to_owned());
    };
    let Some(schema) = definition.get("inputSchema") else { return Ok(Vec::new()) };
    let mut walk = Walk { found: Vec::new(), seen: HashSet::new(), path: Vec::new() };
    walk.schema(schema, true, 0)?;
    Ok(walk.found)
}

struct Walk {
    found: Vec<HeaderParam>,
    /// Lower-case header names.
    seen: HashSet<String>,
    path: Vec<String>,
}

impl Walk {
    /// `reachable`: nothing but `properties` leads here.
    fn schema(&mut self, schema: &Value, reachable: bool, depth: usize) -> Result<(), String> {
        let Value::Object(schema) = schema else { return Ok(()) };
        if depth > MAX_DEPTH {
            return Err(format!("the inputSchema is nested deeper than {MAX_DEPTH}"));
        }
        if let Some(annotation) = schema.get(ANNOTATION) {
            self.annotation(annotation, schema, reachable)?;
        }
        if let Some(Value::Object(properties)) = schema.get("properties") {
            for (name, property) in properties {
                self.path.push(name.clone());
                self.schema(property, reachable, depth + 1)?;
                self.path.pop();
            }
        }
        for keyword in MAPS_OF_SCHEMAS {
            if let Some(Value::Object(schemas)) = schema.get(*keyword) {
                schemas.values().try_for_each(|schema| self.schema(schema, false, depth + 1))?;
            }
        }
        for keyword in SCHEMAS {
            match schema.get(*keyword) {
                Some(Value::Array(schemas)) => {
                    schemas.iter().try_for_each(|schema| self.schema(schema, false, depth + 1))?;
                }
                Some(schema) => self.schema(schema, false, depth + 1)?,
                None => {}
            }
        }
        Ok(())
    }

    fn annotation(
        &mut self,
        annotation: &Value,
        schema: &Map<String, Value>,
        reachable: bool,
    ) -> Result<(), String> {
        let place = if self.path.is_empty() { "its root".to_owned() } else { self.path.join(".") };
        let Value::String(header) = annotation else {
            return Err(format!("{ANNOTATION} at {place} is no string"));
        };
        if header.is_empty() || !header.bytes().all(is_token_byte) {
            return Err(format!("{ANNOTATION} at {place} is no HTTP token"));
        }
        if !reachable || self.path.is_empty() {
            return Err(format!("{ANNOTATION} at {place} is not reached through properties alone"));
        }
        let kind = match schema.get("type").and_then(Value::as_str) {
            Some("string") => ParamKind::String,
            Some("integer") => ParamKind::Integer,
            Some("boolean") => ParamKind::Boolean,
            _ => return Err(format!("{ANNOTATION} at {place} needs the type string, integer or boolean")),
        };
        if !self.seen.insert(header.to_ascii_lowercase()) {
            return Err(format!("{ANNOTATION} {header:?} stands twice"));
        }
        if self.found.len() >= MAX_PARAMS {
            return Err(format!("more than {MAX_PARAMS} arguments carry {ANNOTATION}"));
        }
        self.found.push(HeaderParam { header: header.clone(), path: self.path.clone(), kind });
        Ok(())
    }
}

/// `tchar` of RFC 9110, section 5.6.2.
const fn is_token_byte(byte: u8) -> bool {
    byte.is_ascii_alphanumeric()
        || matches!(
            byte,
            b'!' | b'#'
                | b'$'
                | b'%'
                | b'&'
                | b'\''
                | b'*'
                | b'+'
                | b'-'
                | b'.'
                | b'^'
                | b'_'
                | b'`'
                | b'|'
                | b'~'
        )
}

#[cfg(test)]
mod tests;
