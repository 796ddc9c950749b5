//! One running child and the calls in it: ids and progress tokens of our own, answers and notifications to whom they belong.
//!
//! The child is shared between principals. What cannot be told to belong to one of them is given to none.

use std::collections::HashMap;
use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, OnceLock, PoisonError};

use bytes::Bytes;
use portcullis_mcp::{Message, Params, object, parse_upstream};
use portcullis_policy::Reason;
use portcullis_policy::resource::{Name, Uid};
use serde_json::value::RawValue;
use tokio::sync::{mpsc, oneshot};
use tokio_util::sync::CancellationToken;

use super::frame::{self, Line};
use super::listeners::{Listeners, Owner};
use super::start::Greeting;
use crate::upstream::stats::{UpstreamStats, count};
use crate::upstream::{UpstreamError, wire};

/// Notifications that one call may have waiting; beyond it they are left out.
const MAX_NOTES: usize = 64;

/// A running child.
pub(super) struct Child {
    pub(super) name: Name,
    outgoing: mpsc::Sender<Bytes>,
    table: Mutex<Table>,
    next_id: AtomicU64,
    greeting: OnceLock<Greeting>,
    listeners: Arc<Listeners>,
    stats: Arc<UpstreamStats>,
    /// Cancelled to end it.
    pub(super) stop: CancellationToken,
    /// Cancelled when it has ended.
    pub(super) gone: CancellationToken,
    level: Mutex<Option<String>>,
}

#[derive(Default)]
struct Table {
    waiting: HashMap<u64, Waiter>,
    served: Served,
    closed: bool,
}

/// Whom the child has served since it was started.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
enum Served {
    #[default]
    Nobody,
    One(Uid),
    Many,
}

struct Waiter {
    notes: mpsc::Sender<Bytes>,
    done: oneshot::Sender<Result<Bytes, UpstreamError>>,
    token: Option<Box<RawValue>>,
    owner: Option<Owner>,
}

/// What comes next for a call.
pub(super) enum Next {
    /// A notification.
    Note(Bytes),
    /// The response.
    Done(Bytes),
}

/// A call in a child. Letting go of it before its answer cancels it.
pub(super) struct Pending {
    id: u64,
    child: Arc<Child>,
    notes: mpsc::Receiver<Bytes>,
    done: oneshot::Receiver<Result<Bytes, UpstreamError>>,
    open: bool,
}

impl Child {
    pub(super) fn new(
        name: Name,
        outgoing: mpsc::Sender<Bytes>,
        listeners: Arc<Listeners>,
        stats: Arc<UpstreamStats>,
        stop: CancellationToken,
    ) -> Self {
        Self {
            name,
            outgoing,
            table: Mutex::default(),
            next_id: AtomicU64::new(1),
            greeting: OnceLock::new(),
            listeners,
            stats,
            stop,
            gone: CancellationToken::new(),
            level: Mutex::default(),
        }
    }

    /// What it said of itself; none before the handshake is over.
    pub(super) fn greeting(&self) -> Option<&Greeting> {
        self.greeting.get()
    }

    pub(super) fn greeted(&self, greeting: Greeting) {
        // Only the start of the child calls this, once.
        let _ = self.greeting.set(greeting);
    }

    /// How many calls are open in it.
    pub(super) fn load(&self) -> usize {
        self.table().waiting.len()
    }

    fn table(&self) -> MutexGuard<'_, Table> {
        self.table.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Sends a request. `params` gives the parameters for its id, and the caller's progress token if there is one.
    pub(super) async fn begin<'a>(
        self: &Arc<Self>,
        method: &str,
        owner: Option<Owner>,
        params: impl FnOnce(u64) -> Result<(wire::Params<'a>, Option<Box<RawValue>>), UpstreamError>,
    ) -> Result<Pending, UpstreamError> {
        let id = self.next_id.fetch_add(1, Ordering::Relaxed);
        let (params, token) = params(id)?;
        let message = wire::request(id, method, params.as_deref());
        let (notes, note_queue) = mpsc::channel(MAX_NOTES);
        let (done, done_queue) = oneshot::channel();
        {
            let mut table = self.table();
            if table.closed {
                return Err(exited(false));
            }
            if let Some((principal, _)) = owner {
                table.served = match table.served {
                    Served::Nobody => Served::One(principal),
                    Served::One(other) if other == principal => Served::One(other),
                    Served::One(_) | Served::Many => Served::Many,
                };
            }
            table.waiting.insert(id, Waiter { notes, done, token, owner });
        }
        let pending =
            Pending { id, child: Arc::clone(self), notes: note_queue, done: done_queue, open: true };
        self.outgoing.send(message).await.map_err(|_| exited(false))?;
        Ok(pending)
    }

    /// Sends a notification.
    pub(super) async fn tell(&self, message: Bytes) -> Result<(), UpstreamError> {
        self.outgoing.send(message).await.map_err(|_| exited(false))
    }

    /// Whether the level of log messages has to be set first. It is, as long as all calls are of one principal: the level
    /// is the child's, and so are its messages.
    pub(super) fn takes_level(&self, principal: Uid, level: &str) -> bool {
        let alone = match self.table().served {
            Served::Nobody => true,
            Served::One(other) => other == principal,
            Served::Many => false,
        };
        let offers = self
            .greeting()
            .and_then(Greeting::introduction)
            .is_some_and(|introduction| object::member(&introduction.capabilities, "logging").is_some());
        let mut current = self.level.lock().unwrap_or_else(PoisonError::into_inner);
        if !alone || !offers || current.as_deref() == Some(level) {
            return false;
        }
        *current = Some(level.to_owned());
        true
    }

    /// Reads what the child says until it says no more.
    pub(super) async fn read(&self, output: impl tokio::io::AsyncRead + Unpin, max_line: &AtomicUsize) {
        let mut reader = tokio::io::BufReader::new(output);
        loop {
            let max = max_line.load(Ordering::Relaxed);
            match frame::next_line(&mut reader, max).await {
                Ok(Some(Line::Whole(line))) if line.is_empty() => {}
                Ok(Some(Line::Whole(line))) => self.take(line.into()),
                Ok(Some(Line::TooLong { head, tail })) => {
                    let waiter =
                        frame::id_of_skipped(&head, &tail).and_then(|id| self.table().waiting.remove(&id));
                    match waiter {
                        Some(waiter) => drop(waiter.done.send(Err(too_large(max)))),
                        None => self.dropped("a message that is too long"),
                    }
                }
                Ok(None) | Err(_) => return,
            }
        }
    }

    fn take(&self, line: Bytes) {
        match parse_upstream(&line) {
            Ok(Message::Response { id, .. }) => {
                let waiter = id.and_then(wire::own_id).and_then(|id| self.table().waiting.remove(&id));
                match waiter {
                    // A caller that no longer waits is fine.
                    Some(waiter) => drop(waiter.done.send(Ok(line.clone()))),
                    None => self.dropped("an answer to nothing that is asked"),
                }
            }
            Ok(Message::Notification { method, params }) => self.route(&line, &method, &params),
            Ok(Message::Request { id, method, .. }) => {
                let answer = if method == "ping" { wire::pong(id) } else { wire::unsupported(id) };
                if self.outgoing.try_send(answer).is_err() {
                    self.dropped("a request");
                }
            }
            Err(_) => self.dropped("a line that is no message"),
        }
    }

    fn route(&self, line: &Bytes, method: &str, params: &Params<'_>) {
        if let Some(id) = params.meta.subscription_id.and_then(wire::own_id) {
            return self.note(id, line.clone());
        }
        match method {
            "notifications/progress" => {
                let token = params.raw.and_then(|params| object::member(params, "progressToken"));
                let Some(id) = token.and_then(wire::own_id) else {
                    return self.dropped("progress of nothing");
                };
                let restored = {
                    let table = self.table();
                    let token = table.waiting.get(&id).and_then(|waiter| waiter.token.as_deref());
                    token.and_then(|token| wire::with_progress_token(std::str::from_utf8(line).ok()?, token))
                };
                match restored {
                    Some(json) => self.note(id, json),
                    None => self.dropped("progress of nothing"),
                }
            }
            "notifications/cancelled" => {
                // A server cancels nothing but subscriptions of ours: the waiter hears that it has ended.
                let id =
                    params.raw.and_then(|params| object::member(params, "requestId")).and_then(wire::own_id);
                let waiter = id.and_then(|id| self.table().waiting.remove(&id));
                if let Some(waiter) = waiter {
                    drop(waiter.done.send(Err(ended())));
                }
            }
            "notifications/tools/list_changed"
            | "notifications/prompts/list_changed"
            | "notifications/resources/list_changed" => self.listeners.changed(method, line),
            "notifications/resources/updated" => match params.uri.as_deref() {
                Some(uri) => self.listeners.updated(uri, line),
                None => self.dropped("an update of nothing"),
            },
            _ => self.unattributed(line),
        }
    }

    /// A notification that names no request: it is the only principal's that this child ever served, or nobody's.
    fn unattributed(&self, line: &Bytes) {
        let (principal, id) = {
            let table = self.table();
            let Served::One(principal) = table.served else {
                drop(table);
                return self.dropped("a notification that names no request");
            };
            let id = table.waiting.iter().find(|(_, waiter)| waiter.owner.is_some()).map(|(id, _)| *id);
            (principal, id)
        };
        match id {
            Some(id) => self.note(id, line.clone()),
            None => self.listeners.told(principal, line),
        }
    }

    /// Gives a notification to a call; a call that does not listen fast enough loses it.
    fn note(&self, id: u64, json: Bytes) {
        let given = self.table().waiting.get(&id).is_some_and(|waiter| waiter.notes.try_send(json).is_ok());
        if !given {
            self.dropped("a notification for nobody who listens");
        }
    }

    fn dropped(&self, what: &'static str) {
        count(&self.stats.messages_dropped_total);
        tracing::debug!(server = %self.name, what, "a message of a child was left out");
    }

    /// It has ended: all calls in it fail.
    pub(super) fn over(&self) {
        let waiting = {
            let mut table = self.table();
            table.closed = true;
            std::mem::take(&mut table.waiting)
        };
        for (_, waiter) in waiting {
            drop(waiter.done.send(Err(exited(true))));
        }
        self.gone.cancel();
    }
}

impl Pending {
    /// What comes next; nothing comes after [`Next::Done`] or an error.
    pub(super) async fn next(&mut self) -> Result<Next, UpstreamError> {
        tokio::select! {
            biased;
            Some(note) = self.notes.recv() => Ok(Next::Note(note)),
            done = &mut self.done => {
                self.open = false;
                done.unwrap_or_else(|_| Err(exited(true))).map(Next::Done)
            }
        }
    }

    /// The response, everything before it left out.
    pub(super) async fn response(mut self) -> Result<Bytes, UpstreamError> {
        loop {
            if let Next::Done(response) = self.next().await? {
                return Ok(response);
            }
        }
    }
}

impl Drop for Pending {
    fn drop(&mut self) {
        if !self.open {
            return;
        }
        let was_waiting = self.child.table().waiting.remove(&self.id).is_some();
        if was_waiting && self.child.outgoing.try_send(wire::cancelled(self.id)).is_err() {
            tracing::debug!(server = %self.child.name, "a child did not take a cancellation");
        }
    }
}

/// The child has ended.
pub(super) fn exited(reached: bool) -> UpstreamError {
    let error = UpstreamError::sent(Reason::UpstreamUnavailable, "The server's process has ended.");
    if reached { error } else { error.not_reached() }
}

fn ended() -> UpstreamError {
    UpstreamError::sent(Reason::UpstreamUnavailable, "The server ended the subscription.")
}

pub(super) fn too_large(max_bytes: usize) -> UpstreamError {
    UpstreamError::sent(
        Reason::ResponseTooLarge,
        format!("The server's answer is larger than the {max_bytes} bytes that are allowed."),
    )
}
