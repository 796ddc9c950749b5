//! What a call costs and who pays: settled once, before its record is written, however the call ends.

use portcullis_mcp::{Method, object};
use portcullis_policy::metering::Cost;
use portcullis_policy::{Permit, Target};
use serde_json::value::RawValue;

use super::context::Request;
use super::record::Recorder;
use crate::metering::{Asked, Ended, Entered};

/// The bill of one call.
#[derive(Debug, Default)]
pub(super) struct Bill {
    /// What it costs, where it costs anything.
    cost: Option<Cost>,
    /// What pays for it, where anything meters it.
    entered: Option<Entered>,
    /// From here on the upstream may have it.
    sent: bool,
}

impl Bill {
    pub(super) fn of(permit: &Permit, request: &Request, entered: Option<Entered>) -> Self {
        let cost = match permit.target() {
            Target::Tool(_) if request.method == Method::ToolsCall => permit.cost(),
            _ => None,
        };
        let cost = cost.filter(|cost| cost.max > 0 || cost.from.is_some()).cloned();
        Self { cost, entered, sent: false }
    }

    /// Whether metering has still to let the call pass.
    pub(super) fn is_due(&self, permit: &Permit, request: &Request) -> bool {
        self.entered.is_none() && is_metered(request.method) && permit.is_metered()
    }

    pub(super) fn entered(&mut self, entered: Option<Entered>) {
        self.entered = entered;
    }

    pub(super) const fn sent(&mut self) {
        self.sent = true;
    }

    /// What the server says that the call cost: a whole number in the member of the result's `_meta` that is named for it.
    pub(super) fn told(&self, result: &RawValue) -> Option<u64> {
        let from = self.cost.as_ref()?.from.as_deref()?;
        // A member that is there twice tells nothing.
        let [meta] = object::pick(result, ["_meta"])?;
        let [told] = object::pick(meta?, [from])?;
        told?.get().parse().ok()
    }

    /// Pays, once.
    pub(super) fn pay(&mut self, ended: Ended, recorder: Option<&mut Recorder>) {
        let Self { cost, entered, sent } = std::mem::take(self);
        let ended = if sent { ended } else { Ended::Unsent };
        let (paid, spent) = match (entered, &cost) {
            (Some(entered), _) => {
                let settled = entered.settle(ended);
                (settled.cost_micro_usd, settled.spent)
            }
            (None, Some(cost)) => (ended.price(cost).micro_usd, None),
            (None, None) => return,
        };
        if let Some(recorder) = recorder.filter(|_| sent) {
            recorder.paid(cost.map(|_| paid), spent);
        }
    }
}

/// Requests that use something of a server.
pub(super) const fn is_metered(method: Method) -> bool {
    matches!(method, Method::ToolsCall | Method::PromptsGet | Method::ResourcesRead)
}

impl Request {
    /// What the loop breaker tells calls apart by.
    pub(super) fn asked(&self) -> Asked<'_> {
        Asked {
            method: self.method.as_str(),
            name: self.name.as_deref().or(self.uri.as_deref()).unwrap_or_default(),
            arguments: self.arguments(),
        }
    }
}
