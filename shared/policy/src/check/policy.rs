//! `AccessPolicy` resources: their texts can be evaluated, and what they name is there.

use portcullis_conditions::{Compiled, Mention, Policy};

use super::{Findings, ResourceSet};
use crate::resource::{AccessPolicySpec, Kind, Name, Resource, Spec};

/// How many policies there may be.
const MAX_POLICIES: usize = 5_000;

pub(super) fn check(set: &ResourceSet, findings: &mut Findings) {
    let policies: Vec<(&Resource, &AccessPolicySpec)> = set
        .iter()
        .filter_map(|resource| match &resource.spec {
            Spec::AccessPolicy(spec) => Some((resource, spec)),
            _ => None,
        })
        .collect();
    if policies.is_empty() {
        return;
    }
    if let Some((beyond, _)) = policies.get(MAX_POLICIES) {
        let message = format!(
            "there are more than {MAX_POLICIES} AccessPolicies: put statements that belong together into one"
        );
        return findings.of(beyond).add("metadata.name", message);
    }
    let texts: Vec<Policy<'_>> =
        policies.iter().map(|(resource, spec)| text(resource.name(), spec)).collect();
    let resource_of = |name: &str| policies.iter().find(|(resource, _)| resource.name().as_str() == name);
    match Compiled::new(&texts) {
        Err(problems) => {
            for problem in problems {
                if let Some((resource, _)) = resource_of(&problem.policy) {
                    let (line, column, what) = (problem.line, problem.column, problem.message);
                    let message = format!("line {line}, column {column} of the text: {what}");
                    findings.of(resource).add("spec.cedar", message);
                }
            }
        }
        Ok(compiled) => {
            for mention in compiled.mentions() {
                let Some((resource, _)) = resource_of(mention.policy) else { continue };
                let Some((kind, name)) = refers(mention) else { continue };
                let mut of = findings.of(resource);
                match name.parse::<Name>() {
                    Ok(name) => of.reference("spec.cedar", kind, &name, set),
                    Err(error) => of.add("spec.cedar", format!("{kind}::{name:?}: {error}")),
                }
            }
        }
    }
}

/// As the conditions take it.
pub(crate) fn text<'a>(name: &'a Name, spec: &'a AccessPolicySpec) -> Policy<'a> {
    Policy { name: name.as_str(), cedar: &spec.cedar, mode: spec.mode.into() }
}

/// The resource that must be there for an entity. Tools, prompts and resources need their server only; principals, groups and
/// data classes are words that nobody has to define.
pub(crate) fn refers(mention: Mention<'_>) -> Option<(Kind, &str)> {
    let kind = match mention.kind {
        "Team" => Kind::Team,
        "Customer" => Kind::Customer,
        "Zone" => Kind::TrustZone,
        "Key" => Kind::VirtualKey,
        "Client" => Kind::Client,
        "Server" | "Tool" | "Prompt" | "Resource" => Kind::McpServer,
        _ => return None,
    };
    let name = match mention.kind {
        "Tool" | "Prompt" | "Resource" => mention.id.split('/').next().unwrap_or_default(),
        _ => mention.id,
    };
    Some((kind, name))
}
