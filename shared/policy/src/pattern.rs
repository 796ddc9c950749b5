//! Globs over names and URIs: `*` is any run of characters, `?` is one; there is no escape and no character class.
//!
//! No regular expressions: a pattern costs at most its own length, which is bounded, for each character of the text.

use std::collections::HashSet;

/// The longest pattern, in bytes.
pub const MAX_PATTERN_BYTES: usize = 512;

/// One glob.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Pattern {
    text: Box<str>,
    shape: Shape,
}

#[derive(Debug, Clone, PartialEq, Eq)]
enum Shape {
    /// No wildcard at all.
    Literal,
    /// `*`
    All,
    /// A literal and one `*` at its end: the length of the literal in bytes.
    Prefix(usize),
    /// Anything else.
    General(Box<[Piece]>),
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Piece {
    Char(char),
    One,
    Run,
}

/// The text is no pattern.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum BadPattern {
    /// Empty.
    #[error("an empty pattern matches nothing; write a name, a glob with * or ?, or \"*\" for all")]
    Empty,
    /// Too long.
    #[error("a pattern has at most {MAX_PATTERN_BYTES} bytes")]
    TooLong,
    /// Control characters.
    #[error("a pattern holds no control characters")]
    Control,
}

impl Pattern {
    /// Reads a pattern.
    ///
    /// # Errors
    /// See [`BadPattern`].
    pub fn parse(text: &str) -> Result<Self, BadPattern> {
        if text.is_empty() {
            return Err(BadPattern::Empty);
        }
        if text.len() > MAX_PATTERN_BYTES {
            return Err(BadPattern::TooLong);
        }
        if text.chars().any(char::is_control) {
            return Err(BadPattern::Control);
        }
        let wild = |c: char| c == '*' || c == '?';
        let shape = match text.find(wild) {
            None => Shape::Literal,
            Some(at) => match text.split_at_checked(at) {
                Some(("", "*")) => Shape::All,
                Some((_, "*")) => Shape::Prefix(at),
                _ => Shape::General(pieces(text)),
            },
        };
        Ok(Self { text: text.into(), shape })
    }

    /// The pattern as written.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.text
    }

    /// Whether it holds no wildcard.
    #[must_use]
    pub const fn is_literal(&self) -> bool {
        matches!(self.shape, Shape::Literal)
    }

    /// Whether the whole of `text` matches.
    #[must_use]
    pub fn matches(&self, text: &str) -> bool {
        match &self.shape {
            Shape::Literal => *self.text == *text,
            Shape::All => true,
            Shape::Prefix(length) => {
                self.text.as_bytes().get(..*length).is_some_and(|prefix| text.as_bytes().starts_with(prefix))
            }
            Shape::General(pieces) => matches_general(pieces, text),
        }
    }

    /// Whether it matches a resource URI. One with dot segments, an encoded `/`, a backslash or control characters is matched
    /// by no pattern at all: what an upstream would make of it is not what was judged.
    #[must_use]
    pub fn matches_uri(&self, uri: &str) -> bool {
        plain_uri(uri) && self.matches(uri)
    }
}

impl std::fmt::Display for Pattern {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(&self.text)
    }
}

fn pieces(text: &str) -> Box<[Piece]> {
    let mut pieces: Vec<Piece> = text
        .chars()
        .map(|c| match c {
            '*' => Piece::Run,
            '?' => Piece::One,
            c => Piece::Char(c),
        })
        .collect();
    pieces.dedup_by(|a, b| *a == Piece::Run && *b == Piece::Run);
    pieces.into()
}

/// Goes back to the last `*` only, never to one before it: what an earlier run took is the shortest that fits, and a longer
/// one could only leave less for those after it.
fn matches_general(pieces: &[Piece], text: &str) -> bool {
    let mut rest = text.chars();
    let mut at = 0;
    let mut retry: Option<(usize, std::str::Chars<'_>)> = None;
    loop {
        let before = rest.clone();
        let step = match (pieces.get(at), rest.next()) {
            (None, None) => return true,
            (Some(Piece::Run), _) => {
                rest = before.clone();
                retry = Some((at + 1, before));
                true
            }
            (Some(Piece::One), Some(_)) => true,
            (Some(Piece::Char(wanted)), Some(found)) => *wanted == found,
            (Some(_), None) => return false,
            (None, Some(_)) => false,
        };
        if step {
            at += 1;
            continue;
        }
        let Some((resume, tail)) = &mut retry else { return false };
        if tail.next().is_none() {
            return false;
        }
        at = *resume;
        rest = tail.clone();
    }
}

/// Whether a URI means the same to everyone who reads it. See [`Pattern::matches_uri`].
#[must_use]
pub fn plain_uri(uri: &str) -> bool {
    let encoded =
        |code: &str| uri.as_bytes().windows(3).any(|found| found.eq_ignore_ascii_case(code.as_bytes()));
    !uri.is_empty()
        && !uri.chars().any(|c| c.is_control() || c == '\\')
        && !encoded("%2f")
        && !encoded("%5c")
        && !uri.split(['/', ':', '?', '#']).any(is_dot_segment)
}

fn is_dot_segment(segment: &str) -> bool {
    // The longest is `%2e%2e`.
    segment.len() <= 6 && matches!(segment.to_ascii_lowercase().replace("%2e", ".").as_str(), "." | "..")
}

/// Several patterns: literals in a set, globs beside it.
#[derive(Debug, Clone, Default)]
pub(crate) struct PatternSet {
    literals: HashSet<Box<str>>,
    globs: Vec<Pattern>,
}

impl PatternSet {
    /// Reads patterns; one that cannot be read matches nothing and is told by `false`.
    pub(crate) fn new(texts: &[String]) -> (Self, bool) {
        let mut set = Self::default();
        let mut whole = true;
        for text in texts {
            match Pattern::parse(text) {
                Ok(pattern) if pattern.is_literal() => {
                    set.literals.insert(pattern.text);
                }
                Ok(pattern) => set.globs.push(pattern),
                Err(_) => whole = false,
            }
        }
        (set, whole)
    }

    pub(crate) fn matches(&self, text: &str) -> bool {
        self.literals.contains(text) || self.globs.iter().any(|glob| glob.matches(text))
    }

    pub(crate) fn is_empty(&self) -> bool {
        self.literals.is_empty() && self.globs.is_empty()
    }
}

#[cfg(test)]
mod tests;
