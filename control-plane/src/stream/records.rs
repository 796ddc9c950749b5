//! Recorded calls of the connected planes: asked for, and taken in as fast as they are used. Nothing queues beyond the leave
//! that was given.

use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use portcullis_proto::config::v1::{RecordChunk, RecordQuery};
use tokio::sync::mpsc;
use tokio::time::timeout;

use super::connection::Connection;

/// Chunks that a plane may send before they were used.
const CREDIT: u32 = 8;
/// The most calls in one chunk.
const MAX_CHUNK: usize = 500;
/// How long a plane may take to its next chunk: it may read through much that was not asked for.
const PATIENCE: Duration = Duration::from_secs(60);

/// Why the answer of a plane is not whole.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum RecordsError {
    /// It does not answer such questions.
    #[error("it does not tell its records: an older version")]
    NotTold,
    /// It was connected within a day, and is not.
    #[error("it is not connected")]
    Away,
    /// Its stream ended, or another question took the place of this one.
    #[error("it went away before it had told all of them")]
    Ended,
    /// It fell silent.
    #[error("it did not tell them in time")]
    Silent,
}

/// The question that a plane is asked at present.
#[derive(Debug, Default)]
pub(super) struct Asked(Mutex<Option<(u64, mpsc::Sender<RecordChunk>)>>);

impl Asked {
    fn begin(&self, id: u64) -> mpsc::Receiver<RecordChunk> {
        let (sender, chunks) = mpsc::channel(CREDIT as usize);
        *self.0.lock().unwrap_or_else(PoisonError::into_inner) = Some((id, sender));
        chunks
    }

    /// Ends the question: nobody will answer it any more.
    pub(super) fn end(&self) {
        *self.0.lock().unwrap_or_else(PoisonError::into_inner) = None;
    }

    /// Takes in a chunk. One that is too large, or more than there was leave for, ends the question.
    pub(super) fn take_in(&self, plane: &str, chunk: RecordChunk) {
        let mut asked = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let Some((_, sender)) = asked.as_ref().filter(|(id, _)| *id == chunk.id) else { return };
        let (last, fits) = (chunk.last, chunk.calls.len() <= MAX_CHUNK);
        if !fits || sender.try_send(chunk).is_err() {
            tracing::warn!(plane, "a data plane told more records than it had leave for");
            *asked = None;
        } else if last {
            *asked = None;
        }
    }
}

/// The recorded calls of one plane, chunk by chunk. Dropping it ends the question.
#[derive(Debug)]
pub struct RecordStream {
    /// The plane's name.
    pub plane: String,
    id: u64,
    connection: Arc<Connection>,
    chunks: mpsc::Receiver<RecordChunk>,
    over: bool,
}

impl RecordStream {
    /// Asks a connected plane.
    pub(super) fn ask(
        connection: &Arc<Connection>,
        id: u64,
        since_unix_ms: u64,
        until_unix_ms: u64,
    ) -> Result<Self, RecordsError> {
        if !connection.tells_records {
            return Err(RecordsError::NotTold);
        }
        let chunks = connection.asked.begin(id);
        connection.outbox.ask(RecordQuery { id, since_unix_ms, until_unix_ms, credit: CREDIT });
        let (plane, connection) = (connection.name.clone(), Arc::clone(connection));
        Ok(Self { plane, id, connection, chunks, over: false })
    }

    /// The next chunk; none after the last.
    ///
    /// # Errors
    /// [`RecordsError::Ended`], [`RecordsError::Silent`].
    pub async fn next(&mut self) -> Result<Option<RecordChunk>, RecordsError> {
        if self.over {
            return Ok(None);
        }
        let chunk = timeout(PATIENCE, self.chunks.recv()).await.map_err(|_| RecordsError::Silent)?;
        let chunk = chunk.ok_or(RecordsError::Ended)?;
        self.over = chunk.last;
        if !self.over {
            self.connection.outbox.credit(self.id, 1);
        }
        Ok(Some(chunk))
    }
}

impl Drop for RecordStream {
    fn drop(&mut self) {
        if !self.over {
            self.connection.outbox.credit(self.id, 0);
        }
    }
}
