//! Recorded calls counted by who made them or what they went to, over the records of all connected planes.

use std::collections::{HashMap, HashSet};
use std::str::FromStr;
use std::sync::Arc;

use portcullis_policy::Snapshot;
use portcullis_policy::reason::Reason;
use portcullis_proto::admin::v1 as proto;
use portcullis_proto::config::v1 as wire;

use crate::stream::Planes;

/// The most calls in one count: their ids are kept, so that none counts twice.
const MAX_CALLS: usize = 1_000_000;
/// The most names in one answer; what further ones used stands under [`OTHERS`].
const MAX_NAMES: usize = 100_000;
const OTHERS: &str = "(others)";
const NOBODY: &str = "-";

/// What calls are counted by.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum By {
    Customer,
    Team,
    Key,
    Principal,
    Server,
    Tool,
}

impl FromStr for By {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        Ok(match text {
            "customer" => Self::Customer,
            "team" => Self::Team,
            "key" => Self::Key,
            "principal" => Self::Principal,
            "server" => Self::Server,
            "tool" => Self::Tool,
            other => {
                let all = "customer, team, key, principal, server or tool";
                return Err(format!("{other:?} is nothing that calls are counted by: it is {all}"));
            }
        })
    }
}

/// One count on its way.
pub(super) struct Tally {
    by: By,
    /// Knows the teams, customers and principals of keys.
    snapshot: Arc<Snapshot>,
    since_unix_ms: u64,
    until_unix_ms: u64,
    seen: HashSet<[u8; 16]>,
    counts: HashMap<String, proto::UsageCount>,
    missing: Vec<String>,
}

impl Tally {
    pub(super) fn new(by: By, snapshot: Arc<Snapshot>, since_unix_ms: u64, until_unix_ms: u64) -> Self {
        let (seen, counts, missing) = (HashSet::new(), HashMap::new(), Vec::new());
        Self { by, snapshot, since_unix_ms, until_unix_ms, seen, counts, missing }
    }

    /// Asks every data plane, and counts what it tells.
    pub(super) async fn of_planes(mut self, planes: &Planes) -> proto::CountUsageResponse {
        for (name, asked) in planes.ask_records(self.since_unix_ms, self.until_unix_ms) {
            let mut stream = match asked {
                Ok(stream) => stream,
                Err(error) => {
                    self.missing.push(format!("{name}: {error}"));
                    continue;
                }
            };
            loop {
                match stream.next().await {
                    Ok(Some(chunk)) => {
                        if !chunk.error.is_empty() {
                            self.missing.push(format!("{name}: {}", chunk.error));
                        }
                        if !chunk.calls.iter().all(|call| self.take(call)) {
                            self.missing.push(format!(
                                "{name}: a count takes {MAX_CALLS} calls at most; later ones are left out"
                            ));
                            break;
                        }
                    }
                    Ok(None) => break,
                    Err(error) => {
                        self.missing.push(format!("{name}: {error}"));
                        break;
                    }
                }
            }
        }
        let mut counts: Vec<proto::UsageCount> = self.counts.into_values().collect();
        counts.sort_by(|a, b| b.calls.cmp(&a.calls).then_with(|| a.name.cmp(&b.name)));
        proto::CountUsageResponse { counts, missing: self.missing }
    }

    /// Counts a call, once; says whether there was room for it.
    fn take(&mut self, call: &wire::RecordedCall) -> bool {
        let Ok(id) = <[u8; 16]>::try_from(&*call.request_id) else { return true };
        if !(self.since_unix_ms..self.until_unix_ms).contains(&call.unix_ms) || self.seen.contains(&id) {
            return true;
        }
        if self.seen.len() >= MAX_CALLS {
            return false;
        }
        self.seen.insert(id);
        let mut name = self.name(call);
        if !self.counts.contains_key(&name) && self.counts.len() >= MAX_NAMES {
            OTHERS.clone_into(&mut name);
        }
        let count = self
            .counts
            .entry(name.clone())
            .or_insert_with(|| proto::UsageCount { name, ..Default::default() });
        match end(call) {
            End::Denied => count.denied += 1,
            End::Failed => {
                count.calls += 1;
                count.failed += 1;
            }
            End::Answered => count.calls += 1,
        }
        count.micro_usd = count.micro_usd.saturating_add(call.cost_micro_usd);
        true
    }

    fn name(&self, call: &wire::RecordedCall) -> String {
        let principal = || {
            let known = self.snapshot.key_by_name(&call.key);
            known.filter(|known| known.key_uid.to_string() == call.key_uid)
        };
        let name = match self.by {
            By::Customer => principal().and_then(|known| known.customer.as_ref()).map(ToString::to_string),
            By::Team => principal().and_then(|known| known.team.as_ref()).map(ToString::to_string),
            By::Principal => principal().map(|known| known.subject.to_string()),
            By::Key => Some(call.key.clone()),
            By::Server => Some(call.server.clone()),
            By::Tool
                if call.method == "tools/call" && !call.server.is_empty() && !call.own_name.is_empty() =>
            {
                Some(format!("{}/{}", call.server, call.own_name))
            }
            By::Tool => None,
        };
        name.filter(|name| !name.is_empty()).unwrap_or_else(|| NOBODY.to_owned())
    }
}

/// How a call ended.
enum End {
    Denied,
    Failed,
    Answered,
}

fn end(call: &wire::RecordedCall) -> End {
    let reason = Reason::ALL.iter().find(|reason| reason.code() == call.reason);
    match reason {
        None if call.reason.is_empty() && !call.tool_error => End::Answered,
        None if call.reason.is_empty() => End::Failed,
        Some(
            Reason::UpstreamUnavailable
            | Reason::UpstreamTimeout
            | Reason::UpstreamError
            | Reason::ResponseTooLarge,
        ) => End::Failed,
        // Also of a reason that a newer data plane knows: it has not to be counted as if it had gone well.
        _ => End::Denied,
    }
}

#[cfg(test)]
mod tests;
