//! The names that servers offer: what a definition may be taken for, and what it may speak of. Built once for a whole report
//! of a server, and asked for every definition in it.

use std::collections::HashMap;

use super::chars::ascii;

/// How many servers are remembered with one name: a name that more of them have is nobody's.
const MAX_OWNERS: usize = 8;

/// Names that many clients know. A name that is nearly one of them is made to be taken for it.
const WELL_KNOWN: &[&str] = &[
    "read_file",
    "write_file",
    "edit_file",
    "create_file",
    "delete_file",
    "list_directory",
    "search_files",
    "move_file",
    "create_issue",
    "get_issue",
    "update_issue",
    "list_issues",
    "create_pull_request",
    "merge_pull_request",
    "get_file_contents",
    "push_files",
    "search_code",
    "send_message",
    "send_email",
    "search_emails",
    "post_message",
    "list_channels",
    "execute_sql",
    "execute_query",
    "run_query",
    "list_tables",
    "browser_navigate",
    "browser_click",
    "fetch_url",
    "web_search",
    "execute_command",
    "run_command",
    "create_payment",
    "transfer_funds",
    "get_secret",
    "create_event",
    "list_events",
];

/// The names of all servers' tools.
#[derive(Debug, Clone, Default)]
pub struct Names {
    servers: HashMap<String, u32>,
    /// Their names by number.
    numbered: Vec<String>,
    /// Which servers offer a tool of this name.
    offered: HashMap<String, Vec<u32>>,
    /// Which server's tool clients see under this name.
    exposed: HashMap<String, u32>,
    /// What a name looks like, with one name that looks so.
    looks: HashMap<String, Vec<(String, u32)>>,
}

/// Nobody's: names that are known without a server.
const NOBODY: u32 = u32::MAX;
/// A server that offers nothing.
const STRANGER: u32 = u32::MAX - 1;

impl Names {
    /// No names but those that everybody knows.
    #[must_use]
    pub fn new() -> Self {
        let mut names = Self::default();
        for name in WELL_KNOWN {
            names.looks.entry(look(name)).or_default().push(((*name).to_owned(), NOBODY));
        }
        names
    }

    /// Adds a tool of a server. `exposed` is what clients see it as.
    pub fn add(&mut self, server: &str, tool: &str, exposed: &str) {
        let next = u32::try_from(self.servers.len()).unwrap_or(STRANGER - 1);
        let owner = match self.servers.get(server) {
            Some(owner) => *owner,
            None => {
                self.numbered.push(server.to_owned());
                *self.servers.entry(server.to_owned()).or_insert(next)
            }
        };
        let owners = self.offered.entry(tool.to_owned()).or_default();
        if owners.len() < MAX_OWNERS && !owners.contains(&owner) {
            owners.push(owner);
        }
        self.exposed.insert(exposed.to_owned(), owner);
        let looks = self.looks.entry(look(tool)).or_default();
        if looks.len() < MAX_OWNERS && !looks.iter().any(|(name, of)| name == tool && *of == owner) {
            looks.push((tool.to_owned(), owner));
        }
    }

    /// The server of another's tool that is meant by this word: one that is distinctive, and that `server` does not offer.
    pub(super) fn of_other(&self, server: &str, word: &str) -> Option<&str> {
        let own = self.servers.get(server).copied().unwrap_or(STRANGER);
        let owners = match self.offered.get(word) {
            Some(owners) if owners.len() < MAX_OWNERS && !owners.contains(&own) => owners.first().copied(),
            Some(_) => None,
            None => self.exposed.get(word).copied().filter(|owner| *owner != own),
        }?;
        self.server(owners)
    }

    /// The server whose tool clients already see under exactly this name, which is made of the server's and the tool's. An
    /// alias is nobody's own: others may call their tools so.
    pub(super) fn exposed_by_other(&self, server: &str, name: &str) -> Option<&str> {
        let own = self.servers.get(server).copied().unwrap_or(STRANGER);
        let owner = self.exposed.get(name).copied().filter(|owner| *owner != own)?;
        self.server(owner).filter(|other| name.strip_prefix(other).is_some_and(|rest| rest.starts_with('_')))
    }

    /// A name, not the same, that this one is made to look like, and its server where it has one. Names that differ in case
    /// or in how their words are parted are the same; so are a singular and its plural.
    pub(super) fn imitated(&self, server: &str, name: &str) -> Option<(&str, Option<&str>)> {
        let own = self.servers.get(server).copied().unwrap_or(STRANGER);
        let offers = |other: &str| self.offered.get(other).is_some_and(|owners| owners.contains(&own));
        let candidates = self.looks.get(&look(name))?;
        let found = candidates.iter().find(|(other, owner)| {
            *owner != own && plain(other) != plain(name) && !offers(other) && resembles(other, name)
        })?;
        Some((found.0.as_str(), self.server(found.1)))
    }

    fn server(&self, owner: u32) -> Option<&str> {
        self.numbered.get(usize::try_from(owner).ok()?).map(String::as_str)
    }
}

/// A name without case and without what parts its words.
fn plain(name: &str) -> String {
    name.chars()
        .filter(|character| character.is_alphanumeric() || !character.is_ascii())
        .flat_map(char::to_lowercase)
        .collect()
}

/// What people take the letters of a name for.
fn seen(name: &str) -> String {
    let letters: String = name.chars().filter_map(ascii).collect();
    let letters = letters.replace("rn", "m").replace("vv", "w").replace("cl", "d");
    let mut out = String::with_capacity(letters.len());
    for letter in letters.chars() {
        let letter = match letter {
            '0' => 'o',
            '1' | 'i' => 'l',
            '5' => 's',
            other => other,
        };
        // A doubled letter is a letter.
        if !out.ends_with(letter) {
            out.push(letter);
        }
    }
    out
}

/// The same for all names that look alike or have neighbouring letters exchanged: the first letter and the others sorted.
fn look(name: &str) -> String {
    let seen = seen(name);
    let mut letters = seen.chars();
    let first = letters.next();
    let mut rest: Vec<_> = letters.collect();
    rest.sort_unstable();
    first.into_iter().chain(rest).collect()
}

/// Whether two names look alike but for one exchange of neighbours.
fn resembles(a: &str, b: &str) -> bool {
    let (a, b): (Vec<char>, Vec<char>) = (seen(a).chars().collect(), seen(b).chars().collect());
    if a.len() < 5 || a.len() != b.len() {
        return false;
    }
    let differs: Vec<usize> =
        a.iter().zip(&b).enumerate().filter(|(_, (x, y))| x != y).map(|(at, _)| at).collect();
    match differs.as_slice() {
        [] => true,
        [one, other] => *other == one + 1 && a.get(*one) == b.get(*other) && a.get(*other) == b.get(*one),
        _ => false,
    }
}
