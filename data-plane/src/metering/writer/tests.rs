use std::sync::Mutex;
use std::sync::atomic::{AtomicBool, Ordering};

use portcullis_metering::purse::{Charge, Price, Recovery, Settings, Tab, Why};
use portcullis_metering::{AccountId, Answer, Epoch, Length, Level, Mono, OnOutage, Unit, Used};
use uuid::Uuid;

use super::super::book;
use super::super::disk::Disk;
use super::*;

/// A disk that is full when it is told to be.
#[derive(Debug, Default, Clone)]
struct Faulty {
    bytes: Arc<Mutex<Vec<u8>>>,
    full: Arc<AtomicBool>,
}

impl Faulty {
    fn check(&self) -> io::Result<()> {
        if self.full.load(Ordering::SeqCst) { Err(io::ErrorKind::StorageFull.into()) } else { Ok(()) }
    }
}

impl Disk for Faulty {
    fn append(&mut self, bytes: &[u8]) -> io::Result<()> {
        // As a real one, it writes what fits.
        let fits = if self.check().is_ok() { bytes.len() } else { bytes.len() / 2 };
        self.bytes.lock().unwrap().extend_from_slice(&bytes[..fits]);
        self.check()
    }
    fn replace(&mut self, bytes: &[u8]) -> io::Result<()> {
        self.check()?;
        *self.bytes.lock().unwrap() = bytes.to_owned();
        Ok(())
    }
    fn put_aside(&mut self, _: &str) -> io::Result<String> {
        Ok(String::new())
    }
}

struct World {
    disk: Faulty,
    purse: Arc<Purse>,
    tab: Arc<Tab>,
    told: Told,
    writer: Writer,
    granted: u64,
}

const CALL: Price = Price { calls: 1, micro_usd: 0 };
const NOW: Mono = Mono(5_000_000_000);

impl World {
    fn new(full: bool) -> Self {
        let holder = Holder { plane: Uuid::from_u128(1), life: 1 };
        let disk = Faulty::default();
        disk.full.store(full, Ordering::SeqCst);
        let book = Book::new(Box::new(disk.clone()), &Recovery { holder, over: Vec::new() });
        let purse = Arc::new(Purse::new(holder, Settings::default()));
        let told = Told { news: Arc::default(), born: watch::Sender::new(None), figures: Arc::default() };
        let writer = Writer::start(book, Arc::clone(&purse), told.clone()).unwrap();
        let account = AccountId {
            level: Level::Key,
            owner: Uuid::from_u128(2),
            unit: Unit::Calls,
            length: Length::Day,
            rolling: false,
        };
        let tab = purse.tab(&[Charge { account, limit: 1_000, on_outage: OnOutage::Deny }], NOW).unwrap();
        Self { disk, purse, tab, told, writer, granted: 0 }
    }

    /// A call that finds nothing has the purse ask, and be granted.
    fn ask(&mut self) {
        let _ = self.purse.reserve(&self.tab, CALL, NOW);
        let mut works = vec![self.purse.urgent(NOW)];
        while let Some(work) = works.pop() {
            for ask in &work.asks {
                self.granted += 8;
                works.push(self.purse.receive(
                    &Answer {
                        holder: ask.holder,
                        account: ask.account,
                        seq: ask.seq,
                        epoch: Epoch(1),
                        granted: self.granted,
                        used: Used::default(),
                        usable_for_ms: 60_000,
                        cap: 100,
                        left: 900,
                        refills_in_ms: 60_000,
                        debt: 0,
                    },
                    NOW,
                ));
            }
            self.writer.order(Order::Write(self.purse.holder(), work.records, work.opening));
        }
    }

    async fn news(&self, order: impl FnOnce(&Self)) {
        let news = self.told.news.notified();
        order(self);
        tokio::time::timeout(Duration::from_secs(20), news).await.unwrap();
    }

    async fn pay(&mut self) {
        let news = Arc::clone(&self.told.news);
        for _ in 0..100 {
            let mut heard = std::pin::pin!(news.notified());
            heard.as_mut().enable();
            if let Ok(paid) = self.purse.reserve(&self.tab, CALL, NOW) {
                paid.settle(CALL);
                return;
            }
            self.ask();
            let _ = tokio::time::timeout(Duration::from_millis(100), heard).await;
        }
        panic!("nothing is opened");
    }
}

#[tokio::test]
async fn units_are_opened_when_the_disk_has_them_and_not_before() {
    let mut world = World::new(false);
    assert_eq!(*world.told.born.borrow(), Some(world.purse.holder()));
    world.pay().await;
    let found = book::read(&world.disk.bytes.lock().unwrap(), Uuid::nil());
    let line = found.recovery.over[0].lines[0];
    assert!(line.ceiling >= 1, "{line:?}");
}

#[tokio::test]
async fn a_full_disk_denies_and_when_there_is_room_again_the_ledger_is_whole() {
    let mut world = World::new(false);
    world.pay().await;
    world.disk.full.store(true, Ordering::SeqCst);
    // What is open is spent; no more is opened.
    let mut passed = 0;
    for _ in 0..50 {
        if let Ok(paid) = world.purse.reserve(&world.tab, CALL, NOW) {
            paid.settle(CALL);
            passed += 1;
        }
        world.ask();
    }
    let failing = async {
        while !world.told.figures.is_failing() {
            tokio::task::yield_now().await;
        }
    };
    tokio::time::timeout(Duration::from_secs(20), failing).await.unwrap();
    while let Ok(paid) = world.purse.reserve(&world.tab, CALL, NOW) {
        paid.settle(CALL);
        passed += 1;
        assert!(passed < 50, "units were opened that the disk does not have");
    }
    assert_eq!(world.purse.reserve(&world.tab, CALL, NOW).unwrap_err().why, Why::Empty);
    let spent = 1 + passed;
    // Half a batch was written. That is cut off; the ceiling that counts covers what was spent.
    let line = |world: &World| {
        let found = book::read(&world.disk.bytes.lock().unwrap(), Uuid::nil());
        assert_eq!(found.damage, None);
        found.recovery.over[0].lines[0]
    };
    assert!(line(&world).ceiling >= spent);
    world.disk.full.store(false, Ordering::SeqCst);
    world.pay().await;
    assert!(!world.told.figures.is_failing());
    assert!(line(&world).ceiling > spent);
}

#[tokio::test]
async fn a_life_that_could_not_be_written_is_born_when_it_is() {
    let world = World::new(true);
    assert_eq!(*world.told.born.borrow(), None, "it must not speak");
    world.disk.full.store(false, Ordering::SeqCst);
    let mut born = world.told.born.subscribe();
    let holder = world.purse.holder();
    let known = tokio::time::timeout(Duration::from_secs(20), born.wait_for(|born| *born == Some(holder)));
    known.await.unwrap().unwrap();
}

#[tokio::test]
async fn another_plane_begins_with_nothing_of_the_one_before() {
    let mut world = World::new(false);
    world.pay().await;
    let holder = Holder { plane: Uuid::from_u128(9), life: 1 };
    let purse = Arc::new(Purse::new(holder, Settings::default()));
    world
        .news(|world| {
            world.writer.order(Order::Another(Arc::clone(&purse)));
            let late = Record::Debt { account: world.tab.accounts().next().unwrap(), debt: 5 };
            world.writer.order(Order::Write(world.purse.holder(), vec![late], Opening::default()));
        })
        .await;
    let mut born = world.told.born.subscribe();
    born.wait_for(|born| *born == Some(holder)).await.unwrap();
    drop(world.writer);
    let found = book::read(&world.disk.bytes.lock().unwrap(), Uuid::nil());
    assert_eq!(found.recovery.holder, Holder { life: 2, ..holder });
    assert_eq!((found.recovery.over[0].lines.len(), found.recovery.over[0].debts.len()), (0, 0));
}
