//! The long-running commands: their settings, what they start, and what they print when they serve.

pub(crate) mod control_plane;
pub(crate) mod data_plane;
pub(crate) mod ready;
pub(crate) mod settings;
pub(crate) mod shutdown;
pub(crate) mod up;

use portcullis_telemetry::{LogFormat, Options, Telemetry};

use crate::failure::Failure;

/// Starts logs (and traces, where an OpenTelemetry endpoint is configured). Keep the value: dropping it flushes.
fn start_logging(filter: &str, service: &'static str) -> Result<Telemetry, Failure> {
    let options = Options {
        service,
        version: env!("CARGO_PKG_VERSION"),
        format: LogFormat::Auto,
        default_filter: filter.to_owned(),
    };
    portcullis_telemetry::init(&options).map_err(|error| Failure::of("--log", error))
}
