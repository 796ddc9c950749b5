//! Structured logs on standard error: for people on a terminal, JSON otherwise.

use std::io::IsTerminal as _;

use tracing_subscriber::layer::SubscriberExt as _;
use tracing_subscriber::util::SubscriberInitExt as _;
use tracing_subscriber::{EnvFilter, Layer as _};

use crate::{InitError, Options};

/// The form of log lines.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub enum LogFormat {
    /// For people when standard error is a terminal, JSON otherwise.
    #[default]
    Auto,
    /// For people.
    Human,
    /// One JSON object a line.
    Json,
}

pub(crate) fn init(options: &Options) -> Result<(), InitError> {
    let terminal = std::io::stderr().is_terminal();
    let human = match options.format {
        LogFormat::Auto => terminal,
        LogFormat::Human => true,
        LogFormat::Json => false,
    };
    let lines = if human {
        tracing_subscriber::fmt::layer().with_writer(std::io::stderr).with_ansi(terminal).boxed()
    } else {
        tracing_subscriber::fmt::layer()
            .with_writer(std::io::stderr)
            .json()
            .flatten_event(true)
            .with_current_span(false)
            .with_span_list(false)
            .boxed()
    };
    tracing_subscriber::registry()
        .with(lines.with_filter(filter(options)?))
        .try_init()
        .map_err(|_| InitError::Twice)
}

fn filter(options: &Options) -> Result<EnvFilter, InitError> {
    EnvFilter::try_new(&options.filter)
        .map_err(|error| InitError::Filter { filter: options.filter.clone(), reason: error.to_string() })
}
