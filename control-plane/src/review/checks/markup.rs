//! Marks that imitate the frame of a conversation, and comments that no page shows.

use super::super::finding::{Code, Findings, Severity};
use super::super::texts::Text;
use super::spoken::span;

/// How long a mark is looked for, in bytes.
const MAX_MARK: usize = 40;
/// How far the end of an element is looked for, in bytes.
const MAX_ELEMENT: usize = 8 * 1024;
/// How many marks of one text are looked at.
const MAX_MARKS: usize = 500;
/// Marks that no honest text has.
const FRAMES: &[&str] =
    &["|im_start|", "|im_end|", "|system|", "|user|", "|assistant|", "|endoftext|", "<sys>"];
/// Marks that may be the name of something, unless they are closed again, shouted, or filled with sentences.
const ELEMENTS: &[&str] =
    &["important", "system", "instructions", "instruction", "hidden", "critical", "admin", "assistant"];

/// Looks through one text.
pub(in super::super) fn check(text: &Text<'_>, findings: &mut Findings) {
    let marks = text.text.bytes().enumerate().filter(|(_, byte)| matches!(byte, b'<' | b'['));
    for (at, byte) in marks.take(MAX_MARKS) {
        let rest = text.text.get(at + 1..).unwrap_or_default();
        if let Some(comment) = rest.strip_prefix("!--").filter(|_| byte == b'<') {
            let near = start_of(comment, MAX_ELEMENT);
            let end = at + 4 + near.find("-->").map_or(near.len(), |end| end + 3);
            let says = "A comment: where the text is shown as a page nobody sees it.";
            findings.add(Code::HiddenComment, Severity::Warn, &text.path, span(text.text, at, end), says);
            continue;
        }
        let close = if byte == b'<' { '>' } else { ']' };
        let Some(mark) = rest
            .char_indices()
            .take(MAX_MARK)
            .find(|(_, c)| *c == close)
            .and_then(|(end, _)| rest.get(..end))
        else {
            continue;
        };
        if let Some((severity, says)) = judge(start_of(rest, MAX_ELEMENT), mark, byte == b'<') {
            findings.add(
                Code::RoleMarkup,
                severity,
                &text.path,
                span(text.text, at, at + mark.len() + 2),
                says,
            );
        }
    }
    for line in text.text.lines().take(MAX_MARKS).map(str::trim_start) {
        let heading = line.trim_start_matches(['#', '*', ' ']);
        if ["SYSTEM:", "System prompt:", "SYSTEM PROMPT", "System message:"]
            .iter()
            .any(|role| heading.starts_with(role))
        {
            let says = "A line that imitates the system's part of a conversation.";
            findings.add(Code::RoleMarkup, Severity::Warn, &text.path, line, says);
        }
    }
}

/// About so many bytes of a text.
fn start_of(text: &str, bytes: usize) -> &str {
    text.get(..text.floor_char_boundary(bytes)).unwrap_or(text)
}

fn judge(after: &str, mark: &str, angle: bool) -> Option<(Severity, &'static str)> {
    let says = "It imitates the marks that part a conversation, or that models are taught to obey.";
    let word = mark.trim().trim_start_matches('/');
    let lower = word.to_ascii_lowercase();
    if angle && FRAMES.contains(&lower.as_str()) || !angle && matches!(lower.as_str(), "inst" | "sys") {
        return Some((Severity::High, says));
    }
    if !ELEMENTS.contains(&lower.as_str()) {
        return None;
    }
    let shouted = word.len() > 3 && word.chars().all(|letter| letter.is_ascii_uppercase());
    let closed = angle && [&lower, word].iter().any(|name| after.contains(&format!("</{name}>")));
    match (angle, shouted || closed) {
        (true, true) => Some((Severity::High, says)),
        (false, true) => Some((Severity::Warn, says)),
        _ => None,
    }
}
