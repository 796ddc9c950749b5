//! How peers get to know each other: `initialize` (legacy) and `server/discover` (modern), written and read.

use std::borrow::Cow;

use serde_json::value::RawValue;

use crate::names;
use crate::object::{elements, member, push_quoted, quoted, string};
use crate::revision::Revision;

/// What a server says about itself in either era.
#[derive(Debug, Clone, Default)]
pub struct ServerFacts<'a> {
    /// Legacy: the one negotiated version. Modern: every supported one.
    pub versions: Vec<Cow<'a, str>>,
    /// `ServerCapabilities`, an object.
    pub capabilities: Option<&'a RawValue>,
    /// `Implementation`, an object.
    pub server_info: Option<&'a RawValue>,
    /// What the server tells models about itself.
    pub instructions: Option<Cow<'a, str>>,
}

/// Reads the result of `initialize`; `None` if it names no version or has no capabilities.
#[must_use]
pub fn read_initialize_result(result: &RawValue) -> Option<ServerFacts<'_>> {
    Some(ServerFacts {
        versions: vec![member(result, "protocolVersion").and_then(string)?],
        capabilities: Some(member(result, "capabilities").filter(is_object)?),
        server_info: member(result, "serverInfo").filter(is_object),
        instructions: member(result, "instructions").and_then(string),
    })
}

/// Reads the result of `server/discover`; `None` if it names no versions or has no capabilities.
#[must_use]
pub fn read_discover_result(result: &RawValue) -> Option<ServerFacts<'_>> {
    let versions = elements(member(result, "supportedVersions")?)?;
    let meta = member(result, names::META);
    Some(ServerFacts {
        versions: versions.into_iter().filter_map(string).collect(),
        capabilities: Some(member(result, "capabilities").filter(is_object)?),
        server_info: meta.and_then(|meta| member(meta, names::SERVER_INFO)).filter(is_object),
        instructions: member(result, "instructions").and_then(string),
    })
}

/// The result of `initialize`. `capabilities` and `server_info` are JSON objects.
#[must_use]
pub fn initialize_result(
    revision: Revision,
    capabilities: &str,
    server_info: &str,
    instructions: Option<&str>,
) -> String {
    let mut out = format!(
        "{{\"protocolVersion\":\"{revision}\",\"capabilities\":{capabilities},\"serverInfo\":{server_info}"
    );
    push_instructions(&mut out, instructions);
    out.push('}');
    out
}

/// The result of `server/discover`, never to be shared between callers. `capabilities` and `server_info` are JSON objects.
#[must_use]
pub fn discover_result(
    supported: &[Revision],
    capabilities: &str,
    server_info: &str,
    instructions: Option<&str>,
    ttl_ms: u64,
) -> String {
    let versions: Vec<String> = supported.iter().map(|revision| quoted(revision.as_str())).collect();
    let mut out = format!(
        "{{\"resultType\":\"complete\",\"supportedVersions\":[{}],\"capabilities\":{capabilities}",
        versions.join(",")
    );
    push_instructions(&mut out, instructions);
    out.push_str(&format!(
        ",\"ttlMs\":{ttl_ms},\"cacheScope\":\"private\",\"_meta\":{{\"{}\":{server_info}}}}}",
        names::SERVER_INFO
    ));
    out
}

/// `params` of `initialize`. `capabilities` and `client_info` are JSON objects.
#[must_use]
pub fn initialize_params(revision: Revision, capabilities: &str, client_info: &str) -> String {
    format!(
        "{{\"protocolVersion\":\"{revision}\",\"capabilities\":{capabilities},\"clientInfo\":{client_info}}}"
    )
}

fn push_instructions(out: &mut String, instructions: Option<&str>) {
    if let Some(instructions) = instructions {
        out.push_str(",\"instructions\":");
        push_quoted(out, instructions);
    }
}

fn is_object(raw: &&RawValue) -> bool {
    raw.get().starts_with('{')
}

#[cfg(test)]
mod tests;
