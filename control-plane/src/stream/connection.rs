//! One open stream of one data plane: what waits for it, and how it is ended from this side.

use portcullis_policy::resource::PlaneLabels;
use portcullis_proto::config::v1::Hello;
use tokio::sync::watch;
use tonic::Status;

use super::outbox::Outbox;
use super::records::Asked;

/// Why a stream was ended from this side.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum End {
    Replaced,
    Revoked,
    Behind,
    Stopping,
}

impl End {
    pub(super) fn status(self) -> Status {
        match self {
            Self::Replaced => Status::aborted("a plane of the same name connected after this one"),
            Self::Revoked => Status::unauthenticated("the plane token was revoked"),
            Self::Behind => Status::resource_exhausted("the plane reads too slowly; connect again"),
            Self::Stopping => Status::unavailable("the control plane is stopping"),
        }
    }
}

/// One open stream.
#[derive(Debug)]
pub(super) struct Connection {
    pub(super) id: u64,
    pub(super) name: String,
    /// The id of the token that it was opened with.
    pub(super) token: String,
    pub(super) allow_stdio: bool,
    /// Its own labels and its token's. Others are another stream.
    pub(super) labels: PlaneLabels,
    /// Whether it answers questions for recorded calls.
    pub(super) tells_records: bool,
    pub(super) outbox: Outbox,
    /// The question for recorded calls that it is asked.
    pub(super) asked: Asked,
    end: watch::Sender<Option<End>>,
}

impl Connection {
    pub(super) fn new(id: u64, name: String, token: String, hello: &Hello, labels: PlaneLabels) -> Self {
        Self {
            id,
            name,
            token,
            allow_stdio: hello.allow_stdio,
            labels,
            tells_records: hello.tells_records,
            outbox: Outbox::default(),
            asked: Asked::default(),
            end: watch::Sender::new(None),
        }
    }

    /// Ends the stream; the first cause is told to the plane.
    pub(super) fn end(&self, cause: End) {
        self.end.send_if_modified(|end| end.is_none() && end.replace(cause).is_none());
    }

    /// Tells when the stream is to end.
    pub(super) fn ended(&self) -> watch::Receiver<Option<End>> {
        self.end.subscribe()
    }
}
