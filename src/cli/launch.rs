//! Starts the runtime that makes sandboxes: the one place that knows which there are.

use super::error::CliError;
use crate::runtime::{
    Pending, Runtime, RuntimeError, Storage, StorageKind,
    docker::{DockerConfig, DockerRuntime},
    linux::{self, LinuxConfig, LinuxRuntime},
};
use clap::ValueEnum;
use serde::Deserialize;
use std::{
    path::{Path, PathBuf},
    sync::Arc,
};

/// What makes sandboxes.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, ValueEnum, Deserialize)]
#[serde(rename_all = "lowercase")]
pub(super) enum RuntimeKind {
    /// Namespaces of this host.
    #[default]
    Linux,
    /// Containers of a Docker daemon, the one that Docker's own tools would use here.
    Docker,
}

/// An option that one runtime knows: name and value.
pub(super) type RuntimeOption = (String, String);

/// Starts a runtime. To be called while this process has one thread: it may fork.
pub(super) fn start(
    kind: RuntimeKind,
    data_dir: &Path,
    options: &[RuntimeOption],
) -> Result<Arc<dyn Runtime>, CliError> {
    let started = match kind {
        RuntimeKind::Linux => LinuxConfig::new(data_dir).with(options).and_then(LinuxRuntime::start).map(shared),
        RuntimeKind::Docker => DockerConfig::new(data_dir).with(options).and_then(DockerRuntime::start).map(shared),
    };
    started.map_err(|error: RuntimeError| CliError::Runtime { name: name(kind), reason: error.to_string() })
}

/// The option of the `linux` runtime that keeps it from making a file system of its own.
pub(super) fn without_pool() -> RuntimeOption {
    pool_of(0)
}

/// The option of the `linux` runtime for how much the files of all its sandboxes may take.
pub(super) fn pool_of(bytes: u64) -> RuntimeOption {
    ("max-pool-bytes".to_owned(), bytes.to_string())
}

/// What a data directory has of sandboxes' files. Texts say why something cannot be looked at.
pub(super) struct Kept {
    pub(super) data_dir: PathBuf,
    /// Whether a server has used it, so that this is how it is and not how it would be.
    pub(super) is_in_use: bool,
    pub(super) storage: Result<Storage, String>,
    pub(super) pending: Result<Pending, String>,
}

/// Looks at the data directory of a server that may be running, and changes nothing. `None`: this runtime keeps no files there. `tried` is
/// what was found out where the runtime was tried.
pub(super) fn kept(kind: RuntimeKind, data_dir: PathBuf, tried: Option<&Storage>) -> Option<Kept> {
    if kind != RuntimeKind::Linux {
        return None;
    }
    let said = |error: RuntimeError| error.to_string();
    let noted = linux::storage_of(&data_dir).map_err(said);
    let is_in_use = !matches!(noted, Ok(None));
    let storage = noted.and_then(|noted| match (noted, tried) {
        (Some(noted), _) => Ok(noted),
        (None, Some(tried)) if tried.kind == StorageKind::None => {
            Ok(Storage { place: data_dir.clone(), ..tried.clone() })
        }
        (None, _) => linux::storage_at_first(&data_dir).map_err(said),
    });
    let pending = linux::pending_in(&data_dir).map_err(said);
    Some(Kept { data_dir, is_in_use, storage, pending })
}

/// Open files that the server has for each sandbox.
pub(super) fn descriptors_per_sandbox(kind: RuntimeKind) -> u64 {
    match kind {
        // The connection to the agent, one for those who only watch, and what watches its first process.
        RuntimeKind::Linux => 3,
        // Of a daemon elsewhere, for each of both connections: three pipes to `ssh`, and what watches it.
        RuntimeKind::Docker => 8,
    }
}

/// Its name, as the command line takes it.
pub(super) fn name(kind: RuntimeKind) -> String {
    kind.to_possible_value().map_or_else(String::new, |value| value.get_name().to_owned())
}

fn shared(runtime: impl Runtime) -> Arc<dyn Runtime> {
    Arc::new(runtime)
}

/// Reads `NAME=VALUE`.
pub(super) fn runtime_option(text: &str) -> Result<RuntimeOption, String> {
    let (name, value) = text.split_once('=').ok_or("must be NAME=VALUE")?;
    Ok((name.to_owned(), value.to_owned()))
}
