//! What a purse wants done: it does no IO itself.

use std::sync::Arc;

use super::pocket::{Pocket, Tag};
use super::record::Record;
use crate::message::{Ask, Close};

/// Things to do, in this order: append `records` to the ledger and sync it, then [`Opening::commit`]; `asks` and `closes` may be sent at
/// once and need no disk.
#[derive(Debug, Default)]
#[must_use = "units stay locked until the records are on disk and the opening is committed"]
pub struct Work {
    /// For the ledger.
    pub records: Vec<Record>,
    /// For the control plane; each is answered, or asked again later.
    pub asks: Vec<Ask>,
    /// For the control plane, likewise.
    pub closes: Vec<Close>,
    /// Units that may be spent once `records` are on disk.
    pub opening: Opening,
}

impl Work {
    /// Whether there is nothing to do.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.records.is_empty()
            && self.asks.is_empty()
            && self.closes.is_empty()
            && self.opening.list.is_empty()
    }
}

/// Units that wait for the disk. Dropped without a commit, they go back under lock.
#[derive(Debug, Default)]
pub struct Opening {
    pub(super) list: Vec<Opened>,
}

#[derive(Debug)]
pub(super) struct Opened {
    pub(super) pocket: Arc<Pocket>,
    pub(super) tag: Tag,
    pub(super) amount: u64,
}

impl Opening {
    /// The records that came with it are on disk: the units may be spent.
    pub fn commit(mut self) {
        self.close(true);
    }

    /// Whether anything waits for the disk.
    #[must_use]
    pub const fn is_empty(&self) -> bool {
        self.list.is_empty()
    }

    fn close(&mut self, kept: bool) {
        for Opened { pocket, tag, amount } in self.list.drain(..) {
            pocket.slow().opened(&pocket, tag, amount, kept);
        }
    }
}

impl Drop for Opening {
    fn drop(&mut self) {
        self.close(false);
    }
}
