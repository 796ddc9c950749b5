//! What legacy HTTP servers say unasked: the GET stream of a listener, its gaps, and its session.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing,
    reason = "helpers of tests fail as tests do"
)]

mod upstream_support;

use std::sync::Arc;
use std::time::Duration;

use futures_util::StreamExt as _;
use http::Method;
use portcullis_data_plane::upstream::Event;
use serde_json::json;

use upstream_support::exchange::{next, value};
use upstream_support::fake::{Seen, stream};
use upstream_support::legacy::{self, plain, streaming};
use upstream_support::soon;
use upstream_support::world::{World, echo, http, legacy_caller, listen, modern_caller};

#[tokio::test]
async fn a_server_without_a_get_stream_is_asked_once() {
    let (fake, _) = legacy::start(plain).await;
    let world = World::new(&http(&fake.url, &json!({})));
    for session in [1, 1, 2] {
        let mut stream = world.listen(listen(legacy_caller(session))).await.unwrap();
        assert!(!stream.offered());
        let silence = tokio::time::timeout(Duration::from_millis(100), stream.next()).await;
        assert!(silence.is_err(), "it stays open and silent");
    }
    assert_eq!(fake.http(&Method::GET).len(), 1);
}

#[tokio::test]
async fn a_get_stream_is_opened_again_where_it_broke() {
    let (fake, mut feeders) = streaming().await;
    let world = World::new(&http(&fake.url, &json!({})));
    let mut stream = world.listen(listen(legacy_caller(1))).await.unwrap();
    assert_eq!(stream.session().unwrap().session_id.as_deref(), Some("s-0"));
    let changed = json!({ "jsonrpc": "2.0", "method": "notifications/resources/list_changed" });
    let feeder = feeders.recv().await.unwrap();
    feeder.event(Some("g-1"), &changed).await;
    assert_eq!(value(&next(&mut stream).await), changed);
    drop(feeder);
    let (feeder, event) = tokio::join!(async { feeders.recv().await.unwrap() }, async {
        tokio::time::timeout(Duration::from_millis(1500), stream.next()).await
    });
    assert!(event.is_err(), "nothing came yet");
    assert_eq!(fake.http(&Method::GET)[1].header("last-event-id"), Some("g-1"));
    let request = json!({ "jsonrpc": "2.0", "id": 3, "method": "roots/list" });
    feeder.event(Some("g-2"), &request).await;
    assert!(matches!(next(&mut stream).await, Event::Request { .. }));
}

#[tokio::test]
async fn after_a_gap_without_ids_a_listener_is_told_that_the_lists_changed() {
    let (fake, mut feeders) = streaming().await;
    let world = World::new(&http(&fake.url, &json!({})));
    let mut stream = world.listen(listen(legacy_caller(1))).await.unwrap();
    drop(feeders.recv().await.unwrap());
    let told: Vec<_> = [next(&mut stream).await, next(&mut stream).await, next(&mut stream).await]
        .iter()
        .map(|event| value(event)["method"].as_str().unwrap().to_owned())
        .collect();
    assert_eq!(
        told,
        [
            "notifications/tools/list_changed",
            "notifications/prompts/list_changed",
            "notifications/resources/list_changed"
        ]
    );
    drop(feeders);
}

#[tokio::test]
async fn a_listening_modern_caller_has_a_session_of_its_own_that_ends_with_it() {
    let (fake, mut feeders) = streaming().await;
    let world = World::new(&http(&fake.url, &json!({})));
    let mut wanted = listen(modern_caller());
    wanted.resource_subscriptions = vec!["file:///a".to_owned(), "file:///b".to_owned()];
    let mut first = world.listen(wanted).await.unwrap();
    let second = world.listen(listen(modern_caller())).await.unwrap();
    let subscribed = fake.rpc("resources/subscribe");
    assert_eq!(
        subscribed.iter().map(|seen| seen.body["params"]["uri"].clone()).collect::<Vec<_>>(),
        ["file:///a", "file:///b"]
    );
    let updated = json!({ "jsonrpc": "2.0", "method": "notifications/resources/updated", "params": { "uri": "file:///a" } });
    feeders.recv().await.unwrap().event(None, &updated).await;
    // The first feeder was moved; the body ends after the event.
    assert_eq!(value(&next(&mut first).await), updated);
    let sessions: Vec<_> =
        fake.http(&Method::GET).iter().map(|seen| seen.session().unwrap().to_owned()).collect();
    assert_eq!(sessions, ["s-0", "s-1"]);
    drop((first, second));
    let mut ended: Vec<_> = fake
        .wait_http(&Method::DELETE, 2)
        .await
        .iter()
        .map(|seen| seen.session().unwrap().to_owned())
        .collect();
    ended.sort();
    assert_eq!(ended, ["s-0", "s-1"]);
}

#[tokio::test]
async fn a_call_waits_for_the_stream_of_a_listener_that_came_before_it() {
    // The server asks its client on the GET stream; before that one is open there is nobody to ask.
    let (open, opened) = tokio::sync::watch::channel(false);
    let (fake, _sessions) = legacy::start(move |seen: Seen| {
        let mut opened = opened.clone();
        async move {
            if seen.method != Method::GET {
                return None;
            }
            opened.wait_for(|open| *open).await.unwrap();
            Some(stream().0)
        }
    })
    .await;
    let world = Arc::new(World::new(&http(&fake.url, &json!({}))));
    let listener = tokio::spawn({
        let world = Arc::clone(&world);
        async move { world.listen(listen(legacy_caller(1))).await }
    });
    fake.wait_http(&Method::GET, 1).await;
    let call = tokio::spawn({
        let world = Arc::clone(&world);
        async move { world.request(echo(legacy_caller(1))).await }
    });
    let other = world.request(echo(legacy_caller(2))).await;
    assert!(other.is_ok(), "another session has nothing to wait for");
    assert_eq!(fake.rpc("tools/call").len(), 1, "the call of the listener's session waits");
    open.send(true).unwrap();
    assert!(soon("the call", call).await.unwrap().is_ok());
    assert!(listener.await.unwrap().is_ok());
}
