//! Which characters are not what they seem: those that show nothing, those that steer a terminal or the direction of a text,
//! and letters of other scripts that look like Latin ones.

use unicode_security::skeleton;

/// What is odd about a character.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Oddity {
    /// A tag of plane 14: a copy of ASCII that shows nothing and that models read.
    Tag,
    /// It turns the direction of the text around.
    Direction,
    /// It shows nothing.
    Invisible,
    /// It chooses a variant of the character before it, and shows nothing itself.
    Selector,
    /// A control character other than tab and line feed.
    Control,
    /// It begins a line where nobody expects one.
    Line,
    /// It means nothing that two parties agree on.
    Meaningless,
    /// It looks like a space.
    Space,
}

/// What is odd about this one; `None` for what people read.
pub(super) const fn oddity(character: char) -> Option<Oddity> {
    Some(match character {
        ' '..='~' | '\n' | '\t' => return None,
        '\0'..='\u{1f}' | '\u{7f}'..='\u{9f}' => Oddity::Control,
        '\u{e0000}'..='\u{e007f}' => Oddity::Tag,
        '\u{202a}'..='\u{202e}' | '\u{2066}'..='\u{2069}' | '\u{200e}' | '\u{200f}' | '\u{61c}' => {
            Oddity::Direction
        }
        '\u{fe00}'..='\u{fe0f}' | '\u{e0100}'..='\u{e01ef}' | '\u{180b}'..='\u{180d}' | '\u{180f}' => {
            Oddity::Selector
        }
        '\u{ad}'
        | '\u{34f}'
        | '\u{115f}'
        | '\u{1160}'
        | '\u{17b4}'
        | '\u{17b5}'
        | '\u{180e}'
        | '\u{200b}'..='\u{200d}'
        | '\u{2060}'..='\u{2065}'
        | '\u{206a}'..='\u{206f}'
        | '\u{2800}'
        | '\u{3164}'
        | '\u{feff}'
        | '\u{ffa0}'
        | '\u{fff0}'..='\u{fffb}'
        | '\u{1bca0}'..='\u{1bca3}'
        | '\u{1d173}'..='\u{1d17a}'
        | '\u{e0080}'..='\u{e00ff}'
        | '\u{e01f0}'..='\u{e0fff}' => Oddity::Invisible,
        '\u{2028}' | '\u{2029}' => Oddity::Line,
        '\u{a0}' | '\u{1680}' | '\u{2000}'..='\u{200a}' | '\u{202f}' | '\u{205f}' | '\u{3000}' => {
            Oddity::Space
        }
        '\u{e000}'..='\u{f8ff}' | '\u{f0000}'..='\u{10ffff}' | '\u{fdd0}'..='\u{fdef}' => Oddity::Meaningless,
        other if other as u32 & 0xfffe == 0xfffe => Oddity::Meaningless,
        _ => return None,
    })
}

/// The name of a character that people cannot see, as Unicode calls it, or what sort it is.
pub(super) const fn name(character: char) -> &'static str {
    match character {
        '\0' => "NULL",
        '\u{7}' => "BELL",
        '\u{8}' => "BACKSPACE",
        '\n' => "LINE FEED",
        '\t' => "TAB",
        '\r' => "CARRIAGE RETURN",
        '\u{1b}' => "ESCAPE",
        '\u{7f}' => "DELETE",
        '\u{9b}' => "CONTROL SEQUENCE INTRODUCER",
        '\u{a0}' => "NO-BREAK SPACE",
        '\u{ad}' => "SOFT HYPHEN",
        '\u{34f}' => "COMBINING GRAPHEME JOINER",
        '\u{61c}' => "ARABIC LETTER MARK",
        '\u{200b}' => "ZERO WIDTH SPACE",
        '\u{200c}' => "ZERO WIDTH NON-JOINER",
        '\u{200d}' => "ZERO WIDTH JOINER",
        '\u{200e}' => "LEFT-TO-RIGHT MARK",
        '\u{200f}' => "RIGHT-TO-LEFT MARK",
        '\u{2028}' => "LINE SEPARATOR",
        '\u{2029}' => "PARAGRAPH SEPARATOR",
        '\u{202a}' => "LEFT-TO-RIGHT EMBEDDING",
        '\u{202b}' => "RIGHT-TO-LEFT EMBEDDING",
        '\u{202c}' => "POP DIRECTIONAL FORMATTING",
        '\u{202d}' => "LEFT-TO-RIGHT OVERRIDE",
        '\u{202e}' => "RIGHT-TO-LEFT OVERRIDE",
        '\u{2060}' => "WORD JOINER",
        '\u{2061}' => "FUNCTION APPLICATION",
        '\u{2062}' => "INVISIBLE TIMES",
        '\u{2063}' => "INVISIBLE SEPARATOR",
        '\u{2064}' => "INVISIBLE PLUS",
        '\u{2066}' => "LEFT-TO-RIGHT ISOLATE",
        '\u{2067}' => "RIGHT-TO-LEFT ISOLATE",
        '\u{2068}' => "FIRST STRONG ISOLATE",
        '\u{2069}' => "POP DIRECTIONAL ISOLATE",
        '\u{2800}' => "BRAILLE PATTERN BLANK",
        '\u{115f}' | '\u{1160}' | '\u{3164}' | '\u{ffa0}' => "HANGUL FILLER",
        '\u{feff}' => "ZERO WIDTH NO-BREAK SPACE",
        '⟨' | '⟩' | '⟦' | '⟧' => "BRACKET",
        other => match oddity(other) {
            Some(Oddity::Tag) => "TAG",
            Some(Oddity::Direction) => "DIRECTION CONTROL",
            Some(Oddity::Selector) => "VARIATION SELECTOR",
            Some(Oddity::Control) => "CONTROL",
            Some(Oddity::Line) => "SEPARATOR",
            Some(Oddity::Meaningless) => "PRIVATE USE",
            Some(Oddity::Space) => "SPACE",
            Some(Oddity::Invisible) => "INVISIBLE",
            None if is_mark(other) => "COMBINING MARK",
            None => "",
        },
    }
}

/// Whether it is drawn over the character before it.
pub(super) const fn is_mark(character: char) -> bool {
    matches!(character,
        '\u{300}'..='\u{36f}' | '\u{483}'..='\u{489}' | '\u{1ab0}'..='\u{1aff}' | '\u{1dc0}'..='\u{1dff}'
        | '\u{20d0}'..='\u{20ff}' | '\u{fe20}'..='\u{fe2f}')
}

/// Whether emoji begin about here: there joiners and selectors belong to the picture.
pub(super) const fn is_pictograph(character: char) -> bool {
    matches!(character,
        '\u{a9}' | '\u{ae}' | '\u{203c}'..='\u{3299}' | '\u{1f000}'..='\u{1faff}' | '#' | '*' | '0'..='9')
}

/// Whether the script of this letter joins letters with the help of invisible characters.
pub(super) const fn joins(character: char) -> bool {
    matches!(character, '\u{600}'..='\u{8ff}' | '\u{900}'..='\u{dff}' | '\u{fb50}'..='\u{fdff}' | '\u{1800}'..='\u{18af}')
}

/// The ASCII letter or digit, in lower case, that this one is read as: itself, the one under an accent, or the one that it
/// looks like (UTS 39).
pub(super) fn ascii(character: char) -> Option<char> {
    if character.is_ascii() {
        return character.is_ascii_alphanumeric().then(|| character.to_ascii_lowercase());
    }
    if !character.is_alphanumeric() {
        return None;
    }
    if let wide @ 0xff10..=0xff5a = character as u32 {
        let narrow = char::from_u32(wide - 0xfee0)?;
        return narrow.is_ascii_alphanumeric().then(|| narrow.to_ascii_lowercase());
    }
    let mut buffer = [0; 4];
    let first = skeleton(character.encode_utf8(&mut buffer)).next()?;
    first.is_ascii_alphanumeric().then(|| first.to_ascii_lowercase())
}

/// The ASCII letter that a letter of another script, or a styled one, is taken for.
pub(super) fn twin(character: char) -> Option<char> {
    let foreign = matches!(character,
        '\u{250}'..='\u{2af}' | '\u{370}'..='\u{58f}' | '\u{13a0}'..='\u{13ff}' | '\u{1c80}'..='\u{1c8f}'
        | '\u{1d00}'..='\u{1d7f}' | '\u{1f00}'..='\u{1fff}' | '\u{2100}'..='\u{214f}' | '\u{2c80}'..='\u{2dff}'
        | '\u{a4d0}'..='\u{a4ff}' | '\u{a640}'..='\u{a69f}' | '\u{ab70}'..='\u{abbf}' | '\u{ff10}'..='\u{ff5a}'
        | '\u{1d400}'..='\u{1d7ff}');
    if foreign { ascii(character) } else { None }
}
