use std::time::Duration;

use portcullis_policy::resource::Uid;
use serde_json::{Value, json};

use super::*;

const JOURNAL: JournalId = [7; 16];

fn object(name: &str, version: u64, body: Value) -> Arc<Object> {
    let uid = Uid(uuid::Uuid::from_u128(1));
    Arc::new(Object { kind: "A".into(), name: name.into(), uid, version, created_version: 1, body })
}

fn record(version: u64, old: Option<&Arc<Object>>, new: Option<&Arc<Object>>) -> Indexed {
    Indexed {
        tip: Tip { version, link: 100 + u32::try_from(version).unwrap() },
        position: Position { segment: 1, offset: 40 * version },
        steps: vec![Step { old: old.cloned(), new: new.cloned() }],
    }
}

fn filled(dir: &Path) -> (Index, IndexHead) {
    let (first, second, other) =
        (object("a", 1, json!(1)), object("a", 2, json!(2)), object("b", 3, json!({})));
    let index = open_fresh(dir).unwrap();
    let head = index.add(&IndexHead::empty(JOURNAL), &[record(1, None, Some(&first))]).unwrap();
    let more = [
        record(2, Some(&first), Some(&second)),
        record(3, None, Some(&other)),
        record(4, Some(&other), None),
    ];
    let head = index.add(&head, &more).unwrap();
    (index, head)
}

#[test]
fn what_was_added_is_loaded_and_found() {
    let dir = tempfile::tempdir().unwrap();
    let (index, head) = filled(dir.path());
    drop(index);
    let index = open(dir.path()).unwrap().unwrap();
    let (loaded, state) = index.load().unwrap().unwrap();
    assert_eq!((loaded, head.tip().version, head.journal()), (head.clone(), 4, JOURNAL));
    assert_eq!(state, State::new(4, [Object::clone(&object("a", 2, json!(2)))]));
    assert_eq!(index.position(3).unwrap(), Position { segment: 1, offset: 120 });
    assert!(index.position(5).is_err());
    assert_eq!(index.versions("A", None, u64::MAX, 9).unwrap(), [4, 3, 2, 1]);
    assert_eq!(index.versions("A", Some("b"), u64::MAX, 9).unwrap(), [4, 3]);
    assert_eq!(index.versions("A", Some("a"), 2, 9).unwrap(), [1]);
    assert_eq!(index.versions("A", None, u64::MAX, 1).unwrap(), [4]);
    assert!(index.versions("B", None, u64::MAX, 9).unwrap().is_empty());
}

#[test]
fn an_object_that_is_missing_changed_or_too_many_is_noticed() {
    let dir = tempfile::tempdir().unwrap();
    let (index, _) = filled(dir.path());
    let db = index.db().unwrap();
    let key = keys::object("A", "a");
    let sound = db.get(&key).unwrap().unwrap();
    let old = keys::encode_object(&object("a", 1, json!(1))).unwrap();
    let mut flipped = sound.to_vec();
    *flipped.last_mut().unwrap() ^= 1;

    db.insert(&key, old).unwrap();
    assert!(index.load().unwrap_err().to_string().contains("missing or old"));
    db.insert(&key, flipped).unwrap();
    assert!(index.load().unwrap_err().to_string().contains("an object is damaged"));
    db.remove(&key).unwrap();
    assert!(index.load().unwrap_err().to_string().contains("missing or old"));
    db.insert(&key, &sound).unwrap();
    assert!(index.load().is_ok());
    db.insert(keys::object("A", "b"), &sound).unwrap();
    assert!(index.load().unwrap_err().to_string().contains("missing or old"));
    db.insert(keys::HEAD, b"\x01no head").unwrap();
    assert!(index.load().unwrap_err().to_string().contains("head is damaged"));
}

#[test]
fn a_panic_inside_is_an_error() {
    let outcome = guarded(|| -> Result<(), _> { panic!("as sled does") });
    assert_eq!(outcome.unwrap_err(), IndexError::new("the index panicked"));
}

#[test]
fn an_index_that_is_just_being_let_go_of_is_waited_for() {
    let dir = tempfile::tempdir().unwrap();
    let (index, head) = filled(dir.path());
    let (opening, closing) = std::sync::mpsc::channel();
    let holder = std::thread::spawn(move || {
        closing.recv().unwrap();
        std::thread::sleep(Duration::from_millis(100));
        drop(index);
    });
    opening.send(()).unwrap();
    let index = open(dir.path()).unwrap().unwrap();
    let (loaded, _) = index.load().unwrap().unwrap();
    assert_eq!(loaded, head);
    holder.join().unwrap();
}
