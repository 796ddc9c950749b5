//! Snapshots that change decisions, under load: no call fails for a swap, and none is decided by half of one.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing,
    clippy::print_stdout,
    reason = "steps of tests"
)]

use std::collections::{BTreeSet, HashMap};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::time::{Duration, Instant};

use portcullis_data_plane::ledger::Decision;
use portcullis_tests::distribution::{FakeControlPlane, Policy, new_secret};
use portcullis_tests::planes::{DataPlane, PlaneOptions};
use portcullis_tests::{Caller, Upstream};
use serde_json::json;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpStream;

const SWAPS: u64 = 50;
const CALLS_PER_SECOND: f64 = 1000.0;

/// What one call came to, as its caller saw it.
struct Outcome {
    request_id: uuid::Uuid,
    permitted: bool,
}

struct Keys {
    steady: String,
    flipping: String,
    other: String,
}

/// Every second version grants `flip` to one key, and the rest of the time to another.
fn policy(version: u64, url: &str, keys: &Keys) -> Policy {
    let flip = if version.is_multiple_of(2) { json!(["stay", "flip"]) } else { json!(["stay"]) };
    let other = if version.is_multiple_of(2) { json!([]) } else { json!(["stay", "flip"]) };
    Policy::new()
        .server("files", url, "2026-07-28")
        .tool("files", "stay")
        .tool("files", "flip")
        .key("steady", &keys.steady, &json!([{"server": "files", "allow": ["stay"]}]))
        .key("flipping", &keys.flipping, &json!([{"server": "files", "allow": flip}]))
        .key("other", &keys.other, &json!([{"server": "files", "allow": other}]))
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn fifty_swaps_under_load_fail_no_call_and_halve_no_decision() {
    let upstream = Upstream::modern(&["stay", "flip"]).await;
    let mut control = FakeControlPlane::start().await;
    let keys = Keys { steady: new_secret(), flipping: new_secret(), other: new_secret() };
    control.push(1, &policy(1, &upstream.url, &keys)).await;
    let plane = DataPlane::start(PlaneOptions::new("plane-a", &control.url, &control.token())).await;
    plane.enforces(1).await;
    // Whom no swap concerns keeps its stream, and is told nothing on it.
    let undisturbed = plane.legacy("/mcp", &keys.steady).open().await;
    let mut quiet = undisturbed.listen().await;

    // Every call is judged each time; the rate is asked of the best of three, since the machine has other work too.
    let mut version = 1;
    let mut rates = Vec::new();
    while rates.iter().all(|rate| *rate < CALLS_PER_SECOND) {
        assert!(rates.len() < 3, "{rates:.0?} calls/s are no load");
        rates.push(swap_under_load(&mut control, &plane, &upstream, &keys, &mut version).await);
    }
    assert!(control.nacks().is_empty(), "{:?}", control.nacks());
    assert!(undisturbed.call("files_stay", json!({})).await.succeeded());
    let silence = tokio::time::timeout(Duration::from_millis(50), quiet.next()).await;
    assert!(silence.is_err(), "the stream ended or told something: {silence:?}");
}

/// Swaps fifty times while calls go on; judges each call, and gives their rate.
async fn swap_under_load(
    control: &mut FakeControlPlane,
    plane: &DataPlane,
    upstream: &Upstream,
    keys: &Keys,
    version: &mut u64,
) -> f64 {
    let stop = Arc::new(AtomicBool::new(false));
    let made = Arc::new(AtomicUsize::new(0));
    let workers: Vec<_> = (0..16)
        .map(|number| {
            // A steady key calls what it always may; the others what comes and goes for them.
            let (secret, tool) = match number % 4 {
                0 => (&keys.steady, "files_stay"),
                1 => (&keys.other, "files_flip"),
                _ => (&keys.flipping, "files_flip"),
            };
            let caller = plane.modern("/mcp", secret);
            tokio::spawn(work(caller, tool, Arc::clone(&stop), Arc::clone(&made)))
        })
        .collect();
    while made.load(Ordering::Relaxed) < 200 {
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
    let (since, before) = (Instant::now(), made.load(Ordering::Relaxed));
    for _ in 0..SWAPS {
        *version += 1;
        control.push(*version, &policy(*version, &upstream.url, keys)).await;
        control.acknowledged(*version).await;
        // Some calls under each version; the count is what is waited for, not the time.
        let seen = made.load(Ordering::Relaxed);
        while made.load(Ordering::Relaxed) < seen + 40 {
            tokio::time::sleep(Duration::from_millis(1)).await;
        }
    }
    let (calls, elapsed) = (made.load(Ordering::Relaxed) - before, since.elapsed());
    stop.store(true, Ordering::Relaxed);
    let mut outcomes = Vec::new();
    for worker in workers {
        outcomes.extend(worker.await.unwrap());
    }
    judge(plane, &outcomes);
    let rate = calls as f64 / elapsed.as_secs_f64();
    println!("{calls} calls during {SWAPS} swaps: {rate:.0} calls/s, {elapsed:?}");
    rate
}

/// Each answer agrees with the version that its record names.
fn judge(plane: &DataPlane, outcomes: &[Outcome]) {
    let records: HashMap<_, _> =
        plane.records().into_iter().map(|record| (record.request_id, record)).collect();
    let mut versions = BTreeSet::new();
    for outcome in outcomes {
        let record = &records[&outcome.request_id];
        let even = record.snapshot_version.is_multiple_of(2);
        let granted = match record.key.name.as_str() {
            "steady" => true,
            "flipping" => even,
            _ => !even,
        };
        assert_eq!(outcome.permitted, granted, "{record:?}");
        let decided = record.decision == Decision::Permit;
        assert_eq!(outcome.permitted, decided, "{record:?}");
        versions.insert(record.snapshot_version);
    }
    assert!(versions.len() as u64 >= SWAPS, "calls saw only {} versions", versions.len());
    assert!(outcomes.iter().any(|outcome| !outcome.permitted));
}

/// Calls over one connection, as fast as it is answered. The client is as small as can be, so that the load is the plane's.
async fn work(
    caller: Caller,
    tool: &'static str,
    stop: Arc<AtomicBool>,
    made: Arc<AtomicUsize>,
) -> Vec<Outcome> {
    let (caller, body) = caller.request("tools/call", json!({"name": tool, "arguments": {}}));
    let body = body.to_string();
    let (host, path) = caller.url.trim_start_matches("http://").split_once('/').unwrap();
    let mut request = format!("POST /{path} HTTP/1.1\r\nhost: {host}\r\ncontent-length: {}\r\n", body.len());
    for (name, value) in &caller.headers {
        request.push_str(&format!("{name}: {}\r\n", value.to_str().unwrap()));
    }
    request.push_str("\r\n");
    request.push_str(&body);
    let mut stream = TcpStream::connect(host).await.unwrap();
    stream.set_nodelay(true).unwrap();
    let mut outcomes = Vec::new();
    let mut buffer = Vec::new();
    while !stop.load(Ordering::Relaxed) {
        stream.write_all(request.as_bytes()).await.unwrap();
        buffer.clear();
        let answer = loop {
            assert_ne!(stream.read_buf(&mut buffer).await.unwrap(), 0, "the connection was closed");
            if let Some(answer) = Answer::parse(&buffer) {
                break answer;
            }
        };
        // Decided, one way or the other; anything else is a failed call.
        assert_eq!(answer.status, 200, "{}", String::from_utf8_lossy(&buffer));
        let permitted = answer.body.contains("did it");
        assert!(permitted || answer.body.contains("-32602"), "{}", answer.body);
        outcomes.push(Outcome { request_id: answer.request_id, permitted });
        made.fetch_add(1, Ordering::Relaxed);
    }
    outcomes
}

/// What there is to know of an answer.
struct Answer<'a> {
    status: u16,
    request_id: uuid::Uuid,
    body: &'a str,
}

impl<'a> Answer<'a> {
    /// None until it is whole.
    fn parse(bytes: &'a [u8]) -> Option<Self> {
        let (head, body) = std::str::from_utf8(bytes).unwrap().split_once("\r\n\r\n")?;
        let header = |name: &str| {
            let mut lines = head.lines().filter_map(|line| line.split_once(':'));
            lines.find(|(found, _)| found.eq_ignore_ascii_case(name)).map(|(_, value)| value.trim())
        };
        let length: usize = header("content-length").expect("a length").parse().unwrap();
        (body.len() >= length).then(|| Self {
            status: head.split(' ').nth(1).unwrap().parse().unwrap(),
            request_id: header("x-request-id").expect("an id").parse().unwrap(),
            body,
        })
    }
}
