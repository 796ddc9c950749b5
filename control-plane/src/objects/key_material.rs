//! What the store keeps of a key's secrets: hashes, and when each ends.

use chrono::{DateTime, Utc};
use portcullis_policy::resource::{Name, Uid};
use portcullis_policy::snapshot::KeySecret;
use portcullis_seal::Fingerprint;
use serde::{Deserialize, Serialize};

use crate::store::{Object, Op, State};

/// The kind of the objects that hold a [`KeyMaterial`]; their name is the key's uid.
pub const KEY_MATERIAL: &str = "KeyMaterial";

/// How many secrets may open one key at once: the present one, and those whose grace lasts.
pub const MAX_SECRETS: usize = 8;

/// The body of a `KeyMaterial` object.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, rename_all = "camelCase")]
pub struct KeyMaterial {
    /// The key's name, for history.
    pub key: Name,
    /// The present secret first; the others end.
    pub secrets: Vec<KeySecret>,
    /// Whether it was revoked, for good.
    #[serde(default)]
    pub revoked: bool,
}

impl KeyMaterial {
    /// The material of a new key.
    #[must_use]
    pub fn new(key: Name, hash: Fingerprint) -> Self {
        Self { key, secrets: vec![KeySecret { hash, until: None }], revoked: false }
    }

    /// Reads it from its object.
    ///
    /// # Errors
    /// When the body is something else: a damaged store.
    pub fn from_object(object: &Object) -> Result<Self, serde_json::Error> {
        Self::deserialize(&object.body)
    }

    /// The material of a key.
    #[must_use]
    pub fn of(state: &State, key: &Uid) -> Option<Self> {
        Self::from_object(state.get(KEY_MATERIAL, &key.to_string())?).ok()
    }

    /// Puts a new secret first. Those before it end at `until` at the latest; those that ended before `now` are dropped, and
    /// so are the oldest beyond [`MAX_SECRETS`].
    pub fn rotate(&mut self, hash: Fingerprint, now: DateTime<Utc>, until: DateTime<Utc>) {
        for secret in &mut self.secrets {
            secret.until = Some(secret.until.map_or(until, |end| end.min(until)));
        }
        self.secrets.retain(|secret| secret.until.is_none_or(|end| end > now));
        self.secrets.insert(0, KeySecret { hash, until: None });
        self.secrets.truncate(MAX_SECRETS);
    }

    /// The step that keeps it.
    ///
    /// # Errors
    /// Never in practice: nothing in it fails to serialise.
    pub fn put(&self, key: Uid) -> Result<Op, serde_json::Error> {
        Ok(Op::Put {
            kind: KEY_MATERIAL.into(),
            name: key.to_string().into(),
            uid: key,
            body: serde_json::to_value(self)?,
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(seconds: i64) -> DateTime<Utc> {
        DateTime::from_timestamp(seconds, 0).unwrap()
    }

    fn hash(byte: u8) -> Fingerprint {
        Fingerprint::from_bytes([byte; 32])
    }

    #[test]
    fn a_rotation_ends_the_old_secret_after_its_grace_and_never_lengthens_an_earlier_end() {
        let mut material = KeyMaterial::new("bot".parse().unwrap(), hash(1));
        material.rotate(hash(2), at(100), at(200));
        material.rotate(hash(3), at(150), at(900));
        let ends: Vec<_> = material.secrets.iter().map(|secret| (secret.hash, secret.until)).collect();
        assert_eq!(ends, [(hash(3), None), (hash(2), Some(at(900))), (hash(1), Some(at(200)))]);
        material.rotate(hash(4), at(300), at(300));
        assert_eq!(material.secrets.len(), 1, "without a grace the old ones end at once");
    }

    #[test]
    fn the_number_of_secrets_has_a_bound() {
        let mut material = KeyMaterial::new("bot".parse().unwrap(), hash(0));
        for byte in 1..50 {
            material.rotate(hash(byte), at(1), at(1000));
        }
        assert_eq!(material.secrets.len(), MAX_SECRETS);
        assert_eq!(material.secrets[0].hash, hash(49));
    }
}
