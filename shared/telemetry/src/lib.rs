//! Logs, traces and metrics: set up once by every binary, the same everywhere.
//!
//! The rule for secrets: they are kept out by type, not by searching text. A type that holds one has a `Debug` that shows
//! nothing ([`Redacted`] is such a type), and no function here takes headers, bodies or arguments.
#![forbid(unsafe_code)]

mod context;
mod logs;
mod metrics;
mod redacted;
mod traces;

use std::sync::OnceLock;

pub use context::{BadTraceparent, TraceContext};
pub use logs::LogFormat;
pub use metrics::{METRICS_CONTENT_TYPE, Metrics};
pub use redacted::Redacted;
pub use traces::{RequestTrace, request};

/// How a process tells about itself.
#[derive(Debug, Clone)]
pub struct Options {
    /// The service's name in traces: `portcullis-data-plane` and so on. `OTEL_SERVICE_NAME` overrides it.
    pub service: &'static str,
    /// The version of the binary.
    pub version: &'static str,
    /// The form of log lines.
    pub format: LogFormat,
    /// What is logged: `info`, `warn,portcullis_data_plane=debug`, … No variable is asked here: who sets telemetry up has
    /// one precedence for all settings.
    pub filter: String,
}

/// Telemetry could not be set up.
#[derive(Debug, thiserror::Error)]
pub enum InitError {
    /// The filter is none.
    #[error("{filter:?} is no log filter, such as info or warn,portcullis=debug: {reason}")]
    Filter {
        /// What was given.
        filter: String,
        /// What is wrong.
        reason: String,
    },
    /// The exporter of traces cannot be made.
    #[error("the OTLP exporter of traces: {0}")]
    Exporter(String),
    /// It was set up before.
    #[error("telemetry was set up twice")]
    Twice,
}

/// Sends what is left when it is dropped.
#[derive(Debug)]
#[must_use = "traces that wait are sent when this is dropped"]
pub struct Telemetry {
    provider: Option<opentelemetry_sdk::trace::SdkTracerProvider>,
}

impl Drop for Telemetry {
    fn drop(&mut self) {
        if let Some(provider) = self.provider.take()
            && let Err(error) = provider.shutdown()
        {
            tracing::warn!(%error, "some traces were not sent");
        }
    }
}

static ONCE: OnceLock<()> = OnceLock::new();

/// Sets up logs on standard error, and traces when `OTEL_EXPORTER_OTLP_ENDPOINT` (or the variable for traces alone) is
/// set. To be called once, within a tokio runtime.
///
/// # Errors
/// See [`InitError`].
pub fn init(options: &Options) -> Result<Telemetry, InitError> {
    ONCE.set(()).map_err(|()| InitError::Twice)?;
    logs::init(options)?;
    let provider = traces::init(options)?;
    Ok(Telemetry { provider })
}
