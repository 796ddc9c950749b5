//! Opening what a crash, a bad disk or a person left: the journal decides, the index follows.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing,
    reason = "a test fails by panicking"
)]

mod store_common;

use std::fs;
use std::os::unix::fs::PermissionsExt as _;
use std::path::Path;

use portcullis_control_plane::store::{
    HistoryFilter, HistoryRecord, IndexFound, JournalStore, Object, Store, StoreError,
};
use serde_json::json;
use store_common::{Dice, Ruin, commit, delete, frames, index_dirs, journal_files, next_frame, objects, put};

/// Small files, so that there are several.
const SEGMENT_BYTES: u64 = 2000;

fn open(dir: &Path) -> JournalStore {
    JournalStore::open_with_segments(dir, SEGMENT_BYTES).unwrap()
}

/// A store with some past: 30 versions, objects that changed, came and went.
async fn with_past(dir: &Path) -> (Vec<Object>, Vec<HistoryRecord>) {
    let store = open(dir);
    for n in 1..=30_u64 {
        let name = format!("o{}", n % 7);
        let ops = match n % 5 {
            0 => vec![delete("A", &name)],
            _ => vec![
                put("A", &name, n % 7, json!({"n": n, "text": "ä".repeat(20)})),
                put("B", "same", 9, json!(n)),
            ],
        };
        // A delete of what is not there is no change; make one anyway.
        commit(&store, [ops, vec![put("C", "tick", 8, json!(n))]].concat()).await;
    }
    let history = store.history(HistoryFilter::default()).await.unwrap();
    assert_eq!(history.len(), 30);
    (objects(&store.state()), history)
}

async fn is_same(store: &JournalStore, (state, history): &(Vec<Object>, Vec<HistoryRecord>)) {
    assert_eq!(&objects(&store.state()), state);
    assert_eq!(&store.history(HistoryFilter::default()).await.unwrap(), history);
    let of_one =
        HistoryFilter { kind: Some("A".into()), name: Some("o3".into()), ..HistoryFilter::default() };
    let expected: Vec<u64> = history
        .iter()
        .filter(|record| record.changes.iter().any(|change| &*change.kind == "A" && &*change.name == "o3"))
        .map(|record| record.version)
        .collect();
    let answered: Vec<u64> =
        store.history(of_one).await.unwrap().iter().map(|record| record.version).collect();
    assert_eq!(answered, expected);
}

#[tokio::test]
async fn an_undamaged_store_opens_without_reading_the_past_again() {
    let dir = tempfile::tempdir().unwrap();
    let past = with_past(dir.path()).await;
    let store = open(dir.path());
    assert_eq!(store.opened().index, IndexFound::Current { behind: 0 });
    assert_eq!(store.opened().cut, None);
    assert!(journal_files(dir.path()).len() > 3);
    is_same(&store, &past).await;
}

#[tokio::test]
async fn a_ruined_index_costs_a_rebuild_and_nothing_else() {
    for (seed, ruin) in
        (0..).zip(Ruin::ALL.into_iter().chain([Ruin::CutDatabase; 4]).chain([Ruin::FlipDatabase; 8]))
    {
        let dir = tempfile::tempdir().unwrap();
        let past = with_past(dir.path()).await;
        ruin.act(dir.path(), &mut Dice::new(seed));
        let store = open(dir.path());
        assert!(
            !matches!(store.opened().index, IndexFound::Missing { .. }),
            "{ruin:?} {seed}: {:?}",
            store.opened()
        );
        is_same(&store, &past).await;
        assert_eq!(commit(&store, vec![put("A", "new", 1, json!(1))]).await, 31, "{ruin:?} {seed}");
        drop(store);
        let store = open(dir.path());
        assert_eq!(
            store.opened().index,
            IndexFound::Current { behind: 0 },
            "{ruin:?} {seed}: a rebuild is done once"
        );
        assert_eq!(index_dirs(dir.path()).len(), 1, "{ruin:?} {seed}: old ones are removed");
    }
}

#[tokio::test]
async fn an_index_that_is_behind_catches_up() {
    let dir = tempfile::tempdir().unwrap();
    with_past(dir.path()).await;
    let index = index_dirs(dir.path()).remove(0);
    let old = tempfile::tempdir().unwrap();
    copy(&index, old.path());
    let store = open(dir.path());
    for n in 0..5 {
        commit(&store, vec![put("A", "later", 1, json!(n))]).await;
    }
    let later = (objects(&store.state()), store.history(HistoryFilter::default()).await.unwrap());
    drop(store);
    fs::remove_dir_all(&index).unwrap();
    copy(old.path(), &index);
    let store = open(dir.path());
    assert_eq!(store.opened().index, IndexFound::Current { behind: 5 });
    is_same(&store, &later).await;
}

#[tokio::test]
async fn an_index_of_another_past_is_not_believed() {
    let dir = tempfile::tempdir().unwrap();
    let past = with_past(dir.path()).await;
    let journal = tempfile::tempdir().unwrap();
    copy(&dir.path().join("journal"), journal.path());
    let restore = || {
        fs::remove_dir_all(dir.path().join("journal")).unwrap();
        copy(journal.path(), &dir.path().join("journal"));
    };

    // A backup of the journal is restored below a newer index.
    let store = open(dir.path());
    commit(&store, vec![put("A", "lost", 1, json!(1))]).await;
    drop(store);
    restore();
    let store = open(dir.path());
    assert!(
        matches!(&store.opened().index, IndexFound::Rebuilt { why } if why.contains("ahead")),
        "{:?}",
        store.opened()
    );
    is_same(&store, &past).await;

    // As before, but the two pasts have the same length.
    commit(&store, vec![put("A", "one", 1, json!(1))]).await;
    drop(store);
    let index = index_dirs(dir.path()).remove(0);
    let first = tempfile::tempdir().unwrap();
    copy(&index, first.path());
    restore();
    let store = open(dir.path());
    commit(&store, vec![put("A", "two", 1, json!(1))]).await;
    let second = (objects(&store.state()), store.history(HistoryFilter::default()).await.unwrap());
    drop(store);
    let index = index_dirs(dir.path()).remove(0);
    fs::remove_dir_all(&index).unwrap();
    copy(first.path(), &index);
    let store = open(dir.path());
    assert!(
        matches!(&store.opened().index, IndexFound::Rebuilt { why } if why.contains("another")),
        "{:?}",
        store.opened()
    );
    is_same(&store, &second).await;

    // An index of a wholly other store.
    drop(store);
    let other = tempfile::tempdir().unwrap();
    with_past(other.path()).await;
    let index = index_dirs(dir.path()).remove(0);
    fs::remove_dir_all(&index).unwrap();
    copy(&index_dirs(other.path()).remove(0), &index);
    let store = open(dir.path());
    assert!(
        matches!(&store.opened().index, IndexFound::Rebuilt { why } if why.contains("another")),
        "{:?}",
        store.opened()
    );
    is_same(&store, &second).await;
}

#[tokio::test]
async fn an_unfinished_change_at_the_end_is_cut_whatever_the_index_is() {
    let whole = br#"{"unixMs":1,"author":"a","message":"m","changes":[{"kind":"A","name":"half","uid":"00000000-0000-0000-0000-000000000001","after":1}]}"#;
    for (seed, ruin) in (0..).zip([Ruin::Nothing, Ruin::Remove, Ruin::FlipDatabase]) {
        let dir = tempfile::tempdir().unwrap();
        let past = with_past(dir.path()).await;
        let last = journal_files(dir.path()).pop().unwrap();
        let sound = fs::read(&last).unwrap();
        let frame = next_frame(&sound, 31, whole);
        for length in [1, 23, 24, 25, frame.len() / 2, frame.len() - 1] {
            fs::write(&last, [&sound, &frame[..length]].concat()).unwrap();
            ruin.act(dir.path(), &mut Dice::new(seed));
            let store = open(dir.path());
            let cut = store.opened().cut.clone().unwrap();
            assert_eq!((cut.offset, cut.bytes), (sound.len() as u64, length as u64));
            is_same(&store, &past).await;
        }
        // Not a tail at all: a change that was written whole, but not yet answered. It may come to be.
        fs::write(&last, [&sound, &frame[..]].concat()).unwrap();
        let store = open(dir.path());
        assert_eq!((store.opened().cut.clone(), store.state().version), (None, 31));
        assert_eq!(store.state().get("A", "half").unwrap().body, json!(1));
    }
}

#[tokio::test]
async fn damage_to_what_was_written_refuses_to_start_and_says_where_and_what_to_do() {
    let dir = tempfile::tempdir().unwrap();
    let past = with_past(dir.path()).await;
    for file in journal_files(dir.path()) {
        let sound = fs::read(&file).unwrap();
        for (offset, bytes, _) in frames(&sound) {
            let mut damaged = sound.clone();
            damaged[offset + bytes / 2] ^= 4;
            fs::write(&file, &damaged).unwrap();
            let refused = JournalStore::open_with_segments(dir.path(), SEGMENT_BYTES).unwrap_err();
            let StoreError::Damaged { file: named, offset: at, version, .. } = &refused else {
                panic!("{refused}")
            };
            assert_eq!((named, *at), (&file, offset as u64));
            let sentence = refused.to_string();
            for part in [
                &*file.to_string_lossy(),
                &format!("byte {offset}"),
                &format!("change {}", version.unwrap()),
                "backup",
                "shorten",
            ] {
                assert!(sentence.contains(part), "{sentence}");
            }
            assert_eq!(fs::read(&file).unwrap(), damaged, "nothing is changed");
        }
        fs::write(&file, &sound).unwrap();
    }
    is_same(&open(dir.path()), &past).await;
}

#[tokio::test]
async fn a_sound_record_that_is_no_change_of_this_state_refuses_to_start() {
    let dir = tempfile::tempdir().unwrap();
    with_past(dir.path()).await;
    let last = journal_files(dir.path()).pop().unwrap();
    let sound = fs::read(&last).unwrap();
    let payloads: [&[u8]; 3] = [
        br#"{"form": "of a later version"}"#,
        br#"{"unixMs":1,"author":"a","message":"m","changes":[{"kind":"C","name":"tick","uid":"00000000-0000-0000-0000-000000000008","after":1}]}"#,
        br#"{"unixMs":1,"author":"a","message":"m","changes":[{"kind":"C","name":"none","uid":"00000000-0000-0000-0000-000000000008","before":1}]}"#,
    ];
    for payload in payloads {
        fs::write(&last, [&sound[..], &next_frame(&sound, 31, payload)].concat()).unwrap();
        for ruin in [Ruin::Nothing, Ruin::Remove] {
            ruin.act(dir.path(), &mut Dice::new(0));
            let refused = JournalStore::open_with_segments(dir.path(), SEGMENT_BYTES).unwrap_err();
            let StoreError::Damaged { file, offset, version, .. } = &refused else { panic!("{refused}") };
            assert_eq!((file, *offset, *version), (&last, sound.len() as u64, Some(31)), "{refused}");
        }
    }
}

#[tokio::test]
async fn a_journal_that_is_gone_is_not_taken_for_a_new_store() {
    let dir = tempfile::tempdir().unwrap();
    with_past(dir.path()).await;
    fs::remove_dir_all(dir.path().join("journal")).unwrap();
    for _ in 0..2 {
        let refused = JournalStore::open(dir.path()).unwrap_err();
        assert!(matches!(refused, StoreError::JournalLost { version: 30, .. }), "{refused}");
    }
    for index in index_dirs(dir.path()) {
        fs::remove_dir_all(index).unwrap();
    }
    assert!(JournalStore::open(dir.path()).unwrap().state().is_empty(), "as the message says");
}

#[tokio::test]
async fn a_store_without_an_index_still_tells_its_history() {
    let dir = tempfile::tempdir().unwrap();
    let past = with_past(dir.path()).await;
    for index in index_dirs(dir.path()) {
        fs::remove_dir_all(index).unwrap();
    }
    // There is no number above this one.
    fs::write(dir.path().join(format!("index-{}", u64::MAX)), b"in the way").unwrap();
    let store = open(dir.path());
    assert!(matches!(store.opened().index, IndexFound::Missing { .. }), "{:?}", store.opened());
    is_same(&store, &past).await;
    assert_eq!(commit(&store, vec![put("A", "o3", 3, json!("more"))]).await, 31);
    let later = (objects(&store.state()), store.history(HistoryFilter::default()).await.unwrap());
    is_same(&store, &later).await;
}

#[tokio::test]
async fn what_it_makes_is_for_its_owner_alone() {
    let dir = tempfile::tempdir().unwrap();
    let home = dir.path().join("control");
    with_past(&home).await;
    let mode = |path: &Path| fs::metadata(path).unwrap().permissions().mode() & 0o777;
    assert_eq!(mode(&home), 0o700);
    assert_eq!(mode(&home.join("journal")), 0o700);
    assert!(journal_files(&home).iter().all(|file| mode(file) == 0o600));
    assert!(index_dirs(&home).iter().all(|index| mode(index) == 0o700));
}

fn copy(from: &Path, to: &Path) {
    fs::create_dir_all(to).unwrap();
    for entry in fs::read_dir(from).unwrap() {
        let entry = entry.unwrap();
        let target = to.join(entry.file_name());
        if entry.path().is_dir() {
            copy(&entry.path(), &target);
        } else {
            fs::copy(entry.path(), target).unwrap();
        }
    }
}
