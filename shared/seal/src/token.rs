//! Opaque credentials: 256 random bits with a checksum, of which only a hash is ever kept.
//!
//! Text: a prefix that says what it opens, 43 characters of base64url for 32 random bytes, and 6 more for a checksum of 32 bits.
//! The checksum lets a mistyped or cut credential be refused without a look-up, and lets scanners recognise leaked ones; it
//! proves nothing. A hash without salt and stretching is enough, since 256 random bits cannot be guessed.

use std::fmt;

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use zeroize::Zeroizing;

use crate::{Fingerprint, RandomError, random, sha256};

/// The prefix of virtual keys.
pub const VIRTUAL_KEY: &str = "pcl_";
/// The prefix of administrators' tokens.
pub const ADMIN: &str = "pca_";
/// The prefix of data planes' tokens.
pub const PLANE: &str = "pcp_";

/// The domain of the hash that is kept.
const HASH_DOMAIN: &[u8] = b"portcullis token v1";
/// 32 bytes in base64url without padding.
const BODY: usize = 43;
/// 4 bytes in base64url without padding.
const CHECKSUM: usize = 6;
/// No prefix is longer.
const MAX_PREFIX: usize = 16;
/// Room for the longest hashed text: domain, prefix, text and two separators.
const MAX_HASHED: usize = HASH_DOMAIN.len() + 1 + MAX_PREFIX + 1 + MAX_PREFIX + BODY + CHECKSUM;

/// Makes tokens.
#[derive(Debug, Clone, Copy)]
pub struct Token;

/// A token that came into being. The text is shown once and kept nowhere.
pub struct NewToken {
    /// The credential itself; wiped from memory when dropped.
    pub text: Zeroizing<String>,
    /// What is kept of it; see [`hash`].
    pub hash: Fingerprint,
}

impl fmt::Debug for NewToken {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("NewToken").field("hash", &self.hash).finish_non_exhaustive()
    }
}

impl Token {
    /// Makes a token with a prefix of at most 16 visible ASCII characters, such as [`VIRTUAL_KEY`].
    ///
    /// # Errors
    /// When the operating system gives no randomness.
    pub fn generate(prefix: &str) -> Result<NewToken, RandomError> {
        let secret = Zeroizing::new(random::<32>()?);
        let mut text = Zeroizing::new(String::with_capacity(prefix.len() + BODY + CHECKSUM));
        text.push_str(prefix);
        URL_SAFE_NO_PAD.encode_string(secret.as_slice(), &mut text);
        let sum = checksum(text.as_bytes());
        text.push_str(sum.as_str());
        let hash = digest(prefix, &text);
        Ok(NewToken { text, hash })
    }
}

/// The hash of a token, by which it is looked up: SHA-256 of `portcullis token v1 NUL prefix NUL text`. `None` when the text has
/// another prefix, another form or a wrong checksum. The answer depends on nothing secret, so it may end early.
#[must_use]
pub fn hash(prefix: &str, text: &str) -> Option<Fingerprint> {
    if prefix.len() > MAX_PREFIX || text.len() != prefix.len() + BODY + CHECKSUM {
        return None;
    }
    let rest = text.strip_prefix(prefix)?;
    let (body, sum) = rest.split_at_checked(BODY)?;
    let mut secret = Zeroizing::new([0; 33]);
    // Refuses other alphabets and non-zero trailing bits: one secret has one text.
    let length = URL_SAFE_NO_PAD.decode_slice(body, secret.as_mut_slice()).ok()?;
    let (named, _) = text.split_at_checked(prefix.len() + BODY)?;
    (length == 32 && checksum(named.as_bytes()).as_str() == sum).then(|| digest(prefix, text))
}

/// Six characters without an allocation.
struct Checksum([u8; CHECKSUM]);

impl Checksum {
    fn as_str(&self) -> &str {
        // base64url is ASCII; the other arm cannot be reached.
        std::str::from_utf8(&self.0).unwrap_or_default()
    }
}

/// The first 32 bits of the SHA-256 of prefix and body.
fn checksum(named: &[u8]) -> Checksum {
    let [a, b, c, d, ..] = sha256(named);
    let mut out = [0; CHECKSUM];
    // Four bytes always fill six characters.
    let _ = URL_SAFE_NO_PAD.encode_slice([a, b, c, d], &mut out);
    Checksum(out)
}

fn digest(prefix: &str, text: &str) -> Fingerprint {
    let mut bytes = Zeroizing::new(Vec::with_capacity(MAX_HASHED));
    bytes.extend_from_slice(HASH_DOMAIN);
    bytes.push(0);
    bytes.extend_from_slice(prefix.as_bytes());
    bytes.push(0);
    bytes.extend_from_slice(text.as_bytes());
    Fingerprint::from_bytes(sha256(&bytes))
}

#[cfg(test)]
mod tests;
