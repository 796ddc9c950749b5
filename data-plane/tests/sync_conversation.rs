//! What a data plane and its control plane say to each other, and that the plane comes back when they are parted.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing,
    reason = "a test that fails says so"
)]

mod sync_fake;

use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use portcullis_data_plane::sync::{CallDesk, ProbeAssignment, Signal, Unanswered, Verdict, Wish};
use portcullis_policy::resource::Uid;
use portcullis_policy::snapshot::SnapshotVersion;
use portcullis_proto::config::v1::attach_request::Message as Said;
use portcullis_proto::config::v1::attach_response::Message as Told;
use portcullis_proto::config::v1::{self as proto};
use sync_fake::{FakeControlPlane, Plane, SECRET, soon, zones};
use uuid::Uuid;

#[tokio::test]
async fn a_signed_snapshot_is_enforced_told_and_acknowledged() {
    let mut control = FakeControlPlane::start().await;
    let dir = tempfile::tempdir().unwrap();
    let plane = Plane::start(control.config(dir.path()));
    let mut versions = plane.synced.live.subscribe();
    assert_eq!(*versions.borrow_and_update(), SnapshotVersion(0));
    let mut session = control.welcomed().await;
    assert_eq!(session.hello.name, "plane-1");
    assert_eq!(session.hello.labels["region"], "eu");
    assert!(session.hello.allow_stdio);
    assert!(!session.hello.accepts_deltas);
    assert_eq!((session.hello.snapshot_version, session.hello.snapshot_digest.len()), (0, 0));
    for version in [1, 2, 7] {
        let signed = control.snapshot(version, &zones(u128::from(version) * 10));
        session.send(signed.chunks(3)).await;
        let ack = session.ack().await;
        assert_eq!((ack.version, &ack.digest), (version, &signed.header.digest));
        assert_eq!(*versions.borrow_and_update(), SnapshotVersion(version));
    }
    assert_eq!(plane.synced.live.load().unwrap().header().entries, 70);
    assert!(plane.synced.status.is_connected());
    assert_eq!(plane.synced.status.applied(), 3);
}

#[tokio::test]
async fn the_version_in_force_is_acknowledged_without_a_swap() {
    let mut control = FakeControlPlane::start().await;
    let dir = tempfile::tempdir().unwrap();
    let plane = Plane::start(control.config(dir.path()));
    let mut session = control.welcomed().await;
    let signed = control.snapshot(3, &zones(5));
    session.send(signed.chunks(2)).await;
    session.ack().await;
    let before = plane.synced.live.load().unwrap();
    session.send(signed.chunks(5)).await;
    assert_eq!(session.ack().await.version, 3);
    assert!(Arc::ptr_eq(&before, &plane.synced.live.load().unwrap()));
}

#[tokio::test]
async fn what_a_plane_is_to_zones_comes_with_the_welcome_holds_for_the_same_snapshot_and_is_kept() {
    let mut control = FakeControlPlane::start().await;
    let dir = tempfile::tempdir().unwrap();
    let plane = Plane::start(control.config(dir.path()));
    let labels = |plane: &Plane| -> Vec<String> {
        let snapshot = plane.synced.live.load().unwrap();
        snapshot.plane().unwrap().iter().map(|(key, value)| format!("{key}={value}")).collect()
    };
    let signed = control.snapshot(1, &zones(2));
    // The plane's own label is `region=eu`; its token adds another, which the next one does not.
    for (told, known) in [
        (vec![("region", "eu"), ("tier", "regulated")], vec!["region=eu", "tier=regulated"]),
        (vec![("region", "eu")], vec!["region=eu"]),
        (vec![("region", "eu"), ("site", "a")], vec!["region=eu", "site=a"]),
    ] {
        let mut session = control.session().await;
        session.welcome_as(&told).await;
        session.send(signed.chunks(2)).await;
        assert_eq!(session.ack().await.version, 1);
        assert_eq!(labels(&plane), known);
        session.fail(tonic::Status::unavailable("again")).await;
    }
    plane.end().await;
    let plane = Plane::start(control.config(dir.path()));
    assert_eq!(labels(&plane), ["region=eu", "site=a"], "without a control plane");
}

#[tokio::test]
async fn a_plane_comes_back_to_a_control_plane_that_was_away_and_says_what_it_serves() {
    let mut control = FakeControlPlane::start().await;
    let dir = tempfile::tempdir().unwrap();
    let plane = Plane::start(control.config(dir.path()));
    let mut session = control.welcomed().await;
    let signed = control.snapshot(1, &zones(5));
    session.send(signed.chunks(2)).await;
    session.ack().await;
    let (addr, token) = (control.addr, control.token());
    let (key, pkcs8) = portcullis_seal::SigningKey::generate().unwrap();
    assert_ne!(
        key.public_key(),
        token.public_key,
        "the next one signs with another key; the plane keeps its pin"
    );
    drop((session, control));
    // While nobody listens: kept, and told later.
    let signal = Signal::SessionEnded { session: [9; 16], forget_after_unix_ms: u64::MAX };
    plane.synced.signals.send(signal);
    let mut control =
        FakeControlPlane::start_at(addr, portcullis_seal::SigningKey::from_pkcs8(&pkcs8).unwrap()).await;
    let mut session = control.welcomed().await;
    assert_eq!(session.hello.snapshot_version, 1);
    assert_eq!(session.hello.snapshot_digest, signed.header.digest);
    let Some(Said::Signal(proto::Signal { signal: Some(heard) })) = session.heard().await else {
        panic!("the signal is told")
    };
    let proto::signal::Signal::SessionEnded(ended) = heard else { panic!("{heard:?}") };
    assert_eq!(ended.session.as_ref(), [9; 16]);
    session.send(control.snapshot(2, &zones(5)).chunks(9)).await;
    assert!(session.nack().await.reason.contains("pins key"));
    assert_eq!(plane.version(), 1);
}

#[tokio::test]
async fn a_conversation_that_fails_begins_again() {
    let mut control = FakeControlPlane::start().await;
    let dir = tempfile::tempdir().unwrap();
    let plane = Plane::start(control.config(dir.path()));
    for attempt in 0..4 {
        let session = control.session().await;
        if attempt % 2 == 0 {
            session.welcome().await;
        }
        session.fail(tonic::Status::unavailable("later")).await;
    }
    let mut session = control.welcomed().await;
    session.send(control.snapshot(1, &zones(1)).chunks(1)).await;
    session.ack().await;
    assert_eq!(plane.version(), 1);
}

#[tokio::test]
async fn a_plane_that_is_not_admitted_serves_on_and_tries_again() {
    let control = FakeControlPlane::start().await;
    let dir = tempfile::tempdir().unwrap();
    let mut config = control.config(dir.path());
    config.token.secret_text = "pcp_another".to_owned();
    let plane = Plane::start(config);
    tokio::time::sleep(Duration::from_millis(300)).await;
    assert!(!plane.task.is_finished());
    assert!(!plane.synced.status.is_connected());
    plane.end().await;
}

#[tokio::test]
async fn signs_of_life_come_at_the_pace_of_the_control_plane() {
    let mut control = FakeControlPlane::start().await;
    let dir = tempfile::tempdir().unwrap();
    let _plane = Plane::start(control.config(dir.path()));
    let mut session = control.welcomed().await;
    for _ in 0..3 {
        let status = session.status().await;
        assert_eq!((status.calls_total, status.open_streams, status.draining), (42, 7, false));
    }
    assert_eq!(session.authorization, format!("Bearer {SECRET}"));
}

#[tokio::test]
async fn signals_go_both_ways() {
    let mut control = FakeControlPlane::start().await;
    let dir = tempfile::tempdir().unwrap();
    let plane = Plane::start(control.config(dir.path()));
    let mut heard = plane.synced.signals.subscribe();
    let mut session = control.welcomed().await;
    let cancelled = Signal::RequestCancelled {
        session: [1; 16],
        request_id_json: Bytes::from_static(b"\"a\""),
        reason: "no longer needed".to_owned(),
    };
    plane.synced.signals.send(cancelled.clone());
    let Some(Said::Signal(signal)) = session.heard().await else { panic!("a signal") };
    // A signal of a later version is passed over.
    session.tell(Told::Signal(proto::Signal { signal: None })).await;
    let short = proto::SessionEnded { session: Bytes::from_static(b"short"), forget_after_unix_ms: 1 };
    session
        .tell(Told::Signal(proto::Signal { signal: Some(proto::signal::Signal::SessionEnded(short)) }))
        .await;
    session.tell(Told::Signal(signal)).await;
    assert_eq!(soon(heard.recv()).await.unwrap(), cancelled);
    for wish in [
        Wish::LogLevel("debug".to_owned()),
        Wish::Subscribed { uri: "note:///a".to_owned(), server: "files".parse().unwrap() },
        Wish::Unsubscribed("note:///a".to_owned()),
    ] {
        let wished = Signal::SessionWished { session: [2; 16], wish };
        plane.synced.signals.send(wished.clone());
        let Some(Said::Signal(signal)) = session.heard().await else { panic!("a signal") };
        session.tell(Told::Signal(signal)).await;
        assert_eq!(soon(heard.recv()).await.unwrap(), wished);
    }
}

#[tokio::test]
async fn the_prober_gets_its_assignment_and_its_findings_go_up() {
    let mut control = FakeControlPlane::start().await;
    let dir = tempfile::tempdir().unwrap();
    let mut plane = Plane::start(control.config(dir.path()));
    let mut session = control.welcomed().await;
    let uid = |number| Uid(Uuid::from_u128(number));
    let text = |number: u128| uid(number).to_string();
    session
        .tell(Told::Probe(proto::ProbeAssignment {
            server_uids: vec![text(2), "nonsense".to_owned(), text(1), text(2)],
            probe_now: vec![text(1)],
            interval_seconds: 30,
        }))
        .await;
    let probing = &mut plane.synced.probing;
    soon(probing.assignment.changed()).await.unwrap();
    let expected = ProbeAssignment { uids: vec![uid(1), uid(2)], interval: Duration::from_secs(30) };
    assert_eq!(*probing.assignment.borrow(), expected);
    assert_eq!(soon(probing.probe_now.recv()).await, Some(uid(1)));
    probing.findings.hint(uid(3));
    let Some(Said::DriftHint(hint)) = session.heard().await else { panic!("a hint") };
    assert_eq!(hint.server_uid, text(3));
    let report = proto::ProbeReport { server_uid: text(1), reachable: true, ..proto::ProbeReport::default() };
    probing.findings.report(report.clone());
    assert_eq!(session.heard().await, Some(Said::ProbeReport(report)));
}

#[tokio::test]
async fn a_request_to_drain_is_passed_on() {
    let mut control = FakeControlPlane::start().await;
    let dir = tempfile::tempdir().unwrap();
    let plane = Plane::start(control.config(dir.path()));
    let session = control.welcomed().await;
    assert!(!plane.synced.drain.is_cancelled());
    session.tell(Told::Drain(proto::Drain { reason: "maintenance".to_owned() })).await;
    soon(plane.synced.drain.cancelled()).await;
}

#[tokio::test]
async fn a_conversation_that_is_broken_off_in_the_middle_of_a_snapshot_leaves_the_old_one() {
    let mut control = FakeControlPlane::start().await;
    let dir = tempfile::tempdir().unwrap();
    let plane = Plane::start(control.config(dir.path()));
    let mut session = control.welcomed().await;
    session.send(control.snapshot(1, &zones(3)).chunks(1)).await;
    session.ack().await;
    let next = control.snapshot(2, &zones(9));
    session.send(next.chunks(3).into_iter().take(2)).await;
    session.fail(tonic::Status::unavailable("gone")).await;
    let mut session = control.welcomed().await;
    assert_eq!(plane.version(), 1);
    // The rest of the broken one belongs to nothing now.
    session.send(next.chunks(3).into_iter().skip(2)).await;
    assert!(session.nack().await.reason.contains("first chunk"));
    session.send(next.chunks(3)).await;
    assert_eq!(session.ack().await.version, 2);
}

fn ask(use_id: u8) -> proto::CallAsk {
    proto::CallAsk { use_id: vec![use_id; 16].into(), key: "bot".to_owned(), ..proto::CallAsk::default() }
}

#[tokio::test]
async fn a_call_that_was_not_answered_is_asked_again_as_the_same_use_and_a_given_up_one_is_not() {
    let mut control = FakeControlPlane::start().await;
    let dir = tempfile::tempdir().unwrap();
    let plane = Plane::start(control.config(dir.path()));
    let mut session = control.welcomed().await;
    let desk = plane.synced.calls.clone();
    let waits = tokio::spawn({
        let desk = desk.clone();
        async move { desk.ask(ask(1)).await }
    });
    assert_eq!(session.heard().await, Some(Said::CallAsk(ask(1))));
    let given_up = tokio::spawn({
        let desk = desk.clone();
        async move { desk.ask(ask(2)).await }
    });
    assert_eq!(session.heard().await, Some(Said::CallAsk(ask(2))));
    given_up.abort();
    assert!(given_up.await.unwrap_err().is_cancelled());
    session.fail(tonic::Status::unavailable("it restarts")).await;

    let mut session = control.welcomed().await;
    assert_eq!(session.heard().await, Some(Said::CallAsk(ask(1))));
    let answer = |use_id: u8, answer| {
        Told::CallAnswer(proto::CallAnswer { use_id: vec![use_id; 16].into(), answer: Some(answer) })
    };
    let released = proto::CallReleased { id: "c-1".to_owned(), approved_by: "anna".to_owned() };
    // Answers to what nobody asked are nothing.
    session.tell(answer(2, proto::call_answer::Answer::Refused("?".to_owned()))).await;
    session.tell(answer(9, proto::call_answer::Answer::Released(released.clone()))).await;
    session.tell(answer(1, proto::call_answer::Answer::Released(released))).await;
    let Ok(Verdict::Released(released)) = soon(waits).await.unwrap() else { panic!("it may go") };
    assert_eq!((released.id(), released.approved_by()), ("c-1", "anna"));
    // Given back, it is told of before anybody asks again.
    desk.give_back(released);
    let asks = tokio::spawn(async move { desk.ask(ask(3)).await });
    let given = proto::CallGivenBack { id: "c-1".to_owned(), use_id: vec![1; 16].into() };
    assert_eq!(session.heard().await, Some(Said::CallGivenBack(given)));
    assert_eq!(session.heard().await, Some(Said::CallAsk(ask(3))));
    asks.abort();
}

#[tokio::test(start_paused = true)]
async fn without_an_answer_nothing_is_known_of_a_call_and_too_many_are_not_asked_for() {
    let desk = CallDesk::default();
    let begun = tokio::time::Instant::now();
    assert_eq!(desk.ask(ask(1)).await, Err(Unanswered::Silent));
    assert!(begun.elapsed() >= Duration::from_secs(5));
    let asks: Vec<_> = (0..1_024_u128)
        .map(|number| {
            let desk = desk.clone();
            let ask = proto::CallAsk { use_id: number.to_be_bytes().to_vec().into(), ..ask(0) };
            tokio::spawn(async move { desk.ask(ask).await })
        })
        .collect();
    // The clock stands until all of them wait.
    for _ in 0..1_024 {
        tokio::task::yield_now().await;
    }
    assert_eq!(desk.ask(ask(255)).await, Err(Unanswered::Full));
    for ask in asks {
        assert_eq!(ask.await.unwrap(), Err(Unanswered::Silent));
    }
    assert_eq!(desk.ask(ask(255)).await, Err(Unanswered::Silent), "there is room again");
}
