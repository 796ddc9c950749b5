//! A simulated data plane: a purse over a ledger that is synced a moment after it was written.

use std::collections::BTreeMap;

use portcullis_metering::purse::{Opening, Price, Purse, Record, Reservation, Settings, recover};
use portcullis_metering::{AccountId, Epoch, Mono, Over};
use uuid::Uuid;

use crate::chance::Chance;

#[derive(Debug)]
pub(crate) struct Plane {
    pub(crate) id: Uuid,
    /// Where its monotonic clock began: unlike any other plane's.
    offset_ms: u64,
    ledger: Vec<Record>,
    unsynced: Vec<(u64, Vec<Record>, Opening)>,
    next_sync: u64,
    pub(crate) life: u32,
    pub(crate) up: bool,
    pub(crate) cut_off: bool,
    pub(crate) woken: bool,
    pub(crate) purse: Option<Purse>,
    /// Earlier lives that the control plane has not noted yet.
    pub(crate) over: Vec<Over>,
    pub(crate) calls: BTreeMap<u64, Call>,
    /// Calls that wait for a lease, and until when.
    pub(crate) waiting: Vec<Waiting>,
}

#[derive(Debug, Clone, Copy)]
pub(crate) struct Waiting {
    pub(crate) route: usize,
    pub(crate) price: Price,
    pub(crate) until_ms: u64,
}

/// A call on its way, and what it was charged at most, by account and epoch.
#[derive(Debug)]
pub(crate) struct Call {
    pub(crate) reservation: Reservation,
    pub(crate) charged: Vec<(AccountId, Epoch, u64)>,
}

impl Plane {
    pub(crate) fn new(number: u64, chance: &mut Chance) -> Self {
        Self {
            id: Uuid::from_u128(u128::from(number) + 1),
            offset_ms: chance.within(0, 1_000_000_000),
            ledger: Vec::new(),
            unsynced: Vec::new(),
            next_sync: 0,
            life: 0,
            up: false,
            cut_off: false,
            woken: false,
            purse: None,
            over: Vec::new(),
            calls: BTreeMap::new(),
            waiting: Vec::new(),
        }
    }

    pub(crate) fn mono(&self, now_ms: u64) -> Mono {
        Mono::from_millis(self.offset_ms + now_ms)
    }

    pub(crate) fn start(&mut self) {
        let recovery = recover(self.id, self.ledger.iter().copied()).unwrap();
        self.life = recovery.holder.life;
        self.ledger.push(Record::Life { plane: self.id, life: self.life });
        self.over = recovery.over;
        self.up = true;
    }

    /// Opens the purse once every earlier life is noted.
    pub(crate) fn open_purse(&mut self, settings: Settings) {
        if self.over.is_empty() && self.purse.is_none() {
            let holder = portcullis_metering::Holder { plane: self.id, life: self.life };
            self.purse = Some(Purse::new(holder, settings));
        }
    }

    pub(crate) fn noted(&mut self, life: u32) {
        let before = self.over.len();
        self.over.retain(|over| over.holder.life != life);
        if self.over.len() < before {
            self.ledger.push(Record::Settled { life });
        }
    }

    /// Writes records; the number is for the sync.
    pub(crate) fn write(&mut self, records: Vec<Record>, opening: Opening) -> u64 {
        self.next_sync += 1;
        self.unsynced.push((self.next_sync, records, opening));
        self.next_sync
    }

    pub(crate) fn synced(&mut self, number: u64) {
        while let Some(at) = self.unsynced.iter().position(|(waiting, ..)| *waiting <= number) {
            let (_, records, opening) = self.unsynced.remove(at);
            self.ledger.extend(records);
            opening.commit();
        }
    }

    /// Dies in the middle of everything. Some of what was not synced may have reached the disk all the same.
    pub(crate) fn crash(&mut self, chance: &mut Chance) {
        self.up = false;
        let unsynced: Vec<Record> = self.unsynced.drain(..).flat_map(|(_, records, _)| records).collect();
        let torn = chance.within(0, unsynced.len() as u64 + 1) as usize;
        self.ledger.extend(unsynced.into_iter().take(torn));
        self.calls.clear();
        self.waiting.clear();
        self.purse = None;
        self.over.clear();
        self.woken = false;
    }
}
