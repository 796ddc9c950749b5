use std::sync::Arc;

use portcullis_policy::resource::{Checks, Name};
use portcullis_proto::config::v1::ServerCalls;

use super::super::checks::judge;
use super::*;
use crate::objects::{SERVER_STATE, StageReached};
use crate::store::Object;

const SERVER: Uid = Uid(uuid::Uuid::from_u128(7));
const OTHER: Uid = Uid(uuid::Uuid::from_u128(8));

/// A state in which `SERVER` is at a stage and `OTHER` is open to all.
fn state() -> State {
    let mut state = State::default();
    for (uid, stage) in [(SERVER, Some(Stage::Limited)), (OTHER, None)] {
        let name: Name = "crm".parse().unwrap();
        let mut kept = ServerState::new(name, 0);
        kept.stage = stage.map(|stage| StageReached { stage, since_unix_ms: 0, forced: false });
        let object = |kind: &str, name: String, body| Object {
            kind: kind.into(),
            name: name.into(),
            uid,
            version: 1,
            created_version: 1,
            body,
        };
        state.insert(Arc::new(object("McpServer", format!("crm-{uid}"), serde_json::Value::Null)));
        let body = serde_json::to_value(&kept).unwrap();
        state.insert(Arc::new(object(SERVER_STATE, uid.to_string(), body)));
    }
    state
}

fn calls(server: Uid, sandbox: bool, calls: u64, errors: &[(&str, u64)]) -> ServerCalls {
    let errors = errors.iter().map(|(code, count)| ((*code).to_owned(), *count)).collect();
    ServerCalls { server_uid: server.to_string(), sandbox, calls, errors, ..ServerCalls::default() }
}

fn status(run: u8, counting_for_ms: u64, calls: Vec<ServerCalls>) -> PlaneStatus {
    PlaneStatus { run: vec![run; 16].into(), counting_for_ms, calls, ..PlaneStatus::default() }
}

/// When the tests begin, a whole minute: stages and planes can be older.
const BEGAN: u64 = 960_000_000;

/// A board whose moments are milliseconds since it began.
struct Told {
    board: Board,
    state: State,
}

impl Told {
    fn connected(&self, plane: &str, now: u64) {
        self.board.connected(plane, BEGAN + now);
    }

    fn gone(&self, plane: &str, now: u64) {
        self.board.gone(plane, BEGAN + now);
    }

    fn report(&self, plane: &str, status: &PlaneStatus, now: u64) {
        self.board.report(&self.state, plane, status, BEGAN + now);
    }

    /// Of a server whose stage began long before.
    fn window(&self, server: Uid, sandbox_too: bool, window: u64, now: u64) -> Seen {
        self.board.window(server, sandbox_too, 0, window, BEGAN + now)
    }
}

/// A board with a plane `a` that began with it.
fn board() -> Told {
    let told = Told { board: Board::new(BEGAN), state: state() };
    told.connected("a", 0);
    told.report("a", &status(1, 0, Vec::new()), 0);
    told
}

#[test]
fn totals_of_planes_become_what_happened_in_the_window() {
    let board = board();
    board.connected("b", 1_000);
    board.report("b", &status(2, 500, Vec::new()), 1_000);
    board.report("a", &status(1, 50_000, vec![calls(SERVER, false, 10, &[("tool_error", 1)])]), 50_000);
    board.report("b", &status(2, 51_000, vec![calls(SERVER, false, 5, &[])]), 51_000);
    // Told twice: totals, so that nothing is counted twice.
    board.report("a", &status(1, 52_000, vec![calls(SERVER, false, 10, &[("tool_error", 1)])]), 52_000);
    board.report("a", &status(1, 100_000, vec![calls(SERVER, false, 13, &[("tool_error", 1)])]), 100_000);
    let seen = |window| board.window(SERVER, false, window, 100_000);
    assert_eq!((seen(90_000).counts.calls, seen(90_000).counts.failed()), (18, 1));
    assert_eq!((seen(10_000).counts.calls, seen(10_000).counts.failed()), (3, 0));
    assert_eq!(seen(90_000).missing, None);
}

#[test]
fn calls_of_the_sandbox_count_for_the_stage_sandbox_alone() {
    let board = board();
    let both = vec![calls(SERVER, false, 2, &[]), calls(SERVER, true, 40, &[("upstream_error", 40)])];
    board.report("a", &status(1, 5_000, both), 5_000);
    assert_eq!(board.window(SERVER, true, 5_000, 6_000).counts.calls, 42);
    assert_eq!(board.window(SERVER, false, 5_000, 6_000).counts.failed(), 0);
}

#[test]
fn what_is_open_to_all_takes_no_memory() {
    let board = board();
    board.report("a", &status(1, 5_000, vec![calls(OTHER, false, 9, &[])]), 5_000);
    let unknown = calls(Uid(uuid::Uuid::from_u128(9)), false, 9, &[]);
    board.report("a", &status(1, 6_000, vec![unknown]), 6_000);
    assert!(board.board.table().rings.is_empty());
    assert_eq!(
        board.board.table().planes["a"].totals.len(),
        1,
        "of servers that there are not nothing is kept"
    );
    assert_eq!(board.window(OTHER, false, 5_000, 6_000).counts, Counts::default());
}

#[test]
fn a_window_of_which_something_is_not_known_is_not_whole() {
    let minute = 60_000;
    let missing = |board: &Told, now| board.window(SERVER, false, minute, now).missing;
    let board = board();
    let begun = board.board.window(SERVER, false, BEGAN + 100_000, minute, BEGAN + 150_000);
    assert!(begun.missing.unwrap().contains("the stage began"));
    assert!(missing(&board, 30_000).unwrap().contains("the control plane counts since"));
    assert_eq!(missing(&board, 70_000), None);
    // A plane that did not report yet, and one that served before anybody counted.
    board.connected("b", 80_000);
    assert!(missing(&board, 81_000).unwrap().contains("b has not told"));
    board.report("b", &status(2, 500_000, vec![calls(SERVER, false, 1_000, &[])]), 82_000);
    assert!(missing(&board, 100_000).unwrap().contains("b is counted whole since"));
    assert_eq!(board.window(SERVER, false, minute, 100_000).counts.calls, 0, "from before the window");
    assert_eq!(missing(&board, 150_000), None);
    // One that is away, and then is gone for longer than the window.
    board.gone("b", 150_000);
    assert!(missing(&board, 160_000).unwrap().contains("b went away"));
    assert_eq!(missing(&board, 220_000), None);
    // It comes back as the same run: what it served meanwhile is told.
    board.connected("b", 230_000);
    board.report("b", &status(2, 650_000, vec![calls(SERVER, false, 1_007, &[])]), 231_000);
    assert_eq!(
        (board.window(SERVER, false, minute, 232_000).counts.calls, missing(&board, 232_000)),
        (7, None)
    );
    // Another run of the same name: what the last one served at its end was not told.
    board.report("b", &status(3, 1_000, vec![calls(SERVER, false, 2, &[])]), 240_000);
    assert!(missing(&board, 241_000).unwrap().contains("b is counted whole since"));
    assert_eq!(board.window(SERVER, false, minute, 241_000).counts.calls, 9);
    // A plane that says itself that it did not count all, and one that cannot count.
    let uncounted = PlaneStatus { uncounted: true, ..status(3, 300_000, Vec::new()) };
    board.report("b", &uncounted, 500_000);
    assert!(missing(&board, 501_000).is_some());
    board.report("b", &PlaneStatus::default(), 700_000);
    assert!(missing(&board, 900_000).unwrap().contains("has not told"));
}

#[test]
fn buckets_have_a_bound_and_long_windows_are_summed_from_coarse_ones() {
    let board = board();
    for second in 1..=4_000_u64 {
        let now = second * 1_000;
        board.report("a", &status(1, now, vec![calls(SERVER, false, second, &[])]), now);
    }
    let ring = board.board.table();
    let ring = ring.rings.get(&(SERVER, false)).unwrap();
    assert_eq!(ring.fine.len(), FINE.1);
    assert!(ring.coarse.len() <= 4_000 / 60 + 1);
    assert_eq!(ring.sum(BEGAN + 4_000_000, 60_000).calls, 60 + 1, "and the bucket that the window begins in");
    assert!((3_600..=3_660).contains(&ring.sum(BEGAN + 4_000_000, 3_600_000).calls));
}

#[test]
fn a_plane_cannot_invent_reasons_and_a_wild_one_cannot_overflow() {
    let board = board();
    let wild = calls(SERVER, false, u64::MAX, &[("made-up", u64::MAX), ("internal", u64::MAX)]);
    board.report("a", &status(1, 1, vec![wild.clone()]), 1);
    board.connected("b", 2);
    board.report("b", &status(2, 1, vec![wild]), 2);
    let seen = board.window(SERVER, false, 1_000, 3);
    assert_eq!(seen.counts.calls, u64::MAX);
    assert_eq!(seen.counts.errors.keys().copied().collect::<Vec<_>>(), ["internal"]);
}

#[test]
fn each_check_shows_its_number_and_fails_alone() {
    let checks: Checks = serde_json::from_value(serde_json::json!({
        "window": "1m", "minCalls": 10, "maxErrorRate": "10%", "maxDenials": 1 }))
    .unwrap();
    let mut good = Seen { counts: Counts { calls: 10, ..Counts::default() }, missing: None };
    good.counts.errors.insert("tool_error", 1);
    good.counts.denials.extend([("zone_denied", 1), ("tool_not_approved", 500)]);
    let failed = |seen: &Seen, drifted: &[String]| {
        let judged = judge(&checks, seen, drifted);
        judged
            .into_iter()
            .filter(|check| !check.passed)
            .map(|check| (check.name, check.measured))
            .collect::<Vec<_>>()
    };
    assert_eq!(failed(&good, &[]), []);
    let with = |change: fn(&mut Seen)| {
        let mut seen = good.clone();
        change(&mut seen);
        failed(&seen, &[])
    };
    assert_eq!(with(|seen| seen.missing = Some("why".to_owned())), [("window", "why".to_owned())]);
    assert_eq!(
        with(|seen| {
            seen.counts.calls = 9;
            seen.counts.errors.clear();
        }),
        [("calls", "9".to_owned())]
    );
    assert_eq!(
        with(|seen| {
            seen.counts.errors.insert("upstream_timeout", 2);
        }),
        [("errorRate", "30.00% (3 of 10: 2 upstream_timeout, 1 tool_error)".to_owned())]
    );
    assert_eq!(
        with(|seen| {
            seen.counts.denials.insert("zone_denied", 2);
        }),
        [("denials", "2: 2 zone_denied".to_owned())]
    );
    assert_eq!(failed(&good, &["tool \"find\"".to_owned()]), [("drift", "tool \"find\"".to_owned())]);
}
