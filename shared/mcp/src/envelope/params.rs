//! What is read of `params` and `params._meta`, and which members must have which type for which method.

use std::borrow::Cow;

use serde_json::value::RawValue;

use super::{Meta, Params, raw};
use crate::methods::Method;
use crate::names;
use crate::scan::{Fault, Scanner};

/// Members that were there with another type than MCP gives them.
#[derive(Debug, Clone, Copy, Default)]
pub(super) struct Mistyped(u16);

impl Mistyped {
    const META: u16 = 1;
    const NAME: u16 = 1 << 1;
    const URI: u16 = 1 << 2;
    const CURSOR: u16 = 1 << 3;
    const ARGUMENTS: u16 = 1 << 4;
    const RETRY: u16 = 1 << 5;
    const REF: u16 = 1 << 6;
    /// Nobody's error: `null` is as if it were not there.
    const NULL: u16 = 1 << 7;

    /// What is wrong for this method; members that it does not define may be of any type.
    pub(super) fn message(self, method: &str) -> Option<&'static str> {
        if self.0 == 0 {
            return None;
        }
        let defined = match Method::parse(method) {
            Some(Method::ToolsCall | Method::PromptsGet) => Self::NAME | Self::ARGUMENTS | Self::RETRY,
            Some(Method::ResourcesRead) => Self::URI | Self::RETRY,
            Some(Method::ResourcesSubscribe | Method::ResourcesUnsubscribe) => Self::URI,
            Some(
                Method::ToolsList
                | Method::PromptsList
                | Method::ResourcesList
                | Method::ResourcesTemplatesList,
            ) => Self::CURSOR,
            Some(Method::CompletionComplete) => Self::REF,
            _ => 0,
        };
        let wrong = self.0 & (defined | Self::META);
        [
            (Self::META, "params._meta or a member of it has the wrong type"),
            (Self::NAME, "params.name is not a string"),
            (Self::URI, "params.uri is not a string"),
            (Self::CURSOR, "params.cursor is not a string"),
            (Self::ARGUMENTS, "params.arguments is not an object"),
            (Self::RETRY, "params.requestState is not a string or params.inputResponses not an object"),
            (Self::REF, "params.ref is not an object"),
        ]
        .into_iter()
        .find_map(|(bit, message)| (wrong & bit != 0).then_some(message))
    }
}

/// Reads the object at which the scanner stands.
pub(super) fn read<'a>(
    scanner: &mut Scanner<'a>,
    params: &mut Params<'a>,
    mistyped: &mut Mistyped,
) -> Result<(), Fault> {
    scanner.object(|scanner, name, _| {
        let member = match name.decode()?.as_ref() {
            "name" => {
                scanner.peek();
                let start = scanner.at();
                let member = text(scanner, &mut params.name, Mistyped::NAME)?;
                if params.name.is_some() {
                    params.raw_name = Some(raw(scanner.between(start, scanner.at())?)?);
                }
                Ok(member)
            }
            "uri" => text(scanner, &mut params.uri, Mistyped::URI),
            "cursor" => text(scanner, &mut params.cursor, Mistyped::CURSOR),
            "requestState" => text(scanner, &mut params.request_state, Mistyped::RETRY),
            "arguments" => object(scanner, &mut params.arguments, Mistyped::ARGUMENTS),
            "inputResponses" => object(scanner, &mut params.input_responses, Mistyped::RETRY),
            "ref" => object(scanner, &mut params.r#ref, Mistyped::REF),
            names::META => meta(scanner, &mut params.meta, mistyped),
            _ => scanner.value().map(|_| 0),
        };
        mistyped.0 |= member?;
        Ok(())
    })
}

fn meta<'a>(scanner: &mut Scanner<'a>, meta: &mut Meta<'a>, mistyped: &mut Mistyped) -> Result<u16, Fault> {
    if scanner.peek() != Some(b'{') {
        return Ok(if scanner.value()? == "null" { 0 } else { Mistyped::META });
    }
    let start = scanner.at();
    scanner.object(|scanner, name, _| {
        let member = match name.decode()?.as_ref() {
            names::PROTOCOL_VERSION => text(scanner, &mut meta.protocol_version, Mistyped::META),
            names::CLIENT_INFO => object(scanner, &mut meta.client_info, Mistyped::META),
            names::CLIENT_CAPABILITIES => object(scanner, &mut meta.client_capabilities, Mistyped::META),
            names::LOG_LEVEL => text(scanner, &mut meta.log_level, Mistyped::META),
            names::SUBSCRIPTION_ID => token(scanner, &mut meta.subscription_id),
            names::PROGRESS_TOKEN => token(scanner, &mut meta.progress_token),
            // Trace context that is no text is no trace context, and nobody's error.
            names::TRACEPARENT => text(scanner, &mut meta.traceparent, 0),
            names::TRACESTATE => text(scanner, &mut meta.tracestate, 0),
            names::BAGGAGE => text(scanner, &mut meta.baggage, 0),
            _ => scanner.value().map(|_| 0),
        };
        let member = member?;
        meta.has_null |= member == Mistyped::NULL;
        mistyped.0 |= member;
        Ok::<_, Fault>(())
    })?;
    meta.raw = Some(raw(scanner.between(start, scanner.at())?)?);
    Ok(0)
}

/// A string, or `null` as if it were not there, which is told; else `bit`.
fn text<'a>(scanner: &mut Scanner<'a>, into: &mut Option<Cow<'a, str>>, bit: u16) -> Result<u16, Fault> {
    if scanner.peek() == Some(b'"') {
        *into = Some(scanner.string()?.decode()?);
        return Ok(0);
    }
    Ok(if scanner.value()? == "null" { Mistyped::NULL } else { bit })
}

/// An object, or `null` as if it were not there; else `bit`.
fn object<'a>(scanner: &mut Scanner<'a>, into: &mut Option<&'a RawValue>, bit: u16) -> Result<u16, Fault> {
    let is_object = scanner.peek() == Some(b'{');
    let value = scanner.value()?;
    if is_object {
        *into = Some(raw(value)?);
    }
    Ok(match value {
        _ if is_object => 0,
        "null" => Mistyped::NULL,
        _ => bit,
    })
}

/// A string or an integer, or `null` as if it were not there.
fn token<'a>(scanner: &mut Scanner<'a>, into: &mut Option<&'a RawValue>) -> Result<u16, Fault> {
    let value = scanner.value()?;
    if super::is_id(value) {
        *into = Some(raw(value)?);
        return Ok(0);
    }
    Ok(if value == "null" { Mistyped::NULL } else { Mistyped::META })
}
