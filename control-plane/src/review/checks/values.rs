//! Defaults, constants and choices that are no plain values, and addresses that something is to be sent to.

use std::collections::HashSet;

use super::super::finding::{Code, Findings, Severity};
use super::super::rules::BOOK;
use super::super::texts::{Role, Text};
use super::super::words::Word;

/// The longest plain value, in bytes.
const MAX_VALUE: usize = 400;
/// How many addresses of one text are looked at.
const MAX_ADDRESSES: usize = 64;
/// Domains that are nobody's, or stand for anybody's.
const EXAMPLES: &[&str] = &[
    "example.com",
    "example.org",
    "example.net",
    "company.com",
    "domain.com",
    "email.com",
    "acme.com",
    "mycompany.com",
    "yourcompany.com",
    "test.com",
    "github.com",
];
/// Looks through one text.
pub(in super::super) fn check(text: &Text<'_>, words: &[Word], findings: &mut Findings) {
    if text.role == Role::Value && text.text.len() > MAX_VALUE {
        let says = "A default or a choice that is as long as a text.";
        findings.add(Code::OddValue, Severity::Warn, &text.path, text.text, says);
    }
    if text.role == Role::Link {
        let known = ["https://", "http://", "data:image/", "#", "urn:"];
        if !text.text.is_empty()
            && text.text.contains(':')
            && !known.iter().any(|scheme| text.text.starts_with(scheme))
        {
            let says = "A link that is neither a page nor an image.";
            findings.add(Code::OddValue, Severity::Warn, &text.path, text.text, says);
        }
        return;
    }
    for (at, address) in mail_addresses(text.text) {
        if text.role == Role::Value {
            let says = "An address that is used where nobody gives another one.";
            findings.add(Code::SendsElsewhere, Severity::Warn, &text.path, address, says);
        } else if let Some(severity) = sends(at, words) {
            let says = "It sends something to an address that its author chose.";
            findings.add(Code::SendsElsewhere, severity, &text.path, address, says);
        }
    }
    for (at, _) in text.text.match_indices("://").take(MAX_ADDRESSES) {
        if sends(at, words) == Some(Severity::High) {
            let start =
                text.text.get(..at).map_or(at, |before| before.trim_end_matches(char::is_alphanumeric).len());
            let rest = text.text.get(start..).unwrap_or_default();
            let address = rest.split(char::is_whitespace).next().unwrap_or_default();
            let says = "It sends something to an address that its author chose.";
            findings.add(Code::SendsElsewhere, Severity::Warn, &text.path, address, says);
        }
    }
}

/// Whether the sentence around this place sends something there.
fn sends(at: usize, words: &[Word]) -> Option<Severity> {
    let first = words.partition_point(|word| word.end <= at);
    let sentence = words.get(first)?.sentence;
    let before = words.get(..first).unwrap_or_default();
    let start = before.partition_point(|word| word.sentence < sentence);
    let before = before.get(start..).unwrap_or_default();
    let has = |some: &HashSet<u16>| before.iter().any(|word| some.contains(&word.id));
    match (has(&BOOK.sending), has(&BOOK.such_as), has(&BOOK.orders)) {
        (false, ..) | (_, true, _) => None,
        (_, _, true) => Some(Severity::High),
        _ => Some(Severity::Warn),
    }
}

/// Addresses of mail boxes that are no examples, and where they begin.
fn mail_addresses(text: &str) -> Vec<(usize, &str)> {
    let mut found = Vec::new();
    for (at, _) in text.match_indices('@').take(MAX_ADDRESSES) {
        let (before, after) = (text.get(..at).unwrap_or_default(), text.get(at + 1..).unwrap_or_default());
        let local = |c: char| c.is_ascii_alphanumeric() || matches!(c, '.' | '_' | '%' | '+' | '-');
        let start = before.trim_end_matches(local).len();
        let domain = after
            .split(|c: char| !(c.is_ascii_alphanumeric() || matches!(c, '.' | '-')))
            .next()
            .unwrap_or_default();
        let domain = domain.trim_end_matches(['.', '-']);
        let lower = domain.to_ascii_lowercase();
        let is_example =
            EXAMPLES.contains(&lower.as_str()) || lower.ends_with(".test") || lower.ends_with(".example");
        let whole = start < at
            && domain.contains('.')
            && domain.rsplit('.').next().is_some_and(|last| last.len() >= 2);
        if whole && !is_example && !domain.chars().all(|c| c.is_ascii_digit() || c == '.') {
            found.extend(text.get(start..at + 1 + domain.len()).map(|address| (start, address)));
        }
    }
    found
}
