//! Servers that another plane probes: looked at slowly, so that a plane that sees another definition than the approved one
//! says so.

use std::collections::HashMap;
use std::time::Duration;

use portcullis_mcp::object;
use portcullis_policy::Snapshot;
use portcullis_policy::resource::Uid;
use portcullis_policy::rule::DefinitionKind;
use portcullis_seal::{Fingerprint, fingerprint_json, sha256};
use serde_json::value::RawValue;
use tokio_util::sync::CancellationToken;

use super::look::{Look, look};
use super::{Assigned, Report};
use crate::sync::Live;
use crate::upstream::{Upstreams, spread};

/// How much slower than the prober.
const SLOWER: u32 = 10;

/// Looks at servers of other probers, one after the other, until it is stopped.
pub(super) async fn run<R: Report>(
    upstreams: Upstreams,
    live: Live,
    assigned: Assigned,
    report: R,
    stop: CancellationToken,
) {
    let mut told: HashMap<Uid, Fingerprint> = HashMap::new();
    loop {
        let pause = spread(assigned.borrow().interval.saturating_mul(SLOWER));
        tokio::select! {
            () = stop.cancelled() => return,
            () = tokio::time::sleep(pause) => {}
        }
        tokio::select! {
            () = stop.cancelled() => return,
            () = round(&upstreams, &live, &assigned, &report, &mut told) => {}
        }
    }
}

async fn round<R: Report>(
    upstreams: &Upstreams,
    live: &Live,
    assigned: &Assigned,
    report: &R,
    told: &mut HashMap<Uid, Fingerprint>,
) {
    let Some(snapshot) = live.load() else { return };
    told.retain(|uid, _| snapshot.server_by_uid(uid).is_some());
    for server in snapshot.servers() {
        let uid = server.entry.uid;
        // A process is not started for this alone.
        let is_other = !assigned.borrow().uids.contains(&uid);
        if !is_other || upstreams.would_start(&server.entry, snapshot.version()) {
            continue;
        }
        let Ok(look) = look(upstreams, &server.entry, snapshot.version()).await else { continue };
        match drift(&snapshot, uid, &look) {
            None => {
                told.remove(&uid);
            }
            // Said once: a difference that a person decided to live with is not said again and again.
            Some(seen) if told.get(&uid) == Some(&seen) => {}
            Some(seen) => {
                told.insert(uid, seen);
                tracing::info!(server = %server.entry.name, "a server shows other definitions than the approved ones");
                report.hint(uid);
            }
        }
        tokio::time::sleep(Duration::from_millis(100)).await;
    }
}

/// A digest of the definitions that differ from their pins; none when none does.
pub(super) fn drift(snapshot: &Snapshot, server: Uid, look: &Look) -> Option<Fingerprint> {
    let mut differing = Vec::new();
    let lists = [(DefinitionKind::Tool, &look.tools), (DefinitionKind::Prompt, &look.prompts)];
    for (kind, definitions) in lists {
        for definition in definitions {
            if let Some(seen) = differs(snapshot, server, kind, definition) {
                differing.extend_from_slice(seen.as_bytes());
            }
        }
    }
    (!differing.is_empty()).then(|| Fingerprint::from_bytes(sha256(&differing)))
}

fn differs(
    snapshot: &Snapshot,
    server: Uid,
    kind: DefinitionKind,
    definition: &RawValue,
) -> Option<Fingerprint> {
    let name = object::string(object::member(definition, "name")?)?;
    let approved = snapshot.definition(&server, kind, &name)?;
    let seen = fingerprint_json(definition.get().as_bytes()).ok()?;
    (seen != approved.pin).then_some(seen)
}
