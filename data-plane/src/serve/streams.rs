//! Which streams are open, for whom, and how many there may be.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use portcullis_policy::resource::Uid;
use portcullis_seal::random;

use super::slot::{Slot, SlotId};
use crate::pipeline::{Held, Metrics};

/// Streams of its own accord (GET, `subscriptions/listen`) that one principal may have open on one plane.
const STANDING_PER_PRINCIPAL: usize = 64;
/// Calls of one principal that may be resumed at once; further ones are served, and cannot be resumed.
const CALLS_PER_PRINCIPAL: usize = 1000;
/// Streams that one plane has open.
const PER_PLANE: u64 = 10_000;
/// Tables side by side, so that streams of different callers do not wait for each other.
const SHARDS: usize = 16;

/// All open streams of a plane. Clones share them.
#[derive(Debug, Clone)]
pub(super) struct Streams {
    tables: Arc<[Mutex<Table>]>,
    metrics: Metrics,
}

#[derive(Debug, Default)]
struct Table {
    per_principal: HashMap<(Uid, Kind), usize>,
    slots: HashMap<SlotId, Owned>,
    /// The standing stream of each session.
    standing: HashMap<[u8; 16], SlotId>,
}

#[derive(Debug)]
struct Owned {
    slot: Arc<Slot>,
    principal: Uid,
    session: Option<[u8; 16]>,
}

/// What a stream is for.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub(super) enum Kind {
    /// It stays open as long as the client likes.
    Standing,
    /// It ends with a call.
    Call,
}

impl Kind {
    const fn bound(self) -> usize {
        match self {
            Self::Standing => STANDING_PER_PRINCIPAL,
            Self::Call => CALLS_PER_PRINCIPAL,
        }
    }
}

/// Leave to have one stream open; given back when dropped.
#[derive(Debug)]
pub(super) struct Leave {
    streams: Streams,
    principal: Uid,
    kind: Kind,
    slot: Option<SlotId>,
    _held: Held,
}

impl Streams {
    pub(super) fn new(metrics: &Metrics) -> Self {
        Self { tables: (0..SHARDS).map(|_| Mutex::default()).collect(), metrics: metrics.clone() }
    }

    /// All streams of one principal are in one table.
    fn table(&self, principal: Uid) -> Option<MutexGuard<'_, Table>> {
        let at = usize::from(principal.0.as_bytes().last().copied().unwrap_or(0)) % SHARDS;
        Some(self.tables.get(at)?.lock().unwrap_or_else(PoisonError::into_inner))
    }

    /// Leave to open a stream; `None` at a bound.
    pub(super) fn open(&self, principal: Uid, kind: Kind) -> Option<Leave> {
        let held = Held::stream(&self.metrics, PER_PLANE)?;
        let mut table = self.table(principal)?;
        let count = table.per_principal.entry((principal, kind)).or_default();
        if *count >= kind.bound() {
            return None;
        }
        *count += 1;
        drop(table);
        Some(Leave { streams: self.clone(), principal, kind, slot: None, _held: held })
    }

    /// The stream of an event id, if it is this caller's.
    pub(super) fn find(&self, principal: Uid, session: Option<[u8; 16]>, id: SlotId) -> Option<Arc<Slot>> {
        let table = self.table(principal)?;
        let owned = table.slots.get(&id)?;
        (owned.principal == principal && owned.session == session).then(|| Arc::clone(&owned.slot))
    }
}

impl Leave {
    /// Whether a stream of this id was a standing one.
    pub(super) const fn is_standing(id: SlotId) -> bool {
        id & 1 == 1
    }

    /// Makes the stream resumable. A standing one becomes the one of its session; the one before it is given back, to be ended.
    pub(super) fn keep(&mut self, session: Option<[u8; 16]>) -> Option<(Arc<Slot>, Option<Arc<Slot>>)> {
        let random = u128::from_be_bytes(random().ok()?);
        // The lowest bit tells the kind, also when the stream is long gone.
        let id = if self.kind == Kind::Standing { random | 1 } else { random & !1 };
        let slot = Slot::new(id);
        let mut table = self.streams.table(self.principal)?;
        let owned = Owned { slot: Arc::clone(&slot), principal: self.principal, session };
        table.slots.insert(slot.id(), owned);
        self.slot = Some(slot.id());
        let before = match (self.kind, session) {
            (Kind::Standing, Some(session)) => table.standing.insert(session, slot.id()),
            _ => None,
        };
        let before = before.and_then(|id| table.slots.get(&id)).map(|owned| Arc::clone(&owned.slot));
        Some((slot, before))
    }
}

impl Drop for Leave {
    fn drop(&mut self) {
        let Some(mut table) = self.streams.table(self.principal) else { return };
        if let Some(id) = self.slot {
            let session = table.slots.remove(&id).and_then(|owned| owned.session);
            if let Some(session) = session.filter(|session| table.standing.get(session) == Some(&id)) {
                table.standing.remove(&session);
            }
        }
        let key = (self.principal, self.kind);
        if let Some(count) = table.per_principal.get_mut(&key) {
            *count -= 1;
            if *count == 0 {
                table.per_principal.remove(&key);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_principal_has_a_bounded_number_of_streams_and_gets_them_back() {
        let metrics = Metrics::default();
        let streams = Streams::new(&metrics);
        let (one, other) = (Uid(uuid::Uuid::from_u128(1)), Uid(uuid::Uuid::from_u128(17)));
        let mut held: Vec<Leave> =
            (0..STANDING_PER_PRINCIPAL).map(|_| streams.open(one, Kind::Standing).unwrap()).collect();
        assert!(streams.open(one, Kind::Standing).is_none());
        assert!(streams.open(other, Kind::Standing).is_some());
        held.pop();
        assert!(streams.open(one, Kind::Standing).is_some());
        drop(held);
        assert_eq!(metrics.open_streams.load(std::sync::atomic::Ordering::Relaxed), 0);
    }

    #[test]
    fn a_stream_is_found_by_its_owner_alone() {
        let streams = Streams::new(&Metrics::default());
        let (one, other) = (Uid(uuid::Uuid::from_u128(1)), Uid(uuid::Uuid::from_u128(17)));
        let mut leave = streams.open(one, Kind::Standing).unwrap();
        let (slot, before) = leave.keep(Some([1; 16])).unwrap();
        assert!(before.is_none());
        assert!(streams.find(one, Some([1; 16]), slot.id()).is_some());
        assert!(streams.find(other, Some([1; 16]), slot.id()).is_none());
        assert!(streams.find(one, Some([2; 16]), slot.id()).is_none());
        let mut second = streams.open(one, Kind::Standing).unwrap();
        let (_, before) = second.keep(Some([1; 16])).unwrap();
        assert_eq!(before.unwrap().id(), slot.id());
        let id = slot.id();
        drop(leave);
        assert!(streams.find(one, Some([1; 16]), id).is_none());
    }
}
