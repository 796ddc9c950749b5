//! Sees to what this plane holds, with or without a control plane: at every beat, and at once when calls find little or nothing.

use std::io;
use std::time::Duration;

use portcullis_metering::purse::{Purse, Settings, Work};
use portcullis_metering::{Holder, Over};
use portcullis_proto::lease::v1::meter_request::Message;
use portcullis_proto::lease::v1::{Batch, MeterRequest};
use tokio::sync::{oneshot, watch};
use tokio::time::{MissedTickBehavior, interval, timeout};
use tokio_util::sync::CancellationToken;
use tonic::metadata::{Ascii, MetadataValue};

use super::writer::Order;
use super::{Metering, talk, wire};
use crate::sync::ControlPlane;

/// The most of each kind that one message carries.
pub(super) const IN_A_BATCH: usize = 4_096;

/// How long a plane that ends waits for the control plane, and for its disk.
const PARTING: Duration = Duration::from_millis(500);

/// Keeps the metering of a plane going. It is to run as long as calls do.
#[derive(Debug)]
pub struct Keeper {
    pub(super) metering: Metering,
    /// Earlier lives that the control plane is to hear of.
    pub(super) over: Vec<Over>,
    /// Whose life is on disk.
    pub(super) born: watch::Receiver<Option<Holder>>,
    /// Of this process.
    pub(super) nonce: [u8; 16],
    /// This plane was refused as a stranger, and came as another that nobody knows yet.
    pub(super) refused: bool,
}

impl Keeper {
    pub(super) fn new(
        metering: Metering,
        over: Vec<Over>,
        born: watch::Receiver<Option<Holder>>,
    ) -> io::Result<Self> {
        let nonce = portcullis_seal::random().map_err(|error| io::Error::other(error.to_string()))?;
        Ok(Self { metering, over, born, nonce, refused: false })
    }

    /// Speaks with the control plane, as the plane that the authorization stands for, and beats, until it is stopped.
    pub async fn run(
        self,
        control_plane: ControlPlane,
        authorization: MetadataValue<Ascii>,
        stop: CancellationToken,
    ) {
        let metering = self.metering.clone();
        let parted = CancellationToken::new();
        let beat = async {
            metering.beat(stop).await;
            parted.cancel();
        };
        tokio::join!(beat, talk::run(self, control_plane, authorization, parted.clone()));
    }
}

impl Metering {
    async fn beat(&self, stop: CancellationToken) {
        let Settings { beat, .. } = self.0.config.purse;
        let mut beat = interval(beat.max(Duration::from_millis(1)));
        beat.set_missed_tick_behavior(MissedTickBehavior::Delay);
        loop {
            tokio::select! {
                () = stop.cancelled() => return self.leave().await,
                _ = beat.tick() => self.beat_once(),
                () = self.0.urgent.notified() => {
                    let now = self.now();
                    let shares = self.limits().fresh(now);
                    self.send(Batch { shares: shares_of(shares), ..Batch::default() });
                    let purse = self.purse();
                    self.serve(&purse, purse.urgent(now));
                }
            }
        }
    }

    fn beat_once(&self) {
        let now = self.now();
        let shares = self.limits().beat(now);
        self.send(Batch { shares: shares_of(shares), ..Batch::default() });
        let purse = self.purse();
        self.serve(&purse, purse.beat(now));
    }

    /// Gives back what no call uses, tells the control plane, and writes down that nothing is open any more.
    async fn leave(&self) {
        let purse = self.purse();
        let news = self.0.news.notified();
        self.serve(&purse, purse.leave(self.now()));
        if self.is_linked() {
            // Whether it hears of it or not: the ledger tells it at the next start.
            let _ = timeout(PARTING, news).await;
        }
        let (done, written) = oneshot::channel();
        if let Some(writer) = &self.0.writer {
            writer.order(Order::Last(done));
            let _ = timeout(PARTING, written).await;
        }
    }

    /// Does what a purse wants done: what needs no disk at once, the rest by way of the ledger.
    pub(super) fn serve(&self, purse: &Purse, work: Work) {
        let Work { records, asks, closes, opening } = work;
        self.figures().leases_asked.fetch_add(asks.len() as u64, std::sync::atomic::Ordering::Relaxed);
        self.send(Batch {
            asks: asks.iter().map(wire::ask).collect(),
            closes: closes.iter().map(wire::close).collect(),
            shares: Vec::new(),
        });
        if (!records.is_empty() || !opening.is_empty())
            && let Some(writer) = &self.0.writer
        {
            writer.order(Order::Write(purse.holder(), records, opening));
        }
    }

    /// Tells the control plane, in messages of bounded size; what finds none, or a full queue, is asked again later.
    fn send(&self, batch: Batch) {
        let Batch { mut asks, mut closes, mut shares } = batch;
        let Some(link) = self.link() else { return };
        while !(asks.is_empty() && closes.is_empty() && shares.is_empty()) {
            let batch =
                Batch { asks: front(&mut asks), closes: front(&mut closes), shares: front(&mut shares) };
            if link.try_send(MeterRequest { message: Some(Message::Batch(batch)) }).is_err() {
                return;
            }
        }
    }
}

fn front<T>(all: &mut Vec<T>) -> Vec<T> {
    let rest = all.split_off(all.len().min(IN_A_BATCH));
    std::mem::replace(all, rest)
}

fn shares_of(
    shares: Vec<(super::limits::Key, portcullis_metering::ShareAsk)>,
) -> Vec<portcullis_proto::lease::v1::ShareAsk> {
    shares.into_iter().map(|(key, ask)| wire::share_ask(key, ask)).collect()
}
