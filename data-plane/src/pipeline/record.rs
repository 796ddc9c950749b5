//! The audit record of one call, filled while the call goes its way, and written before the last byte of its answer.
//!
//! Dropped before it was settled it writes what it has as *cancelled*: a caller that goes away leaves a record too.

use std::borrow::Cow;
use std::sync::Arc;
use std::time::{Duration, Instant};

use chrono::{DateTime, Utc};
use portcullis_mcp::{Era, object};
use portcullis_policy::resource::{AuditMode, Name};
use portcullis_policy::{
    Denial, Endpoint, Permit, Principal, Reason, Server, Snapshot, SnapshotVersion, Target, live,
};
use portcullis_telemetry::RequestTrace;

use super::context::{Admitted, Arrival, Client, Request, Trace};
use super::metrics::{Metrics, micros};
use super::tally;
use crate::ledger::{
    ApprovalFacts, AuditRecord, Decision, KeyFacts, LatencySplit, Outcome, Place, PrincipalFacts, Sizes,
    SpentFacts, Spool, UpstreamFacts,
};

/// Names that a caller chose and nobody approved are cut to this many bytes.
const MAX_CALLER_TEXT: usize = 256;

/// The record could not be kept.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct NoRecord;

/// One record in the making.
#[derive(Debug)]
pub(super) struct Recorder {
    place: Option<Place>,
    record: Option<Box<AuditRecord>>,
    metrics: Metrics,
    /// The call's span, where one is exported. Ends with this.
    trace: RequestTrace,
    started: Instant,
    dispatched: Option<Instant>,
    approved_name: Arc<str>,
    snapshot: Arc<Snapshot>,
    principal: Arc<Principal>,
    /// The server that it was let through to, and whether that still stands.
    server: Option<Arc<Server>>,
}

impl Recorder {
    /// Reserves a place and begins the record. Where audit is best effort it goes on without a place.
    ///
    /// # Errors
    /// [`NoRecord`] when there is no place and one is required.
    pub(super) fn begin(
        spool: &Spool,
        metrics: &Metrics,
        audit: AuditMode,
        admitted: &Admitted,
        client: &Client,
        request: &Request,
    ) -> Result<Self, NoRecord> {
        let place = match (spool.reserve(), audit) {
            (Ok(place), _) => Some(place),
            (Err(full), AuditMode::BestEffort) => {
                tracing::debug!(%full, "no place for an audit record");
                metrics.records_lost.fetch_add(1, std::sync::atomic::Ordering::Relaxed);
                None
            }
            (Err(_), _) => return Err(NoRecord),
        };
        let caller = client.trace.parent.as_deref().and_then(|text| text.parse().ok());
        let trace = portcullis_telemetry::request(request.method.as_str(), caller.as_ref());
        let mut record = Box::new(blank(admitted, client, request));
        if trace.is_recorded() {
            record.trace_id = Some(trace.context().trace_id_hex());
            record.span_id = Some(trace.context().span_id_hex());
        }
        Ok(Self {
            place,
            record: Some(record),
            metrics: metrics.clone(),
            trace,
            started: admitted.arrival.at,
            dispatched: None,
            approved_name: Arc::from(""),
            snapshot: Arc::clone(&admitted.snapshot),
            principal: Arc::clone(&admitted.principal),
            server: None,
        })
    }

    /// Where the call's own span stands, for what it asks of others. None where it has none: then the caller's is passed on, since
    /// a span that nobody exports would only tear the trace.
    pub(super) fn traceparent(&self) -> Option<String> {
        self.trace.is_recorded().then(|| self.trace.context().to_string())
    }

    /// Says what was permitted.
    pub(super) fn permitted(&mut self, permit: &Permit) {
        let server = permit.server();
        self.server = Some(Arc::clone(server));
        let Some(record) = &mut self.record else { return };
        record.rule = Some(permit.rule().to_string());
        record.server = Some(server.name().clone());
        record.zone = Some(permit.zone().entry.name.clone());
        record.shadow = names(permit.shadow());
        match permit.target() {
            Target::Tool(tool) => {
                record.tool = Some(Arc::clone(&tool.name));
                self.approved_name = Arc::clone(tool.exposed.as_ref().unwrap_or(&tool.name));
            }
            Target::Prompt(prompt) => {
                record.prompt = Some(Arc::clone(&prompt.name));
                self.approved_name = Arc::clone(prompt.exposed.as_ref().unwrap_or(&prompt.name));
            }
            Target::Resource { uri } => record.resource = Some(Arc::clone(uri)),
            Target::Server => {}
        }
    }

    /// Says for which approval the call is held back, or, with who gave it, by which it is let through.
    pub(super) fn approval(&mut self, id: &str, by: Option<&str>) {
        if let Some(record) = &mut self.record {
            record.approval = Some(Box::new(ApprovalFacts { id: cut(id), by: by.map(cut) }));
        }
    }

    /// The time for deciding is over.
    pub(super) fn decided(&mut self) {
        if let Some(record) = &mut self.record {
            record.latency_micros.decide = micros(self.started.elapsed());
        }
    }

    /// From here on the upstream is waited for.
    pub(super) fn dispatched(&mut self) {
        self.dispatched = Some(Instant::now());
    }

    /// What the upstream did.
    pub(super) fn upstream(&mut self, status: Option<u16>, era: Option<&'static str>) {
        if let Some(record) = &mut self.record {
            record.upstream = Some(UpstreamFacts { status, era: era.map(Cow::Borrowed) });
        }
    }

    /// What it cost, and what paid for it has spent by now.
    pub(super) fn paid(&mut self, cost_micro_usd: Option<u64>, spent: Option<Box<SpentFacts>>) {
        if let Some(record) = &mut self.record {
            record.cost_micro_usd = cost_micro_usd;
            record.spent = spent;
        }
    }

    /// Adds bytes that were sent before the answer's end.
    pub(super) fn sent(&mut self, bytes: usize) {
        if let Some(record) = &mut self.record {
            record.bytes.response += bytes as u64;
        }
    }

    /// Says what the call met after it was let through: the decision and the rule that go with it, by the one table that
    /// `explain` answers by too. `server` is none where there are several.
    pub(super) fn met(&mut self, reason: Reason, server: Option<&Server>) {
        let Some(record) = &mut self.record else { return };
        let met = live::met(reason, server);
        record.decision = met.decision.into();
        if let Some(rule) = met.rule {
            record.rule = Some(rule.to_string());
        }
    }

    /// Writes the record of a call that was let through.
    ///
    /// # Errors
    /// [`NoRecord`] when the disk fails.
    pub(super) fn settle(mut self, outcome: Outcome, reason: Option<Reason>) -> Result<(), NoRecord> {
        if let Some(record) = &mut self.record {
            record.reason = reason;
        }
        if let Some(reason) = reason {
            self.metrics.denied(reason);
        }
        self.write(outcome)
    }

    /// Writes the record of a call that was denied, also of one that ran until a new snapshot denied it.
    ///
    /// # Errors
    /// [`NoRecord`] when the disk fails.
    pub(super) fn deny(mut self, denial: &Denial) -> Result<(), NoRecord> {
        self.metrics.denied(denial.reason);
        if let Some(record) = &mut self.record {
            record.decision = Decision::Deny;
            record.reason = Some(denial.reason);
            record.rule = Some(denial.rule.to_string());
            record.shadow = names(&denial.shadow);
            record.snapshot_version = denial.snapshot.0;
            record.server = record.server.take().or_else(|| denial.server.clone());
            record.zone = record.zone.take().or_else(|| denial.zone.clone());
            if record.prompt.is_none() && record.method == "prompts/get" {
                record.prompt.clone_from(&denial.tool);
            } else if record.tool.is_none() {
                record.tool.clone_from(&denial.tool);
            }
        }
        self.server = None;
        self.count_denial(denial);
        self.write(Outcome::Error)
    }

    fn count_denial(&self, denial: &Denial) {
        let Some(record) = &self.record else { return };
        let named = record.server.as_ref();
        let server =
            named.and_then(|name| tally::denied_server(&self.snapshot, &self.principal, name.as_str()));
        if let Some(server) = server {
            self.metrics.tally.denied(server, &record.method, denial.reason);
        }
    }

    fn write(&mut self, outcome: Outcome) -> Result<(), NoRecord> {
        let Some(mut record) = self.record.take() else { return Ok(()) };
        let took = self.started.elapsed();
        let waited = self.dispatched.map_or(Duration::ZERO, |since| since.elapsed());
        record.outcome = outcome;
        record.latency_micros.total = micros(took);
        record.latency_micros.upstream = micros(waited);
        let method = portcullis_mcp::Method::parse(&record.method).map_or("", |method| method.as_str());
        if let Some(server) = &self.server {
            match record.reason.filter(|_| record.decision == Decision::Deny) {
                Some(reason) => self.metrics.tally.denied(server, method, reason),
                None => self.metrics.tally.called(server, method, outcome, record.reason),
            }
        }
        self.metrics.ended(record.server.as_ref(), method, &self.approved_name, outcome, took, waited);
        if self.trace.is_recorded() {
            describe(&mut self.trace, &record, &self.approved_name);
        }
        let Some(place) = self.place.take() else { return Ok(()) };
        place.write(&record).map_err(|error| {
            self.metrics.records_lost.fetch_add(1, std::sync::atomic::Ordering::Relaxed);
            tracing::error!(%error, "an audit record could not be written");
            NoRecord
        })
    }
}

impl Drop for Recorder {
    fn drop(&mut self) {
        // The caller is gone: there is nobody to tell that the record failed, and the failure was logged.
        let _ = self.write(Outcome::Cancelled);
    }
}

/// What a span tells of its call: names that were configured or approved, and codes.
fn describe(trace: &mut RequestTrace, record: &AuditRecord, approved_name: &Arc<str>) {
    trace.set("mcp.method", record.method.clone().into_owned());
    trace.set("portcullis.request_id", record.request_id.to_string());
    if let Some(server) = &record.server {
        trace.set("portcullis.server", server.to_string());
    }
    if !approved_name.is_empty() {
        trace.set("portcullis.tool", approved_name.to_string());
    }
    trace.set("portcullis.decision", record.decision.as_str());
    trace.set("portcullis.outcome", record.outcome.as_str());
    if let Some(reason) = record.reason {
        trace.set("portcullis.reason", reason.code());
        trace.fail(reason.code());
    }
}

fn blank(admitted: &Admitted, client: &Client, request: &Request) -> AuditRecord {
    AuditRecord {
        resource: request.uri.as_deref().map(cut),
        exposed_name: request.name.as_deref().map(cut),
        client_hint: hint(admitted, client),
        bytes: Sizes { request: admitted.request_bytes, response: 0 },
        ..blank_of(
            admitted.arrival,
            &admitted.principal,
            admitted.snapshot.version(),
            Cow::Borrowed(request.method.as_str()),
            endpoint_path(admitted.view.endpoint()),
            client.era,
            &client.trace,
        )
    }
}

pub(super) fn blank_of(
    arrival: Arrival,
    principal: &Principal,
    snapshot: SnapshotVersion,
    method: Cow<'static, str>,
    endpoint: Cow<'static, str>,
    era: Era,
    trace: &Trace,
) -> AuditRecord {
    let time = i64::try_from(arrival.unix_ms).ok().and_then(DateTime::<Utc>::from_timestamp_millis);
    AuditRecord {
        request_id: arrival.request_id,
        time: time.unwrap_or_default(),
        method,
        endpoint,
        era: Cow::Borrowed(era.as_str()),
        decision: Decision::Permit,
        reason: None,
        rule: None,
        shadow: Vec::new(),
        approval: None,
        snapshot_version: snapshot.0,
        principal: PrincipalFacts { kind: principal.kind, subject: Arc::clone(&principal.subject) },
        key: KeyFacts { name: principal.key_name.clone(), uid: principal.key_uid },
        team: principal.team.clone(),
        customer: principal.customer.clone(),
        server: None,
        zone: None,
        tool: None,
        prompt: None,
        resource: None,
        exposed_name: None,
        client_hint: None,
        latency_micros: LatencySplit::default(),
        bytes: Sizes::default(),
        upstream: None,
        outcome: Outcome::Cancelled,
        cost_micro_usd: None,
        spent: None,
        trace_id: trace.trace_id().map(str::to_owned),
        span_id: trace.span_id().map(str::to_owned),
        truncated: Vec::new(),
    }
}

/// `clientInfo.name`, cut: also one that no rule believes to be a name.
fn hint(admitted: &Admitted, client: &Client) -> Option<Arc<str>> {
    if let Some(program) = &admitted.standpoint.program {
        return Some(cut(&program.name));
    }
    let name = object::member(client.info.as_deref()?, "name").and_then(object::string)?;
    Some(cut(&name))
}

pub(super) fn cut(text: &str) -> Arc<str> {
    let end = (0..=MAX_CALLER_TEXT.min(text.len())).rev().find(|at| text.is_char_boundary(*at));
    Arc::from(text.get(..end.unwrap_or(0)).unwrap_or_default())
}

fn names(policies: &[Name]) -> Vec<Arc<str>> {
    policies.iter().map(|name| Arc::from(name.as_str())).collect()
}

pub(super) fn endpoint_path(endpoint: &Endpoint) -> Cow<'static, str> {
    match endpoint {
        Endpoint::All => Cow::Borrowed("/mcp"),
        other => Cow::Owned(other.to_string()),
    }
}

/// What a denial needs of its record: what the zone says, and a record where no zone is known.
pub(super) fn audit_of(admitted: &Admitted, zone: Option<&Name>) -> AuditMode {
    let known = zone.and_then(|name| admitted.snapshot.zone(name.as_str()));
    known.map_or(AuditMode::Required, |zone| zone.entry.audit)
}
