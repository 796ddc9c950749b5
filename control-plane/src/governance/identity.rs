//! Who administers: the tokens of the store, and what each of them may do.

use std::collections::BTreeSet;

use portcullis_policy::resource::{BuiltInRole, Name, Right, Uid};
use portcullis_seal::Fingerprint;
use serde::{Deserialize, Serialize};

use super::rights::{Rights, Scope, bound_roles};
use crate::store::{Object, State};

/// The kind of the objects that hold an administrator's token; their name is the token's.
pub const ADMIN_TOKEN: &str = "AdminToken";

/// The body of an `AdminToken` object.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, rename_all = "camelCase")]
pub struct AdminToken {
    /// Of the secret; see [`portcullis_seal::token::hash`].
    pub hash: Fingerprint,
    /// When it was made, milliseconds since the Unix epoch.
    pub created_unix_ms: u64,
    /// What it may do. The token of the first start was stored without, and is an administrator's.
    #[serde(default = "first")]
    pub roles: BTreeSet<Name>,
    /// The person behind it; without one the token stands for itself.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub person: Option<String>,
    /// When it ends, milliseconds since the Unix epoch; without it never.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub expires_unix_ms: Option<u64>,
    /// Whether it was revoked.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub revoked: bool,
}

fn first() -> BTreeSet<Name> {
    BuiltInRole::Admin.as_str().parse().into_iter().collect()
}

impl AdminToken {
    /// Reads it from its object; none for what this version does not write, which admits nobody.
    #[must_use]
    pub fn from_object(object: &Object) -> Option<Self> {
        Self::deserialize(&object.body).ok()
    }

    /// Whether it admits at this time.
    #[must_use]
    pub fn is_live(&self, now_unix_ms: u64) -> bool {
        !self.revoked && self.expires_unix_ms.is_none_or(|end| now_unix_ms < end)
    }
}

/// Who asks, and what they may do at the moment of asking.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Identity {
    /// The token's name.
    pub token: String,
    /// The token's uid: a name that comes back is another token.
    pub uid: Uid,
    /// Who is behind it: what `--for` named, or the token's own name. Four eyes are those of two persons.
    pub person: String,
    /// The names of the roles, of the token and of bindings.
    pub roles: BTreeSet<String>,
    /// What the roles allow.
    pub rights: Rights,
    /// When the token ends, milliseconds since the Unix epoch.
    pub expires_unix_ms: Option<u64>,
}

impl Identity {
    /// The identity of a token's object; none where it admits nobody now.
    #[must_use]
    pub fn of(state: &State, object: &Object, now_unix_ms: u64) -> Option<Self> {
        let token = AdminToken::from_object(object).filter(|token| token.is_live(now_unix_ms))?;
        let name = object.name.as_ref().to_owned();
        let person = token.person.unwrap_or_else(|| name.clone());
        let mut roles: BTreeSet<String> = token.roles.iter().map(|role| role.as_str().to_owned()).collect();
        roles.extend(bound_roles(state, &name, &person));
        let rights = Rights::of_roles(state, roles.iter().map(String::as_str));
        Some(Self {
            token: name,
            uid: object.uid,
            person,
            roles,
            rights,
            expires_unix_ms: token.expires_unix_ms,
        })
    }

    /// The identity that an author of the history has now; none when its token ended or was replaced.
    #[must_use]
    pub fn of_author(state: &State, author: &str, now_unix_ms: u64) -> Option<Self> {
        let token = author.rsplit_once('/').map_or(author, |(_, token)| token);
        let object = state.get(ADMIN_TOKEN, token)?;
        Self::of(state, object, now_unix_ms).filter(|identity| identity.author() == author)
    }

    /// The same token as it is in another state: what it may do can have changed, and it can have ended.
    #[must_use]
    pub fn again(&self, state: &State, now_unix_ms: u64) -> Option<Self> {
        let object = state.get(ADMIN_TOKEN, &self.token).filter(|object| object.uid == self.uid)?;
        Self::of(state, object, now_unix_ms)
    }

    /// As history names it: the token, with the person before it where there is another one.
    #[must_use]
    pub fn author(&self) -> String {
        if self.person == self.token { self.token.clone() } else { format!("{}/{}", self.person, self.token) }
    }

    /// Whether one of these rights is there, maybe limited. No rights at all ask for nothing.
    #[must_use]
    pub fn has_one_of(&self, rights: &[Right]) -> bool {
        rights.is_empty() || rights.iter().any(|right| self.rights.has(*right))
    }

    /// Refuses, in a sentence, what the rights do not allow for this.
    ///
    /// # Errors
    /// The sentence.
    pub fn must_have(&self, right: Right, scope: &Scope, what: &str) -> Result<(), String> {
        if self.rights.allows(right, scope) {
            return Ok(());
        }
        let within = if self.rights.has(right) { ", which your roles limit to other resources" } else { "" };
        Err(self.denied(&[right], &format!("{what}{within}")))
    }

    /// What somebody is told who lacks a right: which, and who can give it.
    #[must_use]
    pub fn denied(&self, rights: &[Right], what: &str) -> String {
        let names: Vec<&str> = rights.iter().map(|right| right.as_str()).collect();
        let giver = if rights == [Right::PayloadsRead] { Right::PayloadsGrant } else { Right::AccessWrite };
        format!(
            "{} may not do this: it needs the right {} ({what}); who has {giver}, such as an admin, can give it with a \
             RoleBinding or a token of another role",
            self.author(),
            names.join(" or "),
        )
    }
}

/// The person of an author: what stands before the slash.
#[must_use]
pub(crate) fn person_of(author: &str) -> &str {
    author.split_once('/').map_or(author, |(person, _)| person)
}
