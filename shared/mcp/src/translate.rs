//! What one era says, said in the other: results, errors, notifications, `_meta` and capabilities.
//!
//! Between peers of one era nothing is touched. Whatever a translation does not name passes byte for byte.

use std::borrow::Cow;

use serde_json::value::RawValue;

use crate::edit::{Edit, EditError, Object, edit_object, edit_params};
use crate::methods::Method;
use crate::names;
use crate::object::quoted;
use crate::respond::code;
use crate::revision::Era;

mod capabilities;

pub use capabilities::{client_capabilities, server_capabilities};

/// What an upstream is told about the caller in `_meta` of a modern request.
#[derive(Debug, Clone, Copy)]
pub struct CallerFacts<'a> {
    /// `MCP-Protocol-Version` towards this upstream.
    pub protocol_version: &'a str,
    /// JSON of an `Implementation`.
    pub client_info: Option<&'a str>,
    /// JSON of `ClientCapabilities`.
    pub client_capabilities: &'a str,
    /// Least severe log level wanted.
    pub log_level: Option<&'a str>,
    /// W3C trace context.
    pub traceparent: Option<&'a str>,
    /// W3C trace context.
    pub tracestate: Option<&'a str>,
}

/// Why something of one era cannot be said in the other.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum TranslateError {
    /// The piece is no JSON object, or repeats a name.
    #[error("not a usable JSON object: {0}")]
    Malformed(#[from] EditError),
    /// A modern upstream asks its client for input, and the client is a legacy one.
    #[error("the server asks for input, which a client of this era cannot give")]
    InputRequired,
    /// A result type that the caller's era does not know.
    #[error("the server answered with an unknown result type")]
    UnknownResultType,
}

/// What becomes of a notification.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Notice<'a> {
    /// The other era has none such.
    Dropped,
    /// It passes with these `params`.
    Params(Option<Cow<'a, str>>),
}

/// A result of an upstream of era `from` for a caller of era `to`. `method` is the request's.
///
/// To modern: `resultType` is `complete`, and what may be cached is not to be (`ttlMs` 0, private): a legacy server promised
/// nothing. To legacy: these members go, and so does `structuredContent` that is no object.
///
/// # Errors
/// If it is no object or cannot be said in the other era.
pub fn result<'a>(method: &str, raw: &'a str, from: Era, to: Era) -> Result<Cow<'a, str>, TranslateError> {
    let method = Method::parse(method);
    let cacheable = method.is_some_and(Method::is_cacheable);
    match (from, to) {
        (Era::Modern, Era::Modern) | (Era::Legacy, Era::Legacy) => Ok(Cow::Borrowed(raw)),
        (Era::Legacy, Era::Modern) => {
            let complete = [
                ("resultType", Edit::Set("\"complete\"")),
                ("ttlMs", Edit::Set("0")),
                ("cacheScope", Edit::Set("\"private\"")),
            ];
            let edits = if cacheable { &complete[..] } else { &complete[..1] };
            Ok(Cow::Owned(edit_object(raw, edits)?))
        }
        (Era::Modern, Era::Legacy) => {
            let object = Object::read(raw)?;
            match object.get("resultType") {
                None | Some("\"complete\"") => {}
                Some("\"input_required\"") => return Err(TranslateError::InputRequired),
                Some(_) => return Err(TranslateError::UnknownResultType),
            }
            let mut edits = vec![("resultType", Edit::Remove)];
            if cacheable {
                edits.extend([("ttlMs", Edit::Remove), ("cacheScope", Edit::Remove)]);
            }
            if method == Some(Method::ToolsCall)
                && object.get("structuredContent").is_some_and(|value| !value.starts_with('{'))
            {
                edits.push(("structuredContent", Edit::Remove));
            }
            Ok(Cow::Owned(object.edited(&edits)))
        }
    }
}

/// An `error` object likewise. `method` is the request's.
///
/// To modern: a resource that is not there is -32602, and codes that 2026-07-28 forbids or gives another meaning become -32603.
/// To legacy: codes about the hop between Portcullis and the upstream become -32603. `message` and `data` pass.
///
/// # Errors
/// If it is no error object.
pub fn error<'a>(method: &str, raw: &'a str, from: Era, to: Era) -> Result<Cow<'a, str>, TranslateError> {
    let object = Object::read(raw)?;
    let old: i64 = object.get("code").and_then(|code| code.parse().ok()).ok_or(EditError::NotAnObject)?;
    let hop = old == i64::from(code::HEADER_MISMATCH) || old == i64::from(code::UNSUPPORTED_PROTOCOL_VERSION);
    let new = match (from, to) {
        (Era::Legacy, Era::Modern) if old == i64::from(code::RESOURCE_NOT_FOUND) => {
            let about_resource =
                method.starts_with("resources/") || method == Method::CompletionComplete.as_str();
            if about_resource { code::INVALID_PARAMS } else { code::INTERNAL_ERROR }
        }
        (Era::Legacy, Era::Modern) if code::RESERVED.contains(&old) => code::INTERNAL_ERROR,
        // A caller's own headers and version were judged here: what the upstream found wrong are Portcullis' own.
        (Era::Modern, _) if hop => code::INTERNAL_ERROR,
        _ => return Ok(Cow::Borrowed(raw)),
    };
    Ok(Cow::Owned(object.edited(&[("code", Edit::Set(&new.to_string()))])))
}

/// A notification of an upstream likewise.
///
/// # Errors
/// If the parameters are no object.
pub fn notification<'a>(
    method: &str,
    params: Option<&'a RawValue>,
    from: Era,
    to: Era,
) -> Result<Notice<'a>, TranslateError> {
    let dropped = match (from, to) {
        // Of requests and tasks that only legacy servers have.
        (Era::Legacy, Era::Modern) => {
            matches!(
                method,
                "notifications/cancelled"
                    | "notifications/elicitation/complete"
                    | "notifications/tasks/status"
            )
        }
        (Era::Modern, Era::Legacy) => method == "notifications/subscriptions/acknowledged",
        _ => false,
    };
    if dropped {
        return Ok(Notice::Dropped);
    }
    if (from, to) == (Era::Modern, Era::Legacy) {
        let params = edit_params(params, &[], &[(names::SUBSCRIPTION_ID, Edit::Remove)])?;
        return Ok(Notice::Params(params.map(|params| Cow::Owned(Box::<str>::from(params).into_string()))));
    }
    Ok(Notice::Params(params.map(|params| Cow::Borrowed(params.get()))))
}

/// `params` of a notification with the id of the `subscriptions/listen` that it is sent on.
///
/// # Errors
/// If the parameters are no object.
pub fn with_subscription_id(params: Option<&RawValue>, id: &RawValue) -> Result<Box<RawValue>, EditError> {
    edit_params(params, &[], &[(names::SUBSCRIPTION_ID, Edit::Set(id.get()))])?.ok_or(EditError::NotAnObject)
}

/// `params` for a modern upstream: `_meta` tells the caller's facts and nothing else of the protocol's.
///
/// # Errors
/// If `params` or its `_meta` is no object.
pub fn params_for_modern(
    params: Option<&RawValue>,
    facts: &CallerFacts<'_>,
) -> Result<Box<RawValue>, EditError> {
    let version = quoted(facts.protocol_version);
    let log_level = facts.log_level.map(quoted);
    let traces = [facts.traceparent.map(quoted), facts.tracestate.map(quoted)];
    let mut meta = vec![
        (names::PROTOCOL_VERSION, Edit::Set(&version)),
        (names::CLIENT_INFO, facts.client_info.map_or(Edit::Remove, Edit::Set)),
        (names::CLIENT_CAPABILITIES, Edit::Set(facts.client_capabilities)),
        (names::LOG_LEVEL, log_level.as_deref().map_or(Edit::Remove, Edit::Set)),
        (names::SUBSCRIPTION_ID, Edit::Remove),
    ];
    meta.extend(trace_edits(&traces));
    edit_params(params, &[], &meta)?.ok_or(EditError::NotAnObject)
}

/// `params` for a legacy upstream: without the protocol's keys in `_meta`, trace context as given.
///
/// # Errors
/// If `params` or its `_meta` is no object.
pub fn params_for_legacy(
    params: Option<&RawValue>,
    traceparent: Option<&str>,
    tracestate: Option<&str>,
) -> Result<Option<Box<RawValue>>, EditError> {
    let traces = [traceparent.map(quoted), tracestate.map(quoted)];
    let mut meta: Vec<_> = names::HOP_KEYS.iter().map(|key| (*key, Edit::Remove)).collect();
    meta.extend(trace_edits(&traces));
    edit_params(params, &[], &meta)
}

/// A trace context that is not given leaves what the caller sent.
fn trace_edits([parent, state]: &[Option<String>; 2]) -> impl Iterator<Item = (&'static str, Edit<'_>)> {
    [(names::TRACEPARENT, parent), (names::TRACESTATE, state)]
        .into_iter()
        .filter_map(|(name, value)| value.as_deref().map(|value| (name, Edit::Set(value))))
}

/// A tool's definition for a caller of era `to`. Legacy revisions know `outputSchema` of objects only; as `structuredContent`
/// of another type is left out for them, so is the schema that would demand it.
///
/// # Errors
/// If it is no object.
pub fn tool_definition(raw: &str, to: Era) -> Result<Cow<'_, str>, TranslateError> {
    if to == Era::Modern {
        return Ok(Cow::Borrowed(raw));
    }
    let object = Object::read(raw)?;
    let of_object = match object.get("outputSchema") {
        Some(schema) if schema.starts_with('{') => Object::of_raw(schema)?.get("type") == Some("\"object\""),
        Some(_) => false,
        None => true,
    };
    if of_object {
        return Ok(Cow::Borrowed(raw));
    }
    Ok(Cow::Owned(object.edited(&[("outputSchema", Edit::Remove)])))
}

#[cfg(test)]
mod tests;
