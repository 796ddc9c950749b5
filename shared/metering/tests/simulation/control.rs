//! The simulated control plane: accounts over a journal that is synced a moment after it was written. What is not synced is lost in a
//! crash, and nothing is answered before the sync.

use std::collections::BTreeMap;

use portcullis_metering::accounts::{Accounts, Command, Event, Refusal};
use portcullis_metering::{AccountId, Answer, Ask, Close, Closed, Epoch, Holder, Over, Utc};
use uuid::Uuid;

#[derive(Debug, Clone)]
pub(crate) enum ToControl {
    Ask(Ask),
    Close(Close),
    Over(Over),
}

#[derive(Debug, Clone)]
pub(crate) enum ToPlane {
    Answer(Answer),
    Closed(Closed),
    Refused(AccountId, u64),
    OverNoted(u32),
}

#[derive(Debug, Default)]
pub(crate) struct Control {
    pub(crate) accounts: Accounts,
    durable: Vec<Event>,
    unsynced: Vec<Event>,
    unsent: Vec<(Uuid, ToPlane)>,
    /// What its clock says more than the true time.
    pub(crate) skew_ms: i64,
    pub(crate) up: bool,
    pub(crate) crashes: u32,
    pub(crate) heard: BTreeMap<Uuid, (Holder, u64)>,
    /// When the period of an epoch ends, by its own clock.
    pub(crate) ends: BTreeMap<(AccountId, Epoch), Utc>,
}

impl Control {
    pub(crate) fn new(skew_ms: i64) -> Self {
        Self { up: true, skew_ms, ..Self::default() }
    }

    pub(crate) fn wall(&self, now_ms: u64) -> Utc {
        // 2026-11-21T00:00:40Z: minutes turn early and often.
        Utc((1_795_219_240_000 + now_ms).checked_add_signed(self.skew_ms).unwrap())
    }

    /// Decides, writes, applies; the sync comes later.
    pub(crate) fn command(&mut self, now_ms: u64, command: &Command) -> Result<Vec<Event>, Refusal> {
        let events = self.accounts.decide(self.wall(now_ms), command)?;
        for event in &events {
            if let Event::Opened { account, epoch, end, .. } = event {
                self.ends.insert((*account, *epoch), *end);
            }
            self.accounts.apply(event).unwrap();
        }
        if !events.is_empty() {
            self.accounts.check().unwrap();
        }
        self.unsynced.extend(events.iter().cloned());
        Ok(events)
    }

    /// Takes in a message of a plane. True if it now waits for a sync.
    pub(crate) fn receive(&mut self, now_ms: u64, plane: Uuid, message: &ToControl, fleet: u32) -> bool {
        let (holder, command) = match message {
            ToControl::Ask(ask) => (ask.holder, Command::Ask { ask: *ask, fleet }),
            ToControl::Close(close) => (close.holder, Command::Close(*close)),
            ToControl::Over(over) => (over.holder, Command::Over(over.clone())),
        };
        if self.heard.get(&plane).is_none_or(|(known, _)| *known <= holder) {
            self.heard.insert(plane, (holder, now_ms));
        }
        let done = self.command(now_ms, &command);
        if matches!(done, Err(Refusal::Impossible { .. })) {
            panic!("an honest plane was not believed: {message:?}");
        }
        let reply = match (message, done) {
            (ToControl::Ask(ask), Ok(_)) => {
                ToPlane::Answer(self.accounts.answer(self.wall(now_ms), ask, fleet).unwrap())
            }
            (ToControl::Ask(ask), Err(_)) => ToPlane::Refused(ask.account, ask.seq),
            (ToControl::Close(close), Ok(_)) => ToPlane::Closed(self.accounts.closed(close)),
            (ToControl::Over(over), Ok(_)) => ToPlane::OverNoted(over.holder.life),
            (_, Err(_)) => return false,
        };
        self.unsent.push((plane, reply));
        true
    }

    pub(crate) fn sync(&mut self) -> Vec<(Uuid, ToPlane)> {
        self.durable.append(&mut self.unsynced);
        std::mem::take(&mut self.unsent)
    }

    pub(crate) fn crash(&mut self) {
        self.up = false;
        self.crashes += 1;
        self.unsynced.clear();
        self.unsent.clear();
        self.heard.clear();
    }

    /// Reads its journal again; its clock may be another one.
    pub(crate) fn restart(&mut self, skew_ms: i64) {
        self.up = true;
        self.skew_ms = skew_ms;
        self.accounts = Accounts::default();
        self.ends.clear();
        for event in &self.durable {
            if let Event::Opened { account, epoch, end, .. } = event {
                self.ends.insert((*account, *epoch), *end);
            }
            self.accounts.apply(event).unwrap();
        }
        self.accounts.check().unwrap();
    }
}
