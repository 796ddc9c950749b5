//! One event stream of a legacy client: written by its own task, read by whichever connection is there, and read again
//! from `Last-Event-ID` when a connection broke (2025-11-25, transports, resumability).
//!
//! It holds a bounded history. A writer that runs ahead of its reader waits, so that nothing unread is lost.

use std::collections::VecDeque;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use futures_util::{Stream, stream};
use portcullis_mcp::sse;
use tokio::sync::watch;
use tokio::time::timeout;

use crate::pipeline::{Held, IDLE, Metrics};

/// How long a stream waits for a reader that went away, as the contract says.
pub(super) const PATIENCE: Duration = Duration::from_secs(30);
/// Bytes that a writer may be ahead of its reader; one event may always be waiting, whatever its size.
const MAX_AHEAD: usize = 1 << 20;
/// Bytes of events that were read, kept for a connection that lost them on the way.
const MAX_BEHIND: usize = 256 << 10;
/// What a client is told to wait before it reconnects, in milliseconds.
const RETRY_MS: u64 = 500;

/// The stream's name within event ids: 32 hex digits.
pub(super) type SlotId = u128;

/// One stream.
#[derive(Debug)]
pub(super) struct Slot {
    id: SlotId,
    state: watch::Sender<State>,
}

#[derive(Debug, Default)]
struct State {
    /// Events that may still be read, with their numbers.
    events: VecDeque<(u64, Bytes, Option<Held>)>,
    next: u64,
    /// The number up to which the present reader has read.
    read: u64,
    finished: bool,
    /// Grows with each reader; only the newest one reads.
    reader: u64,
    attached: bool,
}

impl State {
    fn ahead(&self) -> usize {
        self.events.iter().filter(|(at, ..)| *at >= self.read).map(|(_, bytes, _)| bytes.len()).sum()
    }

    fn forget(&mut self) {
        let mut behind: usize =
            self.events.iter().filter(|(at, ..)| *at < self.read).map(|(_, bytes, _)| bytes.len()).sum();
        while behind > MAX_BEHIND
            && let Some((at, bytes, _)) = self.events.front()
            && *at < self.read
        {
            behind -= bytes.len();
            self.events.pop_front();
        }
    }
}

impl Slot {
    pub(super) fn new(id: SlotId) -> Arc<Self> {
        Arc::new(Self { id, state: watch::Sender::new(State::default()) })
    }

    pub(super) const fn id(&self) -> SlotId {
        self.id
    }

    fn event_id(&self, at: u64) -> String {
        format!("{:032x}-{at}", self.id)
    }

    /// The stream and number that an event id names.
    pub(super) fn parse_event_id(text: &str) -> Option<(SlotId, u64)> {
        let (id, at) = text.split_once('-')?;
        (id.len() == 32).then_some(())?;
        Some((u128::from_str_radix(id, 16).ok()?, at.parse().ok()?))
    }

    /// Writes an event that only tells the client how to come back.
    pub(super) fn prime(&self) {
        self.state.send_modify(|state| {
            let text = sse::encode_retry(Some(&self.event_id(state.next)), RETRY_MS);
            state.events.push_back((state.next, text.into(), None));
            state.next += 1;
        });
    }

    /// Writes a message, when the reader is not too far behind. `held` counts it in the figures.
    pub(super) async fn write(&self, message: &[u8], metrics: &Metrics) {
        let mut states = self.state.subscribe();
        // The sender lives as long as this slot.
        let _ = states.wait_for(|state| state.ahead() <= MAX_AHEAD).await;
        let held = Held::count(metrics, message.len() as u64);
        self.state.send_modify(|state| {
            let text = sse::encode(message, Some(&self.event_id(state.next)));
            state.events.push_back((state.next, text.into(), Some(held)));
            state.next += 1;
        });
    }

    /// Nothing more comes.
    pub(super) fn finish(&self) {
        self.state.send_modify(|state| state.finished = true);
    }

    /// Waits until nobody has read for [`PATIENCE`].
    pub(super) async fn abandoned(&self) {
        let mut states = self.state.subscribe();
        loop {
            let _ = states.wait_for(|state| !state.attached).await;
            if timeout(PATIENCE, states.wait_for(|state| state.attached)).await.is_err() {
                return;
            }
        }
    }

    /// Waits until [`Self::finish`].
    pub(super) async fn finished(&self) {
        let _ = self.state.subscribe().wait_for(|state| state.finished).await;
    }

    /// Waits until a finished stream was read to its end, or its reader was away for [`PATIENCE`].
    pub(super) async fn drained(&self) {
        let mut states = self.state.subscribe();
        let read = states.wait_for(|state| state.finished && state.read >= state.next);
        tokio::select! {
            _ = read => {}
            () = self.abandoned() => {}
        }
    }

    /// Reads from the event after `after`, or from the beginning. An earlier reader ends.
    pub(super) fn read(self: &Arc<Self>, after: Option<u64>) -> impl Stream<Item = Bytes> + Send + use<> {
        let start = after.map_or(0, |after| after.saturating_add(1));
        let mut reader = 0;
        self.state.send_modify(|state| {
            state.reader += 1;
            state.attached = true;
            state.read = start.min(state.next);
            reader = state.reader;
        });
        let states = self.state.subscribe();
        let reading = Reading { slot: Arc::clone(self), states, reader, at: start };
        stream::unfold(reading, Reading::next)
    }
}

struct Reading {
    slot: Arc<Slot>,
    states: watch::Receiver<State>,
    reader: u64,
    at: u64,
}

enum Found {
    Event(u64, Bytes),
    End,
    Nothing,
}

impl Reading {
    async fn next(mut self) -> Option<(Bytes, Self)> {
        loop {
            match self.look() {
                Found::Event(at, bytes) => {
                    self.at = at + 1;
                    let (read, reader) = (self.at, self.reader);
                    self.slot.state.send_modify(|state| {
                        if state.reader == reader {
                            state.read = read;
                            state.forget();
                        }
                    });
                    return Some((bytes, self));
                }
                Found::End => return None,
                Found::Nothing => {}
            }
            if timeout(IDLE, self.states.changed()).await.is_err() {
                return Some((Bytes::from_static(sse::KEEP_ALIVE), self));
            }
        }
    }

    fn look(&mut self) -> Found {
        let state = self.states.borrow_and_update();
        if state.reader != self.reader {
            return Found::End;
        }
        match state.events.iter().find(|(at, ..)| *at >= self.at) {
            Some((at, bytes, _)) => Found::Event(*at, bytes.clone()),
            None if state.finished => Found::End,
            None => Found::Nothing,
        }
    }
}

impl Drop for Reading {
    fn drop(&mut self) {
        let reader = self.reader;
        self.slot.state.send_modify(|state| {
            if state.reader == reader {
                state.attached = false;
            }
        });
    }
}

#[cfg(test)]
mod tests;
