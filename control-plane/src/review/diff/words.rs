//! What differs between two texts, word by word.

use serde::{Deserialize, Serialize};

use super::super::visible::{visible, visible_line};

/// What happened to a piece of a text.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum PieceKind {
    /// It stayed.
    Same,
    /// It went.
    Removed,
    /// It came.
    Added,
}

/// One piece of two texts, made visible.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Piece {
    /// What happened to it.
    pub kind: PieceKind,
    /// The piece.
    pub text: String,
}

/// How many steps the comparison may take; texts that differ more are shown one after the other.
const MAX_CELLS: usize = 1_000_000;
/// How much is shown of what came or went, in characters.
const MAX_CHANGED: usize = 8_000;
/// How many pieces are shown.
const MAX_PIECES: usize = 400;
/// How much is shown of what stayed on either side of a change, in characters.
const AROUND: usize = 80;

/// The pieces of two texts.
pub(super) fn between(before: &str, after: &str) -> Vec<Piece> {
    let (old, new) = (parts(before), parts(after));
    let head = old.iter().zip(&new).take_while(|(a, b)| a == b).count();
    let most = old.len().min(new.len()) - head;
    let tail = old.iter().rev().zip(new.iter().rev()).take(most).take_while(|(a, b)| a == b).count();
    let middle = |all: &[&str]| {
        all.iter().skip(head).take(all.len() - head - tail).map(|part| (*part).to_owned()).collect()
    };
    let (left, right): (Vec<String>, Vec<String>) = (middle(&old), middle(&new));

    let mut runs: Vec<(PieceKind, String)> = Vec::new();
    let mut push = |kind, text: &str| match runs.last_mut() {
        Some((last, run)) if *last == kind => run.push_str(text),
        _ => runs.push((kind, text.to_owned())),
    };
    old.iter().take(head).for_each(|part| push(PieceKind::Same, part));
    for (kind, part) in steps(&left, &right) {
        push(kind, part);
    }
    old.iter().skip(old.len() - tail).for_each(|part| push(PieceKind::Same, part));

    let last = runs.len().saturating_sub(1);
    let mut pieces: Vec<Piece> = runs
        .iter()
        .enumerate()
        .take(MAX_PIECES)
        .map(|(at, (kind, text))| Piece { kind: *kind, text: shown(*kind, text, at == 0, at == last) })
        .collect();
    if runs.len() > MAX_PIECES {
        pieces.push(Piece { kind: PieceKind::Same, text: "⟨and more changes⟩".to_owned() });
    }
    pieces
}

/// Words, white space and single marks.
fn parts(text: &str) -> Vec<&str> {
    let class = |character: char| match character {
        c if c.is_alphanumeric() => 0,
        c if c.is_whitespace() => 1,
        _ => 2,
    };
    let mut parts = Vec::new();
    let (mut start, mut before) = (0, None);
    for (at, character) in text.char_indices() {
        let now = class(character);
        if before.is_some_and(|before| before != now || now == 2) {
            parts.extend(text.get(start..at));
            start = at;
        }
        before = Some(now);
    }
    parts.extend(text.get(start..).filter(|rest| !rest.is_empty()));
    parts
}

/// The way from one to the other that keeps most.
fn steps<'a>(old: &'a [String], new: &'a [String]) -> Vec<(PieceKind, &'a str)> {
    let mut out = Vec::new();
    let width = new.len() + 1;
    let (mut at_old, mut at_new) = (old.iter().peekable(), new.iter().peekable());
    if (old.len() + 1).saturating_mul(width) <= MAX_CELLS {
        // How much stays of what follows, for each pair of places.
        let mut stays = vec![0_u32; (old.len() + 1) * width];
        let cell = |row: usize, column: usize| row * width + column;
        for (row, a) in old.iter().enumerate().rev() {
            for (column, b) in new.iter().enumerate().rev() {
                let of = |at: usize| stays.get(at).copied().unwrap_or(0);
                let best = if a == b {
                    of(cell(row + 1, column + 1)) + 1
                } else {
                    of(cell(row + 1, column)).max(of(cell(row, column + 1)))
                };
                if let Some(place) = stays.get_mut(cell(row, column)) {
                    *place = best;
                }
            }
        }
        let (mut row, mut column) = (0, 0);
        while let (Some(a), Some(b)) = (at_old.peek(), at_new.peek()) {
            let of = |at: usize| stays.get(at).copied().unwrap_or(0);
            if a == b {
                out.push((PieceKind::Same, a.as_str()));
                at_old.next();
                at_new.next();
                (row, column) = (row + 1, column + 1);
            } else if of(cell(row + 1, column)) >= of(cell(row, column + 1)) {
                out.push((PieceKind::Removed, a.as_str()));
                at_old.next();
                row += 1;
            } else {
                out.push((PieceKind::Added, b.as_str()));
                at_new.next();
                column += 1;
            }
        }
    }
    out.extend(at_old.map(|part| (PieceKind::Removed, part.as_str())));
    out.extend(at_new.map(|part| (PieceKind::Added, part.as_str())));
    out
}

fn shown(kind: PieceKind, text: &str, first: bool, last: bool) -> String {
    if kind != PieceKind::Same {
        // White space alone is seen only by its name.
        return if text.trim().is_empty() && text != " " {
            visible_line(text, MAX_CHANGED)
        } else {
            visible(text, MAX_CHANGED)
        };
    }
    let count = text.chars().count();
    let head = if first { 0 } else { AROUND };
    let tail = if last { 0 } else { AROUND };
    if count <= head + tail + 20 {
        return visible(text, count * 40 + 40);
    }
    let begin: String = text.chars().take(head).collect();
    let end: String = text.chars().skip(count - tail).collect();
    format!("{}⟨…⟩{}", visible(&begin, AROUND * 40), visible(&end, AROUND * 40))
}
