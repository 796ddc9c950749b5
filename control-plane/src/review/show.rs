//! A review as a page of text for a terminal.

use std::fmt::Write as _;

use super::chars::oddity;
use super::diff::{Change, ChangeKind, Piece, PieceKind};
use super::{Review, Severity};

/// The review for people: findings first, then what changed. Nothing that a terminal obeys is in it, whoever made the review.
#[must_use]
pub fn text(review: &Review) -> String {
    let mut out = String::new();
    findings(review, &mut out);
    changes(review, &mut out);
    safe(&out)
}

fn findings(review: &Review, out: &mut String) {
    let Some(highest) = review.risk.highest else {
        out.push_str("Risk: nothing found. That is no proof that it is harmless.\n");
        return;
    };
    let _ = writeln!(out, "Risk: {}, {}\n", highest.as_str(), counted(review.risk.findings, "finding"));
    for finding in &review.findings {
        let severity = match finding.severity {
            Severity::High => "HIGH",
            Severity::Warn => "warn",
            Severity::Info => "info",
        };
        let code = serde_json::to_value(finding.code).ok();
        let code = code.as_ref().and_then(serde_json::Value::as_str).unwrap_or_default();
        let path = if finding.path.is_empty() { "/" } else { &finding.path };
        let _ = writeln!(out, "  {severity}  {code} at {path}");
        let _ = writeln!(out, "        {}", finding.message);
        block(out, "        | ", &finding.text);
    }
    if review.more_findings > 0 {
        let _ = writeln!(out, "  and {} more", counted(review.more_findings, "finding"));
    }
}

fn changes(review: &Review, out: &mut String) {
    out.push_str(if review.changed {
        "\nWhat changed against what is approved:\n"
    } else {
        "\nWhat it says, all of it new:\n"
    });
    if review.changes.is_empty() {
        out.push_str("  nothing\n");
    }
    for change in &review.changes {
        one(change, out);
    }
    if review.more_changes > 0 {
        let more = counted(review.more_changes, "place");
        let _ = writeln!(out, "  and {more} more; -o json has the whole definition");
    }
    if review.changes.iter().any(|change| !change.words.is_empty()) {
        out.push_str("\n  ⟦-…-⟧ went, ⟦+…+⟧ came, ⟨…⟩ stayed and is left out here\n");
    }
}

fn one(change: &Change, out: &mut String) {
    let sign = match change.kind {
        ChangeKind::Added => '+',
        ChangeKind::Removed => '-',
        ChangeKind::Altered => '~',
    };
    let note = change.note.as_ref().map(|note| format!("  ({note})")).unwrap_or_default();
    let path = if change.path.is_empty() { "/" } else { &change.path };
    match (short(change.before.as_ref()), short(change.after.as_ref())) {
        (Some(before), Some(after)) => {
            let _ = writeln!(out, "  {sign} {path}: {before} → {after}{note}");
        }
        (Some(value), None) | (None, Some(value)) if change.before.is_none() || change.after.is_none() => {
            let _ = writeln!(out, "  {sign} {path}: {value}{note}");
        }
        _ => {
            let _ = writeln!(out, "  {sign} {path}{note}");
            for (margin, text) in [("      - ", &change.before), ("      + ", &change.after)] {
                if let Some(text) = text {
                    block(out, margin, text);
                }
            }
        }
    }
    if !change.words.is_empty() {
        block(out, "      | ", &change.words.iter().map(piece).collect::<String>());
    }
}

/// What fits on the line of its path.
fn short(text: Option<&String>) -> Option<&str> {
    text.filter(|text| text.len() <= 60 && !text.contains('\n')).map(String::as_str)
}

fn piece(piece: &Piece) -> String {
    match piece.kind {
        PieceKind::Same => piece.text.clone(),
        PieceKind::Removed => format!("⟦-{}-⟧", piece.text),
        PieceKind::Added => format!("⟦+{}+⟧", piece.text),
    }
}

/// Every line with a margin, so that no line of a stranger looks like one of ours.
fn block(out: &mut String, margin: &str, text: &str) {
    for line in text.split('\n') {
        out.push_str(margin);
        out.push_str(line);
        out.push('\n');
    }
}

fn counted(count: usize, what: &str) -> String {
    if count == 1 { format!("1 {what}") } else { format!("{count} {what}s") }
}

fn safe(text: &str) -> String {
    text.chars().map(|character| if oddity(character).is_some() { '\u{fffd}' } else { character }).collect()
}
