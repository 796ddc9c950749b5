use proptest::prelude::*;

use super::*;

fn decode(stream: &[u8]) -> Vec<Event> {
    Decoder::new(1 << 20).push(stream).unwrap()
}

fn event(data: &str) -> Event {
    Event { data: data.to_owned(), ..Event::default() }
}

#[test]
fn fields_are_read_as_the_standard_says() {
    let cases: &[(&[u8], &[Event])] = &[
        (b"data: a\n\n", &[event("a")]),
        (b"data:a\r\rdata:  b\r\n\r\n", &[event("a"), event(" b")]),
        (b"data: a\ndata: b\ndata:\n\n", &[event("a\nb\n")]),
        (b"data\n\n", &[event("")]),
        (b"\xef\xbb\xbfdata: a\n\n", &[event("a")]),
        (b":\n: hi\nevent: x\n\n", &[]),
        (b"event: x\n\ndata: a\n\n", &[event("a")]),
        (b"data: cut", &[]),
        (b"data: cut\n", &[]),
        (b"unknown: a\nDATA: b\n\n", &[]),
        (b"event: endpoint\ndata: /x\n\n", &[Event { event: "endpoint".into(), ..event("/x") }]),
    ];
    for (stream, events) in cases {
        assert_eq!(decode(stream), *events, "{}", String::from_utf8_lossy(stream));
    }
}

#[test]
fn ids_last_and_retries_are_kept_even_without_data() {
    let mut decoder = Decoder::new(1024);
    assert_eq!(decoder.push(b"id: 7\nretry: 150\n\n").unwrap(), []);
    assert_eq!((decoder.last_event_id(), decoder.retry_ms()), (Some("7"), Some(150)));
    let events =
        decoder.push(b"data: a\n\nid: 8\ndata: b\nretry: 1x\n\nid: \0\nretry:\n\nid\n\ndata: c\n\n").unwrap();
    let ids: Vec<_> = events.iter().map(|event| event.id.as_deref()).collect();
    assert_eq!(ids, [Some("7"), Some("8"), None]);
    assert_eq!(decoder.retry_ms(), Some(150));
    assert_eq!(decoder.push(b"retry: 99999999999999999999\ndata: d\n\n").unwrap(), [event("d")]);
}

#[test]
fn an_event_over_the_bound_ends_the_stream_in_one_line_or_many() {
    for stream in [&b"data: 0123456789\n\n"[..], b"data: 0123456789", b"data: 012\ndata: 345\ndata: 678\n\n"]
    {
        let mut decoder = Decoder::new(12);
        assert_eq!(decoder.push(stream), Err(SseError::TooLarge(12)));
        assert_eq!(decoder.push(b"data: a\n\n"), Err(SseError::TooLarge(12)));
    }
    // The bound is per event, not per stream.
    let mut decoder = Decoder::new(12);
    for _ in 0..100 {
        assert_eq!(decoder.push(b": comment\ndata: 012345\n\n").unwrap().len(), 1);
    }
}

#[test]
fn bytes_that_are_no_text_end_the_stream() {
    assert_eq!(Decoder::new(64).push(b"data: \xff\n\n"), Err(SseError::NotUtf8));
}

#[test]
fn what_is_encoded_is_decoded() {
    assert_eq!(encode(b"{}", None), b"event: message\ndata: {}\n\n");
    let events = decode(&encode(b"{\r\n\"a\":\n1\r}", Some("s-1")));
    let expected = Event {
        event: "message".into(),
        data: "{\n\"a\":\n1\n}".into(),
        id: Some("s-1".into()),
        retry_ms: None,
    };
    assert_eq!(events, [expected]);
    let events = decode(&encode_retry(Some("s-2"), 500));
    assert_eq!(events, [Event { id: Some("s-2".into()), retry_ms: Some(500), ..Event::default() }]);
    assert_eq!(decode(&encode(b"1", Some("a\nb"))).first().unwrap().id, None);
    assert_eq!(decode(KEEP_ALIVE), []);
}

/// Streams made of the pieces that matter.
fn stream() -> impl Strategy<Value = Vec<u8>> {
    let pieces: [&[u8]; 11] = [
        b"data: ",
        b"data:x",
        b"event: e",
        b"id: 1",
        b"retry: 5",
        b"\n",
        b"\r",
        b"\r\n",
        b":c",
        b"\xef\xbb\xbf",
        "é".as_bytes(),
    ];
    let piece = prop::sample::select(pieces.to_vec());
    prop::collection::vec(piece, 0..40).prop_map(|pieces| pieces.concat())
}

proptest! {
    #[test]
    fn every_chunking_of_a_stream_gives_the_same_events(stream in stream(), cuts in prop::collection::vec(any::<prop::sample::Index>(), 0..8)) {
        let whole = decode(&stream);
        let mut cuts: Vec<usize> = cuts.iter().map(|cut| cut.index(stream.len() + 1)).collect();
        cuts.push(stream.len());
        cuts.sort_unstable();
        let mut decoder = Decoder::new(1 << 20);
        let mut events = Vec::new();
        let mut start = 0;
        for cut in cuts {
            events.extend(decoder.push(&stream[start..cut]).unwrap());
            start = cut;
        }
        prop_assert_eq!(&events, &whole);

        let mut byte_by_byte = Decoder::new(1 << 20);
        let events: Vec<_> = stream.iter().flat_map(|byte| byte_by_byte.push(&[*byte]).unwrap()).collect();
        prop_assert_eq!(events, whole);
    }

    #[test]
    fn any_bytes_are_answered_within_the_bound(chunks in prop::collection::vec(prop::collection::vec(any::<u8>(), 0..64), 0..8)) {
        let mut decoder = Decoder::new(128);
        for chunk in chunks {
            if let Ok(events) = decoder.push(&chunk) {
                prop_assert!(events.iter().all(|event| event.data.len() <= 128));
            }
            prop_assert!(decoder.line.len() <= 128 && decoder.event.data.len() <= 128);
        }
    }
}
