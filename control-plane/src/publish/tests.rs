use std::convert::Infallible;
use std::sync::atomic::AtomicU64 as Counter;

use futures_util::future::BoxFuture;
use portcullis_policy::resource::{Kind, Uid};
use portcullis_policy::snapshot::SIGNATURE_PURPOSE;
use portcullis_proto::config::v1::ProbeReport;
use serde_json::{Value, json};

use super::*;
use crate::catalog::{self, Catalog};
use crate::objects::{KeyMaterial, Parsed};
use crate::store::{Change, CommitError, HistoryError, HistoryFilter, HistoryRecord, JournalStore, Op};

struct World {
    store: Arc<dyn Store>,
    key: Arc<SigningKey>,
    clock: Clock,
    now: Arc<Counter>,
    stop: CancellationToken,
    _dir: tempfile::TempDir,
}

impl World {
    fn new() -> Self {
        let dir = tempfile::tempdir().unwrap();
        let store: Arc<dyn Store> = Arc::new(JournalStore::open(dir.path()).unwrap());
        let now = Arc::new(Counter::new(1_800_000_000_000));
        let clock = Clock::new({
            let now = Arc::clone(&now);
            move || now.fetch_add(1, Ordering::SeqCst)
        });
        let key = Arc::new(SigningKey::generate().unwrap().0);
        Self { store, key, clock, now, stop: CancellationToken::new(), _dir: dir }
    }

    async fn publisher(&self) -> Publisher {
        let (store, key) = (Arc::clone(&self.store), Arc::clone(&self.key));
        let background = Background::start("policy").unwrap();
        Publisher::start(store, key, self.clock.clone(), background, self.stop.clone()).await
    }

    /// A change of another room: past the publisher.
    async fn commit(&self, ops: Vec<Op>) -> u64 {
        let change = Change {
            author: "test".to_owned(),
            message: String::new(),
            unix_ms: self.clock.now_unix_ms(),
            ops,
        };
        self.store.commit(self.store.state().version, change).await.unwrap().version
    }

    async fn report(&self, server: Uid, tools: &[Value]) {
        let report = ProbeReport {
            server_uid: server.to_string(),
            reachable: true,
            era: "modern".to_owned(),
            protocol_version: "2026-07-28".to_owned(),
            server_info_json: br#"{"name":"s","version":"1"}"#.as_slice().into(),
            capabilities_json: br#"{"tools":{}}"#.as_slice().into(),
            tools_json: tools.iter().map(|tool| tool.to_string().into_bytes().into()).collect(),
            ..ProbeReport::default()
        };
        Catalog::new(Arc::clone(&self.store), self.clock.clone()).report("plane", report).await.unwrap();
    }
}

impl Drop for World {
    fn drop(&mut self) {
        self.stop.cancel();
    }
}

fn put(kind: Kind, name: &str, uid: Uid, spec: Value) -> Op {
    let body = json!({"apiVersion": "portcullis/v1", "kind": kind.as_str(), "metadata": {"name": name}, "spec": spec});
    Op::Put { kind: kind.as_str().into(), name: name.into(), uid, body }
}

fn uid() -> Uid {
    Uid(uuid::Uuid::new_v4())
}

fn server(name: &str, uid: Uid, new_tools: &str) -> Op {
    let spec = json!({
        "transport": {"streamableHttp": {"url": "http://127.0.0.1:1/mcp"}},
        "zone": "default",
        "tools": {"newTools": new_tools, "overrides": [{"name": "t0", "alias": format!("alias-{name}")}]},
    });
    put(Kind::McpServer, name, uid, spec)
}

fn irrelevant(name: &str) -> Op {
    Op::Put { kind: "PlaneToken".into(), name: name.into(), uid: uid(), body: json!({"hash": "x"}) }
}

fn tools(count: usize) -> Vec<Value> {
    (0..count)
        .map(|number| json!({"name": format!("t{number}"), "inputSchema": {"type": "object"}}))
        .collect()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_other_rooms_commit_is_published_and_what_is_no_policy_is_not() {
    let world = World::new();
    world.commit(vec![irrelevant("first")]).await;
    let publisher = world.publisher().await;
    assert_eq!(publisher.current().unwrap().header.version.0, 1);
    let a = uid();
    let version = world.commit(vec![server("a", a, "approve")]).await;
    publisher.reached(version).await;
    let published = publisher.current().unwrap();
    assert_eq!(published.header.version.0, version);
    assert_eq!(published.counts().get("server"), Some(&1));

    world.report(a, &tools(3)).await;
    publisher.reached(world.store.state().version).await;
    let published = publisher.current().unwrap();
    assert_eq!(published.counts().get("tool"), Some(&3));
    let text = published.header.signed_text();
    publisher.public_key().verify(SIGNATURE_PURPOSE, &text, &published.signature).unwrap();

    let version = world.commit(vec![irrelevant("second")]).await;
    publisher.reached(version).await;
    assert!(Arc::ptr_eq(&publisher.current().unwrap(), &published), "the digest is the same");
    assert_eq!(publisher.failures(), 0);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn entries_are_ordered_and_say_what_the_catalog_says() {
    let world = World::new();
    let (a, b) = (uid(), uid());
    world.commit(vec![server("a", a, "approve"), server("b", b, "require-approval")]).await;
    world.report(a, &tools(4)).await;
    world.report(b, &tools(2)).await;
    // A definition that changed is quarantined.
    let mut changed = tools(4);
    changed[1]["description"] = "another".into();
    world.report(a, &changed).await;

    let publisher = world.publisher().await;
    let published = publisher.current().unwrap();
    let told: Vec<_> = catalog::entries(&world.store.state());
    let (told, _) = portcullis_policy::snapshot::encode_all(&told);
    let mine: Vec<_> =
        published.entries.iter().filter(|entry| entry.kind == "tool" || entry.kind == "prompt").collect();
    assert_eq!(mine.len(), 6);
    for (mine, told) in mine.iter().zip(&told) {
        assert_eq!((mine.kind, &*mine.id, &mine.body[..]), (told.kind, told.id.as_str(), &told.body[..]));
    }
    let again: Vec<_> = published
        .entries
        .iter()
        .map(|entry| portcullis_policy::snapshot::Entry::decode(entry.kind, &entry.body).unwrap())
        .collect();
    let (encoded, digest) = portcullis_policy::snapshot::encode_all(&again);
    assert_eq!(digest, published.header.digest, "a data plane comes to the same digest");
    assert!(encoded.iter().zip(published.entries.iter()).all(|(a, b)| a.id == *b.id), "in the same order");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_restart_finds_the_version_and_the_time_of_the_last_change_that_mattered() {
    let world = World::new();
    world.commit(vec![irrelevant("first")]).await;
    let publisher = world.publisher().await;
    let (a, b) = (uid(), uid());
    let mut ops: Vec<Vec<Op>> =
        vec![vec![irrelevant("w")], vec![server("a", a, "approve")], vec![irrelevant("x")]];
    ops.push(vec![server("b", b, "ignore")]);
    ops.push(vec![irrelevant("y"), irrelevant("z")]);
    ops.push(vec![put(Kind::Customer, "c", uid(), json!({}))]);
    ops.push(vec![Op::Delete { kind: "Customer".into(), name: "c".into() }]);
    ops.push(vec![Op::Delete { kind: "PlaneToken".into(), name: "x".into() }]);
    for ops in ops {
        let version = world.commit(ops).await;
        publisher.reached(version).await;
        same_after_restart(&world, &publisher).await;
    }
    // Facts of a server, definitions that wait, definitions that a rule leaves out.
    for (server, count) in [(a, 2), (b, 2), (a, 3), (a, 3), (b, 1)] {
        world.report(server, &tools(count)).await;
        publisher.reached(world.store.state().version).await;
        same_after_restart(&world, &publisher).await;
    }
}

async fn same_after_restart(world: &World, publisher: &Publisher) {
    let before = publisher.current().unwrap();
    let after = world.publisher().await.current().unwrap();
    assert_eq!(after.header, before.header, "at version {}", world.store.state().version);
    assert_eq!(after.signature, before.signature);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_does_not_compile_is_not_committed() {
    let world = World::new();
    world.commit(vec![irrelevant("first")]).await;
    let publisher = world.publisher().await;
    let dangling = put(
        Kind::McpServer,
        "a",
        uid(),
        json!({"transport": {"streamableHttp": {"url": "http://127.0.0.1:1/mcp"}}, "zone": "nowhere"}),
    );
    let decide = move |_: &State, _: &mut Parsed| -> Result<_, Infallible> {
        Ok(Decision { ops: vec![dangling.clone()], answer: (), dry_run: false })
    };
    let refused = publisher.transact("me", "", decide).await.unwrap_err();
    let TransactError::Compile(errors) = &refused else { panic!("{refused}") };
    assert!(errors.iter().any(|error| error.to_string().contains("nowhere")), "{errors:?}");
    assert_eq!(world.store.state().version, 1);
    assert_eq!(publisher.failures(), 0);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_state_that_cannot_be_published_leaves_what_is_in_force_and_heals() {
    let world = World::new();
    world.commit(vec![irrelevant("first")]).await;
    let publisher = world.publisher().await;
    let good = publisher.current().unwrap();
    let broken =
        Op::Put { kind: "Customer".into(), name: "c".into(), uid: uid(), body: json!({"not": "a resource"}) };
    let version = world.commit(vec![broken]).await;
    publisher.reached(version).await;
    assert!(Arc::ptr_eq(&publisher.current().unwrap(), &good));
    assert_eq!(publisher.failures(), 1);
    let version = world.commit(vec![put(Kind::Customer, "c", uid(), json!({}))]).await;
    publisher.reached(version).await;
    assert_eq!(publisher.current().unwrap().header.version.0, version);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_panic_while_deciding_is_an_error_and_the_next_change_goes_through() {
    let world = World::new();
    world.commit(vec![irrelevant("first")]).await;
    let publisher = world.publisher().await;
    let panics = |_: &State, _: &mut Parsed| -> Result<Decision<()>, Infallible> { panic!("on purpose") };
    let error = publisher.transact("me", "", panics).await.unwrap_err();
    assert!(matches!(error, TransactError::Internal(_)));
    let customer = put(Kind::Customer, "c", uid(), json!({}));
    let decide = move |_: &State, _: &mut Parsed| -> Result<_, Infallible> {
        Ok(Decision { ops: vec![customer.clone()], answer: (), dry_run: false })
    };
    let (version, ()) = publisher.transact("me", "", decide).await.unwrap();
    assert_eq!(publisher.current().unwrap().header.version.0, version);
}

/// A store whose next commits go wrong as the test says.
struct Unlucky {
    inner: Arc<dyn Store>,
    next: std::sync::Mutex<Vec<CommitError>>,
}

impl Store for Unlucky {
    fn state(&self) -> Arc<State> {
        self.inner.state()
    }

    fn commit(&self, expected: u64, change: Change) -> BoxFuture<'_, Result<Arc<State>, CommitError>> {
        let error = self.next.lock().unwrap().pop();
        Box::pin(async move {
            match error {
                // Somebody else was faster: with a change of the very object.
                Some(CommitError::Conflict) => {
                    let ops = vec![put(Kind::Customer, "c", uid(), json!({}))];
                    let other = Change { author: "other".to_owned(), ops, ..change };
                    self.inner.commit(expected, other).await?;
                    Err(CommitError::Conflict)
                }
                Some(error) => Err(error),
                None => self.inner.commit(expected, change).await,
            }
        })
    }

    fn history(&self, filter: HistoryFilter) -> BoxFuture<'_, Result<Vec<HistoryRecord>, HistoryError>> {
        self.inner.history(filter)
    }

    fn watch(&self) -> watch::Receiver<u64> {
        self.inner.watch()
    }
}

/// Adds one customer: the first that is not there yet.
fn one_more(state: &State, _: &mut Parsed) -> Result<Decision<String>, Infallible> {
    let name = if state.get("Customer", "c").is_none() { "c" } else { "d" };
    let ops = vec![put(Kind::Customer, name, uid(), json!({}))];
    Ok(Decision { ops, answer: name.to_owned(), dry_run: false })
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_disk_that_fails_is_told_as_such_and_publishes_nothing() {
    let mut world = World::new();
    world.commit(vec![irrelevant("first")]).await;
    let next = vec![CommitError::Unavailable("no space left".to_owned())].into();
    world.store = Arc::new(Unlucky { inner: Arc::clone(&world.store), next });
    let publisher = world.publisher().await;
    let before = publisher.current().unwrap();
    let error = publisher.transact("me", "", one_more).await.unwrap_err();
    assert!(
        matches!(&error, TransactError::Store(CommitError::Unavailable(why)) if why == "no space left"),
        "{error}"
    );
    assert!(Arc::ptr_eq(&publisher.current().unwrap(), &before));
    let (version, _) = publisher.transact("me", "", one_more).await.unwrap();
    assert_eq!((version, publisher.current().unwrap().header.version.0), (2, 2));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_change_is_decided_again_on_what_a_faster_author_left() {
    let mut world = World::new();
    world.commit(vec![irrelevant("first")]).await;
    let next = vec![CommitError::Conflict].into();
    world.store = Arc::new(Unlucky { inner: Arc::clone(&world.store), next });
    let publisher = world.publisher().await;
    let (version, name) = publisher.transact("me", "", one_more).await.unwrap();
    assert_eq!((version, name.as_str()), (3, "d"));
    let published = publisher.current().unwrap();
    assert_eq!(published.counts().get("customer"), Some(&2), "nothing of the lost attempt is in it");
    same_after_restart(&world, &publisher).await;
}

/// What a change costs at size; run by hand with `--ignored --nocapture`.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
#[ignore = "a measurement"]
async fn one_change_among_a_thousand_servers_and_ten_thousand_keys() {
    let world = World::new();
    let mut uids = Vec::new();
    let mut ops = Vec::new();
    for number in 0..1000 {
        uids.push(uid());
        ops.push(server(&format!("s{number}"), uids[number], "approve"));
    }
    for number in 0..10_000 {
        let (name, key) = (format!("k{number}"), uid());
        let grants: Vec<Value> =
            (0..10).map(|n| json!({"server": format!("s{}", (number + n) % 1000), "allow": ["*"]})).collect();
        let spec =
            json!({"principal": {"kind": "agent", "subject": name}, "zone": "default", "grants": grants});
        ops.push(put(Kind::VirtualKey, &name, key, spec));
        let hash = portcullis_seal::Fingerprint::from_bytes(portcullis_seal::sha256(name.as_bytes()));
        ops.push(KeyMaterial::new(name.parse().unwrap(), hash).put(key).unwrap());
    }
    world.commit(ops).await;
    for uid in &uids {
        world.report(*uid, &tools(10)).await;
    }
    let started = std::time::Instant::now();
    let publisher = world.publisher().await;
    println!("first: {:?}, {:?}", started.elapsed(), publisher.current().unwrap().counts());
    for number in 0..5 {
        let customer = put(Kind::Customer, &format!("c{number}"), uid(), json!({}));
        let decide = move |_: &State, _: &mut Parsed| -> Result<_, Infallible> {
            Ok(Decision { ops: vec![customer.clone()], answer: (), dry_run: false })
        };
        let started = std::time::Instant::now();
        publisher.transact("me", "", decide).await.unwrap();
        println!("change: {:?}", started.elapsed());
    }
    let _ = world.now.load(Ordering::SeqCst);
}
