use portcullis_metering::{AccountId, Epoch, Length, Level, Over, OverDebt, OverLine, Unit};

use super::*;

/// A disk in memory.
#[derive(Debug, Default, Clone)]
struct Memory(std::sync::Arc<std::sync::Mutex<Vec<u8>>>);

impl Memory {
    fn bytes(&self) -> Vec<u8> {
        self.0.lock().unwrap().clone()
    }
}

impl Disk for Memory {
    fn append(&mut self, bytes: &[u8]) -> io::Result<()> {
        self.0.lock().unwrap().extend_from_slice(bytes);
        Ok(())
    }
    fn replace(&mut self, bytes: &[u8]) -> io::Result<()> {
        *self.0.lock().unwrap() = bytes.to_owned();
        Ok(())
    }
    fn put_aside(&mut self, _: &str) -> io::Result<String> {
        self.0.lock().unwrap().clear();
        Ok(String::new())
    }
}

const PLANE: Uuid = Uuid::from_u128(7);
const STRANGER: Uuid = Uuid::from_u128(8);

fn account() -> AccountId {
    let owner = Uuid::from_u128(u128::MAX);
    AccountId { level: Level::Customer, owner, unit: Unit::MicroUsd, length: Length::Quarter, rolling: false }
}

fn chunk(number: u64) -> Record {
    Record::Chunk { account: account(), epoch: Epoch(u32::MAX), number, spent: u64::MAX, ceiling: u64::MAX }
}

fn life(life: u32) -> Record {
    Record::Life { plane: PLANE, life }
}

fn first() -> (Memory, Book) {
    let disk = Memory::default();
    let recovery = Recovery { holder: Holder { plane: PLANE, life: 1 }, over: Vec::new() };
    let mut book = Book::new(Box::new(disk.clone()), &recovery);
    assert!(book.is_broken(), "nothing is there yet");
    book.rewrite(&[life(1)]).unwrap();
    (disk, book)
}

#[test]
fn what_was_written_is_what_is_recovered_however_long_the_batches_are() {
    let (disk, mut book) = first();
    for batch in [1, 31, 32, 33, 500] {
        book.append(&(0..batch).map(chunk).collect::<Vec<_>>()).unwrap();
    }
    let found = read(&disk.bytes(), STRANGER);
    assert_eq!((found.damage, found.torn), (None, 0));
    assert_eq!(found.recovery.holder, Holder { plane: PLANE, life: 2 });
    assert_eq!(found.recovery.over[0].lines.len(), 1);
    assert_eq!(read(&[], STRANGER).recovery.holder, Holder { plane: STRANGER, life: 1 });
}

#[test]
fn a_torn_tail_is_cut_wherever_it_is_torn_and_damage_before_it_makes_a_stranger() {
    let (disk, mut book) = first();
    book.append(&[chunk(1)]).unwrap();
    let before = disk.bytes().len();
    book.append(&[chunk(2)]).unwrap();
    let whole = disk.bytes();
    for end in before + 1..whole.len() {
        let found = read(&whole[..end], STRANGER);
        let padding = end >= whole.len() - whole.iter().rev().take_while(|byte| **byte == 0).count();
        assert_eq!(found.damage, None, "cut at {end}");
        assert_eq!(found.recovery.holder.plane, PLANE);
        assert!(padding || found.torn == end - before, "cut at {end}: {found:?}");
    }
    for at in (0..before).step_by(3) {
        let mut bytes = whole.clone();
        bytes[at] ^= 0x40;
        let found = read(&bytes, STRANGER);
        // What pads a frame says nothing.
        if let Some(damage) = &found.damage {
            assert_eq!(
                found.recovery,
                Recovery { holder: Holder { plane: STRANGER, life: 1 }, over: Vec::new() },
                "{damage}"
            );
        } else {
            assert_eq!(found.recovery, read(&whole, STRANGER).recovery, "byte {at}");
        }
    }
}

#[test]
fn a_rewrite_keeps_what_the_control_plane_has_not_noted_of_earlier_lives() {
    let line = OverLine { account: account(), epoch: Epoch(3), spent: 4, ceiling: 9 };
    let over = |life| Over {
        holder: Holder { plane: PLANE, life },
        lines: vec![line],
        debts: vec![OverDebt { account: account(), debt: 2 }],
    };
    let recovery = Recovery { holder: Holder { plane: PLANE, life: 6 }, over: vec![over(3), over(5)] };
    let disk = Memory::default();
    let mut book = Book::new(Box::new(disk.clone()), &recovery);
    book.rewrite(&[life(6)]).unwrap();
    let told = |bytes: &[u8]| {
        let found = read(bytes, STRANGER);
        assert_eq!(found.recovery.holder, Holder { plane: PLANE, life: 7 });
        found.recovery.over
    };
    let now = Over { holder: Holder { plane: PLANE, life: 6 }, lines: Vec::new(), debts: Vec::new() };
    assert_eq!(told(&disk.bytes()), [over(3), over(5), now.clone()]);
    book.settled(3);
    book.append(&[Record::Settled { life: 3 }]).unwrap();
    assert_eq!(told(&disk.bytes()), [over(5), now.clone()]);
    book.rewrite(&[life(6)]).unwrap();
    assert_eq!(told(&disk.bytes()), [over(5), now]);
}

#[test]
fn it_is_written_anew_when_it_has_grown_and_not_at_every_batch() {
    let (disk, mut book) = first();
    let mut appended = 0;
    while !book.is_long() {
        book.append(&(0..100).map(chunk).collect::<Vec<_>>()).unwrap();
        appended += 1;
    }
    assert!(appended > 20);
    book.rewrite(&[life(1), chunk(1)]).unwrap();
    assert!(!book.is_long() && disk.bytes().len() < 1_000);
}
