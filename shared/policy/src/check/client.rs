//! `Client` resources: whom they mean can be told, and what they speak of is there.

use super::{Findings, FindingsOf, ResourceSet};
use crate::pattern::Pattern;
use crate::resource::{ClientReach, ClientSpec, Kind, Reached, Spec};

/// How many `Client` resources there may be: a call may look at each.
const MAX_CLIENTS: usize = 1_000;
/// How many programs, or labels, one may match.
const MAX_MATCHES: usize = 256;
/// How many keys, zones or servers one may name.
const MAX_NAMES: usize = 10_000;

pub(super) fn check(spec: &ClientSpec, set: &ResourceSet, of: &mut FindingsOf<'_>) {
    let matched = &spec.r#match;
    if matched.keys.is_empty() && matched.key_labels.is_empty() && matched.client_info.is_empty() {
        of.add(
            "spec.match",
            "it means nobody: write keys: [NAME], keyLabels: { NAME: VALUE } or clientInfo: [ { name: GLOB } ]",
        );
    }
    if matched.keys.len() > MAX_NAMES {
        of.add(
            "spec.match.keys",
            format!("it names at most {MAX_NAMES} keys: give them a label and match that"),
        );
    } else {
        for (at, key) in matched.keys.iter().enumerate() {
            of.reference(&format!("spec.match.keys[{at}]"), Kind::VirtualKey, key, set);
        }
    }
    for (field, length) in [
        ("spec.match.keyLabels", matched.key_labels.len()),
        ("spec.match.clientInfo", matched.client_info.len()),
    ] {
        if length > MAX_MATCHES {
            of.add(field, format!("it holds at most {MAX_MATCHES}"));
        }
    }
    for (at, program) in matched.client_info.iter().enumerate() {
        for (field, glob) in [("name", Some(&program.name)), ("version", program.version.as_ref())] {
            if let Some(Err(error)) = glob.map(|glob| Pattern::parse(glob)) {
                of.add(&format!("spec.match.clientInfo[{at}].{field}"), error.to_string());
            }
        }
    }
    match (&spec.allow, &spec.deny) {
        (Some(reach), None) => reaches("spec.allow", reach, set, of),
        (None, Some(reach)) => {
            reaches("spec.deny", reach, set, of);
            if reach.zones.is_empty() && reach.servers.is_empty() {
                let message = "it denies nothing: write zones: [NAME] or servers: [NAME], or [\"*\"] for all";
                of.add("spec.deny", message);
            }
        }
        (Some(_), Some(_)) => {
            of.add("spec.deny", "a Client is an allow list or a deny list, not both: make it two Clients");
        }
        (None, None) => of.add(
            "spec",
            "it says nothing: write allow: { zones: [NAME], servers: [NAME] } or deny: { … }; allow: {} allows nothing",
        ),
    }
}

fn reaches(field: &str, reach: &ClientReach, set: &ResourceSet, of: &mut FindingsOf<'_>) {
    let lists = [("zones", Kind::TrustZone, &reach.zones), ("servers", Kind::McpServer, &reach.servers)];
    for (list, kind, reached) in lists {
        let field = format!("{field}.{list}");
        if reached.len() > MAX_NAMES {
            of.add(&field, format!("it names at most {MAX_NAMES}"));
            continue;
        }
        for (at, one) in reached.iter().enumerate() {
            let field = format!("{field}[{at}]");
            match one {
                Reached::Named(name) => of.reference(&field, kind, name, set),
                Reached::All if reached.len() > 1 => {
                    of.add(&field, "\"*\" does not stand here: write [\"*\"] alone for all");
                }
                Reached::All => {}
            }
        }
    }
}

/// A call may look at every one of them.
pub(super) fn number(set: &ResourceSet, findings: &mut Findings) {
    let mut clients = set.iter().filter(|resource| matches!(resource.spec, Spec::Client(_)));
    if let Some(beyond) = clients.nth(MAX_CLIENTS) {
        let message =
            format!("there are more than {MAX_CLIENTS} Clients: put programs that reach the same into one");
        findings.of(beyond).add("metadata.name", message);
    }
}
