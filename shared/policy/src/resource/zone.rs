//! `TrustZone`: a segment; who may reach the tools in it.

use serde::{Deserialize, Serialize};

use super::{Hosting, Name, Network};
use crate::circumstances::Era;

/// The spec of a `TrustZone`.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, rename_all = "camelCase")]
pub struct TrustZoneSpec {
    /// Zones of principals that may reach this zone's tools, beside itself.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub reachable_from: Vec<Name>,
    /// Data classes that tools of this zone may handle; `["*"]` for all, none when empty.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub allowed_data_classes: Vec<String>,
    /// Networks that the zone may be called from; any when empty.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub caller_networks: Vec<Network>,
    /// How callers may speak; both ways when empty.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub allowed_eras: Vec<Era>,
    /// Who may host a server of this zone, or of a tool in it; anybody when empty.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub allowed_hosting: Vec<Hosting>,
    /// What a call needs of its audit record.
    #[serde(default)]
    pub audit: AuditMode,
}

/// What a call needs of its audit record.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum AuditMode {
    /// A record where there is place for one.
    BestEffort,
    /// No call without a place for its record.
    #[default]
    Required,
}
