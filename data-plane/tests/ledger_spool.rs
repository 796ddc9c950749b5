//! The audit spool keeps every record that was written, refuses what it has no room for, and survives the end of its process.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing,
    reason = "a test that fails says so"
)]

use std::borrow::Cow;
use std::collections::HashSet;
use std::fs;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use chrono::{DateTime, TimeDelta, Utc};
use portcullis_data_plane::ledger::{
    ApprovalFacts, AuditRecord, Decision, Filter, KeyFacts, LatencySplit, Outcome, PrincipalFacts, ReadError,
    Sizes, SpentFacts, SpentLine, Spool, SpoolConfig, SpoolError, SpoolFull, UpstreamFacts, read,
};
use portcullis_policy::Reason;
use portcullis_policy::resource::{PrincipalKind, Uid};
use uuid::Uuid;

const SMALL: u64 = 64 * 1024;

fn config() -> SpoolConfig {
    SpoolConfig { segment_bytes: SMALL, shards: 1, ..SpoolConfig::default() }
}

fn start() -> DateTime<Utc> {
    DateTime::from_timestamp(1_780_000_000, 0).unwrap()
}

fn record(number: u64) -> AuditRecord {
    AuditRecord {
        request_id: Uuid::from_u128(u128::from(number)),
        time: start() + TimeDelta::milliseconds(i64::try_from(number).unwrap()),
        method: Cow::Borrowed("tools/call"),
        endpoint: Cow::Borrowed("/mcp"),
        era: Cow::Borrowed("modern"),
        decision: Decision::Permit,
        reason: None,
        rule: Some("VirtualKey/support-bot spec.grants[0]".to_owned()),
        shadow: Vec::new(),
        approval: None,
        snapshot_version: 7,
        principal: PrincipalFacts { kind: PrincipalKind::Agent, subject: Arc::from("support-bot") },
        key: KeyFacts { name: "support-bot".parse().unwrap(), uid: Uid(Uuid::from_u128(1)) },
        team: Some("support-team".parse().unwrap()),
        customer: Some("acme".parse().unwrap()),
        server: Some("github".parse().unwrap()),
        zone: Some("vendor-saas".parse().unwrap()),
        tool: Some(Arc::from("search_issues")),
        prompt: None,
        resource: None,
        exposed_name: Some(Arc::from("github_search_issues")),
        client_hint: Some(Arc::from("claude-code")),
        latency_micros: LatencySplit { total: 1200, decide: 1, upstream: 1100 },
        bytes: Sizes { request: 512, response: 1024 },
        upstream: Some(UpstreamFacts { status: Some(200), era: Some(Cow::Borrowed("modern")) }),
        outcome: Outcome::Ok,
        cost_micro_usd: None,
        spent: None,
        trace_id: Some("0af7651916cd43dd8448eb211c80319c".to_owned()),
        span_id: Some("b7ad6b7169203331".to_owned()),
        truncated: Vec::new(),
    }
}

fn write(spool: &Spool, numbers: impl IntoIterator<Item = u64>) {
    for number in numbers {
        spool.reserve().unwrap().write(&record(number)).unwrap();
    }
}

fn all(dir: &Path) -> Vec<AuditRecord> {
    read(dir, Filter::default()).unwrap().map(Result::unwrap).collect()
}

fn numbers(records: &[AuditRecord]) -> Vec<u128> {
    records.iter().map(|record| record.request_id.as_u128()).collect()
}

fn segments(dir: &Path) -> Vec<PathBuf> {
    let mut paths: Vec<_> = fs::read_dir(dir)
        .unwrap()
        .map(|entry| entry.unwrap().path())
        .filter(|path| path.extension().is_some_and(|suffix| suffix == "audit"))
        .collect();
    paths.sort();
    paths
}

#[test]
fn what_is_written_is_read_back_whole_while_the_spool_is_open_and_after() {
    let dir = tempfile::tempdir().unwrap();
    let spool = Spool::open(dir.path(), config()).unwrap();
    write(&spool, 0..20);
    let expected: Vec<_> = (0..20).map(record).collect();
    assert_eq!(all(dir.path()), expected, "while it is open");
    drop(spool);
    assert_eq!(all(dir.path()), expected, "after it was closed");
}

#[test]
fn a_record_is_in_the_file_when_write_returns() {
    let dir = tempfile::tempdir().unwrap();
    let spool = Spool::open(dir.path(), config()).unwrap();
    let place = spool.reserve().unwrap();
    assert_eq!(all(dir.path()), []);
    place.write(&record(5)).unwrap();
    assert_eq!(numbers(&all(dir.path())), [5]);
}

#[test]
fn a_place_that_is_dropped_leaves_no_trace_and_gives_its_room_back() {
    let dir = tempfile::tempdir().unwrap();
    let spool = Spool::open(dir.path(), SpoolConfig { max_places: 2, ..config() }).unwrap();
    drop(spool.reserve().unwrap());
    let first: Vec<_> = segments(dir.path()).into_iter().take(1).collect();
    for _ in 0..1000 {
        drop(spool.reserve().unwrap());
    }
    write(&spool, [1]);
    assert_eq!(spool.stats().places, 0);
    assert_eq!(numbers(&all(dir.path())), [1]);
    // What was made ahead goes with the spool; what is left is what was written to.
    drop(spool);
    assert_eq!(segments(dir.path()), first, "no segment was used up");
}

#[test]
fn places_out_at_once_have_a_bound() {
    let dir = tempfile::tempdir().unwrap();
    let spool = Spool::open(dir.path(), SpoolConfig { max_places: 3, ..config() }).unwrap();
    let places: Vec<_> = (0..3).map(|_| spool.reserve().unwrap()).collect();
    assert_eq!(spool.reserve().unwrap_err(), SpoolFull::TooManyPlaces);
    assert_eq!(spool.check(), Err(SpoolFull::TooManyPlaces));
    drop(places);
    spool.check().unwrap();
    write(&spool, [1]);
}

#[test]
fn full_segments_follow_each_other_and_lose_nothing() {
    let dir = tempfile::tempdir().unwrap();
    let spool = Spool::open(dir.path(), config()).unwrap();
    write(&spool, 0..2000);
    assert!(segments(dir.path()).len() > 10);
    drop(spool);
    assert_eq!(numbers(&all(dir.path())), (0..2000).collect::<Vec<u128>>());
}

#[test]
fn a_long_call_keeps_its_place_over_many_segments() {
    let dir = tempfile::tempdir().unwrap();
    let spool = Spool::open(dir.path(), config()).unwrap();
    let long = spool.reserve().unwrap();
    write(&spool, 1..1000);
    long.write(&record(1_000_000)).unwrap();
    drop(spool);
    let read = numbers(&all(dir.path()));
    assert_eq!(read.iter().copied().collect::<HashSet<_>>().len(), 1000);
    assert!(read.contains(&1_000_000));
}

#[test]
fn beyond_the_whole_size_the_oldest_records_go() {
    let dir = tempfile::tempdir().unwrap();
    let bound = 10 * SMALL;
    let spool = Spool::open(dir.path(), SpoolConfig { max_total_bytes: bound, ..config() }).unwrap();
    write(&spool, 0..3000);
    assert!(spool.stats().bytes <= bound);
    assert!(spool.stats().deleted_segments > 0);
    drop(spool);
    let left = numbers(&all(dir.path()));
    assert_eq!(left.last(), Some(&2999));
    let first = left[0];
    assert!(first > 0 && left == (first..3000).collect::<Vec<_>>(), "the newest without a gap");
}

#[test]
fn when_the_oldest_are_to_be_kept_places_are_refused_instead() {
    let dir = tempfile::tempdir().unwrap();
    let config = SpoolConfig { max_total_bytes: 4 * SMALL, keep_oldest: true, ..config() };
    let spool = Spool::open(dir.path(), config).unwrap();
    let mut written = 0;
    let refusal = loop {
        match spool.reserve() {
            Ok(place) => place.write(&record(written)).unwrap(),
            Err(refusal) => break refusal,
        }
        written += 1;
        assert!(written < 10_000, "the bound must be reached");
    };
    assert_eq!(refusal, SpoolFull::Retention);
    assert_eq!(spool.check(), Err(SpoolFull::Retention));
    assert!(spool.stats().refused > 0);
    drop(spool);
    assert_eq!(all(dir.path()).len() as u64, written, "none of those taken is lost");
}

#[test]
fn a_disk_without_room_refuses_places_and_leaves_nothing_behind() {
    let dir = tempfile::tempdir().unwrap();
    // More than any disk has: the system refuses to reserve it.
    let huge = 1 << 60;
    let config = SpoolConfig { segment_bytes: huge, max_total_bytes: u64::MAX, ..config() };
    let spool = Spool::open(dir.path(), config).unwrap();
    for _ in 0..3 {
        let full = spool.reserve().unwrap_err();
        assert!(matches!(full, SpoolFull::Disk { .. }), "{full}");
        let told = full.to_string();
        assert!(told.contains(dir.path().to_str().unwrap()) && told.contains(&huge.to_string()), "{told}");
    }
    assert!(matches!(spool.check(), Err(SpoolFull::Disk { .. })));
    assert_eq!((spool.stats().places, spool.stats().refused), (0, 3));
    assert_eq!(segments(dir.path()), [] as [PathBuf; 0]);
}

#[test]
fn the_spool_is_for_its_owner_alone() {
    use std::os::unix::fs::PermissionsExt as _;
    let dir = tempfile::tempdir().unwrap();
    let audit = dir.path().join("audit");
    let spool = Spool::open(&audit, config()).unwrap();
    drop(spool.reserve().unwrap());
    let mode = |path: &Path| std::fs::metadata(path).unwrap().permissions().mode() & 0o777;
    assert_eq!(mode(&audit), 0o700);
    let files: Vec<_> = std::fs::read_dir(&audit).unwrap().map(|entry| entry.unwrap().path()).collect();
    assert!(files.len() >= 2, "the lock and a segment: {files:?}");
    for file in files {
        assert_eq!(mode(&file), 0o600, "{}", file.display());
    }
}

#[test]
fn the_space_of_places_is_really_taken_from_the_disk() {
    use std::os::unix::fs::MetadataExt as _;
    let dir = tempfile::tempdir().unwrap();
    let spool = Spool::open(dir.path(), SpoolConfig { segment_bytes: 4 * 1024 * 1024, ..config() }).unwrap();
    let place = spool.reserve().unwrap();
    let taken: u64 = segments(dir.path()).iter().map(|path| fs::metadata(path).unwrap().blocks() * 512).sum();
    assert!(taken >= 4 * 1024 * 1024, "{taken} bytes are taken");
    drop(place);
    drop(spool);
    assert_eq!(segments(dir.path()), [] as [PathBuf; 0], "an empty segment does not stay");
}

#[test]
fn writers_side_by_side_lose_nothing() {
    const THREADS: u64 = 8;
    const EACH: u64 = 2500;
    let dir = tempfile::tempdir().unwrap();
    let spool = Spool::open(dir.path(), SpoolConfig { shards: 3, ..config() }).unwrap();
    std::thread::scope(|scope| {
        for thread in 0..THREADS {
            let spool = &spool;
            scope.spawn(move || {
                for number in 0..EACH {
                    let place = spool.reserve().unwrap();
                    if number % 7 == 0 {
                        drop(spool.reserve().unwrap());
                    }
                    place.write(&record(thread * EACH + number)).unwrap();
                }
            });
        }
    });
    assert_eq!(spool.stats().written, THREADS * EACH);
    drop(spool);
    let mut read = numbers(&all(dir.path()));
    read.sort_unstable();
    assert_eq!(read, (0..u128::from(THREADS * EACH)).collect::<Vec<_>>());
}

#[test]
fn a_directory_has_one_writer_and_any_number_of_readers() {
    let dir = tempfile::tempdir().unwrap();
    let spool = Spool::open(dir.path(), config()).unwrap();
    write(&spool, [1]);
    assert!(matches!(Spool::open(dir.path(), config()), Err(SpoolError::InUse(_))));
    assert_eq!(all(dir.path()).len(), 1);
    drop(spool);
    let again = Spool::open(dir.path(), config()).unwrap();
    write(&again, [2]);
    assert_eq!(numbers(&all(dir.path())), [1, 2]);
}

#[test]
fn a_spool_whose_process_was_killed_is_cut_to_what_was_written_and_goes_on() {
    let dir = tempfile::tempdir().unwrap();
    let spool = Spool::open(dir.path(), config()).unwrap();
    write(&spool, 0..10);
    // As a kill leaves it: the whole reserved size, zeros behind the last record.
    let path = segments(dir.path()).remove(0);
    let left = fs::read(&path).unwrap();
    assert_eq!(left.len() as u64, SMALL);
    drop(spool);
    fs::write(&path, &left).unwrap();
    let again = Spool::open(dir.path(), config()).unwrap();
    assert!(fs::metadata(&path).unwrap().len() < SMALL / 2);
    write(&again, 10..20);
    assert_eq!(numbers(&all(dir.path())), (0..20).collect::<Vec<_>>());
}

#[test]
fn the_longest_texts_are_cut_and_named() {
    let dir = tempfile::tempdir().unwrap();
    let spool = Spool::open(dir.path(), config()).unwrap();
    let long = "\u{1}ä".repeat(40_000);
    let monster = AuditRecord {
        method: Cow::Owned(long.clone()),
        endpoint: Cow::Owned(long.clone()),
        era: Cow::Owned(long.clone()),
        rule: Some(long.clone()),
        principal: PrincipalFacts { kind: PrincipalKind::Human, subject: Arc::from(long.as_str()) },
        tool: Some(Arc::from(long.as_str())),
        prompt: Some(Arc::from(long.as_str())),
        resource: Some(Arc::from(long.as_str())),
        exposed_name: Some(Arc::from(long.as_str())),
        client_hint: Some(Arc::from(long.as_str())),
        upstream: Some(UpstreamFacts { status: None, era: Some(Cow::Owned(long.clone())) }),
        trace_id: Some(long.clone()),
        approval: Some(Box::new(ApprovalFacts {
            id: Arc::from(long.as_str()),
            by: Some(Arc::from(long.as_str())),
        })),
        span_id: Some(long),
        // As many as one call may debit, in their longest form; they are kept whole.
        spent: Some(Box::new(SpentFacts {
            plane: Uuid::max(),
            life: u32::MAX,
            accounts: vec![
                SpentLine {
                    account: format!("customer:micro-usd:quarter:rolling:{}", Uuid::max()).into(),
                    epoch: u32::MAX,
                    spent: u64::MAX,
                };
                24
            ],
        })),
        ..record(1)
    };
    let one_field = AuditRecord { exposed_name: monster.exposed_name.clone(), ..record(2) };
    spool.reserve().unwrap().write(&monster).unwrap();
    spool.reserve().unwrap().write(&one_field).unwrap();
    let read = all(dir.path());
    assert_eq!(read[0].truncated.len(), 15);
    assert_eq!(read[0].spent, monster.spent);
    assert!(read[0].exposed_name.as_deref().unwrap().ends_with('…'));
    assert_eq!(read[1].truncated, ["exposedName"]);
    assert_eq!(
        AuditRecord { exposed_name: None, truncated: Vec::new(), ..read[1].clone() },
        AuditRecord { exposed_name: None, ..record(2) }
    );
}

#[test]
fn every_filter_lets_through_what_it_names() {
    let dir = tempfile::tempdir().unwrap();
    let spool = Spool::open(dir.path(), config()).unwrap();
    write(&spool, 0..10);
    let other = AuditRecord {
        key: KeyFacts { name: "other".parse().unwrap(), uid: Uid(Uuid::from_u128(2)) },
        decision: Decision::Deny,
        reason: Some(Reason::ZoneDenied),
        tool: Some(Arc::from("delete")),
        server: Some("crm".parse().unwrap()),
        ..record(10)
    };
    spool.reserve().unwrap().write(&other).unwrap();
    let count = |filter: Filter| read(dir.path(), filter).unwrap().map(Result::unwrap).count();
    let text = |text: &str| Some(text.to_owned());
    assert_eq!(count(Filter::default()), 11);
    assert_eq!(count(Filter { since: Some(record(8).time), ..Filter::default() }), 3);
    assert_eq!(count(Filter { until: Some(record(8).time), ..Filter::default() }), 8);
    assert_eq!(count(Filter { key: text("other"), ..Filter::default() }), 1);
    assert_eq!(count(Filter { key: Some(Uid(Uuid::from_u128(1)).to_string()), ..Filter::default() }), 10);
    assert_eq!(count(Filter { tool: text("delete"), ..Filter::default() }), 1);
    assert_eq!(count(Filter { tool: text("github_search_issues"), ..Filter::default() }), 11);
    assert_eq!(count(Filter { server: text("crm"), ..Filter::default() }), 1);
    assert_eq!(count(Filter { reason: Some(Reason::ZoneDenied), ..Filter::default() }), 1);
    assert_eq!(count(Filter { decision: Some(Decision::Permit), ..Filter::default() }), 10);
    assert_eq!(count(Filter { request_id: Some(Uuid::from_u128(3)), ..Filter::default() }), 1);
    assert_eq!(count(Filter { key: text("other"), tool: text("search_issues"), ..Filter::default() }), 0);
}

/// A closed segment of some records: its directory, its path, its bytes.
fn closed(records: u64) -> (tempfile::TempDir, PathBuf, Vec<u8>) {
    let dir = tempfile::tempdir().unwrap();
    let spool = Spool::open(dir.path(), config()).unwrap();
    write(&spool, 0..records);
    drop(spool);
    let path = segments(dir.path()).remove(0);
    let bytes = fs::read(&path).unwrap();
    (dir, path, bytes)
}

fn frames(bytes: &[u8]) -> Vec<usize> {
    bytes.windows(4).enumerate().filter(|(_, window)| window == b"PAR1").map(|(at, _)| at).collect()
}

#[test]
fn a_tail_torn_at_any_byte_costs_only_the_record_that_it_cuts() {
    let (dir, path, bytes) = closed(3);
    let starts = frames(&bytes);
    assert_eq!(starts.len(), 3);
    for cut in starts[1]..=bytes.len() {
        for zeros in [false, true] {
            let mut torn = bytes[..cut].to_vec();
            if zeros {
                // The space was reserved: zeros stand where nothing was written.
                torn.resize(bytes.len() + 4096, 0);
            }
            fs::write(&path, &torn).unwrap();
            let ends = [starts[1], starts[2], bytes.len()];
            let items: Vec<_> = read(dir.path(), Filter::default()).unwrap().collect();
            let records = items.iter().filter(|item| item.is_ok()).count();
            // The last bytes of a frame are padding, which may be missing.
            let payload_end = |end: usize| bytes[..end].iter().rposition(|byte| *byte != 0).unwrap() + 1;
            let whole = ends.iter().filter(|end| payload_end(**end) <= cut).count();
            assert_eq!(records, whole, "cut at {cut}, zeros: {zeros}");
            for item in items.into_iter().skip(whole) {
                let Err(ReadError::Damaged { offset, .. }) = item else { panic!("cut at {cut}: {item:?}") };
                assert_eq!(usize::try_from(offset).unwrap(), starts[whole], "cut at {cut}");
            }
        }
    }
}

#[test]
fn a_flipped_bit_anywhere_is_found_and_costs_one_record() {
    let (dir, path, bytes) = closed(3);
    let starts = frames(&bytes);
    for at in starts[1]..starts[2] {
        let mut flipped = bytes.clone();
        flipped[at] ^= 1 << (at % 8);
        fs::write(&path, &flipped).unwrap();
        let items: Vec<_> = read(dir.path(), Filter::default()).unwrap().collect();
        let read: Vec<u128> =
            items.iter().filter_map(|item| item.as_ref().ok()).map(|one| one.request_id.as_u128()).collect();
        let in_padding = bytes[at..starts[2]].iter().all(|byte| *byte == 0);
        if in_padding {
            assert_eq!(read, [0, 1, 2]);
        } else {
            assert_eq!(read, [0, 2], "flipped at {at}");
            let damage = items.iter().find_map(|item| item.as_ref().err()).unwrap();
            let ReadError::Damaged { offset, bytes, .. } = damage else { panic!("{damage}") };
            assert_eq!(usize::try_from(*offset).unwrap(), starts[1]);
            assert!(offset + bytes <= starts[2] as u64);
        }
    }
}

#[test]
fn a_hole_in_the_middle_is_reported_as_never_written() {
    let (dir, path, mut bytes) = closed(3);
    let starts = frames(&bytes);
    bytes[starts[1]..starts[2]].fill(0);
    fs::write(&path, &bytes).unwrap();
    let items: Vec<_> = read(dir.path(), Filter::default()).unwrap().collect();
    assert_eq!(items.iter().filter(|item| item.is_ok()).count(), 2);
    let hole = items.iter().find_map(|item| item.as_ref().err()).unwrap();
    let ReadError::Unwritten { offset, bytes, .. } = hole else { panic!("{hole}") };
    assert_eq!((*offset, *bytes), (starts[1] as u64, (starts[2] - starts[1]) as u64));
}

#[test]
fn a_frame_of_another_kind_is_reported_and_passed_over() {
    let (dir, path, bytes) = closed(1);
    let start = frames(&bytes)[0];
    let mut file = bytes[..start].to_vec();
    let payload = br#"{"kind":"of a later version"}"#;
    let length = u32::try_from(payload.len()).unwrap().to_le_bytes();
    let mut crc = crc32fast::Hasher::new();
    crc.update(&length);
    crc.update(payload);
    file.extend_from_slice(b"PAR1");
    file.extend_from_slice(&length);
    file.extend_from_slice(&crc.finalize().to_le_bytes());
    file.extend_from_slice(payload);
    file.resize(file.len().next_multiple_of(8), 0);
    file.extend_from_slice(&bytes[start..]);
    fs::write(&path, &file).unwrap();
    let items: Vec<_> = read(dir.path(), Filter::default()).unwrap().collect();
    assert!(matches!(items[0], Err(ReadError::NoRecord { .. })), "{:?}", items[0]);
    assert!(items[1].is_ok());
}
