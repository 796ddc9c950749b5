//! Recorded calls, asked of data planes: leave by leave, whole or with the reason why not.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing,
    reason = "a step that fails fails the test"
)]

mod catalog_support;
mod stream_support;

use portcullis_control_plane::stream::RecordsError;
use portcullis_proto::config::v1 as proto;
use portcullis_proto::config::v1::attach_request::Message as Said;
use portcullis_proto::config::v1::attach_response::Message;
use stream_support::{Control, FakePlane, hello};

fn chunk(id: u64, calls: usize, last: bool) -> Said {
    let calls = vec![proto::RecordedCall::default(); calls];
    Said::Records(proto::RecordChunk {
        id,
        calls,
        last,
        kept_since_unix_ms: 5,
        ..proto::RecordChunk::default()
    })
}

async fn telling(control: &Control, name: &str) -> FakePlane {
    let token = control.token().await;
    let hello = proto::Hello { tells_records: true, ..hello(name) };
    control.attach(&token.secret_text, hello).await.unwrap().welcomed().await
}

async fn query(plane: &mut FakePlane) -> proto::RecordQuery {
    plane
        .until(|message| match message {
            Message::RecordQuery(query) => Some(query),
            _ => None,
        })
        .await
}

async fn credit(plane: &mut FakePlane) -> proto::RecordCredit {
    plane
        .until(|message| match message {
            Message::RecordCredit(credit) => Some(credit),
            _ => None,
        })
        .await
}

#[tokio::test]
async fn a_plane_is_asked_and_given_leave_for_each_chunk_that_was_used() {
    let control = Control::start().await;
    let mut plane = telling(&control, "eu-1").await;
    let mut asked = control.planes.ask_records(10, 20);
    let (name, stream) = asked.remove(0);
    let mut stream = stream.unwrap();
    let query = query(&mut plane).await;
    assert_eq!((name.as_str(), query.since_unix_ms, query.until_unix_ms), ("eu-1", 10, 20));
    assert!(query.credit > 0);

    plane.say(chunk(query.id, 500, false)).await;
    assert_eq!(stream.next().await.unwrap().unwrap().calls.len(), 500);
    let leave = credit(&mut plane).await;
    assert_eq!((leave.id, leave.chunks), (query.id, 1));
    // Of another question nothing is taken.
    plane.say(chunk(query.id + 1, 7, true)).await;
    plane.say(chunk(query.id, 3, true)).await;
    let last = stream.next().await.unwrap().unwrap();
    assert_eq!((last.calls.len(), last.last, last.kept_since_unix_ms), (3, true, 5));
    assert!(stream.next().await.unwrap().is_none());
}

#[tokio::test]
async fn what_is_no_longer_wanted_is_ended_and_what_breaks_off_is_told() {
    let control = Control::start().await;
    let mut plane = telling(&control, "eu-1").await;
    let first = control.planes.ask_records(0, 1).remove(0).1.unwrap();
    let id = query(&mut plane).await.id;
    drop(first);
    assert_eq!(credit(&mut plane).await, proto::RecordCredit { id, chunks: 0 });

    // More than there was leave for.
    let mut second = control.planes.ask_records(0, 1).remove(0).1.unwrap();
    let asked = query(&mut plane).await;
    for _ in 0..=asked.credit {
        plane.say(chunk(asked.id, 1, false)).await;
    }
    let status = proto::PlaneStatus { calls_total: 9, ..proto::PlaneStatus::default() };
    plane.say(Said::Status(status)).await;
    // What a plane says is heard in order: with this, all of the above was.
    while control.info("eu-1").calls_total != 9 {
        tokio::task::yield_now().await;
    }
    for _ in 0..asked.credit {
        assert!(second.next().await.unwrap().is_some());
    }
    assert_eq!(second.next().await.unwrap_err(), RecordsError::Ended);

    // A plane that goes away in the middle, and one that cannot be asked.
    let mut third = control.planes.ask_records(0, 1).remove(0).1.unwrap();
    drop(plane);
    assert_eq!(third.next().await.unwrap_err(), RecordsError::Ended);
    let _old = control.plane("old").await;
    let errors: Vec<_> = control
        .planes
        .ask_records(0, 1)
        .into_iter()
        .map(|(name, asked)| (name, asked.map(drop).unwrap_err()))
        .collect();
    assert_eq!(errors, [("eu-1".to_owned(), RecordsError::Away), ("old".to_owned(), RecordsError::NotTold)]);
}
