//! Makes text of strangers visible: what comes out of here shows every character that a person would not see, and holds
//! none that a terminal would obey. The marks `⟨…⟩` cannot be forged: the brackets themselves are marked too.

use std::fmt::Write as _;

use super::chars::{Oddity, is_mark, name, oddity, twin};
use super::lookalike::lookalikes;

/// How many marks that are drawn over one letter are let through.
const MAX_MARKS: usize = 2;

/// The text in at most about so many characters, of several lines where it has them. Of these a tab and a line feed stay.
#[must_use]
pub fn visible(text: &str, max_chars: usize) -> String {
    make(text, max_chars, true)
}

/// The text in one line.
#[must_use]
pub fn visible_line(text: &str, max_chars: usize) -> String {
    make(text, max_chars, false)
}

/// Whether a text could have come out of [`visible`]: a terminal obeys none of it, and nothing in it is invisible.
#[must_use]
pub fn is_visible(text: &str) -> bool {
    text.chars().all(|character| oddity(character).is_none())
}

fn make(text: &str, max_chars: usize, lines: bool) -> String {
    let plain = |byte: u8| matches!(byte, b' '..=b'~') || (lines && matches!(byte, b'\n' | b'\t'));
    if text.len() <= max_chars && text.bytes().all(plain) {
        return text.to_owned();
    }
    let deceiving = lookalikes(text);
    let mut deceiving = deceiving.iter().peekable();
    let mut out = String::with_capacity(text.len().min(max_chars) + 32);
    let (mut marks, mut left) = (0, max_chars);
    let mut rest = text.char_indices().peekable();
    while let Some((at, character)) = rest.next() {
        if left == 0 {
            let _ = write!(out, "⟨and {} bytes more⟩", text.len() - at);
            return out;
        }
        let before = out.len();
        while deceiving.next_if(|word| word.end <= at).is_some() {}
        marks = if is_mark(character) { marks + 1 } else { 0 };
        match (character, oddity(character)) {
            (_, Some(Oddity::Tag)) => {
                let mut spelled = String::new();
                let mut count = 0;
                let mut tag = Some(character);
                while let Some(this) = tag {
                    count += 1;
                    if let Some(ascii @ 0x20..=0x7e) = (this as u32).checked_sub(0xe0000)
                        && spelled.len() < left
                    {
                        spelled.extend(char::from_u32(ascii));
                    }
                    tag = rest.next_if(|(_, next)| oddity(*next) == Some(Oddity::Tag)).map(|(_, next)| next);
                }
                let _ = write!(
                    out,
                    "⟨{count} invisible tag characters from U+{:04X}: {spelled}⟩",
                    character as u32
                );
            }
            ('\n' | '\t', _) if lines => out.push(character),
            ('⟨' | '⟩' | '⟦' | '⟧' | '\n' | '\t', _) | (_, Some(_)) => {
                let mut count = 1;
                while rest.next_if(|(_, next)| *next == character).is_some() {
                    count += 1;
                }
                mark(&mut out, character, count);
            }
            _ if marks > MAX_MARKS => mark(&mut out, character, 1),
            _ => {
                out.push(character);
                if deceiving.peek().is_some_and(|word| word.contains(&at))
                    && let Some(twin) = twin(character)
                {
                    let _ = write!(out, "⟨U+{:04X} looks like {twin}⟩", character as u32);
                }
            }
        }
        // What was written counts, not what was read: a mark is many times as long as its character.
        left = left.saturating_sub(out.get(before..).map_or(1, |written| written.chars().count()));
    }
    out
}

fn mark(out: &mut String, character: char, count: usize) {
    let _ = write!(out, "⟨U+{:04X}", character as u32);
    for part in [" ", name(character)].into_iter().filter(|_| !name(character).is_empty()) {
        out.push_str(part);
    }
    if count > 1 {
        let _ = write!(out, " ×{count}");
    }
    out.push('⟩');
}

#[cfg(test)]
mod tests;
