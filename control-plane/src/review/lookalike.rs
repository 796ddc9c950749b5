//! Words that are not written in the letters that they seem to be written in.

use std::ops::Range;

use super::chars::{oddity, twin};

/// The words of a text with letters that only look Latin, as ranges of bytes: a word that mixes them with Latin ones, or one
/// that is made of nothing else in a text that is Latin otherwise. A text in another script has none.
pub(super) fn lookalikes(text: &str) -> Vec<Range<usize>> {
    if text.is_ascii() {
        return Vec::new();
    }
    let letters = text.chars().filter(|character| character.is_alphabetic()).count();
    let latin = text.chars().filter(char::is_ascii_alphabetic).count() * 2 > letters;
    words(text).filter(|word| deceives(text.get(word.clone()).unwrap_or_default(), latin)).collect()
}

fn words(text: &str) -> impl Iterator<Item = Range<usize>> {
    let mut start = None;
    let mut ends =
        text.char_indices().map(|(at, character)| (at, Some(character))).chain([(text.len(), None)]);
    std::iter::from_fn(move || {
        for (at, character) in ends.by_ref() {
            // What shows nothing does not part a word.
            let inside = character.is_some_and(|character| {
                character.is_alphanumeric() || (start.is_some() && oddity(character).is_some())
            });
            match (inside, start) {
                (true, None) => start = Some(at),
                (false, Some(from)) => {
                    start = None;
                    return Some(from..at);
                }
                _ => {}
            }
        }
        None
    })
}

fn deceives(word: &str, text_is_latin: bool) -> bool {
    let (mut latin, mut twins, mut others) = (0, 0, 0);
    for character in word.chars() {
        if character.is_ascii_alphabetic() {
            latin += 1;
        } else if twin(character).is_some() {
            twins += 1;
        } else if character.is_alphabetic() {
            others += 1;
        }
    }
    match (latin, others) {
        _ if twins == 0 => false,
        (0, 0) => twins > 1 && text_is_latin,
        (0, _) => false,
        _ => true,
    }
}
