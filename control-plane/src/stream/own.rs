//! Plane tokens of this process alone: for a data plane that runs beside the control plane. They are in no store and no
//! history, and end with the process.

use std::collections::BTreeMap;
use std::sync::{Mutex, MutexGuard, PoisonError};

use portcullis_policy::resource::Name;
use portcullis_seal::token::{self, Token};
use portcullis_seal::{Fingerprint, PlaneToken, PublicKey};

use super::tokens::{Admission, TokenError, TokenScope};

/// What the ids of these tokens begin with; those of the store begin otherwise.
const ID: &str = "own-";
/// How many planes may have one: they are made by the process itself, one for each plane that it runs.
const MAX_TOKENS: usize = 64;

/// One token for each plane of this process.
#[derive(Debug, Default)]
pub(super) struct OwnTokens(Mutex<BTreeMap<Name, Fingerprint>>);

impl OwnTokens {
    fn tokens(&self) -> MutexGuard<'_, BTreeMap<Name, Fingerprint>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Makes the token of a plane; the one that it had before ends.
    pub(super) fn make(&self, plane: &Name, public_key: PublicKey) -> Result<String, TokenError> {
        let secret = Token::generate(token::PLANE).map_err(|_| TokenError::NoRandomness)?;
        let mut tokens = self.tokens();
        if !tokens.contains_key(plane) && tokens.len() >= MAX_TOKENS {
            return Err(TokenError::TooMany);
        }
        tokens.insert(plane.clone(), secret.hash);
        Ok(PlaneToken { secret_text: secret.text.as_str().to_owned(), public_key }.to_text())
    }

    /// Whom a token of this hash admits.
    pub(super) fn admission(&self, hash: &Fingerprint) -> Option<Admission> {
        let tokens = self.tokens();
        let (name, hash) = tokens.iter().find(|(_, known)| *known == hash)?;
        let scope = TokenScope { plane_name: Some(name.clone()), labels: BTreeMap::new() };
        Some(Admission { token: id(hash), scope })
    }

    /// Whether this was one of these tokens and is none any more.
    pub(super) fn is_over(&self, token: &str) -> bool {
        token.starts_with(ID) && !self.is_valid(token)
    }

    pub(super) fn is_valid(&self, token: &str) -> bool {
        token.starts_with(ID) && self.tokens().values().any(|hash| id(hash) == token)
    }
}

/// A hash of a hash would say no more: the token has 256 random bits.
fn id(hash: &Fingerprint) -> String {
    let hex: String = hash.to_hex().chars().take(16).collect();
    format!("{ID}{hex}")
}
