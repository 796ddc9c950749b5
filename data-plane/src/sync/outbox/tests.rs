use std::time::Duration;

use portcullis_policy::resource::Uid;
use portcullis_proto::config::v1::{CallGivenBack, ProbeReport};

use super::{Item, MAX_GIVEN_BACK, MAX_SERVERS, MAX_SIGNALS, Outbox};
use crate::sync::Signal;

fn ended(session: u8, forget_after_unix_ms: u64) -> Signal {
    Signal::SessionEnded { session: [session; 16], forget_after_unix_ms }
}

fn server(number: u128) -> Uid {
    Uid(uuid::Uuid::from_u128(number))
}

fn report(number: u128, error: &str) -> ProbeReport {
    ProbeReport { server_uid: server(number).to_string(), error: error.to_owned(), ..ProbeReport::default() }
}

#[tokio::test(start_paused = true)]
async fn signals_come_first_in_their_order_and_the_newest_report_of_a_server_wins() {
    let outbox = Outbox::default();
    outbox.report(server(1), report(1, "old"));
    outbox.report(server(1), report(1, "new"));
    outbox.hint(server(2));
    outbox.hint(server(2));
    outbox.signal(ended(1, 10));
    outbox.signal(ended(2, 10));
    let mut told = Vec::new();
    for _ in 0..4 {
        told.push(outbox.next(|| 5).await);
    }
    assert_eq!(
        told,
        [
            Item::Signal(ended(1, 10)),
            Item::Signal(ended(2, 10)),
            Item::Hint(server(2)),
            Item::Report(Box::new(report(1, "new"))),
        ]
    );
    assert!(tokio::time::timeout(Duration::from_secs(1), outbox.next(|| 5)).await.is_err());
}

#[tokio::test(start_paused = true)]
async fn a_signal_wakes_whoever_waits_and_one_that_no_longer_matters_is_left_out() {
    let outbox = Outbox::default();
    let waiting = tokio::spawn({
        let outbox = outbox.clone();
        async move { outbox.next(|| 100).await }
    });
    tokio::task::yield_now().await;
    outbox.signal(ended(1, 100));
    outbox.signal(ended(2, 101));
    assert_eq!(waiting.await.unwrap(), Item::Signal(ended(2, 101)));
}

#[tokio::test(start_paused = true)]
async fn what_was_handed_to_a_lost_connection_is_told_again_for_a_while() {
    let outbox = Outbox::default();
    outbox.signal(ended(1, u64::MAX));
    assert_eq!(outbox.next(|| 0).await, Item::Signal(ended(1, u64::MAX)));
    tokio::time::advance(Duration::from_secs(20)).await;
    outbox.signal(ended(2, u64::MAX));
    assert_eq!(outbox.next(|| 0).await, Item::Signal(ended(2, u64::MAX)));
    tokio::time::advance(Duration::from_secs(15)).await;
    outbox.connected(0);
    assert_eq!(outbox.next(|| 0).await, Item::Signal(ended(2, u64::MAX)));
    assert!(tokio::time::timeout(Duration::from_secs(1), outbox.next(|| 0)).await.is_err());
}

#[tokio::test(start_paused = true)]
async fn every_part_has_its_bound() {
    let outbox = Outbox::default();
    for number in 0..=MAX_SIGNALS as u64 {
        outbox.signal(Signal::SessionEnded { session: [0; 16], forget_after_unix_ms: number + 1 });
    }
    assert_eq!(outbox.dropped(), 1);
    let first = outbox.next(|| 0).await;
    assert_eq!(first, Item::Signal(ended(0, 2)), "the oldest one went");
    for number in 0..=MAX_SERVERS as u128 {
        outbox.hint(server(number));
        outbox.report(server(number), report(number, ""));
    }
    assert_eq!(outbox.dropped(), 3);
    for _ in 0..=MAX_GIVEN_BACK {
        outbox.give_back(CallGivenBack::default());
    }
    assert_eq!(outbox.dropped(), 4);
}
