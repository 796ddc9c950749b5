//! The one body type of answers, and the bounded reading of request bodies.

use std::convert::Infallible;
use std::pin::Pin;
use std::task::{Context, Poll};
use std::time::Duration;

use bytes::{Bytes, BytesMut};
use futures_util::Stream;
use http::{HeaderMap, StatusCode, header};
use http_body::{Body as HttpBody, Frame, SizeHint};
use http_body_util::BodyExt as _;

/// The largest request body that is read at all. A server's own `maxRequestBytes` is judged later, when the server is known.
pub const MAX_BODY_BYTES: u64 = 16 << 20;

/// How long a body may take to arrive.
const READ_TIMEOUT: Duration = Duration::from_secs(30);

/// The body of an answer.
#[derive(Default)]
pub enum Body {
    /// No bytes.
    #[default]
    Empty,
    /// Known as a whole: up to three buffers, so that a large shared list is framed without a copy.
    Whole(std::iter::Flatten<std::array::IntoIter<Option<Bytes>, 3>>, u64),
    /// Server-sent events, for as long as the stream lasts.
    Stream(Pin<Box<dyn Stream<Item = Bytes> + Send>>),
}

impl std::fmt::Debug for Body {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::Empty => f.write_str("Empty"),
            Self::Whole(_, left) => f.debug_tuple("Whole").field(left).finish(),
            Self::Stream(_) => f.write_str("Stream"),
        }
    }
}

impl Body {
    /// A body of one buffer.
    #[must_use]
    pub fn whole(bytes: Bytes) -> Self {
        Self::parts([bytes, Bytes::new(), Bytes::new()])
    }

    /// A body of three buffers; empty ones are left out.
    #[must_use]
    pub fn parts(parts: [Bytes; 3]) -> Self {
        let total = parts.iter().map(|part| part.len() as u64).sum();
        Self::Whole(parts.map(|part| (!part.is_empty()).then_some(part)).into_iter().flatten(), total)
    }

    /// A body that lasts as long as the stream.
    #[must_use]
    pub fn stream(stream: impl Stream<Item = Bytes> + Send + 'static) -> Self {
        Self::Stream(Box::pin(stream))
    }
}

impl HttpBody for Body {
    type Data = Bytes;
    type Error = Infallible;

    fn poll_frame(
        self: Pin<&mut Self>,
        context: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, Infallible>>> {
        let next = match self.get_mut() {
            Self::Empty => None,
            Self::Whole(parts, left) => {
                let part = parts.next();
                *left -= part.as_ref().map_or(0, |part| part.len() as u64);
                part
            }
            Self::Stream(stream) => match stream.as_mut().poll_next(context) {
                Poll::Pending => return Poll::Pending,
                Poll::Ready(next) => next,
            },
        };
        Poll::Ready(next.map(|bytes| Ok(Frame::data(bytes))))
    }

    fn is_end_stream(&self) -> bool {
        match self {
            Self::Empty => true,
            Self::Whole(_, left) => *left == 0,
            Self::Stream(_) => false,
        }
    }

    fn size_hint(&self) -> SizeHint {
        match self {
            Self::Empty => SizeHint::with_exact(0),
            Self::Whole(_, left) => SizeHint::with_exact(*left),
            Self::Stream(_) => SizeHint::default(),
        }
    }
}

/// Reads a request body as a whole.
///
/// # Errors
/// The status that says why not: 413 beyond [`MAX_BODY_BYTES`], 408 when it does not arrive in time, 400 when it breaks off
/// or its length is stated in two ways.
pub(super) async fn read<B>(headers: &HeaderMap, body: B) -> Result<Bytes, StatusCode>
where
    B: HttpBody<Data = Bytes> + Unpin,
{
    // The HTTP library lets both pass, and a proxy before us may have believed the other one.
    if headers.contains_key(header::CONTENT_LENGTH) && headers.contains_key(header::TRANSFER_ENCODING) {
        return Err(StatusCode::BAD_REQUEST);
    }
    if body.size_hint().lower() > MAX_BODY_BYTES {
        return Err(StatusCode::PAYLOAD_TOO_LARGE);
    }
    tokio::time::timeout(READ_TIMEOUT, collect(body)).await.unwrap_or(Err(StatusCode::REQUEST_TIMEOUT))
}

async fn collect<B>(mut body: B) -> Result<Bytes, StatusCode>
where
    B: HttpBody<Data = Bytes> + Unpin,
{
    let mut first = Bytes::new();
    let mut rest = BytesMut::new();
    while let Some(frame) = body.frame().await {
        let Ok(data) = frame.map_err(|_| StatusCode::BAD_REQUEST)?.into_data() else { continue };
        if (first.len() + rest.len() + data.len()) as u64 > MAX_BODY_BYTES {
            return Err(StatusCode::PAYLOAD_TOO_LARGE);
        }
        // Most bodies arrive as one buffer, which is then used as it is.
        if first.is_empty() && rest.is_empty() {
            first = data;
        } else {
            if rest.is_empty() {
                rest.extend_from_slice(&std::mem::take(&mut first));
            }
            rest.extend_from_slice(&data);
        }
    }
    Ok(if rest.is_empty() { first } else { rest.freeze() })
}
