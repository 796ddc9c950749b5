//! Cursors: sealed, bound to the principal, the method and what the list was made of. Nobody can make one or use another's.

use portcullis_policy::resource::Uid;
use portcullis_seal::Sealer;
use serde::{Deserialize, Serialize};

const PURPOSE: &str = "cursor";

/// Where a list goes on.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub enum Cursor {
    /// At this item of a list that changes only with its tag.
    Item {
        /// The index of the next item.
        at: usize,
        /// The tag of the list.
        tag: String,
    },
    /// Where the upstream's own cursor says.
    Upstream {
        /// The upstream's cursor.
        cursor: String,
    },
}

/// A cursor that is not ours, not this caller's, or of a list that changed. JSON-RPC −32602.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("Invalid cursor")]
pub struct CursorError;

#[derive(Serialize, Deserialize)]
struct Sealed {
    method: String,
    endpoint: String,
    cursor: Cursor,
}

/// Seals a cursor for a principal, a method and an endpoint.
///
/// # Errors
/// When nothing can be sealed now.
pub fn seal_cursor(
    sealer: &Sealer,
    principal: Uid,
    method: &str,
    endpoint: &str,
    cursor: Cursor,
) -> Result<String, CursorError> {
    let sealed = Sealed { method: method.to_owned(), endpoint: endpoint.to_owned(), cursor };
    let plain = serde_json::to_vec(&sealed).map_err(|_| CursorError)?;
    sealer.seal(PURPOSE, principal.0.as_bytes(), &plain).map_err(|_| CursorError)
}

/// Opens a cursor again, for the same principal, method and endpoint.
///
/// # Errors
/// [`CursorError`] for every other.
pub fn open_cursor(
    sealer: &Sealer,
    principal: Uid,
    method: &str,
    endpoint: &str,
    text: &str,
) -> Result<Cursor, CursorError> {
    let plain = sealer.open(PURPOSE, principal.0.as_bytes(), text).map_err(|_| CursorError)?;
    let sealed: Sealed = serde_json::from_slice(&plain).map_err(|_| CursorError)?;
    let fits = sealed.method == method && sealed.endpoint == endpoint;
    fits.then_some(sealed.cursor).ok_or(CursorError)
}

#[cfg(test)]
mod tests {
    use portcullis_seal::SealKey;

    use super::*;

    #[test]
    fn a_cursor_opens_only_where_and_for_whom_it_was_made() {
        let sealer = Sealer::new(vec![SealKey::new([1; 4], &[7; 32])]);
        let (one, other) = (Uid(uuid::Uuid::from_u128(1)), Uid(uuid::Uuid::from_u128(2)));
        let cursor = Cursor::Item { at: 1000, tag: "t".to_owned() };
        let text = seal_cursor(&sealer, one, "tools/list", "/mcp", cursor.clone()).unwrap();
        assert_eq!(open_cursor(&sealer, one, "tools/list", "/mcp", &text), Ok(cursor));
        assert_eq!(open_cursor(&sealer, other, "tools/list", "/mcp", &text), Err(CursorError));
        assert_eq!(open_cursor(&sealer, one, "prompts/list", "/mcp", &text), Err(CursorError));
        assert_eq!(open_cursor(&sealer, one, "tools/list", "/servers/a/mcp", &text), Err(CursorError));
        assert_eq!(open_cursor(&sealer, one, "tools/list", "/mcp", "eyJwYWdlIjogMn0"), Err(CursorError));
    }
}
