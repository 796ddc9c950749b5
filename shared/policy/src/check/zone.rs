//! Trust zones: who reaches them is there, and what they allow can be read.

use super::{FindingsOf, ResourceSet, text};
use crate::resource::{Kind, PlaneLabels, TrustZoneSpec};

/// How many networks a zone may name: a call may look at each.
const MAX_NETWORKS: usize = 256;
/// By how many sets of labels a zone may name planes.
const MAX_PLANES: usize = 64;
/// How many labels such a set may have.
const MAX_LABELS: usize = 16;

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
    served_by(&spec.served_by, of);
    text::data_classes("spec.allowedDataClasses", &spec.allowed_data_classes, true, of);
}

fn served_by(planes: &[PlaneLabels], of: &mut FindingsOf<'_>) {
    if planes.len() > MAX_PLANES {
        of.add("spec.servedBy", format!("a zone names planes by at most {MAX_PLANES} sets of labels"));
        return;
    }
    let fits = |text: &str| text::short(text, 1, 63);
    for (at, labels) in planes.iter().enumerate() {
        let field = format!("spec.servedBy[{at}]");
        if labels.is_empty() {
            of.add(&field, "it names every plane: write labels, or leave servedBy out");
        } else if labels.len() > MAX_LABELS || !labels.iter().all(|(key, value)| fits(key) && fits(value)) {
            of.add(
                &field,
                format!("planes are named by at most {MAX_LABELS} labels, each of 1 to 63 characters and no control characters"),
            );
        }
    }
}
