//! Whatever is done to a store, and however often it is closed, ruined and opened in between, it equals the plainest model.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing,
    reason = "a test fails by panicking"
)]

mod store_common;

use portcullis_control_plane::store::{Change, JournalStore, Op, Store};
use proptest::prelude::*;
use serde_json::Value;
use store_common::{Dice, Model, Ruin, delete, put};

#[derive(Debug, Clone)]
enum Step {
    Commit(Vec<Op>),
    Reopen(Ruin, u64),
}

fn body() -> impl Strategy<Value = Value> {
    let leaf = prop_oneof![
        Just(Value::Null),
        any::<bool>().prop_map(Value::from),
        any::<i64>().prop_map(Value::from),
        any::<u64>().prop_map(Value::from),
        any::<f64>().prop_map(Value::from),
        any::<String>().prop_map(Value::from),
    ];
    leaf.prop_recursive(3, 12, 4, |inner| {
        prop_oneof![
            prop::collection::vec(inner.clone(), 0..4).prop_map(Value::from),
            prop::collection::btree_map(any::<String>(), inner, 0..4)
                .prop_map(|members| Value::Object(members.into_iter().collect())),
        ]
    })
}

fn op() -> impl Strategy<Value = Op> {
    let key =
        (prop::sample::select(vec!["A", "AA", "Ü"]), prop::sample::select(vec!["a", "b", "ab", "a/b", "\0"]));
    prop_oneof![
        3 => (key.clone(), 0..3_u64, body()).prop_map(|((kind, name), n, body)| put(kind, name, n, body)),
        1 => key.prop_map(|(kind, name)| delete(kind, name)),
    ]
}

fn step() -> impl Strategy<Value = Step> {
    prop_oneof![
        6 => prop::collection::vec(op(), 0..6).prop_map(Step::Commit),
        1 => (prop::sample::select(Ruin::ALL.to_vec()), any::<u64>()).prop_map(|(ruin, seed)| Step::Reopen(ruin, seed)),
    ]
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 24, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn a_store_equals_its_model(steps in prop::collection::vec(step(), 1..30)) {
        let runtime = tokio::runtime::Builder::new_current_thread().build().unwrap();
        let dir = tempfile::tempdir().unwrap();
        let open = || JournalStore::open_with_segments(dir.path(), 1500);
        let mut store = open().unwrap();
        let mut model = Model::default();
        for (unix_ms, step) in (1..).zip(steps.into_iter().chain([Step::Reopen(Ruin::Nothing, 0)])) {
            match step {
                Step::Commit(ops) => {
                    let change =
                        Change { author: "ä".to_owned(), message: format!("at {unix_ms}"), unix_ms, ops };
                    runtime.block_on(store.commit(model.version, change.clone())).unwrap();
                    model.apply(&change);
                    prop_assert_eq!(store.state().version, model.version);
                }
                Step::Reopen(ruin, seed) => {
                    runtime.block_on(model.compare(&store)).map_err(TestCaseError::fail)?;
                    drop(store);
                    ruin.act(dir.path(), &mut Dice::new(seed));
                    store = open().unwrap();
                    prop_assert_eq!(&store.opened().cut, &None);
                    runtime.block_on(model.compare(&store)).map_err(TestCaseError::fail)?;
                }
            }
        }
    }
}
