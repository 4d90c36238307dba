//! Docker's own configuration of this user: where it is, and what of it is ours to read.

use serde::{Deserialize, de::DeserializeOwned};
use std::{collections::HashMap, ffi::OsString, fs, io, path::Path, path::PathBuf};

/// Its file in the folder.
const FILE: &str = "config.json";

/// What is read of `config.json`.
#[derive(Debug, Default, Deserialize)]
#[serde(default, rename_all = "camelCase")]
pub(crate) struct Config {
    /// The context in use.
    pub(crate) current_context: String,
    /// What `docker login` wrote.
    pub(crate) auths: HashMap<String, Entry>,
    /// The helper for all registries.
    pub(crate) creds_store: Option<String>,
    /// Helpers for some.
    pub(crate) cred_helpers: HashMap<String, String>,
}

/// A login.
#[derive(Debug, Default, Deserialize)]
#[serde(default)]
pub(crate) struct Entry {
    /// Name and password in base64.
    pub(crate) auth: String,
    /// The same in clear, as other tools write it.
    pub(crate) username: Option<String>,
    pub(crate) password: Option<String>,
    pub(crate) identitytoken: Option<String>,
}

/// A file that cannot be used.
#[derive(Debug, thiserror::Error)]
#[error("{}: {source}", .file.display())]
pub(crate) struct ConfigError {
    pub(crate) file: PathBuf,
    pub(crate) source: io::Error,
}

/// Where the configuration is, which need not exist.
pub(crate) fn folder(variable: &dyn Fn(&str) -> Option<OsString>) -> Option<PathBuf> {
    let set = |name| variable(name).filter(|value| !value.is_empty()).map(PathBuf::from);
    set("DOCKER_CONFIG").or_else(|| set("HOME").map(|home| home.join(".docker")))
}

/// Reads `config.json`; without one nothing is configured.
pub(crate) fn read(folder: &Path) -> Result<Config, ConfigError> {
    Ok(json(&folder.join(FILE))?.unwrap_or_default())
}

/// Its path, for messages.
pub(crate) fn file(folder: &Path) -> PathBuf {
    folder.join(FILE)
}

/// Reads a file. `None` if there is no such file.
pub(crate) fn json<T: DeserializeOwned>(file: &Path) -> Result<Option<T>, ConfigError> {
    let wrong = |source| ConfigError { file: file.to_owned(), source };
    match fs::read(file) {
        Ok(text) => serde_json::from_slice(&text).map(Some).map_err(|error| wrong(error.into())),
        // No folder, or something else in its place.
        Err(error) if matches!(error.kind(), io::ErrorKind::NotFound | io::ErrorKind::NotADirectory) => Ok(None),
        Err(error) => Err(wrong(error)),
    }
}
