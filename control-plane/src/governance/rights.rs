//! What somebody may do: the rules of their roles, and whether one of them allows a request.

use std::collections::BTreeMap;

use portcullis_policy::resource::{BuiltInRole, Kind, Resource, Right, RoleRule, Spec, Subject};
use portcullis_policy::snapshot::default_zone_name;
use serde_json::Value;

use crate::store::{Object, State};

/// What a request is about, as far as rules can be limited by it.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Scope {
    /// The kind of the resource.
    pub kind: Option<Kind>,
    /// Its zone; a zone's own name.
    pub zone: Option<String>,
    /// The server.
    pub server: Option<String>,
    /// Its labels.
    pub labels: BTreeMap<String, String>,
}

impl Scope {
    /// What a document of a resource says of itself.
    #[must_use]
    pub fn of(kind: Kind, document: &Value) -> Self {
        let text = |pointer: &str| document.pointer(pointer).and_then(Value::as_str).map(str::to_owned);
        let name = text("/metadata/name");
        let in_zone = || Some(text("/spec/zone").unwrap_or_else(|| default_zone_name().as_str().to_owned()));
        let (zone, server) = match kind {
            Kind::TrustZone => (name, None),
            Kind::McpServer => (in_zone(), name),
            Kind::VirtualKey => (in_zone(), None),
            _ => (None, None),
        };
        let labels = document.pointer("/metadata/labels").and_then(Value::as_object).into_iter().flatten();
        let labels = labels.filter_map(|(name, value)| Some((name.clone(), value.as_str()?.to_owned())));
        Self { kind: Some(kind), zone, server, labels: labels.collect() }
    }

    /// An object of the store that is a resource of this kind.
    #[must_use]
    pub fn of_object(kind: Kind, object: &Object) -> Self {
        Self::of(kind, &object.body)
    }

    fn fits(&self, rule: &RoleRule) -> bool {
        let named = |names: &Option<Vec<portcullis_policy::resource::Name>>, mine: &Option<String>| {
            names.as_ref().is_none_or(|names| {
                mine.as_ref().is_some_and(|mine| names.iter().any(|name| name.as_str() == mine))
            })
        };
        rule.kinds.as_ref().is_none_or(|kinds| self.kind.is_some_and(|kind| kinds.contains(&kind)))
            && named(&rule.zones, &self.zone)
            && named(&rule.servers, &self.server)
            && rule
                .labels
                .as_ref()
                .is_none_or(|labels| labels.iter().all(|(name, value)| self.labels.get(name) == Some(value)))
    }
}

/// Rules that each add.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Rights {
    rules: Vec<RoleRule>,
}

impl Rights {
    /// The rights of these roles, as the state defines them. A role that is not there gives nothing.
    #[must_use]
    pub fn of_roles<'a>(state: &State, roles: impl IntoIterator<Item = &'a str>) -> Self {
        let rules = roles.into_iter().flat_map(|role| rules_of(state, role)).collect();
        Self { rules }
    }

    /// The rights of these rules.
    #[must_use]
    pub const fn of_rules(rules: Vec<RoleRule>) -> Self {
        Self { rules }
    }

    /// The rules.
    #[must_use]
    pub fn into_rules(self) -> Vec<RoleRule> {
        self.rules
    }

    /// These, and one more rule.
    #[must_use]
    pub fn and(mut self, rule: RoleRule) -> Self {
        self.rules.push(rule);
        self
    }

    /// Whether the right is there at all, maybe limited.
    #[must_use]
    pub fn has(&self, right: Right) -> bool {
        self.rules.iter().any(|rule| rule.rights.contains(&right))
    }

    /// Whether the right is there for this.
    #[must_use]
    pub fn allows(&self, right: Right, scope: &Scope) -> bool {
        self.rules.iter().any(|rule| rule.rights.contains(&right) && scope.fits(rule))
    }

    /// The rights that are there at all, each once.
    #[must_use]
    pub fn list(&self) -> Vec<Right> {
        Right::ALL.iter().copied().filter(|right| self.has(*right)).collect()
    }

    /// The first right of `other` that goes beyond these.
    #[must_use]
    pub fn lacks(&self, other: &Self) -> Option<Right> {
        other.rules.iter().find_map(|rule| {
            rule.rights.iter().copied().find(|right| {
                !self.rules.iter().any(|own| own.rights.contains(right) && is_within(rule, own))
            })
        })
    }
}

/// Whether a rule reaches nothing that the other one does not reach.
fn is_within(rule: &RoleRule, other: &RoleRule) -> bool {
    fn part<T: PartialEq>(inner: &Option<Vec<T>>, outer: &Option<Vec<T>>) -> bool {
        outer.as_ref().is_none_or(|outer| {
            inner.as_ref().is_some_and(|inner| inner.iter().all(|item| outer.contains(item)))
        })
    }
    part(&rule.kinds, &other.kinds)
        && part(&rule.zones, &other.zones)
        && part(&rule.servers, &other.servers)
        && other.labels.as_ref().is_none_or(|outer| {
            rule.labels
                .as_ref()
                .is_some_and(|inner| outer.iter().all(|(name, value)| inner.get(name) == Some(value)))
        })
}

fn rules_of(state: &State, role: &str) -> Vec<RoleRule> {
    if let Some(built_in) = BuiltInRole::named(role) {
        return vec![RoleRule::unlimited(built_in.rights())];
    }
    let object = state.get(Kind::Role.as_str(), role);
    let resource = object.and_then(|object| Resource::from_json(&object.body).ok());
    match resource.map(|resource| resource.spec) {
        Some(Spec::Role(spec)) => spec.rules,
        _ => Vec::new(),
    }
}

/// The roles that bindings give to a token and the person behind it.
#[must_use]
pub(super) fn bound_roles(state: &State, token: &str, person: &str) -> Vec<String> {
    let mut roles = Vec::new();
    for object in state.list(Kind::RoleBinding.as_str()) {
        let Ok(Resource { spec: Spec::RoleBinding(binding), .. }) = Resource::from_json(&object.body) else {
            continue;
        };
        let is_subject = binding.subjects.iter().any(|subject| match subject {
            Subject::Identity(name) => name == person,
            Subject::Token(name) => name.as_str() == token,
        });
        if is_subject {
            roles.extend(binding.roles.iter().map(|role| role.as_str().to_owned()));
        }
    }
    roles
}

#[cfg(test)]
mod tests;
