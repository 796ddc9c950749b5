//! Where a decision comes from: the kind, the name and the place in it that decided.

use std::fmt;
use std::sync::Arc;

use serde::{Serialize, Serializer};

use crate::resource::{Kind, Name};

/// The rule that decided. Prints as `VirtualKey/support-bot spec.grants[0]`, or `Default closed` where no resource decided.
/// Cheap to make and to clone: it is made for every call.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct Rule {
    /// The kind of the resource; `None` for what Portcullis does by default.
    pub kind: Option<Kind>,
    /// The name of the resource.
    pub name: Option<Name>,
    /// The place in it.
    pub path: RulePath,
}

/// A place in a resource.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub enum RulePath {
    /// Nothing is allowed that no rule names.
    Closed,
    /// A data plane decides by a snapshot or not at all.
    Snapshot,
    /// A request is one of HTTP and of MCP.
    Protocol,
    /// What a data plane serves at once has bounds.
    Bounds,
    /// A field, such as `spec.zone`.
    Field(&'static str),
    /// What a server's document says of calls of one tool: `spec.tools.overrides[TOOL].approval`.
    CallApproval(Arc<str>),
    /// A place in a list of limits: `spec.budgets[N]`, or `spec.loopBreaker`, which is no list.
    Limit(LimitList, u32),
    /// The same of a tool: `spec.tools.overrides[TOOL].budgets[N]`.
    ToolLimit(Arc<str>, LimitList, u32),
    /// `spec.grants[N]`
    Grant(u32),
    /// `spec.tools[N]`
    Member(u32),
    /// `spec.members.teams[N]`
    Team(u32),
    /// The state of the approval of a tool or prompt: `tools/NAME`, `prompts/NAME`.
    Approval(DefinitionKind, Arc<str>),
}

/// Which of the fields that say how much may be used.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum LimitList {
    /// `budgets`
    Budgets,
    /// `rateLimits`
    RateLimits,
    /// `concurrency`
    Concurrency,
    /// `loopBreaker`, which is no list
    LoopBreaker,
}

impl LimitList {
    /// The field as documents spell it.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Budgets => "budgets",
            Self::RateLimits => "rateLimits",
            Self::Concurrency => "concurrency",
            Self::LoopBreaker => "loopBreaker",
        }
    }
}

/// What a definition defines.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum DefinitionKind {
    /// A tool.
    Tool,
    /// A prompt.
    Prompt,
}

impl DefinitionKind {
    /// The kind as entries spell it.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Tool => "tool",
            Self::Prompt => "prompt",
        }
    }
}

impl Rule {
    /// Nothing is allowed that no rule names.
    #[must_use]
    pub const fn closed() -> Self {
        Self::own(RulePath::Closed)
    }

    /// What Portcullis does whatever anybody configures.
    #[must_use]
    pub const fn own(path: RulePath) -> Self {
        Self { kind: None, name: None, path }
    }

    /// A place in a resource.
    #[must_use]
    pub const fn of(kind: Kind, name: Name, path: RulePath) -> Self {
        Self { kind: Some(kind), name: Some(name), path }
    }
}

impl fmt::Display for Rule {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match (self.kind, &self.name) {
            (Some(kind), Some(name)) => write!(f, "{kind}/{name} {}", self.path),
            (Some(kind), None) => write!(f, "{kind} {}", self.path),
            (None, _) => write!(f, "Default {}", self.path),
        }
    }
}

impl fmt::Display for RulePath {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Closed => f.write_str("closed"),
            Self::Snapshot => f.write_str("snapshot"),
            Self::Protocol => f.write_str("protocol"),
            Self::Bounds => f.write_str("bounds"),
            Self::Field(field) => f.write_str(field),
            Self::CallApproval(tool) => write!(f, "spec.tools.overrides[{tool}].approval"),
            Self::Limit(LimitList::LoopBreaker, _) => f.write_str("spec.loopBreaker"),
            Self::Limit(list, at) => write!(f, "spec.{}[{at}]", list.as_str()),
            Self::ToolLimit(tool, list, at) => {
                write!(f, "spec.tools.overrides[{tool}].{}[{at}]", list.as_str())
            }
            Self::Grant(at) => write!(f, "spec.grants[{at}]"),
            Self::Member(at) => write!(f, "spec.tools[{at}]"),
            Self::Team(at) => write!(f, "spec.members.teams[{at}]"),
            Self::Approval(kind, name) => write!(f, "{}s/{name}", kind.as_str()),
        }
    }
}

impl Serialize for Rule {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}
