//! What an agent is told when it starts: JSON on a descriptor, so that nothing shows in its arguments.

use serde::{Deserialize, Serialize};
use std::{
    collections::BTreeMap,
    path::{Path, PathBuf},
};

/// What an agent is told when it starts.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct AgentConfig {
    /// The sandbox it is started for; the first part of every id it gives.
    pub sandbox_id: String,
    /// Environment of every session, on top of a plain `PATH`, `HOME`, `LANG`, `USER`, `LOGNAME` and the agent's own.
    pub env: BTreeMap<String, String>,
    /// Where sessions start; empty for the directory in which the agent itself was started.
    pub working_directory: String,
    /// The sandbox's memory limit in bytes, which bounds what the agent keeps of output.
    pub memory_bytes: Option<u64>,
    /// Whether background processes of sessions count as use of the sandbox.
    #[serde(default)]
    pub background_is_activity: bool,
    /// As whom everything runs that names no other user; empty for the agent's own.
    #[serde(default)]
    pub user: String,
    /// A directory of the image that is to be that user's.
    #[serde(default)]
    pub given_directory: Option<String>,
    /// Whether the working directory was asked for, so that what is missing of it is made.
    #[serde(default)]
    pub makes_directory: bool,
}

impl AgentConfig {
    /// The directory that was asked for, which may be relative to the working directory.
    pub(super) fn directory(&self, asked: &str) -> PathBuf {
        // To join an empty path would add a slash.
        if asked.is_empty() {
            self.working_directory.clone().into()
        } else {
            Path::new(&self.working_directory).join(asked)
        }
    }
}
