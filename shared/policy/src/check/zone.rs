//! Trust zones: who reaches them is there, and what they allow can be read.

use super::{FindingsOf, ResourceSet, text};
use crate::resource::{Kind, TrustZoneSpec};

pub(super) fn check(spec: &TrustZoneSpec, set: &ResourceSet, of: &mut FindingsOf<'_>) {
    for (at, zone) in spec.reachable_from.iter().enumerate() {
        of.reference(&format!("spec.reachableFrom[{at}]"), Kind::TrustZone, zone, set);
    }
    text::data_classes("spec.allowedDataClasses", &spec.allowed_data_classes, true, of);
}
