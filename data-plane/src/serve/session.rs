//! Legacy sessions: a sealed token that every data plane can read, and tombstones for those that were deleted.
//!
//! A session id proves nothing by itself: it is bound to the principal, and the key is asked for with every request.

use std::collections::HashMap;

use portcullis_mcp::object;
use portcullis_policy::resource::Uid;
use portcullis_seal::{Sealer, random};
use serde::{Deserialize, Serialize};
use serde_json::value::RawValue;

use crate::pipeline::empty_object;
use crate::pipeline::shards::Shards;
use crate::sync::Wish;

const PURPOSE: &str = "session";

/// How long a session can be used, in milliseconds: 30 days.
pub(super) const LIFETIME_MS: u64 = 30 * 24 * 60 * 60 * 1000;

/// Deleted sessions that are remembered; beyond it the one that ends soonest is forgotten.
const MAX_TOMBSTONES: usize = 262_144;

/// Resources that one session may subscribe to; more are not passed on.
const MAX_SUBSCRIPTIONS: usize = 1000;

/// Bytes of `clientInfo` and of capabilities that fit into a session id. It travels in a header with every request.
const MAX_CARRIED: usize = 1024;

/// What a legacy client said in its `initialize`.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub(super) struct Session {
    /// Its random id, the same on every plane.
    #[serde(rename = "s")]
    pub(super) id: [u8; 16],
    /// The path of its endpoint.
    #[serde(rename = "e")]
    pub(super) endpoint: String,
    /// The revision agreed on.
    #[serde(rename = "v")]
    pub(super) version: String,
    /// `clientInfo`: name and version only.
    #[serde(rename = "c", default, skip_serializing_if = "Option::is_none")]
    pub(super) info: Option<Box<RawValue>>,
    /// Its capabilities.
    #[serde(rename = "k")]
    pub(super) capabilities: Box<RawValue>,
    /// When it began, milliseconds since the Unix epoch.
    #[serde(rename = "i")]
    pub(super) issued_unix_ms: u64,
}

impl Session {
    /// A new session. What does not fit is reduced to what counts.
    pub(super) fn begin(
        endpoint: String,
        version: &str,
        info: Option<&RawValue>,
        capabilities: Option<&RawValue>,
        now_unix_ms: u64,
    ) -> Option<Self> {
        Some(Self {
            id: random().ok()?,
            endpoint,
            version: version.to_owned(),
            info: info.and_then(name_and_version),
            capabilities: capabilities.map_or_else(empty_object, carried),
            issued_unix_ms: now_unix_ms,
        })
    }

    /// The session as its id: visible ASCII, readable by holders of the key alone.
    pub(super) fn seal(&self, sealer: &Sealer, principal: Uid) -> Option<String> {
        let plain = serde_json::to_vec(self).ok()?;
        sealer.seal(PURPOSE, principal.0.as_bytes(), &plain).ok()
    }

    /// Opens a session id; `None` for one that is forged, another principal's, of another endpoint, or too old.
    pub(super) fn open(
        sealer: &Sealer,
        principal: Uid,
        endpoint: &str,
        token: &str,
        now_unix_ms: u64,
    ) -> Option<Self> {
        let plain = sealer.open(PURPOSE, principal.0.as_bytes(), token).ok()?;
        let session: Self = serde_json::from_slice(&plain).ok()?;
        let alive = now_unix_ms < session.issued_unix_ms.saturating_add(LIFETIME_MS);
        (alive && session.endpoint == endpoint).then_some(session)
    }

    /// When nothing more can be done with it.
    pub(super) const fn ends_unix_ms(&self) -> u64 {
        self.issued_unix_ms.saturating_add(LIFETIME_MS)
    }
}

fn name_and_version(info: &RawValue) -> Option<Box<RawValue>> {
    let member = |name| object::member(info, name).filter(|value| value.get().starts_with('"'));
    let text = format!("{{\"name\":{},\"version\":{}}}", member("name")?.get(), member("version")?.get());
    (text.len() <= MAX_CARRIED).then(|| RawValue::from_string(text).ok()).flatten()
}

/// The capabilities as they are, or, where they are too long for a header, those that servers may ask for.
fn carried(capabilities: &RawValue) -> Box<RawValue> {
    if capabilities.get().len() <= MAX_CARRIED {
        return capabilities.to_owned();
    }
    let subs = |name: &str, known: &[&str]| {
        let found = object::member(capabilities, name)?;
        let subs: Vec<String> = known
            .iter()
            .filter(|sub| object::member(found, sub).is_some())
            .map(|sub| format!("\"{sub}\":{{}}"))
            .collect();
        Some(format!("\"{name}\":{{{}}}", subs.join(",")))
    };
    let roots = object::member(capabilities, "roots").map(|roots| {
        let changes = object::member(roots, "listChanged").is_some_and(|value| value.get() == "true");
        format!("\"roots\":{{\"listChanged\":{changes}}}")
    });
    let kept: Vec<String> =
        [roots, subs("sampling", &["tools", "context"]), subs("elicitation", &["form", "url"])]
            .into_iter()
            .flatten()
            .collect();
    RawValue::from_string(format!("{{{}}}", kept.join(","))).unwrap_or_else(|_| empty_object())
}

/// Sessions that were deleted, here or on a sibling.
#[derive(Debug)]
pub(super) struct Tombstones(Shards<[u8; 16], u64>);

impl Default for Tombstones {
    fn default() -> Self {
        Self(Shards::new(MAX_TOMBSTONES))
    }
}

impl Tombstones {
    /// Remembers a deleted session until it would have ended.
    pub(super) fn bury(&self, session: [u8; 16], forget_after_unix_ms: u64) {
        self.0.put(&session, &forget_after_unix_ms, |until| *until);
    }

    pub(super) fn holds(&self, session: &[u8; 16]) -> bool {
        self.0.contains(session)
    }

    /// Forgets those that have ended anyway.
    pub(super) fn sweep(&self, now_unix_ms: u64) {
        self.0.retain(|_, until| *until > now_unix_ms);
    }
}

/// What a session asked for and no token carries, as far as this plane knows: from the session itself, or from a sibling.
#[derive(Debug, Clone, Default)]
pub(super) struct Wishes {
    /// `logging/setLevel`.
    pub(super) log_level: Option<String>,
    /// `resources/subscribe`: URI to the name of its server.
    pub(super) subscriptions: HashMap<String, portcullis_policy::resource::Name>,
    /// When it was last changed.
    pub(super) changed_unix_ms: u64,
}

impl Wishes {
    pub(super) fn take(&mut self, wish: Wish) {
        match wish {
            Wish::LogLevel(level) => self.log_level = Some(level),
            Wish::Subscribed { uri, server } => {
                if self.subscriptions.len() < MAX_SUBSCRIPTIONS {
                    self.subscriptions.insert(uri, server);
                }
            }
            Wish::Unsubscribed(uri) => {
                self.subscriptions.remove(&uri);
            }
        }
    }
}

#[cfg(test)]
mod tests;
