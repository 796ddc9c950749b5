//! What texts must be like, whatever field they stand in.

use super::FindingsOf;
use crate::pattern::Pattern;
use crate::resource::Name;

/// How many patterns a list may hold.
const MAX_PATTERNS: usize = 10_000;
/// How many data classes a list may hold.
const MAX_CLASSES: usize = 256;

/// Whether a text has so many characters, none of them a control character.
pub(super) fn short(text: &str, least: usize, most: usize) -> bool {
    let length = text.chars().count();
    (least..=most).contains(&length) && !text.chars().any(char::is_control)
}

/// Every pattern of a list is one.
pub(super) fn patterns(field: &str, patterns: &[String], of: &mut FindingsOf<'_>) {
    if patterns.len() > MAX_PATTERNS {
        of.add(field, format!("a list holds at most {MAX_PATTERNS} patterns"));
        return;
    }
    for (at, text) in patterns.iter().enumerate() {
        if let Err(error) = Pattern::parse(text) {
            of.add(&format!("{field}[{at}]"), error.to_string());
        }
    }
}

/// Every data class of a list has the form of a name. `any` allows the list to be `["*"]`.
pub(super) fn data_classes(field: &str, classes: &[String], any: bool, of: &mut FindingsOf<'_>) {
    if classes.len() > MAX_CLASSES {
        of.add(field, format!("a list holds at most {MAX_CLASSES} data classes"));
        return;
    }
    if any && classes == ["*"] {
        return;
    }
    for (at, class) in classes.iter().enumerate() {
        let field = format!("{field}[{at}]");
        if class == "*" {
            let right = if any { "write [\"*\"] alone for all" } else { "name each class" };
            of.add(&field, format!("\"*\" does not stand here: {right}"));
        } else if class.parse::<Name>().is_err() {
            of.add(
                &field,
                format!(
                    "{:?} is no data class: 1 to 63 of a-z, 0-9 and '-', such as source-code",
                    class.chars().take(80).collect::<String>()
                ),
            );
        }
    }
}
