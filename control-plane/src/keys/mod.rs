//! Virtual keys: how their secrets come into being, are replaced, and end.
//!
//! A secret is told once and kept nowhere: the store has its hash. What a key may do is a document and belongs to the
//! registry.

use chrono::{DateTime, TimeDelta, Utc};
use portcullis_policy::resource::{Kind, Name, Right, Uid};
use serde_json::json;

use crate::clock::Clock;
use crate::governance::{Actor, Scope};
use crate::objects::{KeyMaterial, NewKey};
use crate::publish::{Decision, Publisher};
use crate::registry::{ApplyInput, Registry, RegistryError};
use crate::store::{Object, State};

/// The longest grace of a rotation, in seconds: 90 days.
pub const MAX_GRACE_SECONDS: u64 = 90 * 24 * 3600;
/// The file that problems name when a key was created without one.
const NO_FILE: &str = "key create";

/// Keys of one registry. Cheap to clone.
#[derive(Debug, Clone)]
pub struct Keys {
    registry: Registry,
    publisher: Publisher,
    clock: Clock,
}

/// What a rotation made.
#[derive(Debug)]
pub struct Rotated {
    /// The key with its new secret.
    pub key: NewKey,
    /// When the old secret ends, milliseconds since the Unix epoch.
    pub old_until_unix_ms: u64,
    /// The store's version after it.
    pub version: u64,
}

impl Keys {
    /// Keys of the resources in `registry`.
    #[must_use]
    pub const fn new(registry: Registry, publisher: Publisher, clock: Clock) -> Self {
        Self { registry, publisher, clock }
    }

    /// Applies one `VirtualKey` that must not exist yet. Without a file it is a workload of that name that is granted
    /// nothing. `file` is name and text.
    ///
    /// # Errors
    /// [`RegistryError::Exists`], and all that an apply may refuse.
    pub async fn create(
        &self,
        name: &str,
        file: Option<(String, String)>,
        by: &Actor,
    ) -> Result<(NewKey, u64), RegistryError> {
        let name = parse_name(name)?;
        let file = file.unwrap_or_else(|| {
            let document = json!({
                "apiVersion": portcullis_policy::resource::API_VERSION,
                "kind": Kind::VirtualKey.as_str(),
                "metadata": { "name": name },
                "spec": { "principal": { "kind": "workload", "subject": name } },
            });
            (NO_FILE.to_owned(), document.to_string())
        });
        let mut input = ApplyInput::new(vec![file], by.clone());
        input.message = format!("create key {name}");
        input.only_new_key = Some(name.clone());
        let mut applied = self.registry.apply(input).await?;
        let key = applied
            .keys
            .pop()
            .ok_or_else(|| RegistryError::Internal(format!("key {name} came into being without a secret")))?;
        Ok((key, applied.version))
    }

    /// Gives a key a new secret. The old ones end after the grace.
    ///
    /// # Errors
    /// [`RegistryError::NotFound`]; [`RegistryError::Refused`] for a revoked key; a grace over [`MAX_GRACE_SECONDS`].
    pub async fn rotate(&self, name: &str, grace_seconds: u64, by: &Actor) -> Result<Rotated, RegistryError> {
        let name = parse_name(name)?;
        if grace_seconds > MAX_GRACE_SECONDS {
            return Err(RegistryError::invalid(
                "--grace",
                format!("the old secret may live on for at most {} days", MAX_GRACE_SECONDS / 86_400),
            ));
        }
        let (clock, asks) = (self.clock.clone(), by.clone());
        let message = format!("rotate key {name}");
        let decide = move |state: &State, _: &mut _| -> Result<_, RegistryError> {
            let (object, mut material) = material_of(state, &name)?;
            if material.revoked {
                return Err(RegistryError::Refused(format!(
                    "VirtualKey/{name} is revoked for good; delete it and create another one"
                )));
            }
            may_write(state, &asks, object, clock.now_unix_ms())?;
            let now = time(clock.now_unix_ms())?;
            let grace = TimeDelta::seconds(i64::try_from(grace_seconds).unwrap_or(i64::MAX));
            let until = now + grace;
            let (key, hash) = NewKey::generate(&name, object.uid)?;
            material.rotate(hash, now, until);
            let ops = vec![put(&material, object.uid)?];
            let until_unix_ms = u64::try_from(until.timestamp_millis()).unwrap_or(0);
            Ok(Decision { ops, answer: (key, until_unix_ms), dry_run: false })
        };
        let (version, (key, old_until_unix_ms)) =
            self.publisher.transact(by.author(), &message, decide).await?;
        Ok(Rotated { key, old_until_unix_ms, version })
    }

    /// Ends all secrets of a key for good. Revoking a revoked key changes nothing.
    ///
    /// # Errors
    /// [`RegistryError::NotFound`].
    pub async fn revoke(&self, name: &str, by: &Actor, message: &str) -> Result<u64, RegistryError> {
        let name = parse_name(name)?;
        let message = Registry::message(message)?;
        let message = if message.is_empty() { format!("revoke key {name}") } else { message.to_owned() };
        let (clock, asks) = (self.clock.clone(), by.clone());
        let decide = move |state: &State, _: &mut _| -> Result<_, RegistryError> {
            let (object, mut material) = material_of(state, &name)?;
            may_write(state, &asks, object, clock.now_unix_ms())?;
            if material.revoked {
                return Ok(Decision { ops: Vec::new(), answer: (), dry_run: false });
            }
            // The hashes stay: so that its refusals can be told from those of unknown keys.
            material.revoked = true;
            Ok(Decision { ops: vec![put(&material, object.uid)?], answer: (), dry_run: false })
        };
        let (version, ()) = self.publisher.transact(by.author(), &message, decide).await?;
        Ok(version)
    }
}

fn parse_name(name: &str) -> Result<Name, RegistryError> {
    name.parse().map_err(|error: portcullis_policy::resource::BadName| {
        RegistryError::invalid("NAME", error.to_string())
    })
}

/// Whether somebody may change the secrets of this key.
fn may_write(state: &State, by: &Actor, key: &Object, now: u64) -> Result<(), RegistryError> {
    let Some(identity) = by.judged(state, now)? else { return Ok(()) };
    let what = format!("change the secrets of VirtualKey/{}", key.name);
    let scope = Scope::of_object(Kind::VirtualKey, key);
    identity.must_have(Right::KeysWrite, &scope, &what).map_err(RegistryError::Denied)
}

fn material_of<'a>(state: &'a State, name: &Name) -> Result<(&'a Object, KeyMaterial), RegistryError> {
    let object = state
        .get(Kind::VirtualKey.as_str(), name.as_str())
        .ok_or_else(|| RegistryError::NotFound(format!("VirtualKey/{name}")))?;
    let material = KeyMaterial::of(state, &object.uid)
        .ok_or_else(|| RegistryError::Internal(format!("VirtualKey/{name} has no key material")))?;
    Ok((object, material))
}

fn put(material: &KeyMaterial, uid: Uid) -> Result<crate::store::Op, RegistryError> {
    material.put(uid).map_err(|error| RegistryError::Internal(error.to_string()))
}

fn time(unix_ms: u64) -> Result<DateTime<Utc>, RegistryError> {
    i64::try_from(unix_ms)
        .ok()
        .and_then(DateTime::from_timestamp_millis)
        .ok_or_else(|| RegistryError::Internal("the clock is out of range".to_owned()))
}
