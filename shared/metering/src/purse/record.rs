//! What a data plane's ledger holds: enough to know, after a crash, the most that can have been spent. Written ahead of spending, once
//! for each lease and each chunk of it, never for a call.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};
use uuid::Uuid;

use crate::id::{AccountId, Epoch, Holder};
use crate::message::{Over, OverDebt, OverLine};

/// One record of the ledger. Records belong to the [`Record::Life`] before them; of several chunks of one account and epoch, the one
/// with the highest number counts, in whatever order they reached the disk.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case", rename_all_fields = "camelCase", tag = "record")]
pub enum Record {
    /// A life begins: on disk before its first ask is sent.
    Life {
        /// The data plane.
        plane: Uuid,
        /// Which of its lives.
        life: u32,
    },
    /// A lease came. Nothing of it is spent before a chunk is opened.
    Lease {
        /// Which account.
        account: AccountId,
        /// Which epoch.
        epoch: Epoch,
        /// All that was granted to this life in this epoch.
        granted: u64,
    },
    /// A chunk is opened: on disk before anything of it is spent.
    Chunk {
        /// Which account.
        account: AccountId,
        /// Which epoch.
        epoch: Epoch,
        /// Grows with every chunk of this life.
        number: u64,
        /// What this life has certainly spent.
        spent: u64,
        /// What it can have spent at most until the next chunk is opened.
        ceiling: u64,
    },
    /// Calls passed without a lease.
    Debt {
        /// Which account.
        account: AccountId,
        /// All that this life let pass.
        debt: u64,
    },
    /// The control plane has taken note that a life is over.
    Settled {
        /// Which life.
        life: u32,
    },
}

/// What a ledger says at a start.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Recovery {
    /// Who the plane is from now on: its next life. To be written as a [`Record::Life`] before anything else.
    pub holder: Holder,
    /// Earlier lives that the control plane must hear of, oldest first, each until it says so. A plane asks for nothing before.
    pub over: Vec<Over>,
}

/// Reads a ledger, in the order in which it was written. `plane` is who the plane is if the ledger is empty.
///
/// A torn record at the end was never on disk when something followed from it, and is left out by the reader. A ledger that is damaged
/// before its end must not be read: the plane comes as another one, and what it held is written off.
///
/// # Errors
/// [`Disordered`] if the records cannot have been written by one plane.
pub fn recover(plane: Uuid, records: impl IntoIterator<Item = Record>) -> Result<Recovery, Disordered> {
    let mut holder = Holder { plane, life: 0 };
    let mut lives: BTreeMap<u32, Life> = BTreeMap::new();
    for record in records {
        match record {
            Record::Life { plane, life } => {
                let other = holder.life > 0 && holder.plane != plane;
                if other || life <= holder.life {
                    return Err(Disordered { life });
                }
                holder = Holder { plane, life };
                lives.insert(life, Life::default());
            }
            Record::Settled { life } => {
                lives.remove(&life);
            }
            Record::Lease { .. } => {}
            Record::Chunk { account, epoch, number, spent, ceiling } => {
                let life = lives.get_mut(&holder.life).ok_or(Disordered { life: holder.life })?;
                let known = life.lines.entry((account, epoch)).or_default();
                *known = (number, spent, ceiling).max(*known);
            }
            Record::Debt { account, debt } => {
                let life = lives.get_mut(&holder.life).ok_or(Disordered { life: holder.life })?;
                let known = life.debts.entry(account).or_default();
                *known = debt.max(*known);
            }
        }
    }
    let over = lives.into_iter().map(|(number, life)| life.over(Holder { life: number, ..holder })).collect();
    let life = holder.life.checked_add(1).ok_or(Disordered { life: holder.life })?;
    Ok(Recovery { holder: Holder { life, ..holder }, over })
}

impl Recovery {
    /// Somebody else's durable record (an audit spool) proves that a life has spent at least this much of an account in an epoch: so
    /// much less is written off. Never more than the ceiling is believed.
    pub fn witness(&mut self, life: u32, account: AccountId, epoch: Epoch, spent: u64) {
        let lines =
            self.over.iter_mut().filter(|over| over.holder.life == life).flat_map(|over| &mut over.lines);
        for line in lines.filter(|line| line.account == account && line.epoch == epoch) {
            line.spent = line.spent.max(spent.min(line.ceiling));
        }
    }
}

/// Records that no single plane can have written in this order.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("the ledger is not one plane's own: its records are out of order in life {life}")]
pub struct Disordered {
    /// The life at which it shows.
    pub life: u32,
}

#[derive(Default)]
struct Life {
    lines: BTreeMap<(AccountId, Epoch), (u64, u64, u64)>,
    debts: BTreeMap<AccountId, u64>,
}

impl Life {
    fn over(self, holder: Holder) -> Over {
        let line = |((account, epoch), (_, spent, ceiling))| OverLine { account, epoch, spent, ceiling };
        let debt = |(account, debt)| OverDebt { account, debt };
        Over {
            holder,
            lines: self.lines.into_iter().map(line).collect(),
            debts: self.debts.into_iter().map(debt).collect(),
        }
    }
}
