use std::sync::Arc;

use portcullis_policy::resource::Uid;
use serde_json::json;

use super::*;

fn uid(n: u128) -> Uid {
    Uid(uuid::Uuid::from_u128(n))
}

fn put(name: &str, n: u128, body: Value) -> Op {
    Op::Put { kind: "Kind".into(), name: name.into(), uid: uid(n), body }
}

fn delete(name: &str) -> Op {
    Op::Delete { kind: "Kind".into(), name: name.into() }
}

fn change(ops: Vec<Op>) -> Change {
    Change { author: "a".to_owned(), message: "m".to_owned(), unix_ms: 5, ops }
}

/// A state with `one` (uid 1, body 1).
fn state() -> State {
    let object = Object {
        kind: "Kind".into(),
        name: "one".into(),
        uid: uid(1),
        version: 3,
        created_version: 2,
        body: json!(1),
    };
    State::new(3, [object])
}

/// Name, uid, before, after.
type Recorded = (Arc<str>, Uid, Option<Value>, Option<Value>);

fn planned(ops: Vec<Op>) -> Vec<Recorded> {
    plan(&state(), change(ops)).unwrap().map_or_else(Vec::new, |planned| {
        planned.record.changes.into_iter().map(|it| (it.name, it.uid, it.before, it.after)).collect()
    })
}

#[test]
fn what_changes_nothing_is_no_change() {
    let nothing: [Vec<Op>; 5] = [
        vec![],
        vec![put("one", 1, json!(1))],
        vec![delete("two")],
        vec![put("two", 2, json!(2)), delete("two")],
        vec![delete("one"), put("one", 1, json!(1))],
    ];
    for ops in nothing {
        assert_eq!(planned(ops.clone()), [], "{ops:?}");
    }
}

#[test]
fn each_object_is_recorded_once_as_it_was_and_as_it_is() {
    let ops = vec![
        put("two", 2, json!("first")),
        put("one", 1, json!(null)),
        put("two", 2, json!("second")),
        delete("three"),
    ];
    assert_eq!(
        planned(ops),
        [
            ("two".into(), uid(2), None, Some(json!("second"))),
            ("one".into(), uid(1), Some(json!(1)), Some(json!(null))),
        ]
    );
    assert_eq!(planned(vec![delete("one")]), [("one".into(), uid(1), Some(json!(1)), None)]);
    assert_eq!(
        planned(vec![put("one", 9, json!(9)), delete("one")]),
        [("one".into(), uid(1), Some(json!(1)), None)]
    );
}

#[test]
fn another_uid_makes_another_thing_even_with_the_same_body() {
    for ops in [vec![put("one", 9, json!(1))], vec![delete("one"), put("one", 9, json!(1))]] {
        assert_eq!(planned(ops.clone()), [("one".into(), uid(9), Some(json!(1)), Some(json!(1)))]);
        let record = plan(&state(), change(ops)).unwrap().unwrap().record;
        let mut next = state();
        next.apply(4, &record.changes).unwrap();
        let object = next.get("Kind", "one").unwrap();
        assert_eq!((object.uid, object.version, object.created_version), (uid(9), 4, 4));
    }
}

#[test]
fn a_body_that_is_null_is_not_an_object_that_is_gone() {
    let record = plan(&state(), change(vec![put("one", 1, json!(null))])).unwrap().unwrap();
    let text = String::from_utf8(record.payload).unwrap();
    assert!(text.contains(r#""before":1,"after":null"#), "{text}");
    let gone = plan(&state(), change(vec![delete("one")])).unwrap().unwrap();
    assert!(!String::from_utf8(gone.payload).unwrap().contains("after"));
}

#[test]
fn numbers_read_back_as_the_numbers_they_were() {
    for body in [
        json!(0.1 + 0.2),
        json!(5e-324),
        json!(1.797_693_134_862_315_7e308),
        json!(u64::MAX),
        json!(i64::MIN),
    ] {
        assert!(plan(&state(), change(vec![put("one", 1, body.clone())])).unwrap().is_some(), "{body}");
    }
}

#[test]
fn every_bound_is_kept() {
    let nested = |depth: usize| (0..depth).fold(json!(0), |inner, _| json!([inner]));
    let sized = |bytes: usize| json!("x".repeat(bytes - 2));
    assert!(plan(&state(), change(vec![put("two", 2, nested(MAX_BODY_DEPTH))])).is_ok());
    assert!(plan(&state(), change(vec![put("two", 2, sized(MAX_BODY_BYTES))])).is_ok());
    assert!(plan(&state(), change(vec![put(&"n".repeat(MAX_NAME_BYTES), 2, json!(0))])).is_ok());

    let kind = |kind: &str| Op::Put { kind: kind.into(), name: "n".into(), uid: uid(2), body: json!(0) };
    let many: Vec<Op> = (0..65).map(|n| put(&format!("n{n}"), n, sized(MAX_BODY_BYTES))).collect();
    let refused: Vec<(Change, &str)> = vec![
        (change(vec![put("two", 2, nested(MAX_BODY_DEPTH + 1))]), "Kind/two is nested deeper than 100"),
        (change(vec![put("two", 2, sized(MAX_BODY_BYTES + 1))]), "Kind/two) has at most 1048576 bytes"),
        (change(many), "before and after, has at most"),
        (change(vec![put("", 2, json!(0))]), "a kind and a name"),
        (change(vec![kind("")]), "a kind and a name"),
        (change(vec![kind(&"k".repeat(MAX_KIND_BYTES + 1))]), "a kind has at most"),
        (change(vec![delete(&"n".repeat(MAX_NAME_BYTES + 1))]), "a name has at most"),
        (change(vec![delete("n"); MAX_OPS + 1]), "at most 100000 operations"),
        (Change { author: "a".repeat(MAX_AUTHOR_BYTES + 1), ..change(vec![]) }, "an author has at most"),
        (Change { message: "m".repeat(MAX_MESSAGE_BYTES + 1), ..change(vec![]) }, "a message has at most"),
    ];
    for (change, expected) in refused {
        let sentence = plan(&state(), change).unwrap_err();
        assert!(sentence.contains(expected), "{sentence}");
    }
}
