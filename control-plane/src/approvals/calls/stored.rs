//! One call that waits for a person, as the store keeps it: who asked for what, and what was decided. Never the values of its
//! arguments: what is in the store stays in its history.

use portcullis_policy::resource::Uid;
use portcullis_seal::{Fingerprint, RandomError, random, sha256};
use serde::{Deserialize, Serialize};

use crate::catalog::Verdict;
use crate::governance::Rule;
use crate::store::{Object, Op};

/// The kind of the objects that hold a [`StoredCall`]; their name is `{key uid}/{binding in hex}`.
pub const HELD_CALL: &str = "HeldCall";
/// What every id begins with.
pub const ID_PREFIX: &str = "c-";
/// How much of the binding an id repeats, in hex digits: by it the call is found.
const FINDS: usize = 12;
/// How many random bytes an id has, so that nobody guesses the address of its page.
const NONCE: usize = 10;
/// How long a call waits, and how long a decision about it holds, where no rule says otherwise.
pub(super) const PATIENCE_MS: u64 = 60 * 60 * 1000;
/// How many approvals of one call are kept while more are needed.
const MAX_VOTES: usize = 64;

/// What an approval is bound to: all of it, or it is another call.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub(super) struct Binding<'a> {
    pub(super) key: Uid,
    pub(super) principal_kind: &'a str,
    pub(super) principal: &'a str,
    pub(super) server: Uid,
    pub(super) tool: &'a str,
    pub(super) pin: Fingerprint,
    pub(super) input: Fingerprint,
}

impl Binding<'_> {
    /// It as one fingerprint. Members are delimited as JSON delimits them.
    pub(super) fn fingerprint(&self) -> Fingerprint {
        Fingerprint::from_bytes(sha256(&serde_json::to_vec(self).unwrap_or_default()))
    }
}

/// The body of a `HeldCall` object.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, rename_all = "camelCase")]
pub(super) struct StoredCall {
    /// The id of the approval that waits, or was decided.
    pub(super) id: String,
    pub(super) binding: Fingerprint,
    pub(super) key: String,
    pub(super) key_uid: Uid,
    pub(super) principal_kind: String,
    pub(super) principal: String,
    pub(super) server: String,
    pub(super) server_uid: Uid,
    pub(super) tool: String,
    pub(super) pin: Fingerprint,
    pub(super) input_sha256: Fingerprint,
    pub(super) input_bytes: u64,
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub(super) arguments: Vec<Argument>,
    #[serde(default, skip_serializing_if = "is_zero")]
    pub(super) more_arguments: u32,
    /// The request that was held back first.
    pub(super) request_id: String,
    pub(super) opened_unix_ms: u64,
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub(super) votes: Vec<Verdict>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(super) decided: Option<Decided>,
    /// By whom the approval was used up.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(super) used: Option<Used>,
    /// What became of uses before: calls that never reached their server.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(super) given_back: Option<GivenBack>,
}

#[allow(clippy::trivially_copy_pass_by_ref, reason = "as serde calls it")]
const fn is_zero(number: &u32) -> bool {
    *number == 0
}

/// One argument, without its value.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, rename_all = "camelCase")]
pub struct Argument {
    /// Its name, every character made visible.
    pub name: String,
    /// "string", "number", "boolean", "null", "array" or "object".
    pub kind: String,
    /// How many bytes its value has in canonical JSON.
    pub bytes: u64,
}

#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, rename_all = "camelCase")]
pub(super) struct Decided {
    pub(super) approved: bool,
    pub(super) verdict: Verdict,
}

/// The one use of an approval.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, rename_all = "camelCase")]
pub(super) struct Used {
    pub(super) plane: String,
    pub(super) unix_ms: u64,
    pub(super) request_id: String,
    /// What the plane named this use, in hex: asked again for the same one, it gets the same answer.
    pub(super) use_id: String,
}

/// Uses of an approval that did not happen.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, rename_all = "camelCase")]
pub(super) struct GivenBack {
    /// How many there were.
    pub(super) times: u32,
    /// The last of them.
    pub(super) last: Used,
    /// When it was given back.
    pub(super) unix_ms: u64,
}

/// What a call comes to.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum CallState {
    /// It waits for a person.
    Pending,
    /// A person approved it, and it did not go through yet.
    Approved,
    /// A person denied it.
    Denied,
    /// It waited for too long, or what was decided of it is too old: asked again it waits again.
    Expired,
    /// It was approved and let through: asked again it waits again.
    Used,
}

impl CallState {
    /// The state as the API spells it.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Pending => "pending",
            Self::Approved => "approved",
            Self::Denied => "denied",
            Self::Expired => "expired",
            Self::Used => "used",
        }
    }
}

impl StoredCall {
    /// Reads it from its object; none for what this version does not write, which lets nothing through.
    pub(super) fn read(object: &Object) -> Option<Self> {
        Self::deserialize(&object.body).ok()
    }

    /// The operation that keeps it; none where it does not serialise, which no call does.
    pub(super) fn put(&self, uid: Uid) -> Option<Op> {
        let body = serde_json::to_value(self).ok()?;
        let name = object_name(&self.key_uid, &self.binding).into();
        Some(Op::Put { kind: HELD_CALL.into(), name, uid, body })
    }

    /// When it is too old, by the rule that is about it.
    pub(super) fn expires_unix_ms(&self, rule: Option<&Rule>) -> u64 {
        let since = self.decided.as_ref().map_or(self.opened_unix_ms, |decided| decided.verdict.unix_ms);
        let by_rule = rule.and_then(|rule| rule.expires_unix_ms(since));
        by_rule.unwrap_or_else(|| since.saturating_add(PATIENCE_MS))
    }

    pub(super) fn state(&self, rule: Option<&Rule>, now_unix_ms: u64) -> CallState {
        match (&self.used, &self.decided) {
            (Some(_), _) => CallState::Used,
            _ if now_unix_ms >= self.expires_unix_ms(rule) => CallState::Expired,
            (None, None) => CallState::Pending,
            (None, Some(decided)) if decided.approved => CallState::Approved,
            (None, Some(_)) => CallState::Denied,
        }
    }

    /// Takes in one approval of several.
    pub(super) fn vote(&mut self, verdict: Verdict) {
        self.votes.push(verdict);
        self.votes.drain(..self.votes.len().saturating_sub(MAX_VOTES));
    }

    /// Who asked, for people: `VirtualKey/support-bot (agent support-bot)`.
    pub(super) fn caller(&self) -> String {
        format!("VirtualKey/{} ({} {})", self.key, self.principal_kind, self.principal)
    }
}

pub(super) fn object_name(key: &Uid, binding: &Fingerprint) -> String {
    format!("{key}/{}", binding.to_hex())
}

/// A new id for a call of this binding.
pub(super) fn new_id(binding: &Fingerprint) -> Result<String, RandomError> {
    let nonce: String = random::<NONCE>()?.iter().map(|byte| format!("{byte:02x}")).collect();
    Ok(format!("{ID_PREFIX}{}{nonce}", binding.to_hex().get(..FINDS).unwrap_or_default()))
}

/// What the binding of a call with this id begins with, in hex; none for what is no id.
pub(super) fn finds(id: &str) -> Option<&str> {
    let digits = id.strip_prefix(ID_PREFIX)?;
    let hex = digits.bytes().all(|byte| matches!(byte, b'0'..=b'9' | b'a'..=b'f'));
    (hex && digits.len() == FINDS + 2 * NONCE).then(|| digits.get(..FINDS)).flatten()
}
