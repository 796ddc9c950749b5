//! Speaking of other servers' tools: how one server gets at what another may do.

use std::collections::BTreeSet;

use super::super::finding::{Code, Findings, Severity};
use super::super::names::Names;
use super::super::rules::BOOK;
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
    let mut steering = None;
    let mut at = 0;
    for name in text.text.split(|character| !part(character)) {
        let here = at;
        // What parts two names is one character, which may be of several bytes.
        at += name.len();
        at += text.text.get(at..).and_then(|rest| rest.chars().next()).map_or(0, char::len_utf8);
        let name = name.trim_matches(['-', '_']);
        if name.len() < MIN || !is_distinctive(name) {
            continue;
        }
        let Some(other) = names.of_other(server, name) else { continue };
        let steering = steering.get_or_insert_with(|| sentences(words));
        let first = words.partition_point(|word| word.end <= here);
        let steers = words.get(first).is_some_and(|word| steering.contains(&word.sentence));
        let (severity, says) = if text.role == Role::Prose && steers {
            (Severity::High, "It steers how the model uses a tool of server")
        } else {
            (Severity::Warn, "It speaks of a tool of server")
        };
        findings.add(Code::OtherTool, severity, &text.path, name, &format!("{says} {other}."));
    }
}

/// The sentences that tell when or how to use something.
fn sentences(words: &[Word]) -> BTreeSet<u32> {
    words.iter().filter(|word| BOOK.steering.contains(&word.id)).map(|word| word.sentence).collect()
}

/// Whether it is made of several words: "search" may be said by anybody.
fn is_distinctive(name: &str) -> bool {
    name.contains(['_', '-'])
        || name
            .bytes()
            .zip(name.bytes().skip(1))
            .any(|(a, b)| a.is_ascii_lowercase() && b.is_ascii_uppercase())
}
