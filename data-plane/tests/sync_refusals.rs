//! A snapshot that is not exactly what the pinned key signed, or that does not compile, changes nothing and is reported.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing,
    reason = "a test that fails says so"
)]

mod sync_fake;

use std::sync::Arc;

use bytes::Bytes;
use portcullis_proto::config::v1::SnapshotChunk;
use portcullis_seal::{Fingerprint, SigningKey};
use sync_fake::{FakeControlPlane, Plane, Signed, dangling, sign, zone, zones};

/// Every case is sent to a plane on which version 5 is in force, and must be refused with these words.
struct Case {
    name: &'static str,
    chunks: Vec<SnapshotChunk>,
    version: u64,
    words: &'static str,
}

fn case(name: &'static str, chunks: Vec<SnapshotChunk>, words: &'static str) -> Case {
    let version = chunks[0].version;
    Case { name, chunks, version, words }
}

fn changed(signed: &Signed, change: impl FnOnce(&mut Signed)) -> Vec<SnapshotChunk> {
    let mut signed = signed.clone();
    change(&mut signed);
    signed.chunks(2)
}

fn cases(key: &SigningKey) -> Vec<Case> {
    let good = Signed::new(key, 6, &zones(6));
    let chunks = good.chunks(2);
    let stranger = SigningKey::generate().unwrap().0;
    let without = |left_out: usize| -> Vec<SnapshotChunk> {
        let keep = |(at, chunk): (usize, &SnapshotChunk)| (at != left_out).then(|| chunk.clone());
        chunks.iter().enumerate().filter_map(keep).collect()
    };
    let digest = |signed: &Signed| Fingerprint::from_bytes(signed.header.digest.as_ref().try_into().unwrap());
    let mut dangles = zones(2);
    dangles.push(dangling());
    vec![
        case(
            "a bit of the signature",
            changed(&good, |signed| {
                let mut signature = signed.header.signature.to_vec();
                signature[10] ^= 1;
                signed.header.signature = Bytes::from(signature);
            }),
            "signature does not match",
        ),
        case("another version than signed", changed(&good, |signed| signed.header.version = 7), "signature"),
        case(
            "another time than signed",
            changed(&good, |signed| signed.header.built_unix_ms += 1),
            "signature",
        ),
        case("another key", Signed::new(&stranger, 6, &zones(6)).chunks(2), "this plane's token pins key"),
        case(
            "another key under our key's id",
            changed(&Signed::new(&stranger, 6, &zones(6)), |signed| {
                signed.header.key_id = good.header.key_id.clone();
            }),
            "signature does not match",
        ),
        case(
            "an entry's body",
            changed(&good, |signed| signed.entries[3] = signed.entries[2].clone()),
            "order",
        ),
        case(
            "an entry that was not signed",
            changed(&good, |signed| {
                signed.entries[5] = Signed::new(key, 1, &[zone(99)]).entries[0].clone();
            }),
            "digest",
        ),
        case(
            "the body of another entry",
            changed(&good, |signed| signed.entries[5].body = signed.entries[4].body.clone()),
            "body of another entry",
        ),
        case("no first chunk", without(0), "first chunk is missing"),
        case("no middle chunk", without(1), "6 entries, 4 were received"),
        case(
            "one entry too many",
            changed(&good, |signed| {
                signed.entries.push(Signed::new(key, 1, &[zone(99)]).entries[0].clone());
            }),
            "6 entries, 7 were received",
        ),
        case(
            "entries out of order",
            changed(&good, |signed| signed.entries.swap(1, 2)),
            "order of kinds and ids",
        ),
        case(
            "an unknown kind",
            changed(&good, |signed| {
                signed.entries[5].kind = "spaceship".to_owned();
            }),
            "spaceship",
        ),
        case(
            "more entries than any snapshot may have",
            vec![SnapshotChunk {
                version: 6,
                header: Some(sign(key, 6, digest(&good), 2_000_001)),
                entries: Vec::new(),
                last: false,
            }],
            "more than 2000000 entries",
        ),
        case("a reference that leads nowhere", Signed::new(key, 6, &dangles).chunks(9), "nobody"),
        case("an older version", Signed::new(key, 4, &zones(3)).chunks(9), "version 5 is in force"),
        case(
            "the version in force with other content",
            Signed::new(key, 5, &zones(3)).chunks(9),
            "other content",
        ),
    ]
}

#[tokio::test]
async fn each_broken_snapshot_is_refused_with_its_reason_and_the_one_in_force_stays() {
    let mut control = FakeControlPlane::start().await;
    let dir = tempfile::tempdir().unwrap();
    let plane = Plane::start(control.config(dir.path()));
    let mut session = control.welcomed().await;
    session.send(control.snapshot(5, &zones(4)).chunks(1)).await;
    assert_eq!(session.ack().await.version, 5);
    let in_force = plane.synced.live.load().unwrap();
    let kept = std::fs::read(dir.path().join("snapshot.bin")).unwrap();

    let cases = cases(&control.key);
    let count = cases.len() as u64;
    for case in cases {
        session.send(case.chunks).await;
        let nack = session.nack().await;
        assert_eq!(nack.version, case.version, "{}", case.name);
        assert!(nack.reason.contains(case.words), "{}: {}", case.name, nack.reason);
        assert!(Arc::ptr_eq(&in_force, &plane.synced.live.load().unwrap()), "{}", case.name);
        assert_eq!(std::fs::read(dir.path().join("snapshot.bin")).unwrap(), kept, "{}", case.name);
    }
    assert_eq!(plane.synced.status.refused(), count);
    assert!(plane.synced.status.last_refusal().unwrap().reason.contains("other content"));

    session.send(control.snapshot(6, &zones(6)).chunks(2)).await;
    assert_eq!(session.ack().await.version, 6, "the conversation went on, and a good one is taken");
    assert_eq!(plane.version(), 6);
    assert_eq!(plane.synced.status.last_refusal(), None);
}

#[tokio::test]
async fn the_chunks_behind_a_refused_header_are_skipped_without_another_word() {
    let mut control = FakeControlPlane::start().await;
    let dir = tempfile::tempdir().unwrap();
    let plane = Plane::start(control.config(dir.path()));
    let mut session = control.welcomed().await;
    let mut broken = control.snapshot(1, &zones(20));
    broken.header.built_unix_ms += 1;
    session.send(broken.chunks(1)).await;
    session.send(control.snapshot(2, &zones(2)).chunks(1)).await;
    assert_eq!(session.nack().await.version, 1);
    assert_eq!(session.ack().await.version, 2);
    assert_eq!(plane.synced.status.refused(), 1);
}
