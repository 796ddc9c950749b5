//! Instructions that are spoken to the model: the phrases of the rules, wherever a string may stand.

use super::super::finding::{Code, Findings, Severity};
use super::super::rules::BOOK;
use super::super::texts::{Role, Text};
use super::super::words::{Parting, Word, words};

/// Names of parameters that carry something past the user.
const SIDE_CHANNELS: &[&str] =
    &["sidenote", "sidenotes", "sidechannel", "scratchpad", "hiddencontext", "internalnote", "secretnote"];
/// Names of parameters that may, when their description asks for it.
const NOTES: &[&str] = &[
    "note", "notes", "context", "metadata", "reason", "feedback", "thought", "thoughts", "debug", "summary",
    "extra", "comment", "info",
];

/// The words of a text as the rules see them.
pub(in super::super) fn words_of(text: &Text<'_>) -> Vec<Word> {
    let parting = if text.role == Role::Name { Parting::Name } else { Parting::Prose };
    words(text.text, parting, &BOOK.phrases.vocabulary)
}

/// Looks through one text.
pub(in super::super) fn check(text: &Text<'_>, words: &[Word], findings: &mut Findings) {
    let parameter = parameter(&text.path);
    for found in BOOK.phrases.find(words) {
        let (Some(rule), Some(first), Some(last)) =
            (BOOK.rule(found.rule), words.get(found.first), words.get(found.last))
        else {
            continue;
        };
        let asks = matches!(rule.code, Code::AsksForSecrets | Code::AsksForContext);
        let severity = match rule.severity {
            // A parameter for notes that wants the conversation is a way out for it.
            Severity::Warn if asks && parameter.is_some_and(|name| is_one_of(name, NOTES, SIDE_CHANNELS)) => {
                Severity::High
            }
            severity => severity,
        };
        findings.add(rule.code, severity, &text.path, span(text.text, first.start, last.end), rule.says);
    }
    if text.role == Role::Name && is_one_of(text.text, &[], SIDE_CHANNELS) {
        let says = "A parameter of this name is a common way to carry things past the user.";
        findings.add(Code::AsksForContext, Severity::Warn, &text.path, text.text, says);
    }
}

/// Whether some phrase that no honest definition has stands in a text.
pub(in super::super) fn is_poison(text: &str) -> bool {
    let words = words(text, Parting::Prose, &BOOK.phrases.vocabulary);
    let rules = BOOK.phrases.find(&words).into_iter().filter_map(|found| BOOK.rule(found.rule));
    rules.into_iter().any(|rule| rule.severity == Severity::High)
}

/// The parameter whose description stands at this path.
fn parameter(path: &str) -> Option<&str> {
    let (above, member) = path.rsplit_once('/')?;
    let (_, name) = above.rsplit_once('/')?;
    (member == "description" || member == "title").then_some(name)
}

fn is_one_of(name: &str, some: &[&str], others: &[&str]) -> bool {
    let plain: String =
        name.chars().filter(char::is_ascii_alphanumeric).map(|c| c.to_ascii_lowercase()).collect();
    some.iter().chain(others).any(|known| *known == plain)
}

/// What stands between two places.
pub(in super::super) fn span(text: &str, start: usize, end: usize) -> &str {
    text.get(start..end).unwrap_or(text)
}
