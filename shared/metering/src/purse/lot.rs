//! What a pocket holds of one epoch, and what is left to tell of an earlier one.

use super::pocket::{Pocket, Tag};
use crate::id::{AccountId, Epoch, Holder};
use crate::message::{Answer, Close, Used};

/// What this life holds of the current epoch.
#[derive(Debug, Clone, Copy)]
pub(super) struct Lot {
    pub(super) epoch: Epoch,
    pub(super) tag: Tag,
    /// All that this life was granted.
    pub(super) granted: u64,
    /// What had become of it before this pocket was made.
    base: Used,
    /// What the pocket's counter of spending said when the lot came.
    spent_before: u64,
    /// Units opened for spending, less those taken back.
    opened: u64,
    /// Units whose opening is on its way to the disk.
    opening: u64,
    /// Given back.
    returned: u64,
}

impl Lot {
    pub(super) fn new(answer: &Answer, tag: Tag, pocket: &Pocket) -> Self {
        Self {
            epoch: answer.epoch,
            tag,
            granted: answer.granted,
            base: answer.used,
            spent_before: pocket.begin(tag, answer.epoch, answer.used.spent),
            opened: 0,
            opening: 0,
            returned: 0,
        }
    }

    /// Whether units are on their way to the disk, to be opened.
    pub(super) const fn is_opening(&self) -> bool {
        self.opening > 0
    }

    pub(super) fn spent(&self, pocket: &Pocket) -> u64 {
        pocket.spent(self.tag).saturating_sub(self.spent_before).min(self.opened)
    }

    /// What became of all that was granted: totals of this life, older pockets included.
    pub(super) fn used(&self, pocket: &Pocket) -> Used {
        Used {
            spent: self.base.spent.saturating_add(self.spent(pocket)),
            lost: self.base.lost,
            returned: self.base.returned.saturating_add(self.returned),
        }
    }

    /// The most that this life can have spent once all that is on its way to the disk is open.
    pub(super) const fn ceiling(&self) -> u64 {
        self.base.spent.saturating_add(self.opened).saturating_add(self.opening)
    }

    /// Units in the lease that are not open for spending.
    fn vault(&self) -> u64 {
        let gone = self.base.total().saturating_add(self.opened).saturating_add(self.opening);
        self.granted.saturating_sub(gone.saturating_add(self.returned))
    }

    /// Units that can be taken, now or once the disk has said so.
    pub(super) fn ready(&self, pocket: &Pocket) -> u64 {
        pocket.free().saturating_add(self.opening)
    }

    /// Free units, open for spending or not.
    pub(super) fn hold(&self, pocket: &Pocket) -> u64 {
        self.ready(pocket).saturating_add(self.vault())
    }

    pub(super) fn in_use(&self, pocket: &Pocket) -> u64 {
        let free = pocket.free();
        self.opened.saturating_sub(self.spent(pocket)).saturating_sub(free)
    }

    /// Takes units out of the vault, to be opened once the disk has the new ceiling. Returns how many.
    pub(super) fn begin_opening(&mut self, most: u64) -> u64 {
        let amount = most.min(self.vault());
        self.opening = self.opening.saturating_add(amount);
        amount
    }

    /// The disk has the ceiling; or, if not `kept`, never will.
    pub(super) fn end_opening(&mut self, pocket: &Pocket, amount: u64, kept: bool) {
        self.opening = self.opening.saturating_sub(amount);
        if kept {
            self.opened = self.opened.saturating_add(amount);
            pocket.open(self.tag, amount);
        }
    }

    /// Gives back so many free units, those that are not open first.
    pub(super) fn give_back(&mut self, pocket: &Pocket, amount: u64) {
        let from_vault = amount.min(self.vault());
        let from_chunk = pocket.shut(amount.saturating_sub(from_vault));
        self.opened = self.opened.saturating_sub(from_chunk);
        self.returned = self.returned.saturating_add(from_vault).saturating_add(from_chunk);
    }

    /// The epoch is over; `free` units were still open.
    pub(super) const fn end(&self, free: u64) -> Past {
        Past {
            epoch: self.epoch,
            tag: self.tag,
            spent_base: self.base.spent,
            spent_before: self.spent_before,
            opened: self.opened.saturating_sub(free),
            sealed: false,
        }
    }
}

/// An earlier epoch, whose free units went back, and whose calls may still be on their way.
#[derive(Debug, Clone, Copy)]
pub(super) struct Past {
    pub(super) epoch: Epoch,
    tag: Tag,
    spent_base: u64,
    spent_before: u64,
    /// Units that were opened, less those that came back.
    opened: u64,
    /// Its calls count as having spent the most that they could: its place among the counters was needed.
    pub(super) sealed: bool,
}

impl Past {
    /// Whether units with this tag are counted here.
    pub(super) const fn counts(&self, tag: Tag) -> bool {
        !self.sealed && self.tag == tag
    }

    /// Whether a lot with this tag would need the same counter.
    pub(super) const fn in_the_way_of(&self, tag: Tag) -> bool {
        !self.sealed && self.tag % 4 == tag % 4
    }

    /// Units come back that were on their way.
    pub(super) const fn put_back(&mut self, amount: u64) {
        self.opened = self.opened.saturating_sub(amount);
    }

    /// The most that this life can have spent.
    pub(super) const fn ceiling(&self) -> u64 {
        self.spent_base.saturating_add(self.opened)
    }

    /// What is to be told of it, now.
    pub(super) fn close(&self, pocket: &Pocket, holder: Holder, account: AccountId) -> Close {
        let counted = pocket.spent(self.tag).saturating_sub(self.spent_before).min(self.opened);
        let spent = if self.sealed { self.opened } else { counted };
        let in_use = self.opened.saturating_sub(spent);
        Close { holder, account, epoch: self.epoch, spent: self.spent_base.saturating_add(spent), in_use }
    }
}
