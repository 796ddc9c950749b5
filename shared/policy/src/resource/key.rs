//! `VirtualKey`: the credential of one caller, and the unit of governance.

use chrono::{DateTime, Utc};
use serde::de::Error as _;
use serde::{Deserialize, Deserializer, Serialize};

use super::Name;
use super::metering::{Budget, Concurrency, LoopBreaker, Metering, RateLimit};
use super::server::default_zone;

/// The spec of a `VirtualKey`. Its secret is no part of it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, rename_all = "camelCase")]
pub struct VirtualKeySpec {
    /// Who calls with it.
    pub principal: PrincipalSpec,
    /// The team that it belongs to.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub team: Option<Name>,
    /// The zone that its principal is in.
    #[serde(default = "default_zone")]
    pub zone: Name,
    /// What it may reach; nothing is granted that is not listed.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub grants: Vec<Grant>,
    /// When it ends.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub expires_at: Option<DateTime<Utc>>,
    /// Whether it asks for the sandbox: servers at the stage `sandbox` let it in, and it reaches a server's sandbox where there
    /// is one.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub sandbox: bool,
    /// What may be used in a period.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub budgets: Vec<Budget>,
    /// How fast.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub rate_limits: Vec<RateLimit>,
    /// How many at once, on all data planes together.
    #[serde(default, skip_serializing_if = "Concurrency::is_empty")]
    pub concurrency: Concurrency,
    /// How often the same call.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub loop_breaker: Option<LoopBreaker>,
}

impl VirtualKeySpec {
    /// What it says of how much may be used.
    #[must_use]
    pub fn metering(&self) -> Metering {
        Metering::of(&self.budgets, &self.rate_limits, &self.concurrency, self.loop_breaker)
    }
}

/// Who calls.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct PrincipalSpec {
    /// What kind of caller.
    pub kind: PrincipalKind,
    /// Who, in the organisation's words: 1 to 256 visible characters.
    pub subject: String,
}

/// What kind of caller.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum PrincipalKind {
    /// A person.
    Human,
    /// An AI agent.
    Agent,
    /// Any other program.
    Workload,
}

impl PrincipalKind {
    /// The kind as documents spell it.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Human => "human",
            Self::Agent => "agent",
            Self::Workload => "workload",
        }
    }
}

/// One grant: a bundle, or chosen things of one server.
#[derive(Debug, Clone, PartialEq, Eq, Hash, Serialize)]
#[serde(untagged)]
pub enum Grant {
    /// All that a bundle offers.
    Bundle(BundleGrant),
    /// Chosen things of one server.
    Server(ServerGrant),
}

/// All that a bundle offers.
#[derive(Debug, Clone, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct BundleGrant {
    /// The bundle's name.
    pub bundle: Name,
}

/// Chosen things of one server.
#[derive(Debug, Clone, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct ServerGrant {
    /// The server's name.
    pub server: Name,
    /// Names or globs of tools.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub allow: Vec<String>,
    /// Names or globs of tools that are left out again.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub except: Vec<String>,
    /// Names or globs of prompts.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub prompts: Vec<String>,
    /// Globs of resource URIs. A URI with dot segments or an encoded `/` matches none.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub resources: Vec<String>,
}

/// Both shapes at once, so that an error says which member is wrong, and not only that neither shape fits.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct AnyGrant {
    #[serde(default)]
    bundle: Option<Name>,
    #[serde(default)]
    server: Option<Name>,
    #[serde(default)]
    allow: Vec<String>,
    #[serde(default)]
    except: Vec<String>,
    #[serde(default)]
    prompts: Vec<String>,
    #[serde(default)]
    resources: Vec<String>,
}

impl<'de> Deserialize<'de> for Grant {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let AnyGrant { bundle, server, allow, except, prompts, resources } =
            AnyGrant::deserialize(deserializer)?;
        match (bundle, server) {
            (Some(bundle), None) => {
                if [allow, except, prompts, resources].iter().all(Vec::is_empty) {
                    Ok(Self::Bundle(BundleGrant { bundle }))
                } else {
                    Err(D::Error::custom(
                        "a grant of a bundle is of all that it offers: leave out allow, except, prompts and resources, \
                         or grant chosen things with server instead",
                    ))
                }
            }
            (None, Some(server)) => {
                Ok(Self::Server(ServerGrant { server, allow, except, prompts, resources }))
            }
            (Some(_), Some(_)) => {
                Err(D::Error::custom("a grant names a bundle or a server, not both: make it two grants"))
            }
            (None, None) => Err(D::Error::custom(
                "a grant is { bundle: NAME } or { server: NAME, allow: [tools], except: [tools], prompts: [names], \
                 resources: [URI patterns] }",
            )),
        }
    }
}
