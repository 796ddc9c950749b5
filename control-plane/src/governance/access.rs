//! Whether somebody may make a change: the rights that it needs, that nobody gives what they do not have, and that somebody is
//! left who can give.

use std::collections::BTreeMap;

use portcullis_policy::resource::{
    BuiltInRole, Kind, Resource, Right, RoleBindingSpec, RoleRule, Spec, Subject,
};
use serde_json::Value;

use super::actor::Actor;
use super::identity::{ADMIN_TOKEN, AdminToken, Identity};
use super::rights::{Rights, Scope};
use crate::store::State;

/// Why a change of what is governed is not made.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum AccessError {
    /// Who asked lacks a right; somebody else may have it.
    #[error("{0}")]
    Denied(String),
    /// Nobody may do this as things stand.
    #[error("{0}")]
    Refused(String),
}

/// What happens to one resource. At least one of the two documents is there.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Touched<'a> {
    pub(crate) kind: Kind,
    pub(crate) name: &'a str,
    pub(crate) before: Option<&'a Value>,
    pub(crate) after: Option<&'a Value>,
}

impl Touched<'_> {
    fn spec(document: Option<&Value>) -> Option<Spec> {
        Resource::from_json(document?).ok().map(|resource| resource.spec)
    }
}

/// Whether somebody may make these changes, all of them; `write` is the right that resources need which say nothing of who may
/// do what. And whether somebody is left afterwards who can give rights.
///
/// # Errors
/// [`AccessError::Denied`], with the right that is missing; [`AccessError::Refused`].
pub(crate) fn authorise(
    state: &State,
    by: &Actor,
    write: Right,
    touched: &[Touched<'_>],
    now_unix_ms: u64,
) -> Result<(), AccessError> {
    if let Some(identity) = by.judged(state, now_unix_ms)? {
        has_rights(state, &identity, write, touched)?;
    }
    if touched.iter().any(|change| change.kind == Kind::RoleBinding) {
        still_has_an_admin(state, touched, None, now_unix_ms)?;
    }
    Ok(())
}

fn has_rights(
    state: &State,
    identity: &Identity,
    write: Right,
    touched: &[Touched<'_>],
) -> Result<(), AccessError> {
    for change in touched {
        let what = format!("change {}/{}", change.kind, change.name);
        if change.kind.is_access() {
            identity.must_have(Right::AccessWrite, &Scope::default(), &what).map_err(AccessError::Denied)?;
            grants(state, identity, touched, change)?;
            continue;
        }
        // What it was and what it becomes: nobody takes a resource out of what is theirs, nor into it.
        for document in [change.before, change.after].into_iter().flatten() {
            identity
                .must_have(write, &Scope::of(change.kind, document), &what)
                .map_err(AccessError::Denied)?;
        }
    }
    Ok(())
}

/// Nobody gives a role rights, or anybody a role, that they do not have themselves.
fn grants(
    state: &State,
    identity: &Identity,
    touched: &[Touched<'_>],
    change: &Touched<'_>,
) -> Result<(), AccessError> {
    match Touched::spec(change.after) {
        Some(Spec::Role(role)) => {
            let own = identity.roles.contains(change.name);
            may_grant(identity, &Rights::of_rules(role.rules), own, &format!("Role/{}", change.name))
        }
        Some(Spec::RoleBinding(binding)) => {
            let rules = binding.roles.iter().flat_map(|role| rules_after(state, touched, role.as_str()));
            let own = names(&binding, &identity.token, &identity.person);
            let what = format!("RoleBinding/{}", change.name);
            may_grant(identity, &Rights::of_rules(rules.collect()), own, &what)
        }
        _ => Ok(()),
    }
}

/// The rules of a role as they are after the change.
fn rules_after(state: &State, touched: &[Touched<'_>], role: &str) -> Vec<RoleRule> {
    let changed = touched.iter().find(|change| change.kind == Kind::Role && change.name == role);
    match changed.map(|change| Touched::spec(change.after)) {
        Some(Some(Spec::Role(spec))) => spec.rules,
        Some(_) => Vec::new(),
        None => Rights::of_roles(state, [role]).into_rules(),
    }
}

fn names(binding: &RoleBindingSpec, token: &str, person: &str) -> bool {
    binding.subjects.iter().any(|subject| match subject {
        Subject::Identity(name) => name == person,
        Subject::Token(name) => name.as_str() == token,
    })
}

/// Whether an identity may give these rights to somebody, or to itself.
fn may_grant(identity: &Identity, rights: &Rights, to_itself: bool, what: &str) -> Result<(), AccessError> {
    let mut own = identity.rights.clone();
    // Reading payloads is given away by people who cannot read them, and never to themselves.
    if !to_itself && own.has(Right::PayloadsGrant) {
        own = own.and(RoleRule::unlimited(vec![Right::PayloadsRead]));
    }
    match own.lacks(rights) {
        None => Ok(()),
        Some(Right::PayloadsRead) if identity.rights.has(Right::PayloadsGrant) => {
            Err(AccessError::Denied(format!(
                "{what} would give {} the right {} by their own hand: somebody else who has {} must give it",
                identity.author(),
                Right::PayloadsRead,
                Right::PayloadsGrant,
            )))
        }
        Some(right) => Err(AccessError::Denied(format!(
            "{what} would give the right {right}, which {} does not have, or not for all of this: nobody gives what they do \
             not have; somebody who has it must do this",
            identity.author(),
        ))),
    }
}

/// Whether an identity may give these roles to a token, with all that bindings add to it.
///
/// # Errors
/// [`AccessError::Denied`].
pub(super) fn may_grant_roles<'a>(
    state: &State,
    identity: &Identity,
    roles: impl IntoIterator<Item = &'a str>,
    to_itself: bool,
    what: &str,
) -> Result<(), AccessError> {
    may_grant(identity, &Rights::of_roles(state, roles), to_itself, what)
}

/// Whether after these changes somebody is left with the role `admin` and a token that does not end by itself.
///
/// # Errors
/// [`AccessError::Refused`] when there would be nobody.
pub(super) fn still_has_an_admin(
    state: &State,
    touched: &[Touched<'_>],
    revoked: Option<&str>,
    now_unix_ms: u64,
) -> Result<(), AccessError> {
    let mut bindings: BTreeMap<&str, &Value> =
        state.list(Kind::RoleBinding.as_str()).map(|object| (object.name.as_ref(), &object.body)).collect();
    for change in touched.iter().filter(|change| change.kind == Kind::RoleBinding) {
        bindings.remove(change.name);
        bindings.extend(change.after.map(|document| (change.name, document)));
    }
    let bindings: Vec<RoleBindingSpec> = bindings
        .into_values()
        .filter_map(|document| match Touched::spec(Some(document)) {
            Some(Spec::RoleBinding(binding)) => Some(binding),
            _ => None,
        })
        .collect();
    let admin = BuiltInRole::Admin.as_str();
    let is_admin = |name: &str, token: &AdminToken| {
        let person = token.person.as_deref().unwrap_or(name);
        token.roles.iter().any(|role| role.as_str() == admin)
            || bindings.iter().any(|binding| {
                binding.roles.iter().any(|role| role.as_str() == admin) && names(binding, name, person)
            })
    };
    let left = state.list(ADMIN_TOKEN).filter(|object| revoked != Some(&*object.name)).any(|object| {
        AdminToken::from_object(object).is_some_and(|token| {
            token.is_live(now_unix_ms) && token.expires_unix_ms.is_none() && is_admin(&object.name, &token)
        })
    });
    if left {
        return Ok(());
    }
    Err(AccessError::Refused(
        "nobody would be left with the role admin and a token that does not end: make another one first, with \
         `portcullis admin token create NAME --role admin`"
            .to_owned(),
    ))
}
