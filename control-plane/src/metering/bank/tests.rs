use std::time::{Duration, Instant};

use portcullis_metering::{
    AccountId, Ask, Epoch, FiscalMonth, Holder, Length, Level, Over, OverLine, PerMille, Terms, Unit, Used,
};
use uuid::Uuid;

use super::*;
use crate::metering::known::{Birth, Stranger};

const NOW: u64 = 1_800_000_000_000;

fn account(owner: u128) -> AccountId {
    AccountId {
        level: Level::Team,
        owner: Uuid::from_u128(owner),
        unit: Unit::Calls,
        length: Length::Day,
        rolling: false,
    }
}

fn holder(plane: u128, life: u32) -> Holder {
    Holder { plane: Uuid::from_u128(plane), life }
}

fn birth(plane: u128, life: u32, nonce: u128, name: &str) -> Birth {
    Birth { holder: holder(plane, life), nonce: Uuid::from_u128(nonce), name: name.to_owned() }
}

fn ask(holder: Holder, account: AccountId, seq: u64, want: u64) -> Ask {
    Ask {
        holder,
        account,
        seq,
        epoch: Epoch(0),
        oldest: Epoch(0),
        used: Used::default(),
        in_use: 0,
        want,
        need: 1,
        debt: 0,
    }
}

fn open(dir: &Path) -> Bank {
    let (log, books) = Log::open(dir).unwrap();
    Bank::over(dir, log, books, Clock::new(|| NOW)).unwrap()
}

async fn configure(bank: &Bank, account: AccountId, limit: u64) {
    let terms = Terms { limit, warn_at: None, fiscal_month: FiscalMonth::JANUARY };
    bank.run(move |round| round.command(&Command::Configure { account, terms })).await.unwrap().unwrap();
}

/// What a holder was granted in all, as the answer says.
async fn granted(bank: &Bank, ask: Ask) -> u64 {
    let answers = bank.run(move |round| round.beat(&[ask], &[], 1)).await.unwrap().unwrap();
    answers.answers[0].granted
}

async fn introduce(bank: &Bank, birth: Birth) -> Result<Vec<u32>, Stranger> {
    bank.run(move |round| round.introduce(&birth, |_| false)).await.unwrap()
}

async fn sound(bank: &Bank) {
    bank.read(|books, _| books.accounts.check()).await.unwrap().unwrap();
}

/// A copy of a directory as a machine that lost its power would find it.
fn copy(from: &Path) -> tempfile::TempDir {
    fn copy_into(from: &Path, to: &Path) {
        for entry in std::fs::read_dir(from).unwrap() {
            let entry = entry.unwrap();
            let to = to.join(entry.file_name());
            if entry.path().is_dir() {
                std::fs::create_dir(&to).unwrap();
                copy_into(&entry.path(), &to);
            } else if entry.file_name() != "lock" {
                std::fs::copy(entry.path(), &to).unwrap();
            }
        }
    }
    let to = tempfile::tempdir().unwrap();
    copy_into(from, to.path());
    to
}

#[tokio::test]
async fn whatever_was_answered_is_on_the_disk() {
    let dir = tempfile::tempdir().unwrap();
    let bank = open(dir.path());
    configure(&bank, account(1), 1_000).await;
    for seq in 1..=20 {
        let told = granted(&bank, ask(holder(seq.into(), 1), account(1), seq, 10)).await;
        let crashed = copy(dir.path());
        let again = open(crashed.path());
        let known = again.read(move |books, _| {
            let ask = ask(holder(seq.into(), 1), account(1), seq, 10);
            books.accounts.answer(Utc(NOW), &ask, 1).unwrap().granted
        });
        assert_eq!(known.await.unwrap(), told);
        sound(&again).await;
        // The same ask again, to the one that was started anew, is granted nothing more.
        assert_eq!(granted(&again, ask(holder(seq.into(), 1), account(1), seq, 10)).await, told);
        again.stop().await;
    }
    sound(&bank).await;
}

#[tokio::test]
async fn what_was_written_and_never_answered_is_debited_once() {
    let dir = tempfile::tempdir().unwrap();
    let bank = open(dir.path());
    configure(&bank, account(1), 64).await;
    bank.stop().await;
    let (mut log, books) = Log::open(dir.path()).unwrap();
    let first = ask(holder(1, 1), account(1), 1, 10);
    let events = books.accounts.decide(Utc(NOW), &Command::Ask { ask: first, fleet: 1 }).unwrap();
    let facts: Vec<Fact> = events.into_iter().map(Fact::Account).collect();
    log.append(&facts).unwrap();
    drop(log);
    // Killed here: nobody was told.
    let bank = open(dir.path());
    let told = granted(&bank, first).await;
    assert_eq!(told, 1);
    let held = bank.read(|books, _| books.accounts.held(account(1))).await.unwrap();
    assert_eq!(held, told);
    sound(&bank).await;
}

#[tokio::test]
async fn a_threshold_that_is_reached_is_told_once() {
    let dir = tempfile::tempdir().unwrap();
    let bank = open(dir.path());
    let (account, warn_at) = (account(1), Some(PerMille::try_from(10).unwrap()));
    let terms = Terms { limit: 100, warn_at, fiscal_month: FiscalMonth::JANUARY };
    bank.run(move |round| round.command(&Command::Configure { account, terms })).await.unwrap().unwrap();
    let first = ask(holder(1, 1), account, 1, 10);
    let answers = bank.run(move |round| round.beat(&[first], &[], 1)).await.unwrap().unwrap();
    let (epoch, spent) = (Epoch(answers.answers[0].epoch), answers.answers[0].granted);
    assert!(spent >= 1, "a hundredth of the budget");
    assert_eq!(bank.counts().warnings.load(Ordering::Relaxed), 0, "held is not used");
    for seq in 2..5 {
        let used = Used { spent, ..Used::default() };
        granted(&bank, Ask { epoch, used, ..ask(holder(1, 1), account, seq, 0) }).await;
        assert_eq!(bank.counts().warnings.load(Ordering::Relaxed), 1);
    }
    sound(&bank).await;
}

#[tokio::test]
async fn a_plane_is_who_it_was_across_restarts() {
    let dir = tempfile::tempdir().unwrap();
    for _ in 0..2 {
        let bank = open(dir.path());
        assert_eq!(introduce(&bank, birth(1, 3, 7, "eu-1")).await, Ok(vec![]));
        assert_eq!(introduce(&bank, birth(1, 3, 7, "eu-2")).await, Err(Stranger::OtherName));
        assert_eq!(introduce(&bank, birth(1, 2, 7, "eu-1")).await, Err(Stranger::OlderLife(2)));
        assert_eq!(introduce(&bank, birth(1, 3, 8, "eu-1")).await, Err(Stranger::OtherNonce(3)));
        bank.stop().await;
    }
    let bank = open(dir.path());
    assert_eq!(introduce(&bank, birth(1, 5, 9, "eu-1")).await, Ok(vec![3]));
    assert_eq!(introduce(&bank, birth(1, 6, 9, "eu-1")).await, Ok(vec![3, 5]));
    let over = |life| Over { holder: holder(1, life), lines: vec![], debts: vec![] };
    bank.run(move |round| round.settle(over(3))).await.unwrap().unwrap();
    // Told twice, it is settled once.
    bank.run(move |round| round.settle(over(3))).await.unwrap().unwrap();
    bank.stop().await;
    let bank = open(dir.path());
    assert_eq!(introduce(&bank, birth(1, 6, 9, "eu-1")).await, Ok(vec![5]));
}

#[tokio::test]
async fn what_an_earlier_life_held_comes_back_but_for_its_open_chunk() {
    let dir = tempfile::tempdir().unwrap();
    let bank = open(dir.path());
    configure(&bank, account(1), 6_400).await;
    assert_eq!(granted(&bank, ask(holder(1, 1), account(1), 1, 100)).await, 100);
    let line = OverLine { account: account(1), epoch: Epoch(1), spent: 20, ceiling: 45 };
    let over = Over { holder: holder(1, 1), lines: vec![line], debts: vec![] };
    bank.run(move |round| round.settle(over)).await.unwrap().unwrap();
    let statement = bank.read(|books, now| books.accounts.statement(now, account(1)).unwrap()).await.unwrap();
    let totals = statement.totals;
    assert_eq!(
        (totals.granted, totals.spent, totals.returned, totals.written_off, totals.held),
        (100, 20, 55, 25, 0)
    );
    // The old life is granted nothing any more.
    let late = ask(holder(1, 1), account(1), 2, 10);
    let answered = bank.run(move |round| round.beat(&[late], &[], 1)).await.unwrap();
    assert_eq!(answered.unwrap_err(), Refusal::DeadLife(holder(1, 1)));
    sound(&bank).await;
}

#[tokio::test]
async fn a_disk_that_fails_ends_it_and_nobody_of_that_round_is_answered() {
    let dir = tempfile::tempdir().unwrap();
    // Each round begins a new file, which cannot be made once the directory is gone.
    let (log, books) = Log::open_with(dir.path(), 1, u64::MAX).unwrap();
    let bank = Bank::over(dir.path(), log, books, Clock::new(|| NOW)).unwrap();
    configure(&bank, account(1), 1_000).await;
    std::fs::remove_dir_all(dir.path()).unwrap();
    let asked = ask(holder(1, 1), account(1), 1, 10);
    let refused = bank.run(move |round| round.beat(&[asked], &[], 1)).await.unwrap_err();
    assert!(matches!(refused, Closed::Poisoned(_)), "{refused}");
    assert!(bank.poisoned().is_some());
    // Not even what needs no disk.
    assert!(matches!(bank.read(|_, _| ()).await, Err(Closed::Poisoned(_))));
}

#[tokio::test]
async fn a_stopped_bank_frees_its_directory_and_says_why_it_is_silent() {
    let dir = tempfile::tempdir().unwrap();
    let bank = open(dir.path());
    bank.stop().await;
    assert_eq!(bank.read(|_, _| ()).await, Err(Closed::Stopped));
    open(dir.path()).stop().await;
}

#[tokio::test]
async fn many_that_wait_share_a_sync() {
    let dir = tempfile::tempdir().unwrap();
    let bank = open(dir.path());
    configure(&bank, account(1), 1_000_000).await;
    let before = bank.counts().syncs.load(Ordering::Relaxed);
    // The first turn holds the bank until all others wait.
    let (go, wait) = std::sync::mpsc::channel::<()>();
    let holding = tokio::spawn({
        let bank = bank.clone();
        async move { bank.read(move |_, _| wait.recv().unwrap()).await }
    });
    let asks: Vec<_> = (1..=100)
        .map(|plane: u128| {
            let bank = bank.clone();
            tokio::spawn(async move { granted(&bank, ask(holder(plane, 1), account(1), 1, 10)).await })
        })
        .collect();
    while bank.jobs.max_capacity() - bank.jobs.capacity() < 100 {
        tokio::task::yield_now().await;
    }
    go.send(()).unwrap();
    holding.await.unwrap().unwrap();
    for asked in asks {
        assert_eq!(asked.await.unwrap(), 10);
    }
    assert!(bank.counts().syncs.load(Ordering::Relaxed) - before <= 2);
    sound(&bank).await;
}

/// Prints a figure: leases that one bank grants in a second, its disk included, to a hundred planes that each wait for their answer.
#[tokio::test(flavor = "multi_thread", worker_threads = 1)]
#[ignore = "a figure, not a property"]
async fn leases_in_a_second() {
    const PLANES: u128 = 100;
    const IN_BATCH: u64 = 20;
    let dir = tempfile::tempdir().unwrap();
    let bank = open(dir.path());
    for owner in 1..=200 {
        configure(&bank, account(owner), u64::MAX / 4).await;
    }
    let begun = Instant::now();
    let span = Duration::from_secs(5);
    let planes: Vec<_> = (1..=PLANES)
        .map(|plane| {
            let bank = bank.clone();
            tokio::spawn(async move {
                let (mut seq, mut leases, mut used) =
                    (0, 0_u64, std::collections::BTreeMap::<u128, u64>::new());
                while begun.elapsed() < span {
                    let asks: Vec<Ask> = (0..IN_BATCH)
                        .map(|_| {
                            seq += 1;
                            let owner = (u128::from(seq) + plane) % 200 + 1;
                            let spent = used.get(&owner).copied().unwrap_or_default();
                            let used = Used { spent, ..Used::default() };
                            Ask { epoch: Epoch(1), used, ..ask(holder(plane, 1), account(owner), seq, 10) }
                        })
                        .collect();
                    let owners: Vec<u128> = asks.iter().map(|ask| ask.account.owner.as_u128()).collect();
                    let answers = bank.run(move |round| round.beat(&asks, &[], 1)).await.unwrap().unwrap();
                    for (owner, answer) in owners.into_iter().zip(&answers.answers) {
                        used.insert(owner, answer.granted);
                        leases += 1;
                    }
                }
                leases
            })
        })
        .collect();
    let mut leases = 0;
    for plane in planes {
        leases += plane.await.unwrap();
    }
    let syncs = bank.counts().syncs.load(Ordering::Relaxed);
    let seconds = begun.elapsed().as_secs_f64();
    println!("{:.0} leases/s, {:.0} syncs/s", leases as f64 / seconds, syncs as f64 / seconds);
    sound(&bank).await;
}

/// Prints a figure: how long a plane waits at most for a lease while the books of 100,000 budgets are brought to a new checkpoint, and
/// how long they are looked at for metrics and for planes that are gone.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
#[ignore = "a figure, not a property"]
async fn longest_wait_among_many_budgets() {
    const BUDGETS: u128 = 100_000;
    let dir = tempfile::tempdir().unwrap();
    let bank = open(dir.path());
    for first in (1..=BUDGETS).step_by(1_000) {
        let terms = Terms { limit: u64::MAX / 4, warn_at: None, fiscal_month: FiscalMonth::JANUARY };
        let work = move |round: &mut Round<'_>| {
            for owner in first..first + 1_000 {
                round.command(&Command::Configure { account: account(owner), terms })?.unwrap();
            }
            Ok(())
        };
        bank.run(work).await.unwrap();
    }
    let generation = || {
        let names = std::fs::read_dir(dir.path()).unwrap().map(|entry| entry.unwrap().file_name());
        names.filter_map(|name| name.to_str()?.parse::<u64>().ok()).max().unwrap()
    };
    let (first, begun) = (generation(), Instant::now());
    let (mut waits, mut seq, mut used) = (Vec::new(), 0_u64, std::collections::BTreeMap::new());
    // A hundred leases a round, each after the last was spent.
    while begun.elapsed() < Duration::from_secs(60) {
        let asks: Vec<Ask> = (0..100)
            .map(|_| {
                seq += 1;
                let (holder, account) =
                    (holder(u128::from(seq % 7) + 1, 1), account(u128::from(seq % 1_000) + 1));
                let spent = used.get(&(holder, account)).copied().unwrap_or_default();
                Ask {
                    epoch: Epoch(1),
                    used: Used { spent, ..Used::default() },
                    ..ask(holder, account, seq, 10)
                }
            })
            .collect();
        let told: Vec<_> = asks.iter().map(|ask| (ask.holder, ask.account)).collect();
        let asked = Instant::now();
        let answers = bank.run(move |round| round.beat(&asks, &[], 1)).await.unwrap().unwrap();
        waits.push(asked.elapsed());
        used.extend(told.into_iter().zip(answers.answers.iter().map(|answer| answer.granted)));
    }
    waits.sort_unstable();
    let looked = |begun: Instant| format!("{:.1} ms", begun.elapsed().as_secs_f64() * 1e3);
    let begun = Instant::now();
    bank.read(|books, _| drop(crate::metering::figures::sums_of(books))).await.unwrap();
    let summed = looked(begun);
    let begun = Instant::now();
    bank.read(|books, _| books.accounts.holders().len()).await.unwrap();
    println!(
        "{} rounds of 100 leases, median {:?}, longest {:?} (generation {}, then {}); sums {summed}, holders {}",
        waits.len(),
        waits[waits.len() / 2],
        waits.last().unwrap(),
        first,
        generation(),
        looked(begun)
    );
}
