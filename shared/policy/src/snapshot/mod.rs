//! What a snapshot holds: a flat list of entries, each with a kind, an id and a body in canonical JSON.
//!
//! Flat, with children that point to their parents by uid, so that one edit is one small entry, a delta is upserts and
//! removals, and the digest of the whole can be made again from the digests of the parts.
//!
//! An entry holds only what was *approved*: a tool that waits or is quarantined is there by name, so that a denial can say
//! which of these it was, and without its definition.

mod codec;
mod digest;
mod sharing;

use std::collections::BTreeMap;
use std::sync::{Arc, LazyLock};

use chrono::{DateTime, Utc};
use portcullis_seal::Fingerprint;
use serde::{Deserialize, Serialize};
use serde_json::value::RawValue;

use crate::circumstances::Era;
use crate::resource::{
    AccessPolicySpec, AuditMode, Auth, BundleMember, BundleMembership, ClientSpec, Environment, Grant,
    HeldBy, Hosting, Limits, Metering, Name, Network, PlaneLabels, PrincipalSpec, Sandbox, Tier, ToolCost,
    Transport, Uid,
};

pub use codec::{EncodedEntry, EntryError, SnapshotHeader, encode_all, kind_order};
pub use digest::{SIGNATURE_PURPOSE, SnapshotDigest, signed_text};
pub use sharing::SharedGrants;

static DEFAULT_ZONE: LazyLock<Option<Name>> = LazyLock::new(|| "default".parse().ok());

/// The name of the built-in zone. It reaches itself and allows every data class.
#[must_use]
pub fn default_zone_name() -> Name {
    #[allow(clippy::expect_used, reason = "a constant, checked by a test; no input reaches it")]
    DEFAULT_ZONE.clone().expect("\"default\" is a DNS label")
}

/// The number of a snapshot. Only a greater one replaces it.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(transparent)]
pub struct SnapshotVersion(pub u64);

impl std::fmt::Display for SnapshotVersion {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        self.0.fmt(f)
    }
}

/// One entry of a snapshot. Order of variants is the order of kinds in the digest and on the wire. Those that are many or large
/// are shared, so that a snapshot that differs from the last in one entry costs one entry.
#[derive(Debug, Clone)]
#[allow(missing_docs)]
pub enum Entry {
    Zone(ZoneEntry),
    Customer(CustomerEntry),
    Team(TeamEntry),
    Server(Arc<ServerEntry>),
    Tool(Arc<DefinitionEntry>),
    Prompt(Arc<DefinitionEntry>),
    Bundle(BundleEntry),
    Key(Arc<KeyEntry>),
    Client(Box<ClientEntry>),
    Policy(PolicyEntry),
}

/// A trust zone.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, rename_all = "camelCase")]
pub struct ZoneEntry {
    /// Immutable id.
    pub uid: Uid,
    /// Name.
    pub name: Name,
    /// Zones of principals that may reach it, beside itself.
    pub reachable_from: Vec<Name>,
    /// Data classes of its tools; `["*"]` for all.
    pub allowed_data_classes: Vec<String>,
    /// Networks that it may be called from; any when empty.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub caller_networks: Vec<Network>,
    /// How callers may speak; both ways when empty.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub allowed_eras: Vec<Era>,
    /// Who may host what is in it; anybody when empty.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub allowed_hosting: Vec<Hosting>,
    /// Data planes that serve it: those that have all labels of one of these; any when empty.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub served_by: Vec<PlaneLabels>,
    /// What a call needs of its record.
    pub audit: AuditMode,
}

impl ZoneEntry {
    /// The zone that is there without being defined: it reaches itself and allows every data class.
    #[must_use]
    pub fn built_in() -> Self {
        Self {
            // No random uid is nil, so nothing else ever has this one.
            uid: Uid(uuid::Uuid::nil()),
            name: default_zone_name(),
            reachable_from: Vec::new(),
            allowed_data_classes: vec!["*".to_owned()],
            caller_networks: Vec::new(),
            allowed_eras: Vec::new(),
            allowed_hosting: Vec::new(),
            served_by: Vec::new(),
            audit: AuditMode::default(),
        }
    }
}

/// A customer.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct CustomerEntry {
    /// Immutable id.
    pub uid: Uid,
    /// Name.
    pub name: Name,
    /// How much its teams may use.
    #[serde(default, skip_serializing_if = "Metering::is_empty")]
    pub metering: Metering,
}

/// A team.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct TeamEntry {
    /// Immutable id.
    pub uid: Uid,
    /// Name.
    pub name: Name,
    /// Its customer.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub customer: Option<Name>,
    /// How much its keys may use.
    #[serde(default, skip_serializing_if = "Metering::is_empty")]
    pub metering: Metering,
}

/// An upstream server.
#[derive(Debug, Clone, Serialize, Deserialize)]
#[serde(deny_unknown_fields, rename_all = "camelCase")]
pub struct ServerEntry {
    /// Immutable id.
    pub uid: Uid,
    /// Name.
    pub name: Name,
    /// Its trust zone.
    pub zone: Name,
    /// How to reach it.
    pub transport: Transport,
    /// Who hosts it.
    pub hosting: Hosting,
    /// Descriptive.
    pub environment: Environment,
    /// Descriptive.
    pub tier: Tier,
    /// What its tools handle.
    pub data_classes: Vec<String>,
    /// What is presented to it: secrets by name only.
    pub auth: Auth,
    /// Bounds on each call.
    pub limits: Limits,
    /// The approved identity; absent until a person approved one.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub identity: Option<ApprovedIdentity>,
    /// What the prober found of its protocol; absent until it answered once.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub observed: Option<ObservedProtocol>,
    /// For whom it is open so far.
    #[serde(default, skip_serializing_if = "Opening::is_general")]
    pub opening: Opening,
    /// The way in for keys that ask for the sandbox.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub sandbox: Option<Sandbox>,
    /// How much of it may be used, and what a call costs.
    #[serde(default, skip_serializing_if = "ServerMetering::is_empty")]
    pub metering: ServerMetering,
}

/// How much of a server may be used, and what a call of its tools costs. That of tools stands here, so that a definition that goes
/// and comes back finds what was used of it.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct ServerMetering {
    /// Of the server as a whole.
    #[serde(skip_serializing_if = "Metering::is_empty")]
    pub own: Metering,
    /// What calls of its tools cost, as far as nothing else is said of a tool.
    #[serde(skip_serializing_if = "ToolCost::is_empty")]
    pub cost: ToolCost,
    /// Of single tools, by the upstream's names.
    #[serde(skip_serializing_if = "BTreeMap::is_empty")]
    pub tools: BTreeMap<String, ToolMetering>,
}

impl ServerMetering {
    /// Whether nothing is said.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        *self == Self::default()
    }
}

/// How much of a tool may be used, and what a call costs.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct ToolMetering {
    /// How much.
    #[serde(skip_serializing_if = "Metering::is_empty")]
    pub own: Metering,
    /// What a call costs, as far as the tool's override says it.
    #[serde(skip_serializing_if = "ToolCost::is_empty")]
    pub cost: ToolCost,
}

/// For whom a server is open.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase", deny_unknown_fields)]
pub enum Opening {
    /// For every key whose grants name it.
    #[default]
    General,
    /// For keys that ask for the sandbox.
    Sandbox,
    /// For these beside them.
    Limited {
        /// Keys of these teams.
        #[serde(default, skip_serializing_if = "Vec::is_empty")]
        teams: Vec<Name>,
        /// The keys of these names.
        #[serde(default, skip_serializing_if = "Vec::is_empty")]
        keys: Vec<Name>,
        /// So many of a hundred principals.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        percent: Option<u8>,
    },
    /// For nobody, until somebody resumes it.
    Suspended,
    /// For nobody, for good.
    Retired,
}

impl Opening {
    /// Whether every key whose grants name it may use it.
    #[must_use]
    pub const fn is_general(&self) -> bool {
        matches!(self, Self::General)
    }
}

/// What a server says of itself, as approved. A model may read it.
#[derive(Debug, Clone, Serialize, Deserialize)]
#[serde(deny_unknown_fields, rename_all = "camelCase")]
pub struct ApprovedIdentity {
    /// The fingerprint of `{"instructions": …, "serverInfo": …}`.
    pub pin: Fingerprint,
    /// The upstream's `serverInfo`.
    pub server_info: Arc<RawValue>,
    /// The upstream's `instructions`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub instructions: Option<String>,
}

/// What the prober found of a server's protocol: facts for planes, nothing that a model reads.
#[derive(Debug, Clone, Serialize, Deserialize)]
#[serde(deny_unknown_fields, rename_all = "camelCase")]
pub struct ObservedProtocol {
    /// Whether it speaks 2026-07-28 or later.
    pub modern: bool,
    /// The revision in use with it.
    pub protocol_version: String,
    /// Its `capabilities`.
    pub capabilities: Arc<RawValue>,
}

/// A tool or a prompt.
#[derive(Debug, Clone, Serialize, Deserialize)]
#[serde(deny_unknown_fields, rename_all = "camelCase")]
pub struct DefinitionEntry {
    /// The uid of its server.
    pub server: Uid,
    /// The upstream's name.
    pub name: String,
    /// The alias, for tools.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub alias: Option<String>,
    /// What it handles beside what its server handles.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub data_classes: Vec<String>,
    /// Its own zone, in place of its server's.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub zone: Option<Name>,
    /// Who says that a person has to approve each call; `None` where nobody has to, and for prompts.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub approval: Option<HeldBy>,
    /// Whether it may be used.
    pub state: DefinitionState,
}

/// Whether a definition may be used.
#[derive(Debug, Clone, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub enum DefinitionState {
    /// A person, or a rule, approved exactly this definition.
    Approved {
        /// The fingerprint of the whole definition.
        pin: Fingerprint,
        /// The definition as the upstream gave it, byte for byte in canonical form.
        definition: Arc<RawValue>,
    },
    /// Nobody approved it yet, or somebody denied it.
    Pending,
    /// The upstream's definition no longer matches the pin.
    Quarantined,
}

/// A bundle.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct BundleEntry {
    /// Immutable id.
    pub uid: Uid,
    /// Name.
    pub name: Name,
    /// What it holds.
    pub tools: Vec<BundleMember>,
    /// Who has it without a grant that names it.
    #[serde(default, skip_serializing_if = "BundleMembership::is_empty")]
    pub members: BundleMembership,
}

/// A virtual key.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, rename_all = "camelCase")]
pub struct KeyEntry {
    /// Immutable id.
    pub uid: Uid,
    /// Name.
    pub name: Name,
    /// Its labels, which clients are told by.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub labels: BTreeMap<String, String>,
    /// Hashes of the secrets that open it: one, or two while a rotation's grace lasts.
    pub secrets: Vec<KeySecret>,
    /// Whether it was revoked. A revoked key stays, so that its refusals can be told from unknown keys.
    #[serde(default)]
    pub revoked: bool,
    /// Who calls with it.
    pub principal: PrincipalSpec,
    /// Its team.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub team: Option<Name>,
    /// The zone of its principal.
    pub zone: Name,
    /// What it may reach; shared between keys with equal grants, where somebody saw to that.
    pub grants: Arc<[Grant]>,
    /// When it ends.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub expires_at: Option<DateTime<Utc>>,
    /// Whether it asks for the sandbox.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub sandbox: bool,
    /// How much it may use.
    #[serde(default, skip_serializing_if = "Metering::is_empty")]
    pub metering: Metering,
}

/// A rule for AI applications.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct ClientEntry {
    /// Immutable id.
    pub uid: Uid,
    /// Name.
    pub name: Name,
    /// Whom it means, and what they may or may not reach.
    pub spec: ClientSpec,
}

/// A condition beyond grants.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct PolicyEntry {
    /// Immutable id.
    pub uid: Uid,
    /// Name.
    pub name: Name,
    /// What it says, and whether it decides.
    pub spec: AccessPolicySpec,
}

/// One secret of a key: its hash only.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, rename_all = "camelCase")]
pub struct KeySecret {
    /// [`crate::secret::KeyHash`] of the secret.
    pub hash: Fingerprint,
    /// When this secret ends, for one that was rotated away.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub until: Option<DateTime<Utc>>,
}
