//! Docker's contexts: daemons that were given a name by `docker context create`.
//!
//! ```text
//! config.json                                       currentContext
//! contexts/meta/<sha256 of the name>/meta.json      where the daemon is
//! contexts/tls/<sha256 of the name>/docker/*.pem    ca.pem, cert.pem, key.pem
//! ```

use crate::{
    docker_config::{self, ConfigError},
    runtime::RuntimeError,
};
use serde::Deserialize;
use sha2::{Digest, Sha256};
use std::{
    collections::HashMap,
    fmt::Write,
    path::{Path, PathBuf},
};

/// What a context says of its daemon.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Context {
    /// Its address; empty for the standard one.
    pub(super) host: String,
    /// Whether anybody's certificate will do.
    pub(super) skip_tls_verify: bool,
    /// The folder of certificates, if there are any.
    pub(super) certificates: Option<PathBuf>,
    /// Where all this stands.
    pub(super) file: PathBuf,
}

#[derive(Debug, Deserialize)]
#[serde(rename_all = "PascalCase")]
struct Meta {
    #[serde(default)]
    endpoints: HashMap<String, Endpoint>,
}

#[derive(Debug, Default, Deserialize)]
#[serde(default)]
struct Endpoint {
    #[serde(rename = "Host")]
    host: String,
    #[serde(rename = "SkipTLSVerify")]
    skip_tls_verify: bool,
}

/// The name of the context in use, and which file says so.
pub(super) fn current(folder: Option<&Path>) -> Result<Option<(String, String)>, RuntimeError> {
    let Some(folder) = folder else { return Ok(None) };
    let name = docker_config::read(folder).map_err(unreadable)?.current_context;
    Ok(Some((name, docker_config::file(folder).display().to_string())).filter(|(name, _)| !name.is_empty()))
}

/// Reads a context.
///
/// # Errors
/// If there is no such context, which `said_by` has named, or it is broken.
pub(super) fn open(folder: Option<&Path>, name: &str, said_by: &str) -> Result<Context, RuntimeError> {
    let Some(folder) = folder else {
        let message = format!("{said_by} names the context {name:?}, but neither DOCKER_CONFIG nor HOME says where");
        return Err(RuntimeError::Option(message));
    };
    let contexts = folder.join("contexts");
    let hash = Sha256::digest(name).iter().fold(String::new(), |mut text, byte| {
        let _ = write!(text, "{byte:02x}");
        text
    });
    let file = contexts.join("meta").join(&hash).join("meta.json");
    let Some(mut meta) = docker_config::json::<Meta>(&file).map_err(unreadable)? else {
        return Err(RuntimeError::Option(format!(
            "there is no Docker context {name:?}, which {said_by} names: no {}; make it with `docker context create`, or \
             name the daemon with DOCKER_HOST",
            file.display()
        )));
    };
    let Some(endpoint) = meta.endpoints.remove("docker") else {
        return Err(RuntimeError::Option(format!("{}: the context {name:?} has no Docker endpoint", file.display())));
    };
    let certificates = Some(contexts.join("tls").join(&hash).join("docker")).filter(|folder| folder.is_dir());
    Ok(Context { host: endpoint.host, skip_tls_verify: endpoint.skip_tls_verify, certificates, file })
}

fn unreadable(error: ConfigError) -> RuntimeError {
    RuntimeError::Option(error.to_string())
}
