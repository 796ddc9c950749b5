//! The real control plane, killed at any moment of applies, its index ruined and its journal's tail torn: whatever was
//! acknowledged is there, and no half of anything.
//!
//! `PORTCULLIS_CRASH_SEEDS` says how many moments are tried, `PORTCULLIS_CRASH_SEED` runs the round that failed.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing,
    reason = "steps of tests"
)]

use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use portcullis_proto::admin::v1 as api;
use portcullis_tests::admin::Admin;
use portcullis_tests::binary::Process;
use serde_json::Value;

const SEEDS: u64 = 30;
/// Rounds over one directory.
const ROUNDS: u64 = 5;
const AUTHORS: usize = 3;

/// SplitMix64: the same dice for the same seed.
struct Dice(u64);

impl Dice {
    fn below(&mut self, end: u64) -> u64 {
        self.0 = self.0.wrapping_add(0x9E37_79B9_7F4A_7C15);
        let mut mixed = self.0;
        mixed = (mixed ^ (mixed >> 30)).wrapping_mul(0xBF58_476D_1CE4_E5B9);
        mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94D0_49BB_1331_11EB);
        (mixed ^ (mixed >> 31)) % end
    }
}

/// What one author's change of this number says in three documents at once.
fn documents(author: usize, number: u64) -> String {
    let head = |kind: &str, name: &str| {
        format!(
            "{{apiVersion: portcullis/v1, kind: {kind}, metadata: {{name: {name}, labels: {{n: \"{number}\"}}}}, "
        )
    };
    let name = format!("a{author}");
    format!(
        "{}spec: {{}}}}\n---\n{}spec: {{customer: {name}}}}}\n---\n{}spec: {{principal: {{kind: agent, subject: s}}, team: {name}}}}}",
        head("Customer", &name),
        head("Team", &name),
        head("VirtualKey", &format!("{name}-{number}")),
    )
}

fn connect(control: &Process) -> Admin {
    let token = fs::read_to_string(control.address("adminTokenFile")).unwrap();
    Admin::new(&control.address("grpcUrl"), token.trim(), None)
}

/// Applies one change after the other until the control plane is gone; keeps what was acknowledged.
async fn author(admin: Admin, author: usize, from: u64, acknowledged: Arc<[AtomicU64; AUTHORS]>) {
    for number in from.. {
        let file = api::SourceFile { name: "a.yaml".to_owned(), text: documents(author, number) };
        let message = format!("a{author} {number}");
        let request = api::ApplyRequest { files: vec![file], dry_run: false, message, full: false };
        match admin.resources().apply(request).await {
            Ok(_) => acknowledged[author].store(number, Ordering::SeqCst),
            Err(status) => {
                let gone = matches!(
                    status.code(),
                    tonic::Code::Unavailable
                        | tonic::Code::Unknown
                        | tonic::Code::Cancelled
                        | tonic::Code::Internal
                );
                assert!(gone, "author {author}, {number}: {status:?}");
                return;
            }
        }
    }
}

/// Names and the label `n` of all resources of a kind.
async fn listed(admin: &Admin, kind: &str) -> BTreeMap<String, u64> {
    let request = api::ListRequest { kind: kind.to_owned() };
    let resources = admin.resources().list(request).await.unwrap().into_inner().resources;
    let number = |resource: &api::Resource| {
        let body: Value = serde_json::from_str(&resource.json).unwrap();
        body["metadata"]["labels"]["n"].as_str().map_or(0, |text| text.parse().unwrap())
    };
    resources.iter().map(|resource| (resource.name.clone(), number(resource))).collect()
}

async fn history(admin: &Admin) -> Vec<String> {
    let mut messages = Vec::new();
    let mut before_version = 0;
    loop {
        let request = api::HistoryRequest { limit: 500, before_version, ..api::HistoryRequest::default() };
        let entries = admin.resources().history(request).await.unwrap().into_inner().entries;
        let Some(last) = entries.last() else { return messages };
        before_version = last.version;
        messages.extend(entries.into_iter().map(|entry| entry.message));
    }
}

/// Every path under a directory that fits.
fn find(dir: &Path, fits: &dyn Fn(&Path) -> bool) -> Vec<PathBuf> {
    let mut found = Vec::new();
    let Ok(entries) = fs::read_dir(dir) else { return found };
    for entry in entries {
        let path = entry.unwrap().path();
        if fits(&path) {
            found.push(path);
        } else if path.is_dir() {
            found.extend(find(&path, fits));
        }
    }
    found.sort();
    found
}

/// What a power cut and a bad disk leave behind: the journal's tail grown by what was never written, sled gone or damaged.
fn ruin(data: &Path, dice: &mut Dice) {
    let in_journal =
        |path: &Path| path.is_file() && path.parent().is_some_and(|dir| dir.ends_with("journal"));
    if let Some(last) = find(data, &in_journal).pop()
        && dice.below(2) == 0
    {
        let mut bytes = fs::read(&last).unwrap();
        let torn = bytes.len() + usize::try_from(dice.below(3000)).unwrap();
        bytes.resize(torn, 0);
        fs::write(&last, bytes).unwrap();
    }
    let is_index = |path: &Path| {
        let name = path.file_name().unwrap().to_string_lossy();
        path.is_dir() && name.starts_with("index-")
    };
    for index in find(data, &is_index) {
        match dice.below(5) {
            0 => {}
            1 => fs::remove_dir_all(&index).unwrap(),
            damage => {
                for file in find(&index, &|path| path.is_file()) {
                    let mut bytes = fs::read(&file).unwrap();
                    let length = bytes.len() as u64;
                    match damage {
                        2 => bytes.truncate(usize::try_from(dice.below(length + 1)).unwrap()),
                        3 => bytes.clear(),
                        _ if length == 0 => {}
                        _ => {
                            for _ in 0..8 {
                                let at = usize::try_from(dice.below(length)).unwrap();
                                bytes[at] ^= 1 << dice.below(8);
                            }
                        }
                    }
                    fs::write(&file, bytes).unwrap();
                }
            }
        }
    }
}

/// Starts, applies, kills, ruins; over and over in one directory.
async fn rounds(first_seed: u64, count: u64) -> u64 {
    let dir = tempfile::tempdir().unwrap();
    let data = dir.path().join("state");
    let arguments = [
        "control-plane",
        "--data-dir",
        data.to_str().unwrap(),
        "--grpc-listen",
        "127.0.0.1:0",
        "--http-listen",
        "127.0.0.1:0",
    ];
    let acknowledged: Arc<[AtomicU64; AUTHORS]> = Arc::default();
    let mut next = [1; AUTHORS];
    for seed in first_seed..first_seed + count {
        let mut dice = Dice(seed);
        let mut control = Process::start(dir.path(), "control", &arguments);
        let admin = connect(&control);
        if seed > first_seed {
            next = whole(&admin, &acknowledged, seed).await;
        }
        let before: u64 = acknowledged.iter().map(|number| number.load(Ordering::SeqCst)).sum();
        let authors: Vec<_> = (0..AUTHORS)
            .map(|number| {
                tokio::spawn(author(connect(&control), number, next[number], Arc::clone(&acknowledged)))
            })
            .collect();
        let (count, micros) = (dice.below(20), dice.below(5000));
        while acknowledged.iter().map(|number| number.load(Ordering::SeqCst)).sum::<u64>() < before + count {
            tokio::task::yield_now().await;
        }
        tokio::time::sleep(Duration::from_micros(micros)).await;
        control.kill();
        for author in authors {
            author.await.unwrap();
        }
        ruin(&data, &mut dice);
    }
    let control = Process::start(dir.path(), "control", &arguments);
    whole(&connect(&control), &acknowledged, first_seed + count - 1).await;
    acknowledged.iter().map(|number| number.load(Ordering::SeqCst)).sum()
}

/// Everything that was acknowledged is there, and at most the one change that each author waited for beside it. Gives the
/// number that each author goes on with.
async fn whole(admin: &Admin, acknowledged: &[AtomicU64; AUTHORS], seed: u64) -> [u64; AUTHORS] {
    let (customers, teams, keys) =
        (listed(admin, "Customer").await, listed(admin, "Team").await, listed(admin, "VirtualKey").await);
    let messages = history(admin).await;
    std::array::from_fn(|author| {
        let name = format!("a{author}");
        let case = format!("PORTCULLIS_CRASH_SEED={seed}, author {author}");
        let promised = acknowledged[author].load(Ordering::SeqCst);
        let there = customers.get(&name).copied().unwrap_or(0);
        assert!(
            (promised..=promised + 1).contains(&there),
            "{case}: {promised} was acknowledged, {there} is there"
        );
        assert_eq!(teams.get(&name).copied().unwrap_or(0), there, "{case}: half a change");
        for number in 1..=there {
            assert_eq!(keys.get(&format!("{name}-{number}")), Some(&number), "{case}: half a change");
            let told = messages.iter().filter(|message| **message == format!("{name} {number}")).count();
            assert_eq!(told, 1, "{case}: change {number} in the history");
        }
        assert!(!keys.contains_key(&format!("{name}-{}", there + 1)), "{case}: half a change");
        acknowledged[author].store(there, Ordering::SeqCst);
        there + 1
    })
}

#[tokio::test(flavor = "multi_thread")]
async fn a_control_plane_killed_at_any_moment_keeps_what_it_acknowledged_and_nothing_by_halves() {
    let number = |name| std::env::var(name).ok().map(|text| text.parse::<u64>().unwrap());
    let (from, to) = match number("PORTCULLIS_CRASH_SEED") {
        Some(seed) => (seed / ROUNDS * ROUNDS, seed / ROUNDS * ROUNDS + ROUNDS),
        None => (0, number("PORTCULLIS_CRASH_SEEDS").unwrap_or(SEEDS)),
    };
    let mut changes = 0;
    for seed in (from..to).step_by(usize::try_from(ROUNDS).unwrap()) {
        changes += rounds(seed, ROUNDS.min(to - seed)).await;
    }
    println!("{} kills, {changes} changes acknowledged", to - from);
    assert!(changes > to - from, "hardly anything was ever acknowledged");
}
