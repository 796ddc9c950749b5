//! Pages. A list is one page up to a bound that few reach; beyond it, it is cut.

use std::sync::Arc;

use bytes::Bytes;
use portcullis_seal::Fingerprint;
use serde_json::value::RawValue;

use super::cursor::{Cursor, CursorError};

/// Items of one page.
pub const PAGE: usize = 1000;

/// One page: the JSON text of an array, and where it goes on.
#[derive(Debug)]
pub struct Page {
    /// The array.
    pub items: Bytes,
    /// The next page.
    pub next: Option<Cursor>,
}

/// An `Arc<str>` as bytes without a copy.
struct Shared(Arc<str>);

impl AsRef<[u8]> for Shared {
    fn as_ref(&self) -> &[u8] {
        self.0.as_bytes()
    }
}

/// A page of definitions that a view rendered: the whole buffer, shared, when it is one page.
///
/// # Errors
/// A cursor that does not belong to this list as it is now.
pub fn definitions(
    rendered: &Arc<str>,
    count: usize,
    tag: Fingerprint,
    cursor: Option<Cursor>,
) -> Result<Page, CursorError> {
    if cursor.is_none() && count <= PAGE {
        return Ok(Page { items: Bytes::from_owner(Shared(Arc::clone(rendered))), next: None });
    }
    let items: Vec<&RawValue> = serde_json::from_str(rendered).map_err(|_| CursorError)?;
    page_of(&items, &tag.to_hex(), cursor)
}

/// A page of any items.
///
/// # Errors
/// A cursor that does not belong to this list as it is now.
pub fn page_of(items: &[&RawValue], tag: &str, cursor: Option<Cursor>) -> Result<Page, CursorError> {
    let at = match cursor {
        None => 0,
        Some(Cursor::Item { at, tag: of }) if of == tag && at < items.len() => at,
        Some(_) => return Err(CursorError),
    };
    let end = at.saturating_add(PAGE).min(items.len());
    let page = items.get(at..end).unwrap_or_default();
    let mut text = String::with_capacity(page.iter().map(|item| item.get().len() + 1).sum::<usize>() + 2);
    text.push('[');
    for (index, item) in page.iter().enumerate() {
        if index > 0 {
            text.push(',');
        }
        text.push_str(item.get());
    }
    text.push(']');
    let next = (end < items.len()).then(|| Cursor::Item { at: end, tag: tag.to_owned() });
    Ok(Page { items: text.into(), next })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_long_list_is_cut_and_every_item_is_on_one_page() {
        let rendered: Arc<str> = serde_json::to_string(&(0..2500).collect::<Vec<_>>()).unwrap().into();
        let tag = Fingerprint::from_bytes([1; 32]);
        let mut seen: Vec<u32> = Vec::new();
        let mut cursor = None;
        for pages in 1.. {
            let page = definitions(&rendered, 2500, tag, cursor).unwrap();
            seen.extend(serde_json::from_slice::<Vec<u32>>(&page.items).unwrap());
            cursor = page.next;
            if cursor.is_none() {
                assert_eq!(pages, 3);
                break;
            }
        }
        assert_eq!(seen, (0..2500).collect::<Vec<_>>());
    }

    #[test]
    fn a_cursor_of_a_list_that_changed_is_refused() {
        let rendered: Arc<str> = serde_json::to_string(&(0..2500).collect::<Vec<_>>()).unwrap().into();
        let old = definitions(&rendered, 2500, Fingerprint::from_bytes([1; 32]), None).unwrap().next;
        assert!(definitions(&rendered, 2500, Fingerprint::from_bytes([2; 32]), old).is_err());
        let upstream = Cursor::Upstream { cursor: "x".to_owned() };
        assert!(definitions(&rendered, 2500, Fingerprint::from_bytes([1; 32]), Some(upstream)).is_err());
    }

    #[test]
    fn a_short_list_is_the_rendered_buffer_itself() {
        let rendered: Arc<str> = "[{\"name\":\"a\"}]".into();
        let page = definitions(&rendered, 1, Fingerprint::from_bytes([1; 32]), None).unwrap();
        assert_eq!(page.items.as_ptr(), rendered.as_ptr());
    }
}
