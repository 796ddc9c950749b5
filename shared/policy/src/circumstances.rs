//! What is known of one call beside its key and what it asks for: where it comes from, how it speaks, which program says that
//! it sends it, with what arguments, and when.
//!
//! Only the time and the network address are facts of the data plane. The era follows from the form of the request. What a
//! program says of itself is a hint: rules may narrow by it and never widen.

use std::fmt;
use std::net::IpAddr;

use portcullis_seal::Fingerprint;
use serde::{Deserialize, Serialize};
use serde_json::value::RawValue;

use crate::resource::PlaneLabels;

/// How a peer speaks: with a handshake and sessions, or statelessly (MCP 2026-07-28, versioning page).
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Era {
    /// 2026-07-28 and later: version, identity and capabilities travel in `_meta` of every request.
    Modern,
    /// 2025-11-25 and earlier: `initialize`, then a session.
    Legacy,
}

impl Era {
    /// `modern` or `legacy`, as audit records and metrics name it.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Modern => "modern",
            Self::Legacy => "legacy",
        }
    }
}

impl fmt::Display for Era {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

/// What a program says of itself: `clientInfo`. Nobody proved it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct ClientHint<'a> {
    /// `clientInfo.name`.
    pub name: &'a str,
    /// `clientInfo.version`, where it is given.
    pub version: Option<&'a str>,
}

/// What is known of one call. What is `None` is not known: a rule that needs it denies.
#[derive(Debug, Clone, Copy)]
pub struct Circumstances<'a> {
    /// The time of the call, in milliseconds since the Unix epoch.
    pub now_unix_ms: u64,
    /// The network address of the caller.
    pub network: Option<IpAddr>,
    /// How the caller speaks.
    pub era: Option<Era>,
    /// What the caller's program says of itself.
    pub client: Option<ClientHint<'a>>,
    /// `params.arguments`, as they came.
    pub arguments: Option<&'a RawValue>,
    /// The labels of the data plane that serves the call, for who asks elsewhere than at one: a data plane's own are in its
    /// snapshot.
    pub plane: Option<&'a PlaneLabels>,
    /// The pin of the tool of which a person approved exactly this call. It is nobody's who did not ask the control plane.
    pub released: Option<&'a Fingerprint>,
}

impl Circumstances<'_> {
    /// A time, and nothing else.
    #[must_use]
    pub const fn at(now_unix_ms: u64) -> Self {
        Self {
            now_unix_ms,
            network: None,
            era: None,
            client: None,
            arguments: None,
            plane: None,
            released: None,
        }
    }
}
