//! The order of the journey of a call, and nothing else: resolve, decide, reserve, dispatch, relay, settle, record.
//!
//! It alone knows that order. The rooms it calls do not know each other, and it knows no HTTP beyond the answers of the one
//! table in `portcullis_mcp::respond`.

mod bill;
mod call;
mod capability;
mod context;
mod course;
mod downward;
mod feed;
mod flight;
mod held;
mod limited;
mod lists;
mod locate;
mod metrics;
mod record;
mod refused;
mod relay;
mod rendered;
pub(crate) mod shards;
pub(crate) mod standing;
mod tally;
mod tokens;
mod upward;

use std::sync::Arc;

use portcullis_mcp::respond::Answer;
use tokio_util::sync::CancellationToken;

pub use call::Carried;
pub use context::{Admitted, Arrival, Client, Clock, Program, Request, Standpoint, Trace, empty_object};
pub(crate) use downward::is_log_level;
pub(crate) use feed::{Feed, Wanted};
pub(crate) use flight::Held;
pub use metrics::{Figures, Metrics};
pub(crate) use refused::Refused;
pub(crate) use relay::IDLE;
pub use relay::{Frame, Relay};
pub use rendered::Rendered;
pub use tally::{Counted, ServerCounts, Tally};
pub use upward::Undeliverable;

use crate::ledger::Spool;
use crate::metering::Metering;
use crate::sync::{CallDesk, Live, SecretsHandle};
use crate::upstream::Upstreams;

/// Requests that one plane serves at once; beyond it callers are asked to come again.
const MAX_IN_FLIGHT: u64 = 10_000;

/// What the journey needs. All of it is shared by clones.
#[derive(Debug, Clone)]
pub struct PipelineParts {
    /// What is enforced.
    pub live: Live,
    /// Keys for sealed tokens.
    pub secrets: SecretsHandle,
    /// The way out.
    pub upstreams: Upstreams,
    /// Asks for calls that a person has to approve.
    pub calls: CallDesk,
    /// What calls may use.
    pub metering: Metering,
    /// Where records go.
    pub spool: Spool,
    /// The time.
    pub clock: Clock,
    /// Figures.
    pub metrics: Metrics,
    /// Cancelled to end every call at once; each is recorded as cancelled.
    pub abort: CancellationToken,
}

/// The journey. Clones share everything.
#[derive(Debug, Clone)]
pub struct Pipeline(Arc<PipelineParts>);

/// What a caller gets.
#[derive(Debug)]
pub enum Answered {
    /// All at once.
    Reply(Answer),
    /// In pieces.
    Relay(Box<Relay>),
    /// Not at all: the caller cancelled.
    Cancelled,
}

impl Pipeline {
    /// Puts the journey together.
    #[must_use]
    pub fn new(parts: PipelineParts) -> Self {
        Self(Arc::new(parts))
    }

    pub(crate) fn live(&self) -> &Live {
        &self.0.live
    }

    pub(crate) fn secrets(&self) -> &SecretsHandle {
        &self.0.secrets
    }

    pub(crate) fn upstreams(&self) -> &Upstreams {
        &self.0.upstreams
    }

    pub(crate) fn clock(&self) -> &Clock {
        &self.0.clock
    }

    pub(crate) fn metrics(&self) -> &Metrics {
        &self.0.metrics
    }

    pub(crate) fn abort(&self) -> &CancellationToken {
        &self.0.abort
    }

    pub(crate) fn calls(&self) -> &CallDesk {
        &self.0.calls
    }

    pub(crate) fn metering(&self) -> &Metering {
        &self.0.metering
    }

    pub(crate) fn spool(&self) -> &Spool {
        &self.0.spool
    }
}
