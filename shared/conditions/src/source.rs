//! Places in a policy's text: lines and columns of what is wrong, and where its statements stand.

use crate::problem::Problem;

/// A policy's text with its name.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Source<'a> {
    pub(crate) policy: &'a str,
    pub(crate) text: &'a str,
}

/// How many brackets may be open at once.
const MAX_DEPTH: usize = 32;

/// How many operators and dots one statement may have. Cedar reads and evaluates by recursion: a text from outside must not
/// choose how deep.
const MAX_OPERATORS: usize = 256;

/// How many of them may be of the kinds that take most of the stack.
const MAX_DEEP: usize = 32;

/// One word of a text, or one character that is none, outside of strings and comments.
struct Piece<'a> {
    text: &'a str,
    at: usize,
    /// How many brackets are open after it.
    depth: usize,
    /// Whether it names an annotation.
    annotation: bool,
}

impl<'a> Source<'a> {
    /// A problem at a byte offset of the text.
    pub(crate) fn problem(&self, offset: usize, message: impl Into<String>) -> Problem {
        let before = self.text.get(..offset).unwrap_or(self.text);
        let line_start = before.rfind('\n').map_or(0, |at| at.saturating_add(1));
        let lines = before.bytes().filter(|byte| *byte == b'\n').count();
        let columns = before.get(line_start..).unwrap_or_default().chars().count();
        let from_one = |count: usize| u32::try_from(count.saturating_add(1)).unwrap_or(u32::MAX);
        Problem {
            policy: self.policy.to_owned(),
            line: from_one(lines),
            column: from_one(columns),
            message: message.into(),
        }
    }

    /// Where the statement of this number begins: at its `permit` or `forbid`.
    pub(crate) fn statement(&self, number: usize) -> usize {
        self.words().filter(Piece::is_effect).nth(number).map_or(0, |word| word.at)
    }

    /// Where a word stands within the statement of this number; the statement's own place when it has none.
    pub(crate) fn word(&self, number: usize, word: &str) -> usize {
        let start = self.statement(number);
        let end = self
            .words()
            .filter(Piece::is_effect)
            .nth(number.saturating_add(1))
            .map_or(usize::MAX, |next| next.at);
        let mut within = self.words().filter(|found| found.at >= start && found.at < end);
        within.find(|found| found.text == word).map_or(start, |found| found.at)
    }

    /// Where an annotation of this name stands.
    pub(crate) fn annotation(&self, name: &str) -> usize {
        self.words().find(|word| word.annotation && word.text == name).map_or(0, |word| word.at)
    }

    /// Whether the text is simple enough to be read by recursion.
    pub(crate) fn simple(&self) -> Result<(), Problem> {
        let (mut operators, mut deep) = (0_usize, 0_usize);
        for piece in self.pieces() {
            match piece.text {
                ";" if piece.depth == 0 => (operators, deep) = (0, 0),
                "if" | "-" | "+" | "*" => deep = deep.saturating_add(1),
                "." | "!" | "&" | "|" | "=" | "<" | ">" | "has" | "like" | "is" | "in" => {
                    operators = operators.saturating_add(1);
                }
                _ => {}
            }
            if deep > MAX_DEEP {
                let message = format!(
                    "one statement may have {MAX_DEEP} of if, +, - and *: write several statements, each forbids by itself"
                );
                return Err(self.problem(piece.at, message));
            }
            if operators > MAX_OPERATORS {
                let message = format!(
                    "one statement may have {MAX_OPERATORS} operators: write several statements, each forbids by itself"
                );
                return Err(self.problem(piece.at, message));
            }
            if piece.depth > MAX_DEPTH {
                return Err(self.problem(piece.at, format!("{MAX_DEPTH} brackets may be open at once")));
            }
        }
        Ok(())
    }

    fn words(&self) -> impl Iterator<Item = Piece<'a>> + use<'a> {
        self.pieces().filter(|piece| piece.text.starts_with(is_start))
    }

    fn pieces(&self) -> Pieces<'a> {
        Pieces { text: self.text, at: 0, depth: 0, annotation: false }
    }
}

const fn is_start(c: char) -> bool {
    c.is_ascii_alphabetic() || c == '_'
}

const fn is_part(c: char) -> bool {
    c.is_ascii_alphanumeric() || c == '_'
}

impl Piece<'_> {
    fn is_effect(&self) -> bool {
        self.depth == 0 && !self.annotation && matches!(self.text, "permit" | "forbid")
    }
}

struct Pieces<'a> {
    text: &'a str,
    at: usize,
    depth: usize,
    annotation: bool,
}

impl<'a> Iterator for Pieces<'a> {
    type Item = Piece<'a>;

    fn next(&mut self) -> Option<Piece<'a>> {
        loop {
            let at = self.at;
            let rest = self.text.get(at..)?;
            let first = rest.chars().next()?;
            let skipped = match first {
                '"' => string_length(rest),
                '/' if rest.starts_with("//") => rest.find('\n').unwrap_or(rest.len()),
                _ if first.is_whitespace() => first.len_utf8(),
                _ => 0,
            };
            if skipped > 0 {
                self.at = at.saturating_add(skipped);
                continue;
            }
            let length = match first {
                _ if is_start(first) => rest.find(|c: char| !is_part(c)).unwrap_or(rest.len()),
                _ => first.len_utf8(),
            };
            self.at = at.saturating_add(length);
            self.depth = match first {
                '(' | '{' | '[' => self.depth.saturating_add(1),
                ')' | '}' | ']' => self.depth.saturating_sub(1),
                _ => self.depth,
            };
            let annotation = std::mem::replace(&mut self.annotation, first == '@');
            return Some(Piece { text: rest.get(..length)?, at, depth: self.depth, annotation });
        }
    }
}

/// The bytes of a string literal at the start of a text, with its quotes.
fn string_length(text: &str) -> usize {
    let mut escaped = false;
    for (at, byte) in text.bytes().enumerate().skip(1) {
        match byte {
            _ if escaped => escaped = false,
            b'\\' => escaped = true,
            b'"' => return at.saturating_add(1),
            _ => {}
        }
    }
    text.len()
}
