//! A data plane that is a purse and a wire, and no more.
#![allow(dead_code, unreachable_pub, reason = "each test file uses its part")]

use std::sync::Arc;
use std::time::Duration;

use portcullis_metering::purse::{Charge, Price, Purse, Settings, Tab, Why, Work};
use portcullis_metering::{
    AccountId, Answer, Close, Closed, Epoch, Holder, Length, Level, Mono, OnOutage, Unit, Used,
};
use portcullis_proto::lease::v1 as wire;
use portcullis_proto::lease::v1::leases_client::LeasesClient;
use portcullis_proto::lease::v1::meter_request::Message as Said;
use portcullis_proto::lease::v1::meter_response::Message;
use tokio::sync::mpsc;
use tokio::time::timeout;
use tokio_stream::wrappers::ReceiverStream;
use tonic::{Request, Status, Streaming};
use uuid::Uuid;

use crate::admin_support::ControlPlane;

const PATIENCE: Duration = Duration::from_secs(20);

/// One conversation, as raw as it is.
pub struct Wire {
    pub say: mpsc::Sender<wire::MeterRequest>,
    pub hear: Streaming<wire::MeterResponse>,
}

impl Wire {
    pub async fn open(control: &ControlPlane, token: Option<&str>) -> Result<Self, Status> {
        let mut client = LeasesClient::new(control.channel.clone());
        let (say, said) = mpsc::channel(16);
        let mut request = Request::new(ReceiverStream::new(said));
        if let Some(token) = token {
            request.metadata_mut().insert("authorization", format!("Bearer {token}").parse().unwrap());
        }
        let hear = client.meter(request).await?.into_inner();
        Ok(Self { say, hear })
    }

    pub async fn say(&self, said: Said) {
        let _ = self.say.send(wire::MeterRequest { message: Some(said) }).await;
    }

    pub async fn next(&mut self) -> Result<Message, Status> {
        let next = timeout(PATIENCE, self.hear.message()).await.expect("nothing came")?;
        next.and_then(|response| response.message).ok_or_else(|| Status::ok("the stream ended"))
    }

    pub async fn known(&mut self) -> Result<Vec<u32>, Status> {
        match self.next().await? {
            Message::Known(known) => Ok(known.unsettled),
            other => panic!("not Known but {other:?}"),
        }
    }

    /// The lives that settle as these parts are told.
    pub async fn settle(&mut self, part: wire::OverPart) -> u32 {
        self.say(Said::Over(part)).await;
        match self.next().await.unwrap() {
            Message::Settled(settled) => settled.life,
            other => panic!("not Settled but {other:?}"),
        }
    }

    pub async fn batch(&mut self, batch: wire::Batch) -> Result<wire::Answers, Status> {
        self.say(Said::Batch(batch)).await;
        match self.next().await? {
            Message::Answers(answers) => Ok(answers),
            other => panic!("not Answers but {other:?}"),
        }
    }
}

pub fn birth(plane: Uuid, life: u32, nonce: u128) -> Said {
    let nonce = Uuid::from_u128(nonce).as_bytes().to_vec().into();
    Said::Birth(wire::Birth { plane: plane.as_bytes().to_vec().into(), life, nonce })
}

/// A token for the plane of this name.
pub async fn token(control: &ControlPlane, name: &str) -> String {
    control.running().plane_token(&name.parse().unwrap()).await.unwrap()
}

/// A plane with a purse, in its first life.
pub struct Plane {
    pub purse: Purse,
    wire: Wire,
    pub tab: Arc<Tab>,
    pub now: Mono,
    /// Calls that were paid for.
    pub paid: u64,
    pub last: Option<Why>,
}

impl Plane {
    pub async fn born(control: &ControlPlane, number: u128, account: AccountId, limit: u64) -> Self {
        let token = token(control, &format!("plane-{number}")).await;
        let plane = Uuid::from_u128(number);
        let mut wire = Wire::open(control, Some(&token)).await.unwrap();
        wire.say(birth(plane, 1, number)).await;
        assert!(wire.known().await.unwrap().is_empty());
        let purse = Purse::new(Holder { plane, life: 1 }, Settings::default());
        let charge = Charge { account, limit, on_outage: OnOutage::Deny };
        let now = Mono::from_millis(1);
        let tab = purse.tab(&[charge], now).unwrap();
        Self { purse, wire, tab, now, paid: 0, last: None }
    }

    /// Makes calls until one is not paid for, at most so many.
    pub fn call(&mut self, most: u64) {
        self.last = None;
        for _ in 0..most {
            match self.purse.reserve(&self.tab, Price { calls: 1, micro_usd: 0 }, self.now) {
                Ok(reservation) => {
                    reservation.settle(Price { calls: 1, micro_usd: 0 });
                    self.paid += 1;
                }
                Err(denied) => {
                    self.last = Some(denied.why);
                    return;
                }
            }
        }
    }

    /// One beat: what is to be said is said, what is answered is heard.
    pub async fn beat(&mut self) {
        self.now = self.now.plus(Duration::from_millis(250));
        let mut work = self.purse.beat(self.now);
        while !work.asks.is_empty() || !work.closes.is_empty() {
            let batch = wire::Batch {
                asks: work.asks.iter().map(ask).collect(),
                closes: work.closes.iter().map(close).collect(),
                shares: Vec::new(),
            };
            // The ledger of this plane is the memory of the test.
            std::mem::take(&mut work.opening).commit();
            let answers = self.wire.batch(batch).await.unwrap();
            work = Work::default();
            for answer in &answers.answers {
                let more = self.purse.receive(&self.answer(answer), self.now);
                more.opening.commit();
                work.asks.extend(more.asks);
                work.closes.extend(more.closes);
            }
            for closed in &answers.closed {
                let account = account_of(closed.account.as_ref().unwrap());
                let (epoch, holder) = (Epoch(closed.epoch), self.purse.holder());
                self.purse.closed(&Closed { holder, account, epoch, open: closed.open });
            }
            for refused in &answers.refused {
                self.purse.refused(account_of(refused.account.as_ref().unwrap()), refused.seq);
            }
        }
        work.opening.commit();
    }

    fn answer(&self, answer: &wire::Answer) -> Answer {
        let used = answer.used.unwrap_or_default();
        Answer {
            holder: self.purse.holder(),
            account: account_of(answer.account.as_ref().unwrap()),
            seq: answer.seq,
            epoch: Epoch(answer.epoch),
            granted: answer.granted,
            used: Used { spent: used.spent, lost: used.lost, returned: used.returned },
            usable_for_ms: answer.usable_for_ms,
            cap: answer.cap,
            left: answer.left,
            refills_in_ms: answer.refills_in_ms,
            debt: answer.debt,
        }
    }
}

fn ask(ask: &portcullis_metering::Ask) -> wire::Ask {
    let Used { spent, lost, returned } = ask.used;
    wire::Ask {
        account: Some(account(ask.account)),
        seq: ask.seq,
        epoch: ask.epoch.0,
        oldest: ask.oldest.0,
        used: Some(wire::Used { spent, lost, returned }),
        in_use: ask.in_use,
        want: ask.want,
        need: ask.need,
        debt: ask.debt,
    }
}

fn close(close: &Close) -> wire::Close {
    wire::Close {
        account: Some(account(close.account)),
        epoch: close.epoch.0,
        spent: close.spent,
        in_use: close.in_use,
    }
}

/// Accounts of teams in calls: all that these tests have.
pub fn account(account: AccountId) -> wire::Account {
    assert_eq!((account.level, account.unit, account.length), (Level::Team, Unit::Calls, Length::Day));
    wire::Account {
        level: wire::Level::Team.into(),
        owner: account.owner.as_bytes().to_vec().into(),
        unit: wire::Unit::Calls.into(),
        length: wire::Length::Day.into(),
        rolling: account.rolling,
    }
}

fn account_of(account: &wire::Account) -> AccountId {
    let owner = Uuid::from_slice(&account.owner).unwrap();
    AccountId { level: Level::Team, owner, unit: Unit::Calls, length: Length::Day, rolling: account.rolling }
}

/// Puts a budget of a team in force and tells its account.
pub async fn budget(control: &ControlPlane, spec: &str) -> AccountId {
    control
        .apply(&format!(
            "apiVersion: portcullis/v1\nkind: Team\nmetadata: {{ name: sales }}\nspec: {{ {spec} }}\n"
        ))
        .await;
    let published = control.running().publisher().current().unwrap();
    let (_, budget) = published.snapshot.budgets().next().unwrap();
    budget.account
}
