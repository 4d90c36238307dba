//! Logs go to stderr; stdout belongs to commands.

use clap::ValueEnum;
use serde::Deserialize;
use std::{borrow::Cow, env};
use tracing_subscriber::{EnvFilter, filter::LevelFilter, fmt};

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
        Some(filter) => EnvFilter::try_new(ours(filter))
            .map_err(|error| super::CliError::option(format!("--log {filter:?}: {error}; try \"info\"")))?,
        None => env::var(EnvFilter::DEFAULT_ENV)
            .ok()
            .and_then(|filter| EnvFilter::try_new(ours(&filter)).ok())
            .unwrap_or_else(|| EnvFilter::new(default)),
    };
    let builder = fmt().with_env_filter(filter).with_writer(std::io::stderr);
    match format {
        LogFormat::Text => builder.with_ansi(rustix::termios::isatty(std::io::stderr())).init(),
        LogFormat::Json => builder.json().init(),
    }
    Ok(())
}

/// A level alone is for what Sandshell itself says: below `info`, libraries tell each frame of a connection and each statement for the
/// database. Whoever wants those names them, as in `debug,h2=debug`.
fn ours(filter: &str) -> Cow<'_, str> {
    match filter.trim().parse::<LevelFilter>() {
        Ok(level) if level > LevelFilter::INFO => format!("info,sandshell={level}").into(),
        _ => filter.into(),
    }
}

#[cfg(test)]
mod tests {
    use super::ours;

    #[test]
    fn a_level_alone_is_ours() {
        assert_eq!(ours("debug"), "info,sandshell=debug");
        assert_eq!(ours(" TRACE"), "info,sandshell=trace");
        for filter in ["info", "warn", "off", "debug,h2=debug", "sandshell=trace", "nonsense"] {
            assert_eq!(ours(filter), filter);
        }
    }
}
