//! Since when a snapshot is what it is: the version of the store that changed its digest last, and the time of that change.
//!
//! It is found by walking back through history, so that it needs not be kept: after a restart the same snapshot has the same
//! version, the same time, and hence the same signature.

use std::sync::Arc;

use portcullis_policy::resource::Kind;
use serde_json::Value;

use super::candidate::Candidate;
use super::prepare::{PrepareError, Workbench};
use crate::catalog;
use crate::objects::{KEY_MATERIAL, SERVER_STATE};
use crate::store::{HistoryChange, HistoryFilter, Op, State, Store};

/// How many versions one walk goes back at most. Beyond it the newest version is taken: a greater number than needed is
/// always safe, it only makes data planes take the same content once more.
const MAX_STEPS: usize = 10_000;
/// How many records are read at a time.
const PAGE: usize = 64;

/// A version of the store, and the time of the change that made it in milliseconds since the Unix epoch.
#[derive(Debug, Clone, Copy)]
pub(super) struct At {
    pub(super) version: u64,
    pub(super) unix_ms: u64,
}

/// The last change that changed the digest, among those above `floor`. When none did: `floor`'s own.
pub(super) async fn since(
    store: &dyn Store,
    bench: &mut Workbench,
    newest: &State,
    floor: u64,
) -> Result<At, PrepareError> {
    if newest.version.saturating_sub(floor) == 1 {
        // Only one change to look at.
        let filter =
            HistoryFilter { limit: 1, before: newest.version.checked_add(1), ..HistoryFilter::default() };
        if let Some(record) =
            store.history(filter).await?.first().filter(|record| record.version == newest.version)
        {
            return Ok(At { version: record.version, unix_ms: record.unix_ms });
        }
    }
    let mut state = Candidate::unchanged(newest);
    let digest = bench.digest(&state)?;
    let mut first: Option<At> = None;
    let mut oldest: Option<At> = None;
    let mut before = newest.version.saturating_add(1);
    let mut steps = 0;
    loop {
        let filter = HistoryFilter { limit: PAGE, before: Some(before), ..HistoryFilter::default() };
        let page = store.history(filter).await?;
        if page.is_empty() {
            // The beginning of the store: nothing in it ever mattered.
            return Ok(oldest.unwrap_or(At { version: newest.version, unix_ms: 0 }));
        }
        for record in page {
            before = record.version;
            let at = At { version: record.version, unix_ms: record.unix_ms };
            let newest = *first.get_or_insert(at);
            oldest = Some(at);
            if record.version <= floor {
                return Ok(at);
            }
            steps += 1;
            if steps > MAX_STEPS {
                return Ok(newest);
            }
            if record.changes.iter().any(changes_facts) {
                return Ok(at);
            }
            let judged = record.changes.iter().filter(|change| matters(&change.kind)).collect::<Vec<_>>();
            if judged.is_empty() {
                continue;
            }
            judged.into_iter().for_each(|change| state.take(undo(change)));
            // What cannot be encoded differs.
            if bench.digest(&state).ok() != Some(digest) {
                return Ok(at);
            }
        }
    }
}

/// Whether snapshots are made of objects of a kind.
fn matters(kind: &str) -> bool {
    Kind::parse(kind).is_some_and(|known| known.as_str() == kind)
        || kind == KEY_MATERIAL
        || kind == SERVER_STATE
        || kind == catalog::DEFINITION
}

/// Whether a change is one of a server's facts: what was observed of its protocol, and the identity that was approved. These
/// go into its entry as they are, so that any change of them changes the digest.
fn changes_facts(change: &HistoryChange) -> bool {
    if &*change.kind == catalog::OBSERVATION {
        return true;
    }
    let is_identity = |body: &Value| body.get("kind").and_then(Value::as_str) == Some("identity");
    let bodies = [&change.before, &change.after];
    &*change.kind == catalog::DEFINITION && bodies.into_iter().flatten().any(is_identity) && {
        let [before, after] = bodies.map(|body| body.as_ref().and_then(|body| body.get("approved")));
        let told = |approved: Option<&Value>| {
            approved.map(|approved| (approved.get("pin").cloned(), approved.get("definition").cloned()))
        };
        told(before) != told(after)
    }
}

fn undo(change: &HistoryChange) -> Op {
    let (kind, name) = (Arc::clone(&change.kind), Arc::clone(&change.name));
    match &change.before {
        Some(body) => Op::Put { kind, name, uid: change.uid, body: body.clone() },
        None => Op::Delete { kind, name },
    }
}
