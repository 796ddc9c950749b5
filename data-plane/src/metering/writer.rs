//! The thread that writes the ledger: batches of whatever waits, one sync for all of them, and only then the units are opened. It
//! alone touches the disk, so that nothing else waits for one.

use std::io;
use std::sync::Arc;
use std::sync::mpsc::{Receiver, RecvTimeoutError, SyncSender, TrySendError, sync_channel};
use std::thread::JoinHandle;
use std::time::Duration;

use portcullis_metering::Holder;
use portcullis_metering::purse::{Opening, Purse, Record};
use tokio::sync::{Notify, oneshot, watch};

use super::book::Book;
use super::figures::Figures;

/// Batches that wait for the disk; more are dropped, and their units stay locked.
const QUEUE: usize = 1_024;
/// How often a ledger is tried again that could not be written.
const RETRY: Duration = Duration::from_secs(1);

/// What is to be written.
pub(super) enum Order {
    /// Records of a holder, and what they open.
    Write(Holder, Vec<Record>, Opening),
    /// The control plane knows that an earlier life is over.
    Settled(u32),
    /// This plane is another one from now on.
    Another(Arc<Purse>),
    /// Nothing more is opened: the ledger is written anew, and whoever waits is told.
    Last(oneshot::Sender<()>),
}

/// Takes orders until it is dropped.
#[derive(Debug)]
pub(super) struct Writer {
    orders: Option<SyncSender<Order>>,
    thread: Option<JoinHandle<()>>,
}

/// What the thread tells.
#[derive(Debug, Clone)]
pub(super) struct Told {
    /// Somebody may find units now who found none.
    pub(super) news: Arc<Notify>,
    /// Whose life is on disk: only that holder may speak.
    pub(super) born: watch::Sender<Option<Holder>>,
    pub(super) figures: Arc<Figures>,
}

impl Writer {
    /// Begins with the life of this purse. When that cannot be written now, it is tried again.
    pub(super) fn start(book: Book, purse: Arc<Purse>, told: Told) -> io::Result<Self> {
        let (orders, waiting) = sync_channel(QUEUE);
        let mut work = Work { book, purse, told };
        work.rewrite();
        let thread = std::thread::Builder::new()
            .name("metering-ledger".to_owned())
            .spawn(move || work.run(&waiting))?;
        Ok(Self { orders: Some(orders), thread: Some(thread) })
    }

    /// Hands over an order. When too many wait it is dropped: an opening is then taken back.
    pub(super) fn order(&self, order: Order) {
        let Some(orders) = &self.orders else { return };
        if let Err(TrySendError::Full(_)) = orders.try_send(order) {
            tracing::warn!("the disk of the metering ledger is too slow: units stay locked");
        }
    }
}

impl Drop for Writer {
    fn drop(&mut self) {
        self.orders = None;
        if let Some(thread) = self.thread.take() {
            // It only logs: a failure there was told.
            let _ = thread.join();
        }
    }
}

struct Work {
    book: Book,
    purse: Arc<Purse>,
    told: Told,
}

impl Work {
    fn run(mut self, orders: &Receiver<Order>) {
        loop {
            let first = if self.book.is_broken() {
                match orders.recv_timeout(RETRY) {
                    Ok(order) => Some(order),
                    Err(RecvTimeoutError::Timeout) => None,
                    Err(RecvTimeoutError::Disconnected) => return,
                }
            } else {
                match orders.recv() {
                    Ok(order) => Some(order),
                    Err(_) => return,
                }
            };
            self.serve(first.into_iter().chain(orders.try_iter().take(QUEUE)));
        }
    }

    fn serve(&mut self, orders: impl Iterator<Item = Order>) {
        let (mut records, mut openings, mut last) = (Vec::new(), Vec::new(), Vec::new());
        for order in orders {
            match order {
                // Of the plane that this was before.
                Order::Write(holder, ..) if holder != self.purse.holder() => {}
                Order::Write(_, more, opening) => {
                    records.extend(more);
                    openings.push(opening);
                }
                Order::Settled(life) => {
                    self.book.settled(life);
                    records.push(Record::Settled { life });
                }
                Order::Another(purse) => {
                    // What waited for the disk was the other plane's.
                    records.clear();
                    openings.clear();
                    self.book.begin_another();
                    self.purse = purse;
                }
                Order::Last(done) => last.push(done),
            }
        }
        let written = if self.book.is_broken() || self.book.is_long() || !last.is_empty() {
            // What it holds and what is being opened, all told: the records at hand are among it.
            self.rewrite()
        } else if records.is_empty() {
            true
        } else {
            let appended = self.book.append(&records);
            self.note(appended)
        };
        if written {
            openings.into_iter().for_each(Opening::commit);
            self.told.news.notify_waiters();
        }
        // That nobody waits any more is no matter.
        for done in last {
            let _ = done.send(());
        }
    }

    fn rewrite(&mut self) -> bool {
        let records = self.purse.records();
        let written = self.book.rewrite(&records);
        let holder = self.purse.holder();
        let done = self.note(written);
        if done {
            self.told.born.send_if_modified(|born| born.replace(holder) != Some(holder));
        }
        done
    }

    fn note(&self, written: io::Result<()>) -> bool {
        let figures = &self.told.figures;
        match written {
            Ok(()) => {
                if figures.synced() {
                    tracing::info!("the metering ledger can be written again");
                }
                true
            }
            Err(error) => {
                if figures.sync_failed() {
                    tracing::error!(%error, "the metering ledger cannot be written: no more units are opened for spending");
                }
                false
            }
        }
    }
}

#[cfg(test)]
mod tests;
