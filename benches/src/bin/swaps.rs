//! `swaps PORTCULLIS`: what callers feel of new snapshots.
//!
//! Calls come at a steady rate while `apply` runs at a steady pace. In one half of each round it applies what is there already:
//! nothing changes. In the other it changes a key each time, so that a snapshot is compiled, signed, streamed and swapped. The
//! halves differ by the swaps and by nothing else. Each half is cut into slices of a second, and those of both take turns: what
//! the machine does beside (a neighbour that takes a core for a while moves p99.9 threefold) meets both alike.
#![forbid(unsafe_code)]
#![allow(clippy::print_stdout, reason = "this program's output")]

use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::Duration;

use clap::Parser;
use hdrhistogram::Histogram;
use portcullis_benches::gateway::{Error, Gateway, key};
use portcullis_benches::load::{Percentiles, Plan, Report, run};
use portcullis_benches::{call, cpu, upstream};
use serde_json::{Value, json};
use tokio::net::TcpListener;

/// By then the last change is in force.
const SETTLED: Duration = Duration::from_millis(300);

/// Measures latencies with and without new snapshots.
#[derive(Debug, Parser)]
struct Args {
    /// The release binary.
    #[arg(default_value = "target/release/portcullis")]
    portcullis: PathBuf,
    /// Calls a second.
    #[arg(long, default_value_t = 1000)]
    rate: u64,
    /// Seconds of each half of a round.
    #[arg(long, default_value_t = 10)]
    seconds: u64,
    /// Rounds.
    #[arg(long, default_value_t = 5)]
    rounds: usize,
    /// Keys that the snapshot holds beside the caller's.
    #[arg(long, default_value_t = 1000)]
    keys: usize,
    /// Milliseconds from one apply to the next.
    #[arg(long, default_value_t = 250)]
    pace: u64,
}

#[tokio::main]
async fn main() -> Result<(), Error> {
    let args = Args::parse();
    let listener = TcpListener::bind("127.0.0.1:0").await?;
    let upstream_url = format!("http://{}/mcp", listener.local_addr()?);
    tokio::spawn(upstream::serve(listener));
    let gateway = Arc::new(Gateway::start(&args.portcullis).await?);
    let secret = gateway.serve(&upstream_url).await?;
    let others: Vec<String> = (0..args.keys).map(|at| key(&format!("other-{at}"), &["*"])).collect();
    gateway.apply(&gateway.file("others.yaml", &others)?)?;
    let changing = [
        gateway.file("one.yaml", &[key("changing", &["kilobyte"])])?,
        gateway.file("other.yaml", &[key("changing", &["*"])])?,
    ];

    let call = call("bench_kilobyte", &secret, &json!({ "pad": "y".repeat(740) }).to_string())?;
    let plan = Plan {
        url: gateway.url().parse()?,
        headers: call.headers,
        body: call.body,
        rate: args.rate,
        duration: Duration::from_secs(1),
        connections: 16,
        expect: "xxxx".to_owned(),
    };
    run(&plan).await?;
    gateway.apply(&changing[0])?;
    println!(
        "{} keys, {} calls/s, an apply every {} ms, {} s a half",
        args.keys, args.rate, args.pace, args.seconds
    );
    let mut ratios = Vec::new();
    let (mut all_still, mut all_swapping) = (Half::new()?, Half::new()?);
    for round in 1..=args.rounds {
        let (mut still, mut swapping) = (Half::new()?, Half::new()?);
        for second in 0..args.seconds {
            // Still, swapping, swapping, still, …: neither always comes first.
            for turn in [second % 2 == 0, second % 2 == 1] {
                match turn {
                    true => still.slice(&gateway, &plan, args.pace, [&changing[0], &changing[0]]).await?,
                    false => swapping.slice(&gateway, &plan, args.pace, [&changing[1], &changing[0]]).await?,
                }
                // What the last slice left is not the next one's to change, nor to wait for.
                gateway.apply(&changing[0])?;
                tokio::time::sleep(SETTLED).await;
            }
        }
        if still.swaps > 0 || swapping.swaps == 0 {
            let (none, swaps) = (still.swaps, swapping.swaps);
            return Err(format!("{none} snapshots where none was due, {swaps} where some were").into());
        }
        println!("round {round}: {}", compared(&still, &swapping));
        ratios.push(ratio(&still, &swapping));
        all_still.latencies.add(&still.latencies)?;
        all_swapping.latencies.add(&swapping.latencies)?;
        all_swapping.swaps += swapping.swaps;
        all_still.cpu += still.cpu;
        all_swapping.cpu += swapping.cpu;
    }
    println!("all rounds: {}", compared(&all_still, &all_swapping));
    ratios.sort_by(f64::total_cmp);
    println!(
        "median: p99.9 during swaps is {:.2} of that without",
        ratios.get(ratios.len() / 2).copied().unwrap_or(f64::NAN)
    );
    Ok(())
}

fn ratio(still: &Half, swapping: &Half) -> f64 {
    let p999 = |half: &Half| Percentiles::of(&half.latencies).p999;
    #[allow(clippy::cast_precision_loss, reason = "a figure for people")]
    let ratio = p999(swapping) as f64 / p999(still).max(1) as f64;
    ratio
}

fn compared(still: &Half, swapping: &Half) -> String {
    let told = |half: &Half| {
        let micros = Percentiles::of(&half.latencies);
        format!("p50 {} p99 {} p99.9 {} µs", micros.p50, micros.p99, micros.p999)
    };
    let (ratio, swaps) = (ratio(still, swapping), swapping.swaps);
    let cpu = swapping.cpu.saturating_sub(still.cpu) / u32::try_from(swaps).unwrap_or(u32::MAX).max(1);
    format!(
        "without {}; {swaps} swaps {}; ratio {ratio:.2}; a swap costs both planes {} µs of CPU",
        told(still),
        told(swapping),
        cpu.as_micros()
    )
}

/// All slices of one half of a round.
struct Half {
    latencies: Histogram<u64>,
    swaps: u64,
    /// Of the gateway.
    cpu: Duration,
}

impl Half {
    fn new() -> Result<Self, Error> {
        Ok(Self { latencies: Histogram::new_with_bounds(1, 60_000_000, 3)?, swaps: 0, cpu: Duration::ZERO })
    }

    /// One slice: the load, and the files applied in turn beside it. Counts how many snapshots came of them.
    async fn slice(
        &mut self,
        gateway: &Arc<Gateway>,
        plan: &Plan,
        pace: u64,
        files: [&PathBuf; 2],
    ) -> Result<(), Error> {
        let cpu = || cpu::of(gateway.pid()).unwrap_or_default();
        let before = cpu();
        let (report, swaps) = slice(gateway, plan, pace, files).await?;
        self.cpu += cpu().saturating_sub(before);
        self.latencies.add(&report.latencies)?;
        self.swaps += swaps;
        Ok(())
    }
}

async fn slice(
    gateway: &Arc<Gateway>,
    plan: &Plan,
    pace: u64,
    files: [&PathBuf; 2],
) -> Result<(Report, u64), Error> {
    let (ended, swaps) = (Arc::new(AtomicBool::new(false)), Arc::new(AtomicU64::new(0)));
    let applying = {
        let (gateway, ended, swaps) = (Arc::clone(gateway), Arc::clone(&ended), Arc::clone(&swaps));
        let files = files.map(Clone::clone);
        std::thread::spawn(move || -> Result<(), String> {
            for file in files.iter().cycle() {
                if ended.load(Ordering::Relaxed) {
                    break;
                }
                let applied = gateway.apply(file).map_err(|error| error.to_string())?;
                let unchanged = applied.get("changes").and_then(Value::as_array).is_none_or(|changes| {
                    changes.iter().all(|change| change.get("change") == Some(&json!("unchanged")))
                });
                swaps.fetch_add(u64::from(!unchanged), Ordering::Relaxed);
                std::thread::sleep(Duration::from_millis(pace));
            }
            Ok(())
        })
    };
    let report = run(plan).await?;
    ended.store(true, Ordering::Relaxed);
    applying.join().map_err(|_| "applying failed")??;
    if report.bad > 0 {
        return Err(format!("{} bad answers: {:?}", report.bad, report.first_bad).into());
    }
    Ok((report, swaps.load(Ordering::Relaxed)))
}
