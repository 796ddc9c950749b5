//! Lines from a child, each no longer than allowed; what is longer is skipped, and only its ends are kept.

use std::io;

use tokio::io::{AsyncBufRead, AsyncBufReadExt as _};

/// Bytes of each end of a skipped line: enough to find the id of the message.
const KEPT: usize = 256;

/// One line without its line feed.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Line {
    /// All of it.
    Whole(Vec<u8>),
    /// It was longer than allowed.
    TooLong {
        /// How it began.
        head: Vec<u8>,
        /// How it ended.
        tail: Vec<u8>,
    },
}

/// The next line; `None` at the end of the input. What comes after the last line feed is no line.
pub(super) async fn next_line(
    reader: &mut (impl AsyncBufRead + Unpin),
    max_bytes: usize,
) -> io::Result<Option<Line>> {
    let mut line = Vec::new();
    let mut tail: Option<Vec<u8>> = None;
    loop {
        let chunk = reader.fill_buf().await?;
        if chunk.is_empty() {
            return Ok(None);
        }
        let end = chunk.iter().position(|byte| *byte == b'\n');
        let (piece, _) = chunk.split_at_checked(end.unwrap_or(chunk.len())).unwrap_or((chunk, &[]));
        match &mut tail {
            Some(tail) => keep_end(tail, piece),
            None if line.len().saturating_add(piece.len()) <= max_bytes => line.extend_from_slice(piece),
            None => {
                let mut end = Vec::new();
                keep_end(&mut end, &line);
                keep_end(&mut end, piece);
                line.extend_from_slice(piece.get(..KEPT).unwrap_or(piece));
                line.truncate(KEPT);
                line.shrink_to_fit();
                tail = Some(end);
            }
        }
        let used = piece.len().saturating_add(usize::from(end.is_some()));
        reader.consume(used);
        if end.is_some() {
            return Ok(Some(match tail {
                Some(tail) => Line::TooLong { head: line, tail },
                None => {
                    if line.last() == Some(&b'\r') {
                        line.pop();
                    }
                    Line::Whole(line)
                }
            }));
        }
    }
}

fn keep_end(tail: &mut Vec<u8>, piece: &[u8]) {
    tail.extend_from_slice(piece.get(piece.len().saturating_sub(KEPT)..).unwrap_or(piece));
    let surplus = tail.len().saturating_sub(KEPT);
    tail.drain(..surplus);
}

/// The id of ours that a skipped message answers, if one of its ends shows it the way that SDKs write it.
pub(super) fn id_of_skipped(head: &[u8], tail: &[u8]) -> Option<u64> {
    let after = |text: &[u8], from: usize| -> Option<u64> {
        let rest =
            std::str::from_utf8(text.get(from..)?.split(|byte| !byte.is_ascii_digit()).next()?).ok()?;
        rest.parse().ok()
    };
    let compact =
        |text: &[u8]| text.iter().copied().filter(|byte| !byte.is_ascii_whitespace()).collect::<Vec<_>>();
    let (head, tail) = (compact(head), compact(tail));
    for start in [&br#"{"jsonrpc":"2.0","id":"#[..], &br#"{"id":"#[..]] {
        if head.starts_with(start) {
            return after(&head, start.len());
        }
    }
    let key = br#","id":"#;
    let at = tail.windows(key.len()).rposition(|window| window == key)?;
    let rest = tail.get(at.checked_add(key.len())?..)?;
    let ends_there = rest.iter().skip_while(|byte| byte.is_ascii_digit()).eq([&b'}']);
    let ends_before_version =
        rest.iter().skip_while(|byte| byte.is_ascii_digit()).eq(br#","jsonrpc":"2.0"}"#);
    if ends_there || ends_before_version { after(rest, 0) } else { None }
}

/// A message as one line: line breaks between tokens become spaces, inside strings JSON has none.
pub(super) fn one_line(message: &[u8]) -> Vec<u8> {
    let mut line = Vec::with_capacity(message.len().saturating_add(1));
    line.extend(message.iter().map(|byte| if matches!(byte, b'\n' | b'\r') { b' ' } else { *byte }));
    line.push(b'\n');
    line
}

#[cfg(test)]
mod tests;
