//! The secrets of virtual keys: made here, shown once, known afterwards by their hash alone.

use portcullis_seal::{Fingerprint, RandomError, token};

pub use portcullis_seal::token::NewToken;

/// The hash of a key's secret, by which a snapshot finds the key. See [`token::hash`].
pub type KeyHash = Fingerprint;

/// Makes the secret of a virtual key.
///
/// # Errors
/// When the operating system gives no randomness.
pub fn generate_key() -> Result<NewToken, RandomError> {
    token::Token::generate(token::VIRTUAL_KEY)
}

/// The hash of what a caller presents as its key; `None` when it has not the form of one.
#[must_use]
pub fn key_hash(text: &str) -> Option<KeyHash> {
    token::hash(token::VIRTUAL_KEY, text)
}
