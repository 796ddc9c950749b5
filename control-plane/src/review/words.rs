//! A text as the words that a model reads: case, accents, look-alike letters and characters that show nothing are folded
//! away, so that hiding a sentence from people does not hide it from the rules.

use super::chars::{Oddity, ascii, oddity};
use super::phrases::Vocabulary;

/// One word of a text. Words that no rule knows are all the same one.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Word {
    /// Its number in the vocabulary; 0 for a word that is not in it.
    pub(super) id: u16,
    /// Where it begins in the text, in bytes.
    pub(super) start: usize,
    /// Where it ends.
    pub(super) end: usize,
    /// The number of its sentence.
    pub(super) sentence: u32,
}

/// The longest word that is looked up, in bytes; a longer one is no word.
const MAX_WORD: usize = 32;

/// How a text is parted into words.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Parting {
    /// As prose is.
    Prose,
    /// As a name is: a capital begins a word, too.
    Name,
}

/// The words of a text.
pub(super) fn words(text: &str, parting: Parting, vocabulary: &Vocabulary) -> Vec<Word> {
    let mut reader = Reader {
        vocabulary,
        words: Vec::new(),
        word: String::with_capacity(MAX_WORD),
        start: 0,
        dot: false,
        sentence: 0,
    };
    let (mut before, mut end_of_sentence, mut line_feeds) = (' ', false, 0);
    for (at, character) in text.char_indices() {
        if matches!(
            oddity(character),
            Some(Oddity::Tag | Oddity::Direction | Oddity::Invisible | Oddity::Selector)
        ) || matches!(character, '\'' | '\u{2019}')
        {
            continue;
        }
        match letter(character) {
            Some(letter) => {
                let hump = parting == Parting::Name && character.is_uppercase() && before.is_lowercase();
                if hump {
                    reader.end(at);
                }
                if reader.word.is_empty() {
                    if end_of_sentence || line_feeds > 1 {
                        reader.sentence += 1;
                    }
                    reader.start = at;
                }
                (end_of_sentence, line_feeds) = (false, 0);
                if reader.word.len() < MAX_WORD {
                    reader.word.push(letter);
                }
            }
            None => {
                reader.end(at);
                reader.dot = character == '.' && !before.is_alphanumeric();
                line_feeds += usize::from(character == '\n');
                // A full stop ends a sentence where white space follows it.
                end_of_sentence |= character.is_whitespace() && matches!(before, '.' | '!' | '?' | ';');
            }
        }
        before = character;
    }
    reader.end(text.len());
    reader.words
}

/// The letter as it is looked up; letters that have nothing to do with ASCII are letters all the same.
fn letter(character: char) -> Option<char> {
    ascii(character).or_else(|| character.is_alphanumeric().then_some('?'))
}

struct Reader<'a> {
    vocabulary: &'a Vocabulary,
    words: Vec<Word>,
    word: String,
    start: usize,
    dot: bool,
    sentence: u32,
}

impl Reader<'_> {
    fn end(&mut self, at: usize) {
        if self.word.is_empty() {
            return;
        }
        let hidden_file =
            self.dot.then(|| self.vocabulary.id(&format!(".{}", self.word))).filter(|id| *id != 0);
        let id = hidden_file.unwrap_or_else(|| self.vocabulary.id(&self.word));
        let start = if hidden_file.is_some() { self.start.saturating_sub(1) } else { self.start };
        self.words.push(Word { id, start, end: at, sentence: self.sentence });
        self.word.clear();
        self.dot = false;
    }
}
