//! From the headers of a request to the principal: nothing else is read before somebody known is calling.
//!
//! It knows how a key travels, and the snapshot that knows the keys. Why a credential was refused is for the metric alone;
//! the caller is not told.

use std::sync::Arc;

use http::{HeaderMap, header};
use portcullis_mcp::headers::PORTCULLIS_KEY;
use portcullis_policy::{Principal, Reason, Snapshot, secret};
use portcullis_seal::Fingerprint;

/// Somebody known.
#[derive(Debug, Clone)]
pub struct Authenticated {
    /// Who is calling.
    pub principal: Arc<Principal>,
    /// The hash of what was presented, by which the same caller is judged again after a swap. Opens nothing.
    pub credential: Fingerprint,
}

/// Authenticates a request from its headers alone.
///
/// # Errors
/// The reason: no credential, more than one, an unknown one, or one whose time is over.
pub fn authenticate(
    snapshot: &Snapshot,
    headers: &HeaderMap,
    now_unix_ms: u64,
) -> Result<Authenticated, Reason> {
    let text = presented(headers).ok_or(Reason::Unauthenticated)?;
    let credential = secret::key_hash(text).ok_or(Reason::Unauthenticated)?;
    let principal = snapshot.authenticate(&credential, now_unix_ms).map_err(|denial| denial.reason)?;
    Ok(Authenticated { principal, credential })
}

/// The one credential of a request: `Authorization: Bearer …` or `X-Portcullis-Key: …`. Two of any kind are none.
fn presented(headers: &HeaderMap) -> Option<&str> {
    let mut bearer = headers.get_all(header::AUTHORIZATION).iter();
    let mut key = headers.get_all(PORTCULLIS_KEY).iter();
    match (bearer.next(), bearer.next(), key.next(), key.next()) {
        (Some(value), None, None, None) => {
            let (scheme, token) = value.to_str().ok()?.split_once(' ')?;
            scheme.eq_ignore_ascii_case("bearer").then(|| token.trim())
        }
        (None, None, Some(value), None) => value.to_str().ok().map(str::trim),
        _ => None,
    }
}

#[cfg(test)]
mod tests;
