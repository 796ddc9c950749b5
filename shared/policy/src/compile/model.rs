//! What a compiled snapshot is made of: entries with their references followed.

use std::any::Any;
use std::collections::HashSet;
use std::sync::{Arc, OnceLock};

use portcullis_seal::Fingerprint;
use serde_json::value::RawValue;

use super::header_params::HeaderParam;
use crate::access::Access;
use crate::metering::{Cost, Metered};
use crate::resource::{AuditMode, Name, PrincipalKind, Uid};
use crate::rule::{DefinitionKind, Rule};
use crate::snapshot::{ServerEntry, ZoneEntry};
use crate::standpoint::Met;

/// A trust zone.
#[derive(Debug)]
pub struct Zone {
    /// As it travelled.
    pub entry: ZoneEntry,
    pub(crate) reachable_from: HashSet<Name>,
    pub(crate) data_classes: HashSet<String>,
    pub(crate) all_data_classes: bool,
    /// Whether the data plane that compiled this serves it; unknown where none did.
    pub(crate) served: Met,
}

impl Zone {
    /// Whether principals of a zone may reach the tools of this one. A zone always reaches itself.
    #[must_use]
    pub fn reachable_from(&self, principal: &Name) -> bool {
        self.entry.name == *principal || self.reachable_from.contains(principal.as_str())
    }

    /// The first of these data classes that this zone does not allow.
    pub fn refused_class<'a>(&self, mut classes: impl Iterator<Item = &'a String>) -> Option<&'a String> {
        if self.all_data_classes {
            return None;
        }
        classes.find(|class| !self.data_classes.contains(*class))
    }
}

/// An upstream server.
#[derive(Debug)]
pub struct Server {
    /// As it travelled.
    pub entry: Arc<ServerEntry>,
    /// What a call to it needs of its audit record: its zone says so.
    pub zone_audit: AuditMode,
    /// Its trust zone.
    pub zone: Arc<Zone>,
    /// A data class of the server itself that its zone does not allow: everything of it is denied.
    pub(crate) refused_class: Option<String>,
    /// Its sandbox: the same server, reached another way and with a uid of its own, so that nothing that is kept of one is ever
    /// used with the other.
    pub(crate) twin: Option<Arc<Server>>,
    /// Of a sandbox: the uid of the server whose twin it is.
    pub(crate) twin_of: Option<Uid>,
    /// How much of it may be used.
    pub(crate) metered: Option<Arc<Metered>>,
}

impl Server {
    /// Its name.
    #[must_use]
    pub fn name(&self) -> &Name {
        &self.entry.name
    }

    /// Its immutable id. A sandbox has one of its own.
    #[must_use]
    pub fn uid(&self) -> Uid {
        self.entry.uid
    }

    /// The uid under which it is registered: of a sandbox that of the server itself.
    #[must_use]
    pub fn registered_uid(&self) -> Uid {
        match self.twin_of {
            Some(uid) => uid,
            None => self.entry.uid,
        }
    }

    /// Whether it is a server's sandbox.
    #[must_use]
    pub const fn is_sandbox(&self) -> bool {
        self.twin_of.is_some()
    }
}

/// An approved definition of a server: a tool or a prompt.
#[derive(Debug)]
pub struct Definition {
    /// Its server.
    pub server: Arc<Server>,
    /// The upstream's name.
    pub name: Arc<str>,
    /// The name at `/mcp` and in bundles; `None` when it has no valid one: it is served at `/servers/` only.
    pub exposed: Option<Arc<str>>,
    /// The fingerprint of the definition.
    pub pin: Fingerprint,
    /// The definition: a JSON object in canonical form, under the upstream's name.
    pub definition: Arc<RawValue>,
    /// Its trust zone: its own, or its server's.
    pub zone: Arc<Zone>,
    /// What a client mirrors into `Mcp-Param-*` headers (MCP 2026-07-28, transports, "Schema Extension"); empty for prompts.
    pub header_params: Vec<HeaderParam>,
    /// What a call costs; nothing for prompts.
    pub cost: Cost,
    /// How much of it may be used.
    pub(crate) metered: Option<Arc<Metered>>,
    /// What holds each call back until a person approved it; `None` where nobody has to.
    pub held_by: Option<Rule>,
}

/// A tool or a prompt of a server, approved or not.
#[derive(Debug)]
pub(crate) struct Candidate {
    pub(crate) kind: DefinitionKind,
    pub(crate) server: Arc<Server>,
    pub(crate) name: Arc<str>,
    pub(crate) exposed: Option<Arc<str>>,
    pub(crate) state: CandidateState,
    /// Its trust zone: its own, or its server's.
    pub(crate) zone: Arc<Zone>,
    /// A data class of its own or of its server that the zone does not allow.
    pub(crate) refused_class: Option<String>,
    /// Its data classes beside its server's.
    pub(crate) data_classes: Box<[String]>,
    /// As policies see it; made when the first of them may apply.
    pub(crate) conditions: OnceLock<Box<portcullis_conditions::Target>>,
}

/// Whether a candidate may be used.
#[derive(Debug)]
pub(crate) enum CandidateState {
    /// Approved, and nothing is wrong with it.
    Usable(Arc<Definition>),
    /// Nobody approved it yet, or somebody denied it.
    Pending,
    /// The upstream's definition no longer matches the pin.
    Quarantined,
    /// Approved, but it breaks the protocol's rules so that it cannot be served; the text says how.
    Invalid(Arc<str>),
}

/// A tool.
pub type Tool = Definition;
/// A prompt.
pub type Prompt = Definition;

/// Everything that one server offers, in the order of the names.
#[derive(Debug)]
pub(crate) struct Offer {
    pub(crate) server: Arc<Server>,
    pub(crate) tools: Vec<Arc<Candidate>>,
    pub(crate) prompts: Vec<Arc<Candidate>>,
}

/// Who is calling, after authentication. One for each secret of a key.
#[derive(Debug)]
pub struct Principal {
    /// The uid of the key.
    pub key_uid: Uid,
    /// The name of the key.
    pub key_name: Name,
    /// What kind of caller.
    pub kind: PrincipalKind,
    /// Who, in the organisation's words.
    pub subject: Arc<str>,
    /// The key's team.
    pub team: Option<Name>,
    /// The team's customer.
    pub customer: Option<Name>,
    /// The zone of the principal.
    pub zone: Name,
    /// When the key, or this secret of it, ends; milliseconds since the Unix epoch.
    pub expires_unix_ms: Option<u64>,
    /// Whether the key was revoked.
    pub revoked: bool,
    /// Which secret opened it; `None` for a principal that was looked up by its name.
    pub(crate) secret: Option<Fingerprint>,
    pub(crate) access: Arc<Access>,
    /// The places of the `Client`s whose keys it is one of, in their order.
    pub(crate) client_rules: Arc<[u32]>,
    /// As policies see it; made when the first of them may apply.
    pub(crate) conditions: OnceLock<Arc<portcullis_conditions::Caller>>,
    /// How much it may use: of its customer, its team and its key, as far as they say something.
    pub(crate) metered: Box<[Arc<Metered>]>,
    /// What a data plane keeps of it as long as this snapshot lives.
    pub(crate) beside: Beside,
    /// The snapshot that it belongs to: compared by address only.
    pub(crate) snapshot: Arc<SnapshotMark>,
}

/// A place for one thing that a data plane finds out about a principal and keeps as long as the snapshot lives.
#[derive(Default)]
pub(crate) struct Beside(OnceLock<Box<dyn Any + Send + Sync>>);

impl std::fmt::Debug for Beside {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Beside")
    }
}

impl Principal {
    /// What a data plane keeps of this principal as long as the snapshot lives; made when it is first asked for. Of one type only:
    /// `None` where something else was put there.
    pub fn beside<T: Any + Send + Sync>(&self, make: impl FnOnce() -> T) -> Option<&T> {
        self.beside.0.get_or_init(|| Box::new(make())).downcast_ref()
    }

    /// The way that this principal takes to a server: its sandbox, where it asks for that and there is one.
    #[must_use]
    pub fn way<'a>(&self, server: &'a Arc<Server>) -> &'a Arc<Server> {
        server.twin.as_ref().filter(|_| self.access.admitted.sandbox).unwrap_or(server)
    }
}

/// Identifies one compiled snapshot within a process, whatever its version says.
#[derive(Debug)]
pub(crate) struct SnapshotMark {
    /// Not empty, so that each has an address of its own.
    pub(crate) _unique: u8,
}

impl Offer {
    /// A tool or a prompt by the upstream's name.
    pub(crate) fn find(&self, kind: DefinitionKind, name: &str) -> Option<&Candidate> {
        self.find_arc(kind, name).map(|found| &**found)
    }

    /// [`Offer::find`], shared.
    pub(crate) fn find_arc(&self, kind: DefinitionKind, name: &str) -> Option<&Arc<Candidate>> {
        let list = match kind {
            DefinitionKind::Tool => &self.tools,
            DefinitionKind::Prompt => &self.prompts,
        };
        let at = list.binary_search_by(|candidate| (*candidate.name).cmp(name)).ok()?;
        list.get(at)
    }
}

impl Candidate {
    /// Its definition, where it may be used.
    pub(crate) fn usable(&self) -> Option<&Definition> {
        match &self.state {
            CandidateState::Usable(definition) => Some(definition),
            _ => None,
        }
    }

    /// For a person: `tool create_issue of github`.
    pub(crate) fn label(&self) -> String {
        format!("{} {} of {}", self.kind.as_str(), self.name, self.server.name())
    }
}
