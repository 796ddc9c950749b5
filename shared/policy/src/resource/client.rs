//! `Client`: which AI applications may reach which zones and servers.

use std::borrow::Cow;
use std::collections::BTreeMap;

use serde::de::Error as _;
use serde::{Deserialize, Deserializer, Serialize, Serializer};

use super::Name;

/// The spec of a `Client`: whom it means, and either what these may reach or what they may not.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct ClientSpec {
    /// Whom it means.
    pub r#match: ClientMatch,
    /// An allow list. What it names is reached by clients that an allow list lets in and by no others, and the clients that it
    /// means reach nothing else.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub allow: Option<ClientReach>,
    /// A deny list: the clients that it means do not reach what it names.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub deny: Option<ClientReach>,
}

/// Whom a `Client` means: everything that is given must fit.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, rename_all = "camelCase")]
pub struct ClientMatch {
    /// Names of virtual keys, of which the caller uses one.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub keys: Vec<Name>,
    /// Labels that the caller's key has, all of them, with these values.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub key_labels: BTreeMap<String, String>,
    /// Programs, one of which the caller says it is. Nobody proved it: it can keep a caller out, and lets nobody in whom the
    /// key does not.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub client_info: Vec<ProgramMatch>,
}

/// A program by what it says of itself in `clientInfo`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct ProgramMatch {
    /// A name, or a glob over names.
    pub name: String,
    /// A version, or a glob over versions; any version, and none, when it is not given.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub version: Option<String>,
}

/// What a `Client` speaks of: everything in these zones, and everything of these servers.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct ClientReach {
    /// Names of zones, or `["*"]` for every zone.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub zones: Vec<Reached>,
    /// Names of servers, or `["*"]` for every server.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub servers: Vec<Reached>,
}

/// One thing that a `Client` speaks of.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Reached {
    /// `*`: every one, now or later. It stands alone in its list.
    All,
    /// One of this name.
    Named(Name),
}

impl Reached {
    /// The name, where it is one.
    #[must_use]
    pub const fn name(&self) -> Option<&Name> {
        match self {
            Self::All => None,
            Self::Named(name) => Some(name),
        }
    }
}

impl Serialize for Reached {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_str(self.name().map_or("*", Name::as_str))
    }
}

impl<'de> Deserialize<'de> for Reached {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let text = Cow::<'_, str>::deserialize(deserializer)?;
        match &*text {
            "*" => Ok(Self::All),
            name => name.parse().map(Self::Named).map_err(D::Error::custom),
        }
    }
}
