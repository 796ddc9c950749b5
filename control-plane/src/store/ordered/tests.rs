use std::collections::BTreeMap;

use portcullis_policy::resource::Uid;
use serde_json::Value;

use super::*;

fn object(name: &str, version: u64) -> Arc<Object> {
    let uid = Uid(uuid::Uuid::nil());
    Arc::new(Object {
        kind: "A".into(),
        name: name.into(),
        uid,
        version,
        created_version: 1,
        body: Value::Null,
    })
}

/// The same steps on a map: every answer and every order must agree.
fn agrees(names: impl Iterator<Item = (bool, u64)>) -> Ordered {
    let mut ordered = Ordered::default();
    let mut map = BTreeMap::new();
    for (version, (put, name)) in (1..).zip(names) {
        let name = format!("{name:05}");
        let kept = ordered.clone();
        if put {
            let object = object(&name, version);
            assert_eq!(ordered.insert(Arc::clone(&object)), map.insert(name.clone(), object).is_none());
        } else {
            assert_eq!(ordered.remove(&name), map.remove(&name).is_some());
        }
        assert_eq!(ordered.get(&name), map.get(&name));
        assert_eq!(ordered.len(), map.len());
        if version % 97 == 0 {
            assert!(ordered.iter().eq(map.values()));
            assert!(ordered.iter_from(&name).eq(map.range(name..).map(|(_, object)| object)));
        }
        // A clone from before sees nothing of it.
        assert_eq!(kept.len(), kept.iter().count());
        assert!(ordered.runs.iter().all(|run| (1..=RUN).contains(&run.len())));
    }
    assert!(ordered.iter().eq(map.values()));
    ordered
}

#[test]
fn it_does_what_a_map_does() {
    let upwards = agrees((0..2000).map(|n| (true, n)));
    assert!(upwards.runs.len() <= 2000 / RUN + 1, "runs that fill in order are full");
    let downwards = agrees((0..2000).rev().map(|n| (true, n)));
    assert_eq!(upwards.len(), downwards.len());
    // A generator of full period modulo 2^12, each third step a removal.
    agrees((0..9000_u64).map(|n| (n % 3 != 0, (n * 1_664_525 + 1_013_904_223) % 4096)));
    let emptied = agrees((0..1200).map(|n| (n < 600, n % 600)));
    assert!(emptied.runs.is_empty());
}

#[test]
fn two_are_equal_whatever_way_they_were_filled() {
    let of = |names: &mut dyn Iterator<Item = u64>| {
        let mut ordered = Ordered::default();
        names.for_each(|n| {
            ordered.insert(object(&format!("{n:05}"), 1));
        });
        ordered
    };
    assert_eq!(of(&mut (0..1000)), of(&mut (0..1000).rev()));
    assert_ne!(of(&mut (0..1000)), of(&mut (1..1001)));
}

#[test]
fn a_change_copies_one_run() {
    let before = agrees((0..2000).map(|n| (true, n)));
    let mut after = before.clone();
    after.insert(object("00700", 9999));
    let shared = before.runs.iter().zip(&after.runs).filter(|(a, b)| Arc::ptr_eq(a, b)).count();
    assert_eq!(shared, before.runs.len() - 1);
    assert_eq!(before.get("00700").map(|object| object.version), Some(701));
}
