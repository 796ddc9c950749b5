//! Distribution: one gRPC stream for each data plane. It hands out what is published and what is secret, names the prober of
//! each server, relays signals between planes, answers for calls that a person has to approve, and takes in what planes report.
//!
//! It stands on `store`, `publish`, `approvals` and `catalog` and decides nothing of its own. Nothing queues for a slow plane: snapshots,
//! secrets and assignments are looked up when there is room to send them, so that it gets the latest of each.

mod assign;
mod chunks;
mod connection;
mod door;
mod handed;
mod outbox;
mod own;
mod planes;
mod records;
mod session;
mod tokens;

use std::pin::Pin;
use std::sync::Arc;
use std::time::Duration;

use futures_util::{Stream, stream};
use portcullis_proto::config::v1 as proto;
use portcullis_proto::config::v1::distribution_server::{self, DistributionServer};
use tokio::sync::{mpsc, watch};
use tokio_util::sync::CancellationToken;
use tonic::{Request, Response, Status, Streaming};

use crate::approvals::calls::Calls;
use crate::catalog::Catalog;
use crate::clock::Clock;
use crate::publish::Published;
use crate::store::{Store, Vault};

pub(crate) use door::{AdmittedPlane, PlaneDoor};
pub use planes::{MAX_CONNECTED, PlaneInfo, Planes};
pub use records::{RecordStream, RecordsError};
pub use tokens::{
    MAX_TOKENS, NewPlaneToken, PLANE_TOKEN, PlaneTokenInfo, PlaneTokens, TokenError, TokenScope,
};

use connection::End;

/// The largest message that a plane may send, in bytes: a report with all definitions of a server.
pub const MAX_MESSAGE_BYTES: usize = 32 << 20;
/// How many messages may wait between a conversation and the network.
const QUEUE: usize = 2;

/// How long things take on a stream.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Timings {
    /// How long a plane may take to say Hello.
    pub hello: Duration,
    /// How often a plane sends a sign of life.
    pub status: Duration,
    /// After how much silence a plane is taken for lost.
    pub silence: Duration,
    /// How often a server is probed without other cause.
    pub probe: Duration,
}

impl Timings {
    /// Two signs of life in a row may be lost, and a second more: with one every 2 s, a lost plane's servers have another
    /// prober after 7 s.
    #[must_use]
    pub const fn new(status: Duration, probe: Duration) -> Self {
        let silence = status.saturating_mul(3).saturating_add(Duration::from_secs(1));
        Self { hello: Duration::from_secs(5), status, silence, probe }
    }
}

/// What distribution stands on.
#[derive(Debug)]
pub struct DistributionParts {
    /// Servers and plane tokens.
    pub store: StoreHandle,
    /// What is published.
    pub published: watch::Receiver<Option<Arc<Published>>>,
    /// What is secret.
    pub vault: Arc<Vault>,
    /// Takes in reports.
    pub catalog: Catalog,
    /// Answers for calls that a person has to approve.
    pub calls: Calls,
    /// Who is connected.
    pub planes: Planes,
    /// What time it is.
    pub clock: Clock,
    /// How long things take.
    pub timings: Timings,
}

/// A store without `Debug` of its own.
#[derive(Clone)]
pub struct StoreHandle(pub Arc<dyn Store>);

impl std::fmt::Debug for StoreHandle {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("StoreHandle")
    }
}

impl std::ops::Deref for StoreHandle {
    type Target = dyn Store;

    fn deref(&self) -> &Self::Target {
        &*self.0
    }
}

/// The gRPC service that data planes attach to. Cheap to clone.
#[derive(Debug, Clone)]
pub struct Distribution(Arc<DistributionParts>);

impl Distribution {
    /// A service over these parts.
    #[must_use]
    pub fn new(parts: DistributionParts) -> Self {
        Self(Arc::new(parts))
    }

    /// The service as a server takes it, with its bound on messages.
    #[must_use]
    pub fn into_server(self) -> DistributionServer<Self> {
        DistributionServer::new(self).max_decoding_message_size(MAX_MESSAGE_BYTES)
    }

    /// The same door for other services: who is admitted here is admitted there.
    pub(crate) fn door(&self) -> PlaneDoor {
        PlaneDoor { store: self.0.store.clone(), planes: self.0.planes.clone() }
    }

    /// Follows the store until the token is cancelled, then ends all streams: servers that come and go find a prober,
    /// revoked tokens lose their streams. Without it, assignments change only when planes come and go.
    pub async fn supervise(self, stop: CancellationToken) {
        let Self(parts) = self;
        let mut changes = parts.store.watch();
        loop {
            changes.mark_unchanged();
            parts.planes.follow(&parts.store.state());
            tokio::select! {
                () = stop.cancelled() => break,
                changed = changes.changed() => if changed.is_err() { break },
            }
        }
        parts.planes.stop();
    }
}

type Answers = Pin<Box<dyn Stream<Item = Result<proto::AttachResponse, Status>> + Send>>;

#[tonic::async_trait]
impl distribution_server::Distribution for Distribution {
    type AttachStream = Answers;

    async fn attach(
        &self,
        request: Request<Streaming<proto::AttachRequest>>,
    ) -> Result<Response<Answers>, Status> {
        let admission = self.door().admission(&request)?;
        let (outgoing, queue) = mpsc::channel(QUEUE);
        let (ended, end) = watch::channel(None);
        let parts = Arc::clone(&self.0);
        tokio::spawn(session::run(parts, admission, request.into_inner(), outgoing, ended));
        Ok(Response::new(answers(queue, end)))
    }
}

/// The bearer token of a request; none when there are two.
fn presented<T>(request: &Request<T>) -> Option<&str> {
    let mut values = request.metadata().get_all("authorization").iter();
    let (value, None) = (values.next()?, values.next()) else { return None };
    let (scheme, text) = value.to_str().ok()?.split_once(' ')?;
    scheme.eq_ignore_ascii_case("bearer").then(|| text.trim())
}

/// What goes out: the queue, cut short by the end of the conversation.
fn answers(
    queue: mpsc::Receiver<Result<proto::AttachResponse, Status>>,
    end: watch::Receiver<Option<End>>,
) -> Answers {
    Box::pin(stream::unfold(Some((queue, end)), |parts| async move {
        let (mut queue, mut end) = parts?;
        let cut = async {
            match end.wait_for(Option::is_some).await {
                Ok(cause) => *cause,
                // It ended by itself: what is queued is the last.
                Err(_) => None,
            }
        };
        let ended = tokio::select! {
            biased;
            cause = cut => cause,
            message = queue.recv() => return message.map(|message| (message, Some((queue, end)))),
        };
        match ended {
            Some(cause) => Some((Err(cause.status()), None)),
            None => queue.recv().await.map(|message| (message, Some((queue, end)))),
        }
    }))
}
