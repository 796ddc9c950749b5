//! What the tests of the store share: a way to say objects, and damage done to a store's directory on purpose.
#![allow(dead_code, reason = "each test file uses its part")]

use std::fs;
use std::path::{Path, PathBuf};

use portcullis_control_plane::store::{Change, JournalStore, Object, Op, State, Store};
use portcullis_policy::resource::Uid;
use serde_json::Value;

pub(crate) fn uid(n: u64) -> Uid {
    Uid(uuid::Uuid::from_u128(n.into()))
}

pub(crate) fn put(kind: &str, name: &str, n: u64, body: Value) -> Op {
    Op::Put { kind: kind.into(), name: name.into(), uid: uid(n), body }
}

pub(crate) fn delete(kind: &str, name: &str) -> Op {
    Op::Delete { kind: kind.into(), name: name.into() }
}

pub(crate) fn change(unix_ms: u64, ops: Vec<Op>) -> Change {
    Change { author: "admin".to_owned(), message: format!("change at {unix_ms}"), unix_ms, ops }
}

/// Commits to whatever the state is.
pub(crate) async fn commit(store: &JournalStore, ops: Vec<Op>) -> u64 {
    let expected = store.state().version;
    store.commit(expected, change(expected + 1, ops)).await.unwrap().version
}

pub(crate) fn objects(state: &State) -> Vec<Object> {
    let kinds: Vec<_> = state.kinds().cloned().collect();
    kinds.iter().flat_map(|kind| state.list(kind)).map(|object| Object::clone(object)).collect()
}

/// Numbers that look random and are the same for the same seed.
#[derive(Clone)]
pub(crate) struct Dice(u64);

impl Dice {
    pub(crate) fn new(seed: u64) -> Self {
        Self(seed)
    }

    /// SplitMix64.
    pub(crate) fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9E37_79B9_7F4A_7C15);
        let mut x = self.0;
        x = (x ^ (x >> 30)).wrapping_mul(0xBF58_476D_1CE4_E5B9);
        x = (x ^ (x >> 27)).wrapping_mul(0x94D0_49BB_1331_11EB);
        x ^ (x >> 31)
    }

    pub(crate) fn below(&mut self, bound: u64) -> u64 {
        self.next() % bound
    }
}

/// The journal's files in order.
pub(crate) fn journal_files(dir: &Path) -> Vec<PathBuf> {
    let mut files: Vec<_> =
        fs::read_dir(dir.join("journal")).unwrap().map(|entry| entry.unwrap().path()).collect();
    files.sort();
    files
}

/// The sled directories.
pub(crate) fn index_dirs(dir: &Path) -> Vec<PathBuf> {
    let mut dirs: Vec<_> = fs::read_dir(dir)
        .unwrap()
        .map(|entry| entry.unwrap().path())
        .filter(|path| path.is_dir() && path.file_name().unwrap().to_string_lossy().starts_with("index-"))
        .collect();
    dirs.sort();
    dirs
}

/// The sound frames of a journal file as (offset, bytes, link), read after the format's description and not by the code
/// under test.
pub(crate) fn frames(file: &[u8]) -> Vec<(usize, usize, u32)> {
    let word = |at: usize| u32::from_le_bytes(file[at..at + 4].try_into().unwrap());
    let mut frames = Vec::new();
    let mut at = 40;
    while at + 24 <= file.len() && crc32fast::hash(&file[at..at + 20]) == word(at + 20) {
        let bytes = 24 + word(at) as usize;
        if at + bytes > file.len() || crc32fast::hash(&file[at + 24..at + bytes]) != word(at + 16) {
            break;
        }
        frames.push((at, bytes, word(at + 20)));
        at += bytes;
    }
    frames
}

/// The frame of a record of this version behind the last one of this file.
pub(crate) fn next_frame(file: &[u8], version: u64, payload: &[u8]) -> Vec<u8> {
    let link =
        frames(file).last().map_or_else(|| u32::from_le_bytes(file[32..36].try_into().unwrap()), |it| it.2);
    let mut frame = u32::try_from(payload.len()).unwrap().to_le_bytes().to_vec();
    frame.extend_from_slice(&version.to_le_bytes());
    frame.extend_from_slice(&link.to_le_bytes());
    frame.extend_from_slice(&crc32fast::hash(payload).to_le_bytes());
    frame.extend_from_slice(&crc32fast::hash(&frame).to_le_bytes());
    frame.extend_from_slice(payload);
    frame
}

/// The ways in which an index can be ruined.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Ruin {
    Nothing,
    Remove,
    Empty,
    CutDatabase,
    FlipDatabase,
    FlipConf,
    FlipSnapshot,
    UnfinishedSnapshot,
    NoDatabase,
    OpeningNeverCameBack,
    Garbage,
}

impl Ruin {
    pub(crate) const ALL: [Self; 11] = [
        Self::Nothing,
        Self::Remove,
        Self::Empty,
        Self::CutDatabase,
        Self::FlipDatabase,
        Self::FlipConf,
        Self::FlipSnapshot,
        Self::UnfinishedSnapshot,
        Self::NoDatabase,
        Self::OpeningNeverCameBack,
        Self::Garbage,
    ];

    /// Ruins the index of a store that is closed.
    pub(crate) fn act(self, dir: &Path, dice: &mut Dice) {
        for index in index_dirs(dir) {
            let database = index.join("db");
            let mut flip = |path: &Path, times: u64| {
                let mut bytes = fs::read(path).unwrap_or_default();
                // Most of sled's file is empty: aim at what is written.
                let written = bytes.iter().rposition(|byte| *byte != 0).map_or(0, |last| last + 1);
                for _ in 0..times.min(written as u64) {
                    let at = usize::try_from(dice.below(written as u64)).unwrap();
                    bytes[at] ^= 1 << dice.below(8);
                }
                if path.exists() {
                    fs::write(path, bytes).unwrap();
                }
            };
            let snapshots = || {
                let entries = fs::read_dir(&index).unwrap().map(|entry| entry.unwrap().path());
                entries.filter(|path| path.file_name().unwrap().to_string_lossy().starts_with("snap."))
            };
            match self {
                Self::Nothing => {}
                Self::Remove => fs::remove_dir_all(&index).unwrap(),
                Self::Empty => {
                    fs::remove_dir_all(&index).unwrap();
                    fs::create_dir(&index).unwrap();
                }
                Self::CutDatabase => {
                    let bytes = fs::read(&database).unwrap_or_default();
                    let keep = usize::try_from(dice.below(bytes.len() as u64 + 1)).unwrap();
                    fs::write(&database, &bytes[..keep]).unwrap();
                }
                Self::FlipDatabase => flip(&database, 20),
                Self::FlipConf => flip(&index.join("conf"), 3),
                Self::FlipSnapshot => snapshots().for_each(|path| flip(&path, 3)),
                Self::UnfinishedSnapshot => {
                    fs::write(index.join("snap.00000000000000FF.generating"), b"half a snapshot").unwrap();
                }
                Self::NoDatabase => fs::remove_file(&database).unwrap_or_default(),
                Self::OpeningNeverCameBack => {
                    let mut mark = index.clone().into_os_string();
                    mark.push(".opening");
                    fs::write(mark, b"").unwrap();
                }
                Self::Garbage => {
                    let bytes: Vec<u8> = (0..70_000).map(|_| dice.next().to_le_bytes()[0]).collect();
                    for name in ["db", "conf", "snap.0000000000000010"] {
                        fs::write(index.join(name), &bytes).unwrap();
                    }
                }
            }
        }
    }
}
