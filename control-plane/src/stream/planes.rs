//! The data planes that are connected, and lately were: who probes what, what each enforces, and what must reach all of them.

mod table;

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use portcullis_policy::resource::{Kind, Name, PlaneLabels, Uid};
use portcullis_proto::config::v1::{
    Ack, Hello, Nack, PlaneStatus, SessionEnded, Signal, session_wished::Wish, signal::Signal as SignalKind,
};
use portcullis_seal::PublicKey;
use tonic::Status;

use super::connection::{Connection, End};
use super::own::OwnTokens;
use super::records::{RecordStream, RecordsError};
use super::tokens::{self, TokenError};
use crate::clock::Clock;
use crate::refusals::Refusals;
use crate::rollout::Board;
use crate::store::State;
use table::{Record, Table};

/// How many planes may be connected.
pub const MAX_CONNECTED: usize = 1_000;
/// How long a plane that is gone is listed.
const GONE_MS: u64 = 24 * 60 * 60 * 1000;
/// How many ended sessions are remembered for planes that connect later.
const MAX_ENDED: usize = 10_000;
/// The longest text of a plane that is kept, in characters.
const MAX_TEXT: usize = 1_000;
/// The longest wish of a session that is relayed, in bytes: a URI, most of all.
const MAX_WISH: usize = 8 << 10;
/// At most one hint in so many milliseconds leads to a probe of one server; the next regular probe finds the rest.
const HINT_MS: u64 = 1_000;

/// One data plane, for people.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct PlaneInfo {
    /// Its name.
    pub name: String,
    /// Its labels: its own and its token's.
    pub labels: BTreeMap<String, String>,
    /// Whether it is connected.
    pub connected: bool,
    /// Since when it is, or is not any more, milliseconds since the Unix epoch.
    pub since_unix_ms: u64,
    /// The snapshot version that it enforces.
    pub snapshot_version: u64,
    /// The digest of that snapshot; empty before the first one.
    pub snapshot_digest: Vec<u8>,
    /// Its last refusal with the version refused; empty when it enforces something newer.
    pub last_nack: String,
    /// The version of its binary.
    pub software_version: String,
    /// Names of the servers that it probes.
    pub probes: Vec<String>,
    /// Where callers reach it.
    pub mcp_url: String,
    /// Calls answered since it started.
    pub calls_total: u64,
    /// Whether it is draining.
    pub draining: bool,
    /// The id of the token that it connected with.
    pub token: String,
}

/// The connected planes. Cheap to clone.
#[derive(Clone)]
pub struct Planes(Arc<Inner>);

struct Inner {
    refusals: Refusals,
    clock: Clock,
    own: OwnTokens,
    board: Arc<Board>,
    table: Mutex<Table>,
}

impl std::fmt::Debug for Planes {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Planes").field("connected", &self.connected()).finish_non_exhaustive()
    }
}

impl Planes {
    /// No planes yet.
    #[must_use]
    pub fn new(clock: Clock) -> Self {
        let refusals = Refusals::new(clock.clone());
        let board = Arc::new(Board::new(clock.now_unix_ms()));
        Self(Arc::new(Inner { refusals, clock, own: OwnTokens::default(), board, table: Mutex::default() }))
    }

    /// What planes counted of servers lately.
    pub(crate) fn board(&self) -> &Arc<Board> {
        &self.0.board
    }

    /// Credentials that were refused: of planes, and of administrators.
    #[must_use]
    pub fn refusals(&self) -> &Refusals {
        &self.0.refusals
    }

    /// A token for a plane of this process; the one that it had before ends, and its stream with it.
    ///
    /// # Errors
    /// [`TokenError::NoRandomness`], [`TokenError::TooMany`].
    pub fn own_token(&self, plane: &Name, public_key: PublicKey) -> Result<String, TokenError> {
        let token = self.0.own.make(plane, public_key)?;
        for live in self.table().records.values().filter_map(|record| record.live.as_ref()) {
            if self.0.own.is_over(&live.token) {
                live.end(End::Revoked);
            }
        }
        Ok(token)
    }

    pub(super) fn own(&self) -> &OwnTokens {
        &self.0.own
    }

    fn table(&self) -> MutexGuard<'_, Table> {
        self.0.table.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// How many planes are connected.
    #[must_use]
    pub fn connected(&self) -> usize {
        self.table().connected()
    }

    /// Every plane that is connected, or was within a day, by name.
    #[must_use]
    pub fn list(&self, state: &State) -> Vec<PlaneInfo> {
        let now = self.0.clock.now_unix_ms();
        let names: BTreeMap<Uid, &str> =
            state.list(Kind::McpServer.as_str()).map(|object| (object.uid, object.name.as_ref())).collect();
        let table = self.table();
        let listed = table.records.values().filter(|record| {
            record.live.is_some() || now.saturating_sub(record.info.since_unix_ms) < GONE_MS
        });
        listed
            .map(|record| {
                let mut info = record.info.clone();
                let assigned = record.live.iter().flat_map(|live| live.outbox.assigned());
                info.probes =
                    assigned.filter_map(|uid| names.get(&uid)).map(|name| (*name).to_owned()).collect();
                info.probes.sort();
                info
            })
            .collect()
    }

    /// The labels of a plane that is connected, or was within a day: its own and its token's.
    #[must_use]
    pub fn labels(&self, name: &str) -> Option<PlaneLabels> {
        self.table().records.get(name).map(|record| record.info.labels.clone())
    }

    /// Admits a plane. One of the same name that is connected loses its stream: it is the same plane before a restart, or a
    /// second one whose token is as good.
    pub(super) fn connect(
        &self,
        state: &State,
        name: &Name,
        hello: &Hello,
        labels: BTreeMap<String, String>,
        token: String,
    ) -> Result<Arc<Connection>, Status> {
        let now = self.0.clock.now_unix_ms();
        let mut table = self.table();
        let replaced = table.records.get_mut(name.as_str()).and_then(|record| record.live.take());
        if let Some(old) = replaced {
            tracing::warn!(plane = %name, "a second data plane of this name connected with a valid token; the first one's stream ends");
            old.end(End::Replaced);
        }
        if table.connected() >= MAX_CONNECTED {
            return Err(Status::resource_exhausted(format!("{MAX_CONNECTED} data planes are connected")));
        }
        table.connections += 1;
        let own = (name.as_str().to_owned(), token.clone());
        let connection = Arc::new(Connection::new(table.connections, own.0, own.1, hello, labels.clone()));
        for ended in table.ended.iter().filter(|ended| ended.forget_after_unix_ms > now) {
            // The bound of the outbox is above that of what is remembered.
            let _ = connection.outbox.signal(session_ended(ended.clone()));
        }
        let info = PlaneInfo {
            name: name.as_str().to_owned(),
            labels,
            connected: true,
            since_unix_ms: now,
            snapshot_version: hello.snapshot_version,
            snapshot_digest: hello.snapshot_digest.iter().take(32).copied().collect(),
            software_version: cut(&hello.software_version),
            mcp_url: cut(&hello.mcp_url),
            token,
            ..PlaneInfo::default()
        };
        table.records.insert(name.as_str().to_owned(), Record { info, live: Some(Arc::clone(&connection)) });
        self.0.board.connected(name.as_str(), now);
        table.forget_gone();
        table.reassign(state);
        Ok(connection)
    }

    /// A stream is over. Its servers go to other planes at once.
    pub(super) fn disconnect(&self, state: &State, connection: &Connection) {
        connection.asked.end();
        let now = self.0.clock.now_unix_ms();
        let mut table = self.table();
        if let Some(record) = table.of(connection) {
            record.live = None;
            record.info.connected = false;
            record.info.since_unix_ms = now;
            self.0.board.gone(&connection.name, now);
            table.reassign(state);
        }
    }

    /// Follows the store: servers that came, went or changed, and tokens that were revoked.
    pub(super) fn follow(&self, state: &State) {
        let mut table = self.table();
        for record in table.records.values() {
            if let Some(live) = &record.live
                && !tokens::is_valid(state, &self.0.own, &live.token)
            {
                tracing::info!(plane = %live.name, token = %live.token, "the plane's token was revoked; its stream ends");
                live.end(End::Revoked);
            }
        }
        table.reassign(state);
    }

    /// Ends all streams.
    pub(super) fn stop(&self) {
        for record in self.table().records.values() {
            if let Some(live) = &record.live {
                live.end(End::Stopping);
            }
        }
    }

    /// The plane enforces a version.
    pub(super) fn ack(&self, connection: &Connection, ack: &Ack) {
        if let Some(Record { info, .. }) = self.table().of(connection) {
            info.snapshot_version = ack.version;
            info.snapshot_digest = ack.digest.iter().take(32).copied().collect();
            info.last_nack.clear();
        }
    }

    /// The plane refused a version.
    pub(super) fn nack(&self, connection: &Connection, nack: &Nack) {
        let reason = cut(&nack.reason);
        tracing::warn!(plane = %connection.name, version = nack.version, %reason, "a data plane refused a snapshot");
        if let Some(Record { info, .. }) = self.table().of(connection) {
            info.last_nack = format!("version {}: {reason}", nack.version);
        }
    }

    /// A sign of life. A plane that drains gives its servers away.
    pub(super) fn status(&self, state: &State, connection: &Connection, status: &PlaneStatus) {
        let mut table = self.table();
        if let Some(Record { info, .. }) = table.of(connection) {
            self.0.board.report(state, &connection.name, status, self.0.clock.now_unix_ms());
            info.calls_total = status.calls_total;
            let changed = info.draining != status.draining;
            info.draining = status.draining;
            if changed {
                table.reassign(state);
            }
        }
    }

    /// Asks every connected plane for its recorded calls of a window of time. Of those that cannot be asked: their names, and
    /// why.
    #[must_use]
    pub fn ask_records(
        &self,
        since_unix_ms: u64,
        until_unix_ms: u64,
    ) -> Vec<(String, Result<RecordStream, RecordsError>)> {
        let now = self.0.clock.now_unix_ms();
        let mut table = self.table();
        table.questions += 1;
        let id = table.questions;
        let asked = table.records.iter().filter_map(|(name, record)| {
            let stream = match &record.live {
                Some(live) => RecordStream::ask(live, id, since_unix_ms, until_unix_ms),
                None if now.saturating_sub(record.info.since_unix_ms) < GONE_MS => Err(RecordsError::Away),
                None => return None,
            };
            Some((name.clone(), stream))
        });
        asked.collect()
    }

    /// Whether a plane probes this server.
    pub(super) fn probes(&self, connection: &Connection, server: &Uid) -> bool {
        connection.outbox.probes(server)
    }

    /// A plane believes that a server changed: its prober looks at once.
    pub(super) fn hint(&self, server: Uid) {
        let now = self.0.clock.now_unix_ms();
        let mut table = self.table();
        // Only what is assigned is remembered, so that invented uids take no memory.
        if !table.servers.contains_key(&server) {
            return;
        }
        let last = table.hinted.get(&server).copied();
        if last.is_some_and(|last| now.saturating_sub(last) < HINT_MS) {
            return;
        }
        table.hinted.insert(server, now);
        for live in table.live() {
            live.outbox.probe_now(server);
        }
    }

    /// Relays a signal to all other planes, and keeps what planes that connect later must know.
    pub(super) fn signal(&self, from: &Connection, signal: Signal) {
        let Some(signal) = sane(signal) else {
            tracing::warn!(plane = %from.name, "a signal without sense was dropped");
            return;
        };
        let now = self.0.clock.now_unix_ms();
        let mut table = self.table();
        for live in table.live().filter(|live| live.id != from.id) {
            if live.outbox.signal(signal.clone()).is_err() {
                tracing::warn!(plane = %live.name, "signals piled up for this plane; its stream ends, so that it starts anew");
                live.end(End::Behind);
            }
        }
        if let Some(SignalKind::SessionEnded(ended)) = signal.signal {
            // Sessions end about in the order in which they may be forgotten; the bound takes the rest.
            while table.ended.front().is_some_and(|old| old.forget_after_unix_ms <= now)
                || table.ended.len() >= MAX_ENDED
            {
                table.ended.pop_front();
            }
            table.ended.push_back(ended);
        }
    }
}

fn session_ended(ended: SessionEnded) -> Signal {
    Signal { signal: Some(SignalKind::SessionEnded(ended)) }
}

/// A signal within its bounds.
fn sane(mut signal: Signal) -> Option<Signal> {
    match signal.signal.as_mut()? {
        SignalKind::SessionEnded(ended) => (ended.session.len() == 16).then_some(signal),
        SignalKind::RequestCancelled(cancelled) => {
            cancelled.reason = cut(&cancelled.reason);
            (cancelled.session.len() == 16 && cancelled.request_id_json.len() <= MAX_TEXT).then_some(signal)
        }
        SignalKind::SessionWished(wished) => {
            let length = match wished.wish.as_ref()? {
                Wish::LogLevel(level) => level.len(),
                Wish::Subscribed(subscribed) => subscribed.uri.len() + subscribed.server.len(),
                Wish::Unsubscribed(uri) => uri.len(),
            };
            (wished.session.len() == 16 && length <= MAX_WISH).then_some(signal)
        }
    }
}

fn cut(text: &str) -> String {
    text.chars().take(MAX_TEXT).collect()
}
