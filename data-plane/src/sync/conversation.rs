//! One conversation with a control plane, from Hello to its end.

use std::collections::HashMap;
use std::time::{Duration, SystemTime};

use bytes::Bytes;
use portcullis_policy::snapshot::SnapshotVersion;
use portcullis_proto::config::v1::attach_request::Message as Out;
use portcullis_proto::config::v1::attach_response::Message as In;
use portcullis_proto::config::v1::distribution_client::DistributionClient;
use portcullis_proto::config::v1::{self as proto};
use portcullis_seal::Fingerprint;
use tokio::sync::mpsc;
use tokio::task::JoinHandle;
use tokio::time::{Instant, MissedTickBehavior, interval, timeout};
use tokio_stream::wrappers::ReceiverStream;
use tonic::transport::Channel;
use tonic::{Request, Status, Streaming};

use super::Synchroniser;
use super::assemble::{Assembler, Candidate, Step};
use super::control_plane::{BadControlPlane, with_causes};
use super::enforce::Enforced;
use super::outbox::Item;
use super::records::Telling;
use super::refusal::Refusal;
use super::signals::Signal;
use super::status::{LastRefusal, PlaneFigures, Told};

/// How long the control plane may take to welcome us.
const WELCOME: Duration = Duration::from_secs(10);
/// How long the control plane may take to part.
const PART: Duration = Duration::from_secs(1);
/// The largest message that is taken: a chunk, which a single entry may fill.
const MAX_MESSAGE: usize = 32 * 1024 * 1024;
/// Messages that wait for the connection.
const SEND_QUEUE: usize = 16;

/// Why a conversation ended.
#[derive(Debug, thiserror::Error)]
pub(super) enum Ended {
    /// The configuration or a file it names.
    #[error(transparent)]
    Config(#[from] BadControlPlane),
    /// No connection.
    #[error("cannot connect: {0}")]
    Connect(String),
    /// The control plane does not admit this plane.
    #[error("the control plane does not admit this plane: {0}")]
    NotAdmitted(String),
    /// The control plane ended it.
    #[error("{}", told(.0))]
    Status(Box<Status>),
    /// No answer to Hello, or another one.
    #[error("the control plane did not welcome this plane in time")]
    NoWelcome,
    /// The stream ended.
    #[error("the control plane closed the conversation")]
    Closed,
    /// A snapshot could not be taken for a reason that passes: a new conversation brings it again.
    #[error("a snapshot could not be taken now: {0}")]
    TryAgain(Refusal),
}

fn told(status: &Status) -> String {
    // The status' own Display shows metadata and details too.
    format!("{:?}: {}", status.code(), status.message())
}

impl From<Status> for Ended {
    fn from(status: Status) -> Self {
        match status.code() {
            tonic::Code::Unauthenticated | tonic::Code::PermissionDenied => {
                Self::NotAdmitted(status.message().to_owned())
            }
            _ => Self::Status(Box::new(status)),
        }
    }
}

struct Applying {
    version: SnapshotVersion,
    digest: Fingerprint,
    received: Instant,
    work: JoinHandle<Result<Enforced, Refusal>>,
}

/// What one conversation keeps.
pub(super) struct Conversation<'a> {
    sync: &'a Synchroniser,
    figures: &'a (dyn Fn() -> PlaneFigures + Send + Sync),
    out: mpsc::Sender<proto::AttachRequest>,
    assembler: Assembler,
    applying: Option<Applying>,
    /// The newest whole snapshot that waits for the one being applied.
    waiting: Option<(Box<Candidate>, Instant)>,
    /// What was told of servers on this stream.
    told: Told,
    /// The question for recorded calls that is being answered.
    telling: Option<Telling>,
}

impl<'a> Conversation<'a> {
    /// Connects and talks until it ends; how long it stood decides over the next pause.
    pub(super) async fn hold(
        sync: &'a Synchroniser,
        figures: &'a (dyn Fn() -> PlaneFigures + Send + Sync),
    ) -> Ended {
        let channel = match connect(sync).await {
            Ok(channel) => channel,
            Err(ended) => return ended,
        };
        let (out, queue) = mpsc::channel(SEND_QUEUE);
        let mut conversation = Self {
            sync,
            figures,
            out,
            assembler: Assembler::new(sync.config.token.public_key),
            applying: None,
            waiting: None,
            told: Told::default(),
            telling: None,
        };
        let ended = conversation.talk(channel, queue).await;
        sync.status.connected(false);
        // What is being applied comes to its end: it cannot be taken back, and two must not run side by side.
        if let Some(applying) = conversation.applying.take() {
            conversation.conclude(applying).await;
        }
        ended
    }

    async fn talk(&mut self, channel: Channel, queue: mpsc::Receiver<proto::AttachRequest>) -> Ended {
        match self.attach(channel, queue).await {
            Ok((inbound, interval)) => self.exchange(inbound, interval).await,
            Err(ended) => ended,
        }
    }

    async fn attach(
        &self,
        channel: Channel,
        queue: mpsc::Receiver<proto::AttachRequest>,
    ) -> Result<(Streaming<proto::AttachResponse>, Duration), Ended> {
        let hello = proto::AttachRequest { message: Some(Out::Hello(self.sync.hello())) };
        self.out.send(hello).await.map_err(|_| Ended::Closed)?;
        let mut client = DistributionClient::new(channel).max_decoding_message_size(MAX_MESSAGE);
        let mut request = Request::new(ReceiverStream::new(queue));
        request.metadata_mut().insert("authorization", self.sync.authorization.clone());
        let welcomed = async {
            let mut inbound = client.attach(request).await?.into_inner();
            match inbound.message().await?.and_then(|response| response.message) {
                Some(In::Welcome(welcome)) => Ok((inbound, welcome)),
                Some(_) => Err(Ended::NoWelcome),
                None => Err(Ended::Closed),
            }
        };
        let (inbound, welcome) = timeout(WELCOME, welcomed).await.map_err(|_| Ended::NoWelcome)??;
        tracing::info!(control_plane = welcome.control_plane_id, "attached to the control plane");
        self.sync.take_labels(welcome.labels.into_iter().collect()).await;
        let interval = Duration::from_millis(welcome.status_interval_ms.into())
            .clamp(Duration::from_millis(100), Duration::from_secs(60));
        Ok((inbound, interval))
    }

    async fn exchange(&mut self, mut inbound: Streaming<proto::AttachResponse>, every: Duration) -> Ended {
        self.sync.status.connected(true);
        self.sync.outbox.connected(now_unix_ms());
        let mut status = interval(every);
        status.set_missed_tick_behavior(MissedTickBehavior::Delay);
        let out = self.out.clone();
        loop {
            let told = tokio::select! {
                message = inbound.message() => match message {
                    Ok(Some(response)) => self.hear(response).await,
                    Ok(None) => Err(Ended::Closed),
                    Err(status) => Err(status.into()),
                },
                applied = finished(&mut self.applying) => self.applied(applied).await,
                // A permit first, then the item, with no wait between them: nothing is lost when another branch is taken.
                told = async {
                    let permit = out.reserve().await.map_err(|_| Ended::Closed)?;
                    let item = self.sync.outbox.next(now_unix_ms).await;
                    permit.send(proto::AttachRequest { message: Some(to_proto(item)) });
                    Ok(())
                } => told,
                chunk = Telling::next(&mut self.telling) => self.say(Out::Records(chunk)).await,
                _ = status.tick() => {
                    let status = (self.figures)().to_proto(&mut self.told);
                    self.say(Out::Status(status)).await
                }
            };
            if let Err(ended) = told {
                drop(out);
                if matches!(ended, Ended::TryAgain(_)) {
                    self.part(inbound).await;
                }
                return ended;
            }
        }
    }

    /// Ends our side and waits a moment for the other's, so that what was said last arrives.
    async fn part(&mut self, mut inbound: Streaming<proto::AttachResponse>) {
        (self.out, _) = mpsc::channel(1);
        let ended = async { while let Ok(Some(_)) = inbound.message().await {} };
        // Whether it answers or not: the conversation is over.
        let _ = timeout(PART, ended).await;
    }

    async fn say(&self, message: Out) -> Result<(), Ended> {
        let message = proto::AttachRequest { message: Some(message) };
        self.out.send(message).await.map_err(|_| Ended::Closed)
    }

    async fn hear(&mut self, response: proto::AttachResponse) -> Result<(), Ended> {
        match response.message {
            Some(In::Snapshot(chunk)) => match self.assembler.push(chunk) {
                Step::More => {}
                Step::Whole(candidate) => self.take(candidate, Instant::now()),
                Step::Refused(version, refusal) => self.refuse(version, refusal).await?,
            },
            Some(In::Secrets(secrets)) => self.sync.take_secrets(secrets).await,
            Some(In::Probe(assignment)) => self.sync.probing.assign(&assignment),
            Some(In::Signal(signal)) => {
                if let Some(signal) = Signal::from_proto(signal) {
                    self.sync.signals.heard(signal);
                }
            }
            Some(In::RecordQuery(query)) => {
                self.telling = Some(Telling::begin(self.sync.records.as_ref(), &query));
            }
            Some(In::RecordCredit(credit)) => Telling::credit(&mut self.telling, credit.id, credit.chunks),
            Some(In::CallAnswer(answer)) => self.sync.calls.heard(answer),
            Some(In::Drain(drain)) => {
                tracing::warn!(reason = drain.reason, "the control plane asks this plane to end");
                self.sync.drain.cancel();
            }
            // No control plane sends deltas to a plane that does not accept them; and of messages of later versions
            // nothing is known.
            Some(In::Delta(_) | In::Welcome(_)) | None => {}
        }
        Ok(())
    }

    /// Begins to apply a snapshot, or lets it wait: the newest one waits, others are superseded.
    fn take(&mut self, candidate: Box<Candidate>, received: Instant) {
        if self.applying.is_some() {
            self.waiting = Some((candidate, received));
            return;
        }
        let enforcer = self.sync.enforcer.clone();
        let (version, digest) = (candidate.header.version, candidate.header.digest);
        let work = tokio::spawn(async move { enforcer.enforce(*candidate).await });
        self.applying = Some(Applying { version, digest, received, work });
    }

    async fn applied(&mut self, result: Result<Enforced, Refusal>) -> Result<(), Ended> {
        let Some(applying) = self.applying.take() else { return Ok(()) };
        let (version, digest, received) = (applying.version, applying.digest, applying.received);
        self.settle(version, &result);
        let said = match result {
            Ok(_) => {
                let micros = u64::try_from(received.elapsed().as_micros()).unwrap_or(u64::MAX);
                self.say(Out::Ack(proto::Ack {
                    version: version.0,
                    digest: Bytes::copy_from_slice(digest.as_bytes()),
                    applied_in_micros: micros,
                }))
                .await
            }
            Err(refusal) => self.nack(version, refusal).await,
        };
        if let Some((candidate, received)) = self.waiting.take() {
            self.take(candidate, received);
        }
        said
    }

    /// The conversation is over, the work is not.
    async fn conclude(&self, applying: Applying) {
        let result = applying.work.await.unwrap_or(Err(Refusal::Failed));
        self.settle(applying.version, &result);
    }

    fn settle(&self, version: SnapshotVersion, result: &Result<Enforced, Refusal>) {
        match result {
            Ok(Enforced::Swapped) => {
                tracing::info!(%version, "snapshot in force");
                self.sync.status.snapshot_applied();
            }
            Ok(Enforced::AlreadyInForce) => {}
            Err(refusal) => self.note(version, refusal),
        }
    }

    async fn refuse(&self, version: SnapshotVersion, refusal: Refusal) -> Result<(), Ended> {
        self.note(version, &refusal);
        self.nack(version, refusal).await
    }

    fn note(&self, version: SnapshotVersion, refusal: &Refusal) {
        tracing::error!(%version, %refusal, "snapshot refused; the one in force stays");
        self.sync.status.snapshot_refused(LastRefusal { version, reason: refusal.to_string() });
    }

    async fn nack(&self, version: SnapshotVersion, refusal: Refusal) -> Result<(), Ended> {
        self.say(Out::Nack(proto::Nack { version: version.0, reason: refusal.to_string() })).await?;
        if refusal.is_transient() { Err(Ended::TryAgain(refusal)) } else { Ok(()) }
    }
}

async fn connect(sync: &Synchroniser) -> Result<Channel, Ended> {
    let endpoint = sync.config.control_plane.endpoint()?;
    endpoint.connect().await.map_err(|error| Ended::Connect(with_causes(&error)))
}

/// The end of the work that runs; never without one.
async fn finished(applying: &mut Option<Applying>) -> Result<Enforced, Refusal> {
    match applying {
        Some(applying) => (&mut applying.work).await.unwrap_or(Err(Refusal::Failed)),
        None => std::future::pending().await,
    }
}

fn to_proto(item: Item) -> Out {
    match item {
        Item::Signal(signal) => Out::Signal(signal.to_proto()),
        Item::Report(report) => Out::ProbeReport(*report),
        Item::Ask(ask) => Out::CallAsk(*ask),
        Item::GivenBack(given) => Out::CallGivenBack(given),
        Item::Hint(server) => Out::DriftHint(proto::DriftHint { server_uid: server.to_string() }),
    }
}

impl Synchroniser {
    fn hello(&self) -> proto::Hello {
        let config = &self.config;
        let in_force = self.live.load();
        let header = in_force.as_ref().map(|snapshot| snapshot.header());
        proto::Hello {
            name: config.name.to_string(),
            labels: config.labels.clone().into_iter().collect::<HashMap<_, _>>(),
            software_version: env!("CARGO_PKG_VERSION").to_owned(),
            snapshot_version: header.map_or(0, |header| header.version.0),
            snapshot_digest: header
                .map_or_else(Bytes::new, |header| Bytes::copy_from_slice(header.digest.as_bytes())),
            allow_stdio: config.allow_stdio,
            accepts_deltas: false,
            mcp_url: config.mcp_url.clone(),
            tells_records: self.records.is_some(),
        }
    }
}

fn now_unix_ms() -> u64 {
    let since = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH).unwrap_or_default();
    u64::try_from(since.as_millis()).unwrap_or(u64::MAX)
}
