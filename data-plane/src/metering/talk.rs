//! The conversation about metering with the control plane: who we are, what became of earlier lives, and then batches both ways.

use std::time::Duration;

use bytes::Bytes;
use portcullis_metering::purse::Work;
use portcullis_metering::{Holder, Over};
use portcullis_proto::lease::v1 as proto;
use portcullis_proto::lease::v1::leases_client::LeasesClient;
use portcullis_proto::lease::v1::meter_request::Message as Out;
use portcullis_proto::lease::v1::meter_response::Message as In;
use tokio::sync::mpsc;
use tokio::time::{Instant, timeout};
use tokio_stream::wrappers::ReceiverStream;
use tokio_util::sync::CancellationToken;
use tonic::metadata::{Ascii, MetadataValue};
use tonic::{Code, Request, Status, Streaming};

use super::keeper::{IN_A_BATCH, Keeper};
use super::writer::Order;
use super::{Metering, wire};
use crate::sync::{Backoff, BadControlPlane, ControlPlane, random, with_causes};

/// How long the control plane may take to answer Birth, and to note an earlier life.
const PATIENCE: Duration = Duration::from_secs(10);
/// The largest message that is taken.
const MAX_MESSAGE: usize = 4 * 1024 * 1024;
/// Messages that wait for the connection; what does not fit is asked again later.
const SEND_QUEUE: usize = 64;
/// A conversation that stood so long was a good one: the next pause begins small again.
const GOOD: Duration = Duration::from_secs(10);

/// Why a conversation ended.
#[derive(Debug, thiserror::Error)]
enum Ended {
    #[error(transparent)]
    Config(#[from] BadControlPlane),
    #[error("cannot connect: {0}")]
    Connect(String),
    /// This plane is not who it says to be: its id is another plane's, or its ledger is older than what the control plane knows.
    #[error("the control plane knows another plane by this ledger: {0}")]
    Stranger(String),
    #[error("{:?}: {}", .0.code(), .0.message())]
    Status(Box<Status>),
    #[error("the control plane did not answer in time")]
    NoAnswer,
    #[error("the control plane closed the conversation")]
    Closed,
}

impl From<Status> for Ended {
    fn from(status: Status) -> Self {
        match status.code() {
            // Said of strangers alone (see Birth).
            Code::FailedPrecondition | Code::PermissionDenied => Self::Stranger(status.message().to_owned()),
            _ => Self::Status(Box::new(status)),
        }
    }
}

/// Speaks, again and again, until it is stopped.
pub(super) async fn run(
    mut keeper: Keeper,
    control_plane: ControlPlane,
    authorization: MetadataValue<Ascii>,
    stop: CancellationToken,
) {
    let mut backoff = Backoff::default();
    let mut said = None;
    loop {
        let begun = Instant::now();
        let ended = tokio::select! {
            () = stop.cancelled() => return,
            ended = keeper.hold(&control_plane, &authorization) => ended,
        };
        keeper.metering.set_link(None);
        if begun.elapsed() >= GOOD {
            backoff.reset();
            said = None;
        }
        match &ended {
            // It could not be made again.
            Ended::Connect(_) | Ended::Config(_) => keeper.metering.purse().cut_off(),
            // Who is refused as a newcomer too has another trouble, of which new names are no cure.
            Ended::Stranger(_) if !keeper.refused => keeper.come_as_another(),
            Ended::Stranger(_) | Ended::Status(_) | Ended::NoAnswer | Ended::Closed => {}
        }
        let pause = backoff.next(random());
        let text = ended.to_string();
        // The same trouble, again and again, is said once.
        if said.as_ref() == Some(&text) {
            tracing::debug!(error = text, ?pause, "no conversation about metering");
        } else {
            tracing::warn!(
                error = text,
                ?pause,
                "no conversation about metering; budgets spend what is held"
            );
            said = Some(text);
        }
        tokio::select! {
            () = stop.cancelled() => return,
            () = tokio::time::sleep(pause) => {}
        }
    }
}

impl Keeper {
    /// One conversation, to its end.
    async fn hold(&mut self, control_plane: &ControlPlane, authorization: &MetadataValue<Ascii>) -> Ended {
        match self.talk(control_plane, authorization).await {
            Ok(never) => match never {},
            Err(ended) => ended,
        }
    }

    async fn talk(
        &mut self,
        control_plane: &ControlPlane,
        authorization: &MetadataValue<Ascii>,
    ) -> Result<std::convert::Infallible, Ended> {
        // A life that is not on disk could come again after a crash.
        let holder = self.metering.purse().holder();
        let born = self.born.wait_for(|born| *born == Some(holder)).await.map(|_| ());
        born.map_err(|_| Ended::Closed)?;
        let channel = control_plane.endpoint()?.connect().await;
        let channel = channel.map_err(|error| Ended::Connect(with_causes(&error)))?;
        let (out, queue) = mpsc::channel(SEND_QUEUE);
        let birth = proto::Birth {
            plane: wire::uuid(holder.plane),
            life: holder.life,
            nonce: Bytes::copy_from_slice(&self.nonce),
        };
        say(&out, Out::Birth(birth)).await?;
        let mut client = LeasesClient::new(channel).max_decoding_message_size(MAX_MESSAGE);
        let mut request = Request::new(ReceiverStream::new(queue));
        request.metadata_mut().insert("authorization", authorization.clone());
        let known = async {
            let mut inbound = client.meter(request).await?.into_inner();
            match heard(&mut inbound).await? {
                In::Known(known) => Ok::<_, Ended>((inbound, known)),
                In::Settled(_) | In::Answers(_) => Err(Ended::NoAnswer),
            }
        };
        let (mut inbound, known) = timeout(PATIENCE, known).await.map_err(|_| Ended::NoAnswer)??;
        self.metering.figures().conversations.fetch_add(1, std::sync::atomic::Ordering::Relaxed);
        self.refused = false;
        tracing::info!(%holder, unsettled = known.unsettled.len(), "the control plane meters this plane");
        while let Some(over) = self.over.first() {
            timeout(PATIENCE, tell_over(&out, &mut inbound, over)).await.map_err(|_| Ended::NoAnswer)??;
            self.settled();
        }
        self.metering.set_link(Some(out));
        loop {
            if let In::Answers(answers) = heard(&mut inbound).await? {
                self.metering.hear(holder, &answers);
            }
        }
    }

    /// The control plane has noted how the oldest of the earlier lives ended.
    fn settled(&mut self) {
        let over = self.over.remove(0);
        tracing::info!(holder = %over.holder, "what an earlier life spent is settled");
        if let Some(writer) = &self.metering.0.writer {
            writer.order(Order::Settled(over.holder.life));
        }
    }

    fn come_as_another(&mut self) {
        let before = self.metering.purse().holder();
        match self.metering.become_another() {
            Ok(holder) => {
                self.over.clear();
                self.refused = true;
                tracing::error!(
                    %before,
                    now = %holder,
                    "this plane comes as another one to budgets: what it held before stays written off"
                );
            }
            Err(error) => tracing::error!(%error, "this plane cannot come as another one"),
        }
    }
}

impl Metering {
    fn hear(&self, holder: Holder, answers: &proto::Answers) {
        let (purse, now) = (self.purse(), self.now());
        if purse.holder() != holder {
            return;
        }
        self.figures().answers.fetch_add(answers.answers.len() as u64, std::sync::atomic::Ordering::Relaxed);
        let mut done = Vec::new();
        for answer in answers.answers.iter().filter_map(|answer| wire::answer(holder, answer)) {
            done.push(purse.receive(&answer, now));
        }
        for refused in &answers.refused {
            if let Some(account) = wire::account_of(refused.account.as_ref()) {
                purse.refused(account, refused.seq);
            }
        }
        for closed in answers.closed.iter().filter_map(|closed| wire::closed(holder, closed)) {
            purse.closed(&closed);
        }
        for (key, assignment) in answers.assignments.iter().filter_map(wire::assignment) {
            self.limits().adopt(key, &assignment, now);
        }
        let opens = done.iter().any(|work: &Work| !work.opening.is_empty());
        done.into_iter().for_each(|work| self.serve(&purse, work));
        // Where something is opened, it is when the disk has it that there is something to find.
        if !opens && !answers.answers.is_empty() {
            self.0.news.notify_waiters();
        }
    }
}

async fn say(out: &mpsc::Sender<proto::MeterRequest>, message: Out) -> Result<(), Ended> {
    out.send(proto::MeterRequest { message: Some(message) }).await.map_err(|_| Ended::Closed)
}

/// The next message that this version knows.
async fn heard(inbound: &mut Streaming<proto::MeterResponse>) -> Result<In, Ended> {
    loop {
        if let Some(message) = inbound.message().await?.ok_or(Ended::Closed)?.message {
            return Ok(message);
        }
    }
}

/// Tells of an earlier life, and waits until it is noted.
async fn tell_over(
    out: &mpsc::Sender<proto::MeterRequest>,
    inbound: &mut Streaming<proto::MeterResponse>,
    over: &Over,
) -> Result<(), Ended> {
    for part in wire::over(over, IN_A_BATCH) {
        say(out, Out::Over(part)).await?;
    }
    loop {
        if let In::Settled(settled) = heard(inbound).await?
            && settled.life == over.holder.life
        {
            return Ok(());
        }
    }
}
