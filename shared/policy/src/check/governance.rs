//! Roles, bindings and approval rules: what they name is there, and no list is empty that would then say something else than
//! its author may think.

use super::{FindingsOf, ResourceSet, text};
use crate::resource::{
    ApprovalRuleSpec, Approver, BuiltInRole, Kind, Name, Right, RoleBindingSpec, RoleRule, RoleSpec, Subject,
};

/// How many entries a list of these resources may hold.
const MAX_ENTRIES: usize = 256;
/// The longest name of a person, in characters.
pub const MAX_PERSON: usize = 128;

/// What is wrong with the name of a person; `None` when it is one. Persons stand before a slash in history, and `system` and
/// `plane` stand there for Portcullis itself.
#[must_use]
pub fn bad_person(name: &str) -> Option<String> {
    let fits =
        text::short(name, 1, MAX_PERSON) && !name.chars().any(|c| c == '/' || c == ',' || c.is_whitespace());
    if !fits {
        let name: String = name.chars().take(80).collect();
        return Some(format!(
            "{name:?} is no name of a person: 1 to {MAX_PERSON} characters without spaces, commas and slashes, such as ada@example.com"
        ));
    }
    ["system", "plane", "rule"]
        .contains(&name)
        .then(|| format!("{name} stands for Portcullis itself in the history: choose another name"))
}

pub(super) fn role(spec: &RoleSpec, of: &mut FindingsOf<'_>) {
    if BuiltInRole::named(of.resource.name().as_str()).is_some() {
        of.add("metadata.name", "a role of this name is built in: choose another name");
    }
    list("spec.rules", spec.rules.len(), of);
    for (at, rule) in spec.rules.iter().enumerate() {
        role_rule(&format!("spec.rules[{at}]"), rule, of);
    }
}

fn role_rule(field: &str, rule: &RoleRule, of: &mut FindingsOf<'_>) {
    list(&format!("{field}.rights"), rule.rights.len(), of);
    let lists = [
        ("kinds", rule.kinds.as_ref().map(Vec::len)),
        ("zones", rule.zones.as_ref().map(Vec::len)),
        ("servers", rule.servers.as_ref().map(Vec::len)),
        ("labels", rule.labels.as_ref().map(std::collections::BTreeMap::len)),
    ];
    for (name, length) in lists {
        if let Some(length) = length {
            list(&format!("{field}.{name}"), length, of);
        }
    }
    for (at, right) in rule.rights.iter().enumerate() {
        if rule.is_limited() && !right.can_be_limited() {
            let limitable: Vec<&str> = Right::ALL
                .iter()
                .filter(|right| right.can_be_limited())
                .map(|right| right.as_str())
                .collect();
            of.add(
                &format!("{field}.rights[{at}]"),
                format!(
                    "{right} cannot be limited to some resources; {} can: give {right} in a rule of its own",
                    limitable.join(", ")
                ),
            );
        }
    }
    for (at, kind) in rule.kinds.iter().flatten().enumerate() {
        if kind.is_access() {
            of.add(
                &format!("{field}.kinds[{at}]"),
                format!("a {kind} is changed with the right {}, which has no kinds", Right::AccessWrite),
            );
        }
    }
}

pub(super) fn binding(spec: &RoleBindingSpec, set: &ResourceSet, of: &mut FindingsOf<'_>) {
    list("spec.subjects", spec.subjects.len(), of);
    for (at, subject) in spec.subjects.iter().enumerate() {
        if let Subject::Identity(person) = subject
            && let Some(wrong) = bad_person(person)
        {
            of.add(&format!("spec.subjects[{at}].identity"), wrong);
        }
    }
    list("spec.roles", spec.roles.len(), of);
    for (at, name) in spec.roles.iter().enumerate() {
        role_reference(&format!("spec.roles[{at}]"), name, set, of);
    }
}

fn role_reference(field: &str, name: &Name, set: &ResourceSet, of: &mut FindingsOf<'_>) {
    if BuiltInRole::named(name.as_str()).is_none() && !set.contains(Kind::Role, name) {
        let built_in: Vec<&str> = BuiltInRole::ALL.iter().map(|role| role.as_str()).collect();
        of.add(
            field,
            format!(
                "there is no Role {name}: apply it first or together with this, or name a built-in one ({})",
                built_in.join(", ")
            ),
        );
    }
}

pub(super) fn approval_rule(spec: &ApprovalRuleSpec, set: &ResourceSet, of: &mut FindingsOf<'_>) {
    let matches = &spec.matches;
    let lists = [
        ("zones", matches.zones.as_ref().map(Vec::len)),
        ("servers", matches.servers.as_ref().map(Vec::len)),
        ("tiers", matches.tiers.as_ref().map(Vec::len)),
        ("environments", matches.environments.as_ref().map(Vec::len)),
        ("dataClasses", matches.data_classes.as_ref().map(Vec::len)),
        ("changes", matches.changes.as_ref().map(Vec::len)),
    ];
    for (name, length) in lists {
        if let Some(length) = length {
            list(&format!("spec.match.{name}"), length, of);
        }
    }
    for (at, zone) in matches.zones.iter().flatten().enumerate() {
        of.reference(&format!("spec.match.zones[{at}]"), Kind::TrustZone, zone, set);
    }
    for (at, server) in matches.servers.iter().flatten().enumerate() {
        of.reference(&format!("spec.match.servers[{at}]"), Kind::McpServer, server, set);
    }
    if let Some(classes) = &matches.data_classes {
        text::data_classes("spec.match.dataClasses", classes, false, of);
    }
    list("spec.approvers", spec.approvers.len(), of);
    for (at, approver) in spec.approvers.iter().enumerate() {
        match approver {
            Approver::Role(name) => role_reference(&format!("spec.approvers[{at}].role"), name, set, of),
            Approver::Identity(person) => {
                if let Some(wrong) = bad_person(person) {
                    of.add(&format!("spec.approvers[{at}].identity"), wrong);
                }
            }
        }
    }
    if !(1..=10).contains(&spec.required) {
        of.add("spec.required", "it takes 1 to 10 people");
    }
    let people = spec.approvers.iter().map(|approver| matches!(approver, Approver::Identity(_)));
    let (named, roles) =
        people.fold(
            (0_u32, false),
            |(named, roles), is_person| {
                if is_person { (named.saturating_add(1), roles) } else { (named, true) }
            },
        );
    if !roles && named < spec.required {
        of.add(
            "spec.required",
            format!("{named} approvers are named, and no role: so many can never approve"),
        );
    }
    if let Some(expires) = spec.expires_after
        && !(60..=365 * 86_400).contains(&expires.0.as_secs())
    {
        of.add("spec.expiresAfter", "it is 1m to 365d");
    }
    if spec.auto_approve.as_ref().is_some_and(|auto| !auto.read_only_hint && auto.risk.is_none()) {
        of.add(
            "spec.autoApprove",
            "nothing is approved by itself without a condition: write readOnlyHint: true, or risk: none, info or warn, or \
             leave autoApprove out",
        );
    }
    if spec.auto_approve.is_some() && matches.changes.iter().flatten().any(|change| !change.is_definition()) {
        of.add(
            "spec.autoApprove",
            "only definitions are approved by themselves: give the other changes a rule of their own",
        );
    }
}

/// A list that is there says something, and not too much.
fn list(field: &str, length: usize, of: &mut FindingsOf<'_>) {
    if length == 0 {
        of.add(
            field,
            "an empty list means nothing at all: name some, or leave it out where it may be left out",
        );
    } else if length > MAX_ENTRIES {
        of.add(field, format!("a list holds at most {MAX_ENTRIES} entries"));
    }
}
