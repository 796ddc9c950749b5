//! `compare PORTCULLIS`: what a call through the gateway costs, as a multiple of the floor.
//!
//! One upstream, two ways to it: the bare proxy, and the gateway with authentication, decision and record. The same load goes
//! through both in turn; the CPU time of each process is read before and after. Prints every round and the medians.
#![forbid(unsafe_code)]
#![allow(clippy::print_stdout, reason = "this program's output")]

use std::io::{BufRead as _, BufReader};
use std::path::PathBuf;
use std::process::{Child, Command, Stdio};
use std::time::Duration;

use clap::Parser;
use portcullis_benches::load::{Plan, Report, run};
use portcullis_benches::{call, cpu, upstream};
use serde_json::{Value, json};
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

/// A child that does not outlive us.
struct Guard(Child);

impl Drop for Guard {
    fn drop(&mut self) {
        // It may have ended already.
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

type Error = Box<dyn std::error::Error>;

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
    let (gateway, url, key) = start_gateway(&args.portcullis, &format!("http://{upstream_addr}/mcp")).await?;

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
    let gateway_plan = plan(url, "bench_kilobyte")?;
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
        let (gateway_micros, gateway_report) = measure(gateway.0.id(), &gateway_plan).await?;
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

/// Starts the gateway with one server and one key; gives the process, its endpoint and the key's secret.
async fn start_gateway(program: &PathBuf, upstream: &str) -> Result<(Guard, String, String), Error> {
    let directory = std::env::temp_dir().join(format!("portcullis-compare-{}", std::process::id()));
    std::fs::create_dir_all(&directory)?;
    let (ready, data) = (directory.join("ready.json"), directory.join("data"));
    let mut command = Command::new(program);
    command.args(["up", "--log", "warn", "--data-dir"]).arg(&data).arg("--ready-file").arg(&ready);
    for flag in ["--listen", "--ops-listen", "--grpc-listen", "--http-listen"] {
        command.args([flag, "127.0.0.1:0"]);
    }
    let gateway = Guard(command.stdout(Stdio::null()).spawn()?);
    let mut addresses = Value::Null;
    for _ in 0..200 {
        tokio::time::sleep(Duration::from_millis(50)).await;
        if let Ok(text) = std::fs::read_to_string(&ready) {
            addresses = serde_json::from_str(&text)?;
            break;
        }
    }
    let text = |name: &str| addresses.get(name).and_then(Value::as_str).unwrap_or_default().to_owned();
    let document = |kind: &str, name: &str, spec: Value| {
        json!({ "apiVersion": "portcullis/v1", "kind": kind, "metadata": { "name": name }, "spec": spec })
            .to_string()
    };
    let server =
        json!({ "transport": { "streamableHttp": { "url": upstream } }, "tools": { "newTools": "approve" } });
    let key = json!({ "principal": { "kind": "workload", "subject": "bench" }, "grants": [{ "server": "bench", "allow": ["*"] }] });
    let file = directory.join("bench.yaml");
    std::fs::write(
        &file,
        [document("McpServer", "bench", server), document("VirtualKey", "bench", key)].join("\n---\n"),
    )?;
    let cli = |args: &[&str]| -> Result<Value, Error> {
        let output = Command::new(program)
            .args(args)
            .env("PORTCULLIS_SERVER", text("grpcUrl"))
            .env("PORTCULLIS_DATA_DIR", &data)
            .output()?;
        if !output.status.success() {
            return Err(String::from_utf8_lossy(&output.stderr).into_owned().into());
        }
        Ok(serde_json::from_slice(&output.stdout)?)
    };
    let applied = cli(&["apply", "-o", "json", "-f", &file.to_string_lossy()])?;
    let secret = applied.pointer("/keys/0/secret").and_then(Value::as_str).ok_or("no key")?.to_owned();
    for _ in 0..200 {
        let explained = cli(&["explain", "-o", "json", "--key", "bench", "--tool", "bench_kilobyte"])?;
        if explained.get("decision").and_then(Value::as_str) == Some("permit") {
            return Ok((gateway, text("mcpUrl"), secret));
        }
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
    Err("the bench server's tool did not come into force".into())
}
