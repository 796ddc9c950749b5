//! What a port speaks that is not what was expected, so that a wrong port or scheme is named as such.

use std::time::Duration;

use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpStream;

use super::CONNECT_TIMEOUT;
use crate::failure::Failure;

/// How long a port may think about its first bytes.
const PATIENCE: Duration = Duration::from_secs(3);
/// The beginning of an HTTP/2 connection with an empty SETTINGS frame (RFC 9113, 3.4).
const PREFACE: &[u8] = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n\0\0\0\x04\0\0\0\0\0";
/// The type of a SETTINGS frame, and where it stands in one.
const SETTINGS: (usize, u8) = (3, 4);
/// The first byte of a TLS alert record.
const TLS_ALERT: u8 = 21;

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Speech {
    Http2,
    Tls,
    Other,
}

/// Refuses a port that does not speak HTTP/2 in plain text.
pub(super) async fn check_plain(uri: &http::Uri) -> Result<(), Failure> {
    match listen(uri).await {
        Ok(Speech::Http2) => Ok(()),
        Ok(Speech::Tls) => Err(Failure::new(format!(
            "{uri} speaks TLS: use https:// (and --ca FILE for a private certificate authority)"
        ))),
        Ok(Speech::Other) => {
            Err(Failure::new(format!("{uri} is not a control plane's gRPC port; its default is 7410")))
        }
        Err(error) => Err(Failure::of(format!("cannot reach the control plane at {uri}"), error)),
    }
}

/// After a TLS handshake failed: whether the port speaks plain text.
pub(super) async fn why_no_tls(uri: &http::Uri) -> Option<Failure> {
    if uri.scheme_str() != Some("https") || listen(uri).await.ok()? != Speech::Http2 {
        return None;
    }
    Some(Failure::new(format!("{uri} speaks plain text, not TLS: use http:// on the machine where it runs")))
}

/// A certificate that nobody vouches for is most often one whose authority was not named.
pub(super) fn with_advice(failure: Failure) -> Failure {
    let text = failure.to_string();
    if text.contains("UnknownIssuer") {
        return Failure::new(format!("{text}: give the authority of its certificate with --ca FILE"));
    }
    failure
}

/// Says hello as HTTP/2 does, without a word of the token, and looks at the first bytes of the answer.
async fn listen(uri: &http::Uri) -> std::io::Result<Speech> {
    let host = uri.host().unwrap_or_default().trim_matches(['[', ']']);
    let port = uri.port_u16().unwrap_or(if uri.scheme_str() == Some("https") { 443 } else { 80 });
    let mut stream = tokio::time::timeout(CONNECT_TIMEOUT, TcpStream::connect((host, port))).await??;
    stream.write_all(PREFACE).await?;
    let mut first = Vec::with_capacity(9);
    // A port that closes or says nothing has spoken too.
    let _ = tokio::time::timeout(PATIENCE, (&mut stream).take(9).read_to_end(&mut first)).await;
    Ok(speech(&first))
}

fn speech(first: &[u8]) -> Speech {
    match first {
        [TLS_ALERT, 3, ..] => Speech::Tls,
        frame if frame.len() == 9 && frame.get(SETTINGS.0) == Some(&SETTINGS.1) => Speech::Http2,
        _ => Speech::Other,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_first_bytes_tell_what_a_port_speaks() {
        assert_eq!(speech(&[0, 0, 18, 4, 0, 0, 0, 0, 0]), Speech::Http2);
        assert_eq!(speech(&[21, 3, 3, 0, 2, 2, 80]), Speech::Tls);
        assert_eq!(speech(b"HTTP/1.1 "), Speech::Other);
        assert_eq!(speech(b""), Speech::Other);
    }
}
