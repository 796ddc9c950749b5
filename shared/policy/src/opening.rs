//! For whom a server is open: who is let in at the stage that it has reached.
//!
//! Who is in depends on the key alone, and is settled when a snapshot is compiled. Keys with equal grants that are let in alike
//! go on sharing what was made for them.

use portcullis_seal::sha256;

use crate::compile::model::Server;
use crate::resource::{Name, Uid};
use crate::snapshot::Opening;

/// What a key is let in to beyond what is open to all.
#[derive(Debug, Clone, Default, PartialEq, Eq, Hash)]
pub(crate) struct Admitted {
    /// Whether it asks for the sandbox: then every stage lets it in.
    pub(crate) sandbox: bool,
    /// Uids of servers at the stage `limited` that let it in, of those that its grants reach; sorted.
    servers: Vec<Uid>,
}

impl Admitted {
    /// Whether it asks for the sandbox, and what it is let in to of the servers at the stage `limited`.
    pub(crate) fn new(sandbox: bool, mut servers: Vec<Uid>) -> Self {
        servers.sort();
        servers.dedup();
        Self { sandbox, servers }
    }

    /// Whether a server is open for the key.
    pub(crate) fn to(&self, server: &Server) -> bool {
        match &server.entry.opening {
            Opening::General => true,
            Opening::Sandbox => self.sandbox,
            Opening::Limited { .. } => self.sandbox || self.servers.binary_search(&server.uid()).is_ok(),
            Opening::Suspended | Opening::Retired => false,
        }
    }
}

/// Where a principal falls of a hundred equal parts, at this server: the same on every plane and after every restart, and at
/// another server elsewhere, so that it is not always the same who go first.
#[must_use]
pub fn hundredth(principal: Uid, server: Uid) -> u8 {
    let mut text = [0; 32];
    let (first, second) = text.split_at_mut(16);
    first.copy_from_slice(principal.0.as_bytes());
    second.copy_from_slice(server.0.as_bytes());
    let [a, b, c, d, e, f, g, h, ..] = sha256(&text);
    u8::try_from(u64::from_be_bytes([a, b, c, d, e, f, g, h]) % 100).unwrap_or(u8::MAX)
}

/// The field that says for whom a server is open.
pub(crate) const fn field(opening: &Opening) -> &'static str {
    match opening {
        Opening::Suspended | Opening::Retired => LIFECYCLE,
        Opening::General | Opening::Sandbox | Opening::Limited { .. } => STAGE,
    }
}

/// What is said of a server that is not open.
pub(crate) fn closed(opening: &Opening) -> String {
    match opening {
        Opening::General => "open to all".to_owned(),
        Opening::Suspended => "the server is suspended".to_owned(),
        Opening::Retired => "the server is retired".to_owned(),
        Opening::Sandbox => "at the stage sandbox only keys that ask for the sandbox are let in".to_owned(),
        Opening::Limited { teams, keys, percent } => {
            let mut who = Vec::new();
            if !teams.is_empty() {
                who.push(format!("keys of the teams {}", names(teams)));
            }
            if !keys.is_empty() {
                who.push(format!("the keys {}", names(keys)));
            }
            if let Some(percent) = percent {
                who.push(format!("{percent} of a hundred principals"));
            }
            let who = if who.is_empty() { "nobody".to_owned() } else { who.join(", ") };
            format!("the stage limited lets in, beside sandbox keys: {who}")
        }
    }
}

/// At most ten names, and whether there are more.
fn names(names: &[Name]) -> String {
    let shown: Vec<&str> = names.iter().map(Name::as_str).take(10).collect();
    let more = if names.len() > shown.len() { ", …" } else { "" };
    format!("{}{more}", shown.join(", "))
}

/// The field of a server's stage.
pub const STAGE: &str = "status.stage";
/// The field of a server's lifecycle.
pub const LIFECYCLE: &str = "status.lifecycle";

#[cfg(test)]
mod tests;
