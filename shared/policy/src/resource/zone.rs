//! `TrustZone`: a segment; who may reach the tools in it.

use std::collections::BTreeMap;

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
    /// Data planes that serve the zone: those that have all labels of one of these; any when empty.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub served_by: Vec<PlaneLabels>,
    /// What a call needs of its audit record.
    #[serde(default)]
    pub audit: AuditMode,
}

/// Labels of data planes: what a plane was started with, and what its token gives it.
pub type PlaneLabels = BTreeMap<String, String>;

/// Whether a data plane with these labels serves what these name; all do where none are named.
#[must_use]
pub fn serves(served_by: &[PlaneLabels], plane: &PlaneLabels) -> bool {
    let has = |wanted: &PlaneLabels| wanted.iter().all(|(key, value)| plane.get(key) == Some(value));
    served_by.is_empty() || served_by.iter().any(has)
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
