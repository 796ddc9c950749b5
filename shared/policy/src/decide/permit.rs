//! The types of a decision. A [`Permit`] is made by `decide` and by nothing else, and what goes upstream is a [`Permitted`]:
//! forgetting the decision does not compile.

use std::sync::Arc;

use crate::Reason;
use crate::compile::model::{Principal, Prompt, Server, Tool, Zone};
use crate::resource::{AuditMode, Name};
use crate::rule::Rule;
use crate::snapshot::SnapshotVersion;

/// What a permit is for.
#[derive(Debug, Clone)]
pub enum Target {
    /// One call of a tool.
    Tool(Arc<Tool>),
    /// One prompt.
    Prompt(Arc<Prompt>),
    /// One resource, by its URI.
    Resource {
        /// The URI as the caller wrote it.
        uri: Arc<str>,
    },
    /// To speak to the server at all: listing resources, completion, logging.
    Server,
}

/// The leave to do one thing, with the rule that gave it.
#[derive(Debug)]
pub struct Permit {
    server: Arc<Server>,
    target: Target,
    rule: Rule,
    snapshot: SnapshotVersion,
    principal: Arc<Principal>,
    shadow: Shadow,
}

impl Permit {
    pub(super) const fn new(
        server: Arc<Server>,
        target: Target,
        rule: Rule,
        snapshot: SnapshotVersion,
        principal: Arc<Principal>,
        shadow: Shadow,
    ) -> Self {
        Self { server, target, rule, snapshot, principal, shadow }
    }

    /// The server that is reached.
    #[must_use]
    pub const fn server(&self) -> &Arc<Server> {
        &self.server
    }

    /// What it is for.
    #[must_use]
    pub const fn target(&self) -> &Target {
        &self.target
    }

    /// The rule that permits it.
    #[must_use]
    pub const fn rule(&self) -> &Rule {
        &self.rule
    }

    /// The snapshot that permits it.
    #[must_use]
    pub const fn snapshot(&self) -> SnapshotVersion {
        self.snapshot
    }

    /// Who was permitted.
    #[must_use]
    pub const fn principal(&self) -> &Arc<Principal> {
        &self.principal
    }

    /// The policies in shadow mode that would have denied it.
    #[must_use]
    pub fn shadow(&self) -> &[Name] {
        &self.shadow
    }

    /// The trust zone of what is reached: a tool's own, or its server's.
    #[must_use]
    pub fn zone(&self) -> &Zone {
        match &self.target {
            Target::Tool(definition) | Target::Prompt(definition) => &definition.zone,
            Target::Resource { .. } | Target::Server => &self.server.zone,
        }
    }

    /// What the call needs of its audit record: the zone says so.
    #[must_use]
    pub fn audit(&self) -> AuditMode {
        self.zone().entry.audit
    }

    /// Joins the permit with what is done under it.
    #[must_use]
    pub const fn with<T>(self, call: T) -> Permitted<T> {
        Permitted { permit: self, call }
    }
}

/// Something that may be done, with the permit for it. Only [`Permit::with`] makes one.
#[derive(Debug)]
pub struct Permitted<T> {
    permit: Permit,
    call: T,
}

impl<T> Permitted<T> {
    /// The permit.
    #[must_use]
    pub const fn permit(&self) -> &Permit {
        &self.permit
    }

    /// What is done.
    #[must_use]
    pub const fn call(&self) -> &T {
        &self.call
    }

    /// Both.
    #[must_use]
    pub fn into_parts(self) -> (Permit, T) {
        (self.permit, self.call)
    }
}

/// The policies in shadow mode that would have denied. One word wide, since nearly every decision has none.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Shadow(Option<Arc<Vec<Name>>>);

impl From<Vec<Name>> for Shadow {
    fn from(policies: Vec<Name>) -> Self {
        Self((!policies.is_empty()).then(|| Arc::new(policies)))
    }
}

impl std::ops::Deref for Shadow {
    type Target = [Name];

    fn deref(&self) -> &[Name] {
        self.0.as_deref().map_or(&[], Vec::as_slice)
    }
}

/// A refusal, with all that the audit record needs of it. What the caller may see of it is not decided here.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Denial {
    /// Why.
    pub reason: Reason,
    /// What decided.
    pub rule: Rule,
    /// The snapshot that decided.
    pub snapshot: SnapshotVersion,
    /// The server, as far as it was found.
    pub server: Option<Name>,
    /// The upstream's name of the tool or prompt, as far as it was found.
    pub tool: Option<Arc<str>>,
    /// The zone of the server, as far as it was found.
    pub zone: Option<Name>,
    /// The policies in shadow mode that would have denied it, as far as they were asked.
    pub shadow: Shadow,
}
