//! The ledger of this plane's spending: what is in it after a crash says the most that can have been spent.
//!
//! Records stand in frames of the same form as the audit spool's, several in each: a batch that was synced together is torn together. A
//! frame that is not whole at the end was never synced, and is cut off. One that is followed by a whole one is damage: then nobody knows
//! what was spent, and the plane must come as another one.

use std::io;

use portcullis_metering::Holder;
use portcullis_metering::purse::{Record, Recovery, recover};
use uuid::Uuid;

use super::disk::Disk;
use crate::ledger::frame;

/// The ledger is written anew when it has grown by so many bytes, and to four times of what it was.
const REWRITE_AT: u64 = 1024 * 1024;
/// Records in one frame.
const IN_A_FRAME: usize = 32;

/// What was found at a start.
#[derive(Debug)]
pub(super) struct Found {
    /// Who this plane is from now on, and which earlier lives the control plane is to hear of.
    pub(super) recovery: Recovery,
    /// Why this plane comes as another one than before.
    pub(super) damage: Option<String>,
    /// Bytes at the end that were never synced.
    pub(super) torn: usize,
}

/// Reads a ledger. `stranger` is who the plane is if it is empty or damaged.
pub(super) fn read(bytes: &[u8], stranger: Uuid) -> Found {
    let other = |damage| {
        let holder = Holder { plane: stranger, life: 1 };
        Found { recovery: Recovery { holder, over: Vec::new() }, damage: Some(damage), torn: 0 }
    };
    let (records, whole) = match frames(bytes) {
        Ok(read) => read,
        Err(at) => return other(format!("it is damaged at byte {at}")),
    };
    match recover(stranger, records) {
        Ok(recovery) => Found { recovery, damage: None, torn: bytes.len().saturating_sub(whole) },
        Err(disordered) => other(disordered.to_string()),
    }
}

/// The records of all whole frames, and where the last one ends; the place of what is damaged before a whole one.
fn frames(bytes: &[u8]) -> Result<(Vec<Record>, usize), usize> {
    let (mut records, mut at) = (Vec::new(), 0);
    while let Some(rest) = bytes.get(at..).filter(|rest| !rest.is_empty()) {
        let Some((payload, length)) = frame::parse(rest) else {
            let followed = (at..bytes.len()).step_by(frame::ALIGN).skip(1);
            let whole = |from: usize| bytes.get(from..).is_some_and(|rest| frame::parse(rest).is_some());
            return if followed.into_iter().any(whole) { Err(at) } else { Ok((records, at)) };
        };
        // A whole frame of another form was not written by this version of this program.
        let batch: Vec<Record> = serde_json::from_slice(payload).map_err(|_| at)?;
        records.extend(batch);
        at += length;
    }
    Ok((records, at))
}

/// The ledger while it is written.
#[derive(Debug)]
pub(super) struct Book {
    disk: Box<dyn Disk>,
    /// What is to be kept of earlier lives that are not settled.
    earlier: Vec<(u32, Vec<Record>)>,
    length: u64,
    rewritten: u64,
    /// Nobody knows what is on the disk, or there is nothing yet.
    broken: bool,
}

impl Book {
    /// Writes down earlier lives again at the next rewrite, which the first record must be.
    pub(super) fn new(disk: Box<dyn Disk>, recovery: &Recovery) -> Self {
        let earlier = recovery.over.iter().map(|over| {
            let Holder { plane, life } = over.holder;
            let mut records = vec![Record::Life { plane, life }];
            records.extend(over.lines.iter().map(|line| Record::Chunk {
                account: line.account,
                epoch: line.epoch,
                number: 1,
                spent: line.spent,
                ceiling: line.ceiling,
            }));
            let debts = over.debts.iter().filter(|debt| debt.debt > 0);
            records.extend(debts.map(|debt| Record::Debt { account: debt.account, debt: debt.debt }));
            (life, records)
        });
        let earlier = earlier.collect();
        Self { disk, earlier, length: 0, rewritten: 0, broken: true }
    }

    /// Whether only a rewrite brings the ledger in order.
    pub(super) const fn is_broken(&self) -> bool {
        self.broken
    }

    /// Whether it is time for a rewrite, broken or not.
    pub(super) const fn is_long(&self) -> bool {
        self.length > REWRITE_AT && self.length / 4 > self.rewritten
    }

    /// Adds records, for good.
    pub(super) fn append(&mut self, records: &[Record]) -> io::Result<()> {
        let bytes = encode(records)?;
        self.disk.append(&bytes).inspect_err(|_| self.broken = true)?;
        self.length += bytes.len() as u64;
        Ok(())
    }

    /// Begins anew with what is left of earlier lives, and all that there is to know of this one. The old file stays until the new one
    /// is whole.
    pub(super) fn rewrite(&mut self, of_this_life: &[Record]) -> io::Result<()> {
        let earlier = self.earlier.iter().flat_map(|(_, records)| records);
        let records: Vec<Record> = earlier.chain(of_this_life).copied().collect();
        let bytes = encode(&records)?;
        self.disk.replace(&bytes).inspect_err(|_| self.broken = true)?;
        (self.length, self.rewritten, self.broken) = (bytes.len() as u64, bytes.len() as u64, false);
        Ok(())
    }

    /// The control plane knows that an earlier life is over.
    pub(super) fn settled(&mut self, life: u32) {
        self.earlier.retain(|(earlier, _)| *earlier != life);
    }

    /// This plane is another one from now on; what was written is put aside.
    pub(super) fn begin_another(&mut self) {
        self.broken = true;
        match self.disk.put_aside("refused") {
            Ok(aside) => tracing::warn!(aside, "the ledger of the plane that this was is kept"),
            Err(error) => tracing::error!(%error, "the ledger of the plane that this was could not be kept"),
        }
        self.earlier.clear();
    }
}

fn encode(records: &[Record]) -> io::Result<Vec<u8>> {
    let (mut bytes, mut buffer) = (Vec::new(), Vec::new());
    for batch in records.chunks(IN_A_FRAME) {
        frame::begin(&mut buffer);
        serde_json::to_writer(&mut buffer, batch).map_err(io::Error::other)?;
        frame::finish(&mut buffer).ok_or_else(|| io::Error::other("a batch of records is too long"))?;
        bytes.extend_from_slice(&buffer);
    }
    Ok(bytes)
}

#[cfg(test)]
mod tests;
