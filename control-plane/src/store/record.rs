//! One change as it stands in the journal: JSON, so that a person with a backup and no Portcullis can read it.

use std::sync::Arc;

use portcullis_policy::resource::Uid;
use serde::{Deserialize, Deserializer, Serialize};
use serde_json::Value;

use super::port::{HistoryChange, HistoryRecord};

/// A change without its version, which its frame holds.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub(super) struct Record {
    pub(super) unix_ms: u64,
    pub(super) author: String,
    pub(super) message: String,
    pub(super) changes: Vec<RecordChange>,
}

/// What it did to one object. `before` and `after` are absent where there was or is no object; `null` is a body.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub(super) struct RecordChange {
    pub(super) kind: Arc<str>,
    pub(super) name: Arc<str>,
    pub(super) uid: Uid,
    #[serde(default, skip_serializing_if = "Option::is_none", deserialize_with = "present")]
    pub(super) before: Option<Value>,
    #[serde(default, skip_serializing_if = "Option::is_none", deserialize_with = "present")]
    pub(super) after: Option<Value>,
}

/// A member that is there is a body, even `null`.
fn present<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Option<Value>, D::Error> {
    Value::deserialize(deserializer).map(Some)
}

impl Record {
    pub(super) fn encode(&self) -> Result<Vec<u8>, serde_json::Error> {
        serde_json::to_vec(self)
    }

    pub(super) fn decode(payload: &[u8]) -> Result<Self, serde_json::Error> {
        serde_json::from_slice(payload)
    }

    pub(super) fn into_history(self, version: u64) -> HistoryRecord {
        HistoryRecord {
            version,
            unix_ms: self.unix_ms,
            author: self.author,
            message: self.message,
            changes: self
                .changes
                .into_iter()
                .map(|RecordChange { kind, name, uid, before, after }| HistoryChange {
                    kind,
                    name,
                    uid,
                    before,
                    after,
                })
                .collect(),
        }
    }
}
