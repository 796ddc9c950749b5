use std::sync::{Arc, Mutex};

use super::*;

fn payload(version: u64) -> Vec<u8> {
    format!(
        "{{\"version\":{version},\"fill\":\"{}\"}}",
        "x".repeat(usize::try_from(version * 7 % 90).unwrap())
    )
    .into_bytes()
}

/// A journal, what was cut, and the payloads that were read.
type Opened = (Journal, Option<CutTail>, Vec<Vec<u8>>);

fn open(dir: &Path, limit: u64) -> Result<Opened, StoreError> {
    let mut seen = Vec::new();
    let (journal, cut) = Journal::open(dir, limit, &mut |stored| {
        assert_eq!(stored.tip.version, seen.len() as u64 + 1);
        seen.push(stored.payload.to_vec());
        Ok(())
    })?;
    Ok((journal, cut, seen))
}

fn filled(dir: &Path, limit: u64, records: u64) -> Vec<Position> {
    let (mut journal, _, _) = open(dir, limit).unwrap();
    (1..=records).map(|version| journal.append(&payload(version)).unwrap().1).collect()
}

fn payloads(versions: u64) -> Vec<Vec<u8>> {
    (1..=versions).map(payload).collect()
}

/// After whatever happened: what is there is there, and the journal goes on.
fn goes_on(dir: &Path, versions: u64) {
    let (mut journal, cut, seen) = open(dir, SEGMENT_BYTES).unwrap();
    assert_eq!((cut, seen), (None, payloads(versions)));
    journal.append(&payload(versions + 1)).unwrap();
    drop(journal);
    assert_eq!(open(dir, SEGMENT_BYTES).unwrap().2, payloads(versions + 1));
}

#[test]
fn what_was_appended_is_read_back_over_many_files() {
    let dir = tempfile::tempdir().unwrap();
    let positions = filled(dir.path(), 300, 40);
    assert!(list(dir.path()).unwrap().len() > 5);
    let (_, cut, seen) = open(dir.path(), 300).unwrap();
    assert_eq!((cut, seen), (None, payloads(40)));
    let mut reader = Reader::new(dir.path());
    for (version, position) in (1..=40).zip(positions).collect::<Vec<_>>().into_iter().rev() {
        assert_eq!(reader.read(version, position).unwrap(), payload(version));
        assert!(reader.read(version + 1, position).is_err());
    }
}

#[test]
fn a_tail_cut_at_any_byte_of_the_last_record_is_cut_off_and_reported() {
    let dir = tempfile::tempdir().unwrap();
    let positions = filled(dir.path(), SEGMENT_BYTES, 5);
    let path = segment_path(dir.path(), 1);
    let whole = fs::read(&path).unwrap();
    let last = positions[4].offset;
    for length in last..whole.len() as u64 {
        fs::write(&path, &whole[..usize::try_from(length).unwrap()]).unwrap();
        let (_, cut, seen) = open(dir.path(), SEGMENT_BYTES).unwrap();
        assert_eq!(seen, payloads(4), "{length}");
        let expected =
            (length > last).then(|| CutTail { file: path.clone(), offset: last, bytes: length - last });
        assert_eq!(cut, expected, "{length}");
        goes_on(dir.path(), 4);
    }
}

#[test]
fn a_tail_that_ends_in_zeros_is_cut_off() {
    let dir = tempfile::tempdir().unwrap();
    let positions = filled(dir.path(), SEGMENT_BYTES, 40);
    let path = segment_path(dir.path(), 1);
    let whole = fs::read(&path).unwrap();
    // The file grew, nothing or only the first sectors of the record came to the disk.
    let sector_ends = (positions[39].offset..whole.len() as u64).filter(|at| at % 512 == 0);
    for written in std::iter::once(positions[39].offset).chain(sector_ends) {
        let mut torn = whole.clone();
        torn[usize::try_from(written).unwrap()..].fill(0);
        fs::write(&path, &torn).unwrap();
        let (_, cut, seen) = open(dir.path(), SEGMENT_BYTES).unwrap();
        assert_eq!(seen, payloads(39), "{written}");
        assert_eq!(cut.unwrap().offset, positions[39].offset);
    }
    for zeros in [1, 7, 24, 4096] {
        let mut torn = whole.clone();
        torn.resize(torn.len() + zeros, 0);
        fs::write(&path, &torn).unwrap();
        let (_, cut, seen) = open(dir.path(), SEGMENT_BYTES).unwrap();
        assert_eq!((cut.unwrap().bytes, seen), (zeros as u64, payloads(40)));
    }
}

#[test]
fn a_flipped_bit_anywhere_in_what_was_written_refuses_to_open_and_changes_nothing() {
    let dir = tempfile::tempdir().unwrap();
    let positions = filled(dir.path(), SEGMENT_BYTES, 3);
    let path = segment_path(dir.path(), 1);
    let whole = fs::read(&path).unwrap();
    // One bit of each byte; that a frame notices each bit is tested with the frame.
    for bit in (0..whole.len()).map(|at| at * 8 + at % 8) {
        let mut damaged = whole.clone();
        damaged[bit / 8] ^= 1 << (bit % 8);
        fs::write(&path, &damaged).unwrap();
        let Err(error) = open(dir.path(), SEGMENT_BYTES).map(|_| ()) else {
            panic!("bit {bit} of {} passed", whole.len() * 8)
        };
        let StoreError::Damaged { file, offset, .. } = &error else { panic!("bit {bit}: {error}") };
        let record = positions.iter().rev().map(|position| position.offset).find(|at| *at <= bit as u64 / 8);
        assert_eq!((file, *offset), (&path, record.unwrap_or(0)), "bit {bit}");
        assert_eq!(fs::read(&path).unwrap(), damaged, "bit {bit}");
    }
}

#[test]
fn a_missing_doubled_or_foreign_file_refuses_to_open() {
    let dir = tempfile::tempdir().unwrap();
    filled(dir.path(), 200, 12);
    let segments: Vec<_> = list(dir.path()).unwrap().into_iter().collect();
    let refused = || open(dir.path(), 200).map(|_| ()).unwrap_err().to_string();

    let (middle, path) = &segments[1];
    let kept = fs::read(path).unwrap();
    fs::remove_file(path).unwrap();
    assert!(refused().contains(&format!("change {middle} is due")));

    let foreign = tempfile::tempdir().unwrap();
    filled(foreign.path(), 200, 12);
    fs::copy(segment_path(foreign.path(), *middle), path).unwrap();
    assert!(refused().contains("belongs to another journal"));

    fs::write(path, &kept[..kept.len() - 1]).unwrap();
    assert!(refused().contains("another file follows"));

    fs::write(path, &kept[..10]).unwrap();
    assert!(refused().contains("no header"));

    fs::write(path, &kept).unwrap();
    assert_eq!(open(dir.path(), 200).unwrap().2, payloads(12));

    fs::remove_file(&segments[0].1).unwrap();
    assert!(refused().contains("change 1 is due"));
}

#[test]
fn a_file_whose_making_was_cut_short_is_made_again() {
    for left in [0, 1, SEGMENT_HEADER_BYTES - 1] {
        let dir = tempfile::tempdir().unwrap();
        filled(dir.path(), SEGMENT_BYTES, 3);
        fs::write(segment_path(dir.path(), 4), vec![7; left]).unwrap();
        let (_, cut, seen) = open(dir.path(), SEGMENT_BYTES).unwrap();
        assert_eq!((cut.unwrap().bytes, seen), (left as u64, payloads(3)));
        goes_on(dir.path(), 3);

        let alone = tempfile::tempdir().unwrap();
        fs::write(segment_path(alone.path(), 1), vec![0; left]).unwrap();
        assert!(open(alone.path(), SEGMENT_BYTES).unwrap().2.is_empty());
        goes_on(alone.path(), 0);
    }
}

#[derive(Debug, Clone, Copy, PartialEq)]
enum Fault {
    /// The write stops after so many bytes, for lack of room.
    Full(usize),
    /// The sync fails.
    Sync(io::ErrorKind),
    /// Taking back fails.
    Truncate,
}

/// A disk that fails as it is told, each fault once.
struct FailingDisk {
    file: File,
    faults: Arc<Mutex<Vec<Fault>>>,
}

impl FailingDisk {
    fn fault(&self, wanted: impl Fn(&Fault) -> bool) -> Option<Fault> {
        let mut faults = self.faults.lock().unwrap();
        faults.iter().position(wanted).map(|at| faults.remove(at))
    }
}

impl Medium for FailingDisk {
    fn append(&mut self, bytes: &[u8]) -> io::Result<()> {
        if let Some(Fault::Full(written)) = self.fault(|fault| matches!(fault, Fault::Full(_))) {
            self.file.write_all(&bytes[..written.min(bytes.len())])?;
            return Err(io::ErrorKind::StorageFull.into());
        }
        self.file.append(bytes)
    }

    fn sync(&mut self) -> io::Result<()> {
        match self.fault(|fault| matches!(fault, Fault::Sync(_))) {
            Some(Fault::Sync(kind)) => Err(kind.into()),
            _ => self.file.sync(),
        }
    }

    fn truncate(&mut self, bytes: u64) -> io::Result<()> {
        match self.fault(|fault| *fault == Fault::Truncate) {
            Some(_) => Err(io::Error::other("it cannot be shortened")),
            None => self.file.truncate(bytes),
        }
    }
}

/// A journal of two records whose disk then fails so.
fn failing(dir: &Path, faults: &[Fault]) -> Journal {
    filled(dir, SEGMENT_BYTES, 2);
    let (mut journal, _, _) = open(dir, SEGMENT_BYTES).unwrap();
    let file = OpenOptions::new().append(true).open(segment_path(dir, 1)).unwrap();
    journal.medium = Box::new(FailingDisk { file, faults: Arc::new(Mutex::new(faults.to_vec())) });
    journal
}

#[test]
fn a_full_disk_refuses_the_record_and_takes_the_next_one_when_there_is_room() {
    for written in [0, 1, 30, 1000] {
        for fault in [Fault::Full(written), Fault::Sync(io::ErrorKind::StorageFull)] {
            let dir = tempfile::tempdir().unwrap();
            let mut journal = failing(dir.path(), &[fault]);
            assert!(journal.append(b"{\"refused\":true}").is_err());
            journal.append(&payload(3)).unwrap();
            drop(journal);
            goes_on(dir.path(), 3);
        }
    }
}

#[test]
fn a_disk_that_does_not_say_what_it_holds_closes_the_journal_and_loses_nothing() {
    let cases: [&[Fault]; 3] = [
        &[Fault::Sync(io::ErrorKind::Other)],
        &[Fault::Full(20), Fault::Truncate],
        &[Fault::Sync(io::ErrorKind::StorageFull), Fault::Truncate],
    ];
    for faults in cases {
        let dir = tempfile::tempdir().unwrap();
        let mut journal = failing(dir.path(), faults);
        assert!(journal.append(&payload(3)).is_err(), "{faults:?}");
        let again = journal.append(&payload(3)).unwrap_err();
        assert!(again.contains("takes no changes"), "{faults:?}: {again}");
        drop(journal);
        let (_, _, seen) = open(dir.path(), SEGMENT_BYTES).unwrap();
        assert_eq!(seen.get(..2), Some(payloads(2).as_slice()), "{faults:?}");
    }
}
