//! What a process needs that is handed the entries of a large organisation and compiles them: its peak, entries included. It ends
//! with an error above the bar. Nothing else runs in it, unlike in a bench that keeps several snapshots.
#![allow(clippy::panic, reason = "a bench that cannot be set up ends")]
#![allow(clippy::print_stdout, reason = "this program's output")]

mod organisation;

use std::hint::black_box;
use std::process::ExitCode;
use std::time::Instant;

use organisation::{NOW, Size, compile, entries, key_hash, names};
use portcullis_policy::EndpointRef;

/// The allocator of the product.
#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

const LARGE: Size = Size { servers: 1_000, tools_per_server: 30, keys: 100_000 };
const BAR_MIB: u64 = 1_024;

/// A figure of the kernel about this process, in MiB.
fn mib(field: &str) -> u64 {
    let status = std::fs::read_to_string("/proc/self/status").unwrap_or_default();
    let line = status.lines().find_map(|line| line.strip_prefix(field));
    let kib = line.and_then(|rest| rest.split_whitespace().nth(1)).and_then(|kib| kib.parse::<u64>().ok());
    kib.unwrap_or_else(|| panic!("no {field} in /proc/self/status")) / 1_024
}

fn main() -> ExitCode {
    let entries = entries(LARGE, 100);
    let given = mib("VmRSS");
    let begun = Instant::now();
    let snapshot = compile(entries);
    let took = begun.elapsed();
    let peak = mib("VmHWM");
    let Ok(principal) = snapshot.authenticate(&key_hash(1), NOW) else { panic!("the key is there") };
    let Ok(view) = snapshot.endpoint(&principal, EndpointRef::All) else { panic!("the endpoint is there") };
    assert!(view.tools_json().contains(&names(0, LARGE).0), "the snapshot is the organisation's");
    black_box(&snapshot);
    println!(
        "100,000 keys, 1,000 servers, 30,000 tools: {given} MiB of entries given, {peak} MiB at the peak (bar {BAR_MIB}), \
         compiled in {:.2} s",
        took.as_secs_f64()
    );
    if peak <= BAR_MIB { ExitCode::SUCCESS } else { ExitCode::FAILURE }
}
