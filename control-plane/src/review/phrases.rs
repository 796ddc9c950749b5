//! A small language for phrases, so that the rules can be read: words one after the other, `a|b` for one of several, `~3` for
//! up to three other words between, `NOT` for the ways to forbid something, and `.ssh` for a word with a dot before it.
//! Other words are skipped within one sentence only; words that stand side by side may be parted by anything.

use std::collections::HashMap;

use super::words::Word;

/// How English forbids: the last words before what is forbidden. "Does not" only says how it is, and is none.
const NOT: &[&str] =
    &["dont|never|mustnt|shouldnt|refrain|avoid|without", "do|must|should|shall|may|please|and|but|can not"];

/// How many steps a phrase has at most.
const MAX_STEPS: usize = 12;

struct Step {
    /// The words, sorted.
    any_of: Vec<u16>,
    /// How many other words may stand before.
    gap: usize,
}

/// The words that phrases are made of, by number.
#[derive(Debug, Default)]
pub(super) struct Vocabulary(HashMap<String, u16>);

impl Vocabulary {
    /// The number of a word; 0 when no phrase knows it.
    pub(super) fn id(&self, word: &str) -> u16 {
        self.0.get(word).copied().unwrap_or(0)
    }

    fn learn(&mut self, word: &str) -> u16 {
        if let Some(id) = self.0.get(word) {
            return *id;
        }
        let id = u16::try_from(self.0.len() + 1).unwrap_or(u16::MAX);
        self.0.insert(word.to_owned(), id);
        id
    }
}

/// Phrases, ready to be found.
#[derive(Default)]
pub(super) struct Phrases {
    pub(super) vocabulary: Vocabulary,
    phrases: Vec<(Vec<Step>, usize)>,
    /// The phrases that begin with a word.
    by_first: HashMap<u16, Vec<usize>>,
}

/// One phrase that was found.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Match {
    /// Of which rule.
    pub(super) rule: usize,
    /// Its first word.
    pub(super) first: usize,
    /// Its last word.
    pub(super) last: usize,
}

impl Phrases {
    /// Gives a word a number, that no phrase has.
    pub(super) fn know(&mut self, word: &str) -> u16 {
        self.vocabulary.learn(word)
    }

    /// Adds the phrase of a rule. Words that stand in no phrase cannot be found, so all are added before texts are read.
    pub(super) fn add(&mut self, phrase: &str, rule: usize) {
        if let Some(rest) = phrase.strip_prefix("NOT ") {
            for not in NOT {
                self.add(&format!("{not} {rest}"), rule);
            }
            return;
        }
        let mut steps = Vec::new();
        let mut gap = 0;
        for part in phrase.split_whitespace().take(2 * MAX_STEPS) {
            if let Some(words) = part.strip_prefix('~') {
                gap = words.parse().unwrap_or(0);
                continue;
            }
            let mut any_of: Vec<_> = part.split('|').map(|word| self.vocabulary.learn(word)).collect();
            any_of.sort_unstable();
            steps.push(Step { any_of, gap: std::mem::take(&mut gap) });
        }
        let Some(first) = steps.first() else { return };
        let at = self.phrases.len();
        for id in &first.any_of {
            self.by_first.entry(*id).or_default().push(at);
        }
        self.phrases.push((steps, rule));
    }

    /// What is found in these words, in their order; of one rule that is found several times around one place the first.
    pub(super) fn find(&self, words: &[Word]) -> Vec<Match> {
        let mut found: Vec<Match> = Vec::new();
        for (first, word) in words.iter().enumerate().filter(|(_, word)| word.id != 0) {
            for at in self.by_first.get(&word.id).into_iter().flatten() {
                let Some((steps, rule)) = self.phrases.get(*at) else { continue };
                if found.iter().rev().take(16).any(|known| known.rule == *rule && known.last >= first) {
                    continue;
                }
                if let Some(last) = follow(steps, words, first) {
                    found.push(Match { rule: *rule, first, last });
                }
            }
        }
        found
    }
}

/// The last word of the shortest way through all steps.
fn follow(steps: &[Step], words: &[Word], first: usize) -> Option<usize> {
    let mut reached = vec![first];
    for step in steps.iter().skip(1) {
        let mut next = Vec::new();
        for from in &reached {
            let sentence = words.get(*from)?.sentence;
            for skipped in 0..=step.gap {
                let Some(word) = words.get(from + 1 + skipped) else { break };
                if skipped > 0 && word.sentence != sentence {
                    break;
                }
                if step.any_of.binary_search(&word.id).is_ok() {
                    next.push(from + 1 + skipped);
                }
            }
        }
        next.sort_unstable();
        next.dedup();
        if next.is_empty() {
            return None;
        }
        reached = next;
    }
    reached.first().copied()
}
