//! Whose budget or limit it is.

use std::sync::Arc;

use portcullis_metering::Level;
use portcullis_seal::sha256;
use uuid::Uuid;

use crate::resource::{Kind, Name, Uid};
use crate::rule::{LimitList, Rule, RulePath};

/// Whose budget or limit it is.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Owner {
    /// Where in the order of levels it stands.
    pub level: Level,
    /// Its uid; for a tool one that is made from its server's uid and its name.
    pub uid: Uuid,
    /// The name of the resource; for a tool that of its server.
    pub name: Name,
    /// The upstream's name of the tool, where it is one.
    pub tool: Option<Arc<str>>,
}

impl Owner {
    /// A resource.
    pub(crate) const fn resource(level: Level, uid: Uid, name: Name) -> Self {
        Self { level, uid: uid.0, name, tool: None }
    }

    /// A tool of a server.
    pub(crate) fn tool(server: Uid, name: Name, tool: Arc<str>) -> Self {
        Self { level: Level::Tool, uid: tool_uid(server, &tool), name, tool: Some(tool) }
    }

    /// The kind of the resource in which it is written.
    #[must_use]
    pub const fn kind(&self) -> Kind {
        match self.level {
            Level::Customer => Kind::Customer,
            Level::Team => Kind::Team,
            Level::Key => Kind::VirtualKey,
            Level::Server | Level::Tool => Kind::McpServer,
        }
    }

    /// As people name it: `acme`, or of a tool `crm/refund`.
    #[must_use]
    pub fn label(&self) -> String {
        match &self.tool {
            None => self.name.to_string(),
            Some(tool) => format!("{}/{tool}", self.name),
        }
    }

    /// The rule at a place of one of its lists: `Customer/acme spec.budgets[0]`.
    #[must_use]
    pub fn rule(&self, list: LimitList, at: u32) -> Rule {
        let path = match &self.tool {
            None => RulePath::Limit(list, at),
            Some(tool) => RulePath::ToolLimit(Arc::clone(tool), list, at),
        };
        Rule::of(self.kind(), self.name.clone(), path)
    }
}

/// The uid under which a tool owns something.
#[must_use]
pub(crate) fn tool_uid(server: Uid, tool: &str) -> Uuid {
    first_16(&sha256(format!("tool of {server}\0{tool}").as_bytes()))
}

/// The first half of a hash, as an id.
pub(crate) const fn first_16(hash: &[u8; 32]) -> Uuid {
    let [a, b, c, d, e, f, g, h, i, j, k, l, m, n, o, p, ..] = *hash;
    Uuid::from_bytes([a, b, c, d, e, f, g, h, i, j, k, l, m, n, o, p])
}
