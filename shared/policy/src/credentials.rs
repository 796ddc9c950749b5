//! Which credentials of servers a data plane may come to present: the control plane hands out no others.
//!
//! By the very zones that decide calls, so that a plane has what it needs for whatever it permits, and nothing beside.

use std::collections::BTreeSet;

use crate::Snapshot;
use crate::compile::Zone;
use crate::resource::{Name, PlaneLabels, serves};
use crate::snapshot::Opening;

impl Snapshot {
    /// The names of the secrets that the data plane of these labels needs: of each server that it serves something of, by the
    /// zone of the server or by that of one of its tools and prompts, what is presented to the server and to its sandbox.
    #[must_use]
    pub fn secrets_for(&self, plane: &PlaneLabels) -> BTreeSet<Name> {
        let served = |zone: &Zone| serves(&zone.entry.served_by, plane);
        let mut needed = BTreeSet::new();
        for offer in self.offers() {
            let server = &offer.server;
            let presented = [Some(&server.entry.auth), server.twin.as_ref().map(|twin| &twin.entry.auth)];
            let mut presented = presented.into_iter().flatten().filter_map(|auth| auth.secret()).peekable();
            // Most present nothing: then nothing of theirs is looked at.
            if presented.peek().is_none() || server.entry.opening == Opening::Retired {
                continue;
            }
            let mut offered = offer.tools.iter().chain(&offer.prompts);
            if served(&server.zone) || offered.any(|candidate| served(&candidate.zone)) {
                needed.extend(presented.cloned());
            }
        }
        needed
    }
}
