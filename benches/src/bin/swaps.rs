//! `swaps PORTCULLIS`: what callers feel of new snapshots.
//!
//! Calls come at a steady rate while `apply` runs at a steady pace. In one half of each round it applies what is there already:
//! nothing changes. In the other it changes a key each time, so that a snapshot is compiled, signed, streamed and swapped. The
//! halves differ by the swaps and by nothing else.
#![forbid(unsafe_code)]
#![allow(clippy::print_stdout, reason = "this program's output")]

use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::Duration;

use clap::Parser;
use portcullis_benches::gateway::{Error, Gateway, key};
use portcullis_benches::load::{Plan, Report, run};
use portcullis_benches::{call, upstream};
use serde_json::{Value, json};
use tokio::net::TcpListener;

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
        duration: Duration::from_secs(args.seconds),
        connections: 16,
        expect: "xxxx".to_owned(),
    };
    run(&Plan { duration: Duration::from_secs(1), ..plan.clone() }).await?;
    println!(
        "{} keys, {} calls/s, an apply every {} ms, {} s a half",
        args.keys, args.rate, args.pace, args.seconds
    );
    let mut ratios = Vec::new();
    for round in 1..=args.rounds {
        gateway.apply(&changing[0])?;
        let (still, none) = half(&gateway, &plan, args.pace, [&changing[0], &changing[0]]).await?;
        let (swapping, swaps) = half(&gateway, &plan, args.pace, [&changing[1], &changing[0]]).await?;
        if none > 0 || swaps == 0 {
            return Err(format!("{none} snapshots where none was due, {swaps} where some were").into());
        }
        #[allow(clippy::cast_precision_loss, reason = "a figure for people")]
        let ratio = swapping.micros.p999 as f64 / still.micros.p999.max(1) as f64;
        println!(
            "round {round}: without p50 {} p99 {} p99.9 {} µs; {swaps} swaps p50 {} p99 {} p99.9 {} µs; ratio {ratio:.2}",
            still.micros.p50,
            still.micros.p99,
            still.micros.p999,
            swapping.micros.p50,
            swapping.micros.p99,
            swapping.micros.p999,
        );
        ratios.push(ratio);
    }
    ratios.sort_by(f64::total_cmp);
    println!(
        "median: p99.9 during swaps is {:.2} of that without",
        ratios.get(ratios.len() / 2).copied().unwrap_or(f64::NAN)
    );
    Ok(())
}

/// One half of a round: the load, and the files applied in turn beside it. Gives how many snapshots came of them.
async fn half(
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
