use portcullis_policy::snapshot::{SnapshotDigest, SnapshotHeader, SnapshotVersion};

use super::*;

fn nothing() -> Arc<Snapshot> {
    let header = SnapshotHeader {
        version: SnapshotVersion(1),
        digest: SnapshotDigest::default().finish(),
        built_unix_ms: 1,
        entries: 0,
    };
    Arc::new(Snapshot::compile(header, Vec::new()).unwrap())
}

fn call(id: u8, server: &str, reason: &str) -> wire::RecordedCall {
    wire::RecordedCall {
        request_id: vec![id; 16].into(),
        unix_ms: 50,
        key: "bot".to_owned(),
        method: "tools/call".to_owned(),
        server: server.to_owned(),
        own_name: "find".to_owned(),
        reason: reason.to_owned(),
        cost_micro_usd: 7,
        ..wire::RecordedCall::default()
    }
}

fn counted(by: By, calls: &[wire::RecordedCall]) -> Vec<(String, [u64; 4])> {
    let mut tally = Tally::new(by, nothing(), 10, 100);
    assert!(calls.iter().all(|call| tally.take(call)));
    let mut found: Vec<_> = tally
        .counts
        .into_values()
        .map(|count| (count.name, [count.calls, count.denied, count.failed, count.micro_usd]))
        .collect();
    found.sort();
    found
}

#[test]
fn calls_count_once_by_how_they_ended() {
    let failed = wire::RecordedCall { tool_error: true, ..call(3, "crm", "") };
    let calls = [
        call(1, "crm", ""),
        call(1, "crm", ""),
        call(2, "crm", "budget_exhausted"),
        failed,
        call(4, "crm", "upstream_timeout"),
        // A reason that only a newer version knows is no success.
        call(5, "crm", "something_new"),
        // Out of the window, and without an id.
        wire::RecordedCall { unix_ms: 100, ..call(6, "crm", "") },
        wire::RecordedCall { request_id: vec![1].into(), ..call(7, "crm", "") },
    ];
    assert_eq!(counted(By::Key, &calls), [("bot".to_owned(), [3, 2, 2, 35])]);
}

#[test]
fn calls_count_under_what_they_are_asked_by() {
    let prompt = wire::RecordedCall { method: "prompts/get".to_owned(), ..call(3, "crm", "") };
    let calls = [call(1, "crm", ""), call(2, "", "tool_unknown"), prompt];
    let names =
        |by| counted(by, &calls).into_iter().map(|(name, [calls, ..])| (name, calls)).collect::<Vec<_>>();
    let named = |name: &str, calls| (name.to_owned(), calls);
    assert_eq!(names(By::Server), [named("-", 0), named("crm", 2)]);
    assert_eq!(names(By::Tool), [named("-", 1), named("crm/find", 1)]);
    // The key is not known any more.
    for by in [By::Customer, By::Team, By::Principal] {
        assert_eq!(names(by), [named("-", 2)], "{by:?}");
    }
}

#[test]
fn nothing_else_is_counted_by() {
    for (text, by) in [("customer", By::Customer), ("principal", By::Principal), ("tool", By::Tool)] {
        assert_eq!(text.parse::<By>(), Ok(by));
    }
    assert!("zone".parse::<By>().unwrap_err().contains("customer, team"));
}
