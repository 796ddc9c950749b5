//! Which changes of resources need an approval of their own: those that open what was closed.
//!
//! Only what loosens is named. What tightens, and what a change leaves as it was, needs nobody but its author.

use std::collections::BTreeSet;

use portcullis_policy::check::built_in_zone;
use portcullis_policy::resource::{
    AuditMode, ChangeClass, ChangedTools, Kind, McpServerSpec, NewTools, Resource, Spec, TrustZoneSpec,
};
use portcullis_policy::snapshot::default_zone_name;

use super::access::Touched;
use super::rules::{Matter, Rule, Rulebook};
use crate::store::State;

/// One kind of change that a rule wants to have approved.
pub(crate) struct Governed<'a> {
    pub(crate) class: ChangeClass,
    pub(crate) rule: &'a Rule,
}

/// The changes among these that rules want to have approved. Of several rules each has to be carried; the one that asks for the
/// most people comes first.
pub(crate) fn governed<'a>(state: &State, book: &'a Rulebook, touched: &[Touched<'_>]) -> Vec<Governed<'a>> {
    if book.is_empty() {
        return Vec::new();
    }
    let mut found: Vec<Governed<'a>> = Vec::new();
    for change in touched {
        let matter = matter(state, change);
        for class in classes(change) {
            if let Some(rule) = book.rule(&matter.class(class))
                && !found.iter().any(|known| known.class == class && known.rule.name == rule.name)
            {
                found.push(Governed { class, rule });
            }
        }
    }
    found.sort_by(|a, b| (b.rule.spec.required, &a.rule.name).cmp(&(a.rule.spec.required, &b.rule.name)));
    found
}

/// What a change is about: the server as it was and as it becomes, or the zone.
fn matter(state: &State, change: &Touched<'_>) -> Matter {
    let mut matter = Matter::default();
    match change.kind {
        Kind::McpServer => {
            for document in [change.before, change.after].into_iter().flatten() {
                matter.add_server(change.name, document);
            }
        }
        Kind::TrustZone => {
            matter.zones.extend(change.name.parse::<portcullis_policy::resource::Name>());
            // A zone is about all that is in it.
            for server in state.list(Kind::McpServer.as_str()) {
                let own = Matter::of_server(server);
                if own.zones.iter().any(|zone| zone.as_str() == change.name) {
                    matter.servers.extend(own.servers);
                    matter.tiers.extend(own.tiers);
                    matter.environments.extend(own.environments);
                    matter.data_classes.extend(own.data_classes);
                }
            }
        }
        _ => {}
    }
    matter
}

/// What kinds of opening a change is.
fn classes(change: &Touched<'_>) -> Vec<ChangeClass> {
    if change.kind.is_access() {
        return if change.before == change.after { Vec::new() } else { vec![ChangeClass::Access] };
    }
    let read = |document| Resource::from_json(document).ok().map(|resource| resource.spec);
    let mut before = change.before.and_then(read);
    let mut after = change.after.and_then(read);
    if change.kind == Kind::TrustZone && change.name == default_zone_name().as_str() {
        // Where nobody defines it the built-in one is there.
        before = before.or_else(|| Some(built_in_zone().spec));
        after = after.or_else(|| Some(built_in_zone().spec));
    }
    match (before, after) {
        (Some(Spec::McpServer(before)), Some(Spec::McpServer(after))) => server(&before, &after),
        (Some(Spec::TrustZone(before)), Some(Spec::TrustZone(after))) if opens(&before, &after) => {
            vec![ChangeClass::ZoneOpening]
        }
        _ => Vec::new(),
    }
}

fn server(before: &McpServerSpec, after: &McpServerSpec) -> Vec<ChangeClass> {
    let mut classes = Vec::new();
    if before.zone != after.zone {
        classes.push(ChangeClass::ZoneMapping);
    }
    let (old, new) = (&before.limits, &after.limits);
    if new.max_request_bytes > old.max_request_bytes
        || new.max_response_bytes > old.max_response_bytes
        || new.concurrency > old.concurrency
    {
        classes.push(ChangeClass::ExposureLimits);
    }
    let needs = |spec: &McpServerSpec| {
        let new = spec.tools.new_tools != NewTools::Approve;
        let changed = match spec.tools.changed_tools {
            ChangedTools::Quarantine => 2,
            ChangedTools::KeepPinned => 1,
            ChangedTools::Approve => 0,
        };
        (new, changed)
    };
    let ((new_before, changed_before), (new_after, changed_after)) = (needs(before), needs(after));
    let freed = before.tools.held().any(|tool| !after.tools.held().any(|held| held == tool));
    if (new_before && !new_after) || changed_after < changed_before || freed {
        classes.push(ChangeClass::ApprovalMode);
    }
    classes
}

fn opens(before: &TrustZoneSpec, after: &TrustZoneSpec) -> bool {
    let more_zones = after.reachable_from.iter().any(|zone| !before.reachable_from.contains(zone));
    let all = |spec: &TrustZoneSpec| spec.allowed_data_classes.iter().any(|class| class == "*");
    let known: BTreeSet<&String> = before.allowed_data_classes.iter().collect();
    let more_classes = !all(before) && after.allowed_data_classes.iter().any(|class| !known.contains(class));
    let less_audit = before.audit == AuditMode::Required && after.audit == AuditMode::BestEffort;
    more_zones || more_classes || less_audit
}

#[cfg(test)]
mod tests;
