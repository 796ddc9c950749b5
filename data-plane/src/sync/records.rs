//! Answers the control plane's questions for recorded calls: in chunks, as many as it gave leave for, one question at a time.
//!
//! What records are and where they lie is handed in; a thread of its own reads them, and waits while nobody takes its chunks.

use std::fmt;
use std::sync::Arc;

use portcullis_proto::config::v1::{RecordChunk, RecordQuery, RecordedCall};
use tokio::sync::mpsc;

/// Calls in one chunk.
const CHUNK: usize = 500;
/// The most leave that is held, in chunks.
const MAX_CREDIT: u32 = 64;

/// One finding on the way through the records of a plane.
#[derive(Debug)]
pub enum Finding {
    /// The time of the oldest record there is, in milliseconds since the Unix epoch.
    KeptSince(u64),
    /// A call of the window.
    Call(Box<RecordedCall>),
    /// Something that could not be read.
    Damaged,
}

/// The findings of one question, the oldest first.
pub type Findings = Box<dyn Iterator<Item = Finding> + Send>;

type Read = dyn Fn(u64, u64) -> Result<Findings, String> + Send + Sync;

/// Where records come from: asked with the two ends of a window, in milliseconds since the Unix epoch. Blocks.
#[derive(Clone)]
pub struct RecordSource(Arc<Read>);

impl RecordSource {
    /// Records that this reads.
    pub fn new(read: impl Fn(u64, u64) -> Result<Findings, String> + Send + Sync + 'static) -> Self {
        Self(Arc::new(read))
    }
}

impl fmt::Debug for RecordSource {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("RecordSource")
    }
}

/// A question that is being answered.
#[derive(Debug)]
pub(super) struct Telling {
    id: u64,
    credit: u32,
    chunks: mpsc::Receiver<RecordChunk>,
}

impl Telling {
    /// Begins to answer. Dropping it ends the reading.
    pub(super) fn begin(source: Option<&RecordSource>, query: &RecordQuery) -> Self {
        let (say, chunks) = mpsc::channel(1);
        let (id, since, until) = (query.id, query.since_unix_ms, query.until_unix_ms);
        let source = source.cloned();
        tokio::task::spawn_blocking(move || {
            let found = match source {
                Some(source) => (source.0)(since, until),
                None => Err("this data plane tells no records".to_owned()),
            };
            // Nobody listens any more: then nobody misses it.
            let _ = match found {
                Ok(findings) => tell(id, findings, &say),
                Err(error) => {
                    say.blocking_send(RecordChunk { id, last: true, error, ..RecordChunk::default() })
                }
            };
        });
        Self { id, credit: query.credit.min(MAX_CREDIT), chunks }
    }

    /// More leave, or the end.
    pub(super) fn credit(telling: &mut Option<Self>, id: u64, chunks: u32) {
        match telling {
            Some(one) if one.id == id && chunks > 0 => {
                one.credit = one.credit.saturating_add(chunks).min(MAX_CREDIT);
            }
            Some(one) if one.id == id => *telling = None,
            _ => {}
        }
    }

    /// The next chunk that may be sent; never without one. Nothing is lost when this is not waited for to its end.
    pub(super) async fn next(telling: &mut Option<Self>) -> RecordChunk {
        let Some(one) = telling.as_mut().filter(|one| one.credit > 0) else {
            return std::future::pending().await;
        };
        let chunk = one.chunks.recv().await.unwrap_or_else(|| {
            let error = "the records could not be read to their end".to_owned();
            RecordChunk { id: one.id, last: true, error, ..RecordChunk::default() }
        });
        one.credit = one.credit.saturating_sub(1);
        if chunk.last {
            *telling = None;
        }
        chunk
    }
}

fn tell(
    id: u64,
    findings: Findings,
    say: &mpsc::Sender<RecordChunk>,
) -> Result<(), mpsc::error::SendError<RecordChunk>> {
    let (mut kept_since_unix_ms, mut damaged) = (0, 0);
    let mut calls = Vec::with_capacity(CHUNK);
    for finding in findings {
        match finding {
            Finding::KeptSince(unix_ms) => kept_since_unix_ms = unix_ms,
            Finding::Damaged => damaged += 1,
            Finding::Call(call) => calls.push(*call),
        }
        if calls.len() == CHUNK {
            let calls = std::mem::replace(&mut calls, Vec::with_capacity(CHUNK));
            say.blocking_send(RecordChunk { id, calls, ..RecordChunk::default() })?;
        }
    }
    let error = String::new();
    say.blocking_send(RecordChunk { id, calls, last: true, kept_since_unix_ms, damaged, error })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn source(calls: usize) -> RecordSource {
        RecordSource::new(move |since, until| {
            assert_eq!((since, until), (10, 20));
            let calls = (0..calls).map(|at| {
                Finding::Call(Box::new(RecordedCall { unix_ms: at as u64, ..RecordedCall::default() }))
            });
            Ok(Box::new([Finding::KeptSince(7), Finding::Damaged].into_iter().chain(calls)))
        })
    }

    fn query(credit: u32) -> RecordQuery {
        RecordQuery { id: 3, since_unix_ms: 10, until_unix_ms: 20, credit }
    }

    #[tokio::test]
    async fn chunks_come_as_leave_is_given_and_the_last_says_what_was_kept() {
        let mut telling = Some(Telling::begin(Some(&source(CHUNK * 2 + 1)), &query(1)));
        assert_eq!(Telling::next(&mut telling).await.calls.len(), CHUNK);
        // Without leave nothing comes, however long it is waited for; another question's leave is none.
        Telling::credit(&mut telling, 4, 9);
        let none =
            tokio::time::timeout(std::time::Duration::from_millis(20), Telling::next(&mut telling)).await;
        assert!(none.is_err());
        Telling::credit(&mut telling, 3, 9);
        assert!(!Telling::next(&mut telling).await.last);
        let last = Telling::next(&mut telling).await;
        assert_eq!((last.calls.len(), last.last, last.kept_since_unix_ms, last.damaged), (1, true, 7, 1));
        assert!(telling.is_none());
    }

    #[tokio::test]
    async fn a_question_ends_when_nothing_more_is_wanted_and_one_without_records_is_answered() {
        let mut telling = Some(Telling::begin(Some(&source(CHUNK * 9)), &query(1)));
        Telling::credit(&mut telling, 3, 0);
        assert!(telling.is_none());
        let mut telling = Some(Telling::begin(None, &query(1)));
        let only = Telling::next(&mut telling).await;
        assert!(only.last && only.error.contains("tells no records"), "{only:?}");
    }
}
