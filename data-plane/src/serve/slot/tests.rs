use std::pin::pin;

use futures_util::StreamExt as _;

use super::*;

fn text(bytes: &Bytes) -> String {
    String::from_utf8(bytes.to_vec()).unwrap()
}

fn id_of(event: &str) -> &str {
    event.lines().find_map(|line| line.strip_prefix("id: ")).unwrap()
}

#[tokio::test]
async fn a_reader_that_comes_back_reads_on_after_the_last_event_it_has() {
    let (slot, metrics) = (Slot::new(7), Metrics::default());
    slot.prime();
    for message in ["{\"a\":1}", "{\"a\":2}", "{\"a\":3}"] {
        slot.write(message.as_bytes(), &metrics).await;
    }
    let mut seen = Vec::new();
    {
        let mut first = pin!(slot.read(None));
        for _ in 0..3 {
            seen.push(text(&first.next().await.unwrap()));
        }
    }
    assert!(
        seen[0].contains("retry: ") && seen[0].ends_with("data: \n\n") || seen[0].contains("data:"),
        "{}",
        seen[0]
    );
    let (id, at) = Slot::parse_event_id(id_of(&seen[1])).unwrap();
    assert_eq!((id, at), (7, 1));
    slot.finish();
    let again: Vec<String> = slot.read(Some(at)).map(|bytes| text(&bytes)).collect().await;
    assert_eq!(again.len(), 2);
    assert!(again[0].contains("{\"a\":2}") && again[1].contains("{\"a\":3}"));
}

#[tokio::test]
async fn a_new_reader_ends_the_one_before_it() {
    let (slot, metrics) = (Slot::new(1), Metrics::default());
    let mut first = pin!(slot.read(None));
    let mut second = pin!(slot.read(None));
    slot.write(b"{}", &metrics).await;
    assert!(first.next().await.is_none());
    assert!(second.next().await.is_some());
}

#[tokio::test(start_paused = true)]
async fn a_stream_without_a_reader_is_abandoned_after_its_patience() {
    let slot = Slot::new(1);
    let reader = slot.read(None);
    assert!(timeout(PATIENCE * 2, slot.abandoned()).await.is_err(), "somebody reads");
    drop(reader);
    assert!(timeout(PATIENCE / 2, slot.abandoned()).await.is_err(), "too early");
    assert!(timeout(PATIENCE * 2, slot.abandoned()).await.is_ok());
}

#[tokio::test(start_paused = true)]
async fn a_writer_waits_for_a_reader_that_is_far_behind_and_loses_nothing() {
    let (slot, metrics) = (Slot::new(1), Metrics::default());
    let large = vec![b' '; MAX_AHEAD + 1];
    slot.write(&large, &metrics).await;
    assert!(timeout(Duration::from_secs(5), slot.write(b"{}", &metrics)).await.is_err());
    assert!(metrics.replay_bytes.load(std::sync::atomic::Ordering::Relaxed) > MAX_AHEAD as u64);
    let mut reader = pin!(slot.read(None));
    reader.next().await.unwrap();
    slot.write(b"{}", &metrics).await;
    assert!(text(&reader.next().await.unwrap()).contains("{}"));
}

#[tokio::test(start_paused = true)]
async fn an_idle_stream_says_that_it_lives() {
    let slot = Slot::new(1);
    let mut reader = pin!(slot.read(None));
    assert_eq!(reader.next().await.unwrap(), sse::KEEP_ALIVE);
}

#[test]
fn event_ids_that_are_not_ours_are_none() {
    for text in
        ["", "7-1", "x", "00000000000000000000000000000007", "00000000000000000000000000000007-x", "-"]
    {
        assert_eq!(Slot::parse_event_id(text), None, "{text}");
    }
}
