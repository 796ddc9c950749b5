//! From the flat entries of a snapshot to the indexed, immutable [`Snapshot`] that decides: whole, or not at all.
//!
//! Both planes run this: the control plane before it publishes, so that what it signs compiles, and the data plane before it
//! swaps. What cannot be right is an error (dangling references, two claimants of a name); what is merely not servable is
//! reported, and denied when it is asked for.

mod admission;
mod build;
mod bundles;
mod clients;
mod conditions;
mod definitions;
mod error;
pub mod header_params;
mod keys;
pub(crate) mod model;
mod notes;

use std::collections::HashMap;
use std::sync::Arc;

use portcullis_seal::Fingerprint;

pub use error::CompileError;
pub use header_params::{HeaderParam, ParamKind};
pub use model::{Definition, Principal, Prompt, Server, Tool, Zone};

use crate::bundle::Bundle;
use crate::metering::Metered;
use crate::resource::{Name, PlaneLabels, Uid};
use crate::rule::DefinitionKind;
use crate::snapshot::{Entry, SnapshotHeader, SnapshotVersion};
use crate::standpoint::Standpoints;
use model::{Candidate, Offer, SnapshotMark};

/// All policy of one version, indexed. Immutable; shared by all requests that began while it was current.
#[derive(Debug)]
pub struct Snapshot {
    header: SnapshotHeader,
    plane: Option<PlaneLabels>,
    reports: Vec<String>,
    mark: Arc<SnapshotMark>,
    zones: HashMap<Name, Arc<Zone>>,
    servers: HashMap<Name, Arc<Server>>,
    /// Sandboxes by their own uids.
    sandboxes: HashMap<Uid, Arc<Server>>,
    /// Uids of servers, in the order of the servers' names.
    order: Vec<Uid>,
    offers: HashMap<Uid, Arc<Offer>>,
    bundles: HashMap<Name, Arc<Bundle>>,
    pub(crate) standpoints: Arc<Standpoints>,
    tools: HashMap<Arc<str>, Arc<Candidate>>,
    prompts: HashMap<Arc<str>, Arc<Candidate>>,
    by_hash: HashMap<Fingerprint, Arc<Principal>>,
    by_key_name: HashMap<Name, Arc<Principal>>,
    /// Whatever says how much may be used, in the order of levels, then of names.
    pub(crate) metered: Vec<Arc<Metered>>,
}

impl Snapshot {
    /// Compiles entries, in any order.
    ///
    /// # Errors
    /// Everything that is wrong, up to a bound; nothing is taken then.
    pub fn compile(header: SnapshotHeader, entries: Vec<Entry>) -> Result<Self, Vec<CompileError>> {
        build::build(header, entries, None)
    }

    /// Compiles entries for the data plane of these labels: what it does not serve is denied there.
    ///
    /// # Errors
    /// Those of [`Snapshot::compile`].
    pub fn compile_for(
        plane: PlaneLabels,
        header: SnapshotHeader,
        entries: Vec<Entry>,
    ) -> Result<Self, Vec<CompileError>> {
        build::build(header, entries, Some(plane))
    }

    /// The labels of the data plane that it was compiled for.
    #[must_use]
    pub const fn plane(&self) -> Option<&PlaneLabels> {
        self.plane.as_ref()
    }

    /// What was signed of it.
    #[must_use]
    pub const fn header(&self) -> &SnapshotHeader {
        &self.header
    }

    /// Its version.
    #[must_use]
    pub const fn version(&self) -> SnapshotVersion {
        self.header.version
    }

    /// What is there but cannot be served everywhere, such as a tool without a valid exposed name; for operators.
    #[must_use]
    pub fn reports(&self) -> &[String] {
        &self.reports
    }

    /// The trust zone of a name.
    #[must_use]
    pub fn zone(&self, name: &str) -> Option<&Arc<Zone>> {
        self.zones.get(name)
    }

    /// The server of a name.
    #[must_use]
    pub fn server(&self, name: &str) -> Option<&Arc<Server>> {
        self.servers.get(name)
    }

    /// The server, or the server's sandbox, of a uid.
    #[must_use]
    pub fn server_by_uid(&self, uid: &Uid) -> Option<&Arc<Server>> {
        self.offers.get(uid).map(|offer| &offer.server).or_else(|| self.sandboxes.get(uid))
    }

    /// Every server's sandbox, in no order.
    pub fn sandboxes(&self) -> impl Iterator<Item = &Arc<Server>> {
        self.sandboxes.values()
    }

    /// Every server, in the order of their names.
    pub fn servers(&self) -> impl Iterator<Item = &Arc<Server>> {
        self.order.iter().filter_map(|uid| self.server_by_uid(uid))
    }

    /// The principal of a key, by the key's name: revoked and expired ones too.
    #[must_use]
    pub fn key_by_name(&self, name: &str) -> Option<&Arc<Principal>> {
        self.by_key_name.get(name)
    }

    /// Every key's principal, in no order.
    pub fn keys(&self) -> impl Iterator<Item = &Arc<Principal>> {
        self.by_key_name.values()
    }

    /// The approved tool or prompt of a server, by the upstream's name.
    #[must_use]
    pub fn definition(&self, server: &Uid, kind: DefinitionKind, name: &str) -> Option<&Arc<Definition>> {
        match &self.offers.get(server)?.find(kind, name)?.state {
            model::CandidateState::Usable(definition) => Some(definition),
            _ => None,
        }
    }

    pub(crate) fn offer(&self, uid: Uid) -> Option<&Arc<Offer>> {
        self.offers.get(&uid)
    }

    /// Every server with what it offers, in no order.
    pub(crate) fn offers(&self) -> impl Iterator<Item = &Arc<Offer>> {
        self.offers.values()
    }

    /// Every bundle, in no order.
    pub(crate) fn bundles(&self) -> impl Iterator<Item = &Arc<Bundle>> {
        self.bundles.values()
    }

    pub(crate) fn bundle(&self, name: &Name) -> Option<&Arc<Bundle>> {
        self.bundles.get(name)
    }

    pub(crate) fn exposed(&self, kind: DefinitionKind, name: &str) -> Option<&Candidate> {
        let names = match kind {
            DefinitionKind::Tool => &self.tools,
            DefinitionKind::Prompt => &self.prompts,
        };
        names.get(name).map(|found| &**found)
    }

    /// Whether both ask the same of a call's circumstances and arguments: by the networks and eras of zones, by `Client`s and
    /// by policies.
    pub(crate) fn asks_like(&self, other: &Self) -> bool {
        let zones = |one: &Self, other: &Self| {
            one.zones
                .iter()
                .all(|(name, zone)| other.zones.get(name).is_some_and(|other| zone.entry == other.entry))
        };
        self.standpoints.clients == other.standpoints.clients
            && self.standpoints.conditions.same(&other.standpoints.conditions)
            && self.zones.len() == other.zones.len()
            && zones(self, other)
    }

    pub(crate) fn principal_by_hash(&self, hash: &Fingerprint) -> Option<&Arc<Principal>> {
        self.by_hash.get(hash)
    }

    /// The principal as this snapshot knows it: itself, or what its secret opens here. `None` when that is gone.
    pub(crate) fn current<'a>(&'a self, principal: &'a Principal) -> Option<&'a Principal> {
        if Arc::ptr_eq(&principal.snapshot, &self.mark) {
            Some(principal)
        } else {
            self.again(principal).map(|p| &**p)
        }
    }

    /// [`Snapshot::current`], shared.
    pub(crate) fn current_arc<'a>(&'a self, principal: &'a Arc<Principal>) -> Option<&'a Arc<Principal>> {
        if Arc::ptr_eq(&principal.snapshot, &self.mark) { Some(principal) } else { self.again(principal) }
    }

    fn again(&self, principal: &Principal) -> Option<&Arc<Principal>> {
        let found = match &principal.secret {
            Some(hash) => self.by_hash.get(hash),
            None => self.by_key_name.get(&principal.key_name),
        };
        // A name that was deleted and came back is another key.
        found.filter(|found| found.key_uid == principal.key_uid)
    }
}

#[cfg(test)]
mod tests;
