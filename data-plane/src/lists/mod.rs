//! What callers are shown: pages of lists, what an endpoint offers, which resources pass.
//!
//! Pure: it puts texts together from a view and from what upstreams listed. It asks nobody.

mod cursor;
mod offer;
mod page;
mod resources;
pub mod template;

pub use cursor::{Cursor, CursorError, open_cursor, seal_cursor};
pub use offer::Offer;
pub use page::{PAGE, Page, definitions, page_of};
pub use resources::{Kind, Part, merge, select};

/// What an endpoint says of itself where several servers stand behind it.
pub const AGGREGATE_INSTRUCTIONS: &str = "This server is a gateway: its tools come from several servers. The part of a tool's name before the first underscore names the server it comes from. A call that is refused says why and what can be done.";

/// Portcullis' own `Implementation`.
#[must_use]
pub fn own_info() -> String {
    format!(
        "{{\"name\":\"portcullis\",\"title\":\"Portcullis\",\"version\":\"{}\"}}",
        env!("CARGO_PKG_VERSION")
    )
}
