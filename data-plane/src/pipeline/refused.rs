//! The audit record of a request that never became a call: somebody known sent it, and it was refused for its path, its form,
//! or want of room.

use std::borrow::Cow;
use std::sync::atomic::Ordering;

use portcullis_mcp::Era;
use portcullis_policy::{Denial, Principal, Reason, SnapshotVersion, live};

use super::Pipeline;
use super::context::{Admitted, Arrival, Trace};
use super::metrics::micros;
use super::record::{NoRecord, blank_of, cut, endpoint_path};
use crate::ledger::{AuditRecord, Decision, LatencySplit, Outcome, Sizes};

/// What is known of it.
#[derive(Debug)]
pub(crate) struct Refused<'a> {
    pub(crate) arrival: Arrival,
    pub(crate) principal: &'a Principal,
    pub(crate) snapshot: SnapshotVersion,
    /// The method that it asked for; that of HTTP where nothing else was read.
    pub(crate) method: Cow<'a, str>,
    pub(crate) path: Cow<'a, str>,
    pub(crate) era: Era,
    pub(crate) trace: Trace,
    /// Bytes of its body, as far as it was read.
    pub(crate) bytes: u64,
}

impl<'a> Refused<'a> {
    /// A request whose sender reaches its endpoint.
    pub(crate) fn of(admitted: &'a Admitted, era: Era, method: &'a str) -> Self {
        Self {
            arrival: admitted.arrival,
            principal: &admitted.principal,
            snapshot: admitted.snapshot.version(),
            method: Cow::Borrowed(method),
            path: endpoint_path(admitted.view.endpoint()),
            era,
            trace: admitted.trace.clone(),
            bytes: admitted.request_bytes,
        }
    }

    /// With the method that its body names.
    pub(crate) fn named(self, method: &'a str) -> Self {
        Self { method: Cow::Borrowed(method), ..self }
    }

    /// With the bytes that were read of its body.
    pub(crate) const fn sized(mut self, bytes: usize) -> Self {
        self.bytes = bytes as u64;
        self
    }

    /// In the era that its body turned out to be of.
    pub(crate) const fn in_era(mut self, era: Era) -> Self {
        self.era = era;
        self
    }
}

impl Pipeline {
    /// Records a request that was refused for what only this plane knows (see [`live::REASONS`]). Without a place for its
    /// record it is counted as lost: the refusal is the same.
    pub(crate) fn note_refused(&self, refused: &Refused<'_>, reason: Reason) {
        self.note_denied(refused, &live::denial(reason, refused.snapshot, None));
    }

    /// The same for a denial.
    pub(crate) fn note_denied(&self, refused: &Refused<'_>, denial: &Denial) {
        if self.record_refused(refused, denial).is_err() {
            self.metrics().records_lost.fetch_add(1, Ordering::Relaxed);
        }
    }

    /// Records a refusal.
    ///
    /// # Errors
    /// [`NoRecord`] when there is no place for the record or the disk fails.
    pub(crate) fn record_refused(&self, refused: &Refused<'_>, denial: &Denial) -> Result<(), NoRecord> {
        let place = self.spool().reserve().map_err(|_| NoRecord)?;
        let took = micros(refused.arrival.at.elapsed());
        let record = AuditRecord {
            decision: Decision::Deny,
            reason: Some(denial.reason),
            rule: Some(denial.rule.to_string()),
            latency_micros: LatencySplit { total: took, decide: took, upstream: 0 },
            bytes: Sizes { request: refused.bytes, response: 0 },
            outcome: Outcome::Error,
            server: denial.server.clone(),
            zone: denial.zone.clone(),
            ..blank_of(
                refused.arrival,
                refused.principal,
                denial.snapshot,
                Cow::Owned(cut(&refused.method).as_ref().to_owned()),
                Cow::Owned(cut(&refused.path).as_ref().to_owned()),
                refused.era,
                &refused.trace,
            )
        };
        place.write(&record).map_err(|error| {
            tracing::error!(%error, "an audit record could not be written");
            NoRecord
        })
    }
}
