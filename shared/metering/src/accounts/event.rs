//! What a journal holds of the accounts. An event carries totals and moments, never a computation: whoever folds the same events has
//! the same state, whatever the sizes of leases are by then.

use serde::{Deserialize, Serialize};
use uuid::Uuid;

use super::book::Totals;
use crate::id::{AccountId, Epoch, Holder};
use crate::message::Used;
use crate::terms::{Override, Terms};
use crate::time::Utc;

/// One thing that happened. It is on disk before anything that follows from it is said to anybody.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case", rename_all_fields = "camelCase", tag = "event")]
pub enum Event {
    /// A data plane began a life: earlier lives are granted nothing more.
    Born {
        /// The plane.
        plane: Uuid,
        /// Its life.
        life: u32,
    },
    /// An account came to be, or has other terms.
    Configured {
        /// Which account.
        account: AccountId,
        /// Its terms.
        terms: Terms,
        /// When.
        at: Utc,
    },
    /// A period began.
    Opened {
        /// Which account.
        account: AccountId,
        /// Its new epoch.
        epoch: Epoch,
        /// The first moment of the period.
        start: Utc,
        /// The first moment after it.
        end: Utc,
        /// When.
        at: Utc,
    },
    /// An old period was forgotten. What was still held of it is written off, and cannot be reclaimed any more.
    Dropped {
        /// Which account.
        account: AccountId,
        /// Which epoch.
        epoch: Epoch,
        /// How it ended.
        totals: Totals,
    },
    /// A holder told what became of its units.
    Reported {
        /// Which account.
        account: AccountId,
        /// Which epoch.
        epoch: Epoch,
        /// Who told.
        holder: Holder,
        /// Its ask; 0 if it was none.
        seq: u64,
        /// Totals.
        used: Used,
        /// When.
        at: Utc,
    },
    /// A holder told all there is to tell: nothing stands open.
    Ended {
        /// Which account.
        account: AccountId,
        /// Which epoch.
        epoch: Epoch,
        /// Who told, or whose life is over.
        holder: Holder,
        /// Totals, which make up all that was granted.
        used: Used,
        /// When.
        at: Utc,
    },
    /// Units were put into a holder's hands.
    Granted {
        /// Which account.
        account: AccountId,
        /// Which epoch.
        epoch: Epoch,
        /// Who got them.
        holder: Holder,
        /// The ask.
        seq: u64,
        /// All that was granted to this holder in this epoch, these included.
        granted: u64,
        /// The first moment at which they may not be spent any more.
        usable_until: Utc,
        /// When.
        at: Utc,
    },
    /// A holder is taken for dead: what it held counts as used, until it is heard of again.
    WrittenOff {
        /// Which account.
        account: AccountId,
        /// Which epoch.
        epoch: Epoch,
        /// Who held it.
        holder: Holder,
        /// How much it held.
        amount: u64,
        /// When.
        at: Utc,
    },
    /// A holder let calls pass without a lease.
    Indebted {
        /// Which account; its current period pays.
        account: AccountId,
        /// Who let them pass.
        holder: Holder,
        /// The ask; 0 if it was none.
        seq: u64,
        /// The debt of this holder over all.
        debt: u64,
        /// When.
        at: Utc,
    },
    /// A life is over and its debts are told: nothing of it is remembered here but its lines.
    Silenced {
        /// Which account.
        account: AccountId,
        /// Whose life it was.
        holder: Holder,
    },
    /// Somebody gave credit, or took it.
    Adjusted {
        /// Which account.
        account: AccountId,
        /// Which epoch.
        epoch: Epoch,
        /// What is added to what is left; negative takes away.
        credit: i64,
        /// Why.
        reason: String,
        /// Who.
        by: String,
        /// When.
        at: Utc,
    },
    /// Somebody forgave what was used in this period. What planes hold stays held, also if they are taken for dead.
    Reset {
        /// Which account.
        account: AccountId,
        /// Which epoch.
        epoch: Epoch,
        /// What had been used.
        forgiven: i64,
        /// Why.
        reason: String,
        /// Who.
        by: String,
        /// When.
        at: Utc,
    },
    /// Another limit holds for a while, or no longer.
    Overridden {
        /// Which account.
        account: AccountId,
        /// The override; `None` ends it.
        by_override: Option<Override>,
        /// Why.
        reason: String,
        /// Who.
        by: String,
        /// When.
        at: Utc,
    },
    /// The warning threshold was reached.
    Warned {
        /// Which account.
        account: AccountId,
        /// Which epoch.
        epoch: Epoch,
        /// What was used.
        used: u64,
        /// Of how much.
        limit: u64,
        /// When.
        at: Utc,
    },
    /// The account is no more.
    Removed {
        /// Which account.
        account: AccountId,
        /// How its current period ended; what was held is written off.
        totals: Totals,
    },
}
