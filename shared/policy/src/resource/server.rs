//! `McpServer`: an upstream MCP server of the registry.

use std::collections::BTreeMap;
use std::time::Duration;

use serde::{Deserialize, Serialize};

use super::metering::{Budget, Concurrency, CostOnError, Metering, RateLimit, ToolCost};
use super::tier::LimitSettings;
use super::{ByteSize, HumanDuration, Name};

/// The spec of an `McpServer`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, rename_all = "camelCase")]
pub struct McpServerSpec {
    /// How to reach it; exactly one.
    pub transport: Transport,
    /// Who hosts it. Decides which addresses are allowed.
    #[serde(default)]
    pub hosting: Hosting,
    /// Descriptive.
    #[serde(default)]
    pub environment: Environment,
    /// Descriptive.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub owner: Option<Owner>,
    /// Which `TierDefaults` give what is left out here.
    #[serde(default)]
    pub tier: Tier,
    /// The trust zone of its tools.
    #[serde(default = "default_zone")]
    pub zone: Name,
    /// What its tools handle; the zone must allow each.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub data_classes: Vec<String>,
    /// What Portcullis presents to it.
    #[serde(default)]
    pub auth: Auth,
    /// How new and changed definitions are treated, as far as it is said here: see [`super::tier::Effective`].
    #[serde(default, skip_serializing_if = "ToolSettings::is_empty")]
    pub tools: ToolSettings,
    /// Bounds on each call, as far as they are given here.
    #[serde(default, skip_serializing_if = "LimitSettings::is_empty")]
    pub limits: LimitSettings,
    /// The stages that it goes through before everybody may use it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub rollout: Option<Rollout>,
    /// Another way in, for keys with `sandbox: true`; they never take the ordinary one then.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub sandbox: Option<Sandbox>,
    /// What may be used in a period.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub budgets: Vec<Budget>,
    /// How fast.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub rate_limits: Vec<RateLimit>,
    /// How many at once, on all data planes together.
    #[serde(default, skip_serializing_if = "Concurrency::is_empty")]
    pub concurrency: Concurrency,
}

impl McpServerSpec {
    /// What it says of how much may be used.
    #[must_use]
    pub fn metering(&self) -> Metering {
        Metering::of(&self.budgets, &self.rate_limits, &self.concurrency, None)
    }
}

/// The stages that a server goes through.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Rollout {
    /// The name of a `RolloutPolicy`.
    pub policy: Name,
}

/// A server's twin that works on synthetic data.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Sandbox {
    /// How to reach it; exactly one. The server's `hosting` holds for it too.
    pub transport: Transport,
    /// What is presented to it. The server's own credential never is.
    #[serde(default)]
    pub auth: Auth,
}

/// The built-in zone.
pub(crate) fn default_zone() -> Name {
    crate::snapshot::default_zone_name()
}

/// How to reach a server: exactly one.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub enum Transport {
    /// Streamable HTTP of either era, found out by asking.
    StreamableHttp(StreamableHttp),
    /// A child process of the data plane.
    Stdio(Stdio),
}

/// Streamable HTTP.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct StreamableHttp {
    /// An absolute `http` or `https` URL without userinfo and fragment.
    pub url: String,
}

/// A child process.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Stdio {
    /// The program: a path, or a name to look up in PATH.
    pub command: String,
    /// Its arguments.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub args: Vec<String>,
    /// Its environment beside PATH, HOME, TMPDIR and LANG.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub env: BTreeMap<String, String>,
    /// How many children share the calls, 1 to 16.
    #[serde(default = "one")]
    pub instances: u16,
}

const fn one() -> u16 {
    1
}

/// Who hosts a server.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Hosting {
    /// The organisation: loopback, private addresses and plain http are allowed.
    #[default]
    #[serde(rename = "self")]
    SelfHosted,
    /// A vendor: public https only.
    Vendor,
}

impl Hosting {
    /// As documents spell it.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::SelfHosted => "self",
            Self::Vendor => "vendor",
        }
    }
}

/// Descriptive, and read by conditions.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
#[allow(missing_docs)]
pub enum Environment {
    Dev,
    Stage,
    #[default]
    Prod,
}

impl Environment {
    /// As documents spell it.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Dev => "dev",
            Self::Stage => "stage",
            Self::Prod => "prod",
        }
    }
}

/// How much a server matters; `TierDefaults` say what that means.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
#[allow(missing_docs)]
pub enum Tier {
    Gold,
    Silver,
    #[default]
    Bronze,
}

impl Tier {
    /// Every tier.
    pub const ALL: &[Self] = &[Self::Gold, Self::Silver, Self::Bronze];

    /// The tier as documents spell it: the name of its `TierDefaults`.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Gold => "gold",
            Self::Silver => "silver",
            Self::Bronze => "bronze",
        }
    }
}

/// Who answers for a server. Descriptive.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Owner {
    /// The team; free text, not a reference.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub team: Option<String>,
    /// How to reach it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub contact: Option<String>,
}

/// What Portcullis presents to a server.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub enum Auth {
    /// Nothing.
    None(NoAuth),
    /// One header.
    Header(HeaderAuth),
}

/// Nothing is presented: `{}`.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct NoAuth {}

/// One header is presented.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, rename_all = "camelCase")]
pub struct HeaderAuth {
    /// The header's name.
    pub name: String,
    /// Where its value comes from.
    pub value_from: ValueFrom,
}

impl Auth {
    /// The secret that is presented, by name.
    #[must_use]
    pub const fn secret(&self) -> Option<&Name> {
        match self {
            Self::None(_) => None,
            Self::Header(header) => Some(&header.value_from.secret),
        }
    }
}

impl Default for Auth {
    fn default() -> Self {
        Self::None(NoAuth {})
    }
}

/// Where a value comes from.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct ValueFrom {
    /// The name of a secret that `secret set` keeps.
    pub secret: Name,
}

/// How a server's definitions are treated, as far as the server says it.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, rename_all = "camelCase")]
pub struct ToolSettings {
    /// Definitions that nobody saw before.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub new_tools: Option<NewTools>,
    /// Definitions that no longer match their pin.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub changed_tools: Option<ChangedTools>,
    /// Whether a person has to approve each call of its tools, where nothing is said of the single one.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub approval: Option<CallApproval>,
    /// What a call costs, in millionths of a US dollar; where the server tells it, what an answer costs that does not.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub cost_micro_usd: Option<u64>,
    /// What a call costs at most: reserved before it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub max_cost_micro_usd: Option<u64>,
    /// The member of the result's `_meta` in which the server tells what the call cost.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub cost_from: Option<String>,
    /// What a call costs that ended in a tool error.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub cost_on_error: Option<CostOnError>,
    /// What is said of single tools.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub overrides: Vec<ToolOverride>,
}

impl ToolSettings {
    /// What it says of the cost of a call.
    #[must_use]
    pub fn cost(&self) -> ToolCost {
        ToolCost {
            cost_micro_usd: self.cost_micro_usd,
            max_cost_micro_usd: self.max_cost_micro_usd,
            cost_from: self.cost_from.clone(),
            cost_on_error: self.cost_on_error,
        }
    }
}

impl ToolSettings {
    /// Whether the server says nothing of it.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        *self == Self::default()
    }
}

/// How a server's definitions are treated: what holds after its tier was asked.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct ToolRules {
    /// Definitions that nobody saw before.
    pub new_tools: NewTools,
    /// Definitions that no longer match their pin.
    pub changed_tools: ChangedTools,
    /// Who holds back the calls of tools of which nothing is said one by one; `None` where nobody does.
    pub approval: Option<HeldBy>,
    /// What is said of single tools.
    pub overrides: Vec<ToolOverride>,
}

impl ToolRules {
    /// Who holds back the calls of a tool, given what is said of this one; `None` where nobody does.
    #[must_use]
    pub fn held_by(&self, of_one: Option<&ToolOverride>) -> Option<HeldBy> {
        match of_one.and_then(|of_one| of_one.approval) {
            Some(CallApproval::PerCall) => Some(HeldBy::Override),
            Some(CallApproval::None) => None,
            None => self.approval,
        }
    }

    /// Whether a person has to approve each call of this tool, by the upstream's name.
    #[must_use]
    pub fn holds(&self, tool: &str) -> bool {
        self.held_by(self.overrides.iter().find(|of_one| of_one.name == tool)).is_some()
    }
}

/// What happens to a new definition.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum NewTools {
    /// It waits for a person.
    #[default]
    RequireApproval,
    /// It is approved at once.
    Approve,
    /// It is left out.
    Ignore,
}

/// What happens to a changed definition.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum ChangedTools {
    /// It cannot be called until it is approved again.
    #[default]
    Quarantine,
    /// The approved definition stays in use while the new one waits.
    KeepPinned,
    /// It is approved at once.
    Approve,
}

/// What is said of one tool.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, rename_all = "camelCase")]
pub struct ToolOverride {
    /// The upstream's name of the tool.
    pub name: String,
    /// The whole exposed name.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub alias: Option<String>,
    /// What the tool handles beside what the server handles.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub data_classes: Vec<String>,
    /// The tool's own trust zone, in place of its server's.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub zone: Option<Name>,
    /// Whether a person has to approve each call: where it is left out, as its server or its tier says, and `none` lifts that.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub approval: Option<CallApproval>,
    /// What a call costs, in millionths of a US dollar; where the server tells it, what an answer costs that does not.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub cost_micro_usd: Option<u64>,
    /// What a call costs at most: reserved before it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub max_cost_micro_usd: Option<u64>,
    /// The member of the result's `_meta` in which the server tells what the call cost.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub cost_from: Option<String>,
    /// What a call costs that ended in a tool error.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub cost_on_error: Option<CostOnError>,
    /// What may be used in a period.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub budgets: Vec<Budget>,
    /// How fast.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub rate_limits: Vec<RateLimit>,
    /// How many at once, on all data planes together.
    #[serde(default, skip_serializing_if = "Concurrency::is_empty")]
    pub concurrency: Concurrency,
}

impl ToolOverride {
    /// What it says of the cost of a call.
    #[must_use]
    pub fn cost(&self) -> ToolCost {
        ToolCost {
            cost_micro_usd: self.cost_micro_usd,
            max_cost_micro_usd: self.max_cost_micro_usd,
            cost_from: self.cost_from.clone(),
            cost_on_error: self.cost_on_error,
        }
    }

    /// What it says of how much may be used.
    #[must_use]
    pub fn metering(&self) -> Metering {
        Metering::of(&self.budgets, &self.rate_limits, &self.concurrency, None)
    }
}

/// Whether a person has to approve each call of a tool.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum CallApproval {
    /// Nobody has to.
    #[default]
    None,
    /// Each call waits until a person approved exactly that one, and then goes through once.
    PerCall,
}

/// Who says that a person has to approve each call of a tool.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum HeldBy {
    /// The server, of this tool.
    #[serde(rename = "per-call")]
    Override,
    /// The server, of all its tools.
    Server,
    /// The tier, of all tools of its servers.
    Tier,
}

/// Bounds on each call to a server.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, rename_all = "camelCase", default)]
pub struct Limits {
    /// How long an answer may take.
    pub timeout: HumanDuration,
    /// How much a request may carry: see [`crate::size::Carried`].
    pub max_request_bytes: ByteSize,
    /// How large an answer may be.
    pub max_response_bytes: ByteSize,
    /// How many calls may run at once on one data plane.
    pub concurrency: u32,
}

impl Default for Limits {
    fn default() -> Self {
        Self {
            timeout: HumanDuration(Duration::from_secs(30)),
            max_request_bytes: ByteSize(1 << 20),
            max_response_bytes: ByteSize(4 << 20),
            concurrency: 64,
        }
    }
}
