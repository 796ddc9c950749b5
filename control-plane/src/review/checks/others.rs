//! Speaking of other servers' tools: how one server gets at what another may do.

use super::super::finding::{Code, Findings, Severity};
use super::super::names::Names;
use super::super::rules::{BOOK, STEERING};
use super::super::texts::{Role, Text};
use super::super::words::Word;

/// The shortest name that is taken for a name and not for a word.
const MIN: usize = 6;

/// Looks through one text.
pub(in super::super) fn check(
    text: &Text<'_>,
    words: &[Word],
    server: &str,
    names: &Names,
    findings: &mut Findings,
) {
    if matches!(text.role, Role::Name | Role::Link) {
        return;
    }
    let part = |character: char| character.is_ascii_alphanumeric() || matches!(character, '_' | '-');
    for name in text.text.split(|character| !part(character)) {
        let name = name.trim_matches(['-', '_']);
        if name.len() < MIN || !is_distinctive(name) {
            continue;
        }
        let Some(other) = names.of_other(server, name) else { continue };
        let (severity, says) = if text.role == Role::Prose && steers(text.text, name, words) {
            (Severity::High, "It steers how the model uses a tool of server")
        } else {
            (Severity::Warn, "It speaks of a tool of server")
        };
        findings.add(Code::OtherTool, severity, &text.path, name, &format!("{says} {other}."));
    }
}

/// Whether it is made of several words: "search" may be said by anybody.
fn is_distinctive(name: &str) -> bool {
    name.contains(['_', '-'])
        || name.bytes().zip(name.bytes().skip(1)).any(|(a, b)| a.is_ascii_lowercase() && b.is_ascii_uppercase())
}

/// Whether the sentence around this name tells when or how to use it.
fn steers(text: &str, name: &str, words: &[Word]) -> bool {
    let Some(at) = text.find(name) else { return false };
    let Some(sentence) = words.iter().find(|word| word.end > at).map(|word| word.sentence) else { return false };
    words.iter().filter(|word| word.sentence == sentence && word.id != 0).any(|word| {
        STEERING.iter().any(|steering| BOOK.phrases.vocabulary.id(steering) == word.id)
    })
}
