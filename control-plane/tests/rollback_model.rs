//! Whatever happened since: a rollback decides as the old version did, but for what never comes back; and never permits more.

#![allow(
    clippy::unwrap_used,
    clippy::panic,
    clippy::indexing_slicing,
    reason = "a step that fails fails the test"
)]

mod catalog_support;

use std::collections::BTreeSet;
use std::sync::Arc;

use catalog_support::{World, report, tool};
use portcullis_background::Background;
use portcullis_control_plane::governance::Actor;
use portcullis_control_plane::keys::Keys;
use portcullis_control_plane::publish::Publisher;
use portcullis_control_plane::registry::{ApplyInput, Registry, RollbackInput};
use portcullis_control_plane::rollout::{Board, Move, Promotion, Rollout};
use portcullis_control_plane::store::{State, Vault};
use portcullis_policy::Snapshot;
use portcullis_policy::circumstances::Circumstances;
use portcullis_policy::resource::{Kind, Uid};
use portcullis_policy::snapshot::Opening;
use portcullis_policy::view::EndpointRef;
use proptest::prelude::*;
use serde_json::Value;
use tokio_util::sync::CancellationToken;

const SERVERS: &[&str] = &["crm", "wiki"];
const TOOLS: &[&str] = &["find", "edit"];
const KEYS: &[&str] = &["bot", "ci"];

/// One thing that somebody does.
#[derive(Debug, Clone)]
enum Step {
    Server { name: &'static str, zone: &'static str, new_tools: &'static str, rollout: bool },
    Rollout { stages: &'static str },
    Tier { spec: &'static str },
    Promote { server: &'static str },
    Move { server: &'static str, go: Move },
    Zone { reachable: bool },
    Bundle { server: &'static str, allow: &'static str },
    Key { name: &'static str, grant: &'static str },
    Delete { kind: Kind, name: &'static str },
    Probe { server: &'static str, edition: u8 },
    Decide { approve: bool },
    Revoke { name: &'static str },
}

fn step() -> impl Strategy<Value = Step> {
    let server = || prop::sample::select(SERVERS);
    let key = || prop::sample::select(KEYS);
    let grant = prop::sample::select(
        &["{ server: crm, allow: [find] }", "{ server: wiki, allow: [\"*\"] }", "{ bundle: all }"][..],
    );
    let deleted = prop::sample::select(
        &[
            (Kind::McpServer, "crm"),
            (Kind::McpServer, "wiki"),
            (Kind::VirtualKey, "bot"),
            (Kind::ToolBundle, "all"),
            (Kind::TierDefaults, "bronze"),
        ][..],
    );
    prop_oneof![
        3 => (server(), prop::sample::select(&["default", "apart"][..]), prop::sample::select(&["approve", "require-approval"][..]), any::<bool>())
            .prop_map(|(name, zone, new_tools, rollout)| Step::Server { name, zone, new_tools, rollout }),
        1 => prop::sample::select(&["{ sandbox: {} }", "{ limited: { keys: [bot] } }", "{ sandbox: {}, limited: { keys: [ci] } }"][..])
            .prop_map(|stages| Step::Rollout { stages }),
        1 => prop::sample::select(&["{}", "{ rollout: { policy: careful } }"][..]).prop_map(|spec| Step::Tier { spec }),
        3 => server().prop_map(|server| Step::Promote { server }),
        2 => (server(), prop::sample::select(&[Move::Suspend, Move::Resume, Move::Resume][..]))
            .prop_map(|(server, go)| Step::Move { server, go }),
        1 => any::<bool>().prop_map(|reachable| Step::Zone { reachable }),
        2 => (server(), prop::sample::select(&["find", "*"][..])).prop_map(|(server, allow)| Step::Bundle { server, allow }),
        3 => (key(), grant).prop_map(|(name, grant)| Step::Key { name, grant }),
        1 => deleted.prop_map(|(kind, name)| Step::Delete { kind, name }),
        4 => (server(), 0..3_u8).prop_map(|(server, edition)| Step::Probe { server, edition }),
        3 => prop::bool::weighted(0.8).prop_map(|approve| Step::Decide { approve }),
        1 => key().prop_map(|name| Step::Revoke { name }),
    ]
}

struct Model {
    world: World,
    registry: Registry,
    keys: Keys,
    rollout: Rollout,
    publisher: Publisher,
    stop: CancellationToken,
    _dir: tempfile::TempDir,
}

impl Model {
    async fn new() -> Self {
        let world = World::new();
        let dir = tempfile::tempdir().unwrap();
        let vault = Arc::new(Vault::open(&dir.path().join("vault"), 1).unwrap());
        let stop = CancellationToken::new();
        let key = Arc::new(portcullis_seal::SigningKey::generate().unwrap().0);
        let (store, clock) = (Arc::clone(&world.store), world.clock.clone());
        let background = Background::start("policy").unwrap();
        let publisher =
            Publisher::start(Arc::clone(&store), key, clock.clone(), background, stop.clone()).await;
        let registry = Registry::new(store, publisher.clone(), vault, world.catalog.clone(), clock.clone());
        let keys = Keys::new(registry.clone(), publisher.clone(), clock.clone());
        let board = Arc::new(Board::new(clock.now_unix_ms()));
        let rollout = Rollout::new(publisher.clone(), board, clock);
        let model = Self { world, registry, keys, rollout, publisher, stop, _dir: dir };
        let zone = "apiVersion: portcullis/v1\nkind: TrustZone\nmetadata: { name: apart }\nspec: {}\n";
        model.apply(zone).await;
        for key in KEYS {
            model.take(&Step::Key { name: key, grant: "" }).await;
        }
        model.take(&Step::Rollout { stages: "{ sandbox: {} }" }).await;
        model
    }

    async fn apply(&self, text: &str) {
        let input = ApplyInput::new(vec![("step".to_owned(), text.to_owned())], Actor::trusted("admin"));
        // What refers to nothing is refused, and nothing happened.
        let _ = self.registry.apply(input).await;
    }

    fn uid(&self, kind: Kind, name: &str) -> Option<Uid> {
        self.world.store.state().get(kind.as_str(), name).map(|object| object.uid)
    }

    async fn take(&self, step: &Step) {
        self.world.pass(1);
        let document = |kind: &str, name: &str, spec: String| {
            format!("apiVersion: portcullis/v1\nkind: {kind}\nmetadata: {{ name: {name} }}\nspec: {spec}\n")
        };
        match step {
            Step::Server { name, zone, new_tools, rollout } => {
                let rollout = if *rollout { ", rollout: { policy: careful }" } else { "" };
                let spec = format!(
                    "{{ zone: {zone}, transport: {{ streamableHttp: {{ url: \"http://127.0.0.1:1/mcp\" }} }}, tools: {{ newTools: {new_tools} }}{rollout} }}"
                );
                self.apply(&document("McpServer", name, spec)).await;
            }
            Step::Rollout { stages } => {
                self.apply(&document("RolloutPolicy", "careful", (*stages).to_owned())).await;
            }
            Step::Tier { spec } => self.apply(&document("TierDefaults", "bronze", (*spec).to_owned())).await,
            Step::Promote { server } => {
                let promotion = Promotion { to: None, force: true, message: "go".to_owned() };
                drop(self.rollout.promote(server, promotion, &Actor::trusted("admin")).await);
            }
            Step::Move { server, go } => {
                drop(self.rollout.go(server, *go, &Actor::trusted("admin"), "").await);
            }
            Step::Zone { reachable } => {
                let from = if *reachable { "[default]" } else { "[]" };
                self.apply(&document("TrustZone", "apart", format!("{{ reachableFrom: {from} }}"))).await;
            }
            Step::Bundle { server, allow } => {
                let spec = format!("{{ tools: [ {{ server: {server}, allow: [\"{allow}\"] }} ] }}");
                self.apply(&document("ToolBundle", "all", spec)).await;
            }
            Step::Key { name, grant } => {
                let spec =
                    format!("{{ principal: {{ kind: agent, subject: {name} }}, grants: [ {grant} ] }}");
                self.apply(&document("VirtualKey", name, spec)).await;
            }
            Step::Delete { kind, name } => {
                drop(self.registry.delete(*kind, name, &Actor::trusted("admin"), "").await)
            }
            Step::Probe { server, edition } => {
                let Some(uid) = self.uid(Kind::McpServer, server) else { return };
                let tools: Vec<_> = TOOLS
                    .iter()
                    .take(1 + usize::from(*edition > 0))
                    .map(|name| tool(name, &format!("edition {edition}")))
                    .collect();
                self.world.report(report(uid, &tools)).await;
            }
            Step::Decide { approve } => drop(self.world.decide_all(None, *approve).await),
            Step::Revoke { name } => drop(self.keys.revoke(name, &Actor::trusted("admin"), "").await),
        }
    }

    /// The snapshot of what the store holds now.
    async fn snapshot(&self) -> Past {
        let version = self.world.version();
        self.publisher.reached(version).await;
        let snapshot = Arc::clone(&self.publisher.current().unwrap().snapshot);
        Past { version, snapshot, state: self.world.store.state() }
    }
}

/// What was in force at a version.
#[derive(Clone)]
struct Past {
    version: u64,
    snapshot: Arc<Snapshot>,
    state: Arc<State>,
}

impl Past {
    /// What was approved of a tool, served or not.
    fn approved(&self, server: &str, tool: &str) -> Option<&Value> {
        let uid = self.state.get(Kind::McpServer.as_str(), server)?.uid;
        let stored = self.state.get("Definition", &format!("{uid}/tool/{tool}"))?;
        stored.body.pointer("/approved/pin")
    }
}

impl Drop for Model {
    fn drop(&mut self) {
        self.stop.cancel();
    }
}

/// `KEY SERVER/TOOL` of every call that is permitted.
fn permitted(snapshot: &Snapshot) -> BTreeSet<String> {
    let mut found = BTreeSet::new();
    for key in KEYS {
        let Some(principal) = snapshot.key_by_name(key) else { continue };
        for server in SERVERS {
            let Ok(view) = snapshot.endpoint(principal, EndpointRef::Server(server)) else { continue };
            for tool in TOOLS {
                let now = Circumstances::at(1_800_000_000_000);
                if snapshot.decide_tool(principal, &view, tool, &now).is_ok() {
                    found.insert(format!("{key} {server}/{tool}"));
                }
            }
        }
    }
    found
}

async fn run(steps: Vec<Step>, back: usize) {
    let model = Model::new().await;
    let mut past = vec![model.snapshot().await];
    for step in &steps {
        model.take(step).await;
        past.push(model.snapshot().await);
    }
    let past = past[back % past.len()].clone();
    let (version, then) = (past.version, &past.snapshot);
    let before = model.snapshot().await.snapshot;
    let input = RollbackInput {
        version,
        by: Actor::trusted("admin"),
        message: String::new(),
        dry_run: false,
        full: false,
    };
    model.registry.rollback(input).await.unwrap();
    let present = model.snapshot().await;
    let now = &present.snapshot;

    let (had, has) = (permitted(then), permitted(now));
    // Never more than then, but for what was approved then and the upstream did not offer like that at the time: it is back.
    for gained in has.difference(&had) {
        let (server, tool) = gained.split_once(' ').unwrap().1.split_once('/').unwrap();
        let approved = past.approved(server, tool);
        assert!(
            approved.is_some() && approved == present.approved(server, tool),
            "{version}: {gained} was not approved then"
        );
        let kind = portcullis_policy::DefinitionKind::Tool;
        let served = then.server(server).is_some_and(|s| then.definition(&s.uid(), kind, tool).is_some());
        assert!(!served, "{version}: {gained} was served then, and this key did not reach it");
    }
    // And no less, but for what never comes back.
    for lost in had.difference(&has) {
        let (key, rest) = lost.split_once(' ').unwrap();
        let (server, tool) = rest.split_once('/').unwrap();
        let revoked = now.key_by_name(key).is_some_and(|key| key.revoked);
        let uid = |snapshot: &Snapshot| snapshot.server(server).map(|server| server.uid());
        let made_anew = uid(now) != uid(then);
        // The upstream changed it or no longer offers it, or a person denied it: it was not served before either.
        let kind = portcullis_policy::DefinitionKind::Tool;
        let withdrawn = uid(&before).is_none_or(|uid| before.definition(&uid, kind, tool).is_none());
        // What was stopped or held back since stays so.
        let closed_since =
            before.server(server).is_some_and(|server| server.entry.opening != Opening::General);
        assert!(revoked || made_anew || withdrawn || closed_since, "{version}: {lost}");
    }
    // The documents are those of then.
    let names = |snapshot: &Snapshot| {
        let servers: Vec<String> =
            snapshot.servers().map(|s| format!("{} in {}", s.name(), s.entry.zone)).collect();
        let keys = KEYS.iter().filter(|key| snapshot.key_by_name(key).is_some());
        (servers, keys.copied().collect::<Vec<_>>())
    };
    assert_eq!(names(then), names(now));
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 48, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn a_rollback_decides_as_the_old_version_did(
        steps in prop::collection::vec(step(), 4..28), back in any::<prop::sample::Index>(),
    ) {
        let back = back.index(steps.len() + 1);
        tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build().unwrap().block_on(run(steps, back));
    }
}
