//! Which planes are in conversation: one conversation for each plane, the newest. How many there are sizes leases.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use portcullis_metering::Holder;
use tokio_util::sync::CancellationToken;
use uuid::Uuid;

use super::known::Stranger;
use crate::stream::MAX_CONNECTED;

#[derive(Debug)]
struct Live {
    life: u32,
    conversation: u64,
    replaced: CancellationToken,
}

#[derive(Debug, Default)]
struct Table {
    conversations: u64,
    live: BTreeMap<Uuid, Live>,
}

/// The planes in conversation. Cheap to clone.
#[derive(Debug, Clone, Default)]
pub(crate) struct Fleet(Arc<Mutex<Table>>);

/// One conversation. The plane is in it until this is dropped, or another one takes its place.
#[derive(Debug)]
pub(crate) struct Conversation {
    fleet: Fleet,
    plane: Uuid,
    number: u64,
    /// Cancelled when a newer conversation of the same plane began.
    pub(crate) replaced: CancellationToken,
}

impl Fleet {
    fn table(&self) -> MutexGuard<'_, Table> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// How many planes there are, by which leases are sized: at least one.
    pub(crate) fn size(&self) -> u32 {
        u32::try_from(self.connected()).unwrap_or(u32::MAX).max(1)
    }

    /// How many planes are in conversation.
    pub(crate) fn connected(&self) -> usize {
        self.table().live.len()
    }

    /// Whether a plane is.
    pub(crate) fn has(&self, plane: Uuid) -> bool {
        self.table().live.contains_key(&plane)
    }

    /// Whether a holder is: a plane in this life.
    pub(crate) fn holds(&self, holder: Holder) -> bool {
        self.table().live.get(&holder.plane).is_some_and(|live| live.life == holder.life)
    }

    /// A conversation begins; an older one of the same plane ends.
    ///
    /// # Errors
    /// [`Stranger::OlderLife`], [`Stranger::TooManyLive`].
    pub(crate) fn begin(&self, holder: Holder) -> Result<Conversation, Stranger> {
        let Holder { plane, life } = holder;
        let mut table = self.table();
        match table.live.get(&plane) {
            Some(live) if live.life > life => return Err(Stranger::OlderLife(life)),
            None if table.live.len() >= MAX_CONNECTED => return Err(Stranger::TooManyLive),
            _ => {}
        }
        table.conversations += 1;
        let number = table.conversations;
        let replaced = CancellationToken::new();
        if let Some(old) =
            table.live.insert(plane, Live { life, conversation: number, replaced: replaced.clone() })
        {
            old.replaced.cancel();
        }
        Ok(Conversation { fleet: self.clone(), plane, number, replaced })
    }
}

impl Drop for Conversation {
    fn drop(&mut self) {
        let mut table = self.fleet.table();
        if table.live.get(&self.plane).is_some_and(|live| live.conversation == self.number) {
            table.live.remove(&self.plane);
        }
    }
}
