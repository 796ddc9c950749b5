//! One conversation with one data plane: who it is, what became of its earlier lives, and then what it asks, beat by beat. One batch at a
//! time is before the bank, so that a plane can neither flood it nor see its answers out of order.

use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;

use portcullis_metering::accounts::{Command, Corrupt, Refusal};
use portcullis_metering::{Ask, Close, Holder, Over};
use portcullis_proto::lease::v1 as proto;
use portcullis_proto::lease::v1::meter_request::Message as Said;
use portcullis_proto::lease::v1::meter_response::Message;
use tokio::sync::mpsc;
use tokio::time::timeout;
use tonic::{Status, Streaming};

use super::bank::{Closed, Round};
use super::books::Fact;
use super::fleet::Conversation;
use super::known::{Birth, Stranger};
use super::service::Parts;
use super::wire::{self, Malformed};
use crate::stream::AdmittedPlane;

/// How long a plane may take to say who it is.
const PATIENCE: Duration = Duration::from_secs(5);
/// Asks, closes and asks for shares in one batch, of each.
const MAX_IN_BATCH: usize = 4_096;
/// Lines, and debts, of what is told of one earlier life.
const MAX_OVER: usize = 262_144;

type Outgoing = mpsc::Sender<Result<proto::MeterResponse, Status>>;

/// Runs one conversation to its end.
pub(super) async fn run(
    parts: Arc<Parts>,
    admitted: AdmittedPlane,
    incoming: Streaming<proto::MeterRequest>,
    outgoing: Outgoing,
) {
    let mut revoked = parts.door.watch();
    let talk = talk(&parts, &admitted, incoming, &outgoing);
    let status = tokio::select! {
        status = talk => status,
        () = parts.stop.cancelled() => Some(Status::unavailable("the control plane is stopping")),
        () = revoked.over(&parts.door, &admitted) => Some(Status::unauthenticated("the plane token was revoked")),
        () = outgoing.closed() => None,
    };
    if let Some(status) = status {
        // A plane that reads nothing any more learns it from the end of the connection.
        let _ = timeout(PATIENCE, outgoing.send(Err(status))).await;
    }
}

/// Talks until the plane goes away (`None`) or is sent away.
async fn talk(
    parts: &Parts,
    admitted: &AdmittedPlane,
    mut incoming: Streaming<proto::MeterRequest>,
    outgoing: &Outgoing,
) -> Option<Status> {
    let (holder, conversation) = match introduce(parts, admitted, &mut incoming, outgoing).await {
        Ok(known) => known,
        Err(end) => return end.0,
    };
    let heard = hear(parts, holder, &mut incoming, outgoing);
    tokio::select! {
        heard = heard => heard.err().and_then(|end| end.0),
        () = conversation.replaced.cancelled() => {
            Some(Status::aborted("a newer conversation of this plane began after this one"))
        }
    }
}

/// The conversation is over: with a status, if the plane is sent away.
struct End(Option<Status>);

impl<E: Into<Status>> From<E> for End {
    fn from(error: E) -> Self {
        Self(Some(error.into()))
    }
}

impl From<Closed> for Status {
    fn from(closed: Closed) -> Self {
        Self::unavailable(closed.to_string())
    }
}

impl From<Stranger> for Status {
    fn from(stranger: Stranger) -> Self {
        let message = stranger.to_string();
        match stranger {
            Stranger::OtherName => Self::permission_denied(message),
            Stranger::OlderLife(_) | Stranger::OtherNonce(_) => Self::failed_precondition(message),
            Stranger::TooMany | Stranger::TooManyLive => Self::resource_exhausted(message),
        }
    }
}

async fn next(incoming: &mut Streaming<proto::MeterRequest>) -> Result<Said, End> {
    match incoming.message().await {
        Ok(Some(request)) => {
            let said = request.message;
            Ok(said.ok_or_else(|| Status::invalid_argument("a message says something"))?)
        }
        Ok(None) => Err(End(None)),
        Err(status) => {
            tracing::debug!(%status, "the conversation about leases with a data plane broke");
            Err(End(None))
        }
    }
}

async fn tell(outgoing: &Outgoing, message: Message) -> Result<(), End> {
    let response = proto::MeterResponse { message: Some(message) };
    outgoing.send(Ok(response)).await.map_err(|_| End(None))
}

/// Hears who the plane is, and lets it speak once that is on the disk.
async fn introduce(
    parts: &Parts,
    admitted: &AdmittedPlane,
    incoming: &mut Streaming<proto::MeterRequest>,
    outgoing: &Outgoing,
) -> Result<(Holder, Conversation), End> {
    let first = timeout(PATIENCE, next(incoming)).await;
    let first = first.map_err(|_| Status::deadline_exceeded("the plane did not say in time who it is"))?;
    let Said::Birth(said) = first? else {
        return Err(Status::invalid_argument("the first message is Birth").into());
    };
    let sane = |bytes: &[u8]| wire::id(bytes).filter(|id| !id.is_nil()).ok_or(Malformed::Birth);
    let (plane, nonce) = (sane(&said.plane)?, sane(&said.nonce)?);
    if said.life == 0 {
        return Err(Malformed::Birth.into());
    }
    let holder = Holder { plane, life: said.life };
    let birth = Birth { holder, nonce, name: admitted.name.clone() };
    let fleet = parts.fleet.clone();
    let known = parts.bank.run(move |round| round.introduce(&birth, |plane| fleet.has(plane))).await?;
    let unsettled = known.inspect_err(|stranger| {
        tracing::warn!(%holder, name = admitted.name, %stranger, "a data plane may not speak of leases");
    })?;
    let conversation = parts.fleet.begin(holder)?;
    tell(outgoing, Message::Known(proto::Known { unsettled })).await?;
    Ok((holder, conversation))
}

/// Hears what the plane says, and answers, until it goes away.
async fn hear(
    parts: &Parts,
    holder: Holder,
    incoming: &mut Streaming<proto::MeterRequest>,
    outgoing: &Outgoing,
) -> Result<(), End> {
    let mut telling: Option<Over> = None;
    loop {
        match next(incoming).await? {
            Said::Birth(_) => return Err(Status::invalid_argument("Birth is said once").into()),
            Said::Over(part) => {
                let (over, whole) = collect(holder, telling.take(), part)?;
                if !whole {
                    telling = Some(over);
                    continue;
                }
                let life = over.holder.life;
                let settled = parts.bank.run(move |round| round.settle(over)).await?;
                settled.map_err(|refusal| Status::invalid_argument(refusal.to_string()))?;
                tell(outgoing, Message::Settled(proto::Settled { life })).await?;
            }
            Said::Batch(batch) => {
                let answers = answer(parts, holder, batch).await?;
                tell(outgoing, Message::Answers(answers)).await?;
            }
        }
    }
}

/// Adds a part to what is told of an earlier life; says whether it is whole.
fn collect(holder: Holder, telling: Option<Over>, part: proto::OverPart) -> Result<(Over, bool), Malformed> {
    if part.life == 0 || part.life >= holder.life {
        return Err(Malformed::Bounds("what is over is an earlier life of the same plane"));
    }
    let earlier = Holder { life: part.life, ..holder };
    let mut over = telling.unwrap_or_else(|| Over { holder: earlier, lines: Vec::new(), debts: Vec::new() });
    if over.holder != earlier {
        return Err(Malformed::Bounds("one life is told whole before the next"));
    }
    if over.lines.len() + part.lines.len() > MAX_OVER || over.debts.len() + part.debts.len() > MAX_OVER {
        return Err(Malformed::Bounds("at most 262144 lines, and as many debts, are told of one life"));
    }
    for line in &part.lines {
        over.lines.push(wire::over_line(line)?);
    }
    for debt in &part.debts {
        over.debts.push(wire::over_debt(debt)?);
    }
    Ok((over, !part.more))
}

async fn answer(parts: &Parts, holder: Holder, batch: proto::Batch) -> Result<proto::Answers, End> {
    let lists = [batch.asks.len(), batch.closes.len(), batch.shares.len()];
    if lists.iter().any(|length| *length > MAX_IN_BATCH) {
        return Err(Malformed::Bounds("a batch has at most 4096 of each").into());
    }
    let asks: Result<Vec<Ask>, _> = batch.asks.iter().map(|ask| wire::ask(holder, ask)).collect();
    let closes: Result<Vec<Close>, _> = batch.closes.iter().map(|close| wire::close(holder, close)).collect();
    let (asks, closes) = (asks?, closes?);
    let mut assignments = Vec::with_capacity(batch.shares.len());
    for ask in batch.shares {
        let bucket = wire::bucket(&ask)?;
        let assignment = parts.limits.ask(holder.plane, bucket, &wire::share_ask(&ask));
        assignments.push(wire::assignment_to_proto(ask, &assignment));
    }
    let mut answers = proto::Answers::default();
    if !asks.is_empty() || !closes.is_empty() {
        let fleet = parts.fleet.size();
        let answered = parts.bank.run(move |round| round.beat(&asks, &closes, fleet)).await?;
        answers = answered.map_err(|refusal| match refusal {
            Refusal::DeadLife(holder) => Status::from(Stranger::OlderLife(holder.life)),
            other => Status::internal(other.to_string()),
        })?;
        let leases = u64::try_from(answers.answers.len()).unwrap_or(u64::MAX);
        parts.bank.counts().leases.fetch_add(leases, Ordering::Relaxed);
    }
    answers.assignments = assignments;
    Ok(answers)
}

impl Round<'_> {
    /// Takes note of a plane's life; tells which of its earlier ones are not settled.
    pub(super) fn introduce(
        &mut self,
        birth: &Birth,
        live: impl Fn(uuid::Uuid) -> bool,
    ) -> Result<Result<Vec<u32>, Stranger>, Corrupt> {
        let facts = match self.books.introduce(birth, self.now, live) {
            Ok(facts) => facts,
            Err(stranger) => return Ok(Err(stranger)),
        };
        for fact in facts {
            self.fact(fact)?;
        }
        let known = self.books.planes.get(&birth.holder.plane);
        Ok(Ok(known.map(|known| known.unsettled.iter().copied().collect()).unwrap_or_default()))
    }

    /// An earlier life of a plane is over. Told again, it changes nothing.
    pub(super) fn settle(&mut self, over: Over) -> Result<Result<(), Refusal>, Corrupt> {
        let Holder { plane, life } = over.holder;
        if let Err(refusal) = self.command(&Command::Over(over))? {
            return Ok(Err(refusal));
        }
        if self.books.planes.get(&plane).is_some_and(|known| known.unsettled.contains(&life)) {
            self.fact(Fact::Settled { plane, life })?;
        }
        Ok(Ok(()))
    }

    /// What a plane says at one beat. It is refused whole only where its life is over.
    pub(super) fn beat(
        &mut self,
        asks: &[Ask],
        closes: &[Close],
        fleet: u32,
    ) -> Result<Result<proto::Answers, Refusal>, Corrupt> {
        let mut answers = proto::Answers::default();
        // First what gives back, then what asks.
        for close in closes {
            match self.command(&Command::Close(*close))? {
                Err(refusal @ Refusal::DeadLife(_)) => return Ok(Err(refusal)),
                Err(refusal) => self.suspicious(close.holder, refusal),
                Ok(()) => {}
            }
            answers.closed.push(wire::closed_to_proto(&self.books.accounts.closed(close)));
        }
        for ask in asks {
            match self.command(&Command::Ask { ask: *ask, fleet })? {
                Err(refusal @ Refusal::DeadLife(_)) => return Ok(Err(refusal)),
                Err(refusal) => {
                    self.suspicious(ask.holder, refusal);
                    answers.refused.push(wire::refused_to_proto(ask));
                }
                Ok(()) => match self.books.accounts.answer(self.now, ask, fleet) {
                    Some(answer) => answers.answers.push(wire::answer_to_proto(&answer)),
                    None => answers.refused.push(wire::refused_to_proto(ask)),
                },
            }
        }
        Ok(Ok(answers))
    }

    /// That an account is unknown happens whenever a budget comes or goes; all else tells of a ledger that is not the plane's own.
    fn suspicious(&self, holder: Holder, refusal: Refusal) {
        if !matches!(refusal, Refusal::UnknownAccount(_)) {
            self.counts.impossible.fetch_add(1, Ordering::Relaxed);
            tracing::warn!(%holder, %refusal, "what a data plane says of a budget was refused");
        }
    }
}
