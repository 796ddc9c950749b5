//! The registry: what people apply, read and delete.
//!
//! An apply is judged whole, by the code that data planes enforce with, before anything is stored; then it is one
//! transaction, and it is answered when the snapshot that holds it is published.

mod apply;
pub mod diff;
mod effect;
mod error;
mod given;
mod history;
mod proposals;
mod references;
mod remove;
mod rewrites;
mod rollback;
mod stages;
mod view;

use std::sync::Arc;

use portcullis_policy::document::Problem;
use portcullis_policy::resource::{Kind, Uid};
use serde_json::json;
use tokio::sync::watch;

use crate::catalog::Catalog;
use crate::clock::Clock;
use crate::governance::Actor;
use crate::objects::NewKey;
use crate::publish::Publisher;
use crate::store::{Store, Vault};

pub use apply::ApplyInput;
pub use diff::FieldChange;
pub use effect::Effect;
pub use error::RegistryError;
pub use history::{HistoryEntry, HistoryQuery};
pub use proposals::{ID_PREFIX, MAX_WAITING, PROPOSAL, Proposal, Proposed};
pub(crate) use references::listing;
pub use rollback::RollbackInput;
pub use view::View;
pub(crate) use view::secret_users;

use view::Facts;

/// The most resources of one kind.
pub const MAX_RESOURCES_PER_KIND: usize = 200_000;
/// The longest message of an author, in bytes.
pub const MAX_MESSAGE_BYTES: usize = 4096;

/// What happens to a resource.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ChangeKind {
    /// It comes into being.
    Created,
    /// It changes.
    Changed,
    /// It stays as it is.
    Unchanged,
    /// It goes.
    Deleted,
}

/// What happens to one resource, field by field.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ResourceChange {
    /// What.
    pub change: ChangeKind,
    /// The kind of the resource.
    pub kind: String,
    /// Its name.
    pub name: String,
    /// Its uid; none in a dry run that would create it.
    pub uid: Option<Uid>,
    /// The fields that differ.
    pub fields: Vec<FieldChange>,
}

/// What an apply did, or would do.
#[derive(Debug)]
pub struct Applied {
    /// The store's version after it.
    pub version: u64,
    /// One for each document, in their order.
    pub changes: Vec<ResourceChange>,
    /// Keys that came into being.
    pub keys: Vec<NewKey>,
    /// What is accepted and worth a second look.
    pub warnings: Vec<Problem>,
    /// Where the whole change needs approval: nothing of it is in force, and it waits as this proposal.
    pub proposed: Option<Proposed>,
    /// Of a dry run: who would gain and lose what.
    pub effect: Option<Effect>,
}

/// What a delete did.
#[derive(Debug)]
pub struct Deleted {
    /// The store's version after it.
    pub version: u64,
    /// Where it needs approval: nothing is deleted, and it waits as this proposal.
    pub proposed: Option<Proposed>,
}

/// The registry. Cheap to clone.
#[derive(Clone)]
pub struct Registry {
    store: Arc<dyn Store>,
    publisher: Publisher,
    vault: Arc<Vault>,
    catalog: Catalog,
    clock: Clock,
}

impl std::fmt::Debug for Registry {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Registry").finish_non_exhaustive()
    }
}

impl Registry {
    /// A registry over a store; its changes are published by `publisher`.
    #[must_use]
    pub fn new(
        store: Arc<dyn Store>,
        publisher: Publisher,
        vault: Arc<Vault>,
        catalog: Catalog,
        clock: Clock,
    ) -> Self {
        Self { store, publisher, vault, catalog, clock }
    }

    /// Applies documents, whole or not at all.
    ///
    /// # Errors
    /// [`RegistryError::Invalid`] with every problem that was found; nothing was changed then.
    pub async fn apply(&self, input: ApplyInput) -> Result<Applied, RegistryError> {
        apply::apply(self, input).await
    }

    /// Removes a resource that nothing refers to, with all that belongs to it alone.
    ///
    /// # Errors
    /// [`RegistryError::Refused`] naming who refers to it; [`RegistryError::NotFound`].
    pub async fn delete(
        &self,
        kind: Kind,
        name: &str,
        by: &Actor,
        message: &str,
    ) -> Result<Deleted, RegistryError> {
        remove::remove(self, kind, name, by, message).await
    }

    /// Makes a new version that equals an old one, as far as what is gone for good allows.
    ///
    /// # Errors
    /// [`RegistryError::Invalid`] with each reference that can no longer be satisfied; [`RegistryError::NotFound`].
    pub async fn rollback(&self, input: RollbackInput) -> Result<Applied, RegistryError> {
        rollback::rollback(self, input).await
    }

    /// The proposals, those that wait first; decided ones only where `all` are asked for.
    #[must_use]
    pub fn proposals(&self, all: bool) -> Vec<Proposal> {
        proposals::list(self, all)
    }

    /// One proposal.
    ///
    /// # Errors
    /// [`RegistryError::NotFound`].
    pub fn proposal(&self, id: &str) -> Result<Proposal, RegistryError> {
        proposals::get(self, id)
    }

    /// Approves or denies a proposal. The last approval that it takes makes the change, in the same transaction.
    ///
    /// # Errors
    /// [`RegistryError::Refused`] where it does not count, or what it is about changed meanwhile; [`RegistryError::Denied`];
    /// all that an apply may refuse.
    pub async fn decide_proposal(
        &self,
        by: &Actor,
        id: &str,
        approve: bool,
        message: &str,
    ) -> Result<(Proposal, u64), RegistryError> {
        proposals::decide(self, by, id, approve, message).await
    }

    /// One resource, with who refers to it.
    ///
    /// # Errors
    /// [`RegistryError::NotFound`].
    pub fn get(&self, kind: Kind, name: &str) -> Result<View, RegistryError> {
        let state = self.store.state();
        let facts = self.facts(&state);
        let mut view = match state.get(kind.as_str(), name) {
            Some(object) => facts.view(kind, object),
            None => built_in(kind)
                .filter(|view| &*view.name == name)
                .ok_or_else(|| RegistryError::NotFound(format!("{kind}/{name}")))?,
        };
        if let Some(status) = view.status.as_object_mut() {
            status.insert("referredBy".to_owned(), json!(facts.referred_by(kind, name)));
        }
        Ok(view)
    }

    /// All resources of a kind by name, and the version that they were read at.
    #[must_use]
    pub fn list(&self, kind: Kind) -> (Vec<View>, u64) {
        let state = self.store.state();
        let facts = self.facts(&state);
        let mut views: Vec<View> = state.list(kind.as_str()).map(|object| facts.view(kind, object)).collect();
        if let Some(zone) = built_in(kind)
            && let Err(place) = views.binary_search_by(|view| view.name.cmp(&zone.name))
        {
            views.insert(place, zone);
        }
        (views, state.version)
    }

    /// What happened, the newest first.
    ///
    /// # Errors
    /// [`RegistryError::Unavailable`] when the store cannot read it.
    pub async fn history(&self, query: HistoryQuery) -> Result<Vec<HistoryEntry>, RegistryError> {
        history::read(&*self.store, query).await
    }

    /// Tells the store's version whenever it changed.
    #[must_use]
    pub fn watch(&self) -> watch::Receiver<u64> {
        self.store.watch()
    }

    fn facts<'a>(&'a self, state: &'a crate::store::State) -> Facts<'a> {
        Facts::new(state, &self.catalog, self.clock.now_unix_ms())
    }

    /// A message within its bound.
    pub(crate) fn message(message: &str) -> Result<&str, RegistryError> {
        if message.len() > MAX_MESSAGE_BYTES {
            return Err(RegistryError::invalid(
                "--message",
                format!("a message has at most {MAX_MESSAGE_BYTES} bytes"),
            ));
        }
        Ok(message)
    }
}

/// The zone `default`, for as long as nobody defines one.
fn built_in(kind: Kind) -> Option<View> {
    (kind == Kind::TrustZone).then(|| {
        let zone = crate::publish::default_zone();
        View {
            kind,
            name: zone.name.as_str().into(),
            uid: zone.uid,
            version: 0,
            document: json!({
                "apiVersion": portcullis_policy::resource::API_VERSION,
                "kind": kind.as_str(),
                "metadata": { "name": zone.name },
                "spec": { "allowedDataClasses": zone.allowed_data_classes, "audit": zone.audit },
            }),
            status: json!({ "builtIn": true }),
        }
    })
}
