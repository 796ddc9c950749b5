//! Trust zones: who reaches them is there, and what they allow can be read.

use super::{FindingsOf, ResourceSet, text};
use crate::resource::{Kind, TrustZoneSpec};

/// How many networks a zone may name: a call may look at each.
const MAX_NETWORKS: usize = 256;

pub(super) fn check(spec: &TrustZoneSpec, set: &ResourceSet, of: &mut FindingsOf<'_>) {
    for (at, zone) in spec.reachable_from.iter().enumerate() {
        of.reference(&format!("spec.reachableFrom[{at}]"), Kind::TrustZone, zone, set);
    }
    if spec.caller_networks.len() > MAX_NETWORKS {
        of.add(
            "spec.callerNetworks",
            format!("a zone has at most {MAX_NETWORKS} networks: write wider ones"),
        );
    }
    for (field, given, kinds) in [
        ("spec.allowedEras", spec.allowed_eras.len(), 2),
        ("spec.allowedHosting", spec.allowed_hosting.len(), 2),
    ] {
        if given > kinds {
            of.add(field, "each stands once");
        }
    }
    text::data_classes("spec.allowedDataClasses", &spec.allowed_data_classes, true, of);
}
