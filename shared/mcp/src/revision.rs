//! Protocol revisions and the two eras they fall into (2026-07-28, versioning page).

use std::fmt;

pub use portcullis_policy::Era;

/// The era of one request, by the contract: modern if its body or its header names 2026-07-28 or later. A body that names
/// something else than a legacy revision is modern too: only modern requests name a version there, and an unknown one must be
/// told which there are (2026-07-28, versioning page).
///
/// `header` is the value of `MCP-Protocol-Version`, `meta` that of `_meta` key `io.modelcontextprotocol/protocolVersion`.
#[must_use]
pub fn era_of_request(header: Option<&str>, meta: Option<&str>) -> Era {
    if header.is_some_and(names_modern) || meta.is_some_and(is_not_legacy) {
        Era::Modern
    } else {
        Era::Legacy
    }
}

/// A revision of MCP that this version knows.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Revision(&'static str);

impl Revision {
    /// HTTP+SSE transport.
    pub const V2024_11_05: Self = Self("2024-11-05");
    /// The first with Streamable HTTP.
    pub const V2025_03_26: Self = Self("2025-03-26");
    /// The first with the `MCP-Protocol-Version` header.
    pub const V2025_06_18: Self = Self("2025-06-18");
    /// The last with a handshake.
    pub const V2025_11_25: Self = Self("2025-11-25");
    /// The first stateless one.
    pub const V2026_07_28: Self = Self("2026-07-28");

    /// Every known revision, oldest first.
    pub const ALL: &[Self] =
        &[Self::V2024_11_05, Self::V2025_03_26, Self::V2025_06_18, Self::V2025_11_25, Self::V2026_07_28];

    /// The revision with exactly this name.
    #[must_use]
    pub fn parse(text: &str) -> Option<Self> {
        Self::ALL.iter().copied().find(|revision| revision.0 == text)
    }

    /// Its name, a date.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        self.0
    }

    /// The era it belongs to.
    #[must_use]
    pub fn era(self) -> Era {
        if self >= Self::V2026_07_28 { Era::Modern } else { Era::Legacy }
    }

    /// What `initialize` is answered with: the revision that was asked for if it is offered, else the newest offered.
    #[must_use]
    pub fn negotiate_legacy(asked: &str) -> Self {
        LEGACY_OFFERED.iter().copied().find(|revision| revision.0 == asked).unwrap_or(Self::V2025_11_25)
    }
}

impl fmt::Display for Revision {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.0)
    }
}

/// Legacy revisions that are offered to clients, newest first.
pub const LEGACY_OFFERED: &[Revision] =
    &[Revision::V2025_11_25, Revision::V2025_06_18, Revision::V2025_03_26];

/// Modern revisions that are offered to clients, newest first.
pub const MODERN_OFFERED: &[Revision] = &[Revision::V2026_07_28];

/// Whether the text is a date no earlier than the first modern revision, known or not.
fn names_modern(text: &str) -> bool {
    is_date(text) && text >= Revision::V2026_07_28.0
}

fn is_not_legacy(text: &str) -> bool {
    Revision::parse(text).is_none_or(|revision| revision.era() == Era::Modern)
}

/// `YYYY-MM-DD` in digits: dates of this form order like their texts.
fn is_date(text: &str) -> bool {
    text.len() == 10
        && text
            .bytes()
            .enumerate()
            .all(|(at, byte)| if at == 4 || at == 7 { byte == b'-' } else { byte.is_ascii_digit() })
}

#[cfg(test)]
mod tests;
