//! The long-running commands: their settings, what they start, and what they print when they serve.

pub(crate) mod control_plane;
pub(crate) mod data_plane;
pub(crate) mod ready;
pub(crate) mod settings;
pub(crate) mod shutdown;
pub(crate) mod up;

use std::net::SocketAddr;

use portcullis_telemetry::{InitError, LogFormat, Options, Telemetry};

use crate::failure::Failure;
use crate::run::settings::Log;

/// Plain HTTP stays on this machine.
pub(crate) fn refuse_plain(flag: &str, address: SocketAddr, escape: &str) -> Result<(), Failure> {
    if address.ip().is_loopback() {
        return Ok(());
    }
    Err(Failure::new(format!(
        "{flag} {address} would be plain HTTP that other machines can reach: {escape}listen on a loopback address"
    )))
}

/// Starts logs (and traces, where an OpenTelemetry endpoint is configured). Keep the value: dropping it flushes.
fn start_logging(log: &Log, service: &'static str) -> Result<Telemetry, Failure> {
    let options = Options {
        service,
        version: env!("CARGO_PKG_VERSION"),
        format: LogFormat::Auto,
        filter: log.filter.clone(),
    };
    portcullis_telemetry::init(&options).map_err(|error| match error {
        InitError::Filter { .. } => Failure::usage_of(log.from, error),
        other => Failure::of("logs and traces", other),
    })
}
