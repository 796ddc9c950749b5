//! The secret part: credentials for upstreams and the keys of sealed tokens. In memory, never shown.

use std::collections::HashMap;
use std::fmt;
use std::sync::Arc;

use arc_swap::ArcSwap;
use portcullis_policy::resource::{BadName, Name};
use portcullis_proto::config::v1 as proto;
use portcullis_seal::{SealKey, SealKeyId, Sealer};
use tokio::sync::watch;

/// One secret value. Its `Debug` shows nothing of it.
#[derive(Clone, PartialEq, Eq)]
pub struct SecretValue(Arc<[u8]>);

impl SecretValue {
    /// Takes the bytes.
    #[must_use]
    pub fn new(bytes: impl Into<Arc<[u8]>>) -> Self {
        Self(bytes.into())
    }

    /// The bytes: only for the request that presents them.
    #[must_use]
    pub fn expose(&self) -> &[u8] {
        &self.0
    }

    /// The text, if the bytes are UTF-8.
    #[must_use]
    pub fn expose_str(&self) -> Option<&str> {
        std::str::from_utf8(&self.0).ok()
    }
}

impl fmt::Debug for SecretValue {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("SecretValue(…)")
    }
}

/// One generation of the secret part.
#[derive(Debug, Default)]
pub struct Secrets {
    /// Grows with each change; 0 means that none arrived yet.
    pub generation: u64,
    /// Seals and opens tokens of this installation. Without keys until a generation arrived.
    pub sealer: Sealer,
    /// Values of `Secret` references, by name.
    pub values: HashMap<Name, SecretValue>,
}

impl Secrets {
    /// The value of a secret; none when it was never set.
    #[must_use]
    pub fn value(&self, name: &Name) -> Option<&SecretValue> {
        self.values.get(name)
    }

    /// Whether a part holds values of the very names that are held here. Of one generation, the same names have the same values.
    pub(super) fn has_names_of(&self, part: &proto::SecretPart) -> bool {
        self.values.len() == part.values.len()
            && self.values.keys().all(|name| part.values.contains_key(name.as_str()))
    }
}

/// The secret part in force. Clones share it.
#[derive(Clone)]
pub struct SecretsHandle(Arc<Inner>);

struct Inner {
    current: ArcSwap<Secrets>,
    generation: watch::Sender<u64>,
}

impl fmt::Debug for SecretsHandle {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("SecretsHandle").field(&*self.0.generation.borrow()).finish()
    }
}

impl Default for SecretsHandle {
    fn default() -> Self {
        Self::new(Secrets::default())
    }
}

impl SecretsHandle {
    /// With these secrets in force.
    #[must_use]
    pub fn new(secrets: Secrets) -> Self {
        let generation = watch::Sender::new(secrets.generation);
        Self(Arc::new(Inner { current: ArcSwap::from_pointee(secrets), generation }))
    }

    /// The secrets in force.
    #[must_use]
    pub fn load(&self) -> Arc<Secrets> {
        self.0.current.load_full()
    }

    /// Tells each new generation.
    #[must_use]
    pub fn subscribe(&self) -> watch::Receiver<u64> {
        self.0.generation.subscribe()
    }

    /// Puts other secrets in force.
    pub fn swap(&self, secrets: Secrets) {
        let generation = secrets.generation;
        self.0.current.store(Arc::new(secrets));
        self.0.generation.send_replace(generation);
    }
}

/// The message holds no usable secret part. Says nothing of any value.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub(super) enum BadSecrets {
    #[error("a sealing key has the wrong length")]
    SealingKey,
    #[error("there is no sealing key")]
    NoSealingKey,
    #[error("a secret has no valid name: {0}")]
    Name(BadName),
}

impl Secrets {
    pub(super) fn from_proto(part: proto::SecretPart) -> Result<Self, BadSecrets> {
        let key = |key: &proto::SealingKey| {
            let id: SealKeyId = key.id.as_ref().try_into().ok()?;
            let secret: &[u8; 32] = key.key.as_ref().try_into().ok()?;
            Some(SealKey::new(id, secret))
        };
        let keys: Option<Vec<SealKey>> = part.sealing_keys.iter().map(key).collect();
        let keys = keys.ok_or(BadSecrets::SealingKey)?;
        if keys.is_empty() {
            return Err(BadSecrets::NoSealingKey);
        }
        let values = part
            .values
            .into_iter()
            .map(|(name, value)| {
                Ok((name.parse().map_err(BadSecrets::Name)?, SecretValue::new(value.as_ref())))
            })
            .collect::<Result<_, _>>()?;
        Ok(Self { generation: part.generation, sealer: Sealer::new(keys), values })
    }
}
