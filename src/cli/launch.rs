//! Starts the runtime that makes sandboxes: the one place that knows which there are.

use super::error::CliError;
use crate::runtime::{
    Runtime,
    linux::{LinuxConfig, LinuxRuntime},
};
use clap::ValueEnum;
use serde::Deserialize;
use std::{path::Path, sync::Arc};

/// What makes sandboxes.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, ValueEnum, Deserialize)]
#[serde(rename_all = "lowercase")]
pub(super) enum RuntimeKind {
    /// Namespaces of this host.
    #[default]
    Linux,
}

/// Starts a runtime. To be called while this process has one thread: it forks.
pub(super) fn start(kind: RuntimeKind, data_dir: &Path) -> Result<Arc<dyn Runtime>, CliError> {
    let RuntimeKind::Linux = kind;
    let runtime = LinuxRuntime::start(LinuxConfig::new(data_dir))
        .map_err(|error| CliError::Runtime { name: "linux", reason: error.to_string() })?;
    Ok(Arc::new(runtime))
}
