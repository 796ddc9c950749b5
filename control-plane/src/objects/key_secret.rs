//! The secret of a virtual key: made here, told once, and kept nowhere. The store has its hash.

use portcullis_policy::resource::{Name, Uid};
use portcullis_seal::{Fingerprint, RandomError, token};

/// The prefix of a virtual key's secret.
pub const KEY_PREFIX: &str = "pcl_";

/// A key that came into being, or a new secret of one. `Debug` does not show the secret.
#[derive(Clone)]
pub struct NewKey {
    /// The key's name.
    pub name: String,
    /// The key's uid.
    pub uid: Uid,
    /// `pcl_…`: shown once, kept nowhere.
    pub secret: String,
}

impl std::fmt::Debug for NewKey {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("NewKey").field("name", &self.name).field("uid", &self.uid).finish_non_exhaustive()
    }
}

impl NewKey {
    /// Makes a secret for a key: what is told, and the hash that is kept.
    ///
    /// # Errors
    /// When the operating system gives no randomness.
    pub fn generate(name: &Name, uid: Uid) -> Result<(Self, Fingerprint), RandomError> {
        let made = token::Token::generate(KEY_PREFIX)?;
        let key = Self { name: name.as_str().to_owned(), uid, secret: made.text.to_string() };
        Ok((key, made.hash))
    }
}
