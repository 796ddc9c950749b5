//! Text in another dress: Base64 and hexadecimal digits that are sentences underneath.

use base64::Engine as _;
use base64::alphabet;
use base64::engine::{DecodePaddingMode, GeneralPurpose, GeneralPurposeConfig};

use super::super::finding::{Code, Findings, Severity};
use super::super::texts::{Role, Text};
use super::spoken::is_poison;

/// The shortest encoded text, in characters.
const MIN: usize = 24;
/// How much of one is decoded, in characters: a multiple of four.
const MAX: usize = 16 * 1024;
/// How many are decoded of one text.
const MAX_RUNS: usize = 32;
/// From how many characters on encoded text that says nothing is worth a word.
const LONG: usize = 1_024;

const LENIENT: GeneralPurposeConfig = GeneralPurposeConfig::new()
    .with_decode_allow_trailing_bits(true)
    .with_decode_padding_mode(DecodePaddingMode::Indifferent);
const STANDARD: GeneralPurpose = GeneralPurpose::new(&alphabet::STANDARD, LENIENT);
const URL_SAFE: GeneralPurpose = GeneralPurpose::new(&alphabet::URL_SAFE, LENIENT);

/// Looks through one text.
pub(in super::super) fn check(text: &Text<'_>, findings: &mut Findings) {
    // An image is encoded, and is shown.
    if text.text.len() < MIN || (text.role == Role::Link && text.text.starts_with("data:image/")) {
        return;
    }
    let encodes =
        |character: char| character.is_ascii_alphanumeric() || matches!(character, '+' | '/' | '-' | '_');
    let runs = text.text.split(|character| !encodes(character)).filter(|run| run.len() >= MIN);
    for run in runs.take(MAX_RUNS) {
        match decoded(run) {
            Some(said) if is_poison(&said) => {
                let says = "Encoded text that gives the model instructions: ";
                add(findings, Severity::High, text, run, says, &said);
            }
            Some(said) => add(findings, Severity::Warn, text, run, "Encoded text: ", &said),
            None if run.len() >= LONG && !run.contains(['-', '_']) => {
                let says = "A long piece of encoded data that nobody can read.";
                findings.add(Code::EncodedText, Severity::Warn, &text.path, run, says);
            }
            None => {}
        }
    }
}

fn add(findings: &mut Findings, severity: Severity, text: &Text<'_>, run: &str, says: &str, said: &str) {
    let said = super::super::visible::visible_line(said, 160);
    findings.add(Code::EncodedText, severity, &text.path, run, &format!("{says}{said:?}."));
}

/// What is written underneath, where it is text.
fn decoded(run: &str) -> Option<String> {
    let run = run.get(..run.len().min(MAX)).unwrap_or(run);
    let hexadecimal = || {
        let digits = run.bytes().map(|digit| char::from(digit).to_digit(16)).collect::<Option<Vec<_>>>()?;
        let bytes = digits.chunks_exact(2).map(|pair| match pair {
            [high, low] => u8::try_from(high * 16 + low).unwrap_or(0),
            _ => 0,
        });
        readable(bytes.collect())
    };
    hexadecimal().or_else(|| {
        // Where a run was cut, its last characters may be half a byte.
        let engines = [&STANDARD, &URL_SAFE];
        let whole = run.get(..run.len() / 4 * 4).unwrap_or(run);
        engines.iter().find_map(|engine| {
            let bytes = engine.decode(run).or_else(|_| engine.decode(whole)).ok()?;
            readable(bytes)
        })
    })
}

fn readable(bytes: Vec<u8>) -> Option<String> {
    let text = String::from_utf8(bytes).ok()?;
    let plain = text
        .chars()
        .filter(|character| character.is_ascii_graphic() || character.is_ascii_whitespace())
        .count();
    // Words have spaces or other marks between them; what has none is an identifier that happens to decode.
    (plain * 20 >= text.chars().count() * 19 && text.len() >= MIN / 4 * 3 - 2).then_some(text)
}
