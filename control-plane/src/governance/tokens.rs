//! Administrators' tokens: made, listed, revoked.

use std::collections::BTreeSet;
use std::sync::Arc;

use portcullis_policy::check::governance::bad_person;
use portcullis_policy::resource::{BuiltInRole, Kind, Name, Right, Uid};
use portcullis_seal::token::{self, Token};

use super::access::{AccessError, may_grant_roles, still_has_an_admin};
use super::identity::{ADMIN_TOKEN, AdminToken, Identity};
use super::rights::{Scope, bound_roles};
use crate::clock::Clock;
use crate::store::{Object, Op, State, Store, TransactError, transact};

/// How many tokens there may be, ended ones too; at the bound the ended one that is oldest is forgotten.
pub const MAX_ADMIN_TOKENS: usize = 1_000;
/// How many roles one token may have.
const MAX_ROLES: usize = 64;
/// The longest life of a token that ends, in seconds: ten years.
const MAX_LIFE_SECONDS: u64 = 10 * 365 * 86_400;

/// What a new token is to be.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct TokenRequest {
    /// Its name, which no living token may have.
    pub name: String,
    /// Built-in roles, or those of `Role` resources: at least one.
    pub roles: Vec<String>,
    /// How long it lives, in seconds; for ever when absent.
    pub lives_seconds: Option<u64>,
    /// The person behind it; the token stands for itself when absent.
    pub person: Option<String>,
}

/// A token that came into being. `Debug` does not show the text.
#[derive(Clone)]
pub struct NewAdminToken {
    /// What is kept of it.
    pub info: AdminTokenInfo,
    /// `pca_…`: shown once, kept nowhere.
    pub text: String,
}

impl std::fmt::Debug for NewAdminToken {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("NewAdminToken").field("info", &self.info).finish_non_exhaustive()
    }
}

/// A token without its secret.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct AdminTokenInfo {
    /// Its name.
    pub name: String,
    /// What it says.
    pub token: AdminToken,
    /// Roles that bindings give it beside its own.
    pub bound_roles: Vec<String>,
    /// Whether it admits now.
    pub live: bool,
}

/// Why nothing was done.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum TokensError {
    /// The request makes no sense.
    #[error("{1}")]
    Invalid(&'static str, String),
    /// There is no such token.
    #[error("there is no admin token {0:?}")]
    NotFound(String),
    /// A living token has this name.
    #[error("there is an admin token {0} already: revoke it first, or choose another name")]
    Exists(String),
    /// Rights are missing, or nobody would be left.
    #[error(transparent)]
    Access(#[from] AccessError),
    /// There are too many.
    #[error("there are {MAX_ADMIN_TOKENS} admin tokens; revoke some first")]
    TooMany,
    /// The operating system gave no randomness.
    #[error("the operating system gave no randomness")]
    NoRandomness,
    /// The store's fault; nothing was changed, a retry may help.
    #[error("the store is unavailable: {0}")]
    Unavailable(String),
}

/// The tokens of one store. Cheap to clone.
#[derive(Clone)]
pub struct AdminTokens {
    store: Arc<dyn Store>,
    clock: Clock,
}

impl std::fmt::Debug for AdminTokens {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("AdminTokens").finish_non_exhaustive()
    }
}

impl AdminTokens {
    /// The tokens of this store.
    #[must_use]
    pub fn new(store: Arc<dyn Store>, clock: Clock) -> Self {
        Self { store, clock }
    }

    /// Every token, living and ended, by name.
    #[must_use]
    pub fn list(&self) -> Vec<AdminTokenInfo> {
        let (state, now) = (self.store.state(), self.clock.now_unix_ms());
        state.list(ADMIN_TOKEN).filter_map(|object| info(&state, object, now)).collect()
    }

    /// Makes a token that may do no more than who makes it.
    ///
    /// # Errors
    /// See [`TokensError`].
    pub async fn create(&self, by: &Identity, request: &TokenRequest) -> Result<NewAdminToken, TokensError> {
        let name: Name = request.name.parse().map_err(|error: portcullis_policy::resource::BadName| {
            TokensError::Invalid("NAME", error.to_string())
        })?;
        if let Some(wrong) = bad_person(name.as_str()) {
            return Err(TokensError::Invalid("NAME", wrong));
        }
        if let Some(wrong) = request.person.as_deref().and_then(bad_person) {
            return Err(TokensError::Invalid("--for", wrong));
        }
        let roles = roles(&request.roles)?;
        if request.lives_seconds.is_some_and(|seconds| !(60..=MAX_LIFE_SECONDS).contains(&seconds)) {
            return Err(TokensError::Invalid(
                "--expires",
                "a token lives 1m to 3650d, or for ever".to_owned(),
            ));
        }
        let now = self.clock.now_unix_ms();
        let made = Token::generate(token::ADMIN).map_err(|_| TokensError::NoRandomness)?;
        let stored = AdminToken {
            hash: made.hash,
            created_unix_ms: now,
            roles,
            person: request.person.clone(),
            expires_unix_ms: request
                .lives_seconds
                .map(|seconds| now.saturating_add(seconds.saturating_mul(1000))),
            revoked: false,
        };
        let body =
            serde_json::to_value(&stored).map_err(|error| TokensError::Unavailable(error.to_string()))?;
        let message = format!("create admin token {name}");
        let uid = Uid(uuid::Uuid::new_v4());
        let (state, ()) = transact(&*self.store, &by.author(), &message, now, |state| {
            let by = still(by, state, now)?;
            check(state, &by, &name, &stored)?;
            if state.get(ADMIN_TOKEN, name.as_str()).is_some_and(|object| is_live(object, now)) {
                return Err(TokensError::Exists(name.as_str().to_owned()));
            }
            let mut ops = make_room(state, now)?;
            ops.push(Op::Put {
                kind: ADMIN_TOKEN.into(),
                name: name.as_str().into(),
                uid,
                body: body.clone(),
            });
            Ok((ops, ()))
        })
        .await
        .map_err(store_error)?;
        let object = state.get(ADMIN_TOKEN, name.as_str());
        let info = object
            .and_then(|object| info(&state, object, now))
            .ok_or_else(|| TokensError::Unavailable("the token is gone again".to_owned()))?;
        Ok(NewAdminToken { info, text: made.text.to_string() })
    }

    /// Ends a token at once. Ending an ended one changes nothing.
    ///
    /// # Errors
    /// See [`TokensError`]; the last one with the role `admin` stays.
    pub async fn revoke(&self, by: &Identity, name: &str) -> Result<(), TokensError> {
        let now = self.clock.now_unix_ms();
        let message = format!("revoke admin token {name}");
        transact(&*self.store, &by.author(), &message, now, |state| {
            let by = still(by, state, now)?;
            let missing = || TokensError::NotFound(name.chars().take(80).collect());
            let object = state.get(ADMIN_TOKEN, name).ok_or_else(missing)?;
            let mut token = AdminToken::from_object(object).ok_or_else(missing)?;
            // Who leaves may always take their own token along.
            if by.token != name {
                by.must_have(Right::AccessWrite, &Scope::default(), "revoke the token of somebody else")
                    .map_err(AccessError::Denied)?;
            }
            if token.revoked {
                return Ok((Vec::new(), ()));
            }
            still_has_an_admin(state, &[], Some(name), now)?;
            token.revoked = true;
            let body =
                serde_json::to_value(&token).map_err(|error| TokensError::Unavailable(error.to_string()))?;
            let put =
                Op::Put { kind: ADMIN_TOKEN.into(), name: Arc::clone(&object.name), uid: object.uid, body };
            Ok((vec![put], ()))
        })
        .await
        .map_err(store_error)?;
        Ok(())
    }
}

fn store_error(error: TransactError<TokensError>) -> TokensError {
    match error {
        TransactError::Refused(error) => error,
        other => TokensError::Unavailable(other.to_string()),
    }
}

/// Who asks, as they are in the state that is to change.
fn still(by: &Identity, state: &State, now: u64) -> Result<Identity, TokensError> {
    by.again(state, now)
        .ok_or_else(|| AccessError::Denied(format!("the token of {} ended meanwhile", by.author())).into())
}

fn roles(names: &[String]) -> Result<BTreeSet<Name>, TokensError> {
    if names.is_empty() || names.len() > MAX_ROLES {
        return Err(TokensError::Invalid("--role", format!("a token has 1 to {MAX_ROLES} roles")));
    }
    let read = |name: &String| {
        name.parse::<Name>().map_err(|error| TokensError::Invalid("--role", error.to_string()))
    };
    names.iter().map(read).collect()
}

/// Whether who asks may make this token: its roles are there, and give nothing that they do not have.
fn check(state: &State, by: &Identity, name: &Name, token: &AdminToken) -> Result<(), TokensError> {
    by.must_have(Right::AccessWrite, &Scope::default(), "make an admin token")
        .map_err(AccessError::Denied)?;
    for role in &token.roles {
        if BuiltInRole::named(role.as_str()).is_none()
            && state.get(Kind::Role.as_str(), role.as_str()).is_none()
        {
            let built_in: Vec<&str> = BuiltInRole::ALL.iter().map(|role| role.as_str()).collect();
            return Err(TokensError::Invalid(
                "--role",
                format!(
                    "there is no role {role}: built in are {}; others are Role resources",
                    built_in.join(", ")
                ),
            ));
        }
    }
    let person = token.person.as_deref().unwrap_or(name.as_str());
    let bound = bound_roles(state, name.as_str(), person);
    let all = token.roles.iter().map(Name::as_str).chain(bound.iter().map(String::as_str));
    let to_itself = person == by.person || name.as_str() == by.token;
    Ok(may_grant_roles(state, by, all, to_itself, &format!("admin token {name}"))?)
}

/// Forgets the ended token that is oldest where there is no room for one more.
fn make_room(state: &State, now: u64) -> Result<Vec<Op>, TokensError> {
    if state.count(ADMIN_TOKEN) < MAX_ADMIN_TOKENS {
        return Ok(Vec::new());
    }
    let ended = state.list(ADMIN_TOKEN).filter(|object| !is_live(object, now));
    let oldest = ended.min_by_key(|object| object.version).ok_or(TokensError::TooMany)?;
    Ok(vec![Op::Delete { kind: ADMIN_TOKEN.into(), name: Arc::clone(&oldest.name) }])
}

fn is_live(object: &Object, now: u64) -> bool {
    AdminToken::from_object(object).is_some_and(|token| token.is_live(now))
}

fn info(state: &State, object: &Object, now: u64) -> Option<AdminTokenInfo> {
    let token = AdminToken::from_object(object)?;
    let name = object.name.as_ref().to_owned();
    let bound = bound_roles(state, &name, token.person.as_deref().unwrap_or(&name));
    Some(AdminTokenInfo { bound_roles: bound, live: token.is_live(now), name, token })
}
