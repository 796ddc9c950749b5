//! The table of data planes: who is connected, who was lately, and which server each of them probes.

use std::collections::{BTreeMap, BTreeSet, HashMap, VecDeque};
use std::sync::Arc;

use portcullis_policy::resource::{Kind, PlaneLabels, Resource, Spec, Transport, Uid};
use portcullis_proto::config::v1::SessionEnded;
use serde_json::Value;

use super::super::assign::{Prober, Target, assign};
use super::super::connection::Connection;
use super::PlaneInfo;
use crate::catalog;
use crate::objects::{Lifecycle, ServerState};
use crate::store::State;

/// How many planes that are gone are remembered; those gone longest are forgotten first.
const MAX_GONE: usize = 1_000;

/// One plane, connected or gone.
pub(super) struct Record {
    pub(super) info: PlaneInfo,
    pub(super) live: Option<Arc<Connection>>,
}

/// All planes, and what is remembered for those that connect later.
#[derive(Default)]
pub(super) struct Table {
    /// By name.
    pub(super) records: BTreeMap<String, Record>,
    /// How many streams there ever were: the number of the newest.
    pub(super) connections: u64,
    /// How many questions for recorded calls there ever were: the number of the newest.
    pub(super) questions: u64,
    /// Sessions that ended, the oldest first.
    pub(super) ended: VecDeque<SessionEnded>,
    /// The version of each server's document at the last assignment.
    pub(super) servers: BTreeMap<Uid, u64>,
    /// When a hint last led to a probe of a server, milliseconds since the Unix epoch.
    pub(super) hinted: HashMap<Uid, u64>,
}

impl Table {
    /// The streams of the planes that are connected.
    pub(super) fn live(&self) -> impl Iterator<Item = &Arc<Connection>> {
        self.records.values().filter_map(|record| record.live.as_ref())
    }

    /// How many planes are connected.
    pub(super) fn connected(&self) -> usize {
        self.live().count()
    }

    /// The record of a stream, unless a newer stream took its place.
    pub(super) fn of(&mut self, connection: &Connection) -> Option<&mut Record> {
        self.records
            .get_mut(&connection.name)
            .filter(|record| record.live.as_ref().is_some_and(|live| live.id == connection.id))
    }

    /// Keeps the bound of those that are gone.
    pub(super) fn forget_gone(&mut self) {
        let mut gone: Vec<(u64, String)> = self
            .records
            .values()
            .filter(|record| record.live.is_none())
            .map(|record| (record.info.since_unix_ms, record.info.name.clone()))
            .collect();
        gone.sort();
        let excess = gone.len().saturating_sub(MAX_GONE);
        for (_, name) in gone.into_iter().take(excess) {
            self.records.remove(&name);
        }
    }

    /// Gives every server to one plane, and asks for a probe of those whose document changed.
    pub(super) fn reassign(&mut self, state: &State) {
        let zones = zones(state);
        let mut targets = Vec::new();
        let mut servers = BTreeMap::new();
        for object in state.list(Kind::McpServer.as_str()) {
            let Some(transport) = catalog::server_transport(object) else { continue };
            // Nobody asks what a server offers that ended.
            let ended = |kept: ServerState| kept.lifecycle == Lifecycle::Retired;
            if ServerState::of(state, &object.uid).is_some_and(ended) {
                continue;
            }
            let zone = object.body.pointer("/spec/zone").and_then(Value::as_str).unwrap_or_default();
            let served_by = zones.get(zone).map(Arc::clone).unwrap_or_default();
            let stdio = matches!(transport, Transport::Stdio(_));
            targets.push(Target { uid: object.uid, stdio, served_by });
            servers.insert(object.uid, object.version);
        }
        let probers: Vec<Prober<'_>> = self
            .records
            .values()
            .filter(|record| !record.info.draining)
            .filter_map(|record| Some((record.live.as_ref()?, &record.info.labels)))
            .map(|(live, labels)| Prober { name: &live.name, allow_stdio: live.allow_stdio, labels })
            .collect();
        let assigned = assign(&targets, &probers);
        let mut by_plane: BTreeMap<&str, BTreeSet<Uid>> = BTreeMap::new();
        for (uid, plane) in &assigned {
            by_plane.entry(*plane).or_default().insert(*uid);
        }
        let changed =
            |(uid, version): &(&Uid, &u64)| self.servers.get(uid).is_some_and(|before| before != *version);
        let changed: Vec<Uid> = servers.iter().filter(changed).map(|(uid, _)| *uid).collect();
        for live in self.live() {
            live.outbox.assign(by_plane.remove(live.name.as_str()).unwrap_or_default());
            changed.iter().for_each(|uid| live.outbox.probe_now(*uid));
        }
        self.servers = servers;
        let servers = &self.servers;
        self.hinted.retain(|uid, _| servers.contains_key(uid));
    }
}

/// The zones that only some planes serve. A server says its zone in its document, the built-in one too.
fn zones(state: &State) -> HashMap<&str, Arc<[PlaneLabels]>> {
    let of = |body| match Resource::from_json(body).ok()?.spec {
        Spec::TrustZone(zone) if !zone.served_by.is_empty() => Some(zone.served_by.into()),
        _ => None,
    };
    let zones = state.list(Kind::TrustZone.as_str());
    zones.filter_map(|zone| Some((zone.name.as_ref(), of(&zone.body)?))).collect()
}
