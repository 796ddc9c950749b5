//! Characters that people do not see, or see as others: what a model reads between the lines.

use super::super::chars::{Oddity, is_pictograph, joins, oddity, twin};
use super::super::finding::{Code, Findings, Severity};
use super::super::lookalike::lookalikes;
use super::super::texts::{Role, Text};
use super::spoken::span;

/// How many characters that show nothing may carry a message of their own: a few are a slip, many are letters.
const MESSAGE: usize = 8;
/// How much white space pushes what follows out of sight.
const MAX_SPACES: usize = 60;
const MAX_LINES: usize = 12;

/// Looks through one text.
pub(in super::super) fn check(text: &Text<'_>, findings: &mut Findings) {
    padding(text, findings);
    if text.text.bytes().all(|byte| matches!(byte, b' '..=b'~' | b'\n' | b'\t')) {
        return;
    }
    invisible(text, findings);
    for word in lookalikes(text.text) {
        let word = span(text.text, word.start, word.end);
        if text.role == Role::Name {
            let says = "A name with letters of another script that look like Latin ones.";
            findings.add(Code::LookalikeName, Severity::High, &text.path, word, says);
        } else {
            let says = "A word with letters of another script that look like Latin ones.";
            findings.add(Code::LookalikeText, Severity::Warn, &text.path, word, says);
        }
    }
    if text.role == Role::Name && text.text.chars().any(|character| twin(character).is_some()) {
        let says = "A name with letters that look like Latin ones.";
        findings.add(Code::LookalikeName, Severity::High, &text.path, text.text, says);
    }
}

fn padding(text: &Text<'_>, findings: &mut Findings) {
    let (mut spaces, mut lines) = (0, 0);
    for (at, byte) in text.text.bytes().enumerate() {
        match byte {
            b'\n' => lines += 1,
            b' ' | b'\t' | b'\r' => spaces += 1,
            _ => {
                // A line that is indented deeply is code; many spaces in one line, or many empty lines, are a curtain.
                if lines > MAX_LINES || spaces > MAX_SPACES * (lines + 1) {
                    let says = "White space pushes what follows out of sight.";
                    let after = text.text.get(at..).unwrap_or_default();
                    findings.add(Code::PaddedText, Severity::Warn, &text.path, after.trim(), says);
                }
                (spaces, lines) = (0, 0);
            }
        }
    }
}

/// A run of characters that show nothing.
struct Run {
    first: Oddity,
    start: usize,
    end: usize,
    count: usize,
    before: Option<char>,
    after: Option<char>,
}

fn invisible(text: &Text<'_>, findings: &mut Findings) {
    let mut total = 0;
    let mut before = None;
    let mut run: Option<Run> = None;
    for (at, character) in
        text.text.char_indices().map(|(at, character)| (at, Some(character))).chain([(text.text.len(), None)])
    {
        let odd = character.and_then(oddity).filter(|odd| *odd != Oddity::Space);
        match (&mut run, odd) {
            (Some(run), Some(odd)) if same_sort(run.first, odd) => {
                run.count += 1;
                run.end = at + character.map_or(0, char::len_utf8);
            }
            (_, odd) => {
                if let Some(mut done) = run.take() {
                    done.after = character;
                    total += usize::from(done.first == Oddity::Invisible) * done.count;
                    judge(text, &done, findings);
                }
                run = odd.map(|first| Run {
                    first,
                    start: at,
                    end: at + character.map_or(0, char::len_utf8),
                    count: 1,
                    before,
                    after: None,
                });
            }
        }
        if odd.is_none() {
            before = character;
        }
    }
    // Scripts that join letters with such characters have many of them.
    if total >= MESSAGE && !text.text.chars().any(joins) {
        let says = "So many characters that show nothing can spell a message.";
        findings.add(Code::HiddenCharacters, Severity::High, &text.path, text.text, says);
    }
}

fn same_sort(a: Oddity, b: Oddity) -> bool {
    a == b || matches!((a, b), (Oddity::Invisible | Oddity::Selector, Oddity::Invisible | Oddity::Selector))
}

fn judge(text: &Text<'_>, run: &Run, findings: &mut Findings) {
    let stands_on = span(text.text, run.start, run.end);
    let of_picture = run.before.is_some_and(is_pictograph) && run.count <= 2;
    let of_script = run.count == 1 && run.before.is_some_and(joins) && text.role != Role::Name;
    let (code, severity, says) = match run.first {
        // The flags of England, Scotland and Wales are a black flag with a few tags.
        Oddity::Tag if run.before == Some('\u{1f3f4}') && run.count <= 7 => return,
        Oddity::Tag => (
            Code::HiddenCharacters,
            Severity::High,
            "Text in tag characters: people do not see it, models read it.",
        ),
        Oddity::Direction if run.before.is_some_and(joins) || run.after.is_some_and(joins) => return,
        Oddity::Direction => (
            Code::DirectionControl,
            if stands_on.chars().all(|character| matches!(character, '\u{200e}' | '\u{200f}')) {
                Severity::Warn
            } else {
                Severity::High
            },
            "It turns the direction of the text, so that people read another text than models do.",
        ),
        Oddity::Selector | Oddity::Invisible if of_picture || of_script => return,
        Oddity::Selector | Oddity::Invisible if run.count >= MESSAGE => (
            Code::HiddenCharacters,
            Severity::High,
            "So many characters that show nothing can spell a message.",
        ),
        Oddity::Selector | Oddity::Invisible if text.role == Role::Name => {
            (Code::HiddenCharacters, Severity::High, "A name with characters that show nothing.")
        }
        Oddity::Selector | Oddity::Invisible => {
            (Code::HiddenCharacters, Severity::Warn, "Characters that show nothing.")
        }
        Oddity::Control if stands_on.contains(['\u{1b}', '\u{9b}']) => {
            (Code::ControlCharacters, Severity::High, "A sequence that a terminal obeys.")
        }
        // Some write their line ends so.
        Oddity::Control if stands_on == "\r" && run.after == Some('\n') => return,
        Oddity::Control => (Code::ControlCharacters, Severity::Warn, "Control characters."),
        Oddity::Line | Oddity::Meaningless => {
            (Code::HiddenCharacters, Severity::Warn, "Characters that do not show as text.")
        }
        Oddity::Space => return,
    };
    findings.add(code, severity, &text.path, stands_on, says);
}
