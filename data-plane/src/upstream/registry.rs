//! Which links there are: found without a lock, made once, ended when a snapshot no longer holds the server.

use std::collections::{HashMap, HashSet};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};

use arc_swap::ArcSwap;
use portcullis_policy::resource::Uid;
use portcullis_policy::snapshot::{ServerEntry, SnapshotVersion};
use portcullis_policy::{Reason, Snapshot};

use super::http::Shared;
use super::limits::Gauge;
use super::link::Link;
use super::{UpstreamConfig, UpstreamError};

/// What is kept of one server, whatever the way to it.
#[derive(Debug)]
pub(super) struct Slot {
    /// Calls that are open.
    pub(super) calls: Gauge,
    /// Streams that are listened to.
    pub(super) streams: Gauge,
    /// When a caller's request was sent to it last, milliseconds since the Unix epoch; 0 before the first.
    pub(super) used_unix_ms: AtomicU64,
    link: ArcSwap<Link>,
}

/// The servers that the newest snapshot holds, once there was one.
#[derive(Debug, Clone, Default)]
struct Table {
    version: SnapshotVersion,
    held: Option<Arc<HashSet<Uid>>>,
    /// The servers whose sandboxes these are.
    twins: Arc<HashMap<Uid, Uid>>,
    slots: HashMap<Uid, Arc<Slot>>,
}

/// All links of a data plane.
pub(super) struct Registry {
    table: ArcSwap<Table>,
    changing: Mutex<()>,
    next_number: AtomicU64,
    config: UpstreamConfig,
    shared: Shared,
}

impl std::fmt::Debug for Registry {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Registry").field("links", &self.table.load().slots.len()).finish_non_exhaustive()
    }
}

impl Registry {
    pub(super) fn new(config: UpstreamConfig, shared: Shared) -> Self {
        Self {
            table: ArcSwap::from_pointee(Table::default()),
            changing: Mutex::new(()),
            next_number: AtomicU64::new(1),
            config,
            shared,
        }
    }

    /// The server's slot and link, for a request that was permitted by `version`.
    ///
    /// # Errors
    /// When a newer snapshot no longer holds the server.
    pub(super) fn find(
        &self,
        entry: &ServerEntry,
        version: SnapshotVersion,
    ) -> Result<(Arc<Slot>, Arc<Link>), UpstreamError> {
        if let Some(slot) = self.table.load().slots.get(&entry.uid) {
            let link = slot.link.load_full();
            if link.is_current(entry, version) {
                return Ok((Arc::clone(slot), link));
            }
        }
        let _changing = self.changing.lock().unwrap_or_else(PoisonError::into_inner);
        let table = self.table.load_full();
        let gone =
            table.held.as_ref().is_some_and(|held| version <= table.version && !held.contains(&entry.uid));
        if gone {
            return Err(UpstreamError::unsent(Reason::UpstreamUnavailable, "The server was removed."));
        }
        if let Some(slot) = table.slots.get(&entry.uid) {
            let link = self.renew(slot, entry, version);
            return Ok((Arc::clone(slot), link));
        }
        let link = self.link(entry, version);
        let slot = Arc::new(Slot {
            calls: Gauge::default(),
            streams: Gauge::default(),
            used_unix_ms: AtomicU64::new(0),
            link: ArcSwap::new(Arc::clone(&link)),
        });
        let mut table = Table::clone(&table);
        table.slots.insert(entry.uid, Arc::clone(&slot));
        self.table.store(Arc::new(table));
        Ok((slot, link))
    }

    /// After a swap: ends the links of servers that are gone or are reached otherwise now.
    pub(super) fn retain(&self, snapshot: &Snapshot) {
        let _changing = self.changing.lock().unwrap_or_else(PoisonError::into_inner);
        let mut table = Table::clone(&self.table.load_full());
        if snapshot.version() < table.version {
            return;
        }
        table.version = snapshot.version();
        let held = snapshot.servers().chain(snapshot.sandboxes());
        table.held = Some(Arc::new(held.map(|server| server.entry.uid).collect()));
        let twins = snapshot.sandboxes().map(|twin| (twin.uid(), twin.registered_uid()));
        table.twins = Arc::new(twins.collect());
        let gone: Vec<_> = table
            .slots
            .extract_if(|uid, _| snapshot.server_by_uid(uid).is_none())
            .map(|(_, slot)| slot)
            .collect();
        for (uid, slot) in &table.slots {
            if let Some(server) = snapshot.server_by_uid(uid) {
                self.renew(slot, &server.entry, snapshot.version()).observe(&server.entry);
            }
        }
        self.table.store(Arc::new(table));
        gone.iter().for_each(|slot| slot.link.load().retire());
    }

    /// When each server was called last, it or its sandbox, of those that were called.
    pub(super) fn last_use(&self) -> Vec<(Uid, u64)> {
        let table = self.table.load();
        let mut used: HashMap<Uid, u64> = HashMap::new();
        for (uid, slot) in &table.slots {
            let registered = table.twins.get(uid).copied().unwrap_or(*uid);
            let unix_ms = slot.used_unix_ms.load(Ordering::Relaxed);
            if unix_ms > 0 {
                let last = used.entry(registered).or_default();
                *last = unix_ms.max(*last);
            }
        }
        used.into_iter().collect()
    }

    /// Every link.
    pub(super) fn links(&self) -> Vec<Arc<Link>> {
        self.table.load().slots.values().map(|slot| slot.link.load_full()).collect()
    }

    /// Ends everything; what is asked for afterwards starts anew.
    pub(super) fn clear(&self) {
        let _changing = self.changing.lock().unwrap_or_else(PoisonError::into_inner);
        let table = self.table.swap(Arc::default());
        table.slots.values().for_each(|slot| slot.link.load().retire());
    }

    fn renew(&self, slot: &Slot, entry: &ServerEntry, version: SnapshotVersion) -> Arc<Link> {
        let current = slot.link.load_full();
        if current.is_current(entry, version) {
            return current;
        }
        let link = self.link(entry, version);
        slot.link.store(Arc::clone(&link));
        current.retire();
        link
    }

    fn link(&self, entry: &ServerEntry, version: SnapshotVersion) -> Arc<Link> {
        let number = self.next_number.fetch_add(1, Ordering::Relaxed);
        Arc::new(Link::new(number, entry, version, &self.config, &self.shared))
    }
}
