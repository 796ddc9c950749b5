//! What differs between two definitions, or what is in one, in the order in which a person reads it.

mod words;

use serde::{Deserialize, Serialize};

use super::finding::MAX_PATH;
use super::tree::{Tree, step};
use super::visible::{visible, visible_line};

pub use words::{Piece, PieceKind};

/// What happened at one place.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum ChangeKind {
    /// It was not there before.
    Added,
    /// It is not there any more.
    Removed,
    /// It is another now.
    Altered,
}

/// One difference. All texts are made visible.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Change {
    /// Where: a JSON Pointer (RFC 6901).
    pub path: String,
    /// What happened.
    pub kind: ChangeKind,
    /// What it means, where that is more than what is seen.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub note: Option<String>,
    /// What was there.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub before: Option<String>,
    /// What is there.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub after: Option<String>,
    /// Of two texts: what stayed, what went and what came, word by word.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub words: Vec<Piece>,
}

/// How many changes are shown.
const MAX_CHANGES: usize = 400;
/// How much of one text is shown, in characters.
const MAX_TEXT: usize = 16_000;
/// How much is shown of all of them.
const MAX_TOTAL: usize = 160_000;

/// What people read first.
const ORDER: &[&str] = &[
    "name",
    "title",
    "description",
    "instructions",
    "serverInfo",
    "arguments",
    "inputSchema",
    "outputSchema",
    "annotations",
    "icons",
    "_meta",
];

/// All changes from one to the other, bounded, and how many were left out.
pub(super) fn changes(before: Option<&Tree>, after: Option<&Tree>) -> (Vec<Change>, usize) {
    let mut all = Changes { list: Vec::new(), more: 0, left: MAX_TOTAL };
    match (before, after) {
        (Some(Tree::Object(_)), Some(Tree::Object(_)))
        | (None, Some(Tree::Object(_)))
        | (Some(Tree::Object(_)), None) => {
            let none = Tree::Object(Vec::new());
            all.objects("", before.unwrap_or(&none), after.unwrap_or(&none), true);
        }
        _ => all.compare("", before, after),
    }
    (all.list, all.more)
}

struct Changes {
    list: Vec<Change>,
    more: usize,
    left: usize,
}

impl Changes {
    fn compare(&mut self, path: &str, before: Option<&Tree>, after: Option<&Tree>) {
        match (before, after) {
            (None, None) => {}
            (Some(before), Some(after)) if before == after => {}
            (Some(before @ Tree::Object(_)), Some(after @ Tree::Object(_))) => {
                self.objects(path, before, after, false)
            }
            (Some(Tree::Array(before)), Some(Tree::Array(after))) => self.arrays(path, before, after),
            (Some(Tree::Text(before)), Some(Tree::Text(after))) => self.texts(path, before, after),
            (Some(before), Some(after)) => {
                self.add(path, ChangeKind::Altered, Some(before), Some(after));
            }
            (None, Some(after)) => self.whole(path, ChangeKind::Added, after),
            (Some(before), None) => self.whole(path, ChangeKind::Removed, before),
        }
    }

    fn objects(&mut self, path: &str, before: &Tree, after: &Tree, root: bool) {
        let mut names: Vec<&str> = before.members().iter().map(|(name, _)| name.as_str()).collect();
        names.extend(
            after.members().iter().map(|(name, _)| name.as_str()).filter(|name| before.get(name).is_none()),
        );
        if root {
            names.sort_by_key(|name| ORDER.iter().position(|known| known == name).unwrap_or(ORDER.len()));
        }
        for name in names {
            self.compare(&step(path, name), before.get(name), after.get(name));
        }
    }

    /// Lists of names and choices as sets, arguments by their names, all others by position between what is the same at
    /// both ends.
    fn arrays(&mut self, path: &str, before: &[Tree], after: &[Tree]) {
        if is_set(path)
            && before.iter().chain(after).all(|item| !matches!(item, Tree::Object(_) | Tree::Array(_)))
        {
            let lost = before.iter().filter(|item| !after.contains(item));
            let gained = after.iter().filter(|item| !before.contains(item));
            let mut changed = false;
            for (kind, item) in lost
                .map(|item| (ChangeKind::Removed, item))
                .chain(gained.map(|item| (ChangeKind::Added, item)))
            {
                changed = true;
                let (old, new) =
                    if kind == ChangeKind::Added { (None, Some(item)) } else { (Some(item), None) };
                self.add(path, kind, old, new);
            }
            if !changed {
                self.push(
                    path,
                    ChangeKind::Altered,
                    Some("in another order, or with repetitions"),
                    None,
                    None,
                    Vec::new(),
                );
            }
            return;
        }
        let name = |item: &Tree| item.get("name").and_then(Tree::text).map(str::to_owned);
        if path == "/arguments" && before.iter().chain(after).all(|item| name(item).is_some()) {
            for item in before {
                let now = after.iter().find(|other| name(other) == name(item));
                self.compare(&step(path, &name(item).unwrap_or_default()), Some(item), now);
            }
            for item in after.iter().filter(|item| !before.iter().any(|other| name(other) == name(item))) {
                self.compare(&step(path, &name(item).unwrap_or_default()), None, Some(item));
            }
            return;
        }
        let same = before.iter().zip(after).take_while(|(a, b)| a == b).count();
        let most = before.len().min(after.len()) - same;
        let tail = before.iter().rev().zip(after.iter().rev()).take(most).take_while(|(a, b)| a == b).count();
        for at in same..(before.len().max(after.len()) - tail) {
            let (old, new) = (
                before.get(at).filter(|_| at < before.len() - tail),
                after.get(at).filter(|_| at < after.len() - tail),
            );
            self.compare(&step(path, &at.to_string()), old, new);
        }
    }

    fn texts(&mut self, path: &str, before: &str, after: &str) {
        let words = words::between(before, after);
        self.push(path, ChangeKind::Altered, note(path, ChangeKind::Altered, None, None), None, None, words);
    }

    /// Something that is in one of them alone, with all that is in it.
    fn whole(&mut self, path: &str, kind: ChangeKind, tree: &Tree) {
        if self.list.len() >= MAX_CHANGES {
            self.more += 1;
            return;
        }
        if is_parameter(path) && matches!(tree, Tree::Object(_)) {
            let note = if kind == ChangeKind::Added { "new parameter" } else { "parameter gone" };
            self.push(path, kind, Some(note), None, None, Vec::new());
        }
        match tree {
            Tree::Object(members) if !members.is_empty() => {
                for (name, value) in members {
                    self.whole(&step(path, name), kind, value);
                }
            }
            Tree::Array(items)
                if items.iter().any(|item| matches!(item, Tree::Object(_) | Tree::Array(_))) =>
            {
                for (at, item) in items.iter().enumerate() {
                    self.whole(&step(path, &at.to_string()), kind, item);
                }
            }
            leaf => {
                let (before, after) =
                    if kind == ChangeKind::Added { (None, Some(leaf)) } else { (Some(leaf), None) };
                self.add(path, kind, before, after);
            }
        }
    }

    fn add(&mut self, path: &str, kind: ChangeKind, before: Option<&Tree>, after: Option<&Tree>) {
        self.push(path, kind, note(path, kind, before, after), before, after, Vec::new());
    }

    fn push(
        &mut self,
        path: &str,
        kind: ChangeKind,
        note: Option<&str>,
        before: Option<&Tree>,
        after: Option<&Tree>,
        words: Vec<Piece>,
    ) {
        if self.list.len() >= MAX_CHANGES || self.left == 0 {
            self.more += 1;
            return;
        }
        let most = self.left.min(MAX_TEXT);
        let shown = |tree: &Tree| match tree {
            Tree::Text(text) => visible(text, most),
            other => visible(&other.written(), most),
        };
        let change = Change {
            path: visible_line(path, MAX_PATH),
            kind,
            note: note.map(str::to_owned),
            before: before.map(shown),
            after: after.map(shown),
            words,
        };
        let texts = [&change.before, &change.after].into_iter().flatten().map(String::len).sum::<usize>();
        let pieces = change.words.iter().map(|piece| piece.text.len()).sum::<usize>();
        self.left = self.left.saturating_sub(texts + pieces + change.path.len());
        self.list.push(change);
    }
}

/// Whether the order of a list means nothing.
fn is_set(path: &str) -> bool {
    let mut steps = path.rsplit('/');
    matches!(steps.next(), Some("required" | "enum")) && steps.next() != Some("properties")
}

/// Whether this is a parameter, or a member of one.
fn is_parameter(path: &str) -> bool {
    let mut steps = path.rsplit('/');
    steps.next();
    let group = steps.next();
    group == Some("properties") || (group == Some("arguments") && path.matches('/').count() == 2)
}

/// What a change means.
fn note(path: &str, kind: ChangeKind, before: Option<&Tree>, after: Option<&Tree>) -> Option<&'static str> {
    let mut steps = path.rsplit('/');
    let last = steps.next()?;
    // A parameter may be called like a member of schemas.
    if steps.next() == Some("properties") {
        return None;
    }
    let gone = |value: bool| {
        before.and_then(Tree::truth) == Some(value) && after.and_then(Tree::truth) != Some(value)
    };
    let come = |value: bool| {
        after.and_then(Tree::truth) == Some(value) && before.and_then(Tree::truth) != Some(value)
    };
    Some(match (last, kind) {
        ("readOnlyHint", _) if gone(true) => "read-only hint dropped",
        ("readOnlyHint", _) if come(true) => "read-only hint gained",
        ("destructiveHint", _) if come(true) || gone(false) => "destructive hint gained",
        ("destructiveHint", _) if come(false) => "says that it destroys nothing",
        ("openWorldHint", _) if come(true) || gone(false) => "reaches the open world",
        ("additionalProperties", _) if gone(false) || come(true) => "accepts members that it does not name",
        ("additionalProperties", _) if come(false) => "accepts no other members",
        ("default", ChangeKind::Altered) => "default altered",
        ("default", ChangeKind::Added) => "default added",
        ("default", ChangeKind::Removed) => "default gone",
        ("type", ChangeKind::Altered) => "type changed",
        ("required", ChangeKind::Added) => "required now",
        ("required", ChangeKind::Removed) => "no longer required",
        ("enum", ChangeKind::Added) => "choice added",
        ("enum", ChangeKind::Removed) => "choice gone",
        _ => return None,
    })
}
