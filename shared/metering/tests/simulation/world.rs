//! The world: one queue of things that happen, in the order of a simulated time, all of it drawn from one seed.

use std::cmp::Reverse;
use std::collections::{BTreeMap, BinaryHeap};
use std::sync::Arc;

use portcullis_metering::accounts::Command;
use portcullis_metering::purse::{Charge, Price, Settings, Tab, Why, Work};
use portcullis_metering::{AccountId, FiscalMonth, OnOutage, PerMille, Terms, Unit};
use uuid::Uuid;

use crate::chance::Chance;
use crate::control::{Control, ToControl, ToPlane};
use crate::plan::Plan;
use crate::plane::{Call, Plane, Waiting};
use crate::truth::Truth;

/// How long a call may wait for a lease.
const MAY_WAIT_MS: u64 = 50;

#[derive(Debug, Clone)]
pub(crate) enum Step {
    Call { plane: usize, life: u32 },
    Again { plane: usize, life: u32 },
    Finish { plane: usize, life: u32, call: u64 },
    Beat { plane: usize, life: u32 },
    Urgent { plane: usize, life: u32 },
    Synced { plane: usize, life: u32, number: u64 },
    Tell { plane: usize, life: u32 },
    ToControl { from: Uuid, message: ToControl },
    ToPlane { plane: usize, message: ToPlane },
    ControlSync { incarnation: u32 },
    Trouble,
    StartPlane { plane: usize },
    StartControl,
    Heal { plane: usize },
}

#[derive(Debug)]
pub(crate) struct World {
    pub(crate) now_ms: u64,
    pub(crate) plan: Plan,
    settings: Settings,
    pub(crate) chance: Chance,
    queue: BinaryHeap<Reverse<(u64, u64)>>,
    steps: BTreeMap<u64, Step>,
    next_step: u64,
    next_call: u64,
    pub(crate) control: Control,
    pub(crate) planes: Vec<Plane>,
    tabs: BTreeMap<(usize, u32, usize), Arc<Tab>>,
    pub(crate) truth: Truth,
    pub(crate) calm: bool,
    /// A digest of all that happened.
    pub(crate) trace: u64,
    pub(crate) steps_done: u64,
    pub(crate) paid: u64,
    pub(crate) denied: u64,
    pub(crate) waited: u64,
}

impl World {
    pub(crate) fn new(seed: u64, plan: Plan) -> Self {
        let mut chance = Chance::new(seed);
        let settings = Settings {
            beat: std::time::Duration::from_millis(plan.beat_ms),
            outage_after: std::time::Duration::from_millis(4 * plan.beat_ms),
            idle: std::time::Duration::from_secs(3),
            ..Settings::default()
        };
        let planes = (0..plan.planes).map(|number| Plane::new(number, &mut chance)).collect();
        let mut world = Self {
            now_ms: 0,
            settings,
            queue: BinaryHeap::new(),
            steps: BTreeMap::new(),
            next_step: 0,
            next_call: 0,
            control: Control::new(skew(&mut chance)),
            planes,
            tabs: BTreeMap::new(),
            truth: Truth::default(),
            calm: false,
            trace: 0xcbf2_9ce4_8422_2325,
            steps_done: 0,
            paid: 0,
            denied: 0,
            waited: 0,
            chance,
            plan,
        };
        for (account, limit) in world.plan.accounts.clone() {
            world.configure(account, limit);
        }
        world.control.sync();
        for plane in 0..world.planes.len() {
            world.after(0, Step::StartPlane { plane });
        }
        world.after(1_000, Step::Trouble);
        world
    }

    /// Lets things happen until calls end, then heals everything and lets it come to rest.
    pub(crate) fn run(&mut self) {
        while let Some(Reverse((at, number))) = self.queue.pop() {
            if !self.calm && at >= self.plan.busy_ms {
                self.quiet_down();
            }
            if at >= self.plan.busy_ms + 24_000 || (self.plan.until_denied && self.denied > 0) {
                break;
            }
            self.now_ms = at;
            self.steps_done += 1;
            let step = self.steps.remove(&number).unwrap();
            self.note(&step);
            self.step(step);
        }
    }

    fn note(&mut self, step: &Step) {
        let kind = match step {
            Step::Call { plane, .. } => 100 + *plane as u64,
            Step::Again { plane, .. } => 300 + *plane as u64,
            Step::Finish { call, .. } => 500 + call,
            Step::ToControl { message: ToControl::Ask(ask), .. } => {
                ask.seq ^ ask.want << 20 ^ ask.used.spent << 40
            }
            Step::ToPlane { message: ToPlane::Answer(answer), .. } => answer.granted ^ answer.left << 20,
            _ => 1,
        };
        for part in [self.now_ms, kind, self.paid, self.denied] {
            self.trace = (self.trace ^ part).wrapping_mul(0x0100_0000_01b3);
        }
    }

    pub(crate) fn after(&mut self, delay_ms: u64, step: Step) {
        self.next_step += 1;
        self.steps.insert(self.next_step, step);
        self.queue.push(Reverse((self.now_ms + delay_ms, self.next_step)));
    }

    pub(crate) fn configure(&mut self, account: AccountId, limit: u64) {
        let terms =
            Terms { limit, warn_at: PerMille::try_from(800).ok(), fiscal_month: FiscalMonth::JANUARY };
        self.truth.may_spend(account, limit);
        self.control.command(self.now_ms, &Command::Configure { account, terms }).unwrap();
    }

    fn alive(&self, plane: usize, life: u32) -> bool {
        self.planes[plane].up && self.planes[plane].life == life
    }

    fn step(&mut self, step: Step) {
        match step {
            Step::Call { plane, life } if self.alive(plane, life) && !self.calm => {
                let pause = 2_000 / self.plan.rates[plane].max(1);
                let pause = self.chance.within(0, pause.max(1) + 1);
                self.after(pause, Step::Call { plane, life });
                let route = self.chance.within(0, self.plan.routes.len() as u64) as usize;
                let price = Price { calls: 1, micro_usd: self.chance.within(0, 500) };
                let until_ms = self.now_ms + MAY_WAIT_MS;
                self.call(plane, Waiting { route, price, until_ms });
            }
            Step::Again { plane, life } if self.alive(plane, life) => self.again(plane),
            Step::Finish { plane, life, call } if self.alive(plane, life) => self.finish(plane, call),
            Step::Beat { plane, life } if self.alive(plane, life) => {
                self.after(self.plan.beat_ms, Step::Beat { plane, life });
                let now = self.planes[plane].mono(self.now_ms);
                if let Some(work) = self.planes[plane].purse.as_ref().map(|purse| purse.beat(now)) {
                    self.work(plane, work);
                }
            }
            Step::Urgent { plane, life } if self.alive(plane, life) => {
                self.planes[plane].woken = false;
                let now = self.planes[plane].mono(self.now_ms);
                if let Some(work) = self.planes[plane].purse.as_ref().map(|purse| purse.urgent(now)) {
                    self.work(plane, work);
                }
            }
            Step::Synced { plane, life, number } if self.alive(plane, life) => {
                self.planes[plane].synced(number);
                self.again(plane);
            }
            Step::Tell { plane, life } if self.alive(plane, life) => {
                if let Some(over) = self.planes[plane].over.first().cloned() {
                    self.send_up(plane, ToControl::Over(over));
                    self.after(400, Step::Tell { plane, life });
                }
                self.planes[plane].open_purse(self.settings);
            }
            Step::ToControl { from, message } => {
                let fleet = u32::try_from(self.plan.planes).unwrap();
                if self.control.up && self.control.receive(self.now_ms, from, &message, fleet) {
                    let delay = self.chance.within(0, 4);
                    self.after(delay, Step::ControlSync { incarnation: self.control.crashes });
                }
            }
            Step::ControlSync { incarnation } if self.control.up && self.control.crashes == incarnation => {
                for (to, message) in self.control.sync() {
                    let plane = to.as_u128() as usize - 1;
                    self.send(plane, |_| Step::ToPlane { plane, message: message.clone() });
                }
            }
            Step::ToPlane { plane, message } if self.planes[plane].up => self.arrived(plane, &message),
            Step::Trouble => self.trouble(),
            Step::StartPlane { plane } => self.start_plane(plane),
            Step::StartControl if !self.control.up => {
                let skew = skew(&mut self.chance);
                self.control.restart(skew);
            }
            Step::Heal { plane } => self.planes[plane].cut_off = false,
            _ => {}
        }
    }

    fn start_plane(&mut self, plane: usize) {
        if self.planes[plane].up {
            return;
        }
        self.planes[plane].start();
        let life = self.planes[plane].life;
        self.planes[plane].open_purse(self.settings);
        let first = self.chance.within(0, self.plan.beat_ms);
        self.after(first, Step::Beat { plane, life });
        self.after(0, Step::Tell { plane, life });
        self.after(first, Step::Call { plane, life });
    }

    /// Calls that waited try again, in the order in which they came.
    fn again(&mut self, plane: usize) {
        for waiting in std::mem::take(&mut self.planes[plane].waiting) {
            self.call(plane, waiting);
        }
    }

    fn call(&mut self, plane: usize, waiting: Waiting) {
        let Waiting { route, price, until_ms } = waiting;
        let charges: Vec<Charge> = self.plan.routes[route]
            .iter()
            .map(|at| self.plan.accounts[*at])
            .map(|(account, limit)| Charge { account, limit, on_outage: OnOutage::Deny })
            .collect();
        let now = self.planes[plane].mono(self.now_ms);
        let life = self.planes[plane].life;
        let Some(purse) = &self.planes[plane].purse else {
            self.denied += 1;
            return;
        };
        let tab = self
            .tabs
            .entry((plane, life, route))
            .or_insert_with(|| purse.tab(&charges, now).unwrap())
            .clone();
        let outcome = purse.reserve(&tab, price, now);
        let urgent = outcome.as_ref().map_or_else(|denied| denied.why == Why::Empty, |paid| paid.runs_low());
        match outcome {
            Ok(reservation) => {
                self.next_call += 1;
                let call = self.next_call;
                let slack = if self.control.crashes > 0 { 10_000 } else { 0 };
                let mut charged = Vec::new();
                for charge in &charges {
                    let account = charge.account;
                    let amount = match account.unit {
                        Unit::Calls => price.calls,
                        Unit::MicroUsd => price.micro_usd,
                    };
                    if amount > 0 {
                        let epoch = purse.epoch(account).unwrap();
                        // Within its period, by the control plane's clock, as far as that stood still.
                        let end =
                            self.control.ends.get(&(account, epoch)).filter(|_| self.control.crashes == 0);
                        assert!(
                            end.is_none_or(|end| self.control.wall(self.now_ms) < *end),
                            "{account}: spent late"
                        );
                        self.truth.charge(self.now_ms, call, account, epoch, amount, slack);
                        charged.push((account, epoch, amount));
                    }
                }
                self.planes[plane].calls.insert(call, Call { reservation, charged });
                self.paid += 1;
                let takes = if self.chance.hits(20) {
                    self.chance.within(0, 70_000)
                } else {
                    self.chance.within(1, 300)
                };
                self.after(
                    takes.min((self.plan.busy_ms + 8_000).saturating_sub(self.now_ms)),
                    Step::Finish { plane, life, call },
                );
            }
            Err(denied) if denied.why == Why::Empty && self.now_ms < until_ms => {
                self.planes[plane].waiting.push(waiting);
                if until_ms == self.now_ms + MAY_WAIT_MS {
                    self.waited += 1;
                    self.after(MAY_WAIT_MS, Step::Again { plane, life });
                }
            }
            Err(_) => self.denied += 1,
        }
        if urgent && !self.planes[plane].woken {
            self.planes[plane].woken = true;
            self.after(1, Step::Urgent { plane, life });
        }
    }

    fn finish(&mut self, plane: usize, call: u64) {
        let Some(done) = self.planes[plane].calls.remove(&call) else { return };
        let price = done.reservation.price();
        let cost = match self.chance.within(0, 4) {
            0 => Price::default(),
            1 => price,
            _ => Price { calls: price.calls, micro_usd: self.chance.within(0, price.micro_usd + 1) },
        };
        for (account, epoch, reserved) in done.charged {
            let cost = match account.unit {
                Unit::Calls => cost.calls,
                Unit::MicroUsd => cost.micro_usd,
            };
            self.truth.settle(call, account, epoch, reserved, cost);
        }
        done.reservation.settle(cost);
    }

    fn work(&mut self, plane: usize, work: Work) {
        let life = self.planes[plane].life;
        let Work { records, asks, closes, opening } = work;
        if !records.is_empty() || !opening.is_empty() {
            let number = self.planes[plane].write(records, opening);
            let delay = self.chance.within(0, 4);
            self.after(delay, Step::Synced { plane, life, number });
        }
        for ask in asks {
            self.send_up(plane, ToControl::Ask(ask));
        }
        for close in closes {
            self.send_up(plane, ToControl::Close(close));
        }
    }

    fn send_up(&mut self, plane: usize, message: ToControl) {
        let from = self.planes[plane].id;
        self.send(plane, |_| Step::ToControl { from, message: message.clone() });
    }

    /// The network: it loses, repeats, delays and so reorders.
    fn send(&mut self, plane: usize, message: impl Fn(u64) -> Step) {
        let copies = if self.chance.hits(self.plan.repeated) { 2 } else { 1 };
        for copy in 0..copies {
            if self.planes[plane].cut_off || self.chance.hits(self.plan.lost) {
                continue;
            }
            let late = self.chance.hits(self.plan.late);
            let delay = if late { self.chance.within(0, 8_000) } else { self.chance.within(1, 4) };
            self.after(delay, message(copy));
        }
    }

    fn arrived(&mut self, plane: usize, message: &ToPlane) {
        let now = self.planes[plane].mono(self.now_ms);
        match message {
            ToPlane::Answer(answer) => {
                if let Some(work) = self.planes[plane].purse.as_ref().map(|purse| purse.receive(answer, now))
                {
                    self.work(plane, work);
                }
            }
            ToPlane::Closed(closed) => {
                if let Some(purse) = &self.planes[plane].purse {
                    purse.closed(closed);
                }
            }
            ToPlane::Refused(account, seq) => {
                if let Some(purse) = &self.planes[plane].purse {
                    purse.refused(*account, *seq);
                }
            }
            ToPlane::OverNoted(life) => {
                self.planes[plane].noted(*life);
                self.planes[plane].open_purse(self.settings);
            }
        }
    }

    /// No more calls, no more trouble; everybody is well again.
    fn quiet_down(&mut self) {
        self.calm = true;
        self.plan.lost = 0;
        self.plan.late = 0;
        self.now_ms = self.plan.busy_ms;
        self.after(0, Step::StartControl);
        for plane in 0..self.planes.len() {
            self.planes[plane].cut_off = false;
            self.after(100, Step::StartPlane { plane });
        }
    }
}

fn skew(chance: &mut Chance) -> i64 {
    chance.within(0, 10_001) as i64 - 5_000
}
