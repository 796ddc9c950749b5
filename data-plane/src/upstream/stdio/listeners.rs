//! Who wants to hear what a child says by itself, and which resources are subscribed to in it on whose behalf.

use std::collections::{BTreeSet, HashMap};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use bytes::Bytes;
use portcullis_policy::Reason;
use portcullis_policy::resource::Uid;
use tokio::sync::mpsc;

use crate::upstream::UpstreamError;
use crate::upstream::call::Listen;
use crate::upstream::stats::{UpstreamStats, count};

/// On whose behalf: the key and the caller's session.
pub(super) type Owner = (Uid, Option<[u8; 16]>);

/// Notifications that one listener may have waiting.
const MAX_WAITING: usize = 256;
/// Resources that one owner may subscribe to, and owners that may.
const MAX_URIS: usize = 1000;
const MAX_OWNERS: usize = 10_000;

struct Listener {
    owner: Option<Owner>,
    wanted: Vec<&'static str>,
    uris: BTreeSet<String>,
    queue: mpsc::Sender<Bytes>,
}

#[derive(Default)]
struct Inner {
    next: u64,
    listeners: HashMap<u64, Listener>,
    subscribed: HashMap<Owner, BTreeSet<String>>,
}

/// The listeners of one server's children.
pub(super) struct Listeners {
    inner: Mutex<Inner>,
    stats: Arc<UpstreamStats>,
}

/// A place among the listeners; given back on drop.
pub(super) struct Ear {
    id: u64,
    listeners: Arc<Listeners>,
    pub(super) queue: mpsc::Receiver<Bytes>,
}

impl Listeners {
    pub(super) fn new(stats: Arc<UpstreamStats>) -> Self {
        Self { inner: Mutex::default(), stats }
    }

    fn inner(&self) -> MutexGuard<'_, Inner> {
        self.inner.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Listens; without an owner it is the prober.
    pub(super) fn listen(self: &Arc<Self>, owner: Option<Owner>, listen: &Listen) -> Ear {
        let (queue, receiver) = mpsc::channel(MAX_WAITING);
        let wanted = listen.methods();
        let uris = listen.resource_subscriptions.iter().take(MAX_URIS).cloned().collect();
        let mut inner = self.inner();
        inner.next = inner.next.wrapping_add(1);
        let id = inner.next;
        inner.listeners.insert(id, Listener { owner, wanted, uris, queue });
        drop(inner);
        Ear { id, listeners: Arc::clone(self), queue: receiver }
    }

    /// Keeps that an owner subscribed to a resource.
    pub(super) fn subscribed(&self, owner: Owner, uri: &str) -> Result<(), UpstreamError> {
        let full = || UpstreamError::unsent(Reason::Overloaded, "Too many resources are subscribed to.");
        let mut inner = self.inner();
        if inner.subscribed.len() >= MAX_OWNERS && !inner.subscribed.contains_key(&owner) {
            return Err(full());
        }
        let uris = inner.subscribed.entry(owner).or_default();
        if uris.len() >= MAX_URIS && !uris.contains(uri) {
            return Err(full());
        }
        uris.insert(uri.to_owned());
        Ok(())
    }

    /// Forgets it; whether nobody wants the resource any more.
    pub(super) fn unsubscribed(&self, owner: Owner, uri: &str) -> bool {
        let mut inner = self.inner();
        if let Some(uris) = inner.subscribed.get_mut(&owner) {
            uris.remove(uri);
            if uris.is_empty() {
                inner.subscribed.remove(&owner);
            }
        }
        !inner.wants(uri)
    }

    /// The owners of a session: one, if any.
    pub(super) fn owners_of(&self, client_session: [u8; 16]) -> Vec<Owner> {
        let of_session = |owner: &&Owner| owner.1 == Some(client_session);
        self.inner().subscribed.keys().filter(of_session).copied().collect()
    }

    /// Forgets all of an owner; the resources that nobody wants any more.
    pub(super) fn left(&self, owner: Owner) -> Vec<String> {
        let mut inner = self.inner();
        let uris = inner.subscribed.remove(&owner).unwrap_or_default();
        uris.into_iter().filter(|uri| !inner.wants(uri)).collect()
    }

    /// Whether anybody wants the resource.
    pub(super) fn wants(&self, uri: &str) -> bool {
        self.inner().wants(uri)
    }

    /// Every resource that is wanted.
    pub(super) fn uris(&self) -> BTreeSet<String> {
        let inner = self.inner();
        let listening = inner.listeners.values().flat_map(|listener| &listener.uris);
        listening.chain(inner.subscribed.values().flatten()).cloned().collect()
    }

    /// A list changed.
    pub(super) fn changed(&self, method: &str, json: &Bytes) {
        self.tell(json, |listener, _| listener.wanted.contains(&method));
    }

    /// A resource changed: its own subscribers hear it, and those of what it is a part of.
    pub(super) fn updated(&self, uri: &str, json: &Bytes) {
        let covers = |subscribed: &String| {
            uri.strip_prefix(subscribed.as_str())
                .is_some_and(|rest| rest.is_empty() || rest.starts_with('/') || subscribed.ends_with('/'))
        };
        self.tell(json, |listener, subscribed| {
            let of_owner = listener.owner.and_then(|owner| subscribed.get(&owner));
            listener.uris.iter().chain(of_owner.into_iter().flatten()).any(covers)
        });
    }

    /// Something for one principal.
    pub(super) fn told(&self, principal: Uid, json: &Bytes) {
        self.tell(json, |listener, _| listener.owner.is_some_and(|(owner, _)| owner == principal));
    }

    fn tell(&self, json: &Bytes, hears: impl Fn(&Listener, &HashMap<Owner, BTreeSet<String>>) -> bool) {
        let inner = self.inner();
        for listener in inner.listeners.values().filter(|listener| hears(listener, &inner.subscribed)) {
            if listener.queue.try_send(json.clone()).is_err() {
                count(&self.stats.messages_dropped_total);
            }
        }
    }
}

impl Inner {
    fn wants(&self, uri: &str) -> bool {
        self.listeners
            .values()
            .map(|listener| &listener.uris)
            .chain(self.subscribed.values())
            .any(|uris| uris.contains(uri))
    }
}

impl Ear {
    /// The resources that it alone wanted, once it is gone.
    pub(super) fn close(self) -> Vec<String> {
        let uris = {
            let mut inner = self.listeners.inner();
            inner.listeners.remove(&self.id).map(|listener| listener.uris).unwrap_or_default()
        };
        uris.into_iter().filter(|uri| !self.listeners.wants(uri)).collect()
    }
}

impl Drop for Ear {
    fn drop(&mut self) {
        self.listeners.inner().listeners.remove(&self.id);
    }
}
