//! What commands print: tables for people, YAML and JSON for programs.

pub(crate) mod table;
pub(crate) mod time;

use std::fmt::Write as _;
use std::io::Write as _;

use portcullis_control_plane::review::is_visible;
use serde_json::Value;

use crate::args::Format;
use crate::failure::Failure;

/// Prints a value in the format asked for; `table` is called only when a table is.
pub(crate) fn print(format: Format, value: &Value, table: impl FnOnce() -> String) -> Result<(), Failure> {
    let text = match format {
        Format::Table => table(),
        Format::Json => json(value)?,
        Format::Yaml => match serde_saphyr::to_string(value).map_err(|error| Failure::of("YAML", error))? {
            text if is_visible(&text) => text,
            // JSON is YAML, and can say every character with ones that a terminal does not obey.
            _ => json(value)?,
        },
    };
    line(text.trim_end())
}

/// A value as JSON in which every character that a terminal would obey, or that nobody would see, is escaped: it says the same.
fn json(value: &Value) -> Result<String, Failure> {
    let text = serde_json::to_string_pretty(value).map_err(|error| Failure::of("JSON", error))?;
    if is_visible(&text) {
        return Ok(text);
    }
    let mut out = String::with_capacity(text.len() + 64);
    for character in text.chars() {
        if is_visible(character.encode_utf8(&mut [0; 4])) {
            out.push(character);
        } else {
            for unit in character.encode_utf16(&mut [0; 2]) {
                let _ = write!(out, "\\u{unit:04x}");
            }
        }
    }
    Ok(out)
}

/// Prints a line to standard output. A reader that closed the pipe ends the program quietly.
pub(crate) fn line(text: &str) -> Result<(), Failure> {
    match writeln!(std::io::stdout().lock(), "{text}") {
        Err(error) if error.kind() == std::io::ErrorKind::BrokenPipe => std::process::exit(0),
        other => other.map_err(Failure::from),
    }
}

/// Prints a line to standard error.
pub(crate) fn note(text: &str) {
    // Nobody is left to tell when standard error is closed.
    let _ = writeln!(std::io::stderr().lock(), "{text}");
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn json_says_every_character_and_shows_none_that_a_terminal_obeys() {
        let value = Value::from("a\u{1b}\u{9b}\u{7f}\u{202e}\u{e0041}\u{200b}é東⟨");
        let text = json(&value).unwrap();
        assert!(is_visible(&text), "{text:?}");
        assert_eq!(text, r#""a\u001b\u009b\u007f\u202e\udb40\udc41\u200bé東⟨""#);
        assert_eq!(serde_json::from_str::<Value>(&text).unwrap(), value);
    }
}
