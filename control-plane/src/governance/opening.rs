//! Which changes of resources need an approval of their own: those that open what was closed.
//!
//! Only what loosens is named. What tightens, and what a change leaves as it was, needs nobody but its author.

mod rollout;

use std::collections::{BTreeMap, BTreeSet};

use portcullis_policy::check::built_in_zone;
use portcullis_policy::resource::{
    AccessPolicySpec, AuditMode, ChangeClass, ChangedTools, Effective, Kind, McpServerSpec, Name, Network,
    NewTools, PolicyMode, Resource, RolloutPolicySpec, Spec, ToolRules, TrustZoneSpec,
};
use portcullis_policy::snapshot::default_zone_name;
use serde_json::Value;

use super::access::Touched;
use super::rules::{Matter, Rule, Rulebook};
use crate::objects::ServerState;
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
        for (matter, class) in openings(state, touched, change) {
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

/// What a change opens, each with what it is about.
fn openings(state: &State, touched: &[Touched<'_>], change: &Touched<'_>) -> Vec<(Matter, ChangeClass)> {
    let settings = Settings { state, touched };
    if !matches!(change.kind, Kind::TierDefaults | Kind::RolloutPolicy) {
        let matter = matter(state, change);
        return classes(change, &settings).into_iter().map(|class| (matter.clone(), class)).collect();
    }
    // What a tier gives is about every server that leaves it to its tier, and what a rollout policy says about those under it.
    let mut found = Vec::new();
    for server in state.list(Kind::McpServer.as_str()) {
        let itself = |other: &Touched<'_>| other.kind == Kind::McpServer && other.name == &*server.name;
        if touched.iter().any(itself) {
            continue;
        }
        let Some(Spec::McpServer(spec)) = read(&server.body) else { continue };
        let concerned = match change.kind {
            Kind::TierDefaults => spec.tier.as_str() == change.name,
            _ => {
                let policies = [settings.before(&spec), settings.after(&spec)].map(|all| all.rollout.value);
                policies.iter().flatten().any(|policy| policy.as_str() == change.name)
            }
        };
        if !concerned {
            continue;
        }
        let same = Some(&server.body);
        let unchanged = Touched { kind: Kind::McpServer, name: &server.name, before: same, after: same };
        let matter = Matter::of_server(server);
        found.extend(classes(&unchanged, &settings).into_iter().map(|class| (matter.clone(), class)));
    }
    found
}

/// What tiers and rollout policies give, before and after a change.
struct Settings<'a> {
    state: &'a State,
    touched: &'a [Touched<'a>],
}

impl Settings<'_> {
    fn before(&self, server: &McpServerSpec) -> Effective {
        self.effective(server, |change| change.before)
    }

    fn after(&self, server: &McpServerSpec) -> Effective {
        self.effective(server, |change| change.after)
    }

    fn effective<'t>(
        &'t self,
        server: &McpServerSpec,
        side: impl Fn(&Touched<'t>) -> Option<&'t Value>,
    ) -> Effective {
        let tier = match self.spec(Kind::TierDefaults, server.tier.as_str(), side) {
            Some(Spec::TierDefaults(tier)) => Some(tier),
            _ => None,
        };
        Effective::of(server, tier.as_ref())
    }

    /// Whether a server that stays is open to more callers, or comes on more easily, than before.
    fn opens_rollout(&self, name: &str, [old, new]: [&Effective; 2]) -> bool {
        // What was open to all was open.
        let Some(before) = self.policy(old, |change| change.before) else { return false };
        let server = self.state.get(Kind::McpServer.as_str(), name);
        let kept = server.and_then(|server| ServerState::of(self.state, &server.uid));
        let at = kept.map_or_else(|| before.first(), |kept| kept.stage_under(Some(&before)));
        rollout::opens(&before, self.policy(new, |change| change.after).as_ref(), at)
    }

    fn policy<'t>(
        &'t self,
        effective: &Effective,
        side: impl Fn(&Touched<'t>) -> Option<&'t Value>,
    ) -> Option<RolloutPolicySpec> {
        match self.spec(Kind::RolloutPolicy, effective.rollout.value.as_ref()?.as_str(), side)? {
            Spec::RolloutPolicy(policy) => Some(policy),
            _ => None,
        }
    }

    /// A resource on one side of the change.
    fn spec<'t>(
        &'t self,
        kind: Kind,
        name: &str,
        side: impl Fn(&Touched<'t>) -> Option<&'t Value>,
    ) -> Option<Spec> {
        let document = match self.touched.iter().find(|change| change.kind == kind && change.name == name) {
            Some(change) => side(change),
            None => self.state.get(kind.as_str(), name).map(|object| &object.body),
        };
        document.and_then(read)
    }
}

/// What a change is about: the server as it was and as it becomes, or the zone.
fn matter(state: &State, change: &Touched<'_>) -> Matter {
    let mut matter = Matter::default();
    match change.kind {
        Kind::McpServer => {
            for document in [change.before, change.after].into_iter().flatten() {
                matter.add_server(change.name, document);
                if let Some(Spec::McpServer(spec)) = read(document) {
                    matter.zones.extend(spec.tools.overrides.into_iter().filter_map(|one| one.zone));
                }
            }
        }
        Kind::TrustZone => {
            matter.zones.extend(change.name.parse::<Name>());
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
fn classes(change: &Touched<'_>, settings: &Settings<'_>) -> Vec<ChangeClass> {
    if change.kind.is_access() {
        return if change.before == change.after { Vec::new() } else { vec![ChangeClass::Access] };
    }
    let mut before = change.before.and_then(read);
    let mut after = change.after.and_then(read);
    if change.kind == Kind::TrustZone && change.name == default_zone_name().as_str() {
        // Where nobody defines it the built-in one is there.
        before = before.or_else(|| Some(built_in_zone().spec));
        after = after.or_else(|| Some(built_in_zone().spec));
    }
    match (before, after) {
        (Some(Spec::McpServer(before)), Some(Spec::McpServer(after))) => {
            let (old, new) = (settings.before(&before), settings.after(&after));
            let opens = settings.opens_rollout(change.name, [&old, &new]);
            let mut classes = server(&before, &after, [old, new]);
            classes.extend(opens.then_some(ChangeClass::RolloutOpening));
            classes
        }
        (Some(Spec::TrustZone(before)), Some(Spec::TrustZone(after))) if opens(&before, &after) => {
            vec![ChangeClass::ZoneOpening]
        }
        (Some(Spec::AccessPolicy(before)), after) if loosens(&before, after.as_ref()) => {
            vec![ChangeClass::PolicyLoosening]
        }
        _ => Vec::new(),
    }
}

fn read(document: &Value) -> Option<Spec> {
    Resource::from_json(document).ok().map(|resource| resource.spec)
}

fn server(before: &McpServerSpec, after: &McpServerSpec, [old, new]: [Effective; 2]) -> Vec<ChangeClass> {
    let mut classes = Vec::new();
    let zones = |spec: &McpServerSpec| -> BTreeMap<String, Name> {
        let own = spec.tools.overrides.iter();
        own.filter_map(|one| Some((one.name.clone(), one.zone.clone().filter(|zone| *zone != spec.zone)?)))
            .collect()
    };
    if before.zone != after.zone || zones(before) != zones(after) {
        classes.push(ChangeClass::ZoneMapping);
    }
    let (was, is) = (old.limits(), new.limits());
    if is.max_request_bytes > was.max_request_bytes
        || is.max_response_bytes > was.max_response_bytes
        || is.concurrency > was.concurrency
    {
        classes.push(ChangeClass::ExposureLimits);
    }
    let needs = |effective: &Effective| {
        let new = effective.new_tools.value != NewTools::Approve;
        let changed = match effective.changed_tools.value {
            ChangedTools::Quarantine => 2,
            ChangedTools::KeepPinned => 1,
            ChangedTools::Approve => 0,
        };
        (new, changed)
    };
    let ((new_before, changed_before), (new_after, changed_after)) = (needs(&old), needs(&new));
    let freed = frees(&old.rules(before), &new.rules(after));
    if (new_before && !new_after) || changed_after < changed_before || freed {
        classes.push(ChangeClass::ApprovalMode);
    }
    classes
}

/// Whether calls of some tool needed a person each and need none any more.
fn frees(before: &ToolRules, after: &ToolRules) -> bool {
    // Tools that neither names are there, or may be there any time.
    let unnamed = before.approval.is_some() && after.approval.is_none();
    let mut named = before.overrides.iter().chain(&after.overrides).map(|of_one| of_one.name.as_str());
    unnamed || named.any(|tool| before.holds(tool) && !after.holds(tool))
}

fn opens(before: &TrustZoneSpec, after: &TrustZoneSpec) -> bool {
    let more_zones = after.reachable_from.iter().any(|zone| !before.reachable_from.contains(zone));
    let all = |spec: &TrustZoneSpec| spec.allowed_data_classes.iter().any(|class| class == "*");
    let known: BTreeSet<&String> = before.allowed_data_classes.iter().collect();
    let more_classes = !all(before) && after.allowed_data_classes.iter().any(|class| !known.contains(class));
    let less_audit = before.audit == AuditMode::Required && after.audit == AuditMode::BestEffort;
    more_zones
        || more_classes
        || less_audit
        || widens(&before.caller_networks, &after.caller_networks, Network::covers)
        || widens(&before.allowed_eras, &after.allowed_eras, PartialEq::eq)
        || widens(&before.served_by, &after.served_by, |old, new| {
            old.iter().all(|(key, value)| new.get(key) == Some(value))
        })
        || widens(&before.allowed_hosting, &after.allowed_hosting, PartialEq::eq)
}

/// Whether a list that limits, and does not when it is empty, lets in more than it did.
fn widens<T>(before: &[T], after: &[T], covers: impl Fn(&T, &T) -> bool) -> bool {
    let more = |new: &T| !before.iter().any(|old| covers(old, new));
    !before.is_empty() && (after.is_empty() || after.iter().any(more))
}

/// What an enforced policy forbids, and whether another text forbids less, is for people to say.
fn loosens(before: &AccessPolicySpec, after: Option<&Spec>) -> bool {
    before.mode == PolicyMode::Enforce
        && match after {
            Some(Spec::AccessPolicy(after)) => before != after,
            _ => true,
        }
}

#[cfg(test)]
mod tests;
