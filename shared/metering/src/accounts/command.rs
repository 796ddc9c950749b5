//! What accounts are told to do, and why they may refuse.

use super::book::Totals;
use crate::id::{AccountId, Epoch, Holder};
use crate::message::{Ask, Close, Over};
use crate::terms::{Override, Terms};

/// What is to be done.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Command {
    /// An account shall exist with these terms; an existing one keeps what was used.
    Configure {
        /// Which account.
        account: AccountId,
        /// Its terms.
        terms: Terms,
    },
    /// The account shall be no more.
    Remove {
        /// Which account.
        account: AccountId,
    },
    /// A data plane asks.
    Ask {
        /// What it says.
        ask: Ask,
        /// How many data planes there are: it sizes leases.
        fleet: u32,
    },
    /// A data plane is done with an epoch.
    Close(Close),
    /// An earlier life of a data plane is over.
    Over(Over),
    /// A holder is taken for dead: whatever it holds counts as used until it is heard of again.
    WriteOff(Holder),
    /// Another limit shall hold for a while; `None` ends it.
    Override {
        /// Which account.
        account: AccountId,
        /// The override.
        by_override: Option<Override>,
        /// Why: kept in the journal.
        reason: String,
        /// Who: kept in the journal.
        by: String,
    },
    /// Credit for the current period; negative takes away.
    Adjust {
        /// Which account.
        account: AccountId,
        /// How much.
        credit: i64,
        /// Why: kept in the journal.
        reason: String,
        /// Who: kept in the journal.
        by: String,
    },
    /// What was used in the current period shall be forgiven.
    Reset {
        /// Which account.
        account: AccountId,
        /// Why: kept in the journal.
        reason: String,
        /// Who: kept in the journal.
        by: String,
    },
}

/// Why a command was not carried out. Nothing changed; the same command again is refused again.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum Refusal {
    /// There is no such account.
    #[error("there is no budget of {0}")]
    UnknownAccount(AccountId),
    /// A later life of the plane has been heard of.
    #[error("{0} has ended: a later life of this plane is known")]
    DeadLife(Holder),
    /// The holder says that more was used than it was granted, or that a life that is not over is.
    #[error("{holder} says that more was used than it was granted of {account}")]
    Impossible {
        /// Who says so.
        holder: Holder,
        /// Of which account.
        account: AccountId,
    },
    /// A life was said to be over by a plane that is still in it, or that never was born.
    #[error("{0} cannot be over: lives are counted from 1")]
    NoLife(Holder),
    /// More planes than one account keeps lines for.
    #[error("a budget is shared by at most {MAX} planes and lives not yet settled", MAX = super::MAX_LINES)]
    TooManyHolders,
    /// A reason or a name is too long for the journal.
    #[error("a reason and a name have at most {MAX} bytes", MAX = super::MAX_TEXT)]
    TooLong,
}

/// Events that do not follow from the state: the journal is damaged, or is another's.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum Corrupt {
    /// The account of an event does not exist.
    #[error("an event speaks of {0}, which does not exist")]
    NoAccount(AccountId),
    /// The period of an event does not exist.
    #[error("an event speaks of epoch {} of {account}, which is not kept", .epoch.0)]
    NoBook {
        /// Which account.
        account: AccountId,
        /// Which epoch.
        epoch: Epoch,
    },
    /// The event would take more from a holder than it has.
    #[error("an event takes more from {holder} than it was granted of {account}")]
    Overdrawn {
        /// Which holder.
        holder: Holder,
        /// Which account.
        account: AccountId,
    },
}

/// A book that does not add up.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("epoch {} of {account} does not add up: {totals:?}", .epoch.0)]
pub struct Unsound {
    /// Which account.
    pub account: AccountId,
    /// Which epoch.
    pub epoch: Epoch,
    /// Its totals.
    pub totals: Totals,
}
