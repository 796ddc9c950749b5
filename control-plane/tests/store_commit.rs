//! Committing, reading, conflicts, and what happens when many write at once.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing,
    reason = "a test fails by panicking"
)]

mod store_common;

use std::convert::Infallible;
use std::sync::Arc;
use std::task::{Context, Waker};

use portcullis_control_plane::store::{
    CommitError, HistoryFilter, JournalStore, MAX_BODY_BYTES, Op, Store, StoreError, TransactError, transact,
};
use serde_json::json;
use store_common::{change, commit, delete, put, uid};

#[tokio::test]
async fn a_change_makes_the_next_version_and_is_told() {
    let dir = tempfile::tempdir().unwrap();
    let store = JournalStore::open(dir.path()).unwrap();
    let mut watch = store.watch();
    assert_eq!((store.state().version, *watch.borrow_and_update()), (0, 0));

    let before = store.state();
    let after = store
        .commit(
            0,
            change(
                5,
                vec![
                    put("A", "x", 1, json!({"n": 1})),
                    put("A", "b", 2, json!(2)),
                    put("B", "x", 3, json!(3)),
                ],
            ),
        )
        .await
        .unwrap();
    watch.changed().await.unwrap();
    assert_eq!((after.version, *watch.borrow_and_update()), (1, 1));
    assert!(before.is_empty(), "a state that somebody holds does not change");
    assert_eq!(*store.state(), *after);
    assert_eq!(after.list("A").map(|object| &*object.name).collect::<Vec<_>>(), ["b", "x"]);
    assert_eq!(after.list_prefix("A", "x").count(), 1);
    assert_eq!((after.count("A"), after.count("B"), after.count("C"), after.len()), (2, 1, 0, 3));

    commit(&store, vec![put("A", "x", 1, json!({"n": 2})), delete("B", "x")]).await;
    let state = store.state();
    let object = state.get("A", "x").unwrap();
    assert_eq!((object.uid, object.version, object.created_version), (uid(1), 2, 1));
    assert_eq!(state.get("A", "b").unwrap().version, 1);
    assert!(state.get("B", "x").is_none());
    assert_eq!(state.kinds().map(|kind| &**kind).collect::<Vec<_>>(), ["A"]);
}

#[tokio::test]
async fn a_change_made_from_an_old_version_is_a_conflict_and_changes_nothing() {
    let dir = tempfile::tempdir().unwrap();
    let store = JournalStore::open(dir.path()).unwrap();
    commit(&store, vec![put("A", "x", 1, json!(1))]).await;
    for expected in [0, 2, u64::MAX] {
        let outcome = store.commit(expected, change(1, vec![put("A", "x", 1, json!(2))])).await;
        assert_eq!(outcome.unwrap_err(), CommitError::Conflict);
    }
    assert_eq!(store.state().get("A", "x").unwrap().body, json!(1));
}

#[tokio::test]
async fn a_change_beyond_the_bounds_is_refused_whole() {
    let dir = tempfile::tempdir().unwrap();
    let store = JournalStore::open(dir.path()).unwrap();
    let large = json!("x".repeat(MAX_BODY_BYTES));
    let outcome =
        store.commit(0, change(1, vec![put("A", "fits", 1, json!(1)), put("A", "large", 2, large)])).await;
    assert!(matches!(outcome, Err(CommitError::Invalid(sentence)) if sentence.contains("A/large")));
    assert!(store.state().is_empty());
    assert_eq!(store.history(HistoryFilter::default()).await.unwrap(), []);
}

#[tokio::test]
async fn what_changes_nothing_makes_no_version() {
    let dir = tempfile::tempdir().unwrap();
    let store = JournalStore::open(dir.path()).unwrap();
    commit(&store, vec![put("A", "x", 1, json!(1))]).await;
    assert_eq!(commit(&store, vec![put("A", "x", 1, json!(1)), delete("A", "y")]).await, 1);
    let (state, answer) =
        transact(&store, "admin", "m", 1, |_| Ok::<_, Infallible>((Vec::new(), "seen"))).await.unwrap();
    assert_eq!((state.version, answer), (1, "seen"));
    let refused = transact(&store, "admin", "m", 1, |_| Err::<(Vec<Op>, ()), _>("no")).await;
    assert_eq!(refused.unwrap_err(), TransactError::Refused("no"));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn many_writers_lose_no_update() {
    let dir = tempfile::tempdir().unwrap();
    let store = Arc::new(JournalStore::open(dir.path()).unwrap());
    let add_one = |state: &portcullis_control_plane::store::State| {
        let count = state.get("A", "count").map_or(0, |object| object.body.as_u64().unwrap());
        Ok::<_, Infallible>((vec![put("A", "count", 1, json!(count + 1))], count))
    };
    let writers: Vec<_> = (0..16)
        .map(|writer| {
            let store = Arc::clone(&store);
            tokio::spawn(async move {
                let mut seen = Vec::new();
                for _ in 0..10 {
                    seen.push(
                        transact(&*store, &format!("writer-{writer}"), "count", 1, add_one).await.unwrap().1,
                    );
                }
                seen
            })
        })
        .collect();
    // Somebody who does not take turns makes conflicts, which are decided again.
    let rude = Arc::clone(&store);
    let rude = tokio::spawn(async move {
        let mut made = 0;
        while made < 20 {
            let expected = rude.state().version;
            match rude.commit(expected, change(1, vec![put("A", "rude", 2, json!(expected))])).await {
                Ok(_) => made += 1,
                Err(error) => assert_eq!(error, CommitError::Conflict),
            }
        }
    });
    let mut seen = Vec::new();
    for writer in writers {
        seen.extend(writer.await.unwrap());
    }
    rude.await.unwrap();
    seen.sort_unstable();
    assert_eq!(seen, (0..160).collect::<Vec<_>>());
    assert_eq!(store.state().version, 180);
    assert_eq!(store.state().get("A", "count").unwrap().body, json!(160));
}

#[tokio::test]
async fn a_commit_that_nobody_waits_for_is_made_or_not_made_whole() {
    let dir = tempfile::tempdir().unwrap();
    {
        let store = JournalStore::open(dir.path()).unwrap();
        let mut commit =
            store.commit(0, change(1, vec![put("A", "x", 1, json!(1)), put("A", "y", 2, json!(2))]));
        // One poll hands it to the writer.
        assert!(commit.as_mut().poll(&mut Context::from_waker(Waker::noop())).is_pending());
    }
    let store = JournalStore::open(dir.path()).unwrap();
    assert_eq!(
        (store.state().version, store.state().len()),
        (1, 2),
        "the store finishes what it took before it closes"
    );
}

#[tokio::test]
async fn history_tells_what_was_asked_newest_first() {
    let dir = tempfile::tempdir().unwrap();
    let store = JournalStore::open(dir.path()).unwrap();
    commit(&store, vec![put("A", "x", 1, json!(1)), put("AB", "x", 2, json!(1))]).await;
    commit(&store, vec![put("A", "x", 1, json!(2)), put("A", "xy", 3, json!(1))]).await;
    commit(&store, vec![put("AB", "x", 2, json!(3))]).await;
    commit(&store, vec![delete("A", "x")]).await;

    let ask = async |kind: Option<&str>, name: Option<&str>, limit, before| {
        let filter = HistoryFilter { kind: kind.map(Into::into), name: name.map(Into::into), limit, before };
        let records = store.history(filter).await.unwrap();
        records.iter().map(|record| (record.version, record.changes.len())).collect::<Vec<_>>()
    };
    assert_eq!(ask(None, None, 0, None).await, [(4, 1), (3, 1), (2, 2), (1, 2)]);
    assert_eq!(ask(None, None, 2, None).await, [(4, 1), (3, 1)]);
    assert_eq!(ask(None, None, 0, Some(3)).await, [(2, 2), (1, 2)]);
    assert_eq!(ask(None, None, 0, Some(1)).await, []);
    assert_eq!(ask(Some("A"), None, 0, None).await, [(4, 1), (2, 2), (1, 1)]);
    assert_eq!(ask(Some("A"), Some("x"), 0, None).await, [(4, 1), (2, 1), (1, 1)]);
    assert_eq!(ask(Some("A"), Some("x"), 1, Some(4)).await, [(2, 1)]);
    assert_eq!(ask(Some("A"), Some("absent"), 0, None).await, []);
    assert!(
        store.history(HistoryFilter { name: Some("x".into()), ..HistoryFilter::default() }).await.is_err()
    );

    let newest =
        store.history(HistoryFilter { limit: 1, ..HistoryFilter::default() }).await.unwrap().remove(0);
    assert_eq!(
        (newest.author.as_str(), newest.message.as_str(), newest.unix_ms),
        ("admin", "change at 4", 4)
    );
    let gone = &newest.changes[0];
    assert_eq!((gone.uid, &gone.before, &gone.after), (uid(1), &Some(json!(2)), &None));
}

#[tokio::test]
async fn a_directory_serves_one_store_at_a_time() {
    let dir = tempfile::tempdir().unwrap();
    let store = JournalStore::open(dir.path()).unwrap();
    let refused = JournalStore::open(dir.path()).unwrap_err();
    assert!(
        matches!(&refused, StoreError::InUse { holder: Some(pid), .. } if *pid == std::process::id().to_string()),
        "{refused}"
    );
    assert!(refused.to_string().contains("is in use by another control plane (process "), "{refused}");
    commit(&store, vec![put("A", "x", 1, json!(1))]).await;
    drop(store);
    assert_eq!(JournalStore::open(dir.path()).unwrap().state().version, 1);
}
