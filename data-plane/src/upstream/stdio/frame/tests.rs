use super::*;

async fn lines(input: &[u8], max: usize) -> Vec<Line> {
    // A small buffer, so that lines come in pieces.
    let mut reader = tokio::io::BufReader::with_capacity(7, input);
    let mut lines = Vec::new();
    while let Some(line) = next_line(&mut reader, max).await.unwrap() {
        lines.push(line);
    }
    lines
}

#[tokio::test]
async fn lines_are_cut_at_line_feeds_and_an_unfinished_one_is_none() {
    let whole = |text: &str| Line::Whole(text.as_bytes().to_vec());
    assert_eq!(
        lines(b"{\"a\":1}\n\n{\"b\":2}\r\nrest", 100).await,
        [whole("{\"a\":1}"), whole(""), whole("{\"b\":2}")]
    );
}

#[tokio::test]
async fn a_line_over_the_bound_is_skipped_and_the_next_one_is_read() {
    let long = format!("{{\"jsonrpc\":\"2.0\",\"id\":77,\"result\":\"{}\"}}\nnext\n", "x".repeat(10_000));
    let found = lines(long.as_bytes(), 1000).await;
    assert_eq!(found.len(), 2);
    let Line::TooLong { head, tail } = &found[0] else { panic!("not skipped") };
    assert!(head.len() <= KEPT && tail.len() <= KEPT);
    assert_eq!(id_of_skipped(head, tail), Some(77));
    assert_eq!(found[1], Line::Whole(b"next".to_vec()));
}

#[test]
fn the_id_of_a_skipped_message_is_found_at_either_end() {
    let id = |head: &str, tail: &str| id_of_skipped(head.as_bytes(), tail.as_bytes());
    assert_eq!(id(r#"{"jsonrpc": "2.0", "id": 5, "result": {"#, ""), Some(5));
    assert_eq!(id(r#"{"result":{"id":9"#, r#"xx"}]},"jsonrpc":"2.0","id":6}"#), Some(6));
    assert_eq!(id(r#"{"result":{"#, r#"xx"}]},"id":6,"jsonrpc":"2.0"}"#), Some(6));
    assert_eq!(
        id(r#"{"result":{"#, r#"xx","id":6}]}}"#),
        None,
        "an id inside the result is not the message's"
    );
    assert_eq!(id("garbage", "garbage"), None);
}

#[test]
fn a_message_becomes_one_line() {
    assert_eq!(one_line(b"{\n\"a\":\r\n\"b\\n\"}"), b"{ \"a\":  \"b\\n\"}\n");
}
