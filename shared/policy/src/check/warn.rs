//! What is allowed and probably not meant: a name that nothing has, a grant that can never be used.

use super::{FindingsOf, ResourceSet};
use crate::pattern::Pattern;
use crate::resource::{
    ClientSpec, Grant, Kind, McpServerSpec, Name, Spec, ToolBundleSpec, ToolRewrite, VirtualKeySpec,
};

type KnownTools<'a> = &'a dyn Fn(&Name) -> Option<Vec<String>>;

/// So many names are spelled out in one warning.
const MAX_NAMES: usize = 10;

pub(super) fn bundle(spec: &ToolBundleSpec, known: KnownTools<'_>, of: &mut FindingsOf<'_>) {
    for (at, member) in spec.tools.iter().enumerate() {
        let field = format!("spec.tools[{at}]");
        chosen(&field, &member.server, &member.allow, &member.except, known, of);
        let Some(known) = known(&member.server) else { continue };
        for (rewrite, ToolRewrite { name, .. }) in member.rewrite.iter().enumerate() {
            // What allow names is told of there.
            if !known.contains(name) && !member.allow.contains(name) {
                let message =
                    format!("{} has no {name}: until it does, this rewrites nothing", member.server);
                of.add(&format!("{field}.rewrite[{rewrite}].name"), message);
            }
        }
    }
}

pub(super) fn key(spec: &VirtualKeySpec, set: &ResourceSet, known: KnownTools<'_>, of: &mut FindingsOf<'_>) {
    for (at, grant) in spec.grants.iter().enumerate() {
        let field = format!("spec.grants[{at}]");
        match grant {
            Grant::Server(grant) => {
                let nothing =
                    grant.allow.is_empty() && grant.prompts.is_empty() && grant.resources.is_empty();
                if nothing && grant.except.is_empty() {
                    of.add(
                        &field,
                        "it grants nothing: allow, prompts and resources are empty; write [\"*\"] for all",
                    );
                }
                chosen(&field, &grant.server, &grant.allow, &grant.except, known, of);
                crossing(&format!("{field}.server"), &spec.zone, &grant.server, set, of);
            }
            Grant::Bundle(grant) => {
                let Some(Spec::ToolBundle(bundle)) =
                    set.get(Kind::ToolBundle, &grant.bundle).map(|r| &r.spec)
                else {
                    continue;
                };
                crossings(&format!("{field}.bundle"), &spec.zone, bundle, set, of);
            }
        }
    }
}

/// Tools of one server that are named and not there.
fn chosen(
    field: &str,
    server: &Name,
    allow: &[String],
    except: &[String],
    known: KnownTools<'_>,
    of: &mut FindingsOf<'_>,
) {
    if allow.is_empty() && !except.is_empty() {
        of.add(
            &format!("{field}.except"),
            "it leaves out of nothing: allow is empty; write allow: [\"*\"] for all others",
        );
    }
    for (list, patterns) in [("allow", allow), ("except", except)] {
        for (at, _) in patterns.iter().enumerate().filter(|(_, text)| text.contains(['[', ']'])) {
            let message = "a pattern knows * and ? alone: [ and ] stand for themselves and make no class";
            of.add(&format!("{field}.{list}[{at}]"), message);
        }
    }
    let literal = |text: &&String| Pattern::parse(text).is_ok_and(|pattern| pattern.is_literal());
    let known = known(server);
    let missing: Vec<&String> = allow
        .iter()
        .filter(literal)
        .filter(|name| known.as_ref().is_none_or(|known| !known.contains(name)))
        .collect();
    if missing.is_empty() {
        return;
    }
    let mut names: Vec<&str> = missing.iter().take(MAX_NAMES).map(|name| name.as_str()).collect();
    if missing.len() > MAX_NAMES {
        names.push("…");
    }
    let names = names.join(", ");
    let message = match known {
        Some(_) => format!("{server} has no {names}: until it does, this grants nothing"),
        None => {
            format!("nobody has seen yet what {server} offers: until {names} is there, this grants nothing")
        }
    };
    of.add(&format!("{field}.allow"), message);
}

/// What a bundle holds of servers whose zones the key's zone does not reach.
pub(super) fn crossings(
    field: &str,
    from: &Name,
    bundle: &ToolBundleSpec,
    set: &ResourceSet,
    of: &mut FindingsOf<'_>,
) {
    for member in &bundle.tools {
        crossing(field, from, &member.server, set, of);
    }
}

/// A grant of a server whose zone the key's zone does not reach.
fn crossing(field: &str, from: &Name, server: &Name, set: &ResourceSet, of: &mut FindingsOf<'_>) {
    let Some(Spec::McpServer(server_spec)) = set.get(Kind::McpServer, server).map(|r| &r.spec) else {
        return;
    };
    let McpServerSpec { zone: to, .. } = &**server_spec;
    let Some(Spec::TrustZone(zone)) = set.get(Kind::TrustZone, to).map(|r| &r.spec) else { return };
    if from != to && !zone.reachable_from.contains(from) {
        of.add(
            field,
            format!(
                "every call to {server} will be denied: its zone {to} is not reachable from {from}; \
                 add {from} to spec.reachableFrom of TrustZone/{to} if it should be"
            ),
        );
    }
}

/// An allow list that allows nothing keeps out those whom it means; one that names everything keeps out all others.
pub(super) fn client(spec: &ClientSpec, set: &ResourceSet, of: &mut FindingsOf<'_>) {
    let Some(reach) = &spec.allow else { return };
    if reach.zones.is_empty() && reach.servers.is_empty() {
        of.add(
            "spec.allow",
            "it allows nothing: whom it means reaches nothing that no other Client allows them",
        );
    }
    let labels = &spec.r#match.key_labels;
    let keys = || {
        set.iter().filter(|resource| {
            resource.kind() == Kind::VirtualKey
                && labels.iter().all(|(name, value)| resource.metadata.labels.get(name) == Some(value))
        })
    };
    if !labels.is_empty() && keys().next().is_none() {
        of.add("spec.match.keyLabels", "no key has these labels: until one has, this lets nobody in");
    }
}
