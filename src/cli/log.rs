//! Logs go to stderr; stdout belongs to commands.

use clap::ValueEnum;
use serde::Deserialize;
use tracing_subscriber::{EnvFilter, fmt};

/// How log lines look.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, ValueEnum, Deserialize)]
#[serde(rename_all = "lowercase")]
pub(super) enum LogFormat {
    /// For people.
    #[default]
    Text,
    /// One JSON object a line.
    Json,
}

/// Starts logging. `filter` is as in RUST_LOG, which is used when it is absent; then `default`.
pub(super) fn start(filter: Option<&str>, default: &str, format: LogFormat) -> Result<(), super::CliError> {
    let filter = match filter {
        Some(filter) => EnvFilter::try_new(filter)
            .map_err(|error| super::CliError::option(format!("--log {filter:?}: {error}; try \"info\"")))?,
        None => EnvFilter::try_from_default_env().unwrap_or_else(|_| EnvFilter::new(default)),
    };
    let builder = fmt().with_env_filter(filter).with_writer(std::io::stderr);
    match format {
        LogFormat::Text => builder.with_ansi(rustix::termios::isatty(std::io::stderr())).init(),
        LogFormat::Json => builder.json().init(),
    }
    Ok(())
}
