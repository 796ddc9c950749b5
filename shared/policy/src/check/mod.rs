//! Judges a whole set of resources as `apply` does: what each one says, and whether they fit together.

mod bundle;
mod client;
pub mod governance;
mod key;
mod metering;
pub(crate) mod policy;
mod rollout;
mod server;
mod teams;
mod text;
mod warn;
mod zone;

use std::collections::BTreeMap;

use crate::resource::{Kind, Metadata, Name, Resource, Spec, TrustZoneSpec};
use crate::snapshot::default_zone_name;
use teams::Teams;

/// What is wrong, or worth a warning, in one field of one resource.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Finding {
    /// The kind.
    pub kind: Kind,
    /// The name.
    pub name: Name,
    /// The field, such as `spec.grants[0].bundle`.
    pub field: String,
    /// A sentence that says what is wrong and what would be right.
    pub message: String,
}

impl std::fmt::Display for Finding {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{}/{}: {}: {}", self.kind, self.name, self.field, self.message)
    }
}

/// Resources by kind and name. The built-in zone `default` is among them unless another one of that name is.
#[derive(Debug, Clone)]
pub struct ResourceSet {
    resources: BTreeMap<(Kind, Name), Resource>,
}

impl Default for ResourceSet {
    fn default() -> Self {
        Self::new()
    }
}

impl ResourceSet {
    /// A set with nothing but the built-in zone.
    #[must_use]
    pub fn new() -> Self {
        let mut set = Self { resources: BTreeMap::new() };
        set.insert(built_in_zone());
        set
    }

    /// Puts a resource in the place of the one with its kind and name.
    pub fn insert(&mut self, resource: Resource) -> Option<Resource> {
        self.resources.insert((resource.kind(), resource.name().clone()), resource)
    }

    /// Takes a resource out. The built-in zone comes back when the one that stood in its place goes.
    pub fn remove(&mut self, kind: Kind, name: &Name) -> Option<Resource> {
        let removed = self.resources.remove(&(kind, name.clone()));
        if kind == Kind::TrustZone && *name == default_zone_name() {
            self.insert(built_in_zone());
        }
        removed
    }

    /// One resource.
    #[must_use]
    pub fn get(&self, kind: Kind, name: &Name) -> Option<&Resource> {
        self.resources.get(&(kind, name.clone()))
    }

    /// Whether there is one.
    #[must_use]
    pub fn contains(&self, kind: Kind, name: &Name) -> bool {
        self.get(kind, name).is_some()
    }

    /// Every resource, by kind and name.
    pub fn iter(&self) -> impl Iterator<Item = &Resource> {
        self.resources.values()
    }
}

impl FromIterator<Resource> for ResourceSet {
    fn from_iter<I: IntoIterator<Item = Resource>>(resources: I) -> Self {
        let mut set = Self::new();
        resources.into_iter().for_each(|resource| {
            set.insert(resource);
        });
        set
    }
}

/// The zone that is there without being written: it reaches itself and allows every data class.
#[must_use]
pub fn built_in_zone() -> Resource {
    Resource {
        metadata: Metadata { name: default_zone_name(), labels: BTreeMap::new() },
        spec: Spec::TrustZone(TrustZoneSpec {
            allowed_data_classes: vec!["*".to_owned()],
            ..TrustZoneSpec::default()
        }),
    }
}

/// Everything that is wrong with a set, by kind and name. Empty when it may be applied.
#[must_use]
pub fn check(set: &ResourceSet) -> Vec<Finding> {
    let mut findings = Findings::default();
    for resource in set.iter() {
        let mut of = findings.of(resource);
        labels(&resource.metadata, &mut of);
        match &resource.spec {
            Spec::TrustZone(spec) => zone::check(spec, set, &mut of),
            Spec::Customer(spec) => {
                metering::check("spec.", metering::Of::Customer, &spec.metering(), set, &mut of);
            }
            Spec::Team(spec) => {
                metering::check("spec.", metering::Of::Team, &spec.metering(), set, &mut of);
                if let Some(customer) = &spec.customer {
                    of.reference("spec.customer", Kind::Customer, customer, set);
                }
            }
            Spec::RolloutPolicy(spec) => rollout::policy(spec, set, &mut of),
            Spec::TierDefaults(spec) => rollout::tier(resource.name(), spec, set, &mut of),
            Spec::McpServer(spec) => {
                server::check(spec, set, &mut of);
                metering::check("spec.", metering::Of::Server, &spec.metering(), set, &mut of);
                metering::costs(spec, &mut of);
            }
            Spec::ToolBundle(spec) => bundle::check(spec, set, &mut of),
            Spec::VirtualKey(spec) => key::check(spec, set, &mut of),
            Spec::Role(spec) => governance::role(spec, &mut of),
            Spec::RoleBinding(spec) => governance::binding(spec, set, &mut of),
            Spec::ApprovalRule(spec) => governance::approval_rule(spec, set, &mut of),
            Spec::Client(spec) => client::check(spec, set, &mut of),
            // Read together: they are compiled as one.
            Spec::AccessPolicy(_) => {}
        }
    }
    server::aliases(set, &mut findings);
    client::number(set, &mut findings);
    policy::check(set, &mut findings);
    findings.list
}

/// What may be applied but does less than its author may think. `known_tools` tells the upstream's names of a server's tools,
/// approved or not; `None` when nobody has seen them yet.
#[must_use]
pub fn warnings(set: &ResourceSet, known_tools: &dyn Fn(&Name) -> Option<Vec<String>>) -> Vec<Finding> {
    let mut findings = Findings::default();
    let teams = Teams::of(set);
    for resource in set.iter() {
        let mut of = findings.of(resource);
        match &resource.spec {
            Spec::Client(spec) => warn::client(spec, set, &mut of),
            Spec::ToolBundle(spec) => {
                warn::bundle(spec, known_tools, &mut of);
                teams.bundle(spec, &mut of);
            }
            Spec::VirtualKey(spec) => {
                warn::key(spec, set, known_tools, &mut of);
                teams.key(spec, set, &mut of);
            }
            Spec::TrustZone(_)
            | Spec::Customer(_)
            | Spec::Team(_)
            | Spec::RolloutPolicy(_)
            | Spec::TierDefaults(_)
            | Spec::McpServer(_)
            | Spec::Role(_)
            | Spec::RoleBinding(_)
            | Spec::ApprovalRule(_)
            | Spec::AccessPolicy(_) => {}
        }
    }
    findings.list
}

/// How many labels a resource may have.
const MAX_LABELS: usize = 64;

fn labels(metadata: &Metadata, of: &mut FindingsOf<'_>) {
    if metadata.labels.len() > MAX_LABELS {
        of.add("metadata.labels", format!("a resource has at most {MAX_LABELS} labels"));
    }
    for (name, value) in &metadata.labels {
        if name.is_empty() || name.len() > 63 || !name.chars().all(|c| c.is_ascii_graphic()) {
            of.add(
                "metadata.labels",
                format!("the label name {name:?} is not 1 to 63 visible ASCII characters"),
            );
        }
        if !text::short(value, 0, 256) {
            of.add(
                &format!("metadata.labels.{name}"),
                "a label's value has at most 256 characters and no control characters",
            );
        }
    }
}

/// What was found so far.
#[derive(Default)]
struct Findings {
    list: Vec<Finding>,
}

impl Findings {
    fn of<'a>(&'a mut self, resource: &'a Resource) -> FindingsOf<'a> {
        FindingsOf { resource, list: &mut self.list }
    }
}

/// Findings of one resource.
struct FindingsOf<'a> {
    resource: &'a Resource,
    list: &'a mut Vec<Finding>,
}

impl FindingsOf<'_> {
    fn add(&mut self, field: &str, message: impl Into<String>) {
        self.list.push(Finding {
            kind: self.resource.kind(),
            name: self.resource.name().clone(),
            field: field.to_owned(),
            message: message.into(),
        });
    }

    fn reference(&mut self, field: &str, kind: Kind, name: &Name, set: &ResourceSet) {
        if !set.contains(kind, name) {
            self.add(field, format!("there is no {kind} {name}: apply it first or together with this"));
        }
    }
}

#[cfg(test)]
mod tests;
