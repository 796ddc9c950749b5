//! Who refers to whom: so that nothing that is needed can be deleted, and the refusal names who needs it.

use portcullis_policy::resource::{Approver, Auth, BuiltInRole, Grant, Kind, Name, Resource, Spec};

/// One reference from a resource to another.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Reference<'a> {
    /// The kind referred to.
    pub(super) kind: Kind,
    /// Its name.
    pub(super) name: &'a Name,
}

/// All that a resource refers to.
#[must_use]
pub(super) fn of(resource: &Resource) -> Vec<Reference<'_>> {
    let to = |kind, name| Reference { kind, name };
    match &resource.spec {
        Spec::TrustZone(zone) => zone.reachable_from.iter().map(|name| to(Kind::TrustZone, name)).collect(),
        Spec::Customer(_) => Vec::new(),
        Spec::Team(team) => team.customer.iter().map(|name| to(Kind::Customer, name)).collect(),
        Spec::RolloutPolicy(policy) => {
            let limited = policy.limited.as_ref();
            let teams = limited.into_iter().flat_map(|stage| &stage.teams).map(|name| to(Kind::Team, name));
            let keys = limited.into_iter().flat_map(|stage| &stage.keys);
            teams.chain(keys.map(|name| to(Kind::VirtualKey, name))).collect()
        }
        Spec::TierDefaults(tier) => tier.rollout.iter().map(|r| to(Kind::RolloutPolicy, &r.policy)).collect(),
        Spec::McpServer(server) => {
            let own = server.tools.overrides.iter().filter_map(|of_one| of_one.zone.as_ref());
            let zones = own.chain([&server.zone]).map(|zone| to(Kind::TrustZone, zone));
            let rollout = server.rollout.iter().map(|rollout| to(Kind::RolloutPolicy, &rollout.policy));
            zones.chain(rollout).collect()
        }
        Spec::ToolBundle(bundle) => {
            let servers = bundle.tools.iter().map(|member| to(Kind::McpServer, &member.server));
            let teams = bundle.members.teams.iter().map(|team| to(Kind::Team, team));
            servers.chain(teams).collect()
        }
        Spec::VirtualKey(key) => {
            let mut references = vec![to(Kind::TrustZone, &key.zone)];
            references.extend(key.team.iter().map(|name| to(Kind::Team, name)));
            references.extend(key.grants.iter().map(|grant| match grant {
                Grant::Bundle(grant) => to(Kind::ToolBundle, &grant.bundle),
                Grant::Server(grant) => to(Kind::McpServer, &grant.server),
            }));
            references
        }
        Spec::Role(_) => Vec::new(),
        Spec::RoleBinding(binding) => binding.roles.iter().filter_map(role).collect(),
        Spec::ApprovalRule(rule) => {
            let zones = rule.matches.zones.iter().flatten().map(|name| to(Kind::TrustZone, name));
            let servers = rule.matches.servers.iter().flatten().map(|name| to(Kind::McpServer, name));
            let roles = rule.approvers.iter().filter_map(|approver| match approver {
                Approver::Role(name) => role(name),
                Approver::Identity(_) => None,
            });
            zones.chain(servers).chain(roles).collect()
        }
        // What its text names is followed where it is compiled, which refuses what is not there.
        Spec::AccessPolicy(_) => Vec::new(),
        Spec::Client(client) => {
            let mut references: Vec<_> =
                client.r#match.keys.iter().map(|name| to(Kind::VirtualKey, name)).collect();
            for reach in client.allow.iter().chain(&client.deny) {
                references.extend(
                    reach.zones.iter().filter_map(|zone| zone.name()).map(|name| to(Kind::TrustZone, name)),
                );
                references.extend(
                    reach.servers.iter().filter_map(|of| of.name()).map(|name| to(Kind::McpServer, name)),
                );
            }
            references
        }
    }
}

/// The resource behind the name of a role; a built-in one has none.
fn role(name: &Name) -> Option<Reference<'_>> {
    BuiltInRole::named(name.as_str()).is_none().then_some(Reference { kind: Kind::Role, name })
}

/// The secrets that a resource refers to, each with the field that names it.
#[must_use]
pub(super) fn secrets(resource: &Resource) -> Vec<(&'static str, &Name)> {
    let Spec::McpServer(server) = &resource.spec else { return Vec::new() };
    fn of(auth: &Auth) -> Option<&Name> {
        match auth {
            Auth::Header(header) => Some(&header.value_from.secret),
            Auth::None(_) => None,
        }
    }
    let own = of(&server.auth).map(|name| ("spec.auth.header.valueFrom.secret", name));
    let sandbox = server.sandbox.as_ref().and_then(|sandbox| of(&sandbox.auth));
    own.into_iter().chain(sandbox.map(|name| ("spec.sandbox.auth.header.valueFrom.secret", name))).collect()
}

/// `McpServer/github`: a resource as messages name it.
#[must_use]
pub(super) fn label(kind: Kind, name: &Name) -> String {
    format!("{kind}/{name}")
}

/// At most ten names and how many more there are.
#[must_use]
pub(crate) fn listing(names: &[String]) -> String {
    const SHOWN: usize = 10;
    let shown = names.iter().take(SHOWN).cloned().collect::<Vec<_>>().join(", ");
    match names.len().saturating_sub(SHOWN) {
        0 => shown,
        more => format!("{shown} and {more} more"),
    }
}
