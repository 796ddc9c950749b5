//! What is in the vault, and how it is written down.

use std::collections::BTreeMap;
use std::sync::Arc;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use portcullis_policy::resource::{Name, Uid};
use portcullis_seal::{SigningKey, random};
use serde::{Deserialize, Serialize};
use zeroize::{Zeroize as _, Zeroizing};

use super::{SealingKey, SecretPart, SecretValue, VaultError, sealing};

/// Everything in the vault, at one moment.
#[derive(Clone)]
pub(super) struct Contents {
    pub(super) control_plane_id: Uid,
    pub(super) signing_key: Arc<SigningKey>,
    pkcs8: Arc<Zeroizing<Vec<u8>>>,
    pub(super) part: Arc<SecretPart>,
    pub(super) set_unix_ms: BTreeMap<Name, u64>,
}

impl Contents {
    /// A new vault: a new identity, a new signing key, one sealing key.
    pub(super) fn generate(now_unix_ms: u64) -> Result<Self, VaultError> {
        let (signing_key, pkcs8) = SigningKey::generate().map_err(|_| VaultError::NoRandomness)?;
        let id: [u8; 16] = random().map_err(|_| VaultError::NoRandomness)?;
        Ok(Self {
            control_plane_id: Uid(uuid::Builder::from_random_bytes(id).into_uuid()),
            signing_key: Arc::new(signing_key),
            pkcs8: Arc::new(Zeroizing::new(pkcs8)),
            part: Arc::new(SecretPart {
                generation: 1,
                sealing_keys: vec![sealing::generate(now_unix_ms)?],
                values: BTreeMap::new(),
            }),
            set_unix_ms: BTreeMap::new(),
        })
    }

    /// The part that data planes see, to be changed; its generation is the next one.
    pub(super) fn next_part(&mut self) -> &mut SecretPart {
        let part = Arc::make_mut(&mut self.part);
        part.generation = part.generation.saturating_add(1);
        part
    }

    pub(super) fn to_json(&self) -> Result<Zeroizing<Vec<u8>>, serde_json::Error> {
        let stored = Stored {
            control_plane_id: self.control_plane_id,
            signing_key: STANDARD.encode(&**self.pkcs8),
            generation: self.part.generation,
            sealing_keys: self.part.sealing_keys.iter().map(StoredKey::from).collect(),
            secrets: self
                .part
                .values
                .iter()
                .map(|(name, value)| {
                    let set_unix_ms = self.set_unix_ms.get(name).copied().unwrap_or_default();
                    (name.clone(), StoredSecret { value: STANDARD.encode(value.expose()), set_unix_ms })
                })
                .collect(),
        };
        // Room from the start: a buffer that grows leaves copies of secrets behind.
        let room =
            stored.secrets.values().map(|secret| secret.value.len().saturating_add(128)).sum::<usize>();
        let mut json = Zeroizing::new(Vec::with_capacity(room.saturating_add(8 << 10)));
        serde_json::to_writer(&mut *json, &stored)?;
        Ok(json)
    }

    /// Reads what [`Contents::to_json`] wrote. The error says what is wrong without saying what is there.
    pub(super) fn from_json(json: &[u8]) -> Result<Self, &'static str> {
        let mut stored: Stored =
            serde_json::from_slice(json).map_err(|_| "its contents have another form")?;
        let pkcs8 = STANDARD.decode(&stored.signing_key).map_err(|_| "the signing key is no base64")?;
        let signing_key = SigningKey::from_pkcs8(&pkcs8).map_err(|_| "the signing key is none")?;
        let sealing_keys = stored
            .sealing_keys
            .iter()
            .map(StoredKey::read)
            .collect::<Option<Vec<_>>>()
            .ok_or("a sealing key is none")?;
        if sealing_keys.is_empty() {
            return Err("it holds no sealing key");
        }
        let mut values = BTreeMap::new();
        let mut set_unix_ms = BTreeMap::new();
        for (name, secret) in std::mem::take(&mut stored.secrets) {
            let value = STANDARD.decode(&secret.value).map_err(|_| "a secret is no base64")?;
            set_unix_ms.insert(name.clone(), secret.set_unix_ms);
            values.insert(name, SecretValue::new(value));
        }
        Ok(Self {
            control_plane_id: stored.control_plane_id,
            signing_key: Arc::new(signing_key),
            pkcs8: Arc::new(Zeroizing::new(pkcs8)),
            part: Arc::new(SecretPart { generation: stored.generation, sealing_keys, values }),
            set_unix_ms,
        })
    }
}

/// The file's JSON. A member that this version does not know is refused: rewriting the file would lose it.
#[derive(Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
struct Stored {
    control_plane_id: Uid,
    signing_key: String,
    generation: u64,
    sealing_keys: Vec<StoredKey>,
    secrets: BTreeMap<Name, StoredSecret>,
}

#[derive(Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
struct StoredKey {
    id: String,
    key: String,
    created_unix_ms: u64,
}

#[derive(Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
struct StoredSecret {
    value: String,
    set_unix_ms: u64,
}

impl Drop for Stored {
    fn drop(&mut self) {
        self.signing_key.zeroize();
    }
}

impl Drop for StoredKey {
    fn drop(&mut self) {
        self.key.zeroize();
    }
}

impl Drop for StoredSecret {
    fn drop(&mut self) {
        self.value.zeroize();
    }
}

impl From<&SealingKey> for StoredKey {
    fn from(key: &SealingKey) -> Self {
        Self {
            id: STANDARD.encode(key.id),
            key: STANDARD.encode(key.expose()),
            created_unix_ms: key.created_unix_ms,
        }
    }
}

impl StoredKey {
    fn read(&self) -> Option<SealingKey> {
        Some(SealingKey {
            id: STANDARD.decode(&self.id).ok()?.try_into().ok()?,
            secret: Zeroizing::new(
                Zeroizing::new(STANDARD.decode(&self.key).ok()?).as_slice().try_into().ok()?,
            ),
            created_unix_ms: self.created_unix_ms,
        })
    }
}
