//! What every modern request must have before anything looks at what it asks for, in the order in which faults are told.

use http::HeaderMap;
use serde_json::value::RawValue;

use crate::envelope::Params;
use crate::headers;
use crate::respond::{self, Answer};
use crate::revision::{Era, MODERN_OFFERED, Revision};

/// Checks `_meta` and the standard headers of a modern request and gives its revision.
///
/// Order: required `_meta` fields (-32602), version header against `_meta` (-32020), the version itself (-32022), `Mcp-Method` and
/// `Mcp-Name` (-32020): what the other headers mean is known only for a version that is known.
///
/// # Errors
/// The answer to send.
pub fn check_modern(
    headers: &HeaderMap,
    id: &RawValue,
    method: &str,
    params: &Params<'_>,
) -> Result<Revision, Box<Answer>> {
    let missing = |field: &str| {
        Box::new(respond::invalid_params(Some(id), &format!("params._meta lacks {field}"), true))
    };
    let meta = &params.meta;
    let Some(version) = meta.protocol_version.as_deref() else {
        return Err(missing(crate::names::PROTOCOL_VERSION));
    };
    if meta.client_capabilities.is_none() {
        return Err(missing(crate::names::CLIENT_CAPABILITIES));
    }
    let mismatch = |fault| Box::new(respond::header_mismatch(Era::Modern, Some(id), &fault));
    headers::check_version(headers, params).map_err(mismatch)?;
    let revision = MODERN_OFFERED
        .iter()
        .copied()
        .find(|revision| revision.as_str() == version)
        .ok_or_else(|| Box::new(respond::unsupported_version(Era::Modern, Some(id), version)))?;
    headers::check_standard(headers, method, params).map_err(mismatch)?;
    Ok(revision)
}

#[cfg(test)]
mod tests;
