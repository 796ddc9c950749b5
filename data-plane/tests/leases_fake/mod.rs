//! The control plane's side of metering as far as a data plane sees it, with the real rules: what is granted is kept in memory.
#![allow(
    dead_code,
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing,
    reason = "each test file uses its part of a fixture, which fails as a test fails"
)]

pub(crate) mod world;

use std::collections::{BTreeMap, BTreeSet};
use std::net::SocketAddr;
use std::path::Path;
use std::pin::Pin;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use bytes::Bytes;
use futures_util::{Stream, StreamExt as _};
use portcullis_data_plane::metering::{Keeper, Metering, MeteringConfig, MonoClock};
use portcullis_data_plane::sync::ControlPlane;
use portcullis_metering::accounts::{Accounts, Command, Statement, Totals};
use portcullis_metering::{
    AccountId, Ask, Close, Epoch, Holder, Length, Level, Mono, Over, OverDebt, OverLine, ShareAsk, Shares,
    Unit, Used, Utc,
};
use portcullis_policy::Snapshot;
use portcullis_policy::metering::Amount;
use portcullis_proto::lease::v1 as proto;
use portcullis_proto::lease::v1::leases_server::{Leases, LeasesServer};
use portcullis_proto::lease::v1::meter_request::Message as Said;
use portcullis_proto::lease::v1::meter_response::Message as Told;
use tokio::net::TcpListener;
use tokio::sync::mpsc;
use tokio::task::JoinHandle;
use tokio_stream::wrappers::{ReceiverStream, TcpListenerStream};
use tokio_util::sync::CancellationToken;
use tonic::{Request, Response, Status, Streaming};
use uuid::Uuid;

/// The beginning of a day in November 2026, UTC.
const MIDNIGHT: u64 = 1_795_219_200_000;

/// What the fake knows, whichever of its servers runs.
#[derive(Clone)]
pub(crate) struct Known(Arc<State>);

struct State {
    accounts: Mutex<Accounts>,
    shares: Mutex<BTreeMap<(Bytes, Bytes), Shares>>,
    limits: Mutex<BTreeMap<Uuid, Amount>>,
    began: Instant,
    /// Milliseconds by which time was moved.
    moved: Arc<AtomicU64>,
    births: Mutex<Vec<Holder>>,
    unsettled: Mutex<BTreeSet<Holder>>,
    overs: Mutex<Vec<Over>>,
    /// The next conversation is refused as a stranger's.
    refuse: AtomicBool,
}

impl Known {
    pub(crate) fn new() -> Self {
        Self(Arc::new(State {
            accounts: Mutex::default(),
            shares: Mutex::default(),
            limits: Mutex::default(),
            began: Instant::now(),
            moved: Arc::default(),
            births: Mutex::default(),
            unsettled: Mutex::default(),
            overs: Mutex::default(),
            refuse: AtomicBool::new(false),
        }))
    }

    fn millis(&self) -> u64 {
        let passed = u64::try_from(self.0.began.elapsed().as_millis()).unwrap();
        passed + self.0.moved.load(Ordering::SeqCst)
    }

    pub(crate) fn now(&self) -> Utc {
        Utc(MIDNIGHT + self.millis())
    }

    /// Time passes, for both planes.
    pub(crate) fn pass(&self, time: Duration) {
        self.0.moved.fetch_add(u64::try_from(time.as_millis()).unwrap(), Ordering::SeqCst);
    }

    /// A data plane's clock, which goes with this one's.
    pub(crate) fn clock(&self) -> MonoClock {
        let known = self.clone();
        MonoClock::new(move || {
            let passed = u64::try_from(known.0.began.elapsed().as_nanos()).unwrap();
            Mono(1_000_000_000 + passed + known.0.moved.load(Ordering::SeqCst) * 1_000_000)
        })
    }

    /// Knows the budgets and limits of a snapshot.
    pub(crate) fn take(&self, snapshot: &Snapshot) {
        for (_, budget) in snapshot.budgets() {
            self.command(&Command::Configure { account: budget.account, terms: budget.terms }).unwrap();
        }
        let limits = snapshot.limits().map(|(_, limit)| (limit.id.0, limit.amount));
        *self.0.limits.lock().unwrap() = limits.collect();
        for ((limit, _), shares) in self.0.shares.lock().unwrap().iter_mut() {
            match self.0.limits.lock().unwrap().get(&Uuid::from_slice(limit).unwrap()) {
                Some(Amount::Rate(rate)) => shares.set_limit(rate.units(), rate.burst),
                Some(Amount::Calls(calls)) => shares.set_limit(*calls, 0),
                None => {}
            }
        }
    }

    pub(crate) fn command(&self, command: &Command) -> Result<(), portcullis_metering::accounts::Refusal> {
        let mut accounts = self.0.accounts.lock().unwrap();
        for event in accounts.decide(self.now(), command)? {
            accounts.apply(&event).unwrap();
            accounts.check().unwrap();
        }
        Ok(())
    }

    pub(crate) fn statement(&self, account: AccountId) -> Statement {
        self.0.accounts.lock().unwrap().statement(self.now(), account).unwrap()
    }

    pub(crate) fn totals(&self, account: AccountId) -> Totals {
        self.statement(account).totals
    }

    pub(crate) fn births(&self) -> Vec<Holder> {
        self.0.births.lock().unwrap().clone()
    }

    /// What was told of lives that are over.
    pub(crate) fn overs(&self) -> Vec<Over> {
        self.0.overs.lock().unwrap().clone()
    }

    pub(crate) fn refuse_next(&self) {
        self.0.refuse.store(true, Ordering::SeqCst);
    }

    fn batch(&self, holder: Holder, batch: &proto::Batch) -> proto::Answers {
        let mut answers = proto::Answers::default();
        for said in &batch.asks {
            let ask = Ask {
                holder,
                account: account(said.account.as_ref()),
                seq: said.seq,
                epoch: Epoch(said.epoch),
                oldest: Epoch(said.oldest),
                used: said
                    .used
                    .map(|used| Used { spent: used.spent, lost: used.lost, returned: used.returned })
                    .unwrap(),
                in_use: said.in_use,
                want: said.want,
                need: said.need,
                debt: said.debt,
            };
            if self.command(&Command::Ask { ask, fleet: 1 }).is_err() {
                answers.refused.push(proto::Refused { account: said.account.clone(), seq: said.seq });
                continue;
            }
            let answer = self.0.accounts.lock().unwrap().answer(self.now(), &ask, 1).unwrap();
            answers.answers.push(proto::Answer {
                account: said.account.clone(),
                seq: answer.seq,
                epoch: answer.epoch.0,
                granted: answer.granted,
                used: Some(proto::Used {
                    spent: answer.used.spent,
                    lost: answer.used.lost,
                    returned: answer.used.returned,
                }),
                usable_for_ms: answer.usable_for_ms,
                cap: answer.cap,
                left: answer.left,
                refills_in_ms: answer.refills_in_ms,
                debt: answer.debt,
            });
        }
        for said in &batch.closes {
            let close = Close {
                holder,
                account: account(said.account.as_ref()),
                epoch: Epoch(said.epoch),
                spent: said.spent,
                in_use: said.in_use,
            };
            self.command(&Command::Close(close)).unwrap();
            let open = self.0.accounts.lock().unwrap().closed(&close).open;
            answers.closed.push(proto::Closed { account: said.account.clone(), epoch: said.epoch, open });
        }
        for said in &batch.shares {
            answers.assignments.push(self.share(holder, said));
        }
        answers
    }

    fn share(&self, holder: Holder, said: &proto::ShareAsk) -> proto::Assignment {
        let now = Mono::from_millis(self.millis());
        let ask = ShareAsk { seq: said.seq, serial: said.serial, holding: said.holding, demand: said.demand };
        let (limit, burst) = match self.0.limits.lock().unwrap().get(&Uuid::from_slice(&said.limit).unwrap())
        {
            Some(Amount::Rate(rate)) => (rate.units(), rate.burst),
            Some(Amount::Calls(calls)) => (*calls, 0),
            None => (0, 0),
        };
        let mut shares = self.0.shares.lock().unwrap();
        let shares = shares
            .entry((said.limit.clone(), said.subject.clone()))
            .or_insert_with(|| Shares::new(limit, burst, Duration::from_secs(3), now, true));
        let assigned = shares.ask(now, holder.plane, &ask).unwrap();
        proto::Assignment {
            limit: said.limit.clone(),
            subject: said.subject.clone(),
            seq: assigned.seq,
            serial: assigned.serial,
            share: assigned.share,
            gift: assigned.gift,
            term_ms: assigned.term_ms,
        }
    }

    fn over(&self, holder: Holder, parts: &[proto::OverPart]) {
        let life = parts.first().unwrap().life;
        let line = |line: &proto::OverLine| OverLine {
            account: account(line.account.as_ref()),
            epoch: Epoch(line.epoch),
            spent: line.spent,
            ceiling: line.ceiling,
        };
        let over = Over {
            holder: Holder { life, ..holder },
            lines: parts.iter().flat_map(|part| part.lines.iter().map(line)).collect(),
            debts: parts
                .iter()
                .flat_map(|part| &part.debts)
                .map(|debt| OverDebt { account: account(debt.account.as_ref()), debt: debt.debt })
                .collect(),
        };
        self.command(&Command::Over(over.clone())).unwrap();
        self.0.unsettled.lock().unwrap().remove(&over.holder);
        self.0.overs.lock().unwrap().push(over);
    }
}

fn account(account: Option<&proto::Account>) -> AccountId {
    let account = account.unwrap();
    AccountId {
        level: match account.level() {
            proto::Level::Customer => Level::Customer,
            proto::Level::Team => Level::Team,
            proto::Level::Key => Level::Key,
            proto::Level::Server => Level::Server,
            proto::Level::Tool => Level::Tool,
            proto::Level::Unspecified => panic!("no level"),
        },
        owner: Uuid::from_slice(&account.owner).unwrap(),
        unit: match account.unit() {
            proto::Unit::Calls => Unit::Calls,
            proto::Unit::MicroUsd => Unit::MicroUsd,
            proto::Unit::Unspecified => panic!("no unit"),
        },
        length: match account.length() {
            proto::Length::Minute => Length::Minute,
            proto::Length::Hour => Length::Hour,
            proto::Length::Day => Length::Day,
            proto::Length::Week => Length::Week,
            proto::Length::Month => Length::Month,
            proto::Length::Quarter => Length::Quarter,
            proto::Length::Year => Length::Year,
            proto::Length::Unspecified => panic!("no length"),
        },
        rolling: account.rolling,
    }
}

struct Service(Known);

type Answers = Pin<Box<dyn Stream<Item = Result<proto::MeterResponse, Status>> + Send>>;

#[tonic::async_trait]
impl Leases for Service {
    type MeterStream = Answers;

    async fn meter(
        &self,
        request: Request<Streaming<proto::MeterRequest>>,
    ) -> Result<Response<Answers>, Status> {
        let authorization = request.metadata().get("authorization").and_then(|value| value.to_str().ok());
        if authorization != Some("Bearer pcp_test-secret") {
            return Err(Status::unauthenticated("no"));
        }
        let mut inbound = request.into_inner();
        let Some(Said::Birth(birth)) = inbound.message().await?.and_then(|first| first.message) else {
            return Err(Status::invalid_argument("no Birth"));
        };
        let known = self.0.clone();
        if known.0.refuse.swap(false, Ordering::SeqCst) {
            return Err(Status::failed_precondition("another plane has this id"));
        }
        assert_eq!(birth.nonce.len(), 16);
        let holder = Holder { plane: Uuid::from_slice(&birth.plane).unwrap(), life: birth.life };
        known.0.births.lock().unwrap().push(holder);
        let unsettled: Vec<u32> = {
            let mut all = known.0.unsettled.lock().unwrap();
            all.insert(holder);
            all.iter()
                .filter(|one| one.plane == holder.plane && one.life < holder.life)
                .map(|one| one.life)
                .collect()
        };
        let (tell, told) = mpsc::channel(64);
        let say = move |message| {
            let tell = tell.clone();
            async move { tell.send(Ok(proto::MeterResponse { message: Some(message) })).await }
        };
        tokio::spawn(async move {
            let _ = say(Told::Known(proto::Known { unsettled })).await;
            let mut parts = Vec::new();
            while let Some(Ok(request)) = inbound.next().await {
                match request.message.expect("a message") {
                    Said::Birth(_) => panic!("Birth is said once"),
                    Said::Over(part) => {
                        let (life, more) = (part.life, part.more);
                        parts.push(part);
                        if !more {
                            known.over(holder, &parts);
                            parts.clear();
                            let _ = say(Told::Settled(proto::Settled { life })).await;
                        }
                    }
                    Said::Batch(batch) => {
                        let answers = known.batch(holder, &batch);
                        let _ = say(Told::Answers(answers)).await;
                    }
                }
            }
        });
        Ok(Response::new(Box::pin(ReceiverStream::new(told))))
    }
}

/// A server of what is known. Dropped, its connections end.
pub(crate) struct FakeLeases {
    pub(crate) addr: SocketAddr,
    server: JoinHandle<()>,
}

impl Drop for FakeLeases {
    fn drop(&mut self) {
        self.server.abort();
    }
}

impl FakeLeases {
    pub(crate) async fn start(known: &Known) -> Self {
        Self::start_at(([127, 0, 0, 1], 0).into(), known).await
    }

    /// At an address that another one just left, perhaps.
    pub(crate) async fn start_at(addr: SocketAddr, known: &Known) -> Self {
        let listener = loop {
            match TcpListener::bind(addr).await {
                Ok(listener) => break listener,
                Err(_) => tokio::task::yield_now().await,
            }
        };
        let addr = listener.local_addr().unwrap();
        let service = LeasesServer::new(Service(known.clone()));
        let server = tokio::spawn(async move {
            let incoming = TcpListenerStream::new(listener);
            let _ =
                tonic::transport::Server::builder().add_service(service).serve_with_incoming(incoming).await;
        });
        Self { addr, server }
    }
}

/// The metering of one data plane, kept until it is dropped: then it ends without a word, as by a crash.
pub(crate) struct Plane {
    pub(crate) metering: Metering,
    stop: CancellationToken,
    task: JoinHandle<()>,
}

impl Drop for Plane {
    fn drop(&mut self) {
        self.task.abort();
    }
}

pub(crate) fn config() -> MeteringConfig {
    // A machine of tests is slower than the few milliseconds of the default.
    MeteringConfig { empty_wait: Duration::from_secs(5), ..MeteringConfig::default() }
}

impl Plane {
    pub(crate) fn start(dir: &Path, spool: &Path, known: &Known, addr: SocketAddr) -> Self {
        Self::start_on(&known.clock(), dir, spool, addr)
    }

    pub(crate) fn start_on(clock: &MonoClock, dir: &Path, spool: &Path, addr: SocketAddr) -> Self {
        let (metering, keeper) = loop {
            // What was dropped a moment ago may still hold the lock.
            match Metering::open(dir, spool, config(), clock.clone()) {
                Ok(opened) => break opened,
                Err(error) if error.to_string().contains("in use") => std::thread::yield_now(),
                Err(error) => panic!("{error}"),
            }
        };
        Self::keep(metering, keeper, addr)
    }

    fn keep(metering: Metering, keeper: Keeper, addr: SocketAddr) -> Self {
        let control_plane = ControlPlane::new(&format!("http://{addr}"), None).unwrap();
        let stop = CancellationToken::new();
        let authorization = "Bearer pcp_test-secret".parse().unwrap();
        let task = tokio::spawn(keeper.run(control_plane, authorization, stop.clone()));
        Self { metering, stop, task }
    }

    /// Waits until the control plane listens.
    pub(crate) async fn linked(&self) {
        soon(|| self.metering.is_linked()).await;
    }

    /// Ends in good order.
    pub(crate) async fn end(mut self) {
        self.stop.cancel();
        tokio::time::timeout(Duration::from_secs(20), &mut self.task).await.expect("it ends").unwrap();
    }
}

/// Waits for what comes soon.
pub(crate) async fn soon(is_so: impl Fn() -> bool) {
    let look = async {
        while !is_so() {
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
    };
    tokio::time::timeout(Duration::from_secs(20), look).await.expect("it takes too long");
}
