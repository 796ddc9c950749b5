//! What a server's last good probe found of its protocol: facts for data planes, nothing that a model reads, hence nothing
//! that needs an approval.

use std::sync::Arc;

use portcullis_policy::snapshot::ObservedProtocol;
use serde::{Deserialize, Serialize};
use serde_json::value::RawValue;

/// The kind of the objects in the store that hold an [`Observation`]; their name is the server's uid.
pub const OBSERVATION: &str = "Observation";

/// The body of an `Observation` object.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, rename_all = "camelCase")]
pub struct Observation {
    /// Whether it speaks 2026-07-28 or later.
    pub modern: bool,
    /// The revision in use with it: `YYYY-MM-DD`.
    pub protocol_version: String,
    /// Its `capabilities` as a text in canonical JSON.
    pub capabilities: String,
}

impl Observation {
    /// As it stands in a snapshot.
    #[must_use]
    pub fn to_protocol(&self) -> Option<ObservedProtocol> {
        Some(ObservedProtocol {
            modern: self.modern,
            protocol_version: self.protocol_version.clone(),
            capabilities: Arc::from(RawValue::from_string(self.capabilities.clone()).ok()?),
        })
    }
}
