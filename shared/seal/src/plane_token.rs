//! The text with which a data plane is admitted: a secret, and the public key of the snapshots that it may take.
//!
//! `pcp_… "." base64url(32 bytes of an Ed25519 public key)`. The secret proves the plane to the control plane; the key proves
//! snapshots to the plane, so that whoever hands over the token pins both in one step. Both planes need the form, and they
//! never import each other, which is why it lives here. Only the secret travels to the control plane.

use std::fmt;
use std::str::FromStr;

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;

use crate::signature::PublicKey;

/// The prefix of the secret.
pub const PLANE_TOKEN_PREFIX: &str = "pcp_";

/// The longest text that is looked at.
const MAX_TEXT: usize = 512;

/// A plane token: what `planes token create` prints. `Debug` shows the key's id and never the secret.
#[derive(Clone, PartialEq, Eq)]
pub struct PlaneToken {
    /// `pcp_…`: what the plane presents as `authorization: Bearer …`.
    pub secret_text: String,
    /// The key that signs the snapshots this plane takes.
    pub public_key: PublicKey,
}

impl PlaneToken {
    /// The whole text. It is a secret.
    #[must_use]
    pub fn to_text(&self) -> String {
        format!("{}.{}", self.secret_text, URL_SAFE_NO_PAD.encode(self.public_key.as_bytes()))
    }
}

impl fmt::Debug for PlaneToken {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("PlaneToken").field("public_key", &self.public_key).finish_non_exhaustive()
    }
}

/// The text is no plane token. Says nothing of the text, which may be somebody's secret.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum BadPlaneToken {
    /// It does not begin with the prefix, or holds what no token holds.
    #[error("no plane token: it begins with \"pcp_\" and holds letters, digits, '-', '_' and one '.'")]
    Form,
    /// The secret came without the key.
    #[error("the plane token is cut: the public key after the '.' is missing or damaged")]
    PublicKey,
}

impl FromStr for PlaneToken {
    type Err = BadPlaneToken;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let plain = |byte: u8| byte.is_ascii_alphanumeric() || matches!(byte, b'-' | b'_');
        if text.len() > MAX_TEXT || !text.bytes().all(|byte| plain(byte) || byte == b'.') {
            return Err(BadPlaneToken::Form);
        }
        let (secret, key) = text.split_once('.').unwrap_or((text, ""));
        if secret.strip_prefix(PLANE_TOKEN_PREFIX).is_none_or(str::is_empty) {
            return Err(BadPlaneToken::Form);
        }
        let key = URL_SAFE_NO_PAD.decode(key).map_err(|_| BadPlaneToken::PublicKey)?;
        let public_key = PublicKey::from_bytes(&key).map_err(|_| BadPlaneToken::PublicKey)?;
        Ok(Self { secret_text: secret.to_owned(), public_key })
    }
}

#[cfg(test)]
mod tests;
