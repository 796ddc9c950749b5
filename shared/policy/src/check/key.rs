//! Virtual keys: what they name is there, and their patterns can be read.

use super::{FindingsOf, ResourceSet, metering, text};
use crate::resource::{Grant, Kind, VirtualKeySpec};

/// How many grants a key may have.
const MAX_GRANTS: usize = 1_000;

pub(super) fn check(spec: &VirtualKeySpec, set: &ResourceSet, of: &mut FindingsOf<'_>) {
    if !text::short(&spec.principal.subject, 1, 256) || spec.principal.subject.trim().is_empty() {
        of.add("spec.principal.subject", "a subject has 1 to 256 visible characters");
    }
    if let Some(team) = &spec.team {
        of.reference("spec.team", Kind::Team, team, set);
    }
    of.reference("spec.zone", Kind::TrustZone, &spec.zone, set);
    metering::check("spec.", metering::Of::Key, &spec.metering(), set, of);
    if spec.grants.len() > MAX_GRANTS {
        of.add("spec.grants", format!("a key has at most {MAX_GRANTS} grants: put tools into bundles"));
        return;
    }
    for (at, grant) in spec.grants.iter().enumerate() {
        let field = format!("spec.grants[{at}]");
        match grant {
            Grant::Bundle(grant) => {
                of.reference(&format!("{field}.bundle"), Kind::ToolBundle, &grant.bundle, set);
            }
            Grant::Server(grant) => {
                of.reference(&format!("{field}.server"), Kind::McpServer, &grant.server, set);
                text::patterns(&format!("{field}.allow"), &grant.allow, of);
                text::patterns(&format!("{field}.except"), &grant.except, of);
                text::patterns(&format!("{field}.prompts"), &grant.prompts, of);
                text::patterns(&format!("{field}.resources"), &grant.resources, of);
            }
        }
    }
}
