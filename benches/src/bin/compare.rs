//! `compare PORTCULLIS`: what a call through the gateway costs, as a multiple of the floor.
//!
//! One upstream, two ways to it: the bare proxy, and the gateway with authentication, decision and record. The same load goes
//! through both in turn; the CPU time of each process is read before and after. Prints every round and the medians.
#![forbid(unsafe_code)]
#![allow(clippy::print_stdout, reason = "this program's output")]

use std::io::{BufRead as _, BufReader};
use std::path::PathBuf;
use std::process::{Command, Stdio};
use std::time::Duration;

use clap::Parser;
use portcullis_benches::gateway::{Error, Gateway, Guard};
use portcullis_benches::load::{Plan, Report, run};
use portcullis_benches::{call, cpu, upstream};
use serde_json::json;
use tokio::net::TcpListener;

/// Compares the gateway with a bare proxy in front of the same upstream.
#[derive(Debug, Parser)]
struct Args {
    /// The release binary.
    #[arg(default_value = "target/release/portcullis")]
    portcullis: PathBuf,
    /// Calls a second.
    #[arg(long, default_value_t = 3000)]
    rate: u64,
    /// Seconds of each run.
    #[arg(long, default_value_t = 5)]
    seconds: u64,
    /// Rounds: each runs both ways.
    #[arg(long, default_value_t = 5)]
    rounds: usize,
    /// Keep-alive connections.
    #[arg(long, default_value_t = 16)]
    connections: usize,
}

#[tokio::main]
async fn main() -> Result<(), Error> {
    let args = Args::parse();
    let listener = TcpListener::bind("127.0.0.1:0").await?;
    let upstream_addr = listener.local_addr()?;
    tokio::spawn(upstream::serve(listener));

    let floor_bin = std::env::current_exe()?.with_file_name("floor");
    let mut floor =
        Guard(Command::new(floor_bin).arg(upstream_addr.to_string()).stdout(Stdio::piped()).spawn()?);
    let mut floor_addr = String::new();
    BufReader::new(floor.0.stdout.take().ok_or("no output")?).read_line(&mut floor_addr)?;
    let gateway = Gateway::start(&args.portcullis).await?;
    let key = gateway.serve(&format!("http://{upstream_addr}/mcp")).await?;

    let arguments = json!({ "pad": "y".repeat(740) }).to_string();
    let plan = |url: String, tool: &str| -> Result<Plan, Error> {
        let call = call(tool, &key, &arguments)?;
        Ok(Plan {
            url: url.parse()?,
            headers: call.headers,
            body: call.body,
            rate: args.rate,
            duration: Duration::from_secs(args.seconds),
            connections: args.connections,
            expect: "xxxx".to_owned(),
        })
    };
    let floor_plan = plan(format!("http://{}/mcp", floor_addr.trim()), "kilobyte")?;
    let gateway_plan = plan(gateway.url(), "bench_kilobyte")?;
    println!(
        "{} byte request, {} calls/s, {} connections, {} s a run",
        gateway_plan.body.len(),
        args.rate,
        args.connections,
        args.seconds
    );
    // Warm both ways.
    for plan in [&floor_plan, &gateway_plan] {
        let warm = Plan { duration: Duration::from_secs(1), ..plan.clone() };
        measure(0, &warm).await?;
    }
    let (mut floors, mut gateways, mut ratios) = (Vec::new(), Vec::new(), Vec::new());
    for round in 1..=args.rounds {
        let (floor_micros, floor_report) = measure(floor.0.id(), &floor_plan).await?;
        let (gateway_micros, gateway_report) = measure(gateway.pid(), &gateway_plan).await?;
        let ratio = gateway_micros / floor_micros;
        println!(
            "round {round}: floor {floor_micros:.1} µs CPU a call (p50 {} p99 {} µs), gateway {gateway_micros:.1} µs (p50 {} p99 {} µs), ratio {ratio:.2}",
            floor_report.micros.p50,
            floor_report.micros.p99,
            gateway_report.micros.p50,
            gateway_report.micros.p99
        );
        floors.push(floor_micros);
        gateways.push(gateway_micros);
        ratios.push(ratio);
    }
    println!(
        "median: floor {:.1} µs CPU a call, gateway {:.1} µs, ratio {:.2}",
        median(&mut floors),
        median(&mut gateways),
        median(&mut ratios)
    );
    Ok(())
}

/// Microseconds of CPU a call that process `pid` spent on a run (0 for no process).
async fn measure(pid: u32, plan: &Plan) -> Result<(f64, Report), Error> {
    let before = cpu::of(pid).unwrap_or_default();
    let report = run(plan).await?;
    let spent = cpu::of(pid).unwrap_or_default().saturating_sub(before);
    if report.bad > 0 {
        return Err(format!("{} bad answers: {:?}", report.bad, report.first_bad).into());
    }
    #[allow(clippy::cast_precision_loss, reason = "a figure for people")]
    Ok((spent.as_micros() as f64 / report.good.max(1) as f64, report))
}

fn median(values: &mut [f64]) -> f64 {
    values.sort_by(f64::total_cmp);
    values.get(values.len() / 2).copied().unwrap_or(f64::NAN)
}
