//! The secret part: credentials for upstreams and the keys of sealed tokens. In memory, never shown.

use std::collections::HashMap;
use std::fmt;
use std::sync::Arc;

use arc_swap::ArcSwap;
use portcullis_policy::resource::Name;
use portcullis_seal::Sealer;
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
