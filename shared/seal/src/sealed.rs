//! Sealed tokens: bytes that only holders of the key can read or make, bound to a purpose and to whom they were given.
//!
//! A token is `version || key id || salt || ciphertext || tag`, base64url without padding. Each token has its own
//! AES-256-GCM key, derived by HKDF-SHA256 from the sealing key and a random salt of 16 bytes, so that nonces cannot
//! repeat however many tokens are made. Purpose and binding are authenticated, not stored: a token of one purpose or one
//! principal does not open as another's.

use std::fmt;

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use ring::aead::{AES_256_GCM, Aad, LessSafeKey, Nonce, UnboundKey};
use ring::hkdf::{HKDF_SHA256, Prk, Salt};

use crate::{RandomError, random};

const VERSION: u8 = 1;
const SALT: usize = 16;
const HEADER: usize = 1 + 4 + SALT;
const TAG: usize = 16;

/// Which key sealed a token.
pub type SealKeyId = [u8; 4];

/// One sealing key, its extract step done once.
pub struct SealKey {
    id: SealKeyId,
    prk: Prk,
}

impl fmt::Debug for SealKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("SealKey").field("id", &self.id).finish_non_exhaustive()
    }
}

impl SealKey {
    /// From its id and 32 secret bytes.
    #[must_use]
    pub fn new(id: SealKeyId, secret: &[u8; 32]) -> Self {
        Self { id, prk: Salt::new(HKDF_SHA256, b"portcullis sealed token v1").extract(secret) }
    }

    fn token_key(&self, salt: &[u8]) -> Option<LessSafeKey> {
        let info = [salt];
        let okm = self.prk.expand(&info, &AES_256_GCM).ok()?;
        Some(LessSafeKey::new(UnboundKey::from(okm)))
    }
}

/// A token could not be opened. Says nothing about why, since the one who sent it may be guessing.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("not a token of ours, or not for this purpose or principal")]
pub struct OpenError;

/// Seals with the newest key, opens with all.
#[derive(Debug, Default)]
pub struct Sealer {
    keys: Vec<SealKey>,
}

impl Sealer {
    /// The first key seals; every key opens.
    #[must_use]
    pub fn new(keys: Vec<SealKey>) -> Self {
        Self { keys }
    }

    /// Whether there is a key to seal with.
    #[must_use]
    pub fn is_ready(&self) -> bool {
        !self.keys.is_empty()
    }

    /// Seals bytes for a purpose and a binding (the principal, usually).
    ///
    /// # Errors
    /// When there is no key or no randomness.
    pub fn seal(&self, purpose: &str, binding: &[u8], plain: &[u8]) -> Result<String, RandomError> {
        let key = self.keys.first().ok_or(RandomError)?;
        let salt: [u8; SALT] = random()?;
        let token_key = key.token_key(&salt).ok_or(RandomError)?;
        let mut token = Vec::with_capacity(HEADER + plain.len() + TAG);
        token.push(VERSION);
        token.extend_from_slice(&key.id);
        token.extend_from_slice(&salt);
        let mut sealed = plain.to_vec();
        token_key
            .seal_in_place_append_tag(
                Nonce::assume_unique_for_key([0; 12]),
                Aad::from(associated(purpose, binding)),
                &mut sealed,
            )
            .map_err(|_| RandomError)?;
        token.extend_from_slice(&sealed);
        Ok(URL_SAFE_NO_PAD.encode(token))
    }

    /// Opens a token that was sealed for this purpose and binding.
    ///
    /// # Errors
    /// [`OpenError`] for everything else: forged, cut, of another purpose or principal, of a key that is gone.
    pub fn open(&self, purpose: &str, binding: &[u8], token: &str) -> Result<Vec<u8>, OpenError> {
        let token = URL_SAFE_NO_PAD.decode(token).map_err(|_| OpenError)?;
        let (header, sealed) = token.split_at_checked(HEADER).ok_or(OpenError)?;
        let (&version, header) = header.split_first().ok_or(OpenError)?;
        let (id, salt) = header.split_at_checked(4).ok_or(OpenError)?;
        if version != VERSION {
            return Err(OpenError);
        }
        let key = self.keys.iter().find(|key| key.id == id).ok_or(OpenError)?;
        let token_key = key.token_key(salt).ok_or(OpenError)?;
        let mut plain = sealed.to_vec();
        let length = token_key
            .open_in_place(
                Nonce::assume_unique_for_key([0; 12]),
                Aad::from(associated(purpose, binding)),
                &mut plain,
            )
            .map_err(|_| OpenError)?
            .len();
        plain.truncate(length);
        Ok(plain)
    }
}

/// Length of the purpose, purpose, binding: no two pairs share a form.
fn associated(purpose: &str, binding: &[u8]) -> Vec<u8> {
    let mut data = Vec::with_capacity(8 + purpose.len() + binding.len());
    data.extend_from_slice(&(purpose.len() as u64).to_be_bytes());
    data.extend_from_slice(purpose.as_bytes());
    data.extend_from_slice(binding);
    data
}

#[cfg(test)]
mod tests;
