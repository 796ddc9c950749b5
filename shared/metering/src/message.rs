//! What the planes say to each other. All amounts are totals since the holder's line was opened, never differences: a message that is
//! lost, repeated or overtaken changes nothing that the next one does not put right.

use serde::{Deserialize, Serialize};

use crate::id::{AccountId, Epoch, Holder};

/// What became of the units that a holder was granted in one epoch: totals that only grow.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Used {
    /// Paid for calls.
    pub spent: u64,
    /// Open for spending when the holder crashed, so that nobody knows: written off.
    pub lost: u64,
    /// Given back unspent.
    pub returned: u64,
}

impl Used {
    /// What is no longer in the holder's hands.
    #[must_use]
    pub const fn total(self) -> u64 {
        self.spent.saturating_add(self.lost).saturating_add(self.returned)
    }

    /// The later of two reports, whichever came first.
    #[must_use]
    pub fn max(self, other: Self) -> Self {
        Self {
            spent: self.spent.max(other.spent),
            lost: self.lost.max(other.lost),
            returned: self.returned.max(other.returned),
        }
    }
}

/// Data plane → control plane: what I did with an account in this epoch, and what I would like to hold.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Ask {
    /// Who asks.
    pub holder: Holder,
    /// Which account.
    pub account: AccountId,
    /// Grows with every ask of this life: an ask that was overtaken is granted nothing, an ask that is repeated nothing more.
    pub seq: u64,
    /// The epoch that `used` and `in_use` speak of; 0 if the holder has none yet.
    pub epoch: Epoch,
    /// The oldest epoch of which the holder has anything left to tell: whatever it was granted before that, even by an answer that it
    /// never saw, is given back. 0 if it does not know.
    pub oldest: Epoch,
    /// What became of the units granted in `epoch`.
    pub used: Used,
    /// Reserved for calls that are on their way.
    pub in_use: u64,
    /// Free units that the holder would like to have in hand, by its demand. 0 asks for nothing.
    pub want: u64,
    /// The most that one waiting call needs: less than this is of no use.
    pub need: u64,
    /// What this life let pass without a lease, as `onOutage` said: a total over all epochs.
    pub debt: u64,
}

/// Control plane → data plane: what you hold of the current epoch. Sent only after everything in it is on disk.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Answer {
    /// Who had asked.
    pub holder: Holder,
    /// Which account.
    pub account: AccountId,
    /// The ask that this answers.
    pub seq: u64,
    /// The current epoch.
    pub epoch: Epoch,
    /// All that was ever granted to this holder in this epoch.
    pub granted: u64,
    /// What the control plane knows to have become of it.
    pub used: Used,
    /// Milliseconds, from now, for which units of this epoch may be spent. The holder counts them from when it *asked*.
    pub usable_for_ms: u64,
    /// The most free units that the holder should keep: it gives back what it has above that.
    pub cap: u64,
    /// What could still be granted, to anybody.
    pub left: u64,
    /// Milliseconds until more can be granted, if nothing is given back before: the end of the period, or the moment at which the
    /// oldest use leaves a rolling one.
    pub refills_in_ms: u64,
    /// The debt of this holder that has been charged.
    pub debt: u64,
}

/// Data plane → control plane: this epoch is over for me. What is neither used nor in use is given back, whatever was granted, even by
/// an answer that I never saw; I will accept no grant of this epoch any more.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Close {
    /// Who closes.
    pub holder: Holder,
    /// Which account.
    pub account: AccountId,
    /// Which epoch.
    pub epoch: Epoch,
    /// What it paid for calls, all told.
    pub spent: u64,
    /// Still reserved for calls that are on their way; another `Close` follows.
    pub in_use: u64,
}

/// Control plane → data plane: the closing is on disk.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Closed {
    /// Who closed.
    pub holder: Holder,
    /// Which account.
    pub account: AccountId,
    /// Which epoch.
    pub epoch: Epoch,
    /// What still stands open: 0 when nothing is left to say.
    pub open: u64,
}

/// Data plane → control plane, first of all after a restart: this earlier life of mine is over, and `lines` is all that it can have
/// spent. What it was granted beyond that, named here or not, is given back. To be sent only by a plane whose ledger was read whole.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Over {
    /// The life that ended.
    pub holder: Holder,
    /// What it may have spent.
    pub lines: Vec<OverLine>,
    /// What it let pass without a lease.
    pub debts: Vec<OverDebt>,
}

/// What an earlier life may have spent of one account in one epoch.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct OverLine {
    /// Which account.
    pub account: AccountId,
    /// Which epoch.
    pub epoch: Epoch,
    /// What it has certainly spent.
    pub spent: u64,
    /// What it can have spent at most. The difference is written off.
    pub ceiling: u64,
}

/// What an earlier life owes to one account.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct OverDebt {
    /// Which account.
    pub account: AccountId,
    /// All that it let pass without a lease.
    pub debt: u64,
}
