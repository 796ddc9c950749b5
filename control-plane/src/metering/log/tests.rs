use std::fs::OpenOptions;
use std::io::{Seek as _, SeekFrom, Write as _};

use portcullis_metering::accounts::Command;
use portcullis_metering::{AccountId, FiscalMonth, Length, Level, Terms, Unit, Utc};
use uuid::Uuid;

use super::*;

const NOW: Utc = Utc(1_800_000_000_000);

fn account(owner: u128) -> AccountId {
    AccountId {
        level: Level::Team,
        owner: Uuid::from_u128(owner),
        unit: Unit::Calls,
        length: Length::Day,
        rolling: false,
    }
}

/// Puts one more budget into the books and the log.
fn add(log: &mut Log, books: &mut Books, owner: u128) {
    let terms = Terms { limit: 100, warn_at: None, fiscal_month: FiscalMonth::JANUARY };
    let events = books.accounts.decide(NOW, &Command::Configure { account: account(owner), terms }).unwrap();
    let facts: Vec<Fact> = events.into_iter().map(Fact::Account).collect();
    facts.iter().for_each(|fact| books.apply(fact).unwrap());
    log.append(&facts).unwrap();
}

fn made(dir: &Path, budgets: u128) -> Books {
    let (mut log, mut books) = Log::open(dir).unwrap();
    (1..=budgets).for_each(|owner| add(&mut log, &mut books, owner));
    books
}

/// Lets what is due happen, to its end.
fn turn(log: &mut Log, books: &Books) {
    log.turn(books);
    while log.making.is_some() {
        std::thread::sleep(std::time::Duration::from_millis(1));
        log.turn(books);
    }
}

/// The last file of the log.
fn last(dir: &Path) -> PathBuf {
    let (_, generation) = list(dir).unwrap().pop_last().unwrap();
    let files = fs::read_dir(generation).unwrap().map(|entry| entry.unwrap().path());
    files.filter(|path| path.extension().is_some_and(|extension| extension == "journal")).max().unwrap()
}

fn overwrite(path: &Path, at: u64, bytes: &[u8]) {
    let mut file = OpenOptions::new().write(true).open(path).unwrap();
    file.seek(SeekFrom::Start(at)).unwrap();
    file.write_all(bytes).unwrap();
}

#[test]
fn what_was_appended_is_there_after_a_reopening() {
    let dir = tempfile::tempdir().unwrap();
    let books = made(dir.path(), 5);
    assert_eq!(Log::open(dir.path()).unwrap().1, books);
}

#[test]
fn one_directory_serves_one_process() {
    let dir = tempfile::tempdir().unwrap();
    let _log = Log::open(dir.path()).unwrap();
    assert!(matches!(Log::open(dir.path()), Err(StoreError::InUse { .. })));
}

#[test]
fn an_unfinished_tail_is_cut_wherever_it_ends() {
    for cut in [1, 7, 30, 60] {
        let dir = tempfile::tempdir().unwrap();
        let two = made(dir.path(), 2);
        let (mut log, mut books) = Log::open(dir.path()).unwrap();
        add(&mut log, &mut books, 3);
        drop(log);
        let path = last(dir.path());
        let length = fs::metadata(&path).unwrap().len();
        OpenOptions::new().write(true).open(&path).unwrap().set_len(length - cut).unwrap();
        assert_eq!(Log::open(dir.path()).unwrap().1, two);
        // And what is appended then follows.
        let (mut log, mut books) = Log::open(dir.path()).unwrap();
        add(&mut log, &mut books, 3);
        drop(log);
        assert_eq!(Log::open(dir.path()).unwrap().1, books);
    }
}

#[test]
fn damage_before_the_tail_refuses_and_names_the_place() {
    let dir = tempfile::tempdir().unwrap();
    made(dir.path(), 3);
    let path = last(dir.path());
    overwrite(&path, 120, b"#");
    let error = Log::open(dir.path()).unwrap_err();
    let StoreError::Damaged { file, offset, .. } = &error else { panic!("{error}") };
    assert_eq!(*file, path);
    assert!(*offset > 0 && *offset < 120, "{offset}");
    assert!(error.to_string().contains("byte"), "{error}");
}

#[test]
fn sound_frames_that_do_not_follow_from_the_books_refuse_too() {
    let dir = tempfile::tempdir().unwrap();
    let (mut log, mut books) = Log::open(dir.path()).unwrap();
    add(&mut log, &mut books, 1);
    let gone = Fact::Account(portcullis_metering::accounts::Event::Removed {
        account: account(9),
        totals: portcullis_metering::accounts::Totals::default(),
    });
    log.append(&[gone]).unwrap();
    drop(log);
    let error = Log::open(dir.path()).unwrap_err();
    assert!(matches!(error, StoreError::Damaged { version: Some(2), .. }), "{error}");
}

#[test]
fn a_round_of_many_frames_counts_whole_or_not_at_all() {
    let dir = tempfile::tempdir().unwrap();
    let (mut log, mut books) = Log::open(dir.path()).unwrap();
    add(&mut log, &mut books, 1);
    let cut_off = Fact::Forgotten { plane: Uuid::from_u128(1) };
    let plane = super::super::known::Plane {
        name: "eu-1".to_owned(),
        life: 1,
        nonce: Uuid::from_u128(5),
        unsettled: std::collections::BTreeSet::new(),
        since: NOW,
    };
    books.apply(&Fact::Plane { plane: Uuid::from_u128(1), known: plane.clone() }).unwrap();
    log.append(&[Fact::Plane { plane: Uuid::from_u128(1), known: plane }]).unwrap();
    log.append_frame(&Frame { more: true, void: false, facts: [cut_off] }).unwrap();
    drop(log);
    // The rest never came: the plane is not forgotten, not even when other rounds follow.
    let (mut log, found) = Log::open(dir.path()).unwrap();
    assert_eq!(found, books);
    add(&mut log, &mut books, 2);
    drop(log);
    assert_eq!(Log::open(dir.path()).unwrap().1, books);
}

#[test]
fn a_long_log_is_replaced_by_a_checkpoint_and_a_damaged_one_is_made_again() {
    let dir = tempfile::tempdir().unwrap();
    let (mut log, mut books) = Log::open_with(dir.path(), 4_096, 2_048).unwrap();
    for owner in 1..=200 {
        add(&mut log, &mut books, owner);
        turn(&mut log, &books);
    }
    let generation = log.generation;
    drop(log);
    assert!(generation > 3, "{generation}");
    let kept: Vec<u64> = list(dir.path()).unwrap().into_keys().collect();
    assert_eq!(kept, [generation - 1, generation]);
    assert_eq!(Log::open(dir.path()).unwrap().1, books);

    let newest = checkpoint::path(&dir_of(dir.path(), generation));
    let whole = fs::read(&newest).unwrap();
    overwrite(&newest, 200, b"#####");
    assert_eq!(Log::open(dir.path()).unwrap().1, books);
    assert!(fs::read(&newest).unwrap() == whole, "it is put right on the disk too");
    overwrite(&newest, 200, b"#####");
    let before = checkpoint::path(&dir_of(dir.path(), generation - 1));
    overwrite(&before, 5, b"#");
    let error = Log::open(dir.path()).unwrap_err();
    assert!(matches!(&error, StoreError::Damaged { file, .. } if *file == before), "{error}");
}

#[test]
fn a_checkpoint_without_its_log_refuses() {
    let dir = tempfile::tempdir().unwrap();
    made(dir.path(), 2);
    fs::remove_file(last(dir.path())).unwrap();
    assert!(matches!(Log::open(dir.path()), Err(StoreError::Incomplete { .. })));
}

#[test]
fn neither_checkpoint_nor_log_refuses() {
    let dir = tempfile::tempdir().unwrap();
    let [..] = without_checkpoints(dir.path());
    fs::remove_file(last(dir.path())).unwrap();
    let error = Log::open(dir.path()).unwrap_err();
    assert!(
        matches!(&error, StoreError::Incomplete { dir: path, .. } if *path == dir_of(dir.path(), 3)),
        "{error}"
    );
}

/// Two generations whose checkpoints a crash prevented, after one that has its own; and the books at each beginning and at the end.
fn without_checkpoints(dir: &Path) -> [Books; 3] {
    let (mut log, mut books) = Log::open(dir).unwrap();
    let mut told = Vec::new();
    for first in [1, 4, 7] {
        (first..first + 3).for_each(|owner| add(&mut log, &mut books, owner));
        told.push(books.clone());
        if first < 7 {
            log.begin_next().unwrap();
        }
    }
    told.try_into().unwrap()
}

#[test]
fn a_crash_before_a_checkpoint_is_made_loses_nothing() {
    let dir = tempfile::tempdir().unwrap();
    let [_, beginning, end] = without_checkpoints(dir.path());
    let third = dir_of(dir.path(), 3);
    assert!(!checkpoint::path(&third).exists() && !checkpoint::path(&dir_of(dir.path(), 2)).exists());
    // Half of one, too.
    fs::write(third.join("checkpoint.new"), b"PORTMC01 and").unwrap();
    let (log, found) = Log::open(dir.path()).unwrap();
    assert_eq!((found, log.generation), (end.clone(), 3));
    assert_eq!(checkpoint::read(&third).unwrap().0, beginning);
    drop(log);
    // The generation before has no checkpoint of its own, so the one before that is still there.
    overwrite(&checkpoint::path(&third), 200, b"#####");
    assert_eq!(Log::open(dir.path()).unwrap().1, end);
}

#[test]
fn a_log_that_is_over_and_not_whole_refuses() {
    for (generation, cut) in [(1, 1), (2, 1), (2, 1_000_000)] {
        let dir = tempfile::tempdir().unwrap();
        let [..] = without_checkpoints(dir.path());
        let over = dir_of(dir.path(), generation);
        let files = fs::read_dir(&over).unwrap().map(|entry| entry.unwrap().path());
        let path = files.filter(|path| path.extension().is_some_and(|of| of == "journal")).max().unwrap();
        let length = fs::metadata(&path).unwrap().len();
        match length.checked_sub(cut) {
            Some(left) => OpenOptions::new().write(true).open(&path).unwrap().set_len(left).unwrap(),
            None => fs::remove_file(&path).unwrap(),
        }
        let error = Log::open(dir.path()).unwrap_err();
        assert!(matches!(&error, StoreError::Incomplete { dir, .. } if *dir == over), "{error}");
        let what = format!("ended with frame {}", 3);
        assert!(error.to_string().contains(&what), "{error}");
    }
}

#[test]
fn a_generation_that_was_begun_and_no_more_gives_way() {
    let dir = tempfile::tempdir().unwrap();
    let (mut log, mut books) = Log::open(dir.path()).unwrap();
    (1..=3).for_each(|owner| add(&mut log, &mut books, owner));
    // Its log could not be opened, say: the one before goes on.
    let end = End { version: 3, link: 1 };
    begin(dir.path(), 2, |new| note_end(new, end)).unwrap();
    (4..=6).for_each(|owner| add(&mut log, &mut books, owner));
    drop(log);
    let (mut log, found) = Log::open(dir.path()).unwrap();
    assert_eq!((&found, log.generation), (&books, 1));
    // And a later attempt finds the place free.
    begin(dir.path(), 2, |new| note_end(new, end)).unwrap();
    log.begin_next().unwrap();
    add(&mut log, &mut books, 7);
    drop(log);
    assert_eq!(Log::open(dir.path()).unwrap().1, books);
}

#[test]
fn a_checkpoint_that_cannot_be_made_is_tried_again_with_the_next_generation() {
    let dir = tempfile::tempdir().unwrap();
    let (mut log, mut books) = Log::open_with(dir.path(), 4_096, 2_048).unwrap();
    let mut owner = 0;
    let mut more = |log: &mut Log, books: &mut Books| {
        owner += 1;
        add(log, books, owner);
    };
    while log.length < log.due_at {
        more(&mut log, &mut books);
    }
    log.begin_next().unwrap();
    let in_the_way = dir_of(dir.path(), 2).join("checkpoint.new/x");
    fs::create_dir_all(&in_the_way).unwrap();
    log.making = Some(Making::begin(dir_of(dir.path(), 2), books.clone()).unwrap());
    turn(&mut log, &books);
    assert_eq!((log.generation, log.checkpoint), (2, None));
    let again_at = log.due_at;
    assert!(again_at > log.length);
    while log.checkpoint.is_none() {
        assert_eq!(log.generation, 2);
        more(&mut log, &mut books);
        let due = log.length >= again_at;
        turn(&mut log, &books);
        assert_eq!(log.checkpoint.is_some(), due);
    }
    assert_eq!(log.generation, 3);
    drop(log);
    assert_eq!(Log::open(dir.path()).unwrap().1, books);
}

#[test]
fn a_log_that_is_closed_waits_for_whoever_makes_its_checkpoint() {
    let dir = tempfile::tempdir().unwrap();
    let (mut log, mut books) = Log::open_with(dir.path(), 4_096, 2_048).unwrap();
    for owner in 1.. {
        add(&mut log, &mut books, owner);
        log.turn(&books);
        if log.making.is_some() {
            break;
        }
    }
    let unwanted = std::sync::Arc::clone(&log.making.as_ref().unwrap().unwanted);
    drop(log);
    assert_eq!(std::sync::Arc::strong_count(&unwanted), 1, "its thread has ended");
    assert_eq!(Log::open(dir.path()).unwrap().1, books);
}
