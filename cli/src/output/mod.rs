//! What commands print: tables for people, YAML and JSON for programs.

pub(crate) mod table;
pub(crate) mod time;

use std::io::Write as _;

use serde_json::Value;

use crate::args::Format;
use crate::failure::Failure;

/// Prints a value in the format asked for; `table` is called only when a table is.
pub(crate) fn print(format: Format, value: &Value, table: impl FnOnce() -> String) -> Result<(), Failure> {
    let text = match format {
        Format::Table => table(),
        Format::Json => serde_json::to_string_pretty(value).map_err(|error| Failure::of("JSON", error))?,
        Format::Yaml => serde_saphyr::to_string(value).map_err(|error| Failure::of("YAML", error))?,
    };
    line(text.trim_end())
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
