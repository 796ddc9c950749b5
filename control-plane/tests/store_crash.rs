//! A control plane that is killed at any moment has lost nothing that it acknowledged, and shows no change by halves.
//!
//! The test runs itself as a child that commits without end and says each version that was acknowledged; it is killed with
//! SIGKILL at a moment that the seed chooses, the journal's tail is torn and the index ruined, and it starts again.
//! `PORTCULLIS_CRASH_SEEDS` says how many seeds, `PORTCULLIS_CRASH_SEED` runs the one that failed.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing,
    reason = "a test fails by panicking"
)]

mod store_common;

use std::fs;
use std::io::{BufRead as _, BufReader, Write as _};
use std::os::unix::process::ExitStatusExt as _;
use std::path::Path;
use std::process::{Command, Stdio};
use std::time::Duration;

use portcullis_control_plane::store::{Change, JournalStore, Op, Store};
use serde_json::json;
use store_common::{Dice, Model, Ruin, delete, frames, journal_files, next_frame, put};

const SEEDS: u64 = 40;
const ROUNDS: u64 = 2;
const SEGMENT_BYTES: u64 = 6000;

/// The change that leads to a version: always the same for the same seed, and never without effect.
fn change_to(version: u64, seed: u64) -> Change {
    let mut dice = Dice::new(seed.wrapping_mul(1_000_003).wrapping_add(version));
    let ops = (0..dice.below(6)).map(|_| {
        let name = format!("object-{}", dice.below(12));
        match dice.below(4) {
            0 => delete("A", &name),
            _ => {
                let length = if dice.below(20) == 0 { 20_000 } else { dice.below(400) };
                let text: String = (0..length).map(|at| char::from(b'a' + (at % 26) as u8)).collect();
                put("A", &name, dice.below(2), json!({"text": text, "n": dice.next()}))
            }
        }
    });
    let ops: Vec<Op> = ops.chain([put("Tick", "tick", 0, json!(version))]).collect();
    Change { author: format!("seed {seed}"), message: format!("to {version}"), unix_ms: version, ops }
}

/// The child's part: does nothing unless it is called by the test below.
#[test]
#[ignore = "the part of the child process"]
fn child() {
    let (Ok(dir), Ok(seed)) =
        (std::env::var("PORTCULLIS_CRASH_DIR"), std::env::var("PORTCULLIS_CRASH_CHILD_SEED"))
    else {
        return;
    };
    let seed = seed.parse().unwrap();
    let runtime = tokio::runtime::Builder::new_current_thread().build().unwrap();
    let store = JournalStore::open_with_segments(Path::new(&dir), SEGMENT_BYTES).unwrap();
    let mut out = std::io::stdout();
    let mut version = store.state().version;
    loop {
        version = runtime.block_on(store.commit(version, change_to(version + 1, seed))).unwrap().version;
        // Past the harness, which keeps what `print` says.
        out.write_all(format!("\nacknowledged {version}\n").as_bytes()).unwrap();
        out.flush().unwrap();
    }
}

/// Runs the child until the dice say stop; gives the last version that it acknowledged.
fn run_and_kill(dir: &Path, seed: u64, dice: &mut Dice) -> Result<Option<u64>, String> {
    let mut child = Command::new(std::env::current_exe().unwrap())
        .args(["--exact", "child", "--ignored", "--nocapture"])
        .env("PORTCULLIS_CRASH_DIR", dir)
        .env("PORTCULLIS_CRASH_CHILD_SEED", seed.to_string())
        .stdout(Stdio::piped())
        .spawn()
        .map_err(|error| error.to_string())?;
    let mut lines = BufReader::new(child.stdout.take().unwrap()).lines();
    let mut acknowledged = None;
    let mut next = || {
        for line in lines.by_ref() {
            if let Some(version) = line.unwrap().strip_prefix("acknowledged ") {
                return Some(version.parse::<u64>().unwrap());
            }
        }
        None
    };
    // Either at some moment of its start, or at some moment after so many acknowledgements.
    if dice.below(4) == 0 {
        std::thread::sleep(Duration::from_micros(dice.below(40_000)));
    } else {
        for _ in 0..=dice.below(15) {
            acknowledged = next();
        }
        std::thread::sleep(Duration::from_micros(dice.below(3000)));
    }
    child.kill().map_err(|error| error.to_string())?;
    while let Some(version) = next() {
        acknowledged = Some(version);
    }
    let status = child.wait().map_err(|error| error.to_string())?;
    match status.signal() {
        Some(9) => Ok(acknowledged),
        _ => Err(format!("the child ended by itself: {status}")),
    }
}

/// What a power cut could leave behind the last record, if the kill left a sound end.
fn tear_tail(dir: &Path, dice: &mut Dice) {
    let Some(last) = journal_files(dir).pop() else { return };
    let sound = fs::read(&last).unwrap();
    let end = frames(&sound).last().map_or(40, |(at, bytes, _)| at + bytes);
    if end != sound.len() {
        return;
    }
    let version = u64::from_le_bytes(sound[24..32].try_into().unwrap()) + frames(&sound).len() as u64 + 1;
    let payload = vec![b'{'; 10 + usize::try_from(dice.below(3000)).unwrap()];
    let frame = next_frame(&sound, version, &payload);
    let cut = usize::try_from(dice.below(frame.len() as u64)).unwrap();
    let tail = match dice.below(4) {
        0 => Vec::new(),
        1 => frame[..cut].to_vec(),
        2 => vec![0; cut],
        // It grew to its length, and only so many sectors of it were written.
        _ => {
            let sector = (end + cut).next_multiple_of(512) - end;
            let mut frame = frame;
            frame.iter_mut().skip(sector).for_each(|byte| *byte = 0);
            // A whole frame would be a change that was made.
            if sector >= frame.len() { Vec::new() } else { frame }
        }
    };
    fs::write(&last, [sound, tail].concat()).unwrap();
}

fn run_seed(seed: u64) -> Result<u64, String> {
    let mut dice = Dice::new(seed);
    let dir = tempfile::tempdir().unwrap();
    let runtime = tokio::runtime::Builder::new_current_thread().build().unwrap();
    let mut model = Model::default();
    for round in 0..ROUNDS {
        let acknowledged = run_and_kill(dir.path(), seed, &mut dice)?.unwrap_or(model.version);
        if dir.path().join("journal").exists() {
            tear_tail(dir.path(), &mut dice);
            let ruin = Ruin::ALL[usize::try_from(dice.below(Ruin::ALL.len() as u64)).unwrap()];
            ruin.act(dir.path(), &mut dice);
        }
        let store =
            JournalStore::open_with_segments(dir.path(), SEGMENT_BYTES).map_err(|error| error.to_string())?;
        let version = store.state().version;
        // The child writes one change at a time: the one that it was writing may have come to be.
        if !(acknowledged..=acknowledged + 1).contains(&version) {
            return Err(format!("round {round}: {acknowledged} was acknowledged, the store is at {version}"));
        }
        while model.version < version {
            model.apply(&change_to(model.version + 1, seed));
        }
        runtime.block_on(model.compare(&store)).map_err(|error| format!("round {round}: {error}"))?;
    }
    Ok(model.version)
}

#[test]
fn a_kill_at_any_moment_loses_no_acknowledged_change_and_leaves_no_half_one() {
    let number = |name| std::env::var(name).ok().map(|text| text.parse::<u64>().unwrap());
    let seeds = match number("PORTCULLIS_CRASH_SEED") {
        Some(seed) => seed..seed + 1,
        None => 0..number("PORTCULLIS_CRASH_SEEDS").unwrap_or(SEEDS),
    };
    let mut versions = 0;
    for seed in seeds {
        match run_seed(seed) {
            Ok(made) => versions += made,
            Err(error) => panic!("PORTCULLIS_CRASH_SEED={seed}: {error}"),
        }
    }
    assert!(versions > 0, "no child came to commit anything");
}
