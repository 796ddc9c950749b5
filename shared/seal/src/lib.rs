//! What both planes use to prove and to hide: canonical JSON, fingerprints, signatures, sealed tokens.
//!
//! No IO, no clock, no global state: randomness is the only thing taken from the machine, through `ring`.
//! Nothing here knows what is sealed or signed.
#![forbid(unsafe_code)]

mod canonical;
mod fingerprint;
mod plane_token;
mod sealed;
mod signature;
pub mod token;

pub use canonical::{CanonicalError, canonical_json, to_canonical_json};
pub use fingerprint::{Fingerprint, ParseFingerprintError, fingerprint_json, sha256};
pub use plane_token::{BadPlaneToken, PLANE_TOKEN_PREFIX, PlaneToken};
pub use sealed::{OpenError, SealKey, SealKeyId, Sealer};
pub use signature::{KeyId, PublicKey, SignatureError, SigningKey};

/// Fills an array with bytes from the operating system's generator.
///
/// # Errors
/// When the operating system gives none; the caller must not go on.
pub fn random<const N: usize>() -> Result<[u8; N], RandomError> {
    use ring::rand::SecureRandom as _;
    let mut bytes = [0; N];
    ring::rand::SystemRandom::new().fill(&mut bytes).map_err(|_| RandomError)?;
    Ok(bytes)
}

/// The operating system gave no randomness.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("the operating system gave no randomness")]
pub struct RandomError;
