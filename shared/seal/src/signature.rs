//! Ed25519 signatures (RFC 8032) over domain-separated messages.

use std::fmt;

use ring::signature::{ED25519, Ed25519KeyPair, KeyPair as _, UnparsedPublicKey};

use crate::fingerprint::sha256;

/// The first 8 bytes of the SHA-256 of a public key.
#[derive(Clone, Copy, PartialEq, Eq, Hash)]
pub struct KeyId(pub [u8; 8]);

impl fmt::Display for KeyId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.iter().try_for_each(|byte| write!(f, "{byte:02x}"))
    }
}

impl fmt::Debug for KeyId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

/// A key pair that signs.
pub struct SigningKey(Ed25519KeyPair);

impl fmt::Debug for SigningKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("SigningKey").field(&self.public_key().id()).finish()
    }
}

/// What can go wrong with keys and signatures.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum SignatureError {
    /// The bytes are no private key in PKCS#8.
    #[error("not an Ed25519 private key in PKCS#8")]
    BadPrivateKey,
    /// The bytes are no public key.
    #[error("an Ed25519 public key has 32 bytes")]
    BadPublicKey,
    /// The signature is not of this key over this message.
    #[error("the signature does not match")]
    Mismatch,
    /// The operating system gave no randomness.
    #[error("the operating system gave no randomness")]
    NoRandomness,
}

impl SigningKey {
    /// Makes a new key pair; returns it with its PKCS#8 form, which is the secret to keep.
    ///
    /// # Errors
    /// When the operating system gives no randomness.
    pub fn generate() -> Result<(Self, Vec<u8>), SignatureError> {
        let pkcs8 = Ed25519KeyPair::generate_pkcs8(&ring::rand::SystemRandom::new())
            .map_err(|_| SignatureError::NoRandomness)?;
        let key = Self::from_pkcs8(pkcs8.as_ref())?;
        Ok((key, pkcs8.as_ref().to_vec()))
    }

    /// Reads the PKCS#8 form that [`SigningKey::generate`] gave.
    ///
    /// # Errors
    /// When the bytes are something else.
    pub fn from_pkcs8(pkcs8: &[u8]) -> Result<Self, SignatureError> {
        Ed25519KeyPair::from_pkcs8(pkcs8).map(Self).map_err(|_| SignatureError::BadPrivateKey)
    }

    /// The public half.
    #[must_use]
    pub fn public_key(&self) -> PublicKey {
        let mut bytes = [0; 32];
        bytes.copy_from_slice(self.0.public_key().as_ref());
        PublicKey(bytes)
    }

    /// Signs a message of one purpose. A signature for one purpose is none for another.
    #[must_use]
    pub fn sign(&self, purpose: &str, message: &[u8]) -> [u8; 64] {
        let mut signature = [0; 64];
        signature.copy_from_slice(self.0.sign(&framed(purpose, message)).as_ref());
        signature
    }
}

/// A key that verifies.
#[derive(Clone, Copy, PartialEq, Eq, Hash)]
pub struct PublicKey([u8; 32]);

impl fmt::Debug for PublicKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("PublicKey").field(&self.id()).finish()
    }
}

impl PublicKey {
    /// Reads the 32 bytes of a public key.
    ///
    /// # Errors
    /// When there are not 32 bytes.
    pub fn from_bytes(bytes: &[u8]) -> Result<Self, SignatureError> {
        bytes.try_into().map(Self).map_err(|_| SignatureError::BadPublicKey)
    }

    /// The 32 bytes.
    #[must_use]
    pub const fn as_bytes(&self) -> &[u8; 32] {
        &self.0
    }

    /// The key's id.
    #[must_use]
    pub fn id(&self) -> KeyId {
        let [a, b, c, d, e, f, g, h, ..] = sha256(&self.0);
        KeyId([a, b, c, d, e, f, g, h])
    }

    /// Verifies a signature made by [`SigningKey::sign`] for the same purpose.
    ///
    /// # Errors
    /// [`SignatureError::Mismatch`] for anything else.
    pub fn verify(&self, purpose: &str, message: &[u8], signature: &[u8]) -> Result<(), SignatureError> {
        UnparsedPublicKey::new(&ED25519, self.0)
            .verify(&framed(purpose, message), signature)
            .map_err(|_| SignatureError::Mismatch)
    }
}

/// Purpose, a zero byte, message: no purpose holds a zero byte, so no two pairs share a frame.
fn framed(purpose: &str, message: &[u8]) -> Vec<u8> {
    let mut framed = Vec::with_capacity(purpose.len() + 1 + message.len());
    framed.extend(purpose.bytes().filter(|byte| *byte != 0));
    framed.push(0);
    framed.extend_from_slice(message);
    framed
}
