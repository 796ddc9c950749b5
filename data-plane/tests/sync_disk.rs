//! A data plane starts without a control plane from what it kept, and only from what is whole and signed.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing,
    reason = "a test that fails says so"
)]

mod sync_fake;

use std::collections::HashMap;
use std::os::unix::fs::PermissionsExt as _;
use std::path::Path;

use bytes::Bytes;
use portcullis_data_plane::sync::Synchroniser;
use portcullis_policy::resource::Name;
use portcullis_proto::config::v1::attach_response::Message as Told;
use portcullis_proto::config::v1::{self as proto};
use portcullis_seal::SigningKey;
use sync_fake::{FakeControlPlane, Plane, soon, version, zones};

/// A directory in which versions 1 and 2 were kept, and the control plane that signed them, which is gone.
async fn kept() -> (tempfile::TempDir, FakeControlPlane) {
    let mut control = FakeControlPlane::start().await;
    let dir = tempfile::tempdir().unwrap();
    let plane = Plane::start(control.config(dir.path()));
    let mut session = control.welcomed().await;
    for version in [1, 2] {
        session.send(control.snapshot(version, &zones(8)).chunks(3)).await;
        session.ack().await;
    }
    plane.end().await;
    (dir, control)
}

fn opened(control: &FakeControlPlane, dir: &Path) -> u64 {
    version(&Synchroniser::open(control.config(dir)).unwrap().1)
}

#[tokio::test]
async fn a_plane_serves_the_last_good_snapshot_before_it_has_connected() {
    let (dir, control) = kept().await;
    assert_eq!(opened(&control, dir.path()), 2);
}

#[tokio::test]
async fn a_damaged_file_gives_way_to_the_one_before_and_both_damaged_to_none() {
    let (dir, control) = kept().await;
    let [current, previous] = ["snapshot.bin", "snapshot.previous.bin"].map(|name| dir.path().join(name));
    let whole = std::fs::read(&current).unwrap();
    for at in 0..whole.len() {
        let mut damaged = whole.clone();
        damaged[at] ^= 0x10;
        std::fs::write(&current, &damaged).unwrap();
        assert_eq!(opened(&control, dir.path()), 1, "byte {at}");
    }
    for cut in [0, 1, 8, 40, whole.len() / 2, whole.len() - 1] {
        std::fs::write(&current, &whole[..cut]).unwrap();
        assert_eq!(opened(&control, dir.path()), 1, "cut at {cut}");
    }
    std::fs::remove_file(&current).unwrap();
    assert_eq!(opened(&control, dir.path()), 1, "as after a crash between the two renames");
    std::fs::write(&previous, b"PCSNAP1\n").unwrap();
    assert_eq!(opened(&control, dir.path()), 0);
    std::fs::write(&current, &whole).unwrap();
    assert_eq!(opened(&control, dir.path()), 2);
}

#[tokio::test]
async fn what_another_key_signed_is_not_served_from_disk() {
    let (dir, control) = kept().await;
    let mut config = control.config(dir.path());
    config.token.public_key = SigningKey::generate().unwrap().0.public_key();
    assert_eq!(version(&Synchroniser::open(config).unwrap().1), 0);
}

#[tokio::test]
async fn after_a_restart_an_older_snapshot_is_still_refused() {
    let (dir, mut control) = kept().await;
    let plane = Plane::start(control.config(dir.path()));
    let mut session = control.welcomed().await;
    assert_eq!(session.hello.snapshot_version, 2);
    session.send(control.snapshot(1, &zones(8)).chunks(3)).await;
    assert!(session.nack().await.reason.contains("version 2 is in force"));
    assert_eq!(plane.version(), 2);
}

/// Something that is no file stands where a new file would be written: what a full disk does, also to a superuser.
fn obstacle(dir: &Path, file: &str) -> std::path::PathBuf {
    let obstacle = dir.join(file);
    std::fs::create_dir_all(obstacle.join("x")).unwrap();
    obstacle
}

#[tokio::test]
async fn a_snapshot_that_cannot_be_kept_is_enforced_and_written_as_soon_as_it_can() {
    let (dir, mut control) = kept().await;
    let plane = Plane::start(control.config(dir.path()));
    let mut session = control.welcomed().await;
    let (snapshots, secret) = (obstacle(dir.path(), "snapshot.new"), obstacle(dir.path(), "secrets.new"));
    session.send(control.snapshot(3, &zones(4)).chunks(3)).await;
    assert_eq!(session.ack().await.version, 3, "it is enforced, whatever the disk says");
    assert_eq!(plane.version(), 3);
    assert!(plane.synced.status.unsaved().is_some());
    assert_eq!(opened(&control, dir.path()), 2, "what a restart would begin with");
    let mut generations = plane.synced.secrets.subscribe();
    session.tell(Told::Secrets(secrets(5, b"hunter2"))).await;
    soon(generations.wait_for(|generation| *generation == 5)).await.unwrap();
    session.send(control.snapshot(4, &zones(5)).chunks(3)).await;
    assert_eq!(session.ack().await.version, 4);
    std::fs::remove_dir_all(&snapshots).unwrap();
    soon(async {
        while opened(&control, dir.path()) != 4 {
            tokio::task::yield_now().await;
        }
    })
    .await;
    assert!(plane.synced.status.unsaved().is_some(), "the secrets are not on disk yet");
    std::fs::remove_dir_all(&secret).unwrap();
    soon(async {
        while plane.synced.status.unsaved().is_some() {
            tokio::task::yield_now().await;
        }
    })
    .await;
    let (_, synced) = Synchroniser::open(control.config(dir.path())).unwrap();
    assert_eq!(synced.secrets.load().generation, 5);
    plane.end().await;
}

#[tokio::test]
async fn what_a_crash_left_of_a_file_is_gone_after_the_next_start() {
    let (dir, mut control) = kept().await;
    let left = ["snapshot.new", "secrets.new", "labels.new"].map(|name| dir.path().join(name));
    for path in &left {
        std::fs::write(path, b"PCSECR1\nhalf of a secret").unwrap();
    }
    std::fs::remove_file(&left[2]).unwrap();
    let stays = obstacle(dir.path(), "labels.new");
    let plane = Plane::start(control.config(dir.path()));
    let mut session = control.welcomed().await;
    assert!(!left[0].exists() && !left[1].exists(), "before anything is written");
    assert!(stays.is_dir(), "what is no file is left, and hinders nothing");
    session.send(control.snapshot(3, &zones(4)).chunks(3)).await;
    assert_eq!(session.ack().await.version, 3);
    assert_eq!(plane.version(), 3);
    plane.end().await;
}

fn secrets(generation: u64, value: &'static [u8]) -> proto::SecretPart {
    proto::SecretPart {
        generation,
        sealing_keys: vec![proto::SealingKey {
            id: Bytes::from_static(b"key1"),
            key: Bytes::from_static(&[7; 32]),
        }],
        values: HashMap::from([("github-token".to_owned(), Bytes::from_static(value))]),
    }
}

#[tokio::test]
async fn secrets_are_taken_by_generation_kept_for_their_owner_alone_and_never_shown() {
    let mut control = FakeControlPlane::start().await;
    let dir = tempfile::tempdir().unwrap();
    let plane = Plane::start(control.config(dir.path()));
    let session = control.welcomed().await;
    let handle = plane.synced.secrets.clone();
    let name: Name = "github-token".parse().unwrap();
    assert!(!handle.load().sealer.is_ready());
    let mut generations = handle.subscribe();
    session.tell(Told::Secrets(secrets(5, b"hunter2"))).await;
    soon(generations.wait_for(|generation| *generation == 5)).await.unwrap();
    // Older, the same, and unusable ones change nothing.
    session.tell(Told::Secrets(secrets(4, b"old"))).await;
    session.tell(Told::Secrets(secrets(5, b"other"))).await;
    session
        .tell(Told::Secrets(proto::SecretPart { sealing_keys: Vec::new(), ..secrets(6, b"broken") }))
        .await;
    let mut no_name = secrets(7, b"broken");
    no_name.values.insert("Not A Name".to_owned(), Bytes::new());
    session.tell(Told::Secrets(no_name)).await;
    let mut short = secrets(8, b"broken");
    short.sealing_keys[0].key = Bytes::from_static(b"short");
    session.tell(Told::Secrets(short)).await;
    session.tell(Told::Secrets(secrets(9, b"hunter3"))).await;
    assert_eq!(*soon(generations.wait_for(|generation| *generation > 5)).await.unwrap(), 9);
    let now = handle.load();
    assert_eq!(now.value(&name).unwrap().expose(), b"hunter3");
    assert_eq!(now.value(&"other".parse().unwrap()), None);
    let shown = format!("{now:?} {handle:?} {:?} {plane:?}", now.value(&name), plane = plane.synced);
    assert!(!shown.contains("hunter") && !shown.contains("104, 117, 110"), "{shown}");

    // Of the same generation another choice is taken: more names, and fewer again.
    let with = |other: &'static [u8]| {
        let mut part = secrets(9, b"hunter3");
        part.values.insert("other".to_owned(), Bytes::from_static(other));
        part
    };
    for (part, others) in [(with(b"more"), 1), (secrets(9, b"hunter3"), 0), (with(b"the last one"), 1)] {
        session.tell(Told::Secrets(part)).await;
        soon(generations.changed()).await.unwrap();
        assert_eq!(handle.load().values.len(), 1 + others);
    }

    let sealed = now.sealer.seal("test", b"", b"hello").unwrap();
    let file = dir.path().join("secrets.bin");
    soon(async {
        // It is in force first and on disk a moment later.
        while !std::fs::read(&file).is_ok_and(|bytes| bytes.windows(12).any(|part| part == b"the last one")) {
            tokio::task::yield_now().await;
        }
    })
    .await;
    assert_eq!(std::fs::metadata(&file).unwrap().permissions().mode() & 0o777, 0o600);
    plane.end().await;
    let (_, synced) = Synchroniser::open(control.config(dir.path())).unwrap();
    let again = synced.secrets.load();
    assert_eq!(again.generation, 9);
    assert_eq!(again.value(&name).unwrap().expose_str(), Some("hunter3"));
    assert_eq!(again.sealer.open("test", b"", &sealed).unwrap(), b"hello");

    let mut damaged = std::fs::read(&file).unwrap();
    *damaged.last_mut().unwrap() ^= 1;
    std::fs::write(&file, damaged).unwrap();
    let (_, synced) = Synchroniser::open(control.config(dir.path())).unwrap();
    assert_eq!(synced.secrets.load().generation, 0);
}
