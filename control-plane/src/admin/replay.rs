//! Recorded calls decided again by what documents would put in force: those that the caller sends, and those of every
//! connected data plane.

use std::collections::{BTreeMap, HashSet};
use std::sync::Arc;

use portcullis_policy::Snapshot;
use portcullis_policy::circumstances::Era;
use portcullis_policy::reason::Reason;
use portcullis_policy::replay::{MAX_GROUPS, RecordedCall, RecordedKind, Replay, Replayed};
use portcullis_policy::resource::PlaneLabels;
use portcullis_proto::config::v1 as wire;
use serde::Serialize;
use tonic::Status;

use crate::stream::Planes;

/// The most calls in one replay: their ids are kept, so that none counts twice.
const MAX_CALLS: usize = 1_000_000;
/// How many groups are told when not all are asked for.
const FEW: usize = 50;

/// What a replay comes to.
#[derive(Debug, Serialize)]
#[serde(rename_all = "camelCase")]
struct Outcome {
    since_unix_ms: u64,
    until_unix_ms: u64,
    #[serde(flatten)]
    replayed: Replayed,
    /// Records that cannot be read as calls: written by a newer version.
    unreadable: u64,
    sources: Vec<Named>,
}

/// One place with its name: `plane eu-1`, or `local` for what the caller sent.
#[derive(Debug, Serialize)]
struct Named {
    name: String,
    #[serde(flatten)]
    source: Source,
}

/// One place that records came from, or did not.
#[derive(Debug, Default, Serialize)]
#[serde(rename_all = "camelCase")]
struct Source {
    calls: u64,
    #[serde(skip_serializing_if = "Option::is_none")]
    kept_since_unix_ms: Option<u64>,
    #[serde(skip_serializing_if = "is_zero")]
    damaged: u64,
    /// Why it is not whole.
    #[serde(skip_serializing_if = "Option::is_none")]
    error: Option<String>,
}

#[allow(clippy::trivially_copy_pass_by_ref, reason = "serde hands a reference")]
const fn is_zero(number: &u64) -> bool {
    *number == 0
}

/// What is judged so far.
struct Judged {
    replay: Replay,
    seen: HashSet<[u8; 16]>,
    unreadable: u64,
}

/// One replay on its way.
pub(super) struct Judging {
    since_unix_ms: u64,
    until_unix_ms: u64,
    judged: Judged,
    sources: BTreeMap<String, Source>,
}

impl Judging {
    /// Of what is in force and what would be, over a window of time.
    pub(super) fn new(
        before: Arc<Snapshot>,
        after: Arc<Snapshot>,
        since_unix_ms: u64,
        until_unix_ms: u64,
    ) -> Self {
        let judged = Judged { replay: Replay::new(before, after), seen: HashSet::new(), unreadable: 0 };
        Self { since_unix_ms, until_unix_ms, judged, sources: BTreeMap::new() }
    }

    /// Decides calls of the source of this name, served by the plane of these labels where it is known; says whether there is
    /// room for more.
    pub(super) async fn take(
        mut self,
        source: &str,
        plane: Option<&Arc<PlaneLabels>>,
        calls: Vec<wire::RecordedCall>,
    ) -> Result<(Self, bool), Status> {
        let plane = plane.cloned();
        let window = self.since_unix_ms..self.until_unix_ms;
        let mut judged = self.judged;
        let work = tokio::task::spawn_blocking(move || {
            let mut count = 0;
            let mut room = true;
            for call in calls {
                if !window.contains(&call.unix_ms) {
                    continue;
                }
                room = judged.seen.len() < MAX_CALLS;
                if !room {
                    break;
                }
                count += u64::from(judged.take(&call, plane.as_ref()));
            }
            (judged, count, room)
        });
        let (judged, count, room) = work.await.map_err(|error| Status::internal(error.to_string()))?;
        self.judged = judged;
        let source = self.source(source);
        source.calls += count;
        if !room {
            source.error = Some(format!("a replay takes {MAX_CALLS} calls at most; later ones are left out"));
        }
        Ok((self, room))
    }

    fn source(&mut self, name: &str) -> &mut Source {
        self.sources.entry(name.to_owned()).or_default()
    }

    /// Asks every data plane, and decides what it tells.
    pub(super) async fn of_planes(mut self, planes: &Planes) -> Result<Self, Status> {
        for (name, asked) in planes.ask_records(self.since_unix_ms, self.until_unix_ms) {
            let labels = planes.labels(&name).map(Arc::new);
            let name = format!("plane {name}");
            let mut stream = match asked {
                Ok(stream) => stream,
                Err(error) => {
                    self.source(&name).error = Some(error.to_string());
                    continue;
                }
            };
            self.source(&name);
            loop {
                let chunk = match stream.next().await {
                    Ok(Some(chunk)) => chunk,
                    Ok(None) => break,
                    Err(error) => {
                        self.source(&name).error = Some(error.to_string());
                        break;
                    }
                };
                if chunk.last {
                    let source = self.source(&name);
                    source.damaged = chunk.damaged;
                    source.kept_since_unix_ms = Some(chunk.kept_since_unix_ms).filter(|since| *since > 0);
                    source.error = Some(chunk.error).filter(|error| !error.is_empty());
                }
                let room;
                (self, room) = self.take(&name, labels.as_ref(), chunk.calls).await?;
                if !room {
                    break;
                }
            }
        }
        Ok(self)
    }

    /// The answer as JSON.
    pub(super) fn finish(self, full: bool) -> Result<String, Status> {
        let outcome = Outcome {
            since_unix_ms: self.since_unix_ms,
            until_unix_ms: self.until_unix_ms,
            replayed: self.judged.replay.finish(if full { MAX_GROUPS } else { FEW }),
            unreadable: self.judged.unreadable,
            sources: self.sources.into_iter().map(|(name, source)| Named { name, source }).collect(),
        };
        serde_json::to_string(&outcome).map_err(|error| Status::internal(error.to_string()))
    }
}

impl Judged {
    /// Decides one call again, unless it was told already; says whether it did.
    fn take(&mut self, call: &wire::RecordedCall, plane: Option<&Arc<PlaneLabels>>) -> bool {
        let Ok(id) = <[u8; 16]>::try_from(&*call.request_id) else {
            self.unreadable += 1;
            return false;
        };
        if !self.seen.insert(id) {
            return false;
        }
        match read(call, plane) {
            Some(call) => self.replay.take(&call),
            None => self.unreadable += 1,
        }
        true
    }
}

fn read(call: &wire::RecordedCall, plane: Option<&Arc<PlaneLabels>>) -> Option<RecordedCall> {
    let kind = match call.method.as_str() {
        "tools/call" => RecordedKind::Tool,
        "prompts/get" => RecordedKind::Prompt,
        "resources/read" => RecordedKind::Resource,
        _ => return None,
    };
    let denied = match call.reason.as_str() {
        "" => None,
        code => Some(*Reason::ALL.iter().find(|reason| reason.code() == code)?),
    };
    let era = [Era::Modern, Era::Legacy].into_iter().find(|era| era.as_str() == call.era);
    Some(RecordedCall {
        key: call.key.clone(),
        key_uid: call.key_uid.parse().ok()?,
        endpoint: call.endpoint.clone(),
        kind,
        name: call.name.clone(),
        server: Some(call.server.clone()).filter(|server| !server.is_empty()),
        unix_ms: call.unix_ms,
        era,
        plane: plane.cloned(),
        denied,
        released: call.approved,
    })
}
