//! What the tests of the store share: a way to say objects, and damage done to a store's directory on purpose.
#![allow(dead_code, reason = "each test file uses its part")]

use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};

use portcullis_control_plane::store::{
    Change, HistoryChange, HistoryFilter, HistoryRecord, JournalStore, Object, Op, State, Store,
};
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

/// What a store should hold, worked out in the plainest way.
#[derive(Default)]
pub(crate) struct Model {
    pub(crate) version: u64,
    pub(crate) objects: BTreeMap<(String, String), Object>,
    pub(crate) history: Vec<HistoryRecord>,
}

impl Model {
    pub(crate) fn apply(&mut self, change: &Change) {
        let version = self.version + 1;
        let mut touched = Vec::new();
        let mut next = self.objects.clone();
        for op in &change.ops {
            let (kind, name) = op.key();
            let key = (kind.to_string(), name.to_string());
            if let Op::Put { kind, name, uid, body } = op {
                let (kind, name, uid, body) = (kind.clone(), name.clone(), *uid, body.clone());
                let object = Object { kind, name, uid, version, created_version: version, body };
                next.insert(key.clone(), object);
            } else {
                next.remove(&key);
            }
            if !touched.contains(&key) {
                touched.push(key);
            }
        }
        let mut changes = Vec::new();
        for key in touched {
            let (before, after) = (self.objects.get(&key), next.get(&key));
            if before.map(|it| (it.uid, &it.body)) != after.map(|it| (it.uid, &it.body)) {
                changes.push(HistoryChange {
                    kind: key.0.as_str().into(),
                    name: key.1.as_str().into(),
                    uid: after.or(before).unwrap().uid,
                    before: before.map(|it| it.body.clone()),
                    after: after.map(|it| it.body.clone()),
                });
                if let (Some(before), Some(after)) = (before, next.get_mut(&key))
                    && before.uid == after.uid
                {
                    after.created_version = before.created_version;
                }
            } else if let Some(before) = before {
                next.insert(key, before.clone());
            }
        }
        if changes.is_empty() {
            return;
        }
        self.version = version;
        self.objects = next;
        let (unix_ms, author, message) = (change.unix_ms, change.author.clone(), change.message.clone());
        self.history.push(HistoryRecord { version, unix_ms, author, message, changes });
    }

    /// Compares with a store: everything that is, and everything that was, asked in several ways.
    pub(crate) async fn compare(&self, store: &JournalStore) -> Result<(), String> {
        let state = store.state();
        if state.version != self.version {
            return Err(format!("version {} instead of {}", state.version, self.version));
        }
        let expected: Vec<_> = self.objects.values().cloned().collect();
        if objects(&state) != expected {
            return Err(format!("version {}: {:#?} instead of {expected:#?}", self.version, objects(&state)));
        }
        let mut keys: Vec<_> =
            self.objects.keys().map(|(kind, name)| (Some(kind.clone()), Some(name.clone()))).collect();
        keys.extend([(None, None), (Some("A".to_owned()), None)]);
        for (kind, name) in keys {
            let about = |change: &HistoryChange| {
                kind.as_deref().is_none_or(|kind| kind == &*change.kind)
                    && name.as_deref().is_none_or(|name| name == &*change.name)
            };
            let mut expected = self.history.clone();
            expected.iter_mut().for_each(|record| record.changes.retain(about));
            expected.retain(|record| !record.changes.is_empty());
            expected.reverse();
            let filter = HistoryFilter { kind: kind.clone(), name: name.clone(), limit: 0, before: None };
            let told = store.history(filter).await.map_err(|error| error.to_string())?;
            if told != expected {
                return Err(format!("history of {kind:?} {name:?}: {told:#?} instead of {expected:#?}"));
            }
        }
        Ok(())
    }
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
