//! Exposed names: what a tool is called where several servers meet. A pure function of what was approved.

use crate::resource::Name;

/// The longest exposed name.
pub const MAX_EXPOSED_NAME: usize = 64;

/// Whether a text may be an exposed name: `^[a-zA-Z0-9_-]{1,64}$`.
#[must_use]
pub fn valid_exposed_name(text: &str) -> bool {
    (1..=MAX_EXPOSED_NAME).contains(&text.len())
        && text.bytes().all(|byte| byte.is_ascii_alphanumeric() || byte == b'_' || byte == b'-')
}

/// The exposed name: the alias if there is one, else `{server}_{tool}`; `None` when that is not valid. Names of servers hold
/// no underscore, so it splits one way only.
#[must_use]
pub fn exposed_name(server: &Name, tool: &str, alias: Option<&str>) -> Option<String> {
    let name = alias.map_or_else(|| format!("{server}_{tool}"), str::to_owned);
    valid_exposed_name(&name).then_some(name)
}
