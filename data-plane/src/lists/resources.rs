//! Lists of resources and templates: only what a caller's grants match is shown.

use std::borrow::Cow;
use std::collections::HashMap;

use portcullis_mcp::object;
use portcullis_policy::Pattern;
use portcullis_policy::resource::Name;
use serde_json::value::RawValue;

/// Which list.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Kind {
    /// `resources/list`
    Resources,
    /// `resources/templates/list`
    Templates,
}

impl Kind {
    /// The member of the result that holds the array.
    #[must_use]
    pub const fn member(self) -> &'static str {
        match self {
            Self::Resources => "resources",
            Self::Templates => "resourceTemplates",
        }
    }

    /// The member of an item that the grants' patterns are matched with.
    #[must_use]
    pub const fn key(self) -> &'static str {
        match self {
            Self::Resources => "uri",
            Self::Templates => "uriTemplate",
        }
    }
}

/// What one server listed.
#[derive(Debug)]
pub struct Part<'a> {
    /// The server.
    pub server: &'a Name,
    /// Its items, in its order.
    pub items: Vec<&'a RawValue>,
}

/// The items that a caller may see.
#[must_use]
pub fn select<'a>(kind: Kind, items: &[&'a RawValue], patterns: &[Pattern]) -> Vec<&'a RawValue> {
    let seen = |item: &RawValue| {
        key_of(kind, item).is_some_and(|key| patterns.iter().any(|pattern| pattern.matches_uri(&key)))
    };
    items.iter().copied().filter(|item| seen(item)).collect()
}

/// The items of several servers in one list. What two of them offer is in nobody's: a URI must mean one thing. The hidden
/// ones are given beside it.
#[must_use]
pub fn merge<'a>(kind: Kind, parts: &[Part<'a>]) -> (Vec<&'a RawValue>, Vec<String>) {
    let mut owners: HashMap<Cow<'_, str>, (&Name, bool)> = HashMap::new();
    for part in parts {
        for key in part.items.iter().filter_map(|item| key_of(kind, item)) {
            let (owner, shared) = owners.entry(key).or_insert((part.server, false));
            *shared |= *owner != part.server;
        }
    }
    let is_shared = |item: &RawValue| {
        key_of(kind, item).is_none_or(|key| owners.get(&key).is_none_or(|(_, shared)| *shared))
    };
    let items = parts.iter().flat_map(|part| &part.items).copied().filter(|item| !is_shared(item)).collect();
    let mut hidden: Vec<String> =
        owners.iter().filter(|(_, (_, shared))| *shared).map(|(key, _)| key.to_string()).collect();
    hidden.sort();
    (items, hidden)
}

fn key_of(kind: Kind, item: &RawValue) -> Option<Cow<'_, str>> {
    object::member(item, kind.key()).and_then(object::string)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn items(json: &str) -> Vec<&RawValue> {
        serde_json::from_str(json).unwrap()
    }

    #[test]
    fn only_what_a_pattern_matches_is_shown_and_shown_untouched() {
        let all =
            items(r#"[{"uri":"a://1", "x" : [1,2]},{"uri":"b://1"},{"uri":"a://../1"},{"name":"no uri"}]"#);
        let patterns = [Pattern::parse("a://*").unwrap()];
        let seen: Vec<&str> =
            select(Kind::Resources, &all, &patterns).iter().map(|item| item.get()).collect();
        assert_eq!(seen, [r#"{"uri":"a://1", "x" : [1,2]}"#]);
        assert!(select(Kind::Resources, &all, &[]).is_empty());
    }

    #[test]
    fn what_two_servers_offer_is_hidden_and_told() {
        let (crm, wiki) = ("crm".parse().unwrap(), "wiki".parse().unwrap());
        let parts = [
            Part { server: &crm, items: items(r#"[{"uri":"a://1"},{"uri":"a://2"},{"uri":"a://2"}]"#) },
            Part { server: &wiki, items: items(r#"[{"uri":"a://1"},{"uri":"a://3"}]"#) },
        ];
        let (seen, hidden) = merge(Kind::Resources, &parts);
        let seen: Vec<&str> = seen.iter().map(|item| item.get()).collect();
        assert_eq!(seen, [r#"{"uri":"a://2"}"#, r#"{"uri":"a://2"}"#, r#"{"uri":"a://3"}"#]);
        assert_eq!(hidden, ["a://1"]);
    }
}
