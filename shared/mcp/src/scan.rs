//! A scanner over JSON text that finds where values begin and end, in one pass and without building them.
//!
//! It knows the grammar (RFC 8259), a bound on depth, and when names must be unique; it does not know JSON-RPC.

use std::borrow::Cow;

/// Objects with more members than this are checked for repeated names by sorting instead of pairwise.
const PAIRWISE_MAX: usize = 16;

/// Why a text was not accepted.
///
/// A whole word, like the pieces it is returned in place of: a byte makes the compiler copy results in odd parts, which stalls
/// the processor for a third of the time that a message takes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[repr(usize)]
pub(crate) enum Fault {
    /// Not JSON.
    Syntax,
    /// Deeper than allowed.
    Depth,
    /// A name occurs twice in one object.
    Duplicate,
}

/// How much of the text is doubted.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Trust {
    /// The grammar is checked, and names must be unique in every object.
    Caller,
    /// The grammar is checked; names must be unique where the reader looks at them.
    Upstream,
    /// The text is known to be JSON (it is a `RawValue`); names must be unique where the reader looks at them.
    Json,
}

/// How many names fit before the list of open names grows.
const NAMES: usize = 32;

/// A JSON string as it stands in the text, without its quotes.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Quoted<'a> {
    inner: &'a str,
    /// How many escapes it holds.
    escapes: usize,
}

impl<'a> Quoted<'a> {
    /// What the string says; borrowed when nothing is escaped.
    pub(crate) fn decode(self) -> Result<Cow<'a, str>, Fault> {
        if self.escapes > 0 {
            let quoted = format!("\"{}\"", self.inner);
            serde_json::from_str::<String>(&quoted).map(Cow::Owned).map_err(|_| Fault::Syntax)
        } else {
            Ok(Cow::Borrowed(self.inner))
        }
    }
}

/// A position in a text.
#[derive(Debug)]
pub(crate) struct Scanner<'a> {
    text: &'a str,
    bytes: &'a [u8],
    at: usize,
    depth: usize,
    max_depth: usize,
    trust: Trust,
    /// Names of the objects that are open, the innermost last.
    names: Vec<Quoted<'a>>,
}

impl<'a> Scanner<'a> {
    pub(crate) fn new(text: &'a str, max_depth: usize, trust: Trust) -> Self {
        Self { text, bytes: text.as_bytes(), at: 0, depth: 0, max_depth, trust, names: Vec::new() }
    }

    /// Where the scanner stands, in bytes from the beginning of the text.
    pub(crate) fn at(&self) -> usize {
        self.at
    }

    /// The text between two positions.
    pub(crate) fn between(&self, start: usize, end: usize) -> Result<&'a str, Fault> {
        self.text.get(start..end).ok_or(Fault::Syntax)
    }

    /// The first byte of the next value, after white space.
    #[inline]
    pub(crate) fn peek(&mut self) -> Option<u8> {
        while let Some(b' ' | b'\n' | b'\r' | b'\t') = self.bytes.get(self.at) {
            self.at += 1;
        }
        self.bytes.get(self.at).copied()
    }

    /// Nothing but white space is left.
    pub(crate) fn end(&mut self) -> Result<(), Fault> {
        if self.peek().is_none() { Ok(()) } else { Err(Fault::Syntax) }
    }

    /// Goes past one value and gives its text.
    pub(crate) fn value(&mut self) -> Result<&'a str, Fault> {
        self.peek();
        let start = self.at;
        self.skip()?;
        self.between(start, self.at)
    }

    /// Goes past one string.
    pub(crate) fn string(&mut self) -> Result<Quoted<'a>, Fault> {
        if self.peek() != Some(b'"') {
            return Err(Fault::Syntax);
        }
        self.at += 1;
        let start = self.at;
        let mut escapes = 0;
        loop {
            self.at += plain_run(self.bytes.get(self.at..).unwrap_or_default());
            match self.bytes.get(self.at) {
                Some(b'"') => {
                    let inner = self.between(start, self.at)?;
                    self.at += 1;
                    return Ok(Quoted { inner, escapes });
                }
                Some(b'\\') => {
                    escapes += 1;
                    self.escape()?;
                }
                _ => return Err(Fault::Syntax),
            }
        }
    }

    /// Goes through an object; `member` is given each name with the position where it begins, and must go past the value.
    /// Repeated names are refused whatever the trust.
    pub(crate) fn object<E: From<Fault>>(
        &mut self,
        mut member: impl FnMut(&mut Self, Quoted<'a>, usize) -> Result<(), E>,
    ) -> Result<(), E> {
        if self.peek() != Some(b'{') {
            return Err(Fault::Syntax.into());
        }
        self.enter()?;
        if self.names.capacity() == 0 {
            self.names.reserve(NAMES);
        }
        let first = self.names.len();
        if self.peek() == Some(b'}') {
            self.at += 1;
        } else {
            loop {
                self.peek();
                let start = self.at;
                let name = self.string()?;
                self.names.push(name);
                self.byte(b':')?;
                member(self, name, start)?;
                match self.peek() {
                    Some(b',') => self.at += 1,
                    Some(b'}') => {
                        self.at += 1;
                        break;
                    }
                    _ => return Err(Fault::Syntax.into()),
                }
            }
        }
        let unique = are_unique(self.names.get_mut(first..).unwrap_or_default())?;
        self.names.truncate(first);
        self.depth -= 1;
        if unique { Ok(()) } else { Err(Fault::Duplicate.into()) }
    }

    fn skip(&mut self) -> Result<(), Fault> {
        match self.peek() {
            Some(b'"') => self.string().map(|_| ()),
            Some(b'{' | b'[') if self.trust == Trust::Json => self.skip_known_container(),
            Some(b'{') if self.trust == Trust::Caller => self.object(|scanner, _, _| scanner.skip()),
            Some(b'{') => self.skip_object(),
            Some(b'[') => self.skip_array(),
            Some(b't') => self.literal(b"true"),
            Some(b'f') => self.literal(b"false"),
            Some(b'n') => self.literal(b"null"),
            Some(b'-' | b'0'..=b'9') => self.number(),
            _ => Err(Fault::Syntax),
        }
    }

    /// Goes past an object whose names nobody reads.
    fn skip_object(&mut self) -> Result<(), Fault> {
        self.enter()?;
        if self.peek() == Some(b'}') {
            self.at += 1;
        } else {
            loop {
                self.string()?;
                self.byte(b':')?;
                self.skip()?;
                match self.peek() {
                    Some(b',') => self.at += 1,
                    Some(b'}') => {
                        self.at += 1;
                        break;
                    }
                    _ => return Err(Fault::Syntax),
                }
            }
        }
        self.depth -= 1;
        Ok(())
    }

    fn skip_array(&mut self) -> Result<(), Fault> {
        self.enter()?;
        if self.peek() == Some(b']') {
            self.at += 1;
        } else {
            loop {
                self.skip()?;
                match self.peek() {
                    Some(b',') => self.at += 1,
                    Some(b']') => {
                        self.at += 1;
                        break;
                    }
                    _ => return Err(Fault::Syntax),
                }
            }
        }
        self.depth -= 1;
        Ok(())
    }

    /// Goes past an object or array that is known to be JSON: only strings and brackets matter.
    fn skip_known_container(&mut self) -> Result<(), Fault> {
        let mut open = 0_usize;
        loop {
            match self.bytes.get(self.at) {
                Some(b'"') => {
                    self.string()?;
                    continue;
                }
                Some(b'{' | b'[') => open += 1,
                Some(b'}' | b']') => open -= 1,
                Some(_) => {}
                None => return Err(Fault::Syntax),
            }
            self.at += 1;
            if open == 0 {
                return Ok(());
            }
        }
    }

    fn enter(&mut self) -> Result<(), Fault> {
        self.at += 1;
        self.depth += 1;
        if self.depth > self.max_depth { Err(Fault::Depth) } else { Ok(()) }
    }

    fn byte(&mut self, wanted: u8) -> Result<(), Fault> {
        if self.peek() == Some(wanted) {
            self.at += 1;
            Ok(())
        } else {
            Err(Fault::Syntax)
        }
    }

    fn literal(&mut self, word: &[u8]) -> Result<(), Fault> {
        if self.bytes.get(self.at..).is_some_and(|rest| rest.starts_with(word)) {
            self.at += word.len();
            Ok(())
        } else {
            Err(Fault::Syntax)
        }
    }

    fn number(&mut self) -> Result<(), Fault> {
        if self.bytes.get(self.at) == Some(&b'-') {
            self.at += 1;
        }
        match self.bytes.get(self.at) {
            Some(b'0') => self.at += 1,
            Some(b'1'..=b'9') => self.digits()?,
            _ => return Err(Fault::Syntax),
        }
        if self.bytes.get(self.at) == Some(&b'.') {
            self.at += 1;
            self.digits()?;
        }
        if let Some(b'e' | b'E') = self.bytes.get(self.at) {
            self.at += 1;
            if let Some(b'+' | b'-') = self.bytes.get(self.at) {
                self.at += 1;
            }
            self.digits()?;
        }
        Ok(())
    }

    /// At least one digit.
    fn digits(&mut self) -> Result<(), Fault> {
        let start = self.at;
        while let Some(b'0'..=b'9') = self.bytes.get(self.at) {
            self.at += 1;
        }
        if self.at > start { Ok(()) } else { Err(Fault::Syntax) }
    }

    /// From a backslash past what it escapes. A surrogate without its partner is grammatical; decoding refuses it.
    fn escape(&mut self) -> Result<(), Fault> {
        match self.bytes.get(self.at + 1) {
            Some(b'"' | b'\\' | b'/' | b'b' | b'f' | b'n' | b'r' | b't') => self.at += 2,
            Some(b'u') => {
                let hex = self.bytes.get(self.at + 2..self.at + 6).ok_or(Fault::Syntax)?;
                if !hex.iter().all(u8::is_ascii_hexdigit) {
                    return Err(Fault::Syntax);
                }
                self.at += 6;
            }
            _ => return Err(Fault::Syntax),
        }
        Ok(())
    }
}

/// How many bytes at the start are neither quote, nor backslash, nor control character. Most strings are short: eight bytes at
/// a time for those, whole registers for what is longer.
pub(crate) fn plain_run(bytes: &[u8]) -> usize {
    let mut run = 0;
    let (chunks, rest) = bytes.as_chunks::<8>();
    for chunk in chunks {
        if run == SHORT {
            return run + long_run(bytes.get(run..).unwrap_or_default());
        }
        let word = u64::from_le_bytes(*chunk);
        let quote = word ^ (ONES * b'"' as u64);
        let slash = word ^ (ONES * b'\\' as u64);
        // A byte's high bit is set where it is zero (quote, slash) or below 0x20; a borrow can only make bytes
        // after the first such byte look so.
        let hits = (quote.wrapping_sub(ONES) & !quote)
            | (slash.wrapping_sub(ONES) & !slash)
            | (word.wrapping_sub(ONES * 0x20) & !word);
        let hits = hits & HIGH;
        if hits != 0 {
            return run + (hits.trailing_zeros() / 8) as usize;
        }
        run += 8;
    }
    run + rest.iter().take_while(|byte| !matches!(**byte, b'"' | b'\\' | 0..=0x1f)).count()
}

/// Each byte of a word is 1.
const ONES: u64 = 0x0101_0101_0101_0101;
/// Each byte's highest bit.
const HIGH: u64 = 0x8080_8080_8080_8080;

/// Bytes after which a string counts as a long one.
const SHORT: usize = 32;

/// [`plain_run`] of a long string.
fn long_run(bytes: &[u8]) -> usize {
    let end = memchr::memchr2(b'"', b'\\', bytes).unwrap_or(bytes.len());
    let run = bytes.get(..end).unwrap_or_default();
    // Control characters are rare: first whether there is one at all, in a loop without a way out, so that it runs in registers.
    let (words, rest) = run.as_chunks::<8>();
    let low = words.iter().fold(0, |low, word| {
        let word = u64::from_le_bytes(*word);
        low | (word.wrapping_sub(ONES * 0x20) & !word)
    });
    if low & HIGH == 0 && rest.iter().all(|byte| *byte >= 0x20) {
        return end;
    }
    run.iter().position(|byte| *byte < 0x20).unwrap_or(end)
}

/// Whether no name occurs twice. The order of the names is lost.
fn are_unique(names: &mut [Quoted<'_>]) -> Result<bool, Fault> {
    if names.iter().any(|name| name.escapes > 0) {
        let mut decoded = names.iter().map(|name| name.decode()).collect::<Result<Vec<_>, _>>()?;
        decoded.sort_unstable();
        return Ok(decoded.windows(2).all(|pair| pair.first() != pair.last()));
    }
    if names.len() > PAIRWISE_MAX {
        names.sort_unstable_by_key(|name| name.inner);
        return Ok(names
            .windows(2)
            .all(|pair| pair.first().map(|n| n.inner) != pair.last().map(|n| n.inner)));
    }
    let mut rest: &[Quoted<'_>] = names;
    while let Some((name, others)) = rest.split_first() {
        if others.iter().any(|other| other.inner == name.inner) {
            return Ok(false);
        }
        rest = others;
    }
    Ok(true)
}

#[cfg(test)]
mod tests;
