//! The prober: what it reports of servers of both eras, when it looks again, and what it does not believe.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing,
    reason = "helpers of tests fail as tests do"
)]

mod upstream_support;

use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use http::Method;
use portcullis_data_plane::probe::{Report, run_with};
use portcullis_data_plane::sync::{Live, ProbeAssignment, SecretsHandle};
use portcullis_data_plane::upstream::{UpstreamConfig, Upstreams};
use portcullis_policy::resource::Uid;
use portcullis_proto::config::v1::ProbeReport;
use serde_json::{Value, json};
use tokio::sync::{mpsc, watch};
use tokio_util::sync::CancellationToken;

use upstream_support::fake::{Fake, Feeder, Seen, empty, error, json_answer, result, stream};
use upstream_support::world::{http, server, snapshot, uid};
use upstream_support::{child, legacy, modern, soon};

#[test]
fn child() {
    child::run();
}

#[derive(Clone)]
struct Taker {
    reports: mpsc::UnboundedSender<ProbeReport>,
    hints: mpsc::UnboundedSender<Uid>,
}

impl Report for Taker {
    fn report(&self, report: ProbeReport) {
        let _ = self.reports.send(report);
    }

    fn hint(&self, server: Uid) {
        let _ = self.hints.send(server);
    }
}

struct Prober {
    live: Live,
    assignment: watch::Sender<ProbeAssignment>,
    now: mpsc::Sender<Uid>,
    reports: mpsc::UnboundedReceiver<ProbeReport>,
    hints: mpsc::UnboundedReceiver<Uid>,
    upstreams: Upstreams,
    stop: CancellationToken,
}

impl Drop for Prober {
    fn drop(&mut self) {
        self.stop.cancel();
    }
}

impl Prober {
    fn start(server: &Value, assigned: bool, interval: Duration) -> Self {
        let config = UpstreamConfig {
            allow_stdio: true,
            stdio_env: [("PATH".to_owned(), std::env::var("PATH").unwrap())].into(),
            ..UpstreamConfig::default()
        };
        let upstreams = Upstreams::new(config, SecretsHandle::default());
        let live = Live::new();
        live.swap(snapshot(1, Some(server)));
        let uids = if assigned { vec![uid("server")] } else { Vec::new() };
        let (assignment, assigned) = watch::channel(ProbeAssignment { uids, interval });
        let (now, probe_now) = mpsc::channel(8);
        let (report_sender, reports) = mpsc::unbounded_channel();
        let (hint_sender, hints) = mpsc::unbounded_channel();
        let stop = CancellationToken::new();
        let taker = Taker { reports: report_sender, hints: hint_sender };
        tokio::spawn(run_with(upstreams.clone(), live.clone(), assigned, probe_now, taker, stop.clone()));
        Self { live, assignment, now, reports, hints, upstreams, stop }
    }

    async fn report(&mut self) -> ProbeReport {
        soon("a report", self.reports.recv()).await.unwrap()
    }

    async fn no_report(&mut self, within: Duration) {
        let report = tokio::time::timeout(within, self.reports.recv()).await;
        assert!(report.is_err(), "{report:?}");
    }
}

const LONG: Duration = Duration::from_secs(600);

fn value(bytes: &[u8]) -> Value {
    serde_json::from_slice(bytes).unwrap()
}

fn names(definitions: &[impl AsRef<[u8]>]) -> Vec<String> {
    definitions
        .iter()
        .map(|definition| value(definition.as_ref())["name"].as_str().unwrap().to_owned())
        .collect()
}

/// Tools in pages of two; cursors are `1`, `2`, ….
fn page(seen: &Seen, tools: &[Value]) -> Value {
    let at: usize = seen.body["params"]["cursor"].as_str().map_or(0, |cursor| cursor.parse().unwrap());
    let mut body = json!({ "tools": tools.iter().skip(at * 2).take(2).collect::<Vec<_>>() });
    if tools.len() > at * 2 + 2 {
        body["nextCursor"] = json!((at + 1).to_string());
    }
    result(seen, &body)
}

fn tool(name: &str) -> Value {
    json!({ "name": name, "inputSchema": { "type": "object" }, "x-unknown": { "kept": 1.50 } })
}

#[tokio::test]
async fn all_pages_of_a_legacy_server_are_reported_whole() {
    let (fake, sessions) = legacy::start(|seen: Seen| async move {
        let tools: Vec<_> = (0..5).map(|at| tool(&format!("t{at}"))).collect();
        (seen.rpc() == "tools/list").then(|| json_answer(200, &page(&seen, &tools)))
    })
    .await;
    let mut prober = Prober::start(&http(&fake.url, &json!({})), true, LONG);
    let report = prober.report().await;
    assert!(report.reachable, "{}", report.error);
    assert_eq!((&*report.era, &*report.protocol_version), ("legacy", "2025-11-25"));
    assert_eq!(report.server_uid, uid("server").to_string());
    assert_eq!(value(&report.server_info_json)["name"], "fake");
    assert_eq!(report.instructions, "be kind");
    assert!(value(&report.capabilities_json)["tools"].is_object());
    assert_eq!(names(&report.tools_json), ["t0", "t1", "t2", "t3", "t4"]);
    assert_eq!(value(&report.tools_json[4]), tool("t4"));
    assert!(report.prompts_json.is_empty());
    // The session of the visit is over; the one that listens stays.
    fake.wait_http(&Method::DELETE, 1).await;
    assert_eq!(sessions.open().len(), 1);
}

#[tokio::test]
async fn a_server_that_lists_more_than_one_report_holds_is_reported_as_a_fault() {
    let (fake, _) = legacy::start(|seen: Seen| async move {
        let large = "x".repeat(3 << 20);
        let big = |at| json!({ "name": format!("t{at}"), "description": large });
        let tools: Vec<_> = (0..9).map(big).collect();
        (seen.rpc() == "tools/list").then(|| json_answer(200, &page(&seen, &tools)))
    })
    .await;
    let mut prober = Prober::start(&http(&fake.url, &json!({})), true, LONG);
    let report = prober.report().await;
    assert!(!report.reachable);
    assert!(report.error.contains("24 MiB"), "{}", report.error);
    assert!(report.tools_json.is_empty());
}

#[tokio::test]
async fn a_modern_server_is_reported_by_what_it_discovers() {
    let fake = modern::start(modern::plain).await;
    let mut prober = Prober::start(&http(&fake.url, &json!({})), true, LONG);
    let report = prober.report().await;
    assert!(report.reachable, "{}", report.error);
    assert_eq!((&*report.era, &*report.protocol_version), ("modern", "2026-07-28"));
    assert_eq!(value(&report.server_info_json)["name"], "modern");
    assert_eq!(report.instructions, "be modern");
    assert_eq!(names(&report.tools_json), ["echo"]);
}

#[tokio::test]
async fn a_child_is_reported_too() {
    let log = tempfile::tempdir().unwrap();
    for (kind, name) in [("legacy", "child"), ("modern", "modern")] {
        let entry = server(&child::transport(kind, &log.path().join("log"), 1), &json!({}));
        let mut prober = Prober::start(&entry, true, LONG);
        let report = prober.report().await;
        assert!(report.reachable, "{}", report.error);
        assert_eq!((&*report.era, value(&report.server_info_json)["name"].as_str()), (kind, Some(name)));
        assert_eq!(names(&report.tools_json), ["echo"]);
        prober.upstreams.shutdown().await;
    }
}

#[tokio::test]
async fn a_list_that_never_ends_or_fails_is_no_list() {
    for kind in 0..4_usize {
        let (fake, _) = legacy::start(move |seen: Seen| async move {
            (seen.rpc() == "tools/list").then(|| match kind {
                0 => {
                    json_answer(200, &result(&seen, &json!({ "tools": [tool("t")], "nextCursor": "again" })))
                }
                1 => json_answer(200, &error(&seen, -32603, "oops")),
                2 => json_answer(200, &result(&seen, &json!({ "tools": "none" }))),
                _ => json_answer(200, &error(&seen, -32601, "Method not found")),
            })
        })
        .await;
        let mut prober = Prober::start(&http(&fake.url, &json!({})), true, LONG);
        let report = prober.report().await;
        assert!(!report.reachable, "kind {kind}");
        assert!(!report.error.is_empty() && report.tools_json.is_empty());
        assert!(fake.rpc("tools/list").len() <= 2);
    }
}

#[tokio::test]
async fn a_report_names_the_cause_of_a_failure_within_a_bound() {
    let listener = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let address = listener.local_addr().unwrap();
    drop(listener);
    let url = format!("http://{address}/mcp?token=hunter2");
    let report = Prober::start(&http(&url, &json!({})), true, LONG).report().await;
    assert!(report.error.contains(&format!("connection refused to {address}")), "{}", report.error);
    assert!(!report.error.contains("hunter2"), "{}", report.error);
    let command = format!("/nowhere/{}", "x".repeat(5000));
    let entry = server(&json!({ "stdio": { "command": command } }), &json!({}));
    let report = Prober::start(&entry, true, LONG).report().await;
    assert!(report.error.contains("/nowhere/xxx") && report.error.len() < 400, "{}", report.error);
}

#[tokio::test]
async fn what_a_server_does_not_announce_is_not_asked_for() {
    let fake = modern::start(|seen: Seen| async move {
        let mut discovered = modern::discovered();
        discovered["capabilities"] = json!({ "tools": {} });
        (seen.rpc() == "server/discover").then(|| json_answer(200, &result(&seen, &discovered)))
    })
    .await;
    let mut prober = Prober::start(&http(&fake.url, &json!({})), true, LONG);
    assert!(prober.report().await.reachable);
    assert_eq!((fake.rpc("tools/list").len(), fake.rpc("prompts/list").len()), (1, 0));
}

#[tokio::test]
async fn a_server_that_is_down_is_reported_and_looked_at_again_soon() {
    let fake = modern::start(modern::plain).await;
    let (url, address) = (fake.url.clone(), fake.address());
    drop(fake);
    let mut prober = Prober::start(&http(&url, &json!({})), true, LONG);
    let report = prober.report().await;
    assert!(!report.reachable && report.tools_json.is_empty());
    assert!(report.error.starts_with("The server cannot be connected to."), "{}", report.error);
    let _fake =
        Fake::start_at(&address, |seen| async move { modern::answer(seen, &modern::plain).await }).await;
    let started = Instant::now();
    while !prober.report().await.reachable {}
    assert!(started.elapsed() < Duration::from_secs(8));
}

/// A legacy server whose tools a test changes, with the feeder of its GET stream.
async fn changing() -> (Fake, Arc<Mutex<Vec<Value>>>, mpsc::Receiver<Feeder>) {
    let tools = Arc::new(Mutex::new(vec![tool("a")]));
    let (feeders, receiver) = mpsc::channel(8);
    let known = Arc::clone(&tools);
    let (fake, _) = legacy::start(move |seen: Seen| {
        let (known, feeders) = (Arc::clone(&known), feeders.clone());
        async move {
            if seen.method == Method::GET {
                let (response, feeder) = stream();
                feeders.send(feeder).await.unwrap();
                return Some(response);
            }
            let tools = known.lock().unwrap().clone();
            (seen.rpc() == "tools/list").then(|| json_answer(200, &page(&seen, &tools)))
        }
    })
    .await;
    (fake, tools, receiver)
}

#[tokio::test]
async fn a_change_of_the_list_is_reported_at_once_and_a_burst_only_once() {
    let (fake, tools, mut feeders) = changing().await;
    let mut prober = Prober::start(&http(&fake.url, &json!({})), true, LONG);
    assert_eq!(names(&prober.report().await.tools_json), ["a"]);
    let feeder = feeders.recv().await.unwrap();
    tools.lock().unwrap().push(tool("b"));
    let started = Instant::now();
    for _ in 0..5 {
        feeder.event(None, &json!({ "jsonrpc": "2.0", "method": "notifications/tools/list_changed" })).await;
    }
    assert_eq!(names(&prober.report().await.tools_json), ["a", "b"]);
    assert!(started.elapsed() < Duration::from_millis(800), "{:?}", started.elapsed());
    while let Ok(Some(report)) = tokio::time::timeout(Duration::from_millis(500), prober.reports.recv()).await
    {
        assert_eq!(names(&report.tools_json), ["a", "b"]);
    }
    assert!(fake.rpc("tools/list").len() <= 3, "five notifications are not five looks");
}

#[tokio::test]
async fn a_modern_server_is_subscribed_to() {
    let (feeders, mut receiver) = mpsc::channel(4);
    let fake = modern::start(move |seen: Seen| {
        let feeders = feeders.clone();
        async move {
            if seen.rpc() != "subscriptions/listen" {
                return None;
            }
            let (response, feeder) = stream();
            feeders.send((seen, feeder)).await.unwrap();
            Some(response)
        }
    })
    .await;
    let mut prober = Prober::start(&http(&fake.url, &json!({})), true, LONG);
    prober.report().await;
    let (seen, feeder) = receiver.recv().await.unwrap();
    assert_eq!(
        seen.body["params"]["notifications"],
        json!({ "toolsListChanged": true, "promptsListChanged": true })
    );
    feeder.event(None, &json!({ "jsonrpc": "2.0", "method": "notifications/prompts/list_changed", "params": { "_meta": {} } })).await;
    prober.report().await;
}

#[tokio::test]
async fn a_server_is_looked_at_in_turn_and_when_somebody_asks() {
    let fake = modern::start(modern::plain).await;
    let mut prober = Prober::start(&http(&fake.url, &json!({})), true, Duration::from_millis(200));
    for _ in 0..3 {
        prober.report().await;
    }
    prober.assignment.send_modify(|assignment| assignment.interval = LONG);
    let mut prober = Prober::start(&http(&fake.url, &json!({})), true, LONG);
    prober.report().await;
    prober.no_report(Duration::from_millis(200)).await;
    prober.now.send(uid("server")).await.unwrap();
    prober.report().await;
}

#[tokio::test]
async fn an_assignment_starts_a_watch_and_its_end_stops_it() {
    let (fake, _, mut feeders) = changing().await;
    let mut prober = Prober::start(&http(&fake.url, &json!({})), false, LONG);
    prober.no_report(Duration::from_millis(150)).await;
    prober.assignment.send_modify(|assignment| assignment.uids = vec![uid("server")]);
    prober.report().await;
    let feeder = feeders.recv().await.unwrap();
    prober.assignment.send_modify(|assignment| assignment.uids.clear());
    feeder.closed().await;
    prober.no_report(Duration::from_millis(150)).await;
}

#[tokio::test]
async fn a_server_that_moved_is_looked_at_where_it_is_now() {
    let first = modern::start(modern::plain).await;
    let (second, _) = legacy::start(legacy::plain).await;
    let mut prober = Prober::start(&http(&first.url, &json!({})), true, LONG);
    assert_eq!(prober.report().await.era, "modern");
    let next = snapshot(2, Some(&http(&second.url, &json!({}))));
    prober.upstreams.retain(&next);
    prober.live.swap(next);
    assert_eq!(prober.report().await.era, "legacy");
    prober.live.swap(snapshot(3, Some(&http(&second.url, &json!({ "tier": "gold" })))));
    prober.no_report(Duration::from_millis(200)).await;
}

#[tokio::test]
async fn a_server_of_another_prober_is_only_hinted_at_when_it_differs_and_once() {
    let lists = Arc::new(AtomicUsize::new(0));
    let counter = Arc::clone(&lists);
    // The approved definition of `echo` is the one that the fake serves by itself.
    let fake = modern::start(move |seen: Seen| {
        let round = if seen.rpc() == "tools/list" { counter.fetch_add(1, Ordering::SeqCst) } else { 0 };
        async move {
            let drifted =
                json!({ "name": "echo", "inputSchema": { "type": "object" }, "description": "now evil" });
            (seen.rpc() == "tools/list" && round >= 2)
                .then(|| json_answer(200, &result(&seen, &json!({ "tools": [drifted] }))))
        }
    })
    .await;
    let mut prober = Prober::start(&http(&fake.url, &json!({})), false, Duration::from_millis(20));
    assert_eq!(soon("a hint", prober.hints.recv()).await, Some(uid("server")));
    assert!(lists.load(Ordering::SeqCst) >= 3, "the first two rounds gave no cause");
    let seen = lists.load(Ordering::SeqCst);
    upstream_support::until("two more rounds", || lists.load(Ordering::SeqCst) >= seen + 2).await;
    assert!(prober.hints.try_recv().is_err(), "said once");
    assert!(prober.reports.try_recv().is_err(), "reports are for the one who is assigned");
}

#[tokio::test]
async fn a_missing_secret_is_reported_as_such() {
    let fake = Fake::start(|_| async { empty(500) }).await;
    let auth = json!({ "auth": { "header": { "name": "x-key", "valueFrom": { "secret": "missing" } } } });
    let mut prober = Prober::start(&http(&fake.url, &auth), true, LONG);
    let report = prober.report().await;
    assert!(!report.reachable);
    assert!(report.error.contains("credential"), "{}", report.error);
    assert!(fake.seen().is_empty());
}
