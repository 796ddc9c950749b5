//! Calls that a person has to approve: asked of the control plane, which alone knows, over the conversation that stands.
//!
//! An ask that was not answered when a connection broke is asked again on the next one, under the same use: it gets the same
//! answer, so that an approval is not lost with a connection and never counts twice. Whoever gets no answer in time is told so,
//! and must not make the call. An approval whose call never reached its server is given back, once.

use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use portcullis_proto::config::v1::call_answer::Answer;
use portcullis_proto::config::v1::{CallAnswer, CallAsk, CallGivenBack};
use tokio::sync::{OwnedSemaphorePermit, Semaphore, oneshot};
use tokio::time::timeout;

use super::outbox::Outbox;

/// How long the control plane may take to answer.
const PATIENCE: Duration = Duration::from_secs(5);
/// How many calls may wait for a person on this plane at once: each holds the place of its record.
const SEATS: usize = 256;

/// Asks for calls. Clones share it.
#[derive(Debug, Clone)]
pub struct CallDesk {
    outbox: Outbox,
    seats: Arc<Semaphore>,
}

impl Default for CallDesk {
    /// One that nobody listens to.
    fn default() -> Self {
        Self::new(Outbox::default())
    }
}

/// What the control plane says of a call.
#[derive(Debug, PartialEq, Eq)]
pub enum Verdict {
    /// Nobody decided yet.
    Waits {
        /// The approval's id.
        id: String,
        /// Where a person decides.
        url: String,
    },
    /// The call may be made, once, by who asked.
    Released(Released),
    /// A person denied it.
    Denied {
        /// The approval's id.
        id: String,
    },
    /// It is not kept for a person; why, in a sentence for the caller.
    Refused(String),
}

/// The leave to make one call. Only an answer of the control plane makes one, and it is not copied: it is spent with its call,
/// or given back.
#[derive(Debug, PartialEq, Eq)]
pub struct Released {
    id: String,
    approved_by: String,
    use_id: [u8; 16],
}

impl Released {
    /// The approval's id.
    #[must_use]
    pub fn id(&self) -> &str {
        &self.id
    }

    /// Who approved it, as history names them.
    #[must_use]
    pub fn approved_by(&self) -> &str {
        &self.approved_by
    }
}

/// Nothing is known of the call: it must not be made.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum Unanswered {
    /// Too many calls are being asked for.
    #[error("too many calls are being asked for at once")]
    Full,
    /// The control plane is away, or slow.
    #[error("the control plane did not answer in time")]
    Silent,
}

impl CallDesk {
    pub(super) fn new(outbox: Outbox) -> Self {
        Self { outbox, seats: Arc::new(Semaphore::new(SEATS)) }
    }

    /// A seat for a call that waits here for a person, as long as it is held; none where all are taken.
    #[must_use]
    pub fn seat(&self) -> Option<OwnedSemaphorePermit> {
        Arc::clone(&self.seats).try_acquire_owned().ok()
    }

    /// Asks whether a call may be made. Dropped, it is asked no more.
    ///
    /// # Errors
    /// [`Unanswered`].
    pub async fn ask(&self, ask: CallAsk) -> Result<Verdict, Unanswered> {
        let use_id = <[u8; 16]>::try_from(&*ask.use_id).map_err(|_| Unanswered::Silent)?;
        let (answer, answered) = oneshot::channel();
        self.outbox.ask(use_id, ask, answer).map_err(|_| Unanswered::Full)?;
        let _asked = Asked { outbox: &self.outbox, use_id };
        let answer = timeout(PATIENCE, answered).await.map_err(|_| Unanswered::Silent)?;
        answer.ok().and_then(|answer| verdict(answer, use_id)).ok_or(Unanswered::Silent)
    }

    /// Gives the approval of a call back that certainly never reached its server. Nobody waits for it: where the control plane
    /// does not hear of it, the approval stays used up.
    pub fn give_back(&self, released: Released) {
        let use_id = Bytes::copy_from_slice(&released.use_id);
        self.outbox.give_back(CallGivenBack { id: released.id, use_id });
    }

    /// The control plane answered.
    pub(super) fn heard(&self, answer: CallAnswer) {
        self.outbox.answered(answer);
    }
}

/// One ask that somebody waits for.
struct Asked<'a> {
    outbox: &'a Outbox,
    use_id: [u8; 16],
}

impl Drop for Asked<'_> {
    fn drop(&mut self) {
        self.outbox.forget_ask(&self.use_id);
    }
}

fn verdict(answer: Answer, use_id: [u8; 16]) -> Option<Verdict> {
    Some(match answer {
        Answer::Waits(waits) => Verdict::Waits { id: waits.id, url: waits.url },
        Answer::Released(released) => {
            Verdict::Released(Released { id: released.id, approved_by: released.approved_by, use_id })
        }
        Answer::Denied(denied) => Verdict::Denied { id: denied.id },
        Answer::Refused(why) => Verdict::Refused(why),
    })
}
