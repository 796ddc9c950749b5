//! `load`: sends the same MCP request at a fixed rate and prints a JSON report.
#![forbid(unsafe_code)]

use std::time::Duration;

use clap::Parser;
use portcullis_benches::load::{Plan, run};

/// An open-loop load generator for MCP over HTTP.
#[derive(Debug, Parser)]
struct Args {
    /// The endpoint.
    url: http::Uri,
    /// The virtual key.
    #[arg(long, default_value = "")]
    key: String,
    /// The tool to call.
    #[arg(long)]
    tool: String,
    /// The arguments as JSON.
    #[arg(long, default_value = "{}")]
    arguments: String,
    /// Calls a second.
    #[arg(long, default_value_t = 1000)]
    rate: u64,
    /// Seconds.
    #[arg(long, default_value_t = 10)]
    seconds: u64,
    /// Keep-alive connections.
    #[arg(long, default_value_t = 16)]
    connections: usize,
    /// A text that every good answer holds.
    #[arg(long, default_value = "\"result\"")]
    expect: String,
}

#[tokio::main]
async fn main() -> Result<(), Box<dyn std::error::Error>> {
    let args = Args::parse();
    let call = portcullis_benches::call(&args.tool, &args.key, &args.arguments)?;
    let plan = Plan {
        url: args.url,
        headers: call.headers,
        body: call.body,
        rate: args.rate,
        duration: Duration::from_secs(args.seconds),
        connections: args.connections,
        expect: args.expect,
    };
    let report = run(&plan).await?;
    #[allow(clippy::print_stdout, reason = "this program's output")]
    {
        println!("{}", serde_json::to_string_pretty(&report)?);
    }
    Ok(())
}
