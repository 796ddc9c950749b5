//! The service `portcullis.lease.v1.Leases`: one conversation for each data plane, admitted by the same token as its stream of
//! snapshots.

use std::pin::Pin;
use std::sync::Arc;

use futures_util::{Stream, stream};
use portcullis_proto::lease::v1 as proto;
use portcullis_proto::lease::v1::leases_server::{self, LeasesServer};
use tokio::sync::mpsc;
use tokio_util::sync::CancellationToken;
use tonic::{Request, Response, Status, Streaming};

use super::bank::Bank;
use super::conversation;
use super::fleet::Fleet;
use super::limits::Limits;
use crate::stream::{MAX_MESSAGE_BYTES, PlaneDoor};

/// How many messages may wait between a conversation and the network.
const QUEUE: usize = 2;

/// What conversations stand on.
#[derive(Debug)]
pub(crate) struct Parts {
    pub(crate) door: PlaneDoor,
    pub(crate) bank: Bank,
    pub(crate) fleet: Fleet,
    pub(crate) limits: Arc<Limits>,
    pub(crate) stop: CancellationToken,
}

/// The gRPC service. Cheap to clone.
#[derive(Debug, Clone)]
pub(crate) struct Leases(Arc<Parts>);

impl Leases {
    pub(crate) fn new(parts: Parts) -> Self {
        Self(Arc::new(parts))
    }

    /// The service as a server takes it, with its bound on messages.
    pub(crate) fn into_server(self) -> LeasesServer<Self> {
        LeasesServer::new(self).max_decoding_message_size(MAX_MESSAGE_BYTES)
    }
}

type Told = Pin<Box<dyn Stream<Item = Result<proto::MeterResponse, Status>> + Send>>;

#[tonic::async_trait]
impl leases_server::Leases for Leases {
    type MeterStream = Told;

    async fn meter(
        &self,
        request: Request<Streaming<proto::MeterRequest>>,
    ) -> Result<Response<Told>, Status> {
        let admitted = self.0.door.admit(&request)?;
        let (outgoing, queue) = mpsc::channel(QUEUE);
        tokio::spawn(conversation::run(Arc::clone(&self.0), admitted, request.into_inner(), outgoing));
        let told =
            stream::unfold(queue, |mut queue| async move { queue.recv().await.map(|told| (told, queue)) });
        Ok(Response::new(Box::pin(told)))
    }
}
