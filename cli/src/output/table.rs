//! Tables for people.

use comfy_table::{ContentArrangement, Table, presets};
use portcullis_control_plane::review::visible_line;

/// The longest cell that is shown of such a text, in characters.
const MAX_CELL: usize = 10_000;

/// A table without lines, as `kubectl` and `docker` print them.
pub(crate) fn table<R>(head: &[&str], rows: impl IntoIterator<Item = R>) -> String
where
    R: IntoIterator<Item = String>,
{
    let mut table = Table::new();
    table.load_style(presets::NOTHING).set_content_arrangement(ContentArrangement::Disabled);
    table.set_header(head.iter().copied());
    for row in rows {
        table.add_row(row.into_iter().map(printable));
    }
    table.to_string().lines().map(str::trim_end).collect::<Vec<_>>().join("\n")
}

/// What upstreams and callers chose may hold characters that a terminal obeys, or that nobody sees.
pub(crate) fn printable(text: String) -> String {
    if text.bytes().all(|byte| matches!(byte, b' '..=b'~')) { text } else { visible_line(&text, MAX_CELL) }
}
