//! Plane tokens: what admits a data plane.
//!
//! What `planes token create` prints is [`portcullis_seal::PlaneToken`]: a secret and, after a dot, the public key that signs
//! snapshots, so that the key is pinned by the same act. Only the secret's hash is kept. A token is bound to one plane's name
//! or to any, carries labels that a plane with it has, and ends when it is revoked.

use std::collections::BTreeMap;
use std::sync::Arc;

use portcullis_policy::resource::{Name, Uid};
use portcullis_seal::token::{self, Token};
use portcullis_seal::{Fingerprint, PlaneToken, PublicKey, random};
use serde::{Deserialize, Serialize};

use super::own::OwnTokens;
use crate::clock::Clock;
use crate::refusals::RefusedToken;
use crate::store::{Object, Op, State, Store, TransactError, transact};

/// The kind of the objects in the store that hold plane tokens.
pub const PLANE_TOKEN: &str = "PlaneToken";

/// How many tokens there may be, revoked ones too; at the bound the revoked one that is oldest is forgotten.
pub const MAX_TOKENS: usize = 10_000;
/// How many labels a token or a plane may have.
pub(super) const MAX_LABELS: usize = 64;
/// The longest key or value of a label, in bytes.
pub(super) const MAX_LABEL_BYTES: usize = 256;

/// The body of a `PlaneToken` object.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, rename_all = "camelCase")]
struct StoredToken {
    hash: Fingerprint,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    plane_name: Option<Name>,
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    labels: BTreeMap<String, String>,
    created_unix_ms: u64,
    #[serde(default)]
    revoked: bool,
}

/// Whom a token admits.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct TokenScope {
    /// Only a plane of this name; any when absent.
    pub plane_name: Option<Name>,
    /// Labels that a plane with this token has: at most 64.
    pub labels: BTreeMap<String, String>,
}

/// A token that came into being. `Debug` does not show the text.
#[derive(Clone, PartialEq, Eq)]
pub struct NewPlaneToken {
    /// The token's id.
    pub id: String,
    /// The whole text: shown once, kept nowhere.
    pub text: String,
}

impl std::fmt::Debug for NewPlaneToken {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("NewPlaneToken").field("id", &self.id).finish_non_exhaustive()
    }
}

/// A token without its secret.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct PlaneTokenInfo {
    /// Its id.
    pub id: String,
    /// Whom it admits.
    pub scope: TokenScope,
    /// When it was made, milliseconds since the Unix epoch.
    pub created_unix_ms: u64,
    /// Whether it was revoked.
    pub revoked: bool,
}

/// Why nothing was done.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum TokenError {
    /// The labels are too many or too long.
    #[error("a token has at most {MAX_LABELS} labels of at most {MAX_LABEL_BYTES} bytes, with no empty key")]
    Labels,
    /// There is no such token.
    #[error("there is no plane token {0:?}")]
    NotFound(String),
    /// There are too many.
    #[error("there are {MAX_TOKENS} plane tokens; revoke some first")]
    TooMany,
    /// The operating system gave no randomness.
    #[error("the operating system gave no randomness")]
    NoRandomness,
    /// The store's fault; nothing was changed, a retry may help.
    #[error("the store is unavailable: {0}")]
    Unavailable(String),
}

/// Makes, lists and revokes plane tokens. Cheap to clone.
#[derive(Clone)]
pub struct PlaneTokens {
    store: Arc<dyn Store>,
    clock: Clock,
    public_key: PublicKey,
}

impl std::fmt::Debug for PlaneTokens {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("PlaneTokens").field("public_key", &self.public_key).finish_non_exhaustive()
    }
}

impl PlaneTokens {
    /// The plane tokens of this store; new ones carry this key.
    #[must_use]
    pub fn new(store: Arc<dyn Store>, clock: Clock, public_key: PublicKey) -> Self {
        Self { store, clock, public_key }
    }

    /// Makes a token.
    ///
    /// # Errors
    /// See [`TokenError`].
    pub async fn create(&self, author: &str, scope: TokenScope) -> Result<NewPlaneToken, TokenError> {
        if !labels_fit(&scope.labels) {
            return Err(TokenError::Labels);
        }
        let secret = Token::generate(token::PLANE).map_err(|_| TokenError::NoRandomness)?;
        let bytes: [u8; 8] = random().map_err(|_| TokenError::NoRandomness)?;
        let id = format!("pt-{:016x}", u64::from_be_bytes(bytes));
        let now = self.clock.now_unix_ms();
        let stored = StoredToken {
            hash: secret.hash,
            plane_name: scope.plane_name,
            labels: scope.labels,
            created_unix_ms: now,
            revoked: false,
        };
        let message = format!("create plane token {id}");
        self.transact(author, &message, |state| {
            let mut ops = Vec::new();
            if state.count(PLANE_TOKEN) >= MAX_TOKENS {
                let oldest = all(state)
                    .filter(|(_, token)| token.revoked)
                    .min_by_key(|(_, token)| token.created_unix_ms)
                    .ok_or(TokenError::TooMany)?;
                ops.push(Op::Delete { kind: PLANE_TOKEN.into(), name: Arc::clone(&oldest.0.name) });
            }
            ops.push(put(&id, Uid(uuid::Uuid::new_v4()), &stored)?);
            Ok(ops)
        })
        .await?;
        let text = PlaneToken { secret_text: secret.text.as_str().to_owned(), public_key: self.public_key }
            .to_text();
        Ok(NewPlaneToken { id, text })
    }

    /// All tokens, the newest first.
    #[must_use]
    pub fn list(&self) -> Vec<PlaneTokenInfo> {
        let state = self.store.state();
        let mut tokens: Vec<_> = all(&state)
            .map(|(object, token)| PlaneTokenInfo {
                id: object.name.as_ref().to_owned(),
                scope: TokenScope { plane_name: token.plane_name, labels: token.labels },
                created_unix_ms: token.created_unix_ms,
                revoked: token.revoked,
            })
            .collect();
        tokens.sort_by(|a, b| b.created_unix_ms.cmp(&a.created_unix_ms).then_with(|| a.id.cmp(&b.id)));
        tokens
    }

    /// Ends a token, and with it the streams that were opened with it. Doing it twice changes nothing.
    ///
    /// # Errors
    /// See [`TokenError`].
    pub async fn revoke(&self, author: &str, id: &str) -> Result<(), TokenError> {
        self.transact(author, &format!("revoke plane token {id}"), |state| {
            let missing = || TokenError::NotFound(id.chars().take(80).collect());
            let object = state.get(PLANE_TOKEN, id).ok_or_else(missing)?;
            let mut token = read(object).ok_or_else(missing)?;
            if token.revoked {
                return Ok(Vec::new());
            }
            token.revoked = true;
            Ok(vec![put(id, object.uid, &token)?])
        })
        .await
    }

    async fn transact(
        &self,
        author: &str,
        message: &str,
        mut build: impl FnMut(&State) -> Result<Vec<Op>, TokenError>,
    ) -> Result<(), TokenError> {
        let now = self.clock.now_unix_ms();
        transact(&*self.store, author, message, now, |state| Ok((build(state)?, ())))
            .await
            .map(|_| ())
            .map_err(|error| match error {
                TransactError::Refused(refused) => refused,
                other => TokenError::Unavailable(other.to_string()),
            })
    }
}

/// A plane that presented a valid token.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Admission {
    /// The token's id.
    pub(super) token: String,
    /// Whom it admits.
    pub(super) scope: TokenScope,
}

/// Finds the token of this text: the secret alone, or with the key after it.
pub(super) fn authenticate(
    state: &State,
    own: &OwnTokens,
    presented: &str,
) -> Result<Admission, RefusedToken> {
    let secret = presented.split_once('.').map_or(presented, |(secret, _)| secret);
    let hash = token::hash(token::PLANE, secret).ok_or(RefusedToken::Unknown)?;
    if let Some(admission) = own.admission(&hash) {
        return Ok(admission);
    }
    // What is compared are hashes of 256 random bits: how long a comparison takes tells nothing that helps to find one.
    let (object, found) = all(state).find(|(_, token)| token.hash == hash).ok_or(RefusedToken::Unknown)?;
    if found.revoked {
        return Err(RefusedToken::Revoked);
    }
    let scope = TokenScope { plane_name: found.plane_name, labels: found.labels };
    Ok(Admission { token: object.name.as_ref().to_owned(), scope })
}

/// Whether a token may still be used.
pub(super) fn is_valid(state: &State, own: &OwnTokens, id: &str) -> bool {
    own.is_valid(id)
        || state.get(PLANE_TOKEN, id).and_then(|object| read(object)).is_some_and(|token| !token.revoked)
}

/// Whether labels are within their bounds.
pub(super) fn labels_fit(labels: &BTreeMap<String, String>) -> bool {
    let fits = |text: &str| text.len() <= MAX_LABEL_BYTES && !text.chars().any(char::is_control);
    labels.len() <= MAX_LABELS
        && labels.iter().all(|(key, value)| !key.is_empty() && fits(key) && fits(value))
}

fn all(state: &State) -> impl Iterator<Item = (&Arc<Object>, StoredToken)> {
    state.list(PLANE_TOKEN).filter_map(|object| Some((object, read(object)?)))
}

fn read(object: &Object) -> Option<StoredToken> {
    StoredToken::deserialize(&object.body).ok()
}

fn put(id: &str, uid: Uid, token: &StoredToken) -> Result<Op, TokenError> {
    let body = serde_json::to_value(token).map_err(|error| TokenError::Unavailable(error.to_string()))?;
    Ok(Op::Put { kind: PLANE_TOKEN.into(), name: id.into(), uid, body })
}
