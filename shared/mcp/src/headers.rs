//! MCP's HTTP headers: their names, whether they tell the same as the body, and the same headers for an upstream request
//! (2026-07-28, streamable HTTP, request metadata).

use std::borrow::Cow;

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use http::header::{HeaderMap, HeaderName, HeaderValue};
use serde_json::value::RawValue;

use crate::envelope::Params;
use crate::methods::{Method, NameSource};
use crate::object;
use crate::revision::{Era, Revision};

mod annotations;

pub use annotations::{HeaderParam, HeaderParamError, header_params};

/// `MCP-Protocol-Version`.
pub const PROTOCOL_VERSION: HeaderName = HeaderName::from_static("mcp-protocol-version");
/// `Mcp-Method`.
pub const METHOD: HeaderName = HeaderName::from_static("mcp-method");
/// `Mcp-Name`.
pub const NAME: HeaderName = HeaderName::from_static("mcp-name");
/// `Mcp-Session-Id` (legacy).
pub const SESSION_ID: HeaderName = HeaderName::from_static("mcp-session-id");
/// `Last-Event-ID` (legacy).
pub const LAST_EVENT_ID: HeaderName = HeaderName::from_static("last-event-id");
/// What the names of parameter headers begin with.
pub const PARAM_PREFIX: &str = "mcp-param-";
/// `X-Portcullis-Key`: the virtual key.
pub const PORTCULLIS_KEY: HeaderName = HeaderName::from_static("x-portcullis-key");
/// `X-Request-Id`: id of the audit record.
pub const REQUEST_ID: HeaderName = HeaderName::from_static("x-request-id");
/// `X-Accel-Buffering`: `no` on event streams.
pub const ACCEL_BUFFERING: HeaderName = HeaderName::from_static("x-accel-buffering");

/// What an encoded value begins with.
const ENCODED_PREFIX: &str = "=?base64?";
/// What an encoded value ends with.
const ENCODED_SUFFIX: &str = "?=";
/// The largest integer that every JSON reader keeps exact, 2^53 - 1.
const SAFE_INTEGER: f64 = 9_007_199_254_740_991.0;
/// How much of a value a message repeats.
const SHOWN_CHARS: usize = 64;

/// Headers and body differ. HTTP 400; JSON-RPC -32020 to modern callers.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("Header mismatch: {0}")]
pub struct HeaderMismatch(pub String);

/// Checks `MCP-Protocol-Version` of a modern request against `_meta`, which must have one.
///
/// # Errors
/// If it is missing, doubled, malformed or different.
pub fn check_version(headers: &HeaderMap, params: &Params<'_>) -> Result<(), HeaderMismatch> {
    let version = params.meta.protocol_version.as_deref().unwrap_or_default();
    must_equal("MCP-Protocol-Version", single(headers, &PROTOCOL_VERSION)?, version)
}

/// Checks `Mcp-Method` and `Mcp-Name` of a modern request against its body. A name that the body lacks is another fault.
///
/// # Errors
/// If one is missing, doubled, malformed or different.
pub fn check_standard(headers: &HeaderMap, method: &str, params: &Params<'_>) -> Result<(), HeaderMismatch> {
    must_equal("Mcp-Method", single(headers, &METHOD)?, method)?;
    let name = match Method::parse(method).and_then(Method::name_source) {
        Some(NameSource::Name) => params.name.as_deref(),
        Some(NameSource::Uri) => params.uri.as_deref(),
        None => None,
    };
    let Some(name) = name else { return Ok(()) };
    let header = single(headers, &NAME)?.map(decode).transpose()?;
    must_equal("Mcp-Name", header.as_deref(), name)
}

/// Checks `Mcp-Param-*` of a modern `tools/call` against its arguments. Parameter headers that the tool does not ask for are
/// nobody's concern.
///
/// # Errors
/// If one is missing, doubled, malformed or different, or there although the arguments have no such value.
pub fn check_params(
    headers: &HeaderMap,
    header_params: &[HeaderParam],
    arguments: Option<&RawValue>,
) -> Result<(), HeaderMismatch> {
    for param in header_params {
        let name = param.header_name();
        let header = match &name {
            Some(name) => single(headers, name)?.map(decode).transpose()?,
            None => None,
        };
        match (header, primitive(param, arguments)) {
            (None, None) => {}
            (Some(header), Some(value)) if value.equals(&header) => {}
            (Some(header), Some(value)) => {
                return Err(HeaderMismatch(format!(
                    "Mcp-Param-{} header value '{}' does not match body value '{}'",
                    param.header,
                    shown(&header),
                    shown(&value.text())
                )));
            }
            (Some(_), None) => {
                return Err(HeaderMismatch(format!("Mcp-Param-{} has no value in the body", param.header)));
            }
            (None, Some(_)) => {
                return Err(HeaderMismatch(format!("Mcp-Param-{} header is missing", param.header)));
            }
        }
    }
    Ok(())
}

/// Adds the headers that a request to an upstream of this revision must carry: `MCP-Protocol-Version` from 2025-06-18 on;
/// `Mcp-Method`, `Mcp-Name` and `Mcp-Param-*` for modern ones. `name` is what `Mcp-Name` mirrors.
pub fn compose(
    headers: &mut HeaderMap,
    revision: Revision,
    method: &str,
    name: Option<&str>,
    header_params: &[HeaderParam],
    arguments: Option<&RawValue>,
) {
    if revision >= Revision::V2025_06_18 {
        headers.insert(PROTOCOL_VERSION, HeaderValue::from_static(revision.as_str()));
    }
    if revision.era() == Era::Legacy {
        return;
    }
    insert(headers, METHOD, method);
    if let Some(name) = name {
        insert(headers, NAME, name);
    }
    for param in header_params {
        if let (Some(header), Some(value)) = (param.header_name(), primitive(param, arguments)) {
            insert(headers, header, &value.text());
        }
    }
}

/// A value as a header carries it: as it is if that is safe, else `=?base64?…?=`.
#[must_use]
pub fn encode(value: &str) -> Cow<'_, str> {
    let visible = value.bytes().all(|byte| (0x20..=0x7e).contains(&byte));
    let padded = value.starts_with(' ') || value.ends_with(' ');
    let sentinel = value.starts_with(ENCODED_PREFIX) && value.ends_with(ENCODED_SUFFIX);
    let plain = visible && !padded && !sentinel;
    if plain {
        Cow::Borrowed(value)
    } else {
        Cow::Owned(format!("{ENCODED_PREFIX}{}{ENCODED_SUFFIX}", STANDARD.encode(value)))
    }
}

/// What a header value says.
///
/// # Errors
/// If it is encoded, and not as it should be.
pub fn decode(value: &str) -> Result<Cow<'_, str>, HeaderMismatch> {
    let Some(encoded) = value.strip_prefix(ENCODED_PREFIX).and_then(|rest| rest.strip_suffix(ENCODED_SUFFIX))
    else {
        return Ok(Cow::Borrowed(value));
    };
    STANDARD
        .decode(encoded)
        .ok()
        .and_then(|bytes| String::from_utf8(bytes).ok())
        .map(Cow::Owned)
        .ok_or_else(|| HeaderMismatch("a header value is not valid Base64 of UTF-8 text".to_owned()))
}

fn insert(headers: &mut HeaderMap, name: HeaderName, value: &str) {
    // Encoded values are visible ASCII, so that this cannot fail.
    if let Ok(value) = HeaderValue::from_str(&encode(value)) {
        headers.insert(name, value);
    }
}

/// The header's value if it is there once, of visible ASCII, blanks and tabs.
fn single<'a>(headers: &'a HeaderMap, name: &HeaderName) -> Result<Option<&'a str>, HeaderMismatch> {
    let mut values = headers.get_all(name).iter();
    let Some(value) = values.next() else { return Ok(None) };
    if values.next().is_some() {
        return Err(HeaderMismatch(format!("{name} occurs more than once")));
    }
    let text = value.to_str().map_err(|_| HeaderMismatch(format!("{name} contains invalid characters")))?;
    Ok(Some(text.trim_matches([' ', '\t'])))
}

fn must_equal(name: &str, header: Option<&str>, body: &str) -> Result<(), HeaderMismatch> {
    match header {
        Some(header) if header == body => Ok(()),
        Some(header) => Err(HeaderMismatch(format!(
            "{name} header value '{}' does not match body value '{}'",
            shown(header),
            shown(body)
        ))),
        None => Err(HeaderMismatch(format!("{name} header is missing"))),
    }
}

fn shown(value: &str) -> Cow<'_, str> {
    match value.char_indices().nth(SHOWN_CHARS) {
        Some((at, _)) => Cow::Owned(format!("{}…", value.get(..at).unwrap_or_default())),
        None => Cow::Borrowed(value),
    }
}

/// A value that a header can carry.
enum Primitive<'a> {
    Text(Cow<'a, str>),
    /// As it stands in the body.
    Number(&'a str),
    Boolean(&'static str),
}

impl Primitive<'_> {
    /// As a header says it: integers in decimal.
    fn text(&self) -> Cow<'_, str> {
        match self {
            Self::Text(text) => Cow::Borrowed(text),
            Self::Boolean(text) => Cow::Borrowed(text),
            Self::Number(number) => {
                let whole =
                    number.parse::<f64>().ok().filter(|n| n.fract() == 0.0 && n.abs() <= SAFE_INTEGER);
                match whole {
                    Some(whole) if number.contains(['.', 'e', 'E']) => Cow::Owned(format!("{whole:.0}")),
                    _ => Cow::Borrowed(number),
                }
            }
        }
    }

    /// Numbers are compared numerically, everything else byte for byte.
    fn equals(&self, header: &str) -> bool {
        match self {
            Self::Text(text) => text == header,
            Self::Boolean(text) => *text == header,
            Self::Number(number) => {
                if *number == header {
                    return true;
                }
                let exact = |text: &str| text.parse::<f64>().ok().filter(|n| n.abs() <= SAFE_INTEGER);
                matches!((exact(number), exact(header)), (Some(body), Some(header)) if body == header)
            }
        }
    }
}

/// The value at the parameter's path, if it is there and one that a header can carry.
fn primitive<'a>(param: &HeaderParam, arguments: Option<&'a RawValue>) -> Option<Primitive<'a>> {
    let value = param.path.iter().try_fold(arguments?, |object, name| object::member(object, name))?;
    match value.get() {
        "true" => Some(Primitive::Boolean("true")),
        "false" => Some(Primitive::Boolean("false")),
        "null" => None,
        text if text.starts_with('"') => object::string(value).map(Primitive::Text),
        text if text.starts_with(['{', '[']) => None,
        number => Some(Primitive::Number(number)),
    }
}

#[cfg(test)]
mod tests;
