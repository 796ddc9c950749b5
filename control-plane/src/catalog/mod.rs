//! The catalog: what the registered servers offer, as data planes see it, against what people approved.
//!
//! Control planes never talk to upstream servers. Data planes probe them and report; the catalog compares each definition's
//! fingerprint with what is stored and keeps what is new or changed for a decision. `approvals` makes the decisions,
//! `publish` takes [`entries`] and [`server_facts`] into snapshots. Nothing in here trusts a word of an upstream: it is
//! compared, bounded, quoted, and shown to a person.

mod definition;
mod lifecycle;
mod look;
mod observation;
mod offer;
mod reconcile;
mod server;
mod shape;
mod status;
mod view;

use std::sync::Arc;

use portcullis_policy::resource::Uid;
use portcullis_proto::config::v1::{ProbeReport, ServerUse};

use crate::clock::Clock;
use crate::store::{State, Store, TransactError, transact};

pub use definition::{
    Approved, DEFINITION, DefinitionKind, Denied, Offered, Standing, StoredDefinition, Verdict, approval_id,
    object_name,
};
pub use lifecycle::{decided, lifecycle, server_state};
pub use look::names;
pub use observation::{OBSERVATION, Observation};
pub use offer::{BadReport, MAX_DEFINITION_BYTES, MAX_DEFINITIONS, Problems};
pub use reconcile::NoServer;
pub use status::{Health, ServerStatus};
pub use view::{entries, known_tools, ops_for_deleted_server, server_facts};

pub(crate) use definition::IDENTITY_NAME;
pub(crate) use lifecycle::advance;
pub(crate) use reconcile::stored as stored_definitions;
pub(crate) use reconcile::write as write_definition;
pub(crate) use server::rules as server_rules;
pub(crate) use server::transport as server_transport;

/// How many transactions one report may take: a server that changes wholesale needs several.
const MAX_BATCHES: usize = 16;

/// Why a report was not taken in.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum ReportError {
    /// The plane's fault.
    #[error(transparent)]
    Bad(#[from] BadReport),
    /// Nobody's fault: the server was deleted meanwhile.
    #[error(transparent)]
    NoServer(#[from] NoServer),
    /// The store's; the next probe tries again.
    #[error("the store did not take the report: {0}")]
    Store(String),
    /// A fault of Portcullis itself.
    #[error("internal error: {0}")]
    Internal(String),
}

/// Takes in what data planes report. Cheap to clone.
#[derive(Clone)]
pub struct Catalog {
    store: Arc<dyn Store>,
    clock: Clock,
    status: Arc<status::Board>,
}

impl std::fmt::Debug for Catalog {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Catalog").finish_non_exhaustive()
    }
}

impl Catalog {
    /// A catalog over this store.
    #[must_use]
    pub fn new(store: Arc<dyn Store>, clock: Clock) -> Self {
        Self::with_allowance(store, clock, status::ALLOWANCE_BYTES)
    }

    /// The same with another bound on what one server may make the store write at once, in bytes of journal. It regains
    /// 4 KiB a second. What is beyond it waits for a later probe, except that nothing stays served which changed.
    #[must_use]
    pub fn with_allowance(store: Arc<dyn Store>, clock: Clock, bytes: u64) -> Self {
        Self { store, clock, status: Arc::new(status::Board::new(bytes)) }
    }

    /// Takes in one report of one plane. One that changes nothing makes no transaction.
    ///
    /// # Errors
    /// See [`ReportError`]; nothing of the report is kept then, or the part that a next report completes.
    pub async fn report(&self, plane: &str, report: ProbeReport) -> Result<(), ReportError> {
        let uid = offer::server_uid(&report)?;
        let now = self.clock.now_unix_ms();
        if server::by_uid(&self.store.state(), &uid).is_none() {
            return Err(NoServer.into());
        }
        if !report.reachable {
            self.status.down(uid, plane, now, &report.error);
            return Ok(());
        }
        let counts = (report.tools_json.len(), report.prompts_json.len());
        let took_micros = report.took_micros;
        // Up to 32 MiB of JSON: not on a thread that others wait for.
        let offer = tokio::task::spawn_blocking(move || offer::judge(&report))
            .await
            .map_err(|error| ReportError::Internal(error.to_string()))?
            .inspect_err(|error| self.status.down(uid, plane, now, &error.to_string()))?;
        let mut problems = offer.problems.clone();
        let withheld = self.take_in(plane, offer, now).await?;
        if withheld > 0 {
            problems.add(format!(
                "{withheld} definitions change faster than is taken in; they wait for a later probe"
            ));
        }
        self.status.up(uid, plane, now, took_micros, counts, problems);
        self.status.retain(&self.store.state());
        Ok(())
    }

    async fn take_in(&self, plane: &str, mut offer: offer::Offer, now: u64) -> Result<usize, ReportError> {
        let author = format!("plane/{plane}");
        let mut left = 0;
        let mut looked = false;
        for _ in 0..MAX_BATCHES {
            let allowance = self.status.allowance(offer.server, now);
            let state = self.store.state();
            // Most reports change nothing: they do not queue up with writers.
            let first = reconcile::reconcile(&state, &offer, now, allowance)?;
            if first.unseen > 0 && !looked {
                // A server may bring thousands at once: not on a thread that others wait for.
                offer = tokio::task::spawn_blocking(move || {
                    look::look(&state, &mut offer);
                    offer
                })
                .await
                .map_err(|error| ReportError::Internal(error.to_string()))?;
                looked = true;
                continue;
            }
            if first.ops.is_empty() {
                return Ok(first.withheld);
            }
            let (new, changed, gone) = first.counts;
            let name = server::by_uid(&state, &offer.server).map(|object| object.name.clone());
            let message = format!(
                "probe of {}: {new} new, {changed} changed, {gone} gone",
                name.as_deref().unwrap_or_default()
            );
            let (_, batch) = transact(&*self.store, &author, &message, now, |state| {
                let mut batch = reconcile::reconcile(state, &offer, now, allowance)?;
                let ops = std::mem::take(&mut batch.ops);
                Ok((ops, batch))
            })
            .await
            .map_err(|error| match error {
                TransactError::Refused(gone) => ReportError::NoServer(gone),
                other => ReportError::Store(other.to_string()),
            })?;
            self.status.spend(offer.server, now, batch.cost);
            if batch.left == 0 {
                return Ok(batch.withheld);
            }
            left = batch.left + batch.withheld;
        }
        Ok(left)
    }

    /// Takes in when servers were called last, as planes tell it.
    pub(crate) fn used(&self, state: &State, uses: &[ServerUse]) {
        self.status.used(state, uses, self.clock.now_unix_ms());
    }

    /// What is known of a server's health since this process started.
    #[must_use]
    pub fn status(&self, uid: &Uid) -> Option<ServerStatus> {
        self.status.get(uid)
    }

    /// All that `get` and `describe` show of a server beside its document, as a JSON object.
    #[must_use]
    pub fn describe(&self, state: &State, uid: &Uid) -> serde_json::Value {
        status::describe(state, uid, self.status(uid).unwrap_or_default())
    }
}
