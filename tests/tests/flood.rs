//! One budget, three data planes, more callers than it can pay for, and SIGKILL: what was spent and what was visibly written off is
//! the budget, to the unit.
//!
//! `PORTCULLIS_FLOOD_CALLS` changes the budget (10,000), `PORTCULLIS_FLOOD_KILLS` how often a data plane is killed (12).
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::print_stdout,
    clippy::indexing_slicing,
    reason = "steps of tests"
)]

use std::net::TcpListener;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::Duration;

use portcullis_proto::admin::v1 as api;
use portcullis_tests::Upstream;
use portcullis_tests::admin::{Admin, secret};
use portcullis_tests::binary::Process;
use portcullis_tests::client::Caller;
use portcullis_tests::patience::eventually;
use serde_json::json;
use tempfile::TempDir;

const PLANES: usize = 3;
const CALLERS: usize = 4;

fn setting(name: &str, default: u64) -> u64 {
    std::env::var(name).map_or(default, |text| text.parse().unwrap())
}

/// What callers were told.
#[derive(Default)]
struct Tally {
    succeeded: AtomicU64,
    denied: AtomicU64,
    lost: AtomicU64,
    /// In a row, by everybody: the budget is used up when nothing else is heard for long.
    denied_in_a_row: AtomicU64,
}

struct World {
    dir: TempDir,
    control: Process,
    admin: Admin,
    upstream: Upstream,
    key: String,
    token: PathBuf,
    ports: Vec<u16>,
}

fn free_port() -> u16 {
    TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port()
}

impl World {
    async fn new(calls: u64) -> Self {
        let dir = tempfile::tempdir().unwrap();
        let state = dir.path().join("control");
        let control = Process::start(
            dir.path(),
            "control-plane",
            &[
                "control-plane",
                "--data-dir",
                text(&state),
                "--grpc-listen",
                "127.0.0.1:0",
                "--http-listen",
                "127.0.0.1:0",
            ],
        );
        let admin_token = std::fs::read_to_string(control.address("adminTokenFile")).unwrap();
        let admin = Admin::new(&control.address("grpcUrl"), admin_token.trim(), None);
        let upstream = Upstream::modern(&["work"]).await;
        let documents = format!(
            r#"
apiVersion: portcullis/v1
kind: McpServer
metadata: {{ name: crm }}
spec: {{ transport: {{ streamableHttp: {{ url: "{}" }} }}, tools: {{ newTools: approve }} }}
---
apiVersion: portcullis/v1
kind: Team
metadata: {{ name: crowd }}
spec: {{ budgets: [ {{ calls: {calls}, period: 1y }} ] }}
---
apiVersion: portcullis/v1
kind: VirtualKey
metadata: {{ name: caller }}
spec: {{ principal: {{ kind: agent, subject: caller }}, team: crowd, grants: [ {{ server: crm, allow: ["*"] }} ] }}
"#,
            upstream.url
        );
        let key = secret(&admin.apply(&documents).await, "caller");
        let (_, token) = admin.plane_token().await;
        let token_file = dir.path().join("plane.token");
        std::fs::write(&token_file, token).unwrap();
        let ports = (0..PLANES).map(|_| free_port()).collect();
        Self { dir, control, admin, upstream, key, token: token_file, ports }
    }

    /// Starts a data plane where it was before.
    fn plane(&self, at: usize) -> Process {
        let name = format!("plane-{at}");
        let state = self.dir.path().join(&name);
        let (listen, url) = (format!("127.0.0.1:{}", self.ports[at]), self.control.address("grpcUrl"));
        Process::start(
            self.dir.path(),
            &name,
            &[
                "data-plane",
                "--data-dir",
                text(&state),
                "--control-plane",
                &url,
                "--plane-token-file",
                text(&self.token),
                "--name",
                &name,
                "--listen",
                &listen,
                "--ops-listen",
                "127.0.0.1:0",
            ],
        )
    }

    fn caller(&self, at: usize) -> Caller {
        Caller::modern(format!("http://127.0.0.1:{}/mcp", self.ports[at]), &self.key)
    }

    /// The one budget.
    async fn budget(&self) -> api::BudgetUsage {
        let request = api::ListUsageRequest::default();
        let mut budgets = self.admin.usage().list_usage(request).await.unwrap().into_inner().budgets;
        assert_eq!(budgets.len(), 1, "{budgets:?}");
        budgets.remove(0)
    }
}

fn text(path: &Path) -> &str {
    path.to_str().unwrap()
}

/// Calls until told to stop.
async fn flood(caller: Caller, tally: Arc<Tally>, stop: Arc<AtomicBool>) {
    while !stop.load(Ordering::SeqCst) {
        let answer = caller.try_ask("tools/call", json!({"name": "crm_work", "arguments": {}})).await;
        let whole = answer.ok().filter(|answer| !answer.messages.is_empty());
        match whole {
            Some(answer) if answer.succeeded() => {
                tally.succeeded.fetch_add(1, Ordering::SeqCst);
                tally.denied_in_a_row.store(0, Ordering::SeqCst);
            }
            Some(answer) if answer.messages[0]["result"]["isError"] == json!(true) => {
                assert_eq!(answer.reason(), "budget_exhausted", "{}", answer.text);
                tally.denied.fetch_add(1, Ordering::SeqCst);
                tally.denied_in_a_row.fetch_add(1, Ordering::SeqCst);
                tokio::time::sleep(Duration::from_millis(10)).await;
            }
            // A process that was killed, is starting, or has no snapshot yet.
            _ => {
                tally.lost.fetch_add(1, Ordering::SeqCst);
                tokio::time::sleep(Duration::from_millis(20)).await;
            }
        }
    }
}

/// Floods three planes, of which one is killed and started again now and then, until nothing of the budget is left.
async fn spend_all(calls: u64, kills: u64) -> (Arc<Tally>, api::BudgetUsage, usize) {
    let world = World::new(calls).await;
    let mut planes: Vec<Process> = (0..PLANES).map(|at| world.plane(at)).collect();
    eventually("every plane lists the tool", async || {
        for at in 0..PLANES {
            let listed = world.caller(at).try_ask("tools/list", json!({})).await.ok()?;
            listed.text.contains("crm_work").then_some(())?;
        }
        Some(())
    })
    .await;
    let (tally, stop) = (Arc::<Tally>::default(), Arc::<AtomicBool>::default());
    let floods: Vec<_> = (0..PLANES * CALLERS)
        .map(|at| tokio::spawn(flood(world.caller(at % PLANES), Arc::clone(&tally), Arc::clone(&stop))))
        .collect();
    for kill in 0..kills {
        // Spread over the whole budget, so that each meets leases in use.
        let after = calls * (kill + 1) / (kills + 2);
        eventually("calls go on between kills", async || {
            (tally.succeeded.load(Ordering::SeqCst) + 50 * kill >= after).then_some(())
        })
        .await;
        let at = usize::try_from(kill).unwrap() % PLANES;
        planes[at].kill();
        planes[at] = world.plane(at);
    }
    let used_up = async || {
        let budget = world.budget().await;
        let all = budget.spent + budget.written_off == calls && budget.held == 0;
        (all && tally.denied_in_a_row.load(Ordering::SeqCst) > 50).then_some(budget)
    };
    let since = std::time::Instant::now();
    let budget = loop {
        if let Some(budget) = used_up().await {
            break budget;
        }
        assert!(since.elapsed() < Duration::from_secs(180), "not used up: {:?}", world.budget().await);
        tokio::time::sleep(Duration::from_millis(100)).await;
    };
    stop.store(true, Ordering::SeqCst);
    for flood in floods {
        flood.await.unwrap();
    }
    let reached = world.upstream.calls();
    println!(
        "{calls} calls, {kills} kills: {} succeeded, {} spent, {} written off, {} reached the server, {} were denied, {} got no answer",
        tally.succeeded.load(Ordering::SeqCst),
        budget.spent,
        budget.written_off,
        reached,
        tally.denied.load(Ordering::SeqCst),
        tally.lost.load(Ordering::SeqCst),
    );
    (tally, budget, reached)
}

#[tokio::test(flavor = "multi_thread")]
async fn a_flood_over_three_planes_gets_the_budget_to_the_call() {
    let calls = setting("PORTCULLIS_FLOOD_CALLS", 10_000);
    let (tally, budget, reached) = spend_all(calls, 0).await;
    assert_eq!(tally.succeeded.load(Ordering::SeqCst), calls);
    assert_eq!((budget.spent, budget.written_off, budget.debt), (calls, 0, 0));
    assert_eq!(reached as u64, calls, "what was denied reached nothing");
}

#[tokio::test(flavor = "multi_thread")]
async fn planes_that_are_killed_cost_what_is_visibly_written_off_and_never_more_than_the_budget() {
    let calls = setting("PORTCULLIS_FLOOD_CALLS", 10_000);
    let kills = setting("PORTCULLIS_FLOOD_KILLS", 12);
    let (tally, budget, reached) = spend_all(calls, kills).await;
    let succeeded = tally.succeeded.load(Ordering::SeqCst);
    assert_eq!(budget.spent + budget.written_off, calls);
    assert_eq!(budget.granted, budget.spent + budget.held + budget.returned + budget.written_off);
    assert!(reached as u64 <= calls, "{reached} calls reached the server");
    // Who was answered paid; of calls that were under way at a kill nobody knows more than that they were.
    let under_way = kills * CALLERS as u64;
    assert!(succeeded <= budget.spent, "{succeeded} succeeded, {} were spent", budget.spent);
    assert!(
        budget.spent <= succeeded + under_way,
        "{succeeded} succeeded, {} were spent, at most {under_way} were under way at kills",
        budget.spent
    );
}
